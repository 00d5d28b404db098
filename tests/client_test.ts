/** `connect()`: what it reads, when it comes back, and why it ends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type ClientFormat,
  connect,
  ConnectError,
  type ConnectInit,
  type ConnectionState,
} from "../lib/client.ts";
import { active } from "../lib/counters.ts";
import { createHandler, MemoryLog, type SourceContext, sse, StreamError } from "../mod.ts";
import { FakeClock } from "../lib/testing.ts";
import { total } from "./support/child.ts";
import { serve, until } from "./support/serve.ts";
import { QUICK } from "./support/wpt.ts";

const SSE = { "content-type": "text/event-stream" };
const DONE = 'event: done\ndata: {"reason":"completed"}\n\n';

/** A request that a fake server was sent. */
interface Seen {
  url: string;
  method: string;
  headers: Headers;
  body: unknown;
}

/** A response that is broken off after its text, or, with `hang`, never goes on. */
function part(text: string, { headers = {}, hang = false } = {}): Response {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(text));
      if (!hang) controller.close();
    },
  });
  return new Response(body, { headers: { ...SSE, ...headers } });
}

const status = (code: number, headers = {}, body: string | null = null) => () =>
  new Response(body, { status: code, headers });

/** Connects to a server that responds by turns; the last one for ever. */
function play<F extends "json" | "text" | "ndjson" | "openai" | "ui-message" = "json">(
  responses: (() => Response | Promise<Response>)[],
  init: ConnectInit<F> = {},
  input: string | URL | Request = "http://test/streaming",
) {
  const seen: Seen[] = [];
  const states: ConnectionState[] = [];
  const clock = Object.assign(new FakeClock(), { random: () => 0 });
  const connection = connect<F>(input, {
    clock,
    onState: (state) => states.push(state),
    fetch: (input, fields) => {
      const { headers, method = "GET", body } = fields;
      const url = typeof input === "string" ? input : input.url;
      seen.push({ url, method, headers: new Headers(headers), body });
      const response = responses[Math.min(seen.length, responses.length) - 1]!;
      return new Promise((resolve) => resolve(response()));
    },
    ...init,
  });
  return { connection, seen, states, clock };
}

async function errorOf(promise: Promise<unknown>): Promise<ConnectError> {
  const error = await promise.then(() => undefined, (error) => error);
  assert(error instanceof ConnectError, String(error));
  return error;
}

/** A signal that tells how many listen to it. */
function watchedSignal() {
  const abort = new AbortController();
  const { signal } = abort;
  const watched = { abort, signal, listeners: 0 };
  const { addEventListener: add, removeEventListener: remove } = EventTarget.prototype;
  const own = new Set<unknown>();
  const count = (change: () => void) => {
    change();
    watched.listeners = own.size;
  };
  Object.assign(signal, {
    addEventListener(type: string, listener: () => void) {
      count(() => own.add(listener));
      add.call(signal, type, listener);
    },
    removeEventListener(type: string, listener: () => void) {
      count(() => own.delete(listener));
      remove.call(signal, type, listener);
    },
  });
  return watched;
}

const lastId = ({ headers }: Seen) => headers.get("last-event-id");
const token = (text: string, id?: string) =>
  `${id === undefined ? "" : `id: ${id}\n`}data: {"token":"${text}"}\n\n`;
const POST = { method: "POST", body: "{}" };

test("connect() reads each format, to its end", async () => {
  const ours = `:\n\n${token("Hel")}event: note\ndata: [1]\n\n${token("lo")}${DONE}`;
  assert.equal(await play([() => part(ours)]).connection.text(), "Hello");
  const items: unknown[] = [];
  for await (const item of play([() => part(ours)]).connection.items()) items.push(item);
  assert.deepEqual(items, ["Hel", { event: "note", data: [1] }, "lo"]);

  const text = `data: Hel\n\nevent: note\ndata: [1]\n\ndata: lo\n\n${DONE}`;
  assert.equal(await play([() => part(text)], { format: "text" }).connection.text(), "Hello");

  const lines = '{"token":"Hel"}\n{"event":"note","data":[1]}\n{"token":"lo"}\n' +
    '{"event":"done","data":{}}\n';
  const headers = { "content-type": "application/x-ndjson; charset=utf-8" };
  const ndjson = play([() => part(lines, { headers })], { format: "ndjson" });
  assert.equal(await ndjson.connection.text(), "Hello");
  assert.equal(ndjson.seen[0]!.headers.get("accept"), "application/x-ndjson");

  const chunk = (delta: object) => `data: ${JSON.stringify({ choices: [{ delta }] })}\n\n`;
  const openai = chunk({ role: "assistant" }) + chunk({ content: "Hel" }) +
    chunk({ content: "lo" }) + 'data: {"choices":[],"usage":{}}\n\ndata: [DONE]\n\n';
  assert.equal(await play([() => part(openai)], { format: "openai" }).connection.text(), "Hello");
  // Mistral's, which thinks beside its text.
  const thought = { type: "thinking", thinking: [{ type: "text", text: "hm" }] };
  const ofParts = chunk({ content: [thought] }) +
    chunk({ content: [thought, { type: "text", text: "H" }, { type: "text", text: "el" }] }) +
    chunk({ content: [{ type: "reference", reference_ids: [1] }, { type: "text", text: "lo" }] }) +
    chunk({ content: [{ type: "note", text: "no" }] }) + "data: [DONE]\n\n";
  const { connection } = play([() => part(ofParts)], { format: "openai" });
  const tokens: string[] = [];
  for await (const token of connection.tokens()) tokens.push(token);
  assert.deepEqual(tokens, ["Hel", "lo"]);
  assert.equal(await play([() => part(ofParts)], { format: "openai" }).connection.text(), "Hello");

  const parts = [{ type: "start" }, { type: "text-delta", id: "1", delta: "Hel" }, {
    type: "reasoning-delta",
    id: "2",
    delta: "no",
  }, { type: "text-delta", id: "1", delta: "lo" }].map((value) =>
    `data: ${JSON.stringify(value)}\n\n`
  );
  const ui = `${parts.join("")}data: [DONE]\n\n`;
  assert.equal(await play([() => part(ui)], { format: "ui-message" }).connection.text(), "Hello");
});

test("connect() iterates over every event, the end included, and keeps what it said", async () => {
  const { connection, states } = play([() => part(token("a", "s.1") + DONE)]);
  const events = [];
  for await (const event of connection) events.push(event);
  assert.deepEqual(events, [
    { event: "message", data: '{"token":"a"}', lastEventId: "s.1" },
    { event: "done", data: '{"reason":"completed"}', lastEventId: "s.1" },
  ]);
  assert.deepEqual(states.map((state) => state.status), ["connecting", "open", "done"]);
  assert.equal(connection.state.reason, "completed");
  assert.deepEqual(connection.state.end, events[1]);
});

test("connect() goes on after the last event given: the same POST, or GET at the address", async () => {
  const responses = [
    () => part(token("Hel", "s.1") + "id: s.2\ndata: {cut"),
    // What was given is not given again.
    () =>
      part(token("Hel", "s.1") + token("lo", "s.2") + DONE, { headers: { "x-stream-id": "s" } }),
  ];
  const named = [
    () => part(token("Hel", "s.1"), { headers: { "x-stream-id": "s" } }),
    responses[1]!,
  ];
  const post = play(named, POST);
  assert.equal(await post.clock.during(post.connection.text()), "Hello");
  assert.deepEqual(post.seen.map(({ url, method, body }) => [url, method, body]), [
    ["http://test/streaming", "POST", "{}"],
    ["http://test/streaming", "POST", "{}"],
  ]);
  assert.deepEqual(post.seen.map(lastId), [null, "s.1"]);

  const address = play(named, { ...POST, streamUrl: (id) => `http://test/s/${id}` });
  assert.equal(await address.clock.during(address.connection.text()), "Hello");
  const [, again] = address.seen;
  assert.deepEqual([again!.url, again!.method, again!.body, lastId(again!)], [
    "http://test/s/s",
    "GET",
    undefined,
    "s.1",
  ]);

  // A body that can be read once.
  const once = play(named, { method: "POST", body: new Blob(["{}"]).stream() });
  assert.equal(await once.clock.during(once.connection.text()), "Hello");
  assert.deepEqual([once.seen[1]!.url, once.seen[1]!.method], ["http://test/streaming/s", "GET"]);

  // Nothing was read, but the stream has a name.
  const early = play([() => part(":\n", { headers: { "x-stream-id": "s" } }), responses[1]!], POST);
  assert.equal(await early.clock.during(early.connection.text()), "Hello");
  assert.equal(lastId(early.seen[1]!), "s.0");
});

test("connect() never asks again where that might generate again", async () => {
  // No response: it may have begun.
  const unsent = play([() => Promise.reject(new TypeError("network"))], POST);
  const first = await errorOf(unsent.connection.text());
  assert.deepEqual([first.kind, first.code, unsent.seen.length], ["gave-up", "unreachable", 1]);
  assert.equal((first.cause as Error).message, "network");
  // A stream without ids.
  for (const init of [{}, POST]) {
    const { connection, seen } = play([() => part(token("Hel"))], init);
    const error = await errorOf(connection.text());
    assert.deepEqual([error.kind, error.code, error.text, error.events, seen.length], [
      "gave-up",
      "not_resumable",
      "Hel",
      1,
      1,
    ]);
  }
  // Nor one that has a name, but no ids to go on behind: from its start, all would come again.
  const nameless = play([() => part(token("Hel"), { headers: { "x-stream-id": "s" } })], POST);
  const stuck = await errorOf(nameless.clock.during(nameless.connection.text()));
  assert.deepEqual([stuck.code, stuck.text, stuck.streamId, nameless.seen.length], [
    "not_resumable",
    "Hel",
    "s",
    1,
  ]);
  // Another stream in place of the one that was asked for.
  const other = play([
    () => part(token("Hel", "s.1"), { headers: { "x-stream-id": "s" } }),
    () => part(token("no", "t.1"), { headers: { "x-stream-id": "t" } }),
  ], POST);
  const error = await errorOf(other.clock.during(other.connection.text()));
  assert.deepEqual([error.kind, error.code, error.text], ["gone", "other_stream", "Hel"]);
  // Unless it is wanted, or the request has a name.
  const again = play([() => part(token("a")), () => part(token("b") + DONE)], { restart: true });
  assert.equal(await again.clock.during(again.connection.text()), "ab");
  const runId = "a".repeat(22);
  const run = play(
    [() => Promise.reject(new TypeError("network")), () => part(token("b") + DONE)],
    {
      ...POST,
      runId,
    },
  );
  assert.equal(await run.clock.during(run.connection.text()), "b");
  assert.deepEqual(run.seen.map(({ headers }) => headers.get("x-run-id")), [runId, runId]);
  // The name begins a generation, and resumes none.
  const named = play([() => part(token("a", "s.1")), () => part(DONE)], { ...POST, runId });
  await named.clock.during(named.connection.text());
  assert.deepEqual(named.seen.map(({ headers }) => headers.get("x-run-id")), [runId, null]);
  // Nor does a gateway say whether it has begun.
  const gateway = play([status(502), () => part(token("b") + DONE)], { ...POST, runId });
  assert.equal(await gateway.clock.during(gateway.connection.text()), "b");
  // What was turned away has not begun.
  const busy = play([status(503), status(429), () => part(token("b") + DONE)], POST);
  assert.equal(await busy.clock.during(busy.connection.text()), "b");
});

test("connect() waits as the stream, the response and its own limits say", async () => {
  const name = { headers: { "x-stream-id": "s" } };
  const { connection, states, clock } = play([
    () => part(`retry: 400\n${token("a", "s.1")}`, name),
    status(500),
    status(503, { "retry-after": "7" }),
    () => part(token("b", "s.2"), name),
    status(502, { "retry-after": new Date(Date.now() + 60_000).toUTCString() }),
    () => part(token("c", "s.3") + DONE, name),
  ]);
  assert.equal(await clock.during(connection.text()), "abc");
  const waits = states.filter(({ status }) => status === "waiting");
  const dated = waits.pop()!;
  assert.deepEqual(waits.map(({ reason, inMs, tries }) => [reason, inMs, tries]), [
    ["cut", 400, 1],
    ["http_500", 800, 2],
    ["http_503", 7000, 3],
    ["cut", 400, 1],
  ]);
  assert.equal(dated.reason, "http_502");
  assert(dated.inMs! > 55_000 && dated.inMs! <= 60_000, `${dated.inMs}`);

  // Nor is a server asked without end that wants no wait.
  const hasty = play([() => part(`retry: 0\n${token("a", "s.1")}`, name), () => part("", name)]);
  assert.equal((await errorOf(hasty.clock.during(hasty.connection.text()))).code, "cut");
  assert.deepEqual(hasty.states.flatMap(({ inMs = [] }) => inMs), [1, 2, 4, 8, 16, 32, 64, 128]);
  // The server's own wish is not bounded.
  const patient = play([() => part(`retry: 40000\n${token("a", "s.1")}`, name), () => part(DONE)]);
  await patient.clock.during(patient.connection.text());
  assert.equal(patient.clock.now(), 40_000);

  const limited = play([
    () => part(token("a", "s.1"), name),
    () => part(":\n", name),
  ], { maxRetries: 4, maxRetryMs: 3000 });
  const error = await errorOf(limited.clock.during(limited.connection.text()));
  assert.deepEqual([error.kind, error.code, error.text, error.lastEventId, error.streamId], [
    "gave-up",
    "cut",
    "a",
    "s.1",
    "s",
  ]);
  const inMs = limited.states.filter(({ status }) => status === "waiting").map(({ inMs }) => inMs);
  assert.deepEqual(inMs, [1000, 2000, 3000, 3000]);
  assert.equal(limited.connection.state.error, error);
  // The jitter is on top.
  const clockOf = Object.assign(new FakeClock(), { random: () => 0.5 });
  const jitter = play([() => part(token("a", "s.1"), name), () => part(DONE, name)], {
    clock: clockOf,
  });
  await clockOf.during(jitter.connection.text());
  assert(jitter.states.some(({ inMs }) => inMs === 1250));
});

test("connect() makes its headers at every try, and what fails to make them is a failed try", async () => {
  let calls = 0;
  const { connection, seen, clock } = play([
    () => part(token("a", "s.1")),
    () => part(DONE),
  ], {
    headers: async () => {
      if (++calls === 2) throw new Error("no token yet");
      return await Promise.resolve({ authorization: `Bearer ${calls}` });
    },
  });
  assert.equal(await clock.during(connection.text()), "a");
  assert.deepEqual(seen.map(({ headers }) => headers.get("authorization")), [
    "Bearer 1",
    "Bearer 3",
  ]);
});

test("connect() sends the last event id as UTF-8, and a tail only at first", async () => {
  const { connection, seen, clock } = play(
    [() => part(token("a", "é")), () => part(DONE)],
    {},
    "http://test/streaming/s?tail=3&x=1",
  );
  await clock.during(connection.text());
  assert.deepEqual([lastId(seen[1]!), seen[1]!.url], ["Ã©", "http://test/streaming/s?x=1"]);
});

test("connect() ends by kind: refused, gone, failed, and what a 204 says", async () => {
  const problem = JSON.stringify({ code: "bad_request", detail: "No query", status: 400 });
  const html = () => new Response("<html>", { headers: { "content-type": "text/html" } });
  const failed = `event: failed\ndata: {"code":"upstream_failed","title":"No","status":502}\n\n`;
  const cases: [() => Response, string, string, number | undefined][] = [
    [status(400, {}, problem), "refused", "bad_request", 400],
    [status(401), "refused", "http_401", 401],
    [status(205), "refused", "http_205", 205],
    [status(500), "refused", "http_500", 500], // it may have begun
    [() => Object.defineProperty(part(""), "status", { value: 0 }), "refused", "redirected", 0],
    [status(404), "gone", "http_404", 404],
    [status(410), "gone", "http_410", 410],
    [html, "refused", "no_event_stream", 200],
    [() => part(failed), "failed", "upstream_failed", 502],
    [() => part("data: no JSON\n\n"), "failed", "malformed", undefined],
    [() => part(`data: ${"x".repeat(200)}`), "failed", "event_too_large", undefined],
    [() => Object.assign(part(""), { getReader: 1 }), "gave-up", "not_resumable", undefined],
  ];
  for (const [response, kind, code, expected] of cases) {
    const { connection, seen } = play([response], { ...POST, maxEventLength: 100 });
    const error = await errorOf(connection.text());
    assert.deepEqual([error.kind, error.code, error.status], [kind, code, expected]);
    assert.equal(seen.length, 1, code);
    assert.equal(await errorOf(connection.text()), error, "and again");
  }
  const { connection } = play([status(400, {}, problem)]);
  const { message, problem: told } = await errorOf(connection.text());
  assert.deepEqual([message, told?.detail], ["No query", "No query"]);
  // A problem that never ends.
  const endless = openPart();
  const slow = play([() => new Response(endless.response.body, { status: 400 })]);
  endless.send("{");
  assert.equal((await errorOf(slow.clock.during(slow.connection.text()))).code, "http_400");
  // React Native's own.
  const bare = Object.defineProperty(part(""), "body", { value: undefined });
  assert.equal((await errorOf(play([() => bare]).connection.text())).code, "no_body");

  const openai = 'data: {"error":{"message":"No","code":"overflow"}}\n\ndata: [DONE]\n\n';
  const chat = await errorOf(play([() => part(openai)], { format: "openai" }).connection.text());
  assert.deepEqual([chat.kind, chat.code, chat.message], ["failed", "overflow", "No"]);
  const ui = 'data: {"type":"error","errorText":"No"}\n\ndata: [DONE]\n\n';
  const parts = await errorOf(play([() => part(ui)], { format: "ui-message" }).connection.text());
  assert.deepEqual([parts.kind, parts.message], ["failed", "No"]);
});

test("connect() says what went wrong in the words of a model API's error", async () => {
  const chunk = { id: "c", choices: [{ delta: { content: "" }, finish_reason: "error" }] };
  const errors: [string, code: string, message: string][] = [
    // OpenRouter's, in a chunk.
    [JSON.stringify({ ...chunk, error: { code: "gone", message: "No" } }), "gone", "No"],
    ['{ "error": {"message":"No","code":"x"}}', "x", "No"],
    ['{"error":"No"}', "failed", "No"],
    ['{"error":{"message":"No","code":null,"type":"server_error"}}', "server_error", "No"],
    ['{"error":{"message":"No","code":500}}', "failed", "No"],
    ['{"error":{"message":{},"code":[]}}', "failed", "The stream failed"],
  ];
  const good = 'data: {"choices":[{"delta":{"content":"a \\"error\\" "}}],"error":null}\n\n';
  for (const [data, code, message] of errors) {
    const wire = `${good}data: ${data}\n\ndata: [DONE]\n\n`;
    const { connection } = play([() => part(wire)], { format: "openai" });
    const error = await errorOf(connection.text());
    assert.deepEqual([error.kind, error.code, error.message, error.text], [
      "failed",
      code,
      message,
      'a "error" ',
    ]);
  }
  const bodies: [object, code: string, message: string][] = [
    [{ error: { message: "No", type: "auth", code: "bad_key" } }, "bad_key", "No"],
    [{ type: "error", error: { type: "auth", message: "No" } }, "auth", "No"],
    [{ error: "No" }, "http_401", "No"],
    [{ type: "about:blank", title: "No" }, "http_401", "No"],
    [{ code: 7, detail: [{ loc: ["body"] }] }, "http_401", "The server returned 401"],
  ];
  for (const [body, code, message] of bodies) {
    const { connection } = play([status(401, {}, JSON.stringify(body))], POST);
    const error = await errorOf(connection.text());
    assert.deepEqual([error.kind, error.code, error.message], ["refused", code, message]);
    assert.deepEqual(error.problem, body);
  }
});

test("connect() takes nothing but text for a token", async () => {
  const delta = (content: unknown) =>
    `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`;
  const noTokens = [["b"], 5, null, [5, null], [{ type: "text", text: 5 }], { text: "b" }];
  const wire = `${delta("a")}${noTokens.map(delta).join("")}${delta("c")}data: [DONE]\n\n`;
  assert.equal(await play([() => part(wire)], { format: "openai" }).connection.text(), "ac");
  const ui = 'data: {"type":"text-delta","id":"1","delta":7}\n\ndata: [DONE]\n\n';
  assert.equal(await play([() => part(ui)], { format: "ui-message" }).connection.text(), "");
  for (const format of ["openai", "ui-message"] as const) {
    const { connection } = play([() => part("data: null\n\ndata: [DONE]\n\n")], { format });
    assert.equal((await errorOf(connection.text())).code, "malformed");
  }
});

test("connect() reads a media type in capitals, as HTTP has it", async () => {
  const headers = { "content-type": "Text/Event-Stream; charset=UTF-8" };
  const { connection } = play([() => part(token("a") + DONE, { headers })]);
  assert.equal(await connection.text(), "a");

  const over = play([() => part(token("a", "s.1")), status(204)]);
  assert.equal(await over.clock.during(over.connection.text()), "a");
  assert.equal(over.connection.state.reason, "nothing_new");
  // Only this client's connection failed.
  const lagged = 'event: failed\ndata: {"code":"shutting_down","resume":true}\n\n';
  const back = play([() => part(token("a", "s.1") + lagged), () => part(token("b", "s.2") + DONE)]);
  assert.equal(await back.clock.during(back.connection.text()), "ab");
  assert(back.states.some(({ reason }) => reason === "shutting_down"));
});

test("connect() notices a stall, by the heartbeats that it was told, or has seen", async () => {
  const name = { "x-stream-id": "s" };
  const end = () => part(token("b", "s.2") + DONE, { headers: name });
  const settings = { ...name, "x-stream-settings": "heartbeat=2000, retry=300" };
  const told = play([() => part(token("a", "s.1"), { headers: settings, hang: true }), end]);
  assert.equal(await told.clock.during(told.connection.text()), "ab");
  assert.equal(told.clock.now(), 6300);
  assert.deepEqual(told.states.map(({ reason }) => reason).filter(Boolean), [
    "stalled",
    "completed",
  ]);

  const clock = new FakeClock();
  let controller: ReadableStreamDefaultController<Uint8Array>;
  const bytes = (text: string) => controller.enqueue(new TextEncoder().encode(text));
  const seen = play([
    () =>
      new Response(new ReadableStream({ start: (it) => void (controller = it) }), {
        headers: { ...SSE, ...name },
      }),
    end,
  ], { clock });
  const text = seen.connection.text();
  await clock.advance(0);
  bytes(token("a", "s.1"));
  await clock.advance(100_000); // silence says nothing yet
  assert.equal(seen.connection.state.status, "open");
  bytes(":\n");
  await clock.advance(1000);
  bytes(":\n");
  await clock.advance(2999);
  assert.equal(seen.connection.state.status, "open");
  await clock.advance(1);
  assert.equal(seen.connection.state.reason, "stalled");
  assert.equal(await clock.during(text), "ab");
  assert.equal(clock.armed, 0);
});

test("connect() ignores settings that are malformed, and believes no heartbeat that is too fast", async () => {
  const values = [
    "heartbeat=5000x",
    "heartbeat=5e3, retry=1e3",
    "xheartbeat=5000",
    "heartbeat=-5000",
    "heartbeat=99",
    "heartbeat=9999999",
    "heartbeat 5000",
    "=,;heartbeat",
    "",
  ];
  for (const value of values) {
    const headers = { "x-stream-id": "s", "x-stream-settings": value };
    const { connection, clock } = play([
      () => part(token("a", "s.1"), { headers }),
      () => part(":\n", { headers, hang: true }),
    ]);
    const text = errorOf(connection.text());
    await until(() => connection.state.status === "waiting", 1000, value);
    assert.equal(connection.state.inMs, 1000, value);
    await clock.advance(1000);
    await until(() => connection.state.status === "open", 1000, value);
    assert.equal(clock.armed, 0, value);
    connection.leave();
    await text;
  }
  // The good ones beside a bad one count, whatever stands between them.
  const headers = { "x-stream-settings": "note=x, heartbeat=100 ,retry=7" };
  const { connection, clock, states } = play([
    () => part(token("a", "s.1"), { headers, hang: true }),
    () => part(DONE),
  ]);
  assert.equal(await clock.during(connection.text()), "a");
  assert.deepEqual(states.find(({ reason }) => reason === "stalled")?.inMs, 7);
  assert.equal(clock.now(), 307);
});

/** A response whose chunks the test sends. */
function openPart(headers = {}) {
  let controller: ReadableStreamDefaultController<Uint8Array>;
  let cancelled = 0;
  const body = new ReadableStream<Uint8Array>({
    start: (it) => void (controller = it),
    cancel: () => void cancelled++,
  });
  return {
    response: new Response(body, { headers: { ...SSE, "x-stream-id": "s", ...headers } }),
    send: (text: string) => controller.enqueue(new TextEncoder().encode(text)),
    close: () => controller.close(),
    cancelled: () => cancelled,
  };
}

test("connect() takes no comments for heartbeats that are near, or of two connections", async () => {
  const clock = new FakeClock();
  const [first, second] = [openPart(), openPart()];
  const { connection } = play([() => first.response, () => second.response], {
    clock,
    retryMs: 1,
  });
  const text = errorOf(connection.text());
  await clock.advance(0);
  first.send(token("a", "s.1"));
  for (let i = 0; i < 3; i++) {
    await clock.advance(900);
    first.send(":\n");
  }
  await clock.advance(5000);
  assert.deepEqual([connection.state.status, clock.armed], ["open", 0]);
  first.close();
  await until(() => connection.state.status === "waiting", 1000, "it waits");
  await clock.advance(2);
  await until(() => connection.state.status === "open", 1000, "it is back");
  await clock.advance(500);
  second.send(":\n");
  await clock.advance(5000);
  assert.deepEqual([connection.state.status, clock.armed], ["open", 0]);
  connection.leave();
  await text;
});

test("connect() takes silence for a break after the time that it is told to", async () => {
  const { connection, clock } = play([
    () => part(token("a", "s.1"), { hang: true }),
    () => part(DONE),
  ], { stallMs: 500 });
  assert.equal(await clock.during(connection.text()), "a");
  assert.equal(clock.now(), 1500);
});

test("connect() drops what it was given before at the border alone", async () => {
  const second = openPart();
  const { connection, clock } = play([
    () => part(token("a", "s.1"), { headers: { "x-stream-id": "s" } }),
    () => second.response,
  ]);
  const tokens = connection.tokens();
  const next = async () => (await clock.during(tokens.next())).value;
  assert.equal(await next(), "a");
  const b = next();
  second.send(token("a", "s.1") + token("b", "s.2"));
  assert.equal(await b, "b");
  // An event without an id of its own has that of the one before.
  second.send(token("c"));
  assert.equal(await next(), "c");
  await connection.return();
});

test("connect() closes each response that it does not read, and each request that it gives up", async () => {
  const wrong = openPart({ "content-type": "text/html" });
  const refused = play([() => wrong.response]);
  await errorOf(refused.connection.text());
  assert.equal(wrong.cancelled(), 1);
  const busy = openPart();
  const again = new Response(busy.response.body, { status: 503 });
  const retried = play([() => again, () => part(DONE)]);
  await retried.clock.during(retried.connection.text());
  assert.equal(busy.cancelled(), 1);

  // A fetch that heeds its signal, and one that does not.
  const late = openPart();
  let signal: AbortSignal | null | undefined;
  let respond: (response: Response) => void;
  const connection = connect("http://test/", {
    fetch: (_, init) => {
      signal = init.signal;
      return new Promise((resolve) => respond = resolve);
    },
  });
  await until(() => signal != null, 1000, "asked");
  connection.leave();
  assert.equal(signal!.aborted, true);
  respond!(late.response);
  await until(() => late.cancelled() === 1, 1000, "closed");
});

test("connect() believes what it was told of heartbeats, and not how they come", async () => {
  const headers = { "x-stream-id": "s", "x-stream-settings": "heartbeat=1000" };
  const first = openPart(headers);
  const { connection, clock } = play([() => first.response, () => part(DONE, { headers })]);
  const text = connection.text();
  await clock.advance(0);
  const beat = () => first.send(":\n");
  // As a tab's, whose timers were held.
  for (const ms of [2900, 2900, 2900]) {
    beat();
    await clock.advance(ms);
  }
  assert.equal(connection.state.status, "open");
  beat();
  await clock.advance(2999);
  assert.equal(connection.state.status, "open");
  await clock.advance(1);
  assert.equal(connection.state.reason, "stalled");
  assert.equal(await clock.during(text), "");
});

test("connect() has no timer that is longer than the runtimes can", async () => {
  const armed: number[] = [];
  const { connection } = play([() => part(token("a", "s.1"), { hang: true })], {
    stallMs: Infinity,
    clock: { now: () => 0, setTimer: (_, ms) => armed.push(ms), clearTimer: () => {} },
  });
  assert.equal((await connection.tokens().next()).value, "a");
  connection.leave();
  assert(armed.length > 0 && armed.every((ms) => ms < 2 ** 31), armed.join());
  assert.equal(connection.state.reason, "left");
});

test("connect() rejects at the call what no try could change", () => {
  const init = (options: object) => () => connect("http://test/", options as ConnectInit);
  for (const name of ["maxRetries", "retryMs", "maxRetryMs", "stallMs", "maxEventLength"]) {
    for (const value of [-1, NaN, "5", null, true, {}, -Infinity]) {
      const message = new RegExp(`^Cannot connect: ${name} is `);
      assert.throws(init({ [name]: value }), { name: "RangeError", message }, `${name} ${value}`);
    }
  }
  for (const name of ["retryMs", "maxRetryMs", "maxEventLength"]) {
    const message = `Cannot connect: ${name} is 0, not 1 or more`;
    assert.throws(init({ [name]: 0 }), { name: "RangeError", message });
  }
  for (const name of ["maxRetry", "bogus", "heartbeatMs", "onstate", "streamID"]) {
    const message = `Cannot connect: unknown option ${name}`;
    assert.throws(init({ [name]: undefined }), { name: "TypeError", message });
  }
  assert.throws(init({ format: "yaml" }), TypeError);
  assert.throws(init({ body: "x" }), TypeError);
  assert.throws(init({ headers: { "a b": "c" } }), TypeError);
  assert.throws(() => connect("http://[/"), TypeError);
  assert.throws(() => connect("/path"), TypeError, "there is no page that it belongs to");
});

test("connect() takes every option at its bounds, and what fetch takes", async () => {
  const bounds = { maxRetries: 0, retryMs: 1, maxRetryMs: 1, stallMs: 0, maxEventLength: 99 };
  const most = { maxRetries: Infinity, retryMs: 1e9, maxRetryMs: Infinity, stallMs: 1e9 };
  const none = { maxRetries: undefined, streamId: null, lastEventId: null, signal: null };
  const ofFetch = { credentials: "omit", cache: "no-store", mode: "cors", redirect: "follow" };
  const more = { referrerPolicy: "origin", integrity: "", keepalive: false, priority: "low" };
  for (const options of [bounds, most, none, { ...ofFetch, ...more }]) {
    const { connection, seen } = play([() => part(token("a") + DONE)], options as ConnectInit);
    assert.equal(await connection.text(), "a");
    assert.equal(lastId(seen[0]!), null);
  }
});

test("connect() ends its wait when the network is back, the page is seen, or it is told to", async () => {
  const navigator = globalThis.navigator as unknown as { onLine?: boolean };
  const before = Object.getOwnPropertyDescriptor(navigator, "onLine");
  Object.defineProperty(navigator, "onLine", { value: true, configurable: true });
  const signals: AbortSignal[] = [];
  class Page extends EventTarget {
    visibilityState = "hidden";
    override addEventListener(
      type: string,
      listener: () => void,
      options: { signal: AbortSignal },
    ) {
      signals.push(options.signal);
      super.addEventListener(type, listener, options);
    }
  }
  const page = new Page();
  Object.defineProperty(globalThis, "document", { value: page, configurable: true });
  const target = new EventTarget();
  const own = ["addEventListener", "removeEventListener"] as const;
  const saved = own.map((name) => Object.getOwnPropertyDescriptor(globalThis, name));
  for (const name of own) {
    Object.defineProperty(globalThis, name, {
      value: target[name].bind(target),
      configurable: true,
      writable: true,
    });
  }
  try {
    const { connection, clock } = play([
      () => part(token("a", "s.1")),
      () => part(token("b", "s.2")),
      () => part(token("c", "s.3")),
      () => part(token("d", "s.4")),
      status(503, { "retry-after": "7" }),
      () => part(DONE),
    ]);
    const text = connection.text();
    const waiting = () => connection.state.status === "waiting";
    await until(waiting, 1000, "it waits");
    page.dispatchEvent(new Event("visibilitychange"));
    await clock.advance(0);
    assert(waiting() && connection.lastEventId === "s.1", "a hidden page wakes nothing");
    page.visibilityState = "visible";
    page.dispatchEvent(new Event("visibilitychange"));
    await until(() => connection.lastEventId === "s.2" && waiting(), 1000, "it waits again");
    target.dispatchEvent(new Event("online"));
    await until(() => connection.lastEventId === "s.3" && waiting(), 1000, "and once more");
    connection.reconnect();
    await until(() => connection.lastEventId === "s.4" && waiting(), 1000, "the last time");
    connection.reconnect();
    await until(() => connection.state.reason === "http_503", 1000, "turned away");
    page.dispatchEvent(new Event("visibilitychange"));
    target.dispatchEvent(new Event("online"));
    await clock.advance(6999);
    assert(waiting(), "what the server asked for holds");
    await clock.advance(1);
    assert.equal(await text, "abcd");
    assert.equal(clock.now(), 7000);
    assert.deepEqual(signals.map(({ aborted }) => aborted), [true, true, true, true]);
  } finally {
    Reflect.deleteProperty(globalThis, "document");
    own.forEach((name, at) => {
      if (saved[at]) Object.defineProperty(globalThis, name, saved[at]);
      else Reflect.deleteProperty(globalThis, name);
    });
    if (before) Object.defineProperty(navigator, "onLine", before);
    else Reflect.deleteProperty(navigator, "onLine");
  }
});

test("connect() leaves at any point, and nothing stays open", async () => {
  const name = { "x-stream-id": "s" };
  const hang = () => part(token("a", "s.1"), { headers: name, hang: true });
  const never = () => new Promise<Response>(() => {});
  const points: [string, (() => Response | Promise<Response>)[]][] = [
    ["connecting", [never]],
    ["open", [hang]],
    ["waiting", [() => part(token("a", "s.1"), { headers: name })]],
    ["connecting", [() => part(token("a", "s.1"), { headers: name }), never]],
  ];
  for (const [state, responses] of points) {
    for (const way of ["signal", "leave"] as const) {
      const watched = watchedSignal();
      const { abort, signal } = watched;
      const { connection, clock, seen } = play(responses, { signal, stallMs: 5e6 });
      const text = errorOf(connection.text());
      for (let i = 0; i < 200 && seen.length < responses.length; i++) await clock.advance(100);
      await until(() => connection.state.status === state, 1000, state);
      assert.equal(watched.listeners, 1);
      if (way === "signal") abort.abort("why");
      else connection.leave();
      const error = await text;
      assert.deepEqual([error.kind, error.cause], [
        "aborted",
        way === "signal" ? "why" : undefined,
      ]);
      assert.equal(connection.state.status, "done");
      assert.deepEqual([clock.armed, watched.listeners], [0, 0], `${state}, ${way}`);
    }
  }
  // Between two steps of a try: nothing more is asked, and nothing begins.
  for (let turns = 0; turns < 20; turns++) {
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({ cancel: () => void (cancelled = true) });
    const leave = async () => {
      for (let i = 0; i < turns; i++) await undefined;
      connection.leave();
    };
    const { connection, states } = play([() => {
      leave();
      return new Response(body, { headers: SSE });
    }]);
    await errorOf(connection.text());
    await until(() => cancelled, 1000, "the response is closed");
    assert.equal(states.findIndex(({ status }) => status === "done"), states.length - 1);
    assert.equal(connection.state.status, "done");
  }
  const gone = play([hang], { signal: AbortSignal.abort("before") });
  assert.equal((await errorOf(gone.connection.text())).cause, "before");
  assert.equal(gone.seen.length, 0);

  // A loop that is left closes the connection, and what is read then is not taken for the whole.
  let cancelled = 0;
  const body = () =>
    new ReadableStream<Uint8Array>({
      start: (it) => it.enqueue(new TextEncoder().encode(token("a", "s.1"))),
      cancel: () => void cancelled++,
    });
  const watched = watchedSignal();
  const { connection } = play([() => new Response(body(), { headers: SSE })], {
    signal: watched.signal,
  });
  for await (const _ of connection.tokens()) break;
  assert.deepEqual([cancelled, watched.listeners], [1, 0]);
  assert.equal(connection.state.reason, "left");
  assert.deepEqual(await connection.next(), { done: true, value: undefined });
  assert.equal((await errorOf(connection.text())).kind, "aborted");
});

const slow = async function* ({ input, signal }: SourceContext<{ query: string }>) {
  for (let at = 0; !signal.aborted; at++) {
    yield `${input.query}${at} `;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

/** `POST /streaming` of a server of our own. */
function ask(query: string, init: ConnectInit = {}): ConnectInit {
  const headers = { "content-type": "application/json" };
  return { method: "POST", headers, body: JSON.stringify({ query }), ...init };
}

test("Connection.stop() ends the generation for everybody, and leave() only this connection", async () => {
  const reports: string[] = [];
  const handler = createHandler({
    source: slow,
    log: new MemoryLog(),
    heartbeatMs: 100,
    onClose: ({ outcome }) => void reports.push(outcome),
  });
  const server = serve(handler.fetch);
  const url = `${server.url}/streaming`;
  try {
    const first = connect(url, ask("a"));
    assert.equal((await first.tokens().next()).value, "a0 ");
    const { streamId } = first;
    // A second tab, and the page after a reload.
    const tab = connect(url, ask("no", { streamId }));
    const reloaded = connect(url, ask("no", { streamId, lastEventId: first.lastEventId }));
    const texts = [tab.text(), reloaded.text()];
    await until(() => tab.lastEventId !== "" && reloaded.state.status === "open", 3000, "joined");
    const byLink = connect(`${url}/${streamId}`);
    await byLink.next();
    byLink.leave();
    assert.equal((await errorOf(byLink.text())).kind, "aborted");
    const sequence = () => Number(tab.lastEventId.split(".")[1]);
    const left = sequence();
    await until(() => sequence() >= left + 10, 3000, "the tab reads on");
    assert.deepEqual(reports, []);
    assert.equal(await tab.stop(), true);
    const [whole, rest] = await Promise.all(texts);
    assert.equal(`a0 ${rest}`, whole);
    assert.match(tab.state.end!.data, /"reason":"cancelled"/);
    assert.equal(await first.stop(), true, "it had ended");
    await first.return();
    await until(() => total(active) === 0, 3000, "nothing is left");
    assert.deepEqual(reports, ["cancelled"]);

    const unknown = connect(url, { streamId: "nobody" });
    assert.equal((await errorOf(unknown.text())).kind, "gone");
    assert.equal(await unknown.stop(), false);
    const refusing = connect(url, { streamId: "a", streamUrl: () => `${server.url}/docs` });
    await refusing.return();
    assert.deepEqual((await errorOf(refusing.stop())).kind, "refused");
    const nowhere = connect("http://127.0.0.1:1/", { streamId: "a", maxRetries: 0 });
    assert.equal((await errorOf(nowhere.text())).code, "unreachable");
    assert.equal((await errorOf(nowhere.stop())).kind, "gave-up");
  } finally {
    await server.close();
  }
});

test("connect() does not take what was left unread for the whole", async () => {
  const { connection } = play([() => part(token("a") + token("b") + DONE)]);
  await connection.next();
  assert.equal(connection.state.reason, "completed");
  connection.leave();
  assert.equal((await errorOf(connection.text())).kind, "aborted");
});

test("connect() reads what the handler writes in every format, its failures included", async () => {
  const handler = createHandler({
    source: async function* ({ input }) {
      yield "Hel";
      yield { event: "note", data: 1 };
      yield "lo";
      if (input.query === "fail") throw new StreamError("overflow");
    },
    log: new MemoryLog(),
    onError: () => {},
  });
  const server = serve(handler.fetch);
  const messages = (content: string) => [
    { id: "1", role: "user", content, parts: [{ type: "text", text: content }] },
  ];
  const routes = {
    json: "/streaming",
    text: "/streaming?format=text",
    ndjson: "/streaming?format=ndjson",
    openai: "/v1/chat/completions",
    "ui-message": "/api/chat",
  };
  try {
    for (const [format, path] of Object.entries(routes) as [ClientFormat, string][]) {
      const read = (query: string) => {
        const chat = { id: "c", model: "spillway", messages: messages(query), stream: true };
        const body = JSON.stringify(path.startsWith("/streaming") ? { query } : chat);
        return connect(server.url + path, { ...ask(query), format, body } as ConnectInit).text();
      };
      assert.equal(await read("a"), "Hello", format);
      const error = await errorOf(read("fail"));
      assert.deepEqual([error.kind, error.text], ["failed", "Hello"], format);
      if (format !== "ui-message") assert.match(error.code, /overflow/, format);
    }
    await until(() => total(active) === 0, 3000, "nothing is left");
  } finally {
    await server.close();
  }
});

test("connect() follows redirects, but makes no GET of a POST", async () => {
  const starts: string[] = [];
  let turnedAway = 0;
  const handler = createHandler({ source: ({ input }) => [...input.query], log: new MemoryLog() });
  const server = serve((request) => {
    const { pathname } = new URL(request.url);
    const [, status] = /^\/(\d+)$/.exec(pathname) ?? [];
    if (status !== undefined) {
      return new Response(null, { status: Number(status), headers: { location: "/any" } });
    }
    if (pathname === "/turn/streaming") {
      turnedAway++;
      return new Response(null, { status: 307, headers: { location: "/streaming" } });
    }
    if (pathname !== "/any") return handler.fetch(request);
    starts.push(request.method);
    return sse(request, async ({ queue }) => void queue.send(`${await request.text()}.`));
  });
  const post = { method: "POST", body: "Hello" };
  const statuses = [301, 302, 303, 307, 308];
  try {
    for (const status of statuses) {
      const url = `${server.url}/${status}`;
      assert.equal(await connect(url).text(), ".");
      assert.deepEqual(starts.splice(0), ["GET"], `${status}`);
      if (status < 307) {
        for (const request of [connect(url, post), connect(new Request(url, post))]) {
          const error = await errorOf(request.text());
          assert.deepEqual([error.kind, error.code, error.status], [
            "refused",
            "redirected",
            status,
          ]);
          assert.match(error.message, /redirect/);
        }
        assert.deepEqual(starts, [], `${status}: nothing was begun`);
      } else {
        assert.equal(await connect(url, post).text(), "Hello.");
        assert.equal(await connect(new Request(url, post)).text(), "Hello.");
        assert.deepEqual(starts.splice(0), ["POST", "POST"], `${status}`);
      }
      // As fetch does it, if that is wanted.
      const followed = await connect(url, { ...post, redirect: "follow" }).text();
      assert.equal(followed, status < 307 ? "." : "Hello.");
      starts.length = 0;
      assert.equal(
        (await errorOf(connect(url, { ...post, redirect: "error" }).text())).kind,
        "gave-up",
      );
    }
    // A resume is redirected as the first request was; each of them looks where it leads first.
    let cuts = 0;
    const connection = connect(`${server.url}/turn/streaming`, {
      ...ask("Hello", { retryMs: 1 }),
      clock: QUICK,
      fetch: async (input, init) => {
        const response = await fetch(input, init);
        if (response.status !== 200 || cuts++ > 0) return response;
        const reader = response.body!.getReader();
        let text = "";
        while (!text.includes("token")) {
          text += new TextDecoder().decode((await reader.read()).value);
        }
        await reader.cancel();
        return new Response(text.slice(0, text.indexOf("\n\n") + 2), response);
      },
    });
    assert.equal(await connection.text(), "Hello");
    assert.deepEqual([cuts, turnedAway], [2, 4]);
  } finally {
    await server.close();
  }
});

test("connect() reads a Request, and needs no log", async () => {
  const server = serve((request) =>
    sse(request, async ({ queue }) => void queue.send(await request.text()))
  );
  try {
    const init = { method: "POST", body: "Hello" };
    assert.equal(await connect(new Request(`${server.url}/new`, init)).text(), "Hello");
    assert.equal(await connect(new URL("/new", server.url), init).text(), "Hello");
    const unnamed = connect(`${server.url}/new`, init);
    await unnamed.text();
    assert.equal(await unnamed.stop(), false);
  } finally {
    await server.close();
  }
});

test("connect() begins again at the start of a stream of which it has only the name", async () => {
  let starts = 0;
  const source = () => (starts++, ["Hel", "lo"]);
  const server = serve(createHandler({ source, log: new MemoryLog() }).fetch);
  try {
    for (const streamUrl of [undefined, (id: string) => `${server.url}/streaming/${id}`]) {
      let tries = 0;
      const connection = connect(`${server.url}/streaming`, {
        ...ask("a", { retryMs: 1, ...streamUrl && { streamUrl } }),
        fetch: async (input, init) => {
          const response = await fetch(input, init);
          if (tries++ > 0) return response;
          await response.body!.cancel();
          return new Response(new ReadableStream({ start: (it) => it.close() }), response);
        },
      });
      assert.equal(await connection.text(), "Hello");
      assert.equal(tries, 2);
    }
    assert.equal(starts, 2);
  } finally {
    await server.close();
  }
});
