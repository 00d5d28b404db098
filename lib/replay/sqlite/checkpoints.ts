/**
 * Checkpoints: what was written to the log of the database (its WAL) is copied into the file. Separate
 * from the writing because a thread does it: a checkpoint waits for the disk, 5 to 200 ms where a
 * commit takes 0.1 ms.
 */
import type { Modules, Thread } from "./database.ts";

/** What the thread says when it has done what it was told. */
interface Reply {
  readonly message: "checkpoint" | "reopen" | "close";
  /** What went wrong. */
  readonly fault?: unknown;
}

/** A checkpoint is made after so many commits, or bytes: a WAL of a few MiB. */
const COMMITS = 64;
const BYTES = 4 * 1024 * 1024;
/** How long the thread has to close the file, in ms. */
const CLOSE_MS = 2000;

/**
 * The program of the thread. It is a text because a file of its own would be missing in a bundle.
 *
 * The first checkpoint lets others write meanwhile. The second one has little left to copy. What is
 * written then begins the WAL anew, and whoever does so waits for the disk: so the thread does.
 */
const PROGRAM = `
process.emitWarning = () => {};
const { parentPort, workerData } = require("node:worker_threads");
const { DatabaseSync } = require("node:sqlite");
let database;
const pragma = (text) => Object.values(database.prepare("pragma " + text).get() ?? {});
function checkpoint() {
  database ??= new DatabaseSync(workerData);
  database.exec("pragma synchronous = normal; pragma wal_autocheckpoint = 0");
  pragma("busy_timeout = 500");
  pragma("wal_checkpoint(passive)");
  const [isBusy, , ] = pragma("wal_checkpoint(restart)");
  if (!isBusy) database.prepare("update probes set bytes = x''").run();
}
parentPort.on("message", (message) => {
  let fault;
  try {
    if (message === "checkpoint") checkpoint();
    else {
      const closing = database;
      database = undefined;
      closing?.close();
    }
  } catch (error) {
    // Others may hold the file for longer; the next checkpoint comes soon.
    if (!/is locked/.test(error.message)) fault = { errcode: error.errcode, message: error.message };
  }
  parentPort.postMessage({ message, fault });
});
`;

/** What is told of the checkpoints. */
export interface CheckpointEvents {
  /** Called with an error of SQLite when a checkpoint has failed. */
  onFault(fault: unknown): void;
  /** Called when there is no thread any more. */
  withoutThread(): void;
}

/**
 * The checkpoints of one process. Its thread is started with it, because Deno waits 20 to 40 ms for a
 * thread that starts.
 */
export class Checkpoints {
  readonly #events: CheckpointEvents;
  readonly #thread: Thread | undefined;
  #state: "idle" | "working" | "closed" = "idle";
  /** How many times the thread has still to close its connection to a file that is gone. */
  #reopening = 0;
  #commits = 0;
  #bytes = 0;
  #closed = () => {};

  constructor({ threads: { Worker } }: Modules, path: string, events: CheckpointEvents) {
    this.#events = events;
    try {
      const thread = new Worker(PROGRAM, { eval: true, workerData: path });
      thread.on("message", (reply) => this.#receive(reply as Reply));
      thread.on("error", () => this.#giveUp());
      // Behind the listeners, which take that back on Bun and Node.
      thread.unref();
      this.#thread = thread;
    } catch {
      this.#state = "closed"; // This runtime, or its permissions, allow no thread.
    }
  }

  /** Whether the thread makes the checkpoints. */
  get hasThread(): boolean {
    return this.#state !== "closed";
  }

  /** Called after each commit. */
  committed(bytes: number): void {
    this.#commits++;
    this.#bytes += bytes;
    if (this.#commits >= COMMITS || this.#bytes >= BYTES) this.make();
  }

  /** Makes a checkpoint, unless one is being made. */
  make(): void {
    if (this.#state !== "idle") return;
    this.#commits = this.#bytes = 0;
    this.#state = "working";
    this.#thread!.postMessage("checkpoint");
  }

  /** Another file has taken the path. */
  reopen(): void {
    if (this.#state === "closed") return;
    this.#reopening++;
    this.#thread!.postMessage("reopen");
  }

  /** Ends the thread; nothing is checkpointed any more. */
  async close(): Promise<void> {
    const thread = this.#thread;
    if (thread === undefined || this.#state === "closed") return;
    this.#state = "closed";
    let timer;
    await new Promise<void>((resolve) => {
      this.#closed = resolve;
      timer = setTimeout(resolve, CLOSE_MS);
      thread.postMessage("close");
    });
    clearTimeout(timer);
    await thread.terminate();
  }

  #receive({ message, fault }: Reply): void {
    if (message === "close") return this.#closed();
    if (message === "reopen") this.#reopening--;
    else if (this.#state === "working") this.#state = "idle";
    // What is wrong with a file that is gone matters to nobody.
    if (fault !== undefined && message === "checkpoint" && this.#reopening === 0) {
      this.#events.onFault(fault);
    }
  }

  #giveUp(): void {
    this.#closed();
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#events.withoutThread();
  }
}
