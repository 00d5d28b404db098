/**
 * Seeded fuzzers that know the structure of what they break: decoder, encoder, handler. A process of its
 * own, so that each runtime runs it; its arguments are the first seed and how many follow. A fault is
 * printed with its seed.
 */
import assert from "node:assert/strict";
import process from "node:process";
import { active } from "../../lib/counters.ts";
import { createHandler } from "../../lib/full_handler.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import { EventDecoder } from "../../lib/sse/decode.ts";
import { encodeEvent } from "../../lib/sse/encode.ts";
import type { ServerSentEvent, ServerSentEventInit } from "../../lib/sse/event.ts";
import { total } from "../support/child.ts";
import { chunks, hostile, int, pick, random } from "../support/random.ts";

type Chance = () => number;

const utf8 = new TextEncoder();

/** Bytes of an event stream that nobody would write: whole fields, halves of them, and noise. */
function eventStream(chance: Chance): Uint8Array {
  const breaks = ["\n", "\r", "\r\n", "\n\n", "\r\r", "\n\r"];
  const names = ["data", "event", "id", "retry", "", "dat", "DATA", "data ", "\ufeffdata", "x"];
  const bytes: number[] = [];
  for (let lines = int(chance, 30); lines > 0; lines--) {
    const name = pick(chance, names);
    const colon = pick(chance, [":", ": ", ":  ", "", " :"]);
    const value = pick(chance, ["", "5", "-5", "1e3", "a\0b", hostile(chance, 4)]);
    const line = `${chance() < 0.1 ? "\ufeff" : ""}${name}${colon}${value}${pick(chance, breaks)}`;
    bytes.push(...utf8.encode(line));
    if (chance() < 0.1) bytes.push(int(chance, 256), 0xe3, 0x83);
  }
  return Uint8Array.from(bytes);
}

/** The standard's algorithm, without a thought for speed (HTML, section 9.2.6). */
function reference(bytes: Uint8Array): ServerSentEvent[] {
  const text = new TextDecoder("utf-8").decode(bytes);
  const events: ServerSentEvent[] = [];
  let [data, event, id, lastEventId] = [undefined as string | undefined, "", "", ""];
  let retry: number | undefined;
  const lines = text.split(/\r\n|\r|\n/);
  // What no break ends is no line.
  lines.pop();
  for (const line of lines) {
    if (line === "") {
      lastEventId = id;
      if (data !== undefined) {
        const made: ServerSentEvent = {
          event: event === "" ? "message" : event,
          data,
          lastEventId,
        };
        if (retry !== undefined) made.retry = retry;
        events.push(made);
      }
      [data, event, retry] = [undefined, "", undefined];
      continue;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") data = data === undefined ? value : `${data}\n${value}`;
    else if (name === "event") event = value;
    else if (name === "id" && !value.includes("\0")) id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) retry = Number(value);
  }
  return events;
}

function decoder(chance: Chance): void {
  const bytes = eventStream(chance);
  const expected = reference(bytes);
  const read = new EventDecoder();
  assert.deepEqual(chunks(chance, bytes).flatMap((chunk) => read.feed(chunk.slice())), expected);
  const bytewise = new EventDecoder();
  const found = [...bytes].flatMap((byte) => bytewise.feed(Uint8Array.of(byte)));
  assert.deepEqual(found, expected);
  const limited = new EventDecoder({
    maxLineBytes: 1 + int(chance, 40),
    maxEventBytes: 1 + int(chance, 60),
  });
  const before: ServerSentEvent[] = [];
  try {
    for (const chunk of chunks(chance, bytes)) limited.feed(chunk, before);
  } catch (error) {
    assert.match((error as { code: string }).code, /^(line|event)_too_large$/);
  }
  // What came before the error is right.
  assert.deepEqual(before, expected.slice(0, before.length));
}

function encoder(chance: Chance): void {
  const line = () => hostile(chance, 3).replace(/[\r\n\0]/g, "").toWellFormed();
  const event: ServerSentEventInit = { data: hostile(chance, 6) };
  if (chance() < 0.5) event.event = line();
  if (chance() < 0.5) event.id = line();
  if (chance() < 0.3) event.comment = hostile(chance, 3);
  if (chance() < 0.3) event.retry = 100 + int(chance, 10_000);
  // A first line, so that a byte order mark is no longer at the start.
  const found = reference(utf8.encode(`:
${encodeEvent(event)}`));
  assert.equal(found.length, 1, "no text makes a second event");
  assert.equal(found[0]!.data, event.data!.toWellFormed().replace(/\r\n?/g, "\n"));
  assert.equal(found[0]!.event, event.event || "message");
  assert.equal(found[0]!.lastEventId, event.id ?? "");
  assert.equal(found[0]!.retry, event.retry);
}

const reported: unknown[] = [];
const handler = createHandler({
  source: ({ input }) => input.query,
  log: new MemoryLog({ keepMs: 0 }),
  cors: ["https://app.example"],
  allowedHosts: ["localhost"],
  limits: { maxBodyBytes: 4096, maxChatBodyBytes: 4096, bodyTimeoutMs: 50 },
  onError: (error) => void reported.push(error),
});

/** A JSON value, mostly of the shape that the routes want. */
function json(chance: Chance, depth = 0): unknown {
  const kinds: (() => unknown)[] = [
    () => null,
    () => chance() < 0.5,
    () => pick(chance, [0, -1, 1.5, 1e300, 2 ** 53, -0]),
    () => hostile(chance, 3),
    () => pick(chance, ["user", "assistant", "system", "tool", "text", "function", "auto"]),
  ];
  if (depth > 5 || chance() < 0.3) return pick(chance, kinds)();
  if (chance() < 0.4) return Array.from({ length: int(chance, 4) }, () => json(chance, depth + 1));
  const names =
    "query model messages role content type text parts id tools function name input source "
      .concat(
        "max_tokens stream system tool_calls tool_use_id arguments data media_type __proto__ trigger",
      )
      .split(" ");
  const fields: [string, unknown][] = Array.from({ length: int(chance, 6) }, () => {
    const name = pick(chance, names);
    return [
      name,
      name === "messages" || name === "parts" || name === "content"
        ? Array.from({ length: int(chance, 3) }, () => json(chance, depth + 1))
        : json(chance, depth + 1),
    ];
  });
  return Object.fromEntries(fields);
}

async function request(chance: Chance): Promise<void> {
  const path = pick(chance, [
    "/streaming",
    "/streaming/a",
    "/v1/chat/completions",
    "/v1/models",
    "/v1/models/%ff",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/api/chat",
    "/api/chat/a/stream",
    "/ag-ui",
    "/ag-ui?offset=-1&runId=a",
    "/",
    "/docs",
    "/openapi.json",
    "/metrics",
    "/health",
    "//",
    "/%",
    "/streaming?format=xml",
    "/streaming?lastEventId=%",
    "/nowhere",
  ]);
  const method = pick(chance, ["GET", "HEAD", "POST", "POST", "POST", "PUT", "DELETE", "OPTIONS"]);
  const headers = new Headers();
  const line = () => hostile(chance, 2).replace(/[^\x20-\x7e]/g, "").trim();
  const HEADERS: Record<string, () => string> = {
    "content-type": () =>
      pick(chance, ["application/json", "text/plain", "application/x+json", line()]),
    "content-encoding": () => pick(chance, ["gzip", "identity", line()]),
    "accept": () => pick(chance, ["*/*", "text/plain", "text/event-stream;q=0", line()]),
    "origin": () => pick(chance, ["https://app.example", "null", "http://localhost", line()]),
    "sec-fetch-site": () => pick(chance, ["same-origin", "cross-site", line()]),
    "last-event-id": () => pick(chance, ["a.1", "a.end", "a.1.lost", line()]),
    "host": () => pick(chance, ["localhost", "", "a/b", "localhost:1", line()]),
    "access-control-request-headers": () => line(),
  };
  if (chance() < 0.9) headers.set("content-type", "application/json");
  for (const [name, value] of Object.entries(HEADERS)) {
    if (chance() < 0.15) headers.set(name, value());
  }
  const hasBody = method !== "GET" && method !== "HEAD" && chance() < 0.95;
  const good = {
    query: "a",
    model: "a",
    max_tokens: 1,
    messages: [{ role: "user", content: "a" }],
  };
  const text = JSON.stringify(chance() < 0.7 ? { ...good, ...Object(json(chance)) } : json(chance));
  const cut = chance() < 0.1 ? text.slice(0, int(chance, text.length)) : text;
  const body = hasBody ? { body: cut } : {};
  const response = await handler.fetch(
    new Request(`http://localhost${path}`, { method, headers, ...body }),
  );
  const content = await response.text();
  const what = `${method} ${path} ${cut}: ${response.status} ${content.slice(0, 300)}`;
  assert(response.status < 500, what);
  assert(!/\.ts:\d|node_modules|TypeError/.test(content), what);
  if (response.status >= 400 && method !== "HEAD") JSON.parse(content);
}

const FUZZERS = { decoder, encoder, request };
const [first = "1", count = "200"] = process.argv.slice(2);
for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
  for (const [name, fuzz] of Object.entries(FUZZERS)) {
    try {
      await fuzz(random(seed * 7919));
    } catch (error) {
      console.log(`${name}, seed ${seed}: ${(error as Error).message.slice(0, 1500)}`);
      process.exitCode = 1;
    }
  }
  if (reported.length > 0) {
    console.log(`seed ${seed}: reported ${String((reported.pop() as Error)?.stack).slice(0, 500)}`);
    process.exitCode = 1;
  }
}
await new Promise((resolve) => setTimeout(resolve, 100));
if (total(active) > 0) {
  console.log(`open: ${JSON.stringify(active)}`);
  process.exitCode = 1;
}
console.log(`${count} seeds from ${first}`);
