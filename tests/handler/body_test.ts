/** The bodies of requests: read at any borders, bounded each and all together, and never kept. */
import assert from "node:assert/strict";
import process from "node:process";
import { setImmediate } from "node:timers";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import { StreamError } from "../../lib/error.ts";
import { createHandler } from "../../lib/handler.ts";
import { BodyReader } from "../../lib/handler/body.ts";
import { FakeClock } from "../../lib/testing/fake_clock.ts";
import { total } from "../support/child.ts";
import { post, refusal } from "../support/handler_requests.ts";
import { int, pick, random as randomFrom } from "../support/random.ts";
import { rawRequest, serve, until } from "../support/serve.ts";

const MIB = 2 ** 20;
const bytesOf = (text: string) => new TextEncoder().encode(text);

function requestOf(
  body: BodyInit | null,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
): Request {
  return new Request("http://localhost/", {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
    duplex: "half",
    ...signal && { signal },
  } as RequestInit);
}

/** A body in chunks, as a runtime that knows no byte streams has it. */
function chunked(chunks: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at === chunks.length) controller.close();
      else controller.enqueue(chunks[at++]!.slice());
    },
  });
}

/** A body as a byte stream whose maker knows nothing of requests for bytes: it enqueues and closes. */
function careless(chunks: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    type: "bytes",
    async pull(controller) {
      await Promise.resolve();
      if (at === chunks.length) controller.close();
      else controller.enqueue(chunks[at++]!.slice());
    },
  } as UnderlyingByteSource);
}

/** A body that its test feeds, and that tells whether it was cancelled. */
class Fed {
  isCancelled = false;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  readonly body: ReadableStream<Uint8Array> = new ReadableStream({
    start: (controller) => void (this.#controller = controller),
    cancel: () => void (this.isCancelled = true),
  });
  feed(bytes: number): void {
    this.#controller.enqueue(bytesOf(" ".repeat(bytes)));
  }
  end(): void {
    this.#controller.enqueue(bytesOf("{}"));
    this.#controller.close();
  }
  fail(): void {
    this.#controller.error(new Error("reset"));
  }
}

const codeOf = (error: unknown) => error instanceof StreamError ? error.code : String(error);
const outcomeOf = (read: Promise<unknown>) => read.then(() => "read", codeOf);
const turn = () => new Promise((resolve) => setTimeout(resolve, 1));

/** Cuts bytes at random borders, empty chunks excepted, which no byte stream may have. */
function cut(bytes: Uint8Array, random: () => number): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = 1 + Math.floor(random() ** 4 * 9000);
    chunks.push(bytes.slice(at, at += length));
  }
  return chunks;
}

test("BodyReader.readJson() reads the same value at every border, in any kind of stream", async () => {
  const random = randomFrom(18);
  const reader = new BodyReader();
  for (let round = 0; round < 150; round++) {
    const text = '世界\\"[{ 👩‍👩‍👧 \\'.repeat(Math.floor(random() ** 3 * 3000));
    const value = { text, list: [[text.slice(0, 9)]] };
    const bytes = bytesOf(JSON.stringify(value));
    const chunks = cut(bytes, random);
    // In one piece it is as the runtime makes it.
    const body = [chunked(chunks), careless(chunks), bytes][round % 3]!;
    const lengths = [{}, { "content-length": String(bytes.length) }, { "content-length": "7" }];
    const headers = lengths[Math.floor(round / 3) % 3]!;
    const read = await reader.readJson(requestOf(body, headers), "chat");
    assert.deepEqual(read, value);
    assert.equal(total(active), 0);
  }
});

test("BodyReader.readJson() counts depth outside of strings alone", async () => {
  const reader = new BodyReader({ maxBodyDepth: 2 });
  const fine = ['[["[[["]]', String.raw`{"a\\\"[[":["]\"[[["]}`, String.raw`[["\\"],[]]`];
  const deep = ["[[[]]]", String.raw`[["\\",[]]]`, String.raw`{"a\"":[{}]}`, '[[[["', '["[[[[['];
  const depth = (text: string) => outcomeOf(reader.readJson(requestOf(text), "chat"));
  for (const text of fine) assert.equal(await depth(text), "read", text);
  for (const text of deep) assert.equal(await depth(text), "bad_request", text);
  assert.equal(total(active), 0);
});

test("a body in chunks of one byte takes no more memory than itself", async () => {
  const server = serve(createHandler({ source: "ok", log: false }).fetch);
  const body = JSON.stringify({ query: "x".repeat(20_000) });
  const before = process.memoryUsage();
  let most = 0;
  const look = () => {
    const { external, arrayBuffers } = process.memoryUsage();
    most = Math.max(most, external - before.external, arrayBuffers - before.arrayBuffers);
  };
  const looking = setInterval(look, 1);
  const raw = await rawRequest(server.port, {
    method: "POST",
    path: "/streaming?format=plain",
    headers: { "content-type": "application/json", "transfer-encoding": "chunked" },
  });
  for (let at = 0; at < body.length; at += 500) {
    const lines = [...body.slice(at, at + 500)].map((char) => `1\r\n${char}\r\n`);
    await new Promise((resolve) => raw.socket.write(lines.join(""), resolve));
  }
  raw.socket.write("0\r\n\r\n");
  await until(() => /ok/.test(raw.received), 5000, "the response");
  assert.match(raw.received, /^HTTP\/1.1 200/);
  clearInterval(looking);
  raw.socket.destroy();
  await server.close();
  // Deno held 1.3 GB of it; where each chunk is copied and let go, 150 MiB.
  assert(most < 32 * MIB, `${(most / MIB).toFixed(1)} MiB`);
  assert.equal(active.bodyBytes, 0);
});

/** Room for 16,384 bytes of large bodies, and for 2,340 of small ones: those of 146 bytes or less. */
const TIGHT = { maxBodyBytes: 8192, maxChatBodyBytes: 8192, maxBodiesBytes: 18_724 };

/** A body that its test feeds, and what becomes of it. */
function fedTo(reader: BodyReader, init: { signal?: AbortSignal; length?: number } = {}) {
  const fed = new Fed();
  const { signal, length } = init;
  const headers: Record<string, string> = length === undefined
    ? {}
    : { "content-length": `${length}` };
  const request = requestOf(fed.body, headers, signal);
  return { fed, outcome: outcomeOf(reader.readJson(request, "chat")) };
}

/** Waits until so many bodies wait for room. */
const waiting = (count: number) =>
  until(() => active.waiters === count, 1000, `${count} bodies that wait`);

/** A body that takes 8 KiB. */
async function halfFull(reader: BodyReader): Promise<ReturnType<typeof fedTo>> {
  const before = active.bodyBytes;
  const body = fedTo(reader);
  body.fed.feed(5000);
  body.fed.feed(1000);
  await until(() => active.bodyBytes === before + 8192, 1000, "a body");
  return body;
}

test("all bodies that are being read have one bound, and those past it wait in the order of their first bytes", async () => {
  const reader = new BodyReader(TIGHT);
  const early = fedTo(reader);
  early.fed.feed(1);
  await turn();
  const first = await halfFull(reader);
  const second = fedTo(reader);
  second.fed.feed(5000);
  const later = fedTo(reader);
  later.fed.feed(4000);
  await waiting(1);
  early.fed.feed(7999);
  await waiting(2);
  assert.equal(active.bodyBytes, 1024 + 8192 + 5000);
  // Small ones have room of their own.
  const small = requestOf(chunked([bytesOf("[4]")]), { "content-length": "3" });
  assert.deepEqual(await reader.readJson(small, "chat"), [4]);
  first.fed.end();
  assert.equal(await first.outcome, "read");
  await waiting(1);
  assert.equal(active.bodyBytes, 8000 + 5000);
  for (const { fed, outcome } of [early, later, second]) {
    fed.end();
    assert.equal(await outcome, "read");
  }
  assert.equal(total(active), 0);
});

test("many bodies of one size that come together are all read", async () => {
  const reader = new BodyReader(TIGHT);
  const bodies = Array.from({ length: 20 }, () => fedTo(reader, { length: 3002 }));
  for (let size = 0; size < 3000; size += 500) {
    for (const { fed } of bodies) fed.feed(500);
    await turn();
    assert(active.bodyBytes <= TIGHT.maxBodiesBytes);
  }
  assert(active.waiters > 10);
  for (const { fed } of bodies) fed.end();
  for (const { outcome } of bodies) assert.equal(await outcome, "read");
  assert.equal(total(active), 0);
});

test("a body that would fit does not pass a larger one that waits", async () => {
  const reader = new BodyReader(TIGHT);
  const first = await halfFull(reader);
  const part = fedTo(reader);
  part.fed.feed(1000);
  await turn();
  const large = fedTo(reader);
  large.fed.feed(8000);
  await waiting(1);
  const later = fedTo(reader);
  later.fed.end();
  await waiting(2);
  part.fed.end();
  assert.equal(await part.outcome, "read");
  await waiting(1);
  large.fed.end();
  assert.equal(await large.outcome, "read");
  assert.equal(await later.outcome, "read");
  first.fed.end();
  assert.equal(await first.outcome, "read");
  assert.equal(total(active), 0);
});

test("where all bodies that have memory wait for more, the newest of them is 503", async () => {
  const reader = new BodyReader({ ...TIGHT, maxBodiesBytes: 8192 });
  const [first, second, none] = [fedTo(reader, { length: 8192 }), fedTo(reader), fedTo(reader)];
  first.fed.feed(1000);
  await turn();
  second.fed.feed(3000);
  await turn();
  first.fed.feed(3000);
  await until(() => active.bodyBytes === 4096 + 3000, 1000, "two bodies");
  none.fed.feed(3000);
  await waiting(1);
  first.fed.feed(4000);
  await waiting(2);
  second.fed.feed(3000);
  assert.equal(await second.outcome, "too_many_bodies");
  await until(() => second.fed.isCancelled, 100, "the refused body is not read on");
  // Its memory is what the first one needs.
  await waiting(1);
  for (const { fed, outcome } of [first, none]) {
    fed.end();
    assert.equal(await outcome, "read");
  }
  assert.equal(total(active), 0);
});

test("no more than 64 bodies wait, and the newest is 503", async () => {
  const reader = new BodyReader(TIGHT);
  const full = [await halfFull(reader), await halfFull(reader)];
  const bodies = Array.from({ length: 65 }, () => fedTo(reader));
  for (const { fed } of bodies) fed.feed(100);
  assert.equal(await bodies[64]!.outcome, "too_many_bodies");
  await waiting(64);
  for (const { fed } of [...full, ...bodies.slice(0, 64)]) fed.end();
  for (const { outcome } of [...full, ...bodies.slice(0, 64)]) assert.equal(await outcome, "read");
  assert.equal(total(active), 0);
});

test("a body that waits ends with its time, and when its client disconnects", async () => {
  const clock = new FakeClock();
  const reader = new BodyReader({ ...TIGHT, bodyTimeoutMs: 3000 }, clock);
  const full = [await halfFull(reader), await halfFull(reader)];
  clock.tick(1000);
  const client = new AbortController();
  const gone = fedTo(reader, { signal: client.signal });
  const late = fedTo(reader);
  const broken = fedTo(reader);
  for (const { fed } of [gone, late, broken]) fed.feed(2000);
  await waiting(3);
  client.abort();
  assert.equal(await gone.outcome, "bad_request");
  broken.fed.fail();
  await waiting(2);
  clock.tick(1999);
  for (const { fed, outcome } of full) {
    fed.feed(1);
    fed.end();
    if (fed === full[1]!.fed) break;
    // What has failed meanwhile is seen when the wait is over.
    assert.equal(await outcome, "read");
    assert.equal(await broken.outcome, "bad_request");
  }
  assert.equal(await full[1]!.outcome, "read");
  // A body that has waited has all its time again.
  clock.tick(2999);
  late.fed.end();
  assert.equal(await late.outcome, "read");
  assert.equal(total(active), 0);

  const last = [await halfFull(reader), await halfFull(reader)];
  clock.tick(2000);
  const never = fedTo(reader);
  never.fed.feed(2000);
  await waiting(1);
  for (const { fed } of last) fed.end();
  for (const { outcome } of last) assert.equal(await outcome, "read");
  clock.tick(3000);
  assert.equal(await never.outcome, "request_timeout");
  assert(never.fed.isCancelled);
  assert.equal(total(active), 0);
  assert.equal(clock.armed, 0);
});

test("a bound that is as large as one body takes one", async () => {
  const reader = new BodyReader({
    maxBodyBytes: 1,
    maxChatBodyBytes: 3 * MIB,
    maxBodiesBytes: 3 * MIB,
  });
  const text = JSON.stringify("x".repeat(3 * MIB - 2));
  for (
    const body of [text, careless([bytesOf(text)]), chunked(cut(bytesOf(text), randomFrom(3)))]
  ) {
    assert.equal((await reader.readJson(requestOf(body), "chat") as string).length, 3 * MIB - 2);
    assert.equal(total(active), 0);
  }
});

test("too many bodies are 503 with Retry-After, in the words of each API", async () => {
  const handler = createHandler({ source: "ok", limits: { maxBodies: 1 } });
  const slow = new Fed();
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: slow.body };
  const request = new Request("http://localhost/v1/messages", { ...init, duplex: "half" } as never);
  const waiting = handler.fetch(request);
  slow.feed(2990);
  await until(() => active.bodyBytes > 2900, 1000, "a body");
  for (
    const [path, shape] of [
      ["/streaming", "problem"],
      ["/v1/chat/completions", "openai"],
      ["/v1/messages", "anthropic"],
      ["/v1/messages/count_tokens", "anthropic"],
      ["/api/chat", "problem"],
    ] as const
  ) {
    const response = await post(handler, path, { query: "x".repeat(200) });
    assert.equal(response.headers.get("retry-after"), "1");
    const code = await refusal(response, 503, shape);
    assert.equal(code, shape === "anthropic" ? undefined : "too_many_bodies");
  }
  slow.end();
  assert.equal((await waiting).status, 400);
  assert.equal(total(active), 0);
});

test("chat routes take 32 MiB by default, POST /streaming one", async () => {
  const handler = createHandler({ source: "ok", log: false });
  const large = "x".repeat(MIB);
  const messages = [{ role: "user", content: "x".repeat(31 * MIB) }];
  const fine = await post(handler, "/v1/chat/completions", { model: "m", messages });
  assert.equal(fine.status, 200);
  await fine.text();
  assert.equal((await post(handler, "/streaming", { query: large })).status, 413);
  const over = [{ role: "user", content: "x".repeat(32 * MIB) }];
  const refused = await post(handler, "/v1/chat/completions", { model: "m", messages: over });
  assert.equal(await refusal(refused, 413, "openai"), "payload_too_large");
  assert.equal(total(active), 0);
});

test("a body over its limit is not read on, whether its length is told or not", async () => {
  const reader = new BodyReader({ maxChatBodyBytes: 1000 });
  const told = new Fed();
  const headers = { "content-length": "1001" };
  const large = outcomeOf(reader.readJson(requestOf(told.body, headers), "chat"));
  assert.equal(await large, "payload_too_large");
  await until(() => told.isCancelled, 100, "it is cancelled");
  const untold = new Fed();
  const read = outcomeOf(reader.skip(requestOf(untold.body), "chat"));
  untold.feed(600);
  await turn();
  untold.feed(600);
  assert.equal(await read, "payload_too_large");
  await until(() => untold.isCancelled, 100, "it is cancelled");
  assert.equal(total(active), 0);
});

test("a body that breaks off is 400, and one that is no UTF-8 as well", async () => {
  const reader = new BodyReader();
  const broken = new Fed();
  const read = outcomeOf(reader.readJson(requestOf(broken.body), "chat"));
  broken.feed(100);
  await turn();
  broken.fail();
  assert.equal(await read, "bad_request");
  const invalid = chunked([new Uint8Array([0x22, 0xff, 0x22])]);
  assert.equal(await outcomeOf(reader.readJson(requestOf(invalid), "chat")), "bad_request");
  assert.equal(total(active), 0);
});

test("each MiB of a body has its time, and a body that stops is 408", async () => {
  const clock = new FakeClock();
  const reader = new BodyReader({}, clock);
  for (const stops of [false, true]) {
    const slow = new Fed();
    const read = outcomeOf(reader.readJson(requestOf(slow.body), "chat"));
    for (let minutes = 0; minutes < 4; minutes++) {
      slow.feed(MIB);
      await turn();
      clock.tick(20_000);
    }
    if (stops) clock.tick(10_000);
    else slow.end();
    assert.equal(await read, stops ? "request_timeout" : "read");
    assert.equal(total(active), 0);
  }
});

test("limits: maxBodiesBytes is at least what one body may have", () => {
  const create = (limits: object) => () => createHandler({ source: "ok", limits });
  for (
    const [limits, name] of [
      [{ maxBodiesBytes: 2 ** 25 - 1 }, "maxChatBodyBytes"],
      [{ maxBodiesBytes: 99, maxBodyBytes: 100, maxChatBodyBytes: 9 }, "maxBodyBytes"],
    ] as const
  ) {
    const message = `Cannot create the handler: limits.maxBodiesBytes is less than limits.${name}`;
    assert.throws(create(limits), { name: "RangeError", message });
  }
  assert.throws(create({ maxChatBodyBytes: 0 }), RangeError);
  // By default the bound grows with them.
  create({ maxChatBodyBytes: 2 ** 28, maxBodyBytes: undefined })();
});

test("a client is told of a body over the limit while it still sends it", async () => {
  const handler = createHandler({ source: "ok", limits: { maxChatBodyBytes: 100_000 } });
  const server = serve(handler.fetch);
  for (const headers of [{ "content-length": "99000000" }, { "transfer-encoding": "chunked" }]) {
    const raw = await rawRequest(server.port, {
      method: "POST",
      path: "/v1/messages",
      headers: { "content-type": "application/json", ...headers },
    });
    // Where the server closes the connection, the rest of what is sent meets nobody.
    raw.socket.on("error", () => {});
    const chunk = " ".repeat(0x8000);
    for (let sent = 0; sent < 16; sent++) {
      raw.socket.write("content-length" in headers ? chunk : `8000\r\n${chunk}\r\n`);
    }
    await until(() => /request_too_large/.test(raw.received), 2000, "the refusal");
    assert.match(raw.received, /^HTTP\/1.1 413 /);
    raw.socket.destroy();
  }
  await server.close();
  await until(() => total(active) === 0, 1000, "nothing left");
});

test("a body that gets no further gives way after 5 s where bodies have no place left, with 408", async () => {
  const clock = new FakeClock();
  const reader = new BodyReader({ maxBodies: 2 }, clock);
  const [first, second, third] = [new Fed(), new Fed(), new Fed()];
  const read = (fed: Fed) => outcomeOf(reader.readJson(requestOf(fed.body), "chat"));
  const outcomes = [read(first), read(second)];
  first.feed(10);
  await turn();
  clock.tick(4900);
  // It goes on, so that the other one is the slowest.
  first.feed(MIB);
  await turn();
  assert.equal(await read(third), "too_many_bodies");
  await until(() => third.isCancelled, 100, "the refused body is not read on");
  clock.tick(200);
  for (let i = 0; i < 3; i++) {
    const quick = reader.readJson(requestOf(chunked([bytesOf(`[${i}]`)])), "chat");
    assert.deepEqual(await quick, [i]);
  }
  assert.equal(await outcomes[1], "request_timeout");
  assert(second.isCancelled && !first.isCancelled);
  first.end();
  assert.equal(await outcomes[0], "read");
  assert.equal(total(active), 0);
});

test("a slow body gives way after 5 s to one that waits for bytes, whose waiting is not slow", async () => {
  const clock = new FakeClock();
  const reader = new BodyReader(TIGHT, clock);
  const slow = await halfFull(reader);
  clock.tick(1000);
  const slower = await halfFull(reader);
  clock.tick(1000);
  const quick = [fedTo(reader), fedTo(reader), fedTo(reader)];
  for (const { fed } of quick) fed.feed(6000);
  await waiting(3);
  clock.tick(2999);
  await turn();
  assert.equal(active.waiters, 3);
  clock.tick(1);
  assert.equal(await slow.outcome, "request_timeout");
  assert(slow.fed.isCancelled && !slower.fed.isCancelled);
  await waiting(2);
  clock.tick(1000);
  assert.equal(await slower.outcome, "request_timeout");
  await waiting(1);
  // Those that go on have 5 s from then.
  clock.tick(3999);
  await turn();
  assert.equal(active.waiters, 1);
  for (const { fed, outcome } of quick) {
    fed.end();
    assert.equal(await outcome, "read");
  }
  assert.equal(total(active), 0);
  assert.equal(clock.armed, 0);
});

test("bodies of any size and speed keep to their memory, all of them end, and nothing is left", async () => {
  const ENDS = ["read", "bad_request", "request_timeout", "too_many_bodies"];
  const counts: Record<string, number> = {};
  let waits = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const random = randomFrom(seed);
    const clock = new FakeClock();
    const reader = new BodyReader({ ...TIGHT, maxBodies: 12, bodyTimeoutMs: 8000 }, clock);
    const bodies = Array.from({ length: 16 }, () => {
      const size = 2 + int(random, random() < 0.3 ? 140 : 8190);
      const client = new AbortController();
      const length = random() < 0.5 ? size : undefined;
      const { fed, outcome } = fedTo(reader, { signal: client.signal, ...length && { length } });
      const body = { fed, outcome, client, left: size - 2, end: "", isHonest: true };
      outcome.then((end) => body.end = end);
      return body;
    });
    const context = () => `seed ${seed}: ${JSON.stringify(active)}`;
    for (let step = 0; step < 150; step++) {
      const body = pick(random, bodies);
      const chance = random();
      if (body.left < 0 || body.end !== "" || body.fed.isCancelled) clock.tick(int(random, 300));
      else if (chance < 0.02) {
        body.left = -1;
        body.isHonest = false;
        body.fed.fail();
      } else if (chance < 0.04) {
        body.isHonest = false;
        body.client.abort();
      } else if (body.left === 0) {
        body.left = -1;
        body.fed.end();
      } else {
        const bytes = Math.min(body.left, 1 + int(random, 3000));
        body.left -= bytes;
        body.fed.feed(bytes);
      }
      await new Promise((resolve) => setImmediate(resolve));
      assert(active.bodyBytes <= TIGHT.maxBodiesBytes, context());
      waits += active.waiters;
    }
    clock.tick(8000);
    clock.tick(8000);
    for (const { outcome, left, isHonest } of bodies) {
      const end = await outcome;
      assert(ENDS.includes(end), `${context()}: ${end}`);
      if (end === "read") assert.equal(left, -1, context());
      if (end === "bad_request") assert(!isHonest, context());
      counts[end] = (counts[end] ?? 0) + 1;
    }
    assert.equal(total(active), 0, context());
    assert.equal(clock.armed, 0, context());
  }
  for (const end of ENDS) assert(counts[end]! > 10, JSON.stringify(counts));
  assert(waits > 500, `${waits}`);
});

test("a client that disconnects while its body waits leaves nothing behind", async () => {
  const limits = { maxBodyBytes: 50_000, maxChatBodyBytes: 50_000, maxBodiesBytes: 50_000 };
  const server = serve(createHandler({ source: "ok", limits }).fetch);
  const unfinished = async (bytes: number) => {
    const raw = await rawRequest(server.port, {
      method: "POST",
      path: "/streaming",
      headers: { "content-type": "application/json", "content-length": "50000" },
    });
    raw.socket.write(" ".repeat(bytes));
    return raw.socket;
  };
  const first = await unfinished(40_000);
  await until(() => active.bodyBytes >= 40_000, 2000, "a body");
  const second = await unfinished(20_000);
  await waiting(1);
  second.destroy();
  // Deno sees it when it reads on.
  if (!("Deno" in globalThis)) {
    await waiting(0);
    assert(active.bodyBytes >= 40_000);
  }
  first.destroy();
  await until(() => total(active) === 0, 2000, "nothing left");
  await server.close();
});

test("unfinished bodies take no stream's place: at maxStreams 100 another client is served and comes back", async () => {
  const handler = createHandler({ source: "ok", limits: { maxStreams: 100 } });
  const server = serve(handler.fetch);
  const path = "/streaming";
  const headers = { "content-type": "application/json", "content-length": "100" };
  const unfinished = await Promise.all(Array.from({ length: 200 }, (_, i) => {
    // 100 would begin a stream, and 100 come back to one, with a body as well.
    const back = i % 2 === 0 ? {} : { "last-event-id": "AAAAAAAAAAAAAAAAAAAAAA.1" };
    return rawRequest(server.port, { method: "POST", path, headers: { ...headers, ...back } });
  }));
  for (const { socket } of unfinished) socket.write('{"query":');
  // Each open body has its timer.
  await until(() => active.timers >= 200, 2000, "200 bodies");
  const json = { "content-type": "application/json" };
  for (const body of ['{"query":"one"}', '{"query":"two"}']) {
    const init = { method: "POST", headers: json, body };
    const response = await fetch(`${server.url}${path}`, init);
    assert.equal(response.status, 200);
    assert.match(await response.text(), /"ok"/);
    const back = { ...json, "last-event-id": `${response.headers.get("x-stream-id")}.0` };
    const again = await fetch(`${server.url}${path}`, { ...init, headers: back });
    assert.equal(again.status, 200);
    assert.match(await again.text(), /"ok"/);
  }
  for (const { socket } of unfinished) socket.destroy();
  await until(() => total(active) === 0, 2000, "nothing left");
  await server.close();
});
