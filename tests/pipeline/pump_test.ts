/** The pump: sources of odd kinds, sources that are let go before they began, and those that never rest. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { active } from "../../lib/counters.ts";
import { AsyncQueue, createHandler, sse, type SseOptions, StreamError } from "../../mod.ts";
import { relay } from "../../lib/sources/relay.ts";

const request = (init: RequestInit = {}, path = "/") =>
  new Request(`http://localhost${path}`, init);
const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

async function plain(source: Parameters<typeof sse>[1], options: SseOptions = {}): Promise<string> {
  return await (await sse(request(), source, { format: "plain", ...options })).text();
}

test("sse() awaits a promise of a source, and tells of its rejection", async () => {
  assert.equal(await plain(Promise.resolve(["a", "b"])), "ab");
  const errors: unknown[] = [];
  const rejected = Promise.reject(new Error("secret"));
  const response = await sse(request(), rejected, { onError: (error) => errors.push(error) });
  assert.equal(response.status, 500);
  assert.equal(errors.length, 1);
});

test("sse() refuses functions that only make functions", async () => {
  const maker = (): unknown => maker;
  const response = await sse(request(), maker as never, { onError: () => {} });
  assert.equal(response.status, 500);
});

test("the context can be spread, and holds nothing else", async () => {
  let spread: Record<string, unknown> = {};
  await plain((context) => {
    spread = { ...context };
    return ["a"];
  });
  const keys = ["input", "lastEventId", "queue", "report", "request", "signal", "streamId"];
  assert.deepEqual(Object.keys(spread).sort(), keys);
  assert(spread["signal"] instanceof AbortSignal);
  assert.match(String(spread["streamId"]), /^[\w-]{22}$/);
});

test("a generator's summary reaches done with and without a return in its text", async () => {
  const end = async (source: Parameters<typeof sse>[1]) => {
    const text = await (await sse(request(), source)).text();
    return JSON.parse(/event: done\ndata: (.*)\n/.exec(text)![1]!);
  };
  const returning = async function* () {
    yield "a";
    return { finishReason: "stop" };
  };
  const silent = async function* () {
    yield "a";
  };
  assert.deepEqual(await end(returning), { reason: "completed", tokens: 1, finishReason: "stop" });
  assert.deepEqual(await end(() => returning()), {
    reason: "completed",
    tokens: 1,
    finishReason: "stop",
  });
  assert.deepEqual(await end(silent), { reason: "completed", tokens: 1 });
});

const refusals: Record<string, [RequestInit, string]> = {
  "HEAD": [{ method: "HEAD" }, "/"],
  "406": [{ headers: { accept: "image/png" } }, "/"],
  "an unknown format": [{}, "/?format=x"],
  "204": [{ headers: { "last-event-id": `${"a".repeat(22)}.end` } }, "/"],
  "a reader that has left": [{ signal: AbortSignal.abort() }, "/"],
};
for (const [name, [init, path]] of Object.entries(refusals)) {
  test(`sse() lets go of a source that ${name} keeps from running`, async () => {
    const queue = new AsyncQueue<string>();
    await sse(request(init, path), queue);
    await settle();
    assert.equal(queue.state, "cancelled");
    let cancelled = false;
    const body = new ReadableStream({ cancel: () => void (cancelled = true) });
    await sse(request(init, path), relay(new Response(body)));
    await settle();
    assert(cancelled);
  });
}

test("items that a format drops do not hold the event loop", async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const items = function* () {
    for (let i = 0; i < 300_000; i++) yield { data: i };
  };
  assert.equal(await plain(items), "");
  clearInterval(timer);
  assert(turns >= 2, `${turns} turns`);
});

test("a queue that comes after the context's was closed is let go", async () => {
  const other = new AsyncQueue<string>();
  const text = await plain(async ({ queue }) => {
    queue.send("a");
    queue.close();
    await settle();
    return other;
  });
  assert.equal(text, "a");
  await settle();
  assert.equal(await other.send("late"), false);
});

test("an overflow of the source's own queue aborts the context's signal", async () => {
  let signal: AbortSignal | undefined;
  const own = new AsyncQueue<string>({ highWaterMark: 100, maxBufferedBytes: 100 });
  const response = await sse(request(), (context) => {
    signal = context.signal;
    return own;
  }, { onError: () => {} });
  while (await Promise.race([own.send("x".repeat(60)), settle().then(() => true)]));
  assert.equal(signal?.aborted, true);
  assert.equal((signal.reason as StreamError).code, "overflow");
  await response.text();
});

test("callbacks that reject are reported and harmless", async () => {
  const errors: unknown[] = [];
  await plain(["a"], {
    onClose: (async () => await Promise.reject(new Error("close"))) as never,
    onError: (error) => errors.push((error as Error).message),
  });
  await settle();
  assert.deepEqual(errors, ["close"]);
  await sse(request(), () => {
    throw new Error("source");
  }, { onError: (async () => await Promise.reject(new Error("broken"))) as never });
  await settle();
});

test("a framer that throws in the middle of an event leaves none of it", async () => {
  const { textFormat } = await import("../../lib/formats/events.ts");
  const format = {
    ...textFormat,
    open: (context: Parameters<typeof textFormat.open>[0]) => {
      const framer = textFormat.open(context);
      return {
        token: (out: Parameters<typeof framer.token>[0], text: string) => {
          if (text === "b") {
            out.text("data: half");
            throw new Error("framer");
          }
          framer.token(out, text);
        },
        structured: framer.structured!.bind(framer),
        relayed: framer.relayed!.bind(framer),
        end: framer.end.bind(framer),
        fail: framer.fail!.bind(framer),
      };
    },
  };
  const text = await (await sse(request(), ["a", "b"], { format, onError: () => {} })).text();
  assert.match(text, /^:\ndata: a\n\n(id: .*\n)?event: failed\n/);
});

test("plain keeps its text when the server shuts down", async () => {
  const handler = createHandler({
    source: async function* () {
      yield "hello world";
      await new Promise(() => {});
    },
  });
  const response = await handler.fetch(request({
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"query":""}',
  }, "/streaming?format=plain"));
  await handler.drain({ timeoutMs: 0 });
  const reader = response.body!.getReader();
  assert.equal(new TextDecoder().decode((await reader.read()).value), "hello world");
  await assert.rejects(reader.read());
});

test("options that would grant or send too much are refused", async () => {
  const source = ["a"];
  assert.throws(() => createHandler({ source, cors: "https://example.com" as never }), TypeError);
  assert.throws(() => createHandler({ source, cors: ["https://example.com/"] }), TypeError);
  assert.throws(() => createHandler({ source, allowedHosts: "h" as never }), TypeError);
  assert.throws(() => createHandler({ source: 5 as never }), TypeError);
  assert.throws(() => createHandler({ source, onError: "x" as never }), TypeError);
  assert.throws(() => createHandler({ source, headers: { connection: "close" } }), TypeError);
  await assert.rejects(sse(request(), source, { headers: { "content-length": "3" } }), TypeError);
  await assert.rejects(sse(request(), source, { heartbeatMs: "200" as never }), RangeError);
});

test("the embedder's headers are on refusals and on 204", async () => {
  const headers = { "access-control-allow-origin": "*" };
  for (const [init, path] of Object.values(refusals).slice(1)) {
    const response = await sse(request(init, path), ["a"], { headers });
    assert.equal(response.headers.get("access-control-allow-origin"), "*");
  }
});

test("all of this leaves nothing behind", async () => {
  await settle();
  assert.deepEqual(Object.values(active), Object.values(active).map(() => 0));
});
