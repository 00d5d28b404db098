/** The log that several processes share, as the settings choose it. */
import { bunRedis, nodeRedis, type NodeRedisClient } from "../replay/redis/clients.ts";
import { RedisLog } from "../replay/redis/redis_log.ts";
import { RedisClient } from "./listen.ts";
import type { Settings } from "./settings.ts";

/**
 * Checks that workers have a log which they share.
 *
 * @throws {RangeError} If they have none: a client that comes back would mostly meet another worker.
 */
export function checkLog({ redisUrl }: Settings, workers: number): void {
  if (workers > 1 && redisUrl === "") {
    throw new RangeError(
      `WORKERS is ${workers}, and they share their streams in REDIS_URL: set it`,
    );
  }
}

/**
 * The log of the settings, `undefined` for one in memory: in Redis, with Bun's own client, else with the
 * package `redis`.
 *
 * @throws {RangeError} With one line that names what is wrong.
 */
export async function createLog(
  { redisUrl: url, redisPrefix: prefix }: Settings,
  onError: (error: unknown) => void,
): Promise<RedisLog | undefined> {
  if (url === "") return undefined;
  const options = { prefix, onError };
  try {
    if (RedisClient) return new RedisLog(bunRedis(new RedisClient(url)), options);
    // An optional peer dependency: not resolved unless it is needed.
    const name = "redis";
    const { createClient } = await import(name) as {
      createClient(options: { url: string }): NodeRedisClient;
    };
    const client = createClient({ url });
    client.on("error", () => {});
    return new RedisLog(nodeRedis(client), options);
  } catch (error) {
    // The error's message may repeat the URL, and the URL may hold a password.
    const { code } = error as { code?: unknown };
    const missing = code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND";
    throw new RangeError(
      `REDIS_URL: ${missing ? "npm install redis" : "cannot create a Redis client from it"}`,
    );
  }
}
