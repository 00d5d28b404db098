/** `SqliteLog`: the log of the processes of one machine, in a file. */
import { SharedLog, type SharedLogOptions } from "../shared/shared_log.ts";
import { SqliteStore } from "./store.ts";

/** Limits of a {@linkcode SqliteLog}. */
export interface SqliteLogOptions extends SharedLogOptions {
  /**
   * The greatest size of the file, in bytes, 1 MiB or more. A file that has it takes no more events
   * until older ones have expired, as on a full disk. @default {Infinity}
   */
  maxFileBytes?: number;
}

const MIN_FILE_BYTES = 1024 * 1024;

/**
 * A replay log that all processes of one machine share, and that a restart finds again: a file of
 * SQLite, through `node:sqlite` of Bun 1.4, Deno 2.9 and Node 22.13. It makes two writes a second for
 * a stream, at most twenty while it is read in another process or makes more than 128 KiB a second.
 * A generation and its readers in the same process never wait for the file, nor end with it.
 *
 * @example
 * ```ts ignore
 * import { createHandler } from "spillway";
 * import { SqliteLog } from "spillway/sqlite";
 *
 * const log = new SqliteLog("/var/lib/chat/replay.db");
 * export default createHandler({ source: "Hello", log });
 * ```
 */
export class SqliteLog extends SharedLog {
  /**
   * Creates a log and opens its file, which is made if there is none. What is wrong with the file is
   * told to `onError`, and `health` says `degraded` meanwhile.
   *
   * @param path The file. Its folder has to exist, on a disk of this machine: no network file system.
   * @throws {TypeError} If this runtime has no `node:sqlite`, or `path` is not the path of a file.
   * @throws {RangeError} If a limit is out of its bounds.
   */
  constructor(path: string, options: SqliteLogOptions = {}) {
    const { maxFileBytes = Infinity, ...shared } = options;
    if (typeof path !== "string" || path === "" || path === ":memory:") {
      throw new TypeError(
        `Cannot open a SqliteLog: its path is ${JSON.stringify(path)}, not a file's`,
      );
    }
    if (!(maxFileBytes >= MIN_FILE_BYTES)) {
      throw new RangeError(
        `Cannot open a SqliteLog: maxFileBytes is ${maxFileBytes}, not ${MIN_FILE_BYTES} or more`,
      );
    }
    super(new SqliteStore(path, { maxFileBytes, clock: shared.clock }), shared);
  }
}
