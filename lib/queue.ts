/**
 * The queue between one source and one stream: callbacks on one side, demand on the other. It stands
 * apart because it is the only thing that a source which cannot `yield` ever has to know.
 */
import { active } from "./counters.ts";
import { StreamError } from "./error.ts";

/** What a source makes: a token, or structured data that is sent as JSON under an event name. */
export type Item = string | { event?: string; data: unknown };

/** Limits of an {@linkcode AsyncQueue}; an item counts two bytes a UTF-16 unit of its text or JSON, and 32. */
export interface AsyncQueueOptions {
  /** Waiting bytes from which `send` waits, 1 or more. @default {65 536} */
  highWaterMark?: number;
  /** Waiting bytes at which a further `send` ends the stream with `overflow`, at least `highWaterMark`. @default {1 MiB} */
  maxBufferedBytes?: number;
}

/** What the stream that reads a queue is told. Called often and from anywhere: it must not throw. */
export interface QueueConsumer {
  /** The first item waits, or the state changed. */
  wake(): void;
  /** Somebody sent after the normal end. */
  late(): void;
}

/** An item that is not a string, measured when it was sent, so that its JSON is made once. */
export class Structured<T = unknown> {
  readonly value: T;
  /** JSON of the item's `data`, or of the whole value if it has none. */
  readonly json: string;

  constructor(value: T) {
    const data = hasData(value) ? value.data : value;
    const json: string | undefined = JSON.stringify(data);
    if (json === undefined) throw new TypeError(`Cannot send a ${typeof data} as JSON`);
    this.value = value;
    this.json = json;
  }
}

function hasData(value: unknown): value is { data: unknown } {
  return typeof value === "object" && value !== null && "data" in value;
}

/** What `take` gives: strings as they are, everything else measured. */
export type Waiting<T> = Extract<T, string> | Structured<T>;

const ITEM_BYTES = 32;
/** The answers of `send` that need no promise of their own. */
const ACCEPTED: Promise<boolean> = Promise.resolve(true);
const REFUSED: Promise<boolean> = Promise.resolve(false);

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
 * The calls may come in any order, repeatedly, from anywhere, also inside each other.
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
  #items: Waiting<T>[] = [];
  #bytes = 0;
  #error: unknown;
  #consumer: QueueConsumer | undefined;
  #abort: AbortController | undefined;
  /** What every waiting `send` answers; there is one promise, however many wait. */
  #room: Promise<boolean> | undefined;
  #settle: (room: boolean) => void = () => {};
  readonly #highWaterMark: number;
  readonly #maxBufferedBytes: number;

  /** @throws {RangeError} If a limit is out of its bounds. */
  constructor(options: AsyncQueueOptions = {}) {
    this.#highWaterMark = options.highWaterMark ?? 64 * 1024;
    this.#maxBufferedBytes = options.maxBufferedBytes ??
      Math.max(1024 * 1024, this.#highWaterMark);
    if (!(this.#highWaterMark >= 1)) {
      throw new RangeError("Cannot create the queue: highWaterMark is not 1 or more");
    }
    if (!(this.#maxBufferedBytes >= this.#highWaterMark)) {
      throw new RangeError("Cannot create the queue: maxBufferedBytes is less than highWaterMark");
    }
  }

  /** Where the queue is in its life. */
  get state(): "open" | "closed" | "failed" | "cancelled" {
    return this.#state;
  }

  /** Whether `send` is turned away. */
  get closed(): boolean {
    return this.#state !== "open";
  }

  /** Why the queue failed or was cancelled. */
  get error(): unknown {
    return this.#error;
  }

  /** Aborts when the consumer left or the queue failed; `signal.reason` is the {@linkcode StreamError}. */
  get signal(): AbortSignal {
    // Made when it is first asked for: most generators never do, and a controller costs a microsecond.
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
    if (this.#state !== "open") {
      if (this.#state === "closed") this.#consumer?.late();
      return REFUSED;
    }
    let item: Waiting<T>;
    let size: number;
    if (typeof value === "string") {
      size = value.length;
      if (size === 0) return ACCEPTED;
      item = value as Extract<T, string>;
    } else {
      if (value === null || value === undefined) return ACCEPTED;
      try {
        item = new Structured(value);
      } catch (error) {
        this.fail(error);
        return REFUSED;
      }
      size = item.json.length;
    }
    if (this.#bytes >= this.#maxBufferedBytes) {
      this.fail(new StreamError("overflow"));
      return REFUSED;
    }
    this.#bytes += size * 2 + ITEM_BYTES;
    if (this.#items.push(item) === 1) this.#consumer?.wake();
    return this.#bytes < this.#highWaterMark ? ACCEPTED : this.#waitForRoom();
  }

  /** The producer finished: what waits is delivered, then the end. */
  close(): void {
    if (this.#state !== "open") return;
    this.#state = "closed";
    this.#consumer?.wake();
  }

  /** The producer broke: what waits is delivered, then the error. */
  fail(error: unknown): void {
    if (this.#state !== "open") return;
    this.#state = "failed";
    this.#error = error;
    this.#abort?.abort(error);
    this.#consumer?.wake();
  }

  /** The consumer left: what waits is dropped, and every waiting `send` answers `false`. */
  cancel(reason: unknown): void {
    if (this.#state === "cancelled") return;
    const first = this.#state !== "failed";
    this.#state = "cancelled";
    this.#items = [];
    this.#bytes = 0;
    this.#settleRoom(false);
    if (first) {
      this.#error = reason;
      this.#abort?.abort(reason);
    }
    this.#consumer?.wake();
  }

  /**
   * Binds the one consumer.
   *
   * @throws {TypeError} If the queue has one already.
   * @internal
   */
  attach(consumer: QueueConsumer): void {
    if (this.#consumer !== undefined) {
      throw new TypeError("Cannot read the queue: it has a reader already");
    }
    this.#consumer = consumer;
  }

  /** How many items wait. @internal */
  get size(): number {
    return this.#items.length;
  }

  /** Everything that waits; the senders that waited go on. @internal */
  take(): Waiting<T>[] {
    const items = this.#items;
    this.#items = [];
    this.#bytes = 0;
    this.#settleRoom(true);
    return items;
  }

  /**
   * Reads the queue. Leaving the loop cancels it.
   *
   * @throws Whatever the queue failed with, after the values that came before.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    let wake = (): void => {};
    this.attach({ wake: () => wake(), late: () => {} });
    try {
      for (;;) {
        for (const item of this.take()) {
          yield item instanceof Structured ? item.value : item;
        }
        if (this.#items.length > 0) continue;
        if (this.#state === "failed") throw this.#error;
        if (this.#state !== "open") return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      if (this.#state === "open" || this.#items.length > 0) {
        this.cancel(new StreamError("disconnected"));
      }
    }
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
    this.#settle(room);
  }
}

/** Whether `send` answered at once, so that a loop need not await it. */
export function accepted(answer: Promise<boolean>): boolean {
  return answer === ACCEPTED;
}
