/** What a `SharedLog` writes and when, to a store that answers when the test says so. */
import assert from "node:assert/strict";
import test from "node:test";
import type {
  AppendResult,
  EventStore,
  StreamAppend,
} from "../../../lib/replay/shared/event_store.ts";
import { SharedLog, type SharedLogOptions } from "../../../lib/replay/shared/shared_log.ts";
import { AsyncQueue, sse } from "../../../mod.ts";
import { FakeClock, turn } from "../../support/fake_clock.ts";

const KIB = 1024;
const LIMIT = 4 * 1024 * KIB;

const ask = () => new Request("http://localhost/", { method: "POST" });

/** One append to one stream, and when it was called. */
interface Write extends StreamAppend {
  atMs: number;
}

/** A store that takes whatever is appended, each call at once, or once it is told to. */
class SlowStore implements Partial<EventStore> {
  /** Bytes of calls that are not answered. */
  pendingBytes = 0;
  mostBytes = 0;
  isQuick = true;
  result: AppendResult | undefined;
  readonly writes: Write[] = [];
  readonly calls: number[] = [];
  readonly #clock: FakeClock;
  readonly #answers: (() => void)[] = [];

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  append(_: unknown, appends: readonly StreamAppend[]): Promise<readonly AppendResult[]> {
    const atMs = this.#clock.now();
    this.writes.push(...appends.map((append) => ({ ...append, atMs })));
    this.calls.push(appends.length);
    const bytes = appends.flatMap(({ pieces }) => pieces)
      .reduce((sum, { text }) => sum + text.length, 0);
    this.pendingBytes += bytes;
    this.mostBytes = Math.max(this.mostBytes, this.pendingBytes);
    return new Promise((resolve) => {
      this.#answers.push(() => {
        this.pendingBytes -= bytes;
        resolve(appends.map(({ last }) => this.result ?? { state: "ok", last }));
      });
      if (this.isQuick) this.answer();
    });
  }

  renew = () => Promise.resolve();
  leave = () => Promise.resolve();
  publish = () => Promise.resolve();
  subscribe = () => Promise.resolve();

  answer(): void {
    this.#answers.shift()?.();
  }

  get pending(): number {
    return this.#answers.length;
  }

  of(streamId: string | null): Write[] {
    return this.writes.filter((write) => write.streamId === streamId);
  }
}

/** A log over it, and what it complains of. */
function slowly(options: SharedLogOptions = {}) {
  const clock = new FakeClock();
  const store = new SlowStore(clock);
  const errors: unknown[] = [];
  const log = new SharedLog(store as unknown as EventStore, {
    clock,
    onError: (error) => void errors.push(error),
    ...options,
  });
  const close = async () => {
    while (store.pending > 0) {
      store.answer();
      await clock.advance(0);
    }
    await log.close();
    assert.deepEqual(errors, []);
  };
  return { store, log, clock, close, errors };
}

type Slowly = ReturnType<typeof slowly>;

/** Streams that the store knows, and then more events of them than may be on the way. */
async function flood({ store, log, clock }: Slowly): Promise<void> {
  const gate = Promise.withResolvers<void>();
  async function* tokens() {
    yield "x";
    await gate.promise;
    for (let i = 0; i < 4; i++) yield "x".repeat(16 * KIB);
  }
  const responses = await Promise.all(
    Array.from({ length: 200 }, () => sse(ask(), tokens(), { log, clock })),
  );
  assert.equal(await clock.during(log.flush()), true);
  store.isQuick = false;
  gate.resolve();
  await clock.during(Promise.all(responses.map((response) => response.text())));
  await clock.advance(100);
  assert(store.pendingBytes >= LIMIT, "4 MiB are on the way");
}

test("SharedLog has 4 MiB on the way to its store and no more, and the rest follows as it is answered", async () => {
  const site = slowly();
  const { store, log, clock, close } = site;
  await flood(site);
  // Several slots of time, in each of which more would be sent.
  await clock.advance(150);
  assert(store.pendingBytes < LIMIT + 512 * KIB, `${store.pendingBytes / KIB} KiB`);
  for (let i = 0; i < 20; i++) {
    store.answer();
    // What the answer makes room for needs no time.
    await clock.advance(0);
    assert(store.pendingBytes > LIMIT - 512 * KIB, `${store.pendingBytes / KIB} KiB`);
  }
  store.isQuick = true;
  const flushed = log.flush({ timeoutMs: 2000 });
  while (store.pending > 0) {
    store.answer();
    await clock.advance(0);
  }
  assert.equal(await clock.during(flushed), true, "all was written");
  assert(store.mostBytes < LIMIT + 512 * KIB, `${store.mostBytes / KIB} KiB`);
  await close();
});

test("SharedLog sends a new stream's id though 4 MiB are on the way, and its events later", async () => {
  const site = slowly();
  const { store, log, clock, close } = site;
  await flood(site);
  const started = await Promise.all([1, 2].map(async () => {
    const response = await sse(ask(), ["late"], { log, clock });
    await clock.during(response.text());
    return response.headers.get("x-stream-id");
  }));
  await clock.advance(50);
  for (const streamId of started) {
    assert.deepEqual(store.of(streamId).map(({ pieces }) => pieces), [[]], "its id, once");
  }
  while (store.pending > 0) {
    store.answer();
    await clock.advance(0);
  }
  await clock.advance(100);
  while (store.pending > 0) store.answer();
  for (const streamId of started) assert.equal(store.of(streamId).length, 2, "its events");
  await close();
});

test("SharedLog writes what has come since the last time as one piece, however it is held", async () => {
  const { store, log, clock, close } = slowly();
  const queue = new AsyncQueue<string>();
  const response = await sse(ask(), queue, { log, clock, commitAfterMs: 0 });
  assert.equal(await clock.during(log.flush()), true);
  const read = response.text();
  for (let i = 0; i < 80; i++) {
    queue.send("x".repeat(50));
    await turn();
  }
  await clock.advance(1000);
  const pieces = store.writes.flatMap((write) => write.pieces);
  assert.deepEqual(pieces.map(({ first, last }) => [first, last]), [[1, 80]]);
  assert.equal(pieces[0]!.text.match(/x{50}/g)?.length, 80);
  queue.close();
  await clock.during(read);
  await clock.during(log.flush());
  await close();
});

test("SharedLog writes to a stream again when the store has answered, and not before", async () => {
  const { store, log, clock, close } = slowly();
  store.isQuick = false;
  async function* tokens() {
    yield "a";
    await clock.sleep(30);
    yield "b";
  }
  const response = await clock.during(sse(ask(), tokens(), { log, clock }));
  const streamId = response.headers.get("x-stream-id");
  await clock.during(response.text());
  // It has ended, and is due all the time.
  await clock.advance(150);
  assert.equal(store.of(streamId).length, 1, "one that is not answered");
  while (store.pending > 0) store.answer();
  await clock.advance(100);
  assert.equal(store.of(streamId).length, 2, "the rest follows");
  assert.match(store.of(streamId)[1]!.pieces.at(-1)!.text, /"b"/);
  await close();
});

/** A stream of so many tokens, one each `everyMs`, as it was written in one minute. */
async function written(count: number, everyMs: number, length: number): Promise<number[]> {
  const { store, log, clock, close } = slowly();
  const response = await clock.during(sse(ask(), async function* () {
    for (let i = 0; i < count; i++) {
      yield "x".repeat(length);
      await clock.sleep(everyMs);
    }
  }, { log, clock }));
  await clock.during(response.text());
  await clock.during(log.flush());
  await close();
  return store.of(response.headers.get("x-stream-id")).map(({ atMs }) => atMs);
}

test("SharedLog makes two writes a second for a stream that nobody reads elsewhere", async () => {
  const atMs = await written(1000, 10, 10);
  // Ten seconds; its id, and its end.
  assert(atMs.length >= 20 && atMs.length <= 23, `${atMs.length} writes`);
  const gaps = atMs.slice(2, -1).map((ms, i) => ms - atMs[i + 1]!);
  assert(gaps.every((ms) => ms >= 500), `${gaps}`);
});

test("SharedLog writes a stream that makes a lot as it comes, at most twenty times a second", async () => {
  const atMs = await written(200, 20, 20_000);
  // Four seconds.
  assert(atMs.length >= 30 && atMs.length <= 80, `${atMs.length} writes`);
  // The last one is asked for.
  const gaps = atMs.slice(1, -1).map((ms, i) => ms - atMs[i]!);
  assert(gaps.every((ms) => ms >= 50), `${gaps}`);
});

test("SharedLog writes streams that begin together over a quarter of a second, their ids at once", async () => {
  const { store, log, clock, close } = slowly();
  const tokens = async function* () {
    for (let i = 0; i < 150; i++) {
      yield "x";
      await clock.sleep(10);
    }
  };
  const fromMs = clock.now();
  const responses = await clock.during(
    Promise.all(Array.from({ length: 200 }, () => sse(ask(), tokens(), { log, clock }))),
  );
  const texts = Promise.all(responses.map((response) => response.text()));
  await clock.advance(30);
  assert.equal(store.writes.length, 200, "their ids");
  assert(store.calls.length <= 5, `${store.calls.length} calls for 200 ids`);
  await clock.advance(fromMs + 1000 - clock.now());
  const later = store.writes.slice(200).map(({ atMs }) => atMs - fromMs);
  assert(Math.max(...later.slice(0, 200)) - Math.min(...later.slice(0, 200)) >= 200);
  const byTime = Object.values(Object.groupBy(later, (ms) => ms)).map((some) => some!.length);
  assert(byTime.every((count) => count <= 40), `${byTime} at one time`);
  await clock.during(texts);
  await close();
});

test("SharedLog writes a silent stream each three seconds, so that it does not expire", async () => {
  const { store, log, clock, close } = slowly();
  const response = await clock.during(sse(ask(), async function* ({ signal }) {
    yield "x";
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
  }, { log, clock, stallMs: 0 }));
  await clock.advance(30_000);
  const writes = store.of(response.headers.get("x-stream-id"));
  assert(writes.length >= 10 && writes.length <= 13, `${writes.length} writes`);
  assert(writes.slice(2).every(({ pieces }) => pieces.length === 0));
  await response.body!.cancel();
  await clock.advance(11_000);
  await close();
});

test("SharedLog reports a stream that the store rejects, each three seconds, and keeps the others", async () => {
  const { store, log, clock, errors } = slowly();
  store.result = { state: "failed", error: "too large" };
  const response = await clock.during(sse(ask(), async function* () {
    for (let i = 0; i < 600; i++) {
      yield "x";
      await clock.sleep(10);
    }
  }, { log, clock }));
  await clock.during(response.text());
  assert.equal(log.health(), "ok");
  assert(errors.length >= 2 && errors.length <= 3, `${errors.length} errors`);
  assert.match(String(errors[0]), /rejects a stream: too large/);
  store.result = undefined;
  assert.equal(await clock.during(log.flush()), true);
  await log.close();
});
