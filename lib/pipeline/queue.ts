/**
 * The queue between one source and one stream: callbacks on one side, demand on the other. Separate
 * from the pump because callback sources use the queue directly and nothing else.
 */
import { active } from "../counters.ts";
import { StreamError } from "../error.ts";
import type { Item, Summary } from "../item.ts";

/** Limits of an {@linkcode AsyncQueue}. */
export interface AsyncQueueOptions {
  /** Waiting bytes from which `send` waits, 1 or more. @default {65 536} */
  highWaterMark?: number;
  /**
   * Waiting bytes at which a further `send` ends the stream with `overflow`, at least
   * `highWaterMark`. @default {1 MiB}
   */
  maxBufferedBytes?: number;
}

/** The stream that reads a queue. Its methods are called from anywhere, at any time. */
export interface QueueReader<T> {
  /**
   * Whether waiting bytes are limited to the queue's `maxBufferedBytes`; if not, the reader makes
   * room.
   */
  readonly bounded: boolean;
  /**
   * Takes a value at once, so that it is encoded while it is still in the processor's cache.
   *
   * @returns How many bytes wait in all.
   * @throws If the value cannot be sent; the queue fails with that error.
   */
  write(value: T): number;
  /** Called when the queue's state changed. Must not throw. */
  wake(): void;
  /** Called when a value was sent after the normal end. Must not throw. */
  sentAfterEnd(): void;
}

/** Memory of a value that no stream has encoded yet, beside its two bytes per UTF-16 unit. */
const VALUE_BYTES = 32;
const NO_SUMMARY: Summary = {};
/** Shared results of `send`, so that a call without a wait allocates no promise. */
const SENT: Promise<boolean> = Promise.resolve(true);
const NOT_SENT: Promise<boolean> = Promise.resolve(false);

/**
 * A bounded queue that any callback may fill. One producer side (`send`, `close`, `fail`), one
 * consumer (a stream, or one `for await`).
 *
 * ```
 *           close()
 *   open ──────────────▶ closed      what waits is still delivered, then the end
 *    │ ────────────────▶ failed      what waits is still delivered, then the error
 *    │      fail(error)    │
 *    └──────────┬──────────┘
 *               ▼ cancel(reason)
 *           cancelled                what waits is dropped; `signal` aborts
 * ```
 *
 * The calls may come in any order, repeatedly, from anywhere, also inside each other. What waits is
 * counted in bytes: as they are sent or, while no stream reads the queue yet, as they are held (two
 * per UTF-16 unit, and 32 per value).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { AsyncQueue } from "spillway";
 *
 * const queue = new AsyncQueue<string>();
 * for (const token of ["Hel", "lo"]) queue.send(token);
 * queue.close();
 * assert((await Array.fromAsync(queue)).join("") === "Hello");
 * ```
 */
export class AsyncQueue<T = Item> implements AsyncIterable<T> {
  #state: "open" | "closed" | "failed" | "cancelled" = "open";
  /** Values that wait while no stream reads the queue; a stream keeps them as bytes. */
  #values: T[] = [];
  #bytes = 0;
  #error: unknown;
  #summary = NO_SUMMARY;
  #reader: QueueReader<T> | undefined;
  #abort: AbortController | undefined;
  /** The promise that every waiting `send` returns; there is one, however many calls wait. */
  #room: Promise<boolean> | undefined;
  #settle: ((room: boolean) => void) | undefined;
  readonly #highWaterMark: number;
  readonly #maxBufferedBytes: number;

  /**
   * Creates an open queue.
   *
   * @throws {RangeError} If a limit is out of its bounds.
   */
  constructor(options: AsyncQueueOptions = {}) {
    const { highWaterMark, maxBufferedBytes } = checkLimits(options);
    this.#highWaterMark = highWaterMark;
    this.#maxBufferedBytes = maxBufferedBytes;
  }

  /** The queue's state; see the diagram of the class. */
  get state(): "open" | "closed" | "failed" | "cancelled" {
    return this.#state;
  }

  /** Whether the queue has ended, so that `send` returns `false`. */
  get closed(): boolean {
    return this.#state !== "open";
  }

  /** The error that the queue failed with, or the reason for which it was cancelled. */
  get error(): unknown {
    return this.#error;
  }

  /**
   * Aborts when the client disconnected or the queue failed; `signal.reason` is why: a
   * {@linkcode StreamError}, or the error that `fail` got.
   */
  get signal(): AbortSignal {
    // Made on first use: most generators never ask for it, and a controller costs a microsecond.
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#state === "failed" || this.#state === "cancelled") this.#abort.abort(this.#error);
    }
    return this.#abort.signal;
  }

  /**
   * Queues a value. Never throws and never rejects. `""`, `null` and `undefined` are skipped.
   *
   * @returns `true` at once while there is room, `true` later once there is room again (the value is
   * queued meanwhile), `false` if the queue has ended.
   */
  send(value: T): Promise<boolean> {
    const bytes = this.offer(value);
    if (bytes < this.#highWaterMark) return SENT;
    return Number.isNaN(bytes) ? NOT_SENT : this.#waitForRoom();
  }

  /**
   * Queues a value without a promise, for a loop that looks at the bytes itself.
   *
   * @returns The bytes that wait, 0 for a value that is skipped, or NaN if the queue has ended.
   * @internal
   */
  offer(value: T): number {
    if (this.#state !== "open") {
      if (this.#state === "closed") this.#reader?.sentAfterEnd();
      return NaN;
    }
    if (value === "" || value === null || value === undefined) return 0;
    if (this.#bytes >= this.#maxBufferedBytes && this.#reader?.bounded !== false) {
      this.fail(new StreamError("overflow"));
      return NaN;
    }
    try {
      const bytes = this.#reader === undefined ? this.#keep(value) : this.#reader.write(value);
      // A reader that was woken, or a value's own toJSON, may have dropped it at once.
      if (this.state === "cancelled") return NaN;
      return this.#bytes = bytes;
    } catch (error) {
      this.fail(error);
      return NaN;
    }
  }

  /** The summary that `close` got. */
  get summary(): Summary {
    return this.#summary;
  }

  /** Ends the queue normally: what waits is delivered, then the end with its summary. */
  close(summary: Summary = NO_SUMMARY): void {
    if (this.#state !== "open") return;
    this.#summary = summary;
    this.#state = "closed";
    this.#reader?.wake();
  }

  /** Ends the queue with an error: what waits is delivered, then the error. */
  fail(error: unknown): void {
    if (this.#state === "open") this.failAfterClose(error);
  }

  /** Fails the queue, also after `close`, because what waits cannot be sent. @internal */
  failAfterClose(error: unknown): void {
    this.#state = "failed";
    this.#error = error;
    this.#abort?.abort(error);
    this.#reader?.wake();
  }

  /**
   * Cancels the queue for its consumer: what waits is dropped, and every waiting `send` resolves to
   * `false`.
   */
  cancel(reason: unknown): void {
    if (this.#state === "cancelled") return;
    const first = this.#state !== "failed";
    this.#state = "cancelled";
    this.#values = [];
    this.#bytes = 0;
    this.#settleRoom(false);
    if (first) {
      this.#error = reason;
      this.#abort?.abort(reason);
    }
    this.#reader?.wake();
  }

  /**
   * Binds the one reader and gives it what waits.
   *
   * @throws {TypeError} If the queue has a reader already.
   * @internal
   */
  attach(reader: QueueReader<T>): void {
    if (this.#reader !== undefined) {
      throw new TypeError("Cannot read the queue: it is read already");
    }
    this.#reader = reader;
    const values = this.#values;
    this.#values = [];
    try {
      for (const value of values) this.#bytes = reader.write(value);
    } catch (error) {
      this.failAfterClose(error);
    }
  }

  /** Waiting bytes from which `send` waits. @internal */
  get highWaterMark(): number {
    return this.#highWaterMark;
  }

  /** Number of bytes that wait. @internal */
  get bytes(): number {
    return this.#bytes;
  }

  /** Settles when nothing waits any more: `false` if the queue has ended. @internal */
  room(): Promise<boolean> {
    if (this.#state !== "open") return NOT_SENT;
    return this.#bytes === 0 ? SENT : this.#waitForRoom();
  }

  /** Called by the reader when it has handed on all that waited: senders that wait go on. @internal */
  drained(): void {
    this.#bytes = 0;
    this.#settleRoom(true);
  }

  /**
   * Reads the queue. Leaving the loop cancels it.
   *
   * @throws Whatever the queue failed with, after the values that came before.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    let wake = (): void => {};
    const waiting: T[] = [];
    let ended = false;
    this.attach({
      bounded: true,
      write: (value) => {
        waiting.push(value);
        wake();
        return this.#bytes + sizeOf(value);
      },
      wake: () => wake(),
      sentAfterEnd: () => {},
    });
    try {
      for (;;) {
        const values = waiting.splice(0);
        this.drained();
        for (const value of values) {
          // Cancelling drops what waits.
          if (this.#state === "cancelled") return;
          yield value;
        }
        if (waiting.length > 0) continue;
        ended = this.#state !== "open";
        if (this.#state === "failed") throw this.#error;
        if (ended) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      if (!ended) this.cancel(new StreamError("disconnected"));
    }
  }

  #keep(value: T): number {
    const size = sizeOf(value);
    // Measuring may have run code of the value's own.
    if (this.#state !== "cancelled") this.#values.push(value);
    return this.#bytes + size;
  }

  #waitForRoom(): Promise<boolean> {
    if (this.#room === undefined) {
      active.waiters++;
      this.#room = new Promise((resolve) => {
        this.#settle = resolve;
      });
    }
    return this.#room;
  }

  #settleRoom(room: boolean): void {
    if (this.#room === undefined) return;
    active.waiters--;
    this.#room = undefined;
    this.#settle!(room);
  }
}

/**
 * Checks the limits and fills in their defaults.
 *
 * @throws {RangeError} If one is out of its bounds.
 */
export function checkLimits(options: AsyncQueueOptions): Required<AsyncQueueOptions> {
  const { highWaterMark = 64 * 1024 } = options;
  const { maxBufferedBytes = Math.max(1024 * 1024, highWaterMark) } = options;
  if (!(highWaterMark >= 1)) {
    throw new RangeError("Cannot create the queue: highWaterMark is not 1 or more");
  }
  if (!(maxBufferedBytes >= highWaterMark)) {
    throw new RangeError("Cannot create the queue: maxBufferedBytes is less than highWaterMark");
  }
  return { highWaterMark, maxBufferedBytes };
}

function sizeOf(value: unknown): number {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  return text.length * 2 + VALUE_BYTES;
}

/** Whether `send` accepted at once, so that a loop need not await it. */
export function accepted(answer: Promise<boolean>): boolean {
  return answer === SENT;
}
