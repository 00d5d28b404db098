/** `RedisLog`: the log of many machines on the user's Redis. */
import { SharedLog, type SharedLogOptions } from "../shared/shared_log.ts";
import type { RedisConnection } from "./clients.ts";
import { RedisStore } from "./store.ts";

/** Limits of a {@linkcode RedisLog}. */
export interface RedisLogOptions extends SharedLogOptions {
  /**
   * Prefix of the names of keys and channels; logs with one prefix share their streams. On a
   * cluster it has to put all of them in one slot, as `{spillway}:` does. @default {"spillway:"}
   */
  prefix?: string;
}

/**
 * A replay log that all machines share. It uses two connections per process (commands, and one
 * subscription). It makes two writes a second for a stream, at most twenty while it is read
 * elsewhere or makes more than 128 KiB a second. A generation and its readers on the same machine
 * never wait for Redis, nor end with it.
 *
 * @example
 * ```ts ignore
 * import { RedisClient } from "bun";
 * import { bunRedis, createHandler, RedisLog } from "spillway";
 *
 * const log = new RedisLog(bunRedis(new RedisClient("redis://127.0.0.1:6379")));
 * export default createHandler({ source: "Hello", log });
 * ```
 */
export class RedisLog extends SharedLog {
  /**
   * Creates a log and connects it. `close` leaves the client that was passed in open.
   *
   * @param connection Your client, through `bunRedis`, `nodeRedis` or `ioRedis`.
   * @throws {RangeError} If a limit is out of its bounds.
   */
  constructor(connection: RedisConnection, options: RedisLogOptions = {}) {
    const { prefix = "spillway:", ...shared } = options;
    super(new RedisStore(connection, prefix), shared);
  }
}
