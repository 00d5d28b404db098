/**
 * Checkpoints: what was written to the log of the database (its WAL) is copied into the file. Separate
 * from the writing because a thread does it: a checkpoint waits for the disk, 5 to 200 ms where a
 * commit takes 0.1 ms.
 */
import type { Modules, Thread } from "./database.ts";

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
    else database?.close();
  } catch (error) {
    // Others may hold the file for longer; the next checkpoint comes soon.
    if (!/is locked/.test(error.message)) fault = { errcode: error.errcode, message: error.message };
  }
  parentPort.postMessage({ message, fault });
});
`;

/** The checkpoints of one connection. */
export class Checkpoints {
  readonly #modules: Modules;
  readonly #path: string;
  readonly #onFault: (fault: unknown) => void;
  readonly #withoutThread: () => void;
  #thread: Thread | undefined;
  #state: "idle" | "working" | "closed" = "idle";
  #commits = 0;
  #bytes = 0;
  #closed = () => {};

  /**
   * @param onFault Called with an error of SQLite when a checkpoint has failed.
   * @param withoutThread Called when there can be no thread.
   */
  constructor(
    modules: Modules,
    path: string,
    onFault: (fault: unknown) => void,
    withoutThread: () => void,
  ) {
    this.#modules = modules;
    this.#path = path;
    this.#onFault = onFault;
    this.#withoutThread = withoutThread;
  }

  /** Called after each commit. */
  committed(bytes: number): void {
    this.#commits++;
    this.#bytes += bytes;
    if (this.#state !== "idle" || (this.#commits < COMMITS && this.#bytes < BYTES)) return;
    this.#commits = this.#bytes = 0;
    try {
      this.#thread ??= this.#start();
    } catch {
      this.#giveUp();
      return;
    }
    this.#state = "working";
    this.#thread.postMessage("checkpoint");
  }

  /** Ends the thread; nothing is checkpointed any more. */
  async close(): Promise<void> {
    this.#state = "closed";
    const thread = this.#thread;
    if (thread === undefined) return;
    let timer;
    await new Promise<void>((resolve) => {
      this.#closed = resolve;
      timer = setTimeout(resolve, CLOSE_MS);
      thread.postMessage("close");
    });
    clearTimeout(timer);
    await thread.terminate();
  }

  #start(): Thread {
    const { Worker } = this.#modules.threads;
    const thread = new Worker(PROGRAM, { eval: true, workerData: this.#path });
    thread.unref();
    thread.on("message", (reply) => {
      const { message, fault } = reply as { message: string; fault?: unknown };
      if (message === "close") return this.#closed();
      if (this.#state === "working") this.#state = "idle";
      if (fault !== undefined) this.#onFault(fault);
    });
    thread.on("error", () => this.#giveUp());
    return thread;
  }

  #giveUp(): void {
    this.#closed();
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#withoutThread();
  }
}
