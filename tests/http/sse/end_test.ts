/** `sse()`: how a stream ends, its summary, and what `onClose` and `onError` are told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AsyncQueue, type Source, sse, type SseOptions, StreamError } from "../../../mod.ts";
import { collect } from "../../../lib/testing.ts";
import { until } from "../../support/serve.ts";
import { counting, get, post, recorded, tick } from "./setup.ts";

test("sse() puts what a generator returns into done, and no more than a summary", async () => {
  const summary = { finishReason: "length", usage: { total_tokens: 5 } };
  const generators: Source<undefined>[] = [
    async function* () {
      yield "a";
      await tick();
      return summary;
    },
    function* () {
      yield "a";
      return summary;
    },
  ];
  for (const source of generators) {
    const answer = await collect(sse(post(), source));
    assert.deepEqual([answer.end, answer.summary], ["completed", { tokens: 1, ...summary }]);
  }
  for (const other of ["text", 5, null, ["x"]]) {
    const source = async function* () {
      yield "a";
      await tick();
      return other;
    };
    const answer = await collect(sse(post(), source as unknown as Source<undefined>));
    assert.deepEqual([answer.end, answer.summary], ["completed", { tokens: 1 }], String(other));
  }
});

test("sse() lets no summary say how the stream ended, nor anything that is none of a summary", async () => {
  const source = async function* () {
    yield "a";
    await tick();
    return { finishReason: "stop", reason: "cancelled", tokens: 99, apiKey: "secret" };
  };
  const { end, summary } = await collect(sse(post(), source));
  assert.deepEqual([end, summary], ["completed", { tokens: 1, finishReason: "stop" }]);
});

test("sse() tells in the stream that a summary cannot be sent, after all the text", async () => {
  const source = async function* () {
    yield "a";
    await tick();
    await tick();
    yield "b";
    return { usage: { tokens: 1n } };
  };
  const { options, errors, reports } = recorded();
  const { text, end, problem } = await collect(sse(post(), source, options));
  assert.deepEqual([text, end, problem?.code], ["ab", "failed", "internal"]);
  assert.equal(errors.length, 1);
  assert.equal(reports[0]?.outcome, "failed");
});

test("sse() reports the end exactly once with all its fields", async () => {
  const { options, errors, reports } = recorded();
  const source = async function* () {
    await new Promise((resolve) => setTimeout(resolve, 20));
    yield "a";
    yield { event: "note", data: 1 };
    yield "b";
    await new Promise((resolve) => setTimeout(resolve, 20));
  };
  const response = await sse(get(), source, options);
  const { length } = new Uint8Array(await response.arrayBuffer());
  assert.equal(reports.length, 1);
  const { streamId, ttftMs, durationMs, ...rest } = reports[0]!;
  assert.deepEqual(rest, {
    outcome: "completed",
    finishReason: undefined,
    tokens: 2,
    bytes: length,
  });
  assert.match(streamId, /^[\w-]{22}$/);
  assert.ok(ttftMs! >= 15 && durationMs >= ttftMs! + 15, `${ttftMs} of ${durationMs} ms`);
  await tick();
  assert.deepEqual([reports.length, errors.length], [1, 0]);
});

test("sse() reports a failure and a departure exactly once each", async () => {
  const opened = counting();
  const failed = recorded();
  const failing = async function* () {
    yield "a";
    await tick();
    throw new StreamError("quota_exceeded");
  };
  const response = await sse(post(), failing, failed.options);
  const { length } = new Uint8Array(await response.arrayBuffer());
  assert.equal(failed.reports.length, 1);
  const { outcome, code, tokens, bytes } = failed.reports[0]!;
  assert.deepEqual([outcome, code, tokens, bytes], ["failed", "quota_exceeded", 1, length]);
  const left = recorded();
  let reason: unknown;
  const endless = async function* ({ signal }: { signal: AbortSignal }) {
    signal.addEventListener("abort", () => reason = signal.reason.code);
    for (;;) {
      yield "a";
      await tick();
    }
  };
  const cancelled = await sse(post(), endless, left.options);
  await cancelled.body!.cancel();
  assert.equal(left.reports.length, 1);
  assert.equal(left.reports[0]!.outcome, "cancelled");
  assert.equal(left.reports[0]!.code, "disconnected");
  assert.equal(reason, "disconnected");
  // A reader that left is an outcome, not an error.
  assert.deepEqual(left.errors, []);
  await until(() => opened().sources === undefined, 1000, "the source is let go");
  assert.deepEqual(opened(), {});
});

test("sse() ends an overflow once, with what waits and failed, at whatever time it is read", async () => {
  const opened = counting();
  const { options, errors, reports } = recorded({ highWaterMark: 100, maxBufferedBytes: 1000 });
  let reason: unknown;
  let sent = 0;
  const response = await sse(post(), ({ queue, signal }) => {
    signal.addEventListener("abort", () => reason = signal.reason.code);
    // A callback that does not look at what `send` answers.
    const send = () => {
      for (let i = 0; i < 100 && !queue.closed; i++) {
        queue.send("0123456789");
        if (!queue.closed) sent++;
      }
      if (!queue.closed) setTimeout(send, 0);
    };
    send();
  }, options);
  await until(() => reports.length > 0, 1000, "the overflow");
  assert.equal(reason, "overflow");
  const { text, end, problem } = await collect(response);
  assert.ok(sent > 10 && sent < 200, `${sent} sent`);
  assert.equal(text, "0123456789".repeat(sent));
  assert.deepEqual([end, problem?.code], ["failed", "overflow"]);
  assert.deepEqual([reports.length, errors.length], [1, 1]);
  assert.deepEqual([reports[0]!.outcome, reports[0]!.code], ["failed", "overflow"]);
  assert.deepEqual(opened(), {});
});

test("sse() survives onClose and onError that throw", async () => {
  const opened = counting();
  const options: SseOptions = {
    onClose() {
      throw new Error("broken");
    },
    onError() {
      throw new Error("broken");
    },
  };
  assert.equal((await collect(sse(post(), "a", options))).end, "completed");
  const failing = async function* () {
    yield "a";
    await tick();
    throw new Error("secret");
  };
  const { text, end } = await collect(sse(post(), failing, options));
  assert.deepEqual([text, end], ["a", "failed"]);
  assert.deepEqual(opened(), {});
});

test("sse() reports the first value that is sent after a normal end, once", async () => {
  const { options, errors } = recorded();
  const answers: Promise<boolean>[] = [];
  let sendLate = (): void => {};
  // deno-lint-ignore require-await
  const response = await sse(post(), async ({ queue }) => {
    queue.send("a");
    sendLate = () => void answers.push(queue.send("late"), queue.send("later"));
  }, options);
  assert.equal((await collect(response)).text, "a");
  assert.deepEqual(errors, []);
  sendLate();
  sendLate();
  assert.deepEqual(await Promise.all(answers), [false, false, false, false]);
  assert.equal(errors.length, 1);
  assert.match(String(errors[0]), /await your work/);
});

test("sse() does not report what is sent after a failure or a departure", async () => {
  for (const how of ["fails", "leaves"]) {
    const { options, errors } = recorded();
    let late: AsyncQueue | undefined;
    const response = await sse(post(), async ({ queue }) => {
      late = queue;
      queue.send("a");
      await tick();
      if (how === "fails") throw new StreamError("quota_exceeded");
      await new Promise(() => {});
    }, options);
    if (how === "fails") await response.text();
    else await response.body!.cancel();
    assert.equal(await late!.send("late"), false);
    assert.equal(errors.length, how === "fails" ? 1 : 0, how);
  }
});
