/**
 * Coming back to a stream over HTTP, through the handler: every answer of "Resuming", joining and
 * stopping, what is resumable and what is not, a server that drains, and readers who leave.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import { StreamError } from "../../lib/error.ts";
import type { StreamReport } from "../../lib/pipeline/generation.ts";
import { createHandler, type Handler, type HandlerOptions } from "../../lib/handler.ts";
import { resume, stop } from "../../lib/http/resume.ts";
import { sse } from "../../lib/http/sse.ts";
import type { ReplayLog } from "../../lib/http/replay_log.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import { createStreamId } from "../../lib/stream_id.ts";
import { type Block, blocksOf, Reading, same, textOf } from "../support/reading.ts";
import { bodyOf, DEPARTURES, rawRequest, serve, until } from "../support/serve.ts";
import {
  ask,
  type Asked,
  assertNothingLeft,
  post,
  Puppet,
  refusal,
  ROUTES,
  type StreamingRoute,
} from "../support/ask.ts";

const [JSON_ROUTE, , OPENAI] = ROUTES as [StreamingRoute, StreamingRoute, StreamingRoute];
const EVENT_STREAM = "text/event-stream; charset=utf-8";

/** A handler over a puppet. */
function stage(options: Partial<HandlerOptions> = {}) {
  const puppet = new Puppet();
  const reports: StreamReport[] = [];
  const handler = createHandler({
    source: puppet.source,
    commitAfterMs: 0,
    onClose: (report) => reports.push(report),
    ...options,
  });
  return { puppet, handler, reports };
}

/** Starts a stream and reads the first `count` events of it. */
async function started(
  { puppet, handler }: { puppet: Puppet; handler: Handler },
  tokens: string[] = ["one ", "two ", "three"],
  { path, body }: StreamingRoute = JSON_ROUTE,
): Promise<Reading> {
  const reading = new Reading(await post(handler, path, body));
  assert.equal(reading.status, 200);
  puppet.say(...tokens);
  if (tokens.length > 0) await reading.until(() => reading.body.includes(tokens.at(-1)!));
  return reading;
}

/** A stream of three tokens that has ended, read to its end: events 1 to 4. */
async function finished(options: Partial<HandlerOptions> = {}) {
  const set = stage(options);
  const reading = await started(set);
  set.puppet.end();
  await reading.rest();
  return { ...set, reading, id: reading.streamId, path: `/streaming/${reading.streamId}` };
}

const get = async (handler: Handler, path: string, headers = {}, method = "GET") =>
  new Reading(await ask(handler, path, { method, headers }));
const from = (id: string, event: number | string): Record<string, string> => ({
  "last-event-id": `${id}.${event}`,
});
const texts = (blocks: readonly Block[]) => blocks.map(({ text }) => text).join("");

// Finished streams.

test("GET /streaming/{id} answers a finished stream from the start, byte for byte", async () => {
  const { handler, puppet, reading, id, path } = await finished();
  const again = await (await get(handler, path)).rest();
  assert.equal(again.status, 200);
  assert.equal(again.body, reading.body);
  assert.equal(again.streamId, id);
  for (const [name, value] of reading.response.headers) {
    if (name !== "vary") assert.equal(again.response.headers.get(name), value, name);
  }
  assert.equal(puppet.runs, 1);
  await assertNothingLeft();
});

test("GET /streaming/{id} goes on after Last-Event-ID, or ?lastEventId=, which it beats", async () => {
  const { handler, reading, id, path } = await finished();
  const rest = (after: number) => `:\n${texts(reading.blocks.slice(after))}`;
  for (const after of [0, 1, 2, 3]) {
    const byHeader = await (await get(handler, path, from(id, after))).rest();
    assert.equal(byHeader.body, rest(after));
    const byQuery = await (await get(handler, `${path}?lastEventId=${id}.${after}`)).rest();
    assert.equal(byQuery.body, rest(after));
    const both = await get(handler, `${path}?lastEventId=${id}.0`, from(id, after));
    assert.equal((await both.rest()).body, rest(after));
  }
  const wrong = await get(handler, `${path}?lastEventId=nonsense`, from(id, 3));
  assert.equal((await wrong.rest()).body, rest(3));
});

test("GET and HEAD /streaming/{id} answer 204 to who has read it all, and never run it again", async () => {
  const { handler, puppet, id, path } = await finished({ headers: { "x-own": "1" } });
  for (const method of ["GET", "HEAD"]) {
    for (const query of ["", `?lastEventId=${id}.4`]) {
      const headers = query === "" ? from(id, 4) : {};
      const reading = await (await get(handler, path + query, headers, method)).rest();
      assert.deepEqual([reading.status, reading.body], [204, ""]);
      assert.equal(reading.response.headers.get("content-type"), null);
      assert.equal(reading.response.headers.get("x-own"), "1");
    }
  }
  assert.equal(puppet.runs, 1);
  await assertNothingLeft();
});

test("GET /streaming/{id} answers 400 to a position past a finished stream's end", async () => {
  const { handler, id, path } = await finished();
  for (const event of [5, 6, 10 ** 14]) {
    const { detail } = await (await get(handler, path, from(id, event))).problem(
      400,
      "bad_request",
    );
    assert.equal(detail, "Last-Event-ID is past the end");
  }
});

test("a malformed Last-Event-ID is 400 on GET and POST, in the header and in the query", async () => {
  const { handler, puppet, id, path } = await finished();
  const malformed = ["", "x", id, `${id}.`, `${id}.x`, `${id}.-1`, `${id}.1.5`, ".1", `${id}.end`]
    .concat([`${id}.1 2`, `${id}.${"1".repeat(16)}`, `${"a".repeat(129)}.1`, `a/b.1`, `%00.1`]);
  for (const value of malformed) {
    const headers = { "last-event-id": value };
    await (await get(handler, path, headers)).problem(400, "bad_request");
    const query = `?lastEventId=${encodeURIComponent(value)}`;
    await (await get(handler, path + query)).problem(400, "bad_request");
    await new Reading(await post(handler, "/streaming", {}, headers)).problem(400, "bad_request");
  }
  assert.equal(puppet.runs, 1);
});

test("a Last-Event-ID of another stream is 400, whether there is such a stream or not", async () => {
  const { handler, path } = await finished();
  const other = new Reading(await post(handler, "/streaming", { query: "" }));
  const bodies = [];
  for (const id of [other.streamId, createStreamId()]) {
    const reading = await get(handler, path, from(id, 1));
    await reading.problem(400, "bad_request");
    bodies.push(reading.body);
  }
  assert.equal(bodies[0], bodies[1]);
  await ask(handler, `/streaming/${other.streamId}`, { method: "DELETE" });
  await other.rest();
  await assertNothingLeft();
});

test("an unknown stream is 404 on GET, HEAD, POST and DELETE", async () => {
  const { handler } = await finished();
  for (const id of [createStreamId(), "x", "a/b", "%20", "constructor", "a".repeat(500)]) {
    await (await get(handler, `/streaming/${id}`)).problem(404, "not_found");
    const head = await ask(handler, `/streaming/${id}`, { method: "HEAD" });
    assert.deepEqual([head.status, await head.text()], [404, ""]);
    await (await get(handler, `/streaming/${id}`, {}, "DELETE")).problem(404, "not_found");
  }
  const posted = await post(handler, "/streaming", {}, from(createStreamId(), 1));
  assert.equal(await refusal(posted, 404, "problem"), "not_found");
});

test("a stream is forgotten when its time has come", async () => {
  const { handler, path, id } = await finished({ log: new MemoryLog({ keepMs: 30 }) });
  assert.equal((await (await get(handler, path)).rest()).status, 200);
  let status = 200;
  for (let tries = 0; tries < 100 && status === 200; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    status = (await (await get(handler, path)).rest()).status;
  }
  assert.equal(status, 404);
  await (await get(handler, path, from(id, 4))).problem(404, "not_found");
  await (await get(handler, path, {}, "DELETE")).problem(404, "not_found");
});

test("GET /streaming/{id} in another format than the recorded one is 406", async () => {
  const { handler, id, path } = await finished();
  const wrong: [query: string, headers: Record<string, string>][] = [
    ["?format=text", {}],
    ["?format=nonsense", {}],
    ["", { accept: "application/x-ndjson" }],
    ["", { accept: "text/plain" }],
    ["?format=text", from(id, 4)],
    ["", { accept: "text/event-stream;q=0" }],
  ];
  for (const [query, headers] of wrong) {
    const { detail } = await (await get(handler, path + query, headers)).problem(
      406,
      "not_acceptable",
    );
    assert.equal(detail, "The stream is recorded as json");
  }
  const right: [query: string, headers: Record<string, string>][] = [
    ["?format=json", {}],
    ["", { accept: "text/event-stream" }],
    ["", { accept: "*/*" }],
    ["", { accept: "text/plain, text/*;q=0.5" }],
  ];
  for (const [query, headers] of right) {
    assert.equal((await (await get(handler, path + query, headers)).rest()).status, 200);
  }
});

test("a position that the log no longer holds is 410", async () => {
  const set = stage({ log: new MemoryLog({ maxStreamBytes: 128 * 1024 }) });
  const first = await started(set, ["first"]);
  // Nobody reads on, and a producer that only calls back cannot be held up.
  for (let i = 0; i < 200; i++) set.puppet.say(`${i} ${"x".repeat(2000)}`);
  const path = `/streaming/${first.streamId}`;
  const gone = async () => {
    for (const headers of [{}, from(first.streamId, 0), from(first.streamId, 1)]) {
      await (await get(set.handler, path, headers)).problem(410, "gone");
      if ("last-event-id" in headers) {
        const posted = await post(set.handler, "/streaming", {}, headers);
        assert.equal(await refusal(posted, 410, "problem"), "gone");
      }
    }
  };
  await gone();
  set.puppet.end();
  const { blocks } = await (await get(set.handler, path, from(first.streamId, 190))).rest();
  assert.deepEqual(blocks.map(({ number }) => number), [
    ...Array.from({ length: 11 }, (_, i) => 191 + i),
    202,
  ]);
  await gone();
  await first.leave();
  await assertNothingLeft();
});

// Live streams.

test("GET /streaming/{id} joins a live stream from its start and follows it to its end", async () => {
  const set = stage();
  const first = await started(set, ["one "]);
  const late = await get(set.handler, `/streaming/${first.streamId}`);
  await late.events(1);
  set.puppet.say("two");
  await Promise.all([first.events(2), late.events(2)]);
  set.puppet.end();
  await Promise.all([first.rest(), late.rest()]);
  assert.equal(late.body, first.body);
  assert.deepEqual([late.text, set.puppet.runs], ["one two", 1]);
  await assertNothingLeft();
});

test("GET /streaming/{id} waits where its position is ahead of a live stream", async () => {
  const set = stage();
  const first = await started(set, ["one "]);
  const ahead = await get(set.handler, `/streaming/${first.streamId}`, from(first.streamId, 3));
  assert.equal(ahead.status, 200);
  set.puppet.say("two ", "three ", "four ");
  await ahead.events(1);
  assert.equal(ahead.last.number, 4);
  set.puppet.end();
  assert.equal((await ahead.rest()).text, "four ");
  await first.rest();
  await assertNothingLeft();
});

test("HEAD /streaming/{id} answers the head of GET and joins nothing", async () => {
  const set = stage();
  const first = await started(set);
  const { readers } = active;
  const path = `/streaming/${first.streamId}`;
  for (const headers of [{}, from(first.streamId, 2)]) {
    const head = await ask(set.handler, path, { method: "HEAD", headers });
    assert.deepEqual([head.status, await head.text()], [200, ""]);
    assert.equal(head.headers.get("content-type"), EVENT_STREAM);
    assert.equal(head.headers.get("x-stream-id"), first.streamId);
    assert.equal(active.readers, readers);
  }
  set.puppet.end();
  await first.rest();
  await assertNothingLeft();
});

test("a stream is not there before it begins, nor after it was refused", async () => {
  const log = new MemoryLog();
  const { handler } = stage({
    log,
    onError: () => {},
    source: () => {
      throw new Error("broken");
    },
  });
  const response = await post(handler, "/streaming", JSON_ROUTE.body);
  assert.equal(response.headers.get("x-stream-id"), null);
  assert.equal(await refusal(response, 500, "problem"), "internal");
  assert.equal(log.size, 0);
  await assertNothingLeft();
});

test("who has left before the start holds no place, and leaves nothing in the log", async () => {
  const log = new MemoryLog();
  const set = stage({ log, limits: { maxStreams: 1 } });
  for (const { path, body } of ROUTES) {
    const response = await ask(set.handler, path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.abort(),
    });
    assert.equal(response.headers.get("x-stream-id"), null);
    await response.body?.cancel();
    await assertNothingLeft();
    assert.equal(log.size, 0);
  }
});

test("a failure is logged, has an id and is final", async () => {
  const set = stage({ onError: () => {} });
  const first = await started(set, ["half"]);
  set.puppet.fail(new StreamError("truncated"));
  await first.rest();
  assert.equal(first.last.event, "failed");
  assert.equal(first.last.id, `${first.streamId}.2`);
  assert.equal(JSON.parse(first.last.data).resume, undefined);
  const path = `/streaming/${first.streamId}`;
  assert.equal((await (await get(set.handler, path)).rest()).body, first.body);
  assert.equal((await get(set.handler, path, from(first.streamId, 2))).status, 204);
});

// POST with Last-Event-ID.

for (const route of ROUTES) {
  const { path, body, format, shape, textOf } = route;
  const textIn = (blocks: readonly Block[]) =>
    blocks.map(({ data }) => textOf(data) ?? "").join("");

  test(`POST ${path} is resumable as ${format}, by POST and by GET`, async () => {
    const set = stage();
    const first = await started(set, ["one ", "two "], route);
    assert.match(first.streamId, /^[\w-]{22}$/);
    await until(() => first.blocks.length > 0, 100, "events");
    const cut = from(first.streamId, first.last.number!);
    const posted = new Reading(await post(set.handler, path, body, cut));
    const got = await get(set.handler, `/streaming/${first.streamId}`, cut);
    set.puppet.say("three");
    set.puppet.end();
    const before = first.blocks.length;
    await Promise.all([first.rest(), posted.rest(), got.rest()]);
    assert.equal(texts(posted.blocks), texts(first.blocks.slice(before)));
    assert.equal(got.body, posted.body);
    assert.equal(textIn(first.blocks), "one two three");
    assert.deepEqual(first.blocks.map(({ id }) => id), [
      ...first.blocks.map((_, i) => `${first.streamId}.${i + 1}`),
    ]);
    // Some clients of the other formats choke on it.
    const retries = first.blocks.map(({ retry }) => retry).filter(Boolean);
    assert.deepEqual(retries, format === "json" || format === "text" ? ["1000"] : []);
    for (const { response } of [posted, got]) {
      for (const name of ["content-type", "x-stream-id", "x-vercel-ai-ui-message-stream"]) {
        assert.equal(response.headers.get(name), first.response.headers.get(name), name);
      }
    }
    assert.equal(set.puppet.runs, 1);
    await assertNothingLeft();
  });

  test(`POST ${path} with Last-Event-ID reads its body, ignores it, and starts nothing`, async () => {
    const set = stage();
    const first = await started(set, ["one "], route);
    set.puppet.end();
    await first.rest();
    const headers = from(first.streamId, 0);
    const asked: Asked[] = [
      { body: "" },
      { body: "{" },
      { body: JSON.stringify(body), headers: { "content-type": "application/json" } },
      { body: "\ud800", headers: { "content-type": "text/plain" } },
      { body: `{"query":${"[".repeat(500)}` },
    ];
    for (const { body, headers: more } of asked) {
      const response = await ask(set.handler, path, {
        method: "POST",
        body: body!,
        headers: { ...headers, ...more },
      });
      assert.equal((await new Reading(response).rest()).body, first.body);
    }
    assert.equal(set.puppet.runs, 1);
    assert.equal(set.reports.length, 1);
    await assertNothingLeft();
  });

  test(`POST ${path} with Last-Event-ID reads its body within the limits`, async () => {
    const limits = { maxBodyBytes: 100, bodyTimeoutMs: 20 };
    const set = stage({ limits });
    const headers = from(createStreamId(), 1);
    const large = await post(set.handler, path, "x".repeat(101), headers);
    await refusal(large, 413, shape);
    const endless = new Request(`http://localhost${path}`, {
      method: "POST",
      headers,
      body: new ReadableStream(),
      duplex: "half",
    } as RequestInit);
    await refusal(await set.handler.fetch(endless), 408, shape);
    await assertNothingLeft();
  });

  test(`POST ${path} with the last id of a finished stream is 200 and the end once more`, async () => {
    const set = stage();
    const first = await started(set, ["one "], route);
    set.puppet.end();
    await first.rest();
    const last = first.last.number!;
    const again = await new Reading(
      await post(set.handler, path, body, from(first.streamId, last)),
    ).rest();
    assert.equal(again.status, 200);
    assert(again.body.startsWith(":\n"), again.body);
    assert(again.blocks.length > 0 && first.body.endsWith(texts(again.blocks)));
    assert.equal(textIn(again.blocks), "");
    const past = await post(set.handler, path, body, from(first.streamId, last + 1));
    await refusal(past, 400, shape);
    assert.equal(set.puppet.runs, 1);
  });

  test(`POST ${path} with Last-Event-ID is 404 without a log, and for an unknown stream`, async () => {
    for (const options of [{ log: false as const }, {}]) {
      const set = stage(options);
      const response = await post(set.handler, path, body, from(createStreamId(), 1));
      await refusal(response, 404, shape);
      assert.equal(set.puppet.runs, 0);
    }
    await assertNothingLeft();
  });

  test(`POST ${path} cannot go on with a stream of another format`, async () => {
    const set = stage();
    const other = ROUTES.find(({ format }) => format === "anthropic") === route
      ? OPENAI
      : ROUTES.find(({ format }) => format === "anthropic")!;
    const first = await started(set, ["one "], other);
    set.puppet.end();
    await first.rest();
    const response = await post(set.handler, path, body, from(first.streamId, 1));
    if (path === "/streaming") {
      // There the format is the request's to choose, and it has chosen none.
      assert.equal((await new Reading(response).rest()).status, 200);
    } else await refusal(response, 406, shape);
  });

  test(`POST ${path}: a stop is the normal end of ${format}, for every reader at once`, async () => {
    const set = stage();
    const first = await started(set, ["one "], route);
    const url = `/streaming/${first.streamId}`;
    const readers = [first, await get(set.handler, url), await get(set.handler, url)];
    const fromMs = performance.now();
    const stopped = await ask(set.handler, url, { method: "DELETE" });
    assert.deepEqual([stopped.status, await stopped.text()], [204, ""]);
    await Promise.all(readers.map((reading) => reading.rest()));
    assert(performance.now() - fromMs < 100, `${performance.now() - fromMs} ms`);
    assert.equal(set.puppet.reason, "stopped");
    const ends: Record<string, [string, string]> = {
      json: ['{"reason":"cancelled","tokens":1}', '{"reason":"cancelled","tokens":1}'],
      text: ['{"reason":"cancelled","tokens":1}', '{"reason":"cancelled","tokens":1}'],
      openai: ['"finish_reason":"stop"', "[DONE]"],
      anthropic: ['"stop_reason":"end_turn"', '{"type":"message_stop"}'],
      "ui-message": ['{"type":"abort"', "[DONE]"],
    };
    const [before, last] = ends[format]!;
    for (const { blocks, end } of readers) {
      assert.equal(end, "whole");
      assert.equal(blocks.at(-1)!.data, last);
      assert(blocks.slice(-2).some(({ data }) => data.includes(before)), texts(blocks));
      assert.equal(texts(blocks), texts(first.blocks));
    }
    assert.deepEqual(set.reports.map(({ outcome, code }) => [outcome, code]), [
      ["cancelled", "stopped"],
    ]);
    await assertNothingLeft();
    const again = await ask(set.handler, url, { method: "DELETE" });
    assert.equal(again.status, 204);
    assert.equal(
      (await get(set.handler, url, from(first.streamId, first.last.number!))).status,
      204,
    );
  });
}

// What is not resumable.

test("ndjson, plain and whole answers carry no x-stream-id, and end with their reader", async () => {
  const messages = [{ role: "user", content: "Hi" }];
  const others: [path: string, body: object, accept?: string][] = [
    ["/streaming?format=ndjson", { query: "" }],
    ["/streaming?format=plain", { query: "" }],
    ["/streaming", { query: "" }, "application/x-ndjson"],
    ["/streaming", { query: "" }, "text/plain"],
    ["/v1/chat/completions", { model: "m", messages }],
    ["/v1/chat/completions", { model: "m", messages, stream: false }],
    ["/v1/messages", { model: "m", max_tokens: 9, messages }],
  ];
  for (const [path, body, accept] of others) {
    const log = new MemoryLog();
    const set = stage({ log });
    const leaving = new AbortController();
    const pending = ask(set.handler, path, {
      method: "POST",
      headers: { "content-type": "application/json", ...accept ? { accept } : {} },
      body: JSON.stringify(body),
      signal: leaving.signal,
    });
    await until(() => set.puppet.runs === 1, 1000, "a start");
    assert.equal(log.size, 0, path);
    leaving.abort();
    await until(() => set.puppet.reason === "disconnected", 100, `${path}: the source was told`);
    const left = await pending;
    assert.equal(left.headers.get("x-stream-id"), null);
    await left.body?.cancel().catch(() => {});
    const answered = post(set.handler, path, body, accept ? { accept } : {});
    await until(() => set.puppet.runs === 2, 1000, "a start");
    set.puppet.say("text");
    set.puppet.end();
    const response = await answered;
    assert.deepEqual([response.status, response.headers.get("x-stream-id")], [200, null]);
    const text = await response.text();
    assert(text.includes("text") && !/^id: /m.test(text), text);
    await assertNothingLeft();
  }
});

test("without a log there are no ids, and nothing to join, resume or stop", async () => {
  const set = stage({ log: false });
  const reading = new Reading(await post(set.handler, "/streaming", JSON_ROUTE.body));
  assert.equal(reading.response.headers.get("x-stream-id"), null);
  set.puppet.say("one");
  set.puppet.end();
  await reading.rest();
  assert.doesNotMatch(reading.body, /^(id|retry):/m);
  const id = set.reports[0]!.streamId;
  for (const method of ["GET", "DELETE"]) {
    await (await get(set.handler, `/streaming/${id}`, {}, method)).problem(404, "not_found");
  }
  assert.equal((await get(set.handler, "/api/chat/chat-1/stream")).status, 204);
  assert.throws(() => stage({ log: false, disconnect: "continue" }), TypeError);
});

// The AI SDK's route.

test("GET /api/chat/{id}/stream replays the chat's live stream from the start", async () => {
  const set = stage();
  const route = ROUTES.find(({ path }) => path === "/api/chat")!;
  const first = await started(set, ["one ", "two "], route);
  for (const headers of [{}, from(first.streamId, 3), { "last-event-id": "nonsense" }]) {
    const replay = await get(set.handler, "/api/chat/chat-1/stream", headers);
    await replay.events(first.blocks.length);
    assert.equal(replay.status, 200);
    assert.equal(texts(replay.blocks), texts(first.blocks));
    assert.equal(replay.response.headers.get("x-vercel-ai-ui-message-stream"), "v1");
    assert.equal(replay.streamId, first.streamId);
    await replay.leave();
  }
  const head = await ask(set.handler, "/api/chat/chat-1/stream", { method: "HEAD" });
  assert.deepEqual([head.status, head.body], [200, null]);
  const replay = await get(set.handler, "/api/chat/chat-1/stream");
  set.puppet.say("three");
  set.puppet.end();
  await Promise.all([first.rest(), replay.rest()]);
  assert.equal(replay.body, first.body);
  await assertNothingLeft();
});

test("GET /api/chat/{id}/stream is 204 for no chat, a finished one, and another's", async () => {
  const owner = (request: Request) => request.headers.get("x-who") ?? "nobody";
  const set = stage({ authorize: owner });
  const { path, body } = ROUTES.find(({ path }) => path === "/api/chat")!;
  const ada = { "x-who": "ada" };
  const first = new Reading(await post(set.handler, path, body, ada));
  set.puppet.say("one");
  const url = "/api/chat/chat-1/stream";
  assert.equal((await get(set.handler, url, { "x-who": "bob" })).status, 204);
  assert.equal((await get(set.handler, "/api/chat/chat-2/stream", ada)).status, 204);
  assert.equal((await get(set.handler, "/api/chat/constructor/stream", ada)).status, 204);
  const live = await get(set.handler, url, ada);
  assert.equal(live.status, 200);
  set.puppet.end();
  await Promise.all([first.rest(), live.rest()]);
  const over = await (await get(set.handler, url, ada)).rest();
  assert.deepEqual([over.status, over.body], [204, ""]);
  await assertNothingLeft();
});

test("GET /api/chat/{id}/stream takes the latest of a chat's streams, and any chat id", async () => {
  const set = stage();
  const id = "a b/ö?%";
  const body = { ...ROUTES.find(({ path }) => path === "/api/chat")!.body, id };
  const first = new Reading(await post(set.handler, "/api/chat", body));
  const second = new Reading(await post(set.handler, "/api/chat", body));
  set.puppet.say("the latest");
  const replay = await get(set.handler, `/api/chat/${encodeURIComponent(id)}/stream`);
  await replay.until(() => replay.body.includes("the latest"));
  assert.equal(replay.streamId, second.streamId);
  for (const { streamId } of [first, second]) {
    await ask(set.handler, `/streaming/${streamId}`, { method: "DELETE" });
  }
  await Promise.all([first, second, replay].map((reading) => reading.rest()));
  await assertNothingLeft();
});

test("GET /api/chat/{id}/stream is 410 where the start is held no longer", async () => {
  const set = stage({ log: new MemoryLog({ maxStreamBytes: 128 * 1024 }) });
  const first = await started(set, ["first"], ROUTES.find(({ path }) => path === "/api/chat"));
  for (let i = 0; i < 200; i++) set.puppet.say(`${i} ${"x".repeat(2000)}`);
  await (await get(set.handler, "/api/chat/chat-1/stream")).problem(410, "gone");
  await ask(set.handler, `/streaming/${first.streamId}`, { method: "DELETE" });
  await first.leave();
  await assertNothingLeft();
});

// A server that drains.

test("drain() serves resumes, joins and stops, and turns new streams away", async () => {
  const set = stage();
  const first = await started(set, ["one "]);
  const url = `/streaming/${first.streamId}`;
  const drained = set.handler.drain({ timeoutMs: 5000 });
  for (const { path, body, shape } of ROUTES) {
    const refused = await post(set.handler, path, body);
    assert.equal(refused.headers.get("retry-after"), "1");
    await refusal(refused, 503, shape);
  }
  const joined = await get(set.handler, url);
  const resumed = new Reading(
    await post(set.handler, "/streaming", JSON_ROUTE.body, from(first.streamId, 1)),
  );
  assert.deepEqual([joined.status, resumed.status], [200, 200]);
  set.puppet.say("two");
  await resumed.events(1);
  assert.equal((await ask(set.handler, url, { method: "DELETE" })).status, 204);
  await Promise.all([first, joined, resumed].map((reading) => reading.rest()));
  await drained;
  assert.equal(joined.body, first.body);
  assert.equal(JSON.parse(joined.last.data).reason, "cancelled");
  assert.equal((await get(set.handler, url, from(first.streamId, 3))).status, 204);
  assert.equal(set.puppet.runs, 1);
  await assertNothingLeft();
});

test("drain() ends what is left with shutting_down, which is logged, and every reader with it", async () => {
  const set = stage();
  const first = await started(set, ["one "]);
  const url = `/streaming/${first.streamId}`;
  const joined = await get(set.handler, url);
  const stalled = await get(set.handler, url);
  await joined.events(1);
  await set.handler.drain({ timeoutMs: 20 });
  assert.equal(active.readers + active.streams, 0, "also those that take nothing");
  for (const reading of [first, joined, stalled]) {
    await reading.rest();
    assert.equal(JSON.parse(reading.last.data).code, "shutting_down");
    assert.equal(reading.last.id, `${first.streamId}.2`);
  }
  const late = await (await get(set.handler, url)).rest();
  assert.equal(late.body, first.body);
  await assertNothingLeft();
});

test("drain() waits for a reader that has yet to take what its finished generation left", async () => {
  const set = stage();
  const first = await started(set, ["one "]);
  set.puppet.say("two ");
  set.puppet.end();
  await until(() => active.streams === 0, 1000, "the generation ended");
  let drained = false;
  const drain = set.handler.drain({ timeoutMs: 5000 }).then(() => drained = true);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(drained, false);
  await first.rest();
  await drain;
  assert.equal(first.text, "one two ");
  await assertNothingLeft();
});

// Many readers, over real sockets.

const MIB = 1024 * 1024;
/** More than the buffers of a connection hold, and than a log does by default. */
const TOKENS: readonly string[] = Array.from(
  { length: 16_000 },
  (_, i) => `${i} `.padEnd(1000, "é"),
);

/** Asserts that a reader has all, or is told that it has not; answers how it ended. */
function assertExact(blocks: readonly Block[]): string {
  same(textOf(blocks), TOKENS.slice(0, blocks.length - 1).join(""));
  const { event, data, id } = blocks.at(-1)!;
  const end = event === "failed" ? JSON.parse(data).code as string : event;
  if (end === "done") assert.equal(blocks.length, TOKENS.length + 1);
  else assert.deepEqual([end, id], ["lagged", undefined]);
  return end;
}

for (
  const [left, end, options] of [
    ["waits for it", "done", { maxStreamBytes: 64 * MIB }],
    ["was given up", "lagged", {}],
  ] as const
) {
  test(`others read on beside one whose socket is full, and what is left for it ${left}`, async () => {
    const { handler } = stage({
      log: new MemoryLog(options),
      source: async function* () {
        yield* TOKENS;
      },
    });
    const server = serve(handler.fetch);
    try {
      const headers = { "content-type": "application/json" };
      const first = new Reading(
        await fetch(`${server.url}/streaming`, { method: "POST", headers, body: '{"query":""}' }),
      );
      const path = `/streaming/${first.streamId}`;
      const full = await rawRequest(server.port, { path, paused: true });
      const tab = new Reading(await fetch(server.url + path));
      await first.events(100);
      const late = new Reading(await fetch(server.url + path));
      // From a small log the start may have been given up before the late one came.
      if (late.status !== 200) assert.deepEqual([end, late.status], ["lagged", 410]);
      const others = [first, tab, late].filter(({ status }) => status === 200);
      await Promise.all(others.map((reading) => reading.rest()));
      // Of these, too, one may be too far behind the fastest for a small log.
      const whole = others.filter(({ last }) => last.event === "done");
      assert(end === "done" ? whole.length === 3 : whole.length > 0, `${whole.length} have all`);
      for (const reading of others) assertExact(reading.blocks);
      assert.equal(active.readers, 1, "it has not been served to its end");

      full.read();
      await until(() => full.received.endsWith("\r\n0\r\n\r\n"), 10_000, "the end");
      const { blocks } = blocksOf(bodyOf(full).text);
      assert.equal(assertExact(blocks), end);
      full.socket.destroy();
      await assertNothingLeft();
    } finally {
      await server.close();
    }
  });
}

test("a stop ends the generation and every reader of it within 100 ms, over real sockets", async () => {
  const set = stage();
  const server = serve(set.handler.fetch);
  try {
    let tookMs = Infinity;
    // The machine may have been busy with something else, once.
    for (let tries = 0; tries < 2 && tookMs > 100; tries++) {
      const headers = { "content-type": "application/json" };
      const ask = { method: "POST", headers, body: '{"query":""}' };
      const first = new Reading(await fetch(`${server.url}/streaming`, ask));
      const url = `${server.url}/streaming/${first.streamId}`;
      set.puppet.say("one ");
      const others = await Promise.all(Array.from({ length: 20 }, () => fetch(url)));
      const readers = [first, ...others.map((response) => new Reading(response))];
      await Promise.all(readers.map((reading) => reading.events(1)));
      set.puppet.say("two");
      const fromMs = performance.now();
      assert.equal((await fetch(url, { method: "DELETE" })).status, 204);
      await Promise.all(readers.map((reading) => reading.rest()));
      tookMs = Math.max(performance.now(), set.puppet.abortedMs) - fromMs;
      assert.equal(set.puppet.reason, "stopped");
      for (const { text, end, last } of readers) {
        assert.deepEqual([text, end], ["one two", "whole"]);
        assert.deepEqual(JSON.parse(last.data), { reason: "cancelled", tokens: 2 });
      }
    }
    assert(tookMs <= 100, `${tookMs} ms`);
    await assertNothingLeft();
  } finally {
    await server.close();
  }
});

// Readers who leave, over real sockets.

for (const departure of DEPARTURES) {
  test(`a generation goes on for its grace and no longer: ${departure}`, async () => {
    const graceMs = 250;
    const set = stage({ disconnect: { continueForMs: graceMs } });
    const server = serve(set.handler.fetch);
    try {
      const raw = await rawRequest(server.port, {
        method: "POST",
        path: "/streaming",
        headers: { "content-type": "application/json" },
        body: '{"query":""}',
      });
      raw.socket.on("error", () => {}); // a reset may come back to us
      await until(() => set.puppet.runs === 1, 2000, "a start");
      set.puppet.say("one");
      await until(() => raw.received.includes("one"), 2000, "a token");
      assert.equal(active.readers, 1);
      const leavesMs = performance.now();
      raw.socket[departure]();
      await until(() => active.readers === 0, 1000, "the departure");
      const leftMs = performance.now();
      await until(() => set.puppet.reason !== undefined, 2000, "the end of the grace");
      const { abortedMs } = set.puppet;
      assert(abortedMs - leavesMs >= graceMs - 2, `${abortedMs - leavesMs} ms`);
      assert(abortedMs - leftMs < graceMs + 250, `${abortedMs - leftMs} ms`);
      assert.equal(set.puppet.reason, "disconnected");
      await assertNothingLeft();
      assert.deepEqual(set.reports.map(({ outcome, code }) => [outcome, code]), [
        ["cancelled", "disconnected"],
      ]);
      raw.socket.destroy();
    } finally {
      await server.close();
    }
  });
}

test("a reload within the grace goes on where it was, and the grace begins anew", async () => {
  const set = stage({ disconnect: { continueForMs: 250 } });
  const server = serve(set.handler.fetch);
  const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  try {
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"query":""}',
    };
    let reading = new Reading(await fetch(`${server.url}/streaming`, init));
    const url = `${server.url}/streaming/${reading.streamId}`;
    let text = "";
    for (let reload = 0; reload < 4; reload++) {
      set.puppet.say(`${reload} `);
      await reading.events(1);
      text += reading.text;
      const { lastId } = reading;
      await reading.leave();
      await until(() => active.readers === 0, 1000, "the departure");
      set.puppet.say("unseen ");
      await sleep(130);
      reading = new Reading(await fetch(url, { headers: { "last-event-id": lastId! } }));
      await reading.events(1);
      text += reading.text;
      const { lastId: next } = reading;
      await reading.leave();
      reading = new Reading(await fetch(url, { headers: { "last-event-id": next! } }));
    }
    assert.deepEqual([set.puppet.reason, set.puppet.runs], [undefined, 1]);
    set.puppet.end();
    await reading.rest();
    assert.equal(text, "0 unseen 1 unseen 2 unseen 3 unseen ");
    await assertNothingLeft();
    assert.deepEqual(set.reports.map(({ outcome }) => outcome), ["completed"]);
  } finally {
    await server.close();
  }
});

test("while one of two readers stays there is no grace to run out", async () => {
  const set = stage({ disconnect: { continueForMs: 50 } });
  const first = await started(set, ["one "]);
  const second = await get(set.handler, `/streaming/${first.streamId}`);
  await first.leave();
  await new Promise((resolve) => setTimeout(resolve, 120));
  assert.equal(set.puppet.reason, undefined);
  set.puppet.say("two");
  set.puppet.end();
  assert.equal((await second.rest()).text, "one two");
  await assertNothingLeft();
});

test("disconnect: cancel ends the generation with its last reader, continue never does", async () => {
  const cancelled = stage({ disconnect: "cancel" });
  const first = await started(cancelled, ["one "]);
  const second = await get(cancelled.handler, `/streaming/${first.streamId}`);
  await second.events(1);
  await first.leave();
  assert.equal(cancelled.puppet.reason, undefined);
  await second.leave();
  await until(() => cancelled.puppet.reason === "disconnected", 100, "the end");
  await assertNothingLeft();

  const continued = stage({ disconnect: "continue" });
  const reading = await started(continued, ["one "]);
  await reading.leave();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(continued.puppet.reason, undefined);
  assert.deepEqual([active.readers, active.timers, active.streams], [0, 0, 1]);
  continued.puppet.say("two");
  continued.puppet.end();
  await assertNothingLeft();
  const late = await (await get(continued.handler, `/streaming/${reading.streamId}`)).rest();
  assert.equal(late.text, "one two");
  assert.equal(continued.reports[0]?.outcome, "completed");
});

// For embedders.

test("resume() answers problems with the embedder's headers, and asks for Last-Event-ID", async () => {
  const log = new MemoryLog();
  const options = { log, headers: { "x-own": "1" } };
  const without = new Reading(await resume(new Request("http://localhost/"), options));
  const { detail } = await without.problem(400, "bad_request");
  assert.equal(detail, "Last-Event-ID is missing");
  assert.equal(without.response.headers.get("x-own"), "1");
  const unknown = new Request("http://localhost/", { headers: from(createStreamId(), 1) });
  await new Reading(await resume(unknown, options)).problem(404, "not_found");
  assert.equal(await stop({ log, streamId: createStreamId() }), false);
});

test("a log that is broken is 500 without its text, and reaches onError whole", async () => {
  const broken = new Error("no log at 10.0.0.1");
  const reject = () => Promise.reject(broken);
  const log: ReplayLog = {
    record: () => {
      throw broken;
    },
    find: reject,
    latest: reject,
  };
  const errors: unknown[] = [];
  const onError = (error: unknown) => void errors.push(error);
  const { handler, puppet } = stage({ log, onError });
  const headers = from(createStreamId(), 1);
  const answers = [
    await post(handler, "/streaming", JSON_ROUTE.body),
    await post(handler, "/streaming", JSON_ROUTE.body, headers),
    await ask(handler, `/streaming/${createStreamId()}`),
    await ask(handler, `/streaming/${createStreamId()}`, { method: "DELETE" }),
    await ask(handler, "/api/chat/chat-1/stream"),
    await sse(new Request("http://localhost/"), "text", { log, onError }),
    await sse(new Request("http://localhost/", { headers }), "text", { log, onError }),
  ];
  for (const answer of answers) assert.equal(await refusal(answer, 500, "problem"), "internal");
  assert.deepEqual(errors, answers.map(() => broken));
  assert.equal(puppet.runs, 0);
  await assertNothingLeft();
});
