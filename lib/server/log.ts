/** The replay log, as the settings choose it. */
import { accessSync, constants, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryLog } from "../replay/memory.ts";
import { bunRedis, nodeRedis, type NodeRedisClient } from "../replay/redis/clients.ts";
import { RedisLog, type RedisLogOptions } from "../replay/redis/redis_log.ts";
import type { SharedLog } from "../replay/shared/shared_log.ts";
import { SqliteLog, type SqliteLogOptions } from "../replay/sqlite/sqlite_log.ts";
import { redisFailure } from "./failures.ts";
import { RedisClient } from "./listen.ts";
import type { Settings } from "./settings.ts";

/**
 * Checks what can be said of the log before it is made, so that it is said once for all workers.
 *
 * @throws {RangeError} With one line that names what is wrong.
 */
export function checkLog({ replayFile, redisUrl }: Settings): void {
  if (!replayFile) return;
  if (redisUrl) {
    throw new RangeError("REPLAY_FILE and REDIS_URL are both set, and one log is used");
  }
  let isFolder: boolean | undefined;
  try {
    accessSync(replayFile.replace(/[^/\\]*$/, "") || ".", constants.W_OK);
    isFolder = statSync(replayFile, { throwIfNoEntry: false })?.isDirectory();
  } catch (error) {
    const { code } = error as { code?: unknown };
    throw new RangeError(`REPLAY_FILE: cannot write to its folder (${code})`);
  }
  if (isFolder) throw new RangeError("REPLAY_FILE is a folder, not a file");
}

/** A file for the streams of workers whose settings name no log. */
export interface TemporaryFile {
  readonly path: string;
  /** Removes it, with what SQLite keeps beside it. */
  readonly remove: () => void;
}

/** A new path, in a folder that only this user can read. */
export function temporaryFile(): TemporaryFile {
  const folder = mkdtempSync(join(tmpdir(), "spillway-"));
  return {
    path: join(folder, "replay.db"),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/**
 * The log of the settings.
 *
 * @throws {RangeError} With one line that names what is wrong.
 */
export async function createLog(
  { replayFile, redisUrl, redisPrefix, keepMs }: Settings,
  onError: (error: unknown) => void,
): Promise<SharedLog | MemoryLog> {
  if (replayFile) return sqliteLog(replayFile, { keepMs, onError });
  if (!redisUrl) return new MemoryLog({ keepMs });
  return await redisLog(redisUrl, {
    keepMs,
    prefix: redisPrefix,
    onError: async (error) => onError(await redisFailure(error, redisUrl)),
  });
}

function sqliteLog(path: string, options: SqliteLogOptions): SqliteLog {
  try {
    return new SqliteLog(path, options);
  } catch (error) {
    throw new RangeError(`REPLAY_FILE: ${(error as Error).message}`);
  }
}

/** A log in Redis: with Bun's own client, else with the package `redis`. */
async function redisLog(url: string, options: RedisLogOptions): Promise<RedisLog> {
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
      `REDIS_URL: ${
        missing
          ? "this runtime has no Redis client of its own; npm install redis"
          : "no Redis client takes it; it has to be like redis://user:password@host:6379"
      }`,
    );
  }
}
