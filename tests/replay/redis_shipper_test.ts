/** What a `RedisLog` sends, against a Redis that answers when the test says so. */
import assert from "node:assert/strict";
import test from "node:test";
import { RedisLog, sse } from "../../mod.ts";
import { until } from "../serve.ts";

const KIB = 1024;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const ask = () => new Request("http://localhost/", { method: "POST" });

/** A Redis that takes whatever is appended, each command once it is told to. */
class SlowRedis {
  /** Bytes of commands that are not answered. */
  pendingBytes = 0;
  mostBytes = 0;
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

test("RedisLog has 4 MiB on the way to Redis and no more, and the rest follows as it is answered", async () => {
  const redis = new SlowRedis();
  const log = new RedisLog(redis, { onError: (error) => assert.fail(String(error)) });
  const streams = 200;
  const token = "x".repeat(16 * KIB);
  const limit = 4 * 1024 * KIB;
  for (let i = 0; i < streams; i++) {
    await (await sse(ask(), Array(4).fill(token), { log })).text();
  }
  await until(() => redis.pendingBytes >= limit, 1000, "4 MiB are on the way");
  // Several ticks, each of which would send more.
  await sleep(150);
  assert(redis.pendingBytes < limit + 512 * KIB, `${redis.pendingBytes / KIB} KiB`);
  const startMs = performance.now();
  while (redis.pending > 0) {
    redis.answer();
    // A turn for what the answer makes room for.
    await sleep(0);
  }
  // By ticks of 25 ms that found room for one command each it would take seconds.
  assert(performance.now() - startMs < 1000, "what waits does not wait for ticks");
  assert(redis.mostBytes < limit + 512 * KIB, `${redis.mostBytes / KIB} KiB`);
  assert.equal(await log.flush({ timeoutMs: 100 }), true, "all was written");
  const closing = log.close();
  redis.answer();
  await closing;
});

test("RedisLog writes to a stream again when Redis has answered, and not before", async () => {
  const redis = new SlowRedis();
  const log = new RedisLog(redis, { onError: (error) => assert.fail(String(error)) });
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
  const closing = log.close();
  while (redis.pending > 0) {
    redis.answer();
    await sleep(0);
  }
  await closing;
});
