/** What a `RedisLog` sends, against a Redis that answers when the test says so. */
import assert from "node:assert/strict";
import test from "node:test";
import { RedisLog, sse } from "../../../mod.ts";
import { until } from "../../support/serve.ts";

const KIB = 1024;
const LIMIT = 4 * 1024 * KIB;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const ask = () => new Request("http://localhost/", { method: "POST" });

/** A Redis that takes whatever is appended, each command at once, or once it is told to. */
class SlowRedis {
  /** Bytes of commands that are not answered. */
  pendingBytes = 0;
  mostBytes = 0;
  isQuick = true;
  readonly sent: string[][] = [];
  readonly #answers: (() => void)[] = [];

  send(_: string, args: string[]): Promise<unknown> {
    this.sent.push(args);
    const keys = args.slice(2, 2 + Number(args[1]));
    const bytes = args.reduce((sum, arg) => sum + arg.length, 0);
    this.pendingBytes += bytes;
    this.mostBytes = Math.max(this.mostBytes, this.pendingBytes);
    return new Promise((resolve) => {
      this.#answers.push(() => {
        this.pendingBytes -= bytes;
        resolve([keys.filter((key) => key.includes("stream:")).length, []]);
      });
      if (this.isQuick) this.answer();
    });
  }

  subscribe(): Promise<void> {
    return Promise.resolve();
  }

  answer(): void {
    this.#answers.shift()?.();
  }

  get pending(): number {
    return this.#answers.length;
  }
}

/** A log over it, and what it complains of. */
function slowly() {
  const redis = new SlowRedis();
  const errors: unknown[] = [];
  const log = new RedisLog(redis, { onError: (error) => void errors.push(error) });
  const close = async () => {
    const closing = log.close();
    while (redis.pending > 0) {
      redis.answer();
      await sleep(0);
    }
    await closing;
    assert.deepEqual(errors, []);
  };
  return { redis, log, close };
}

/** Streams that Redis knows, and then more events of them than may be on the way. */
async function flood(redis: SlowRedis, log: RedisLog): Promise<void> {
  const gate = Promise.withResolvers<void>();
  async function* tokens() {
    yield "x";
    await gate.promise;
    for (let i = 0; i < 4; i++) yield "x".repeat(16 * KIB);
  }
  const responses = await Promise.all(
    Array.from({ length: 200 }, () => sse(ask(), tokens(), { log })),
  );
  assert.equal(await log.flush(), true);
  redis.isQuick = false;
  gate.resolve();
  await Promise.all(responses.map((response) => response.text()));
  await until(() => redis.pendingBytes >= LIMIT, 1000, "4 MiB are on the way");
}

test("RedisLog has 4 MiB on the way to Redis and no more, and the rest follows as it is answered", async () => {
  const { redis, log, close } = slowly();
  await flood(redis, log);
  // Several ticks, each of which would send more.
  await sleep(150);
  assert(redis.pendingBytes < LIMIT + 512 * KIB, `${redis.pendingBytes / KIB} KiB`);
  for (let i = 0; i < 20; i++) {
    redis.answer();
    // A turn for what the answer makes room for, and not a tick.
    await sleep(0);
    assert(redis.pendingBytes > LIMIT - 512 * KIB, `${redis.pendingBytes / KIB} KiB`);
  }
  const flushed = log.flush({ timeoutMs: 2000 });
  let isOver = false;
  flushed.finally(() => isOver = true);
  while (!isOver) {
    redis.answer();
    await sleep(0);
  }
  assert.equal(await flushed, true, "all was written");
  assert(redis.mostBytes < LIMIT + 512 * KIB, `${redis.mostBytes / KIB} KiB`);
  await close();
});

test("RedisLog sends a new stream's name though 4 MiB are on the way, and its events later", async () => {
  const { redis, log, close } = slowly();
  await flood(redis, log);
  const started = await Promise.all([1, 2].map(async () => {
    const response = await sse(ask(), ["late"], { log });
    await response.text();
    return `stream:${response.headers.get("x-stream-id")}`;
  }));
  const writes = (key: string) =>
    redis.sent.filter((args) => args.some((arg) => arg.endsWith(key)));
  await until(() => started.every((key) => writes(key).length === 1), 200, "both names");
  for (const key of started) {
    assert(writes(key)[0]!.every((arg) => !arg.includes("late")), "without events");
  }
  while (redis.pending > 0) {
    redis.answer();
    await sleep(0);
  }
  await until(() => started.every((key) => writes(key).length === 2), 1000, "the events");
  await close();
});

test("RedisLog writes to a stream again when Redis has answered, and not before", async () => {
  const { redis, log, close } = slowly();
  redis.isQuick = false;
  async function* tokens() {
    yield "a";
    await sleep(30);
    yield "b";
  }
  const response = await sse(ask(), tokens(), { log });
  const key = `stream:${response.headers.get("x-stream-id")}`;
  const writes = () => redis.sent.filter((args) => args.some((arg) => arg.endsWith(key)));
  await response.text();
  // It has ended, and is due with each tick.
  await sleep(150);
  assert.equal(writes().length, 1, "one that is not answered");
  while (redis.pending > 0) redis.answer();
  await until(() => writes().length === 2, 1000, "the rest follows");
  assert.match(writes()[1]!.at(-1)!, /"b"/);
  await close();
});
