/** `sse()`: what commits a response, and how a failure is told before and after. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AsyncQueue, type Item, type Source, sse, StreamError } from "../../../mod.ts";
import { collect } from "../../../lib/testing.ts";
import { assertProblem, counting, get, post, recorded, tick } from "./setup.ts";
import { timed } from "../../support/timing.ts";

const failures: Record<string, (error: unknown) => Source<undefined>> = {
  "a function that throws": (error) => () => {
    throw error;
  },
  "an async function that rejects": (error) => async () => {
    await tick();
    throw error;
  },
  "an async generator": (error) =>
    // deno-lint-ignore require-yield
    async function* () {
      await tick();
      throw error;
    },
  "a sync generator": (error) =>
    // deno-lint-ignore require-yield
    function* () {
      throw error;
    },
  "a ReadableStream": (error) =>
    new ReadableStream<Item>({
      pull(controller) {
        controller.error(error);
      },
    }),
  "queue.fail()": (error) => ({ queue }) => void setTimeout(() => queue.fail(error), 0),
  "a failed AsyncQueue": (error) => {
    const queue = new AsyncQueue<Item>();
    queue.fail(error);
    return queue;
  },
};

test("sse() answers a StreamError before the first item with its status, in every format", async () => {
  const opened = counting();
  for (const [kind, failing] of Object.entries(failures)) {
    for (const format of ["json", "text", "ndjson", "plain"] as const) {
      const error = new StreamError("quota_exceeded", {
        status: 429,
        title: "Come back tomorrow",
        detail: "It was too much",
        cause: new Error("secret"),
      });
      const { options, errors, reports } = recorded({ format });
      const response = await sse(get(), failing(error), options);
      const problem = await assertProblem(response, 429, "quota_exceeded", "Come back tomorrow");
      assert.equal(problem.detail, "It was too much", kind);
      assert.ok(!JSON.stringify(problem).includes("secret"));
      assert.deepEqual(errors, [error], kind);
      assert.equal(reports.length, 1, kind);
      const { outcome, code, ttftMs, tokens, bytes } = reports[0]!;
      assert.deepEqual(
        { outcome, code, ttftMs, tokens, bytes },
        { outcome: "failed", code: "quota_exceeded", ttftMs: undefined, tokens: 0, bytes: 0 },
        kind,
      );
    }
  }
  assert.deepEqual(opened(), {});
});

test("sse() answers any other error before the first item with 500 and without its text", async () => {
  for (const [kind, failing] of Object.entries(failures)) {
    const error = Object.assign(new Error("secret"), { status: 404, code: "ENOENT" });
    const { options, errors } = recorded();
    const response = await sse(get(), failing(error), options);
    assert.equal(response.headers.get("vary"), "Accept");
    const problem = await assertProblem(response, 500, "internal");
    assert.ok(!JSON.stringify(problem).includes("secret"), kind);
    assert.equal(problem.detail, undefined);
    assert.deepEqual(errors, [error], kind);
  }
  for (const thrown of ["secret", 42, null, { secret: 1 }]) {
    const { options, errors } = recorded();
    const response = await sse(get(), () => Promise.reject(thrown), options);
    await assertProblem(response, 500, "internal");
    assert.deepEqual(errors, [thrown]);
  }
});

test("sse() is not committed by skipped items", async () => {
  const source = async function* () {
    yield "";
    yield null;
    await tick();
    yield undefined;
    throw new StreamError("quota_exceeded", { status: 429 });
  };
  await assertProblem(await sse(get(), source, recorded().options), 429, "quota_exceeded");
});

test("sse() tells a failure after the first item in the stream, without done", async () => {
  const failing = (error: unknown) =>
    async function* () {
      yield "a";
      yield "b";
      throw error;
    };
  const secret = recorded();
  const first = await collect(sse(post(), failing(new Error("secret")), secret.options));
  assert.deepEqual([first.status, first.text, first.end], [200, "ab", "failed"]);
  assert.deepEqual(first.problem, {
    type: "about:blank",
    title: "The source failed",
    status: 500,
    code: "internal",
  });
  assert.equal(secret.errors.length, 1);
  const error = new StreamError("quota_exceeded", { status: 429, title: "Later", detail: "d" });
  const { status, problem } = await collect(sse(post(), failing(error), recorded().options));
  assert.equal(status, 200);
  assert.deepEqual(problem, {
    type: "about:blank",
    title: "Later",
    status: 429,
    code: "quota_exceeded",
    detail: "d",
  });
});

test("sse() tells a failure in ndjson as its last line, and breaks plain off after its text", async () => {
  const failing = async function* () {
    yield "a";
    await tick();
    throw new StreamError("quota_exceeded");
  };
  const ndjson = await sse(post(), failing, { ...recorded().options, format: "ndjson" });
  const lines = (await ndjson.text()).trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.equal(lines[0].token, "a");
  assert.equal(lines.at(-1).event, "failed");
  assert.equal(lines.at(-1).data.code, "quota_exceeded");
  const plain = await sse(post(), failing, { ...recorded().options, format: "plain" });
  const reader = plain.body!.getReader();
  assert.equal(new TextDecoder().decode((await reader.read()).value), "a");
  await assert.rejects(reader.read());
});

test("sse() commits after commitAfterMs of silence, and then fails in the stream", async () => {
  for (const commitAfterMs of [0, 1]) {
    let broke = false;
    let fail = (_error: Error): void => {};
    const broken = new Promise<never>((_resolve, reject) => fail = reject);
    const { options, reports } = recorded({ commitAfterMs });
    const response = await sse(post(), async () => {
      await broken.finally(() => broke = true);
    }, options);
    assert.equal(broke, false);
    assert.equal(response.status, 200);
    const reader = response.body!.getReader();
    assert.equal(new TextDecoder().decode((await reader.read()).value), ":\n");
    fail(new StreamError("quota_exceeded", { status: 429 }));
    const rest = new TextDecoder().decode((await reader.read()).value);
    assert.match(rest, /^event: failed\ndata: \{.*"code":"quota_exceeded".*\}\n\n$/);
    assert.equal((await reader.read()).done, true);
    assert.equal(reports[0]?.ttftMs, undefined);
  }
});

timed("sse() commits after 250 ms by default, and cannot be hurried by heartbeats", async () => {
  const beganMs = performance.now();
  const response = await sse(post(), () => {}, { heartbeatMs: 100 });
  const waitedMs = performance.now() - beganMs;
  // Before anything can fail: what one test leaves open, the next ones count.
  await response.body!.cancel();
  assert.ok(waitedMs >= 240 && waitedMs < 1000, `${waitedMs} ms`);
});

timed("sse() waits commitAfterMs before it commits", async () => {
  const opened = counting();
  const beganMs = performance.now();
  const source = async ({ queue }: { queue: AsyncQueue }) => {
    await new Promise((resolve) => setTimeout(resolve, 150));
    queue.send("a");
  };
  const response = await sse(post(), source, { commitAfterMs: 40 });
  const waitedMs = performance.now() - beganMs;
  assert.ok(waitedMs >= 35 && waitedMs < 140, `${waitedMs} ms`);
  assert.equal((await collect(response)).text, "a");
  assert.deepEqual(opened(), {});
});
