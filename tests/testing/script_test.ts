/** `script()`: a source that does as it is told, by both ways into a stream, and what it tells of itself. */
import assert from "node:assert/strict";
import test, { afterEach } from "node:test";
import {
  AsyncQueue,
  createHandler,
  type Item,
  type SourceContext,
  sse,
  StreamError,
} from "../../mod.ts";
import { active } from "../../lib/counters.ts";
import {
  collect,
  fail,
  pause,
  script,
  type ScriptedSource,
  stall,
  type Step,
  truncate,
} from "../../lib/testing.ts";
import { total } from "../support/child.ts";
import { until } from "../support/serve.ts";
import { FakeClock } from "../../lib/testing/fake_clock.ts";

const request = (): Request => new Request("http://localhost/", { method: "POST" });
const quiet = { onError: () => {} };
const KINDS = ["generator", "callbacks"] as const;

afterEach(async () => {
  await until(() => total(active) === 0, 1000, `nothing is left: ${JSON.stringify(active)}`);
});

/** What the last run tells, without its promise. */
function told({ runs }: ScriptedSource): unknown[] {
  const { state, given, reason } = runs.at(-1)!;
  return [state, given, reason instanceof StreamError ? reason.code : reason];
}

for (const kind of KINDS) {
  test(`script() gives its items and its summary: ${kind}`, async () => {
    const items = ["Hel", { event: "note", data: { n: 1 } }, "lo"];
    const source = script(items, { kind, summary: { finishReason: "stop" } });
    assert.equal(source.runs.length, 0);
    for (let count = 1; count <= 2; count++) {
      const answer = await collect(sse(request(), source));
      assert.deepEqual(answer.items, items);
      assert.deepEqual(answer.summary, { tokens: 2, finishReason: "stop" });
      await source.runs[0]!.ended;
      assert.deepEqual(told(source), ["completed", 3, undefined]);
      assert.equal(source.runs.length, count);
    }
  });

  test(`script() of nothing ends at once: ${kind}`, async () => {
    const answer = await collect(sse(request(), script([], { kind })));
    assert.deepEqual([answer.text, answer.end, answer.summary], ["", "completed", { tokens: 0 }]);
  });

  test(`script() waits paceMs before each item but the first, and where it is told to: ${kind}`, async () => {
    const times: number[] = [];
    const now = () => void times.push(performance.now());
    const paced = script([now, "a", now, "b", now, "c", now], { kind, paceMs: 100 });
    assert.equal((await collect(sse(request(), paced))).text, "abc");
    const gaps = times.slice(1).map((time, i) => time - times[i]!);
    assert(gaps[0]! < 90 && gaps[1]! > 90 && gaps[2]! > 90, `${gaps}`);
    times.length = 0;
    await collect(sse(request(), script([now, pause(30), now], { kind })));
    assert(times[1]! - times[0]! > 25, `${times}`);
  });

  test(`script() fails where it is told to: ${kind}`, async () => {
    const error = new StreamError("quota_exceeded", { status: 429 });
    const first = script([fail(error), "never"], { kind });
    const refused = await collect(sse(request(), first, quiet));
    assert.deepEqual([refused.status, refused.problem?.code], [429, "quota_exceeded"]);
    assert.deepEqual(told(first), ["failed", 0, "quota_exceeded"]);
    assert.equal(first.runs[0]!.reason, error);
    const errors: unknown[] = [];
    const later = script(["a", fail(), "never"], { kind });
    const answer = await collect(
      sse(request(), later, { onError: (error) => errors.push(error) }),
    );
    assert.deepEqual([answer.status, answer.text, answer.problem?.code], [200, "a", "internal"]);
    assert.equal(later.runs[0]!.state, "failed");
    assert.equal(later.runs[0]!.given, 1);
    assert.deepEqual(errors, [later.runs[0]!.reason]);
  });

  test(`script() breaks off like an upstream: ${kind}`, async () => {
    const source = script(["a", truncate()], { kind });
    const answer = await collect(sse(request(), source, quiet));
    assert.deepEqual([answer.text, answer.end, answer.problem?.code], ["a", "failed", "truncated"]);
    assert.deepEqual(told(source), ["failed", 1, "truncated"]);
    const early = await collect(sse(request(), script([truncate()], { kind }), quiet));
    assert.equal(early.status, 502);
  });

  const silences: Record<string, Step> = {
    "it stalls": stall(),
    "it pauses": pause(60_000),
    "a step of its own waits": () => new Promise(() => {}),
  };
  for (const [name, silence] of Object.entries(silences)) {
    test(`script() is let go while ${name}, and gives nothing more: ${kind}`, async () => {
      let ran = false;
      const source = script(["a", silence, () => void (ran = true), "never"], { kind });
      const answer = await collect(sse(request(), source), { until: ({ text }) => text === "a" });
      assert.equal(answer.end, "cancelled");
      await source.runs[0]!.ended;
      assert.deepEqual(told(source), ["cancelled", 1, "disconnected"]);
      await new Promise((resolve) => setTimeout(resolve, 0));
      assert.deepEqual([source.runs[0]!.given, ran], [1, false]);
    });
  }

  test(`script() is let go in the pause of its pace: ${kind}`, async () => {
    const source = script(["a", "never"], { kind, paceMs: 60_000 });
    await collect(sse(request(), source), { until: ({ text }) => text === "a" });
    await source.runs[0]!.ended;
    await new Promise((resolve) => setTimeout(resolve, 0));
    assert.deepEqual(told(source), ["cancelled", 1, "disconnected"]);
  });

  test(`script() leaves no timer and no listener behind: ${kind}`, async (context) => {
    const source = script(["a", pause(1), "b", stall()], { kind, paceMs: 1 });
    const queue = new AsyncQueue();
    const added = context.mock.method(queue.signal, "addEventListener");
    const removed = context.mock.method(queue.signal, "removeEventListener");
    const started = source({ queue, signal: queue.signal } as SourceContext);
    const taking = Array.fromAsync("next" in started ? started : queue);
    await until(() => added.mock.callCount() === 4, 1000, "the stall");
    assert.equal(active.timers, 0);
    queue.cancel(new StreamError("disconnected"));
    await taking;
    assert.equal(removed.mock.callCount(), 4);
  });

  test(`script() is held back by a reader that takes nothing: ${kind}`, async () => {
    const source = script(Array.from({ length: 1000 }, () => "0123456789"), { kind });
    const response = await sse(request(), source, { highWaterMark: 1000 });
    await new Promise((resolve) => setTimeout(resolve, 20));
    const { given, state } = source.runs[0]!;
    assert(given > 10 && given < 200, `${given} given`);
    assert.equal(state, "running");
    await response.body!.cancel();
    await source.runs[0]!.ended;
    assert.deepEqual(told(source), ["cancelled", given, "disconnected"]);
  });

  test(`script() tells why it was let go: ${kind}`, async () => {
    const stalled = script([Array.from({ length: 100 }, () => "x").join(""), stall()], { kind });
    await sse(request(), stalled, { stallMs: 100, heartbeatMs: 0 });
    await stalled.runs[0]!.ended;
    assert.deepEqual(told(stalled), ["cancelled", 1, "stalled"]);
    const source = script(["a", stall()], { kind });
    const handler = createHandler({ source });
    const body = JSON.stringify({ query: "q" });
    const headers = { "content-type": "application/json" };
    const init = { method: "POST", headers, body };
    const answering = collect(handler.fetch(new Request("http://localhost/streaming", init)));
    await until(() => source.runs[0]?.given === 1, 1000, "the first item");
    await handler.drain({ timeoutMs: 1 });
    assert.equal((await answering).problem?.code, "shutting_down");
    assert.deepEqual(told(source), ["cancelled", 1, "shutting_down"]);
  });

  test(`script() that is started for a reader who has left gives nothing: ${kind}`, async () => {
    const queue = new AsyncQueue();
    queue.cancel(new StreamError("disconnected"));
    const source = script(["a"], { kind });
    const started = source({ queue, signal: queue.signal } as SourceContext);
    // Also where nobody asks for its first item.
    assert.deepEqual(told(source), ["cancelled", 0, "disconnected"]);
    if ("next" in started) assert.equal((await started.next()).done, true);
    else await started;
    assert.deepEqual(told(source), ["cancelled", 0, "disconnected"]);
  });

  test(`script() gives its steps the context, awaits them and ignores what they answer: ${kind}`, async () => {
    const asked = request();
    const source = script([
      "a",
      async ({ request, queue, signal }) => {
        assert.equal(request, asked);
        assert.equal(signal, queue.signal);
        await new Promise((resolve) => setTimeout(resolve, 5));
        return "nothing";
      },
      "b",
    ], { kind });
    assert.equal((await collect(sse(asked, source))).text, "ab");
  });
}

test("script() ends the run when its iterator is returned without a signal", async () => {
  const source = script(["a", "b"]);
  const { signal } = new AbortController();
  for await (const item of source({ signal } as SourceContext) as AsyncGenerator<Item>) {
    assert.equal(item, "a");
    break;
  }
  assert.deepEqual(told(source), ["cancelled", 1, undefined]);
});

test("script() clears the timer of a pause that it need not wait for", async () => {
  const clock = new FakeClock();
  let armed = 0;
  const source = script(["a", pause(60_000)], { clock });
  const until = ({ text }: { text: string }) => {
    armed = Math.max(armed, clock.armed);
    return text === "a" && armed > 0;
  };
  await collect(sse(request(), source, { heartbeatMs: 100, stallMs: 0 }), { until });
  assert.equal(armed, 1);
  assert.equal(clock.armed, 0);
});

test("script() stops sending once its queue has ended", async () => {
  const source = script(["a", ({ queue }) => queue.close(), "b", "never"], { kind: "callbacks" });
  assert.equal((await collect(sse(request(), source, quiet))).text, "a");
  await source.runs[0]!.ended;
  assert.deepEqual(told(source), ["cancelled", 2, undefined]);
});

test("script() refuses nonsense", () => {
  for (const ms of [-1, NaN, Infinity, 2 ** 31]) {
    assert.throws(() => script([], { paceMs: ms }), RangeError);
    assert.throws(() => pause(ms), RangeError);
  }
  assert.throws(() => script([], { kind: "promise" as "generator" }), TypeError);
});
