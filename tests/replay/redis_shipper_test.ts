/** What a `RedisLog` sends, against a Redis that answers when the test says so. */
import assert from "node:assert/strict";
import test from "node:test";
import { RedisLog, sse } from "../../mod.ts";
import { until } from "../serve.ts";

const KIB = 1024;

/** A Redis that takes whatever is appended, each command once it is told to. */
class SlowRedis {
  /** Bytes of commands that are not answered. */
  pendingBytes = 0;
  mostBytes = 0;
  readonly #answers: (() => void)[] = [];

  send(_: string, args: string[]): Promise<unknown> {
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
    const request = new Request("http://localhost/", { method: "POST" });
    await (await sse(request, Array(4).fill(token), { log })).text();
  }
  await until(() => redis.pendingBytes >= limit, 1000, "4 MiB are on the way");
  // Several ticks, each of which would send more.
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert(redis.pendingBytes < limit + 512 * KIB, `${redis.pendingBytes / KIB} KiB`);
  const startMs = performance.now();
  while (redis.pending > 0) {
    redis.answer();
    // A turn for what the answer makes room for.
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  // By ticks of 25 ms that found room for one command each it would take seconds.
  assert(performance.now() - startMs < 1000, "what waits does not wait for ticks");
  assert(redis.mostBytes < limit + 512 * KIB, `${redis.mostBytes / KIB} KiB`);
  assert.equal(await log.flush({ timeoutMs: 100 }), true, "all was written");
  const closing = log.close();
  redis.answer();
  await closing;
});
