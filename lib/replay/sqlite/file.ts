/**
 * One connection to a replay file: it is opened when it is needed, and again after it was deleted or
 * replaced. Separate from the store because a file in trouble is told of here, whatever is called.
 */
import { Checkpoints } from "./checkpoints.ts";
import type { Database, FileState, Modules } from "./database.ts";
import { explained, FileFault } from "./faults.ts";
import { openDatabase } from "./schema.ts";
import { Tables } from "./tables.ts";

/** How often it is seen whether the file is still the one that was opened, in ms. */
const LOOK_MS = 1000;
/** The database, and what SQLite keeps beside it. */
const PARTS = ["", "-wal", "-shm"];

/** Without a thread a commit makes the checkpoints, each after so many pages. */
const OWN_CHECKPOINTS = "pragma wal_autocheckpoint = 256";

/** What a file is opened with. */
export interface FileOptions {
  readonly modules: Modules;
  readonly path: string;
  /** The greatest size of the database, in bytes. */
  readonly maxBytes: number;
  /** The time in ms, the same in all processes that share the file. */
  readonly now: () => number;
  /** Whether a thread makes the checkpoints, as it does unless a test has a time of its own. */
  readonly hasThread: boolean;
}

interface Connection {
  readonly database: Database;
  readonly tables: Tables;
  /** What tells the file from another one that takes its place. */
  readonly parts: string;
}

/**
 * A replay file.
 *
 * ```
 *   closed ──tables()──▶ open ──deleted or replaced──▶ closed
 *                         └────corrupt──▶ broken ──deleted or replaced──▶ closed
 * ```
 */
export class ReplayFile {
  readonly #options: FileOptions;
  readonly #checkpoints: Checkpoints | undefined;
  #open: Connection | undefined;
  /** Why nothing that the file holds can be relied on. */
  #broken: unknown;
  /** What the next write has to tell. */
  #untold: unknown;
  #isClosed = false;
  #lookedMs = -Infinity;

  constructor(options: FileOptions) {
    this.#options = options;
    const { modules, path, hasThread } = options;
    if (!hasThread) return;
    this.#checkpoints = new Checkpoints(modules, path, {
      onFault: (fault) => this.#untold = this.failed(fault),
      withoutThread: () => this.#open?.database.exec(OWN_CHECKPOINTS),
    });
  }

  /**
   * The tables.
   *
   * @throws {FileFault} If the file cannot be used.
   */
  tables(): Tables {
    if (this.#open !== undefined) this.#look();
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#isClosed) throw new Error("The log was closed");
    return (this.#open ??= this.#connect()).tables;
  }

  /** Throws what went wrong outside of any call, once: then the log writes all that it has anew. */
  throwUntold(): void {
    const fault = this.#untold;
    this.#untold = undefined;
    if (fault !== undefined) throw fault;
  }

  /** Called after each commit, with about as many bytes as were written. */
  committed(bytes: number): void {
    this.#checkpoints?.committed(bytes);
  }

  /** What an error means. One that no later call can be spared is thrown by all of them. */
  failed(error: unknown): unknown {
    const fault = explained(error, this.#options.path);
    if (fault instanceof FileFault && fault.isFinal && this.#open !== undefined) {
      this.#broken = fault;
    }
    return fault;
  }

  /** Closes it for good. The thread does so last: whoever does copies what was written into the file. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#open?.database.close();
    this.#open = undefined;
    await this.#checkpoints?.close();
  }

  #connect(): Connection {
    const { modules, path, maxBytes, now } = this.#options;
    const { database, isNew } = openDatabase(modules, path, maxBytes);
    const tables = new Tables(database, now);
    tables.version();
    this.#lookedMs = now();
    if (!this.#checkpoints?.hasThread) database.exec(OWN_CHECKPOINTS);
    else if (isNew) this.#checkpoints.make();
    return { database, tables, parts: this.#parts() };
  }

  /** Closes a file that is no longer at its path. */
  #look(): void {
    const { now, path } = this.#options;
    const nowMs = now();
    // A clock that was set back counts as well.
    if (Math.abs(nowMs - this.#lookedMs) < LOOK_MS) return;
    this.#lookedMs = nowMs;
    if (this.#parts() === this.#open!.parts) return;
    this.#broken = undefined;
    this.#open!.database.close();
    this.#open = undefined;
    this.#checkpoints?.reopen();
    this.#untold = new FileFault(path, "it was deleted or replaced; a new one is begun");
  }

  /** What tells the file and its parts from others of the same names. */
  #parts(): string {
    const { modules: { files }, path } = this.#options;
    const states = PARTS.map((part) => files.statSync(path + part, { throwIfNoEntry: false }));
    return states.map((state?: FileState) => `${state?.dev}.${state?.ino}`).join();
  }
}
