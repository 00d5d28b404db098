/** `createHandler()` without a socket: its routes, who may ask, its limits, and how it drains. */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../lib/counters.ts";
import { createHandler, type Handler, type HandlerOptions } from "../lib/handler.ts";
import type { Source } from "../lib/pipeline/pump.ts";
import { echo } from "../lib/sources/echo.ts";
import { EventDecoder } from "../lib/sse/decode.ts";
import type { ServerSentEvent } from "../lib/sse/event.ts";
import type { StreamReport } from "../lib/pipeline/generation.ts";
import { FakeClock } from "../lib/testing/fake_clock.ts";
import { total } from "./support/child.ts";
import { until } from "./support/serve.ts";
import { timed } from "./support/timing.ts";

const TUTORIAL = "Streaming responseのテスト";
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const quiet = { onError: () => {} };

interface Asked {
  method?: string;
  headers?: Record<string, string>;
  body?: BodyInit | null;
}

function ask(handler: Handler, path: string, { method = "GET", headers = {}, body }: Asked = {}) {
  const url = path.startsWith("http") ? path : `http://localhost${path}`;
  return handler.fetch(new Request(url, { method, headers, ...body == null ? {} : { body } }));
}

function post(handler: Handler, query: string, path = "/streaming", headers = {}) {
  return ask(handler, path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ query }),
  });
}

async function eventsOf(response: Response): Promise<ServerSentEvent[]> {
  return new EventDecoder().feed(new Uint8Array(await response.arrayBuffer()));
}

async function problem(response: Response): Promise<{ status: number; code: string }> {
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");
  const value = await response.json();
  assert.equal(value.status, response.status);
  assert.equal(typeof value.type, "string");
  assert.equal(typeof value.title, "string");
  return value;
}

/** A source that goes on until `stop` is called or its signal aborts. */
function lasting() {
  let stop = () => {};
  const source: Source<{ query: string }> = async ({ queue, signal }) => {
    queue.send("one");
    await new Promise<void>((resolve) => {
      stop = resolve;
      signal.addEventListener("abort", () => resolve());
    });
  };
  return { source, stop: () => stop() };
}

const generator: Source<{ query: string }> = async function* ({ input }) {
  for (const character of input.query) {
    await Promise.resolve();
    yield character;
  }
};
const producer: Source<{ query: string }> = async ({ input, queue }) => {
  for (const character of input.query) {
    await sleep(0);
    queue.send(character);
  }
};

for (const [name, source] of Object.entries({ generator, producer, echo: echo({ delayMs: 0 }) })) {
  test(`POST /streaming streams the tutorial's text: ${name}`, async () => {
    const handler = createHandler({ source });
    const response = await post(handler, TUTORIAL);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
    assert.equal(response.headers.get("cache-control"), "no-cache, no-transform");
    assert.equal(response.headers.get("x-accel-buffering"), "no");
    const events = await eventsOf(response);
    const last = events.pop();
    const tokens = events.map(({ data }) => JSON.parse(data).token);
    assert.deepEqual(tokens, [...TUTORIAL]);
    assert.equal(last?.event, "done");
    assert.deepEqual(JSON.parse(last.data), { reason: "completed", tokens: [...TUTORIAL].length });
    assert.equal(total(active), 0);
  });
}

test("POST /streaming streams in the format that is asked for", async () => {
  const handler = createHandler({ source: generator });
  const plain = await post(handler, TUTORIAL, "/streaming?format=plain");
  assert.equal(await plain.text(), TUTORIAL);
  const lines = await post(handler, "ab", "/streaming", { accept: "application/x-ndjson" });
  assert.equal((await lines.text()).split("\n")[0], '{"token":"a"}');
  const text = await eventsOf(await post(handler, "ab", "/streaming?format=text"));
  assert.deepEqual(text.map(({ data }) => data).slice(0, 2), ["a", "b"]);
  assert.equal((await problem(await post(handler, "", "/streaming?format=x"))).status, 400);
  const image = await post(handler, "", "/streaming", { accept: "image/png" });
  assert.equal((await problem(image)).status, 406);
});

test("routes: what is not there, and what is not allowed there", async () => {
  const handler = createHandler({ source: generator });
  for (const path of ["/nothing", "/streamin", "/constructor", "//nothing/", "/stream/ing"]) {
    const { status, code } = await problem(await ask(handler, path));
    assert.deepEqual([status, code], [404, "not_found"], path);
  }
  for (const method of ["PUT", "DELETE", "PATCH"]) {
    const response = await ask(handler, "/streaming", { method });
    assert.equal(response.status, 405, method);
    assert.equal(response.headers.get("allow"), "POST, GET, HEAD, OPTIONS");
  }
  const health = await ask(handler, "/health", { method: "POST", body: "" });
  assert.equal((await problem(health)).status, 405);
  assert.equal(health.headers.get("allow"), "GET, HEAD, OPTIONS");
});

test("routes: HEAD and OPTIONS", async () => {
  let started = 0;
  const handler = createHandler({ source: () => void started++ });
  for (const path of ["/health", "/metrics"]) {
    const head = await ask(handler, path, { method: "HEAD" });
    const get = await ask(handler, path);
    assert.equal(head.status, 200);
    assert.equal(await head.text(), "");
    assert.equal(head.headers.get("content-type"), get.headers.get("content-type"));
  }
  const options = await ask(handler, "/streaming", { method: "OPTIONS" });
  assert.equal(options.status, 204);
  assert.equal(options.headers.get("allow"), "POST, GET, HEAD, OPTIONS");
  assert.equal(started, 0);
});

test("basePath stands before every route", async () => {
  const handler = createHandler({ source: generator, basePath: "/api/v1" });
  assert.equal((await ask(handler, "/api/v1/health")).status, 200);
  assert.equal(
    (await eventsOf(await post(handler, "a", "/api/v1/streaming")))[0]?.event,
    "message",
  );
  for (const path of ["/health", "/api/v1", "/api/v1health", "/api/v1/api/v1/health"]) {
    assert.equal((await ask(handler, path)).status, 404, path);
  }
});

test("access: only allowed hosts are served", async () => {
  const handler = createHandler({ source: generator, allowedHosts: ["localhost", "[::1]"] });
  assert.equal((await ask(handler, "http://localhost:8000/health")).status, 200);
  assert.equal((await ask(handler, "http://[::1]:8000/health")).status, 200);
  for (const path of ["/health", "/streaming", "/nothing"]) {
    const foreign = await post(handler, "", `http://rebound.example${path}`);
    assert.equal(foreign.status, 421);
    assert.equal((await problem(foreign)).code, "misdirected");
  }
});

test("access: a page from elsewhere may not call", async () => {
  let started = 0;
  const handler = createHandler({ source: () => void started++ });
  const refused: Record<string, string>[] = [
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
    { "sec-fetch-site": "cross-site", origin: "http://localhost" },
    { origin: "https://elsewhere.example" },
    { origin: "http://localhost:9000" },
    { origin: "null" },
  ];
  for (const headers of refused) {
    const response = await post(handler, "", "/streaming", headers);
    assert.equal((await problem(response)).code, "forbidden", JSON.stringify(headers));
    assert.equal(response.status, 403);
    assert.equal(response.headers.get("access-control-allow-origin"), null);
  }
  assert.equal(started, 0);
  const served: Record<string, string>[] = [
    {},
    { "sec-fetch-site": "same-origin", origin: "http://localhost" },
    { "sec-fetch-site": "none" },
    { origin: "http://localhost" },
    // Behind a proxy that ends TLS the scheme is another one.
    { origin: "https://localhost" },
  ];
  for (const headers of served) {
    assert.equal((await ask(handler, "/health", { headers })).status, 200, JSON.stringify(headers));
  }
});

test("access: cors grants an origin, its preflight and what it may read", async () => {
  const origin = "https://app.example";
  const handler = createHandler({ source: generator, cors: [origin] });
  const cross = { origin, "sec-fetch-site": "cross-site" };
  const preflight = await ask(handler, "/streaming", {
    method: "OPTIONS",
    headers: {
      ...cross,
      "access-control-request-method": "POST",
      "access-control-request-headers": "content-type",
    },
  });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers.get("access-control-allow-origin"), origin);
  assert.match(preflight.headers.get("access-control-allow-methods") ?? "", /POST/);
  assert.match(preflight.headers.get("access-control-allow-headers") ?? "", /content-type/);
  assert.match(preflight.headers.get("access-control-allow-headers") ?? "", /last-event-id/);
  const response = await post(handler, "a", "/streaming", cross);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("access-control-allow-origin"), origin);
  assert.match(response.headers.get("access-control-expose-headers") ?? "", /x-stream-id/);
  assert.match(response.headers.get("vary") ?? "", /Origin/);
  assert.match(response.headers.get("vary") ?? "", /Accept/);
  await response.text();
  // A page may read why it was refused, too.
  const bad = await post(handler, "a", "/streaming?format=x", cross);
  assert.equal(bad.headers.get("access-control-allow-origin"), origin);
  const other = await post(handler, "a", "/streaming", { origin: "https://other.example" });
  assert.equal(other.status, 403);
  assert.equal(other.headers.get("access-control-allow-origin"), null);
  assert.match(other.headers.get("vary") ?? "", /Origin/);
  const everyone = createHandler({ source: generator, cors: ["*"] });
  const any = await ask(everyone, "/health", { headers: cross });
  assert.equal(any.headers.get("access-control-allow-origin"), "*");
});

test("access: a preflight allows what the clients' packages send", async () => {
  const handler = createHandler({ source: generator, cors: ["https://app.example"] });
  const asked = "authorization,x-api-key,anthropic-version,x-stainless-lang,x-stainless-os";
  const allowed = async (headers: Record<string, string>) => {
    const response = await ask(handler, "/v1/messages", { method: "OPTIONS", headers });
    assert.equal(response.status, 204);
    return response.headers.get("access-control-allow-headers") ?? "";
  };
  const origin = "https://app.example";
  const names = await allowed({ origin, "access-control-request-headers": asked });
  for (const name of asked.split(",")) assert(names.split(/, ?/).includes(name), name);
  const plain = await allowed({ origin });
  assert.equal(await allowed({ origin, "access-control-request-headers": "a, b c" }), plain);
  const foreign = { origin: "https://other.example", "access-control-request-headers": asked };
  const refused = await ask(handler, "/v1/messages", { method: "OPTIONS", headers: foreign });
  assert.equal(refused.status, 403);
});

/** What an error is called by the clients of its path. */
async function called(response: Response): Promise<string> {
  const type = response.headers.get("content-type");
  const value = await response.json();
  if (type === "application/problem+json") return `problem ${value.status} ${value.code}`;
  assert.equal(type, "application/json");
  const { error } = value;
  if (value.type === "error") return `anthropic ${response.status} ${error.type}`;
  assert("param" in error);
  return `openai ${response.status} ${error.type} ${error.code}`;
}

test("errors have the shape that the clients of their path know", async () => {
  const handler = createHandler({ source: generator, allowedHosts: ["localhost"] });
  const foreign = { origin: "https://elsewhere.example" };
  const table: [string, Asked, string][] = [
    ["/v1/nothing", {}, "openai 404 invalid_request_error not_found"],
    ["/v1/completions", { method: "POST" }, "openai 404 invalid_request_error not_found"],
    ["/v1/messages/batches", { method: "POST" }, "anthropic 404 not_found_error"],
    ["/v2/messages", {}, "problem 404 not_found"],
    ["/api/other", {}, "problem 404 not_found"],
    ["/v1/chat/completions", {}, "openai 405 invalid_request_error method_not_allowed"],
    ["/v1/models", { method: "POST" }, "openai 405 invalid_request_error method_not_allowed"],
    ["/v1/messages", {}, "anthropic 405 invalid_request_error"],
    ["/api/chat", { method: "PUT" }, "problem 405 method_not_allowed"],
    ["/v1/models", { headers: foreign }, "openai 403 permission_error forbidden"],
    ["/v1/messages", { headers: foreign }, "anthropic 403 permission_error"],
    ["/api/chat", { headers: foreign }, "problem 403 forbidden"],
    ["http://b.example/v1/models", {}, "openai 421 invalid_request_error misdirected"],
    ["http://b.example/v1/messages", {}, "anthropic 421 invalid_request_error"],
  ];
  for (const [path, asked, name] of table) {
    const response = await ask(handler, path, asked);
    const allow = response.headers.get("allow");
    assert.equal(await called(response), name, path);
    const allowed = path === "/v1/models" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
    assert.equal(allow, response.status === 405 ? allowed : null, path);
  }
  const based = createHandler({ source: generator, basePath: "/llm" });
  assert.match(await called(await ask(based, "/llm/v1/nothing")), /^openai/);
  assert.match(await called(await ask(based, "/v1/nothing")), /^problem/);
});

/** A request that each route that streams takes. */
const STREAMS: [path: string, body: unknown, shape: string][] = [
  ["/streaming", { query: "a" }, "problem 503"],
  ["/v1/chat/completions", {
    model: "m",
    messages: [{ role: "user", content: "a" }],
    stream: true,
  }, "openai 503 server_error"],
  ["/v1/messages", {
    model: "m",
    messages: [{ role: "user", content: "a" }],
    max_tokens: 1,
    stream: true,
  }, "anthropic 503"],
  [
    "/api/chat",
    { messages: [{ role: "user", parts: [{ type: "text", text: "a" }] }] },
    "problem 503",
  ],
  ["/ag-ui", { threadId: "t", runId: "r", messages: [] }, "problem 503"],
];

function send(handler: Handler, path: string, body: unknown): Promise<Response> {
  const headers = { "content-type": "application/json" };
  return ask(handler, path, { method: "POST", headers, body: JSON.stringify(body) });
}

for (const [path, body, shape] of STREAMS) {
  test(`POST ${path} is counted, limited and drained`, async () => {
    const { source } = lasting();
    const handler = createHandler({ source, limits: { maxStreams: 1 } });
    const first = await send(handler, path, body);
    assert.equal(first.status, 200);
    for (const [other, otherBody, otherShape] of STREAMS) {
      const second = await send(handler, other, otherBody);
      assert.equal(second.headers.get("retry-after"), "1");
      assert((await called(second)).startsWith(otherShape), other);
    }
    await handler.drain({ timeoutMs: 0 });
    const text = await first.text();
    assert(text.includes("one") && text.includes("shutting down"), text);
    assert.equal(handler.stats().ended.failed, 1);
    const refused = await send(handler, path, body);
    assert.equal(refused.headers.get("retry-after"), "1");
    assert((await called(refused)).startsWith(shape));
    assert.equal(total(active), 0);
  });

  test(`POST ${path} gives its place back when it refuses`, async () => {
    const handler = createHandler({ source: generator, limits: { maxStreams: 1 } });
    for (const bad of [{}, [], null]) assert.equal((await send(handler, path, bad)).ok, false);
    const fine = await send(handler, path, body);
    assert.equal(fine.status, 200);
    await fine.text();
  });

  test(`POST ${path} carries the handler's headers, also when it refuses`, async () => {
    const handler = createHandler({ source: generator, headers: { "x-own": "1" } });
    const fine = await send(handler, path, body);
    assert.deepEqual([fine.status, fine.headers.get("x-own")], [200, "1"]);
    await fine.text();
    for (const bad of [{}, [], 5]) {
      const refused = await send(handler, path, bad);
      assert.deepEqual([refused.ok, refused.headers.get("x-own")], [false, "1"]);
    }
  });
}

test("limits: maxStreams", async () => {
  const { source, stop } = lasting();
  const handler = createHandler({ source, limits: { maxStreams: 1 }, disconnect: "cancel" });
  const first = await post(handler, "");
  const second = await post(handler, "");
  assert.equal(second.status, 503);
  assert.equal(second.headers.get("retry-after"), "1");
  assert.equal((await problem(second)).code, "too_many_streams");
  stop();
  assert.equal((await eventsOf(first)).at(-1)?.event, "done");
  const third = await post(handler, "");
  assert.equal(third.status, 200);
  await third.body?.cancel();
  assert.equal(total(active), 0);
});

test("limits: streams that are asked for at once count as well", async () => {
  const { source } = lasting();
  const handler = createHandler({ source, limits: { maxStreams: 2 }, disconnect: "cancel" });
  const responses = await Promise.all(Array.from({ length: 5 }, () => post(handler, "")));
  const statuses = responses.map(({ status }) => status).sort();
  for (const response of responses) await response.body?.cancel();
  assert.deepEqual(statuses, [200, 200, 503, 503, 503]);
  assert.equal(total(active), 0);
});

timed("limits: a body that never comes", async () => {
  const handler = createHandler({ source: generator, limits: { bodyTimeoutMs: 50 } });
  let cancelled = false;
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new TextEncoder().encode('{"query":')),
    cancel: () => void (cancelled = true),
  });
  const request = new Request("http://localhost/streaming", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
    duplex: "half",
  } as RequestInit);
  const fromMs = performance.now();
  const response = await handler.fetch(request);
  const tookMs = performance.now() - fromMs;
  assert.equal((await problem(response)).code, "request_timeout");
  assert.equal(response.status, 408);
  assert(tookMs >= 45 && tookMs < 1000, `${tookMs} ms`);
  assert(cancelled);
  assert.equal(total(active), 0);
});

test("limits: maxBodyBytes and maxBodyDepth", async () => {
  const limits = { maxBodyBytes: 100, maxBodyDepth: 2 };
  const handler = createHandler({ source: generator, limits });
  assert.equal((await problem(await post(handler, "x".repeat(100)))).code, "payload_too_large");
  const deep = await ask(handler, "/streaming", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"query":"[[[[","more":[[]]}',
  });
  assert.equal((await problem(deep)).code, "bad_request");
  const quoted = await post(handler, '[[[["');
  assert.equal(quoted.status, 200);
  await quoted.text();
});

test("input: /streaming gives the body, with the fields that a chat has checked", async () => {
  const inputs: unknown[] = [];
  const handler = createHandler({
    source: ({ input }) => {
      inputs.push(input);
      return "x";
    },
  });
  const body = { query: "a", temperature: 1, theme: null, stop: "END", seed: null };
  await (await send(handler, "/streaming", { ...body, api: "openai", body: 1 })).text();
  assert.deepEqual(inputs, [{ query: "a", temperature: 1, theme: null, stop: ["END"] }]);
  const refused = await send(handler, "/streaming", { query: "a", messages: "all" });
  assert.equal(refused.status, 422);
  assert.equal((await refused.json()).errors[0].pointer, "/messages");
});

test("input: a query that breaks the schema is told by pointer", async () => {
  const handler = createHandler({ source: generator });
  const pointers: [string, string][] = [
    ["{}", "/query"],
    ['{"query":1}', "/query"],
    ['{"query":null}', "/query"],
    ["[]", ""],
    ["null", ""],
    ['"query"', ""],
  ];
  for (const [body, pointer] of pointers) {
    const response = await ask(handler, "/streaming", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    const value = await problem(response) as unknown as { errors: { pointer: string }[] };
    assert.equal(response.status, 422, body);
    assert.deepEqual(value.errors.map((error) => error.pointer), [pointer], body);
  }
});

test("drain() with nothing live resolves, and turns new streams away", async () => {
  const handler = createHandler({ source: generator });
  await handler.drain();
  const refused = await post(handler, "a");
  assert.equal(refused.status, 503);
  assert.equal(refused.headers.get("retry-after"), "1");
  assert.equal((await problem(refused)).code, "shutting_down");
  const health = await ask(handler, "/health");
  assert.equal(health.status, 503);
  assert.deepEqual(await health.json(), { status: "draining" });
  assert.equal((await ask(handler, "/metrics")).status, 200);
});

timed("drain() waits for live streams and resolves when they end", async () => {
  const { source, stop } = lasting();
  const reports: StreamReport[] = [];
  const handler = createHandler({ source, onClose: (report) => reports.push(report) });
  const response = await post(handler, "");
  let drained = false;
  const fromMs = performance.now();
  const drain = handler.drain({ timeoutMs: 5000 }).then(() => void (drained = true));
  await sleep(50);
  assert.equal(drained, false);
  assert.equal((await post(handler, "")).status, 503);
  stop();
  assert.equal((await eventsOf(response)).at(-1)?.event, "done");
  await drain;
  assert(performance.now() - fromMs < 1000);
  assert.deepEqual(reports.map(({ outcome }) => outcome), ["completed"]);
});

timed("drain() ends what is left after timeoutMs with shutting_down", async () => {
  const errors: unknown[] = [];
  const reports: StreamReport[] = [];
  const handler = createHandler({
    source: lasting().source,
    onClose: (report) => reports.push(report),
    onError: (error) => errors.push(error),
  });
  const responses = [await post(handler, ""), await post(handler, "")];
  const bodies = responses.map(eventsOf);
  const fromMs = performance.now();
  await handler.drain({ timeoutMs: 100 });
  const tookMs = performance.now() - fromMs;
  assert(tookMs >= 95 && tookMs < 1000, `${tookMs} ms`);
  for (const body of bodies) {
    const events = await body;
    assert.equal(events[0]?.data, '{"token":"one"}');
    assert.equal(events.at(-1)?.event, "failed");
    assert.equal(JSON.parse(events.at(-1)!.data).code, "shutting_down");
    assert(!events.some(({ event }) => event === "done"));
  }
  assert.deepEqual(reports.map(({ outcome, code }) => [outcome, code]), [
    ["failed", "shutting_down"],
    ["failed", "shutting_down"],
  ]);
  assert.deepEqual(errors, []);
  assert.equal(total(active), 0);
});

test("drain() also ends a stream that nobody reads and one that has not begun", async () => {
  const { source } = lasting();
  const handler = createHandler({ source, ...quiet });
  const unread = await post(handler, "");
  const silent = createHandler({ source: () => new Promise<void>(() => {}), commitAfterMs: 5000 });
  const pending = post(silent, "");
  await until(() => active.sources === 2, 1000, "both sources run");
  await Promise.all([handler.drain({ timeoutMs: 0 }), silent.drain({ timeoutMs: 0 })]);
  assert.equal(total(active), 0);
  assert.equal((await eventsOf(unread)).at(-1)?.event, "failed");
  const early = await pending;
  const text = await early.text();
  assert.match(text, /shutting_down/);
});

timed("drain() again, while it waits, resolves as well", async () => {
  const { source, stop } = lasting();
  const handler = createHandler({ source });
  const response = await post(handler, "");
  const both = Promise.all([
    handler.drain({ timeoutMs: 2000 }),
    handler.drain({ timeoutMs: 2000 }),
  ]);
  const fromMs = performance.now();
  stop();
  await response.text();
  await both;
  assert(performance.now() - fromMs < 1000, "both learn of the end");
});

test("drain() also turns away whoever is still sending a body", async () => {
  let started = 0;
  const handler = createHandler({
    source: () => {
      started++;
      return "text";
    },
  });
  let finish = () => {};
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      finish = () => {
        controller.enqueue(new TextEncoder().encode('{"query":""}'));
        controller.close();
      };
    },
  });
  const pending = handler.fetch(
    new Request("http://localhost/streaming", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      duplex: "half",
    } as RequestInit),
  );
  await sleep(5);
  await handler.drain({ timeoutMs: 0 });
  finish();
  const response = await pending;
  await response.text();
  assert.equal(response.status, 503);
  assert.equal(started, 0, "no generation begins after the drain has resolved");
});

test("drain() leaves no timer behind", async () => {
  const { source, stop } = lasting();
  const handler = createHandler({ source });
  const response = await post(handler, "");
  const drain = handler.drain({ timeoutMs: 2000 });
  stop();
  await response.text();
  await drain;
  assert.equal(total(active), 0);
});

test("options: nonsense is refused when the handler is made", () => {
  const wrong = (options: Partial<Record<keyof HandlerOptions, unknown>>) => () =>
    createHandler({ source: "text", ...options } as HandlerOptions);
  for (const value of [-1, 99, 60_001, NaN, Infinity]) {
    assert.throws(wrong({ heartbeatMs: value }), RangeError, `heartbeatMs ${value}`);
  }
  for (const value of [-1, 5001, NaN]) {
    assert.throws(wrong({ commitAfterMs: value }), RangeError, `commitAfterMs ${value}`);
  }
  for (const value of [-1, 99, NaN]) {
    assert.throws(wrong({ stallMs: value }), RangeError, `stallMs ${value}`);
  }
  for (const value of [0, -1, NaN, 1.5]) {
    assert.throws(wrong({ limits: { maxStreams: value } }), RangeError, `maxStreams ${value}`);
    assert.throws(wrong({ limits: { bodyTimeoutMs: value } }), RangeError, `${value}`);
  }
  for (const value of [0, -1, NaN]) {
    assert.throws(wrong({ highWaterMark: value }), RangeError, `highWaterMark ${value}`);
  }
  assert.throws(wrong({ maxBufferedBytes: 10, highWaterMark: 100 }), RangeError);
  assert.throws(wrong({ source: undefined }), TypeError);
  assert.throws(wrong({ source: null }), TypeError);
  assert.throws(wrong({ source: 5, models: { a: "x" } }), TypeError);
  for (const models of [null, "a", ["x"], {}, { a: null }, { a: 5 }, { a: undefined }]) {
    assert.throws(wrong({ models }), TypeError, `models ${JSON.stringify(models)}`);
  }
  for (const model of ["", 5, null]) assert.throws(wrong({ model }), TypeError, `model ${model}`);
  assert.doesNotThrow(wrong({ source: undefined, models: { a: "x" } }));
  for (const value of ["api", "/", "/api/", "/a b", "/?"]) {
    assert.throws(wrong({ basePath: value }), TypeError, `basePath ${value}`);
  }
  for (const value of ["never", null, 5, {}, { continueForMs: -1 }, { continueForMs: 2 ** 31 }]) {
    assert.throws(wrong({ disconnect: value }), /^(Type|Range)Error/, JSON.stringify(value));
  }
  for (const value of ["continue", { continueForMs: 10_000 }]) {
    assert.throws(wrong({ disconnect: value, log: false }), /disconnect needs a log/);
    assert.doesNotThrow(wrong({ disconnect: value }));
  }
  for (const value of [true, null, {}, "memory"]) assert.throws(wrong({ log: value }), TypeError);
  for (const value of ["key", {}, null]) assert.throws(wrong({ authorize: value }), TypeError);
  assert.doesNotThrow(wrong({ heartbeatMs: 0, commitAfterMs: 0, stallMs: 0 }));
  assert.doesNotThrow(wrong({ basePath: "/api/v1", disconnect: "cancel", log: false }));
});

test("the handler's methods are bound", async () => {
  const { fetch, stats, drain } = createHandler({ source: generator });
  assert.equal((await fetch(new Request("http://localhost/health"))).status, 200);
  assert.equal(stats().ended.completed, 0);
  await drain();
});

test("stats() and /metrics count what has ended", async () => {
  const handler = createHandler({
    source: ({ input }) => {
      if (input.query === "fail") throw new Error("broken");
      return input.query;
    },
    ...quiet,
  });
  await (await post(handler, "ab")).text();
  await (await post(handler, "fail")).text();
  await (await post(handler, "gone")).body?.cancel();
  const stats = handler.stats();
  assert.equal(stats.ended.completed + stats.ended.cancelled, 2);
  assert.equal(stats.ended.failed, 1);
  assert.equal(stats.tokens, 2);
  const json = await ask(handler, "/metrics", { headers: { accept: "application/json" } });
  assert.deepEqual(await json.json(), { ...stats });
  const text = await (await ask(handler, "/metrics")).text();
  assert.match(text, /^# TYPE spillway_active gauge$/m);
  assert.match(text, /^spillway_active\{kind="streams"\} 0$/m);
  assert.match(text, /^spillway_ended_total\{outcome="failed"\} 1$/m);
  assert.match(text, /^spillway_tokens_total 2$/m);
});

test("an embedder's onClose that throws is reported and harmless", async () => {
  const errors: unknown[] = [];
  const broken = new Error("broken");
  const handler = createHandler({
    source: generator,
    onClose: () => {
      throw broken;
    },
    onError: (error) => errors.push(error),
  });
  assert.equal((await eventsOf(await post(handler, "a"))).at(-1)?.event, "done");
  assert.deepEqual(errors, [broken]);
  assert.equal((await eventsOf(await post(handler, "a"))).at(-1)?.event, "done");
  assert.equal(handler.stats().ended.completed, 2);
  assert.equal(total(active), 0);
});

test("an embedder's onError that throws is harmless", async () => {
  const handler = createHandler({
    source: () => {
      throw new Error("broken");
    },
    onError: () => {
      throw new Error("broken as well");
    },
  });
  assert.equal((await post(handler, "a")).status, 500);
  assert.equal(total(active), 0);
});

test("the runtime is told not to cut what is silent", async () => {
  const handler = createHandler({ source: generator });
  const calls: unknown[][] = [];
  const info = { timeout: (...args: unknown[]) => void calls.push(args) };
  const request = new Request("http://localhost/health");
  await handler.fetch(request, info);
  assert.deepEqual(calls, [[request, 0]]);
  for (const other of [undefined, null, {}, "info", { timeout: 5 }]) {
    assert.equal((await handler.fetch(request, other)).status, 200);
  }
});

for (const log of [undefined, false] as const) {
  const title = log === undefined ? "with a log" : "without a log";
  test(`the runtime is told to close a client that has stalled, and no other: ${title}`, async () => {
    const clock = new FakeClock();
    const source = async function* ({ signal }: { signal: AbortSignal }) {
      while (!signal.aborted) {
        yield "x".repeat(100_000);
        await clock.sleep(10);
      }
    };
    const handler = createHandler({
      source,
      clock,
      heartbeatMs: 0,
      stallMs: 3000,
      disconnect: "cancel",
      ...log === undefined ? {} : { log },
    });
    const seconds = new Map<Request, unknown[]>();
    const info = {
      timeout: (request: Request, value: number) => void seconds.get(request)!.push(value),
    };
    const open = async () => {
      const request = new Request("http://localhost/streaming", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"query":""}',
      });
      const told: unknown[] = [];
      seconds.set(request, told);
      const response = await clock.during(Promise.resolve(handler.fetch(request, info)));
      const reader = response.body!.getReader();
      // What came with the response headers.
      await reader.read();
      return { reader, told };
    };
    const stalled = await open();
    const slow = await open();
    for (let i = 0; i < 6; i++) {
      await clock.advance(2600);
      assert.equal((await clock.during(slow.reader.read())).done, false);
      if (i === 0) assert.deepEqual(stalled.told, [0], "not before it has stalled");
    }
    assert.deepEqual([...new Set(stalled.told)], [0, 1]);
    assert.deepEqual(slow.told, [0], "one that takes a little is left alone");
    await slow.reader.cancel();
    await assert.rejects(async () => {
      while (!(await stalled.reader.read()).done);
    }, { code: "stalled" });
    assert.equal(total(active), 0);
  });
}

test("drain({ delayMs }) says so at once, and takes streams until the delay is over", async () => {
  const clock = new FakeClock();
  const { source } = lasting();
  const handler = createHandler({ source, clock, log: false });
  const health = async () => (await ask(handler, "/health")).status;
  const stream = () => send(handler, "/streaming", { query: "" });
  let isDrained = false;
  const drained = handler.drain({ delayMs: 5000, timeoutMs: 1000 }).then(() => isDrained = true);
  assert.equal(await health(), 503);
  clock.tick(4999);
  await Promise.resolve();
  const open = await stream();
  assert.equal(open.status, 200);
  clock.tick(1);
  await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal((await stream()).status, 503);
  assert.equal(isDrained, false);
  clock.tick(1000);
  await drained;
  assert.match(await open.text(), /shutting_down/);
  assert.equal(await health(), 503);
  assert.equal(total(active), 0);
});

test("drain() without a delay beats one that waits, and takes no nonsense", async () => {
  const clock = new FakeClock();
  const handler = createHandler({ source: "text", clock });
  const waiting = handler.drain({ delayMs: 5000 });
  await handler.drain({ timeoutMs: 0 });
  assert.equal((await send(handler, "/streaming", { query: "" })).status, 503);
  clock.tick(5000);
  await waiting;
  assert.equal(total(active), 0);
  for (const delayMs of [-1, NaN, 2 ** 31]) {
    await assert.rejects(handler.drain({ delayMs }), /delayMs is/);
  }
});

test("fetch() never rejects, also where a route's response cannot have what each one has", async () => {
  /** As a response of `fetch`, whose headers cannot be changed. */
  function fixed(): Response {
    const response = new Response("fixed");
    response.headers.append = () => {
      throw new TypeError("immutable");
    };
    return response;
  }
  const errors: unknown[] = [];
  const handler = createHandler({
    source: "Hello",
    cors: ["https://app.example"],
    pages: [{ routes: [{ method: "GET", path: "/fixed", answer: fixed }] }],
    onError: (error) => errors.push(error),
  });
  const response = await ask(handler, "/fixed", { headers: { origin: "https://app.example" } });
  assert.equal(response.status, 500);
  assert.equal((await problem(response)).code, "internal");
  assert.equal(response.headers.get("access-control-allow-origin"), "https://app.example");
  assert.equal(errors.length, 1);
});
