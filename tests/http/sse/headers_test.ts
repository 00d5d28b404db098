/** `sse()`: the response headers, HEAD, and 204 to a client that has read the end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  decodeEvents,
  MemoryLog,
  openaiFormat,
  resume,
  sse,
  type SseOptions,
  uiMessageFormat,
} from "../../../mod.ts";
import { collect } from "../../../lib/testing.ts";
import { forbidden, get, post, recorded, SSE, tick, URL_ } from "./setup.ts";

test("sse() sends exactly these headers", async () => {
  const response = await sse(get(), "a");
  assert.deepEqual(Object.fromEntries(response.headers), {
    "cache-control": "no-cache, no-transform",
    "content-type": SSE,
    "incremental": "?1",
    "vary": "Accept",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
    "x-stream-settings": "heartbeat=5000",
  });
  await response.body!.cancel();
});

test("sse() tells its heartbeat and its retry time on event streams, and on those alone", async () => {
  const log = new MemoryLog();
  const rows: [SseOptions, string | null][] = [
    [{ format: "json" }, "heartbeat=5000"],
    [{ format: "json", log }, "heartbeat=5000, retry=1000"],
    [{ format: "text", log, heartbeatMs: 250 }, "heartbeat=250, retry=1000"],
    [{ format: "json", heartbeatMs: 0 }, "heartbeat=0"],
    // These have no `retry:`.
    [{ format: uiMessageFormat, log }, "heartbeat=5000"],
    [{ format: "ndjson", log }, null],
    [{ format: "plain" }, null],
    [{ format: openaiFormat.with({ buffered: true }), log }, null],
  ];
  for (const [options, settings] of rows) {
    const response = await sse(get(), "a", options);
    assert.equal(response.headers.get("x-stream-settings"), settings, JSON.stringify(options));
    const wire = await response.text();
    assert.equal(/^retry: 1000$/m.test(wire), settings?.includes("retry") ?? false);
    const head = await sse(new Request(URL_, { method: "HEAD" }), "a", options);
    assert.equal(head.headers.get("x-stream-settings"), settings);
  }
  const first = await sse(get(), "a", { log, format: "text" });
  await first.body!.cancel();
  const streamId = first.headers.get("x-stream-id")!;
  const again = await resume(get(), { log, streamId, heartbeatMs: 100 });
  assert.equal(again.headers.get("x-stream-settings"), "heartbeat=100, retry=1000");
  assert.equal(again.headers.get("x-stream-id"), streamId);
  await again.body!.cancel();
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
  for (const id of ["", "1", ".end", `${"a".repeat(129)}.end`, "x.end.1", "x y.end"]) {
    const response = await sse(get({ "last-event-id": id }), source);
    assert.equal(response.status, 200, id);
    await response.text();
  }
  assert.equal(calls(), 6);
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
