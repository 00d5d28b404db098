/** `sse()`: which format a request gets, what commits an answer, and how a source can fail. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AsyncQueue,
  decodeEvents,
  type Item,
  type Source,
  sse,
  type SseOptions,
  StreamError,
  type StreamReport,
} from "../../mod.ts";
import { active } from "../../lib/counters.ts";
import { collect } from "../../lib/testing.ts";
import { until } from "../support/serve.ts";

const URL_ = "http://localhost/streaming";
const SSE = "text/event-stream; charset=utf-8";
const NDJSON = "application/x-ndjson; charset=utf-8";
const PLAIN = "text/plain; charset=utf-8";

const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));
const get = (headers: Record<string, string> = {}, query = ""): Request =>
  new Request(URL_ + query, { headers });
const post = (): Request => new Request(URL_, { method: "POST" });

/** What was opened since now and is still open: a test that broke before must not break the next. */
function counting(): () => Partial<typeof active> {
  const before = { ...active };
  return () => {
    const changed = Object.entries(active).map(([name, count]) =>
      [name, count - before[name as keyof typeof active]] as const
    );
    return Object.fromEntries(changed.filter(([, count]) => count !== 0));
  };
}

/** Fails where something would wait for ever. */
function soon<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`Not within 1000 ms: ${what}`)), 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Options that keep what they are told. */
function recorded(options: SseOptions = {}): {
  options: SseOptions;
  errors: unknown[];
  reports: StreamReport[];
} {
  const errors: unknown[] = [];
  const reports: StreamReport[] = [];
  return {
    errors,
    reports,
    options: {
      ...options,
      onError: (error) => errors.push(error),
      onClose: (report) => reports.push(report),
    },
  };
}

/** A source that must not be asked. */
function forbidden(): { source: Source<undefined>; calls: () => number } {
  let calls = 0;
  return {
    calls: () => calls,
    source: () => {
      calls++;
      return "a";
    },
  };
}

async function assertProblem(
  response: Response,
  status: number,
  code: string,
  title?: string,
): Promise<Record<string, unknown>> {
  assert.equal(response.status, status);
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  assert.equal(response.headers.get("cache-control"), "no-store");
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");
  const problem = await response.json();
  assert.equal(problem.type, "about:blank");
  assert.equal(problem.status, status);
  assert.equal(problem.code, code);
  assert.equal(typeof problem.title, "string");
  if (title !== undefined) assert.equal(problem.title, title);
  return problem;
}

// Which format

test("sse() chooses the format by Accept: highest q, ties SSE, NDJSON, plain", async () => {
  const table: [string | undefined, string | 406][] = [
    [undefined, SSE],
    ["", SSE],
    ["*/*", SSE],
    ["text/event-stream", SSE],
    ["application/json, text/plain, */*", SSE],
    ["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", SSE],
    ["text/*", SSE],
    ["text/plain", PLAIN],
    ["text/plain; charset=utf-8", PLAIN],
    ["TEXT/Plain", PLAIN],
    ["application/x-ndjson", NDJSON],
    ["application/ndjson", NDJSON],
    ["application/*", NDJSON],
    ["application/x-ndjson, text/event-stream", SSE],
    ["text/plain, application/x-ndjson", NDJSON],
    ["text/plain, text/event-stream;q=0.9", PLAIN],
    ["text/plain;q=0.5, application/x-ndjson;q=0.6, text/event-stream;q=0.4", NDJSON],
    ["text/event-stream;q=0.001", SSE],
    ["text/event-stream;q=0, */*", NDJSON],
    ["text/event-stream;q=0, application/x-ndjson;q=0, application/ndjson;q=0, */*", PLAIN],
    ["text/plain;q=0, text/*;q=0.5", SSE],
    ["text/*;q=0, */*;q=0.1", NDJSON],
    ["*/*;q=0.1, text/plain;q=0.2", PLAIN],
    ["text/event-stream ; q=0.2 , text/plain ; Q=0.3", PLAIN],
    ["application/json", 406],
    ["text/html", 406],
    ["image/*", 406],
    ["text/event-stream;q=0", 406],
    ["*/*;q=0", 406],
    ["nonsense", 406],
    [";;,,", 406],
  ];
  for (const [accept, expected] of table) {
    const { source, calls } = forbidden();
    const response = await sse(get(accept === undefined ? {} : { accept }), source);
    const where = `Accept: ${accept}`;
    assert.match(response.headers.get("vary") ?? "", /\baccept\b/i, where);
    if (expected === 406) {
      await assertProblem(response, 406, "not_acceptable");
      assert.equal(calls(), 0, where);
    } else {
      assert.equal(response.status, 200, where);
      assert.equal(response.headers.get("content-type"), expected, where);
      await response.text();
      assert.equal(calls(), 1, where);
    }
  }
});

test("sse() chooses the format by ?format= before Accept, and answers 400 to an unknown one", async () => {
  const types = { json: SSE, text: SSE, ndjson: NDJSON, plain: PLAIN };
  for (const [format, type] of Object.entries(types)) {
    const response = await sse(get({ accept: "text/html" }, `?a=1&format=${format}`), "a\rb");
    assert.equal(response.headers.get("content-type"), type, format);
    const body = await response.text();
    if (format === "text") assert.ok(body.startsWith(":\ndata: a\ndata: b\n\n"));
    if (format === "plain") assert.equal(body, "a\rb");
  }
  for (const format of ["xml", "", "JSON", "constructor", "__proto__", "toString", "json%20"]) {
    const { source, calls } = forbidden();
    const response = await sse(get({}, `?format=${format}`), source);
    await assertProblem(response, 400, "bad_request");
    assert.equal(calls(), 0, format);
  }
});

test("sse() options.format is used whatever the request asks for, and then nothing varies", async () => {
  for (const query of ["", "?format=json", "?format=nonsense"]) {
    const response = await sse(get({ accept: "text/html" }, query), "a", { format: "plain" });
    assert.equal(response.headers.get("content-type"), PLAIN);
    assert.equal(response.headers.get("vary"), null);
    assert.equal(await response.text(), "a");
  }
  for (const format of ["xml", "constructor"]) {
    await assert.rejects(sse(get(), "a", { format: format as "json" }), TypeError);
  }
});

// The head

test("sse() sends exactly these headers", async () => {
  const response = await sse(get(), "a");
  assert.deepEqual(Object.fromEntries(response.headers), {
    "cache-control": "no-cache, no-transform",
    "content-type": SSE,
    "vary": "Accept",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
  });
  await response.body!.cancel();
});

test("sse() options.headers are added and cannot replace what makes a stream of it", async () => {
  const headers = { "x-mine": "1", "content-type": "text/html", "vary": "Origin" };
  const response = await sse(get(), "a", { headers });
  assert.equal(response.headers.get("x-mine"), "1");
  assert.equal(response.headers.get("content-type"), SSE);
  assert.deepEqual(response.headers.get("vary")!.split(/, */), ["Origin", "Accept"]);
  await response.text();
});

test("sse() answers HEAD with the head and never calls the source", async () => {
  const { source, calls } = forbidden();
  const { options, reports } = recorded();
  const head = await sse(new Request(URL_, { method: "HEAD" }), source, options);
  const response = await sse(get(), "a");
  assert.equal(head.status, 200);
  assert.equal(head.body, null);
  assert.deepEqual([...head.headers], [...response.headers]);
  assert.equal(calls(), 0);
  assert.equal(reports.length, 0);
  await response.text();
});

test("sse() answers 204 to a GET whose Last-Event-ID says that it has read the end", async () => {
  const { options, reports } = recorded();
  const first = await sse(get(), "a", options);
  const events = await Array.fromAsync(decodeEvents(first.body!));
  const { lastEventId } = events.at(-1)!;
  assert.match(lastEventId, /^[\w-]{22}\.end$/);
  assert.equal(lastEventId, `${reports[0]!.streamId}.end`);
  const { source, calls } = forbidden();
  const again = await sse(get({ "last-event-id": lastEventId }), source);
  assert.equal(again.status, 204);
  assert.equal(again.body, null);
  assert.equal(calls(), 0);
  for (const id of ["", "1", `${"a".repeat(21)}.end`, `${"a".repeat(23)}.end`, "x.end"]) {
    const response = await sse(get({ "last-event-id": id }), source);
    assert.equal(response.status, 200, id);
    await response.text();
  }
  assert.equal(calls(), 5);
  const posted = new Request(URL_, {
    method: "POST",
    headers: { "last-event-id": lastEventId },
  });
  assert.equal((await collect(sse(posted, source))).text, "a");
});

test("sse() puts an id on done and failed for GET only, and on nothing else", async () => {
  const failing = async function* () {
    yield "a";
    await tick();
    throw new Error("broken");
  };
  for (const source of ["a", failing]) {
    for (const format of ["json", "text"] as const) {
      const { options, reports } = recorded({ format });
      for (const request of [get(), post()]) {
        const wire = await (await sse(request, source, options)).text();
        const ids = wire.match(/^id:.*$/gm);
        const id = `id: ${reports.at(-1)!.streamId}.end`;
        if (request.method === "POST") assert.equal(ids, null);
        else assert.deepEqual(ids, [id]);
        const end = wire.slice(0, -2).split("\n\n").at(-1)!;
        assert.match(end, /^event: (done|failed)$/m);
        if (request.method === "GET") assert.ok(end.includes(id));
      }
    }
  }
});

test("sse() rejects with a RangeError for an option out of its bounds, before the source is called", async () => {
  const opened = counting();
  const bad: SseOptions[] = [
    { heartbeatMs: 99 },
    { heartbeatMs: 60_001 },
    { heartbeatMs: -1 },
    { heartbeatMs: NaN },
    { commitAfterMs: -1 },
    { commitAfterMs: 5001 },
    { commitAfterMs: NaN },
    { stallMs: 99 },
    { stallMs: -1 },
    { stallMs: NaN },
    { stallMs: Infinity },
    { highWaterMark: 0 },
    { highWaterMark: NaN },
    { maxBufferedBytes: 1 },
    { highWaterMark: 100, maxBufferedBytes: 99 },
  ];
  const { source, calls } = forbidden();
  for (const options of bad) {
    await assert.rejects(sse(get(), source, options), RangeError, JSON.stringify(options));
  }
  assert.equal(calls(), 0);
  const good: SseOptions[] = [
    { heartbeatMs: 0, commitAfterMs: 0, stallMs: 0 },
    { heartbeatMs: 100, commitAfterMs: 5000, stallMs: 100 },
    { heartbeatMs: 60_000, highWaterMark: 1, maxBufferedBytes: 1 },
  ];
  for (const options of good) {
    assert.equal((await collect(sse(get(), "a", options))).text, "a");
  }
  assert.deepEqual(opened(), {});
});

// What commits

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

test("sse() commits after 250 ms by default, and cannot be hurried by heartbeats", async () => {
  const beganMs = performance.now();
  const response = await sse(post(), () => {}, { heartbeatMs: 100 });
  const waitedMs = performance.now() - beganMs;
  // Before anything can fail: what one test leaves open, the next ones count.
  await response.body!.cancel();
  assert.ok(waitedMs >= 240 && waitedMs < 1000, `${waitedMs} ms`);
});

test("sse() waits commitAfterMs before it commits", async () => {
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

// Items that cannot be sent

test("sse() fails with a TypeError that names the type of what is no item", async () => {
  class Token {}
  const bad: [unknown, RegExp][] = [
    [5, /number/],
    [true, /boolean/],
    [1n, /bigint/i],
    [new Date(0), /Date/],
    [new Uint8Array(2), /Uint8Array/],
    [["a"], /Array/],
    [new Token(), /Token/],
    [{ token: "a" }, /Object/],
    [() => "a", /function/],
    [Symbol("a"), /symbol/],
    [new String("a"), /String/],
    [{ data: undefined }, /undefined/],
    [{ data: () => 1 }, /function/],
    [{ data: 1n }, /bigint/i],
    [{ event: 5, data: 1 }, /number/],
  ];
  for (const [value, name] of bad) {
    const where = String(name);
    const alone = recorded();
    const response = await sse(post(), [value] as Item[], alone.options);
    await assertProblem(response, 500, "internal");
    assert.equal(alone.errors.length, 1, where);
    assert.ok(alone.errors[0] instanceof TypeError, where);
    assert.match(alone.errors[0].message, name);
    const kinds: Source<undefined>[] = [
      ["a", value] as Item[],
      async function* () {
        yield "a";
        yield value as Item;
        yield "never";
      },
      async ({ queue }) => {
        assert.equal(await queue.send("a"), true);
        assert.equal(await queue.send(value as Item), false);
        assert.equal(await queue.send("never"), false);
      },
    ];
    for (const source of kinds) {
      const { options, errors } = recorded();
      const { text, end, problem } = await collect(sse(post(), source, options));
      assert.deepEqual([text, end, problem?.code], ["a", "failed", "internal"], where);
      assert.equal(errors.length, 1, where);
      assert.ok(errors[0] instanceof TypeError, where);
      assert.match(errors[0].message, name);
    }
  }
});

test("sse() fails for an AsyncQueue that held what is no item before it was read", async () => {
  const opened = counting();
  const { options, errors } = recorded();
  const queue = new AsyncQueue<Item>();
  queue.send("a");
  queue.send(5 as unknown as Item);
  queue.send("never");
  const { text, end } = await soon(collect(sse(post(), queue, options)), "the end");
  assert.deepEqual([text, end], ["a", "failed"]);
  assert.equal(errors.length, 1);
  assert.ok(errors[0] instanceof TypeError);
  assert.deepEqual(opened(), {});
});

test("sse() fails for an AsyncQueue that somebody else reads, who keeps it", async () => {
  const opened = counting();
  const queue = new AsyncQueue<Item>();
  queue.send("a");
  const first = await sse(post(), queue);
  const { options, errors } = recorded();
  const second = await soon(sse(post(), queue, options), "the refusal");
  await assertProblem(second, 500, "internal");
  assert.ok(errors[0] instanceof TypeError);
  queue.send("b");
  queue.close();
  assert.equal((await soon(collect(first), "the end")).text, "ab");
  assert.deepEqual(opened(), {});
});

test("sse() ends the context's queue too where the source answers a queue of its own", async () => {
  const opened = counting();
  let sent: Promise<boolean> | undefined;
  let queue: AsyncQueue | undefined;
  const source = (context: { queue: AsyncQueue }) => {
    queue = context.queue;
    sent = queue.send("a".repeat(100_000));
    const own = new AsyncQueue<string>();
    own.send("b");
    own.close();
    return own;
  };
  const { text } = await collect(sse(post(), source, recorded().options));
  assert.equal(text, `${"a".repeat(100_000)}b`);
  assert.equal(await soon(sent!, "the answer to what was sent"), true);
  assert.equal(await queue!.send("late"), false);
  assert.deepEqual(opened(), {});
});

test("sse() fails for a source that is none", async () => {
  for (const source of [5, null, {}, true, new Date(0)]) {
    const { options, errors } = recorded();
    const response = await sse(post(), source as unknown as Source<undefined>, options);
    await assertProblem(response, 500, "internal");
    assert.ok(errors[0] instanceof TypeError, String(source));
  }
});

test("sse() fails for event names that are reserved or hold a line break", async () => {
  for (const event of ["done", "failed", "open", "error", "a\nb", "a\rb", "a\0"]) {
    for (const format of ["json", "text"] as const) {
      const { options, errors } = recorded({ format });
      const response = await sse(post(), ["a", { event, data: 1 }], options);
      const wire = await response.text();
      assert.match(wire, /\n\nevent: failed\ndata: .*"code":"internal".*\n\n$/);
      assert.equal(wire.match(/^event: /gm)!.length, 1);
      assert.ok(errors.length === 1 && errors[0] instanceof TypeError, event);
    }
  }
  for (const event of ["done", "failed", "open", "error"]) {
    const { options, errors } = recorded({ format: "ndjson" });
    const lines = await (await sse(post(), ["a", { event, data: 1 }], options)).text();
    assert.match(lines, /^\{"token":"a"\}\n\{"event":"failed",.*\}\n$/);
    assert.ok(errors.length === 1 && errors[0] instanceof TypeError, event);
  }
  for (const event of ["Done", "done ", "fail", "message", "opened"]) {
    const { events } = await collect(sse(post(), [{ event, data: { token: "a" } }]));
    assert.deepEqual(events.map(({ event, data }) => [event, data]), [
      [event, '{"token":"a"}'],
      ["done", '{"reason":"completed","tokens":0}'],
    ]);
  }
});

test("sse() fails an item over 1 MiB encoded with item_too_large, exactly", async () => {
  const MiB = 1024 * 1024;
  const frame = 'data: {"token":""}\n\n'.length;
  const cases: [SseOptions["format"], Item, boolean][] = [
    ["plain", "x".repeat(MiB), true],
    ["plain", "x".repeat(MiB + 1), false],
    ["plain", "テ".repeat(MiB / 3), true],
    ["plain", "テ".repeat(MiB / 3 + 1), false],
    ["json", "x".repeat(MiB - frame), true],
    ["json", "x".repeat(MiB - frame + 1), false],
    ["json", "\0".repeat(Math.floor((MiB - frame) / 6)), true],
    ["json", "\0".repeat(Math.ceil((MiB - frame + 1) / 6)), false],
    ["text", "\n".repeat(Math.floor((MiB - 8) / 7)), true],
    ["text", "\n".repeat(Math.floor((MiB - 8) / 7) + 1), false],
    ["ndjson", { event: "note", data: "x".repeat(MiB - 100) }, true],
    ["ndjson", { event: "note", data: "x".repeat(MiB) }, false],
    ["json", { event: "note", data: "テ".repeat(MiB / 3 - 100) }, true],
    ["json", { event: "note", data: "テ".repeat(MiB / 3) }, false],
  ];
  for (const [index, [format, item, fits]] of cases.entries()) {
    const { options, errors, reports } = recorded({ format: format! });
    const response = await sse(post(), [item], options);
    const where = `case ${index}, ${format}`;
    if (fits) {
      assert.equal(response.status, 200, where);
      const { length } = new Uint8Array(await response.arrayBuffer());
      assert.ok(length > MiB - 400 && length < MiB + 400, `${where}: ${length}`);
      assert.equal(errors.length, 0, where);
    } else {
      await assertProblem(response, 500, "item_too_large");
      assert.equal(reports[0]?.code, "item_too_large", where);
      assert.equal(errors.length, 1, where);
    }
  }
});

test("sse() delivers what came before an item that is too large", async () => {
  const size = 2 * 1024 * 1024;
  // Too long to be tried, and short enough but too large once it is written.
  const large = ["x".repeat(size), "テ".repeat(size / 4)].flatMap((data) => [data, { data }]);
  for (const item of large) {
    const { options } = recorded();
    const { text, problem } = await collect(sse(post(), ["a", "b", item, "never"], options));
    assert.deepEqual([text, problem?.code], ["ab", "item_too_large"]);
    const plain = await sse(post(), ["a", "b", "x".repeat(2 ** 21)], {
      ...options,
      format: "plain",
    });
    const reader = plain.body!.getReader();
    assert.equal(new TextDecoder().decode((await reader.read()).value), "ab");
    await assert.rejects(reader.read());
  }
});

test("sse() encodes structured data as it was when it was sent", async () => {
  const response = await sse(post(), async ({ queue }) => {
    const data = { token: "a" };
    queue.send({ data });
    data.token = "b";
    await queue.send({ data });
  });
  assert.equal((await collect(response)).text, "ab");
});

// The kinds of sources, and how they end

test("sse() takes a source through any number of functions and promises", async () => {
  const opened = counting();
  const queue = () => {
    const own = new AsyncQueue<string>();
    own.send("a");
    own.close();
    return own;
  };
  const kinds: Record<string, Source<undefined>> = {
    "a string": "a",
    "a function that answers a string": () => "a",
    "a promise of a string": () => Promise.resolve("a"),
    "a function that answers a function": () => () => Promise.resolve(() => ["a"]),
    "a promise of a generator": () =>
      Promise.resolve((function* () {
        yield "a";
      })()),
    "a set": new Set(["a"]),
    "a queue": queue(),
    "a promise of a queue": () => Promise.resolve(queue()),
    "the context's queue": ({ queue }) => {
      queue.send("a");
      setTimeout(() => queue.close(), 0);
      return queue;
    },
    "a ReadableStream": () =>
      new ReadableStream<string>({
        start(controller) {
          controller.enqueue("a");
          controller.close();
        },
      }),
    "a plain function that only registers listeners": ({ queue }) => {
      setTimeout(() => {
        queue.send("a");
        queue.close();
      }, 0);
    },
  };
  for (const [kind, source] of Object.entries(kinds)) {
    const { text, end, summary } = await collect(sse(post(), source));
    assert.deepEqual([text, end, summary], ["a", "completed", { tokens: 1 }], kind);
  }
  assert.deepEqual(opened(), {});
});

test("sse() never iterates a string by character", async () => {
  const { items, end } = await collect(sse(post(), () => "Hello"));
  assert.deepEqual([items, end], [["Hello"], "completed"]);
});

test("sse() gives the source its context", async () => {
  const request = get({ "last-event-id": "7" });
  const { options, reports } = recorded();
  let streamId = "";
  const response = await sse(request, (context) => {
    assert.equal(context.request, request);
    assert.equal(context.input, undefined);
    assert.equal(context.lastEventId, "7");
    assert.ok(context.signal instanceof AbortSignal && !context.signal.aborted);
    assert.equal(context.signal, context.queue.signal);
    streamId = context.streamId;
    return "a";
  }, options);
  await response.text();
  assert.match(streamId, /^[\w-]{22}$/);
  assert.equal(reports[0]!.streamId, streamId);
});

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
  assert.deepEqual(rest, { outcome: "completed", tokens: 2, bytes: length });
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

// An upstream's event stream

const upstream = (body: BodyInit | null, init: ResponseInit = {}): Response =>
  new Response(body, { headers: { "content-type": "text/event-stream" }, ...init });

test("sse() relays an upstream's events unchanged and ends with its end", async () => {
  const opened = counting();
  const events = ': hi\ndata: a\ndata:  b\n\nevent: note\nid: 7\ndata: {"x":1}\n\ndata:\n\n';
  for (const end of ["data: [DONE]\n\n", "event: done\ndata: {}\n\n"]) {
    for (const tail of ["", "data: never\n\n"]) {
      const types = ["text/event-stream", "Text/Event-Stream; charset=utf-8"];
      for (const type of types) {
        const headers = { "content-type": type };
        const answer = upstream(events + end + tail, { headers });
        const { options, errors, reports } = recorded();
        const response = await sse(post(), async () => await Promise.resolve(answer), options);
        const told = await Array.fromAsync(decodeEvents(response.body!));
        assert.deepEqual(told.slice(0, -1).map(({ event, data }) => [event, data]), [
          ["message", "a\n b"],
          ["note", '{"x":1}'],
          ["message", ""],
        ]);
        assert.equal(told.at(-1)!.event, "done");
        assert.deepEqual(errors, []);
        assert.equal(reports[0]?.outcome, "completed");
      }
    }
  }
  assert.deepEqual(opened(), {});
});

test("sse() cancels the rest of an upstream that has said its end", async () => {
  const opened = counting();
  let cancelled = 0;
  const endless = new ReadableStream<Uint8Array>({
    start: (controller) =>
      controller.enqueue(new TextEncoder().encode("data: a\n\ndata: [DONE]\n\n")),
    cancel: () => void cancelled++,
  });
  await (await sse(post(), upstream(endless))).text();
  assert.equal(cancelled, 1);
  assert.deepEqual(opened(), {});
});

test("sse() cancels an upstream that is silent when its reader leaves", async () => {
  const opened = counting();
  let cancelled = 0;
  const endless = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new TextEncoder().encode("data: a\n\n")),
    cancel: () => void cancelled++,
  });
  const { options, errors } = recorded();
  const response = await sse(post(), () => upstream(endless), options);
  const reader = response.body!.getReader();
  await reader.read();
  await reader.cancel();
  assert.equal(cancelled, 1);
  await until(() => opened().upstreams === undefined, 1000, "the upstream is let go");
  assert.deepEqual([opened(), errors], [{}, []]);
});

test("sse() fails with upstream_failed for an upstream's failed or error event", async () => {
  const opened = counting();
  for (const event of ["failed", "error"]) {
    const failure = `event: ${event}\ndata: {"secret":1}\n\n`;
    const { options, errors } = recorded();
    const source = upstream(`event: note\ndata: {}\n\n${failure}data: [DONE]\n\n`);
    const { status, problem, body } = await collect(sse(post(), source, options));
    assert.deepEqual([status, problem?.code], [200, "upstream_failed"]);
    assert.ok(!body.includes("secret"));
    assert.equal(errors.length, 1);
    const first = await sse(post(), upstream(failure), recorded().options);
    await assertProblem(first, 502, "upstream_failed");
  }
  assert.deepEqual(opened(), {});
});

test("sse() fails with truncated for an upstream that ends without an end", async () => {
  const opened = counting();
  for (const tail of ["", "data: cut", "data: [DONE]\n", "event: done\ndata: {}"]) {
    const { options } = recorded();
    const answer = upstream(`event: note\ndata: {}\n\n${tail}`);
    const { status, end, problem } = await collect(sse(post(), answer, options));
    assert.deepEqual([status, end, problem?.code], [200, "failed", "truncated"], tail);
  }
  for (const body of ["", ": only a comment\n", null]) {
    const response = await sse(post(), upstream(body), recorded().options);
    assert.equal(response.status, 502);
    await response.text();
  }
  assert.deepEqual(opened(), {});
});

test("sse() fails with bad_upstream for another status or media type, and drops its body", async () => {
  const opened = counting();
  const eventStream = { "content-type": "text/event-stream" };
  const inits: ResponseInit[] = [
    { status: 404, headers: eventStream },
    { status: 401, headers: { "content-type": "application/json" } },
    { status: 201, headers: eventStream },
    { status: 200, headers: { "content-type": "application/json" } },
    { status: 200, headers: { "content-type": "text/event-streams" } },
  ];
  for (const init of inits) {
    let cancelled = 0;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new TextEncoder().encode("secret")),
      cancel: () => void cancelled++,
    });
    const { options, errors } = recorded();
    const response = await sse(post(), () => new Response(body, init), options);
    const problem = await assertProblem(response, 502, "bad_upstream");
    assert.ok(!JSON.stringify(problem).includes("secret"));
    assert.equal(errors.length, 1);
    assert.equal(cancelled, 1);
  }
  assert.deepEqual(opened(), {});
});

test("sse() fails for an upstream whose body breaks off, after what came before", async () => {
  const opened = counting();
  const parts = ["event: note\ndata: {}\n\n"];
  const broken = new ReadableStream<Uint8Array>({
    pull(controller) {
      const part = parts.shift();
      if (part === undefined) controller.error(new Error("secret reset"));
      else controller.enqueue(new TextEncoder().encode(part));
    },
  }, { highWaterMark: 0 });
  const { options, errors } = recorded();
  const wire = await (await sse(post(), upstream(broken), options)).text();
  assert.match(wire, /^:\nevent: note\ndata: \{\}\n\nevent: failed\n/);
  assert.ok(!wire.includes("secret"));
  assert.equal(errors.length, 1);
  assert.deepEqual(opened(), {});
});

test("sse() fails for an upstream whose body somebody has read, and counts it away", async () => {
  const opened = counting();
  const answer = upstream("data: a\n\n");
  answer.body!.getReader();
  await assertProblem(await sse(post(), answer, recorded().options), 500, "internal");
  assert.deepEqual(opened(), {});
});
