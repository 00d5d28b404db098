/**
 * The calls of a store that is synchronous, done in turns. Separate from the store because only this
 * file decides for how long the event loop is held.
 */
import type { Clock } from "../../pipeline/scheduler.ts";
import { isBusy } from "./faults.ts";
import type { ReplayFile } from "./file.ts";
import type { Tables } from "./tables.ts";

/** What is done in one turn at most, in bytes: 1 to 4 ms. */
export const TURN_BYTES: number = 128 * 1024;
/** What a call counts as besides its bytes, and each stream of it. */
export const CALL_BYTES: number = 2 * 1024;
/** The time between two turns in which others have the loop, in ms. */
const PAUSE_MS = 1;
/** How soon a turn is taken again that found the file locked, in ms, and for how long. */
const BUSY_AGAIN_MS = 5;
const BUSY_MS = 1500;

/** A call that waits for its turn. */
interface Call {
  readonly bytes: number;
  run(tables: Tables): () => void;
  reject(error: unknown): void;
}

/**
 * Calls in the order in which they came. All calls of one turn are one transaction: either what each of
 * them did is in the file, or nothing of it is.
 */
export class Turns {
  readonly #file: ReplayFile;
  readonly #clock: Clock;
  readonly #isWriting: boolean;
  #calls: Call[] = [];
  #timer: unknown;
  #busySinceMs: number | undefined;

  /** @param isWriting Whether the calls write: one process does so at a time, and others read meanwhile. */
  constructor(file: ReplayFile, clock: Clock, isWriting: boolean) {
    this.#file = file;
    this.#clock = clock;
    this.#isWriting = isWriting;
  }

  /** Calls `run` in its turn. */
  do<Result>(run: (tables: Tables) => Result, bytes = 0): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#calls.push({
        bytes: bytes + CALL_BYTES,
        run: (tables) => {
          const result = run(tables);
          return () => resolve(result);
        },
        reject,
      });
      this.#arm(0);
    });
  }

  /** Rejects what waits. */
  close(): void {
    this.#clock.clearTimer(this.#timer);
    for (const { reject } of this.#calls.splice(0)) reject(new Error("The log was closed"));
  }

  #arm(ms: number): void {
    this.#timer ??= this.#clock.setTimer(() => this.#turn(), ms);
  }

  #turn(): void {
    this.#timer = undefined;
    let bytes = 0;
    let count = 0;
    while (count < this.#calls.length && bytes < TURN_BYTES) bytes += this.#calls[count++]!.bytes;
    const calls = this.#calls.slice(0, count);
    try {
      const settle = this.#transact(calls);
      this.#calls.splice(0, count);
      this.#busySinceMs = undefined;
      if (this.#isWriting) this.#file.committed(bytes);
      for (const resolve of settle) resolve();
    } catch (error) {
      const nowMs = this.#clock.now();
      if (isBusy(error) && nowMs - (this.#busySinceMs ??= nowMs) < BUSY_MS) {
        return this.#arm(BUSY_AGAIN_MS);
      }
      this.#busySinceMs = undefined;
      this.#calls.splice(0, count);
      const fault = this.#file.failed(error);
      for (const { reject } of calls) reject(fault);
    }
    if (this.#calls.length > 0) this.#arm(PAUSE_MS);
  }

  #transact(calls: readonly Call[]): (() => void)[] {
    const tables = this.#file.tables();
    if (this.#isWriting) this.#file.throwUntold();
    tables.statement(this.#isWriting ? "begin immediate" : "begin").run();
    try {
      const settle = calls.map(({ run }) => run(tables));
      tables.statement("commit").run();
      return settle;
    } catch (error) {
      try {
        tables.statement("rollback").run();
      } catch {
        // SQLite has rolled it back: a full disk does that.
      }
      throw error;
    }
  }
}
