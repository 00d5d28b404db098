/**
 * The only loop over a source: the items of any kind of source go into the queue, at the queue's
 * pace. Separate from the stream so that streams handle no iterators and sources no streams.
 */
import { callSafely, StreamError } from "../error.ts";
import type { Item, Summary } from "../item.ts";
import { AsyncQueue } from "./queue.ts";
import { crowding, schedule, TURN_BYTES, TURN_ITEMS } from "./scheduler.ts";
import { hasMethod, isObject, nameOf } from "../values.ts";

/** What a source function gets. */
export interface SourceContext<Input = unknown> {
  /** The checked body under `createHandler`; `undefined` under `sse`. */
  readonly input: Input;
  /** Aborts when the response is no longer wanted; `signal.reason.code` says why. */
  readonly signal: AbortSignal;
  /** For sources that have callbacks: what is sent here is streamed. */
  readonly queue: AsyncQueue<Item>;
  /** The request that the stream responds to. Its body may have been read. */
  readonly request: Request;
  /** The stream id of this generation: 128 random bits as base64url, or what the embedder chose. */
  readonly streamId: string;
  /** What the client sent as `Last-Event-ID`, if anything. */
  readonly lastEventId: string | undefined;
  /** Reports an error to the operator (`onError`) that does not end the stream. Never throws. */
  readonly report: (error: unknown) => void;
}

/** A source that has started already, as opposed to a function that makes one. */
export type StartedSource =
  | string
  | AsyncIterable<Item | null | undefined, Summary | void, undefined>
  | Iterable<Item | null | undefined, Summary | void, undefined>
  | ReadableStream<Item>
  | AsyncQueue<Item>
  | AsyncQueue<string>;

/** A function that makes a source, or fills `context.queue` and returns nothing. */
export type SourceFunction<Input = unknown> = (
  context: SourceContext<Input>,
) => Source<Input> | void | Promise<Source<Input> | void>;

/**
 * Where the items come from.
 *
 * A string is one token. A generator may return its {@linkcode Summary}. A function that returns
 * nothing is a callback producer: an async one is done when its promise settles, a plain one ends
 * with `queue.close()` or `queue.fail()`.
 */
export type Source<Input = unknown> =
  | StartedSource
  | SourceFunction<Input>
  | Promise<StartedSource | SourceFunction<Input>>;

/** What the pump hands over to its owner. */
export interface PumpOwner {
  /** Takes over a source that is a queue of its own: it is read from now on. */
  adopt(queue: AsyncQueue<Item>): void;
  /** Reports a source that failed after it had been cancelled. */
  report(error: unknown): void;
}

/** Limit of functions that return functions. */
const MAX_DEPTH = 16;
/** Items of the first turn: far more than the queue holds, unless they are skipped. */
const FIRST_ITEMS = 20_000;

type Result = IteratorResult<Item | null | undefined, unknown>;
interface Puller {
  next(): Promise<Result> | Result;
  return?(): unknown;
}

/** Runs one source into one queue, once. `cancel` ends it, whatever the source waits for. */
export class Pump {
  readonly #queue: AsyncQueue<Item>;
  readonly #owner: PumpOwner;
  /** The source until it is run. */
  #source: Source<never> | undefined;
  #pulled: Puller | undefined;
  /** Waiting bytes at which the loop gives its turn away: at first all that the queue takes. */
  #mark: number;
  #turnItems = FIRST_ITEMS;
  /** Number of items since the loop last gave up its turn. */
  #streak = 0;

  constructor(source: Source<never>, queue: AsyncQueue<Item>, owner: PumpOwner) {
    this.#source = source;
    this.#queue = queue;
    this.#mark = queue.highWaterMark;
    this.#owner = owner;
  }

  /** Runs the source. Never rejects: the queue is closed or failed, or the owner gets the error. */
  async run(context: SourceContext): Promise<void> {
    const queue = this.#queue;
    try {
      let started: unknown = this.#source;
      this.#source = undefined;
      let depth = 0;
      let awaited = false;
      if (isThenable(started)) started = await started;
      while (typeof started === "function") {
        // A function that only ever returns functions would block the process for good.
        if (++depth > MAX_DEPTH) throw new TypeError("Cannot stream a source that makes no source");
        if (queue.closed) return release(started, queue.error);
        started = started(context);
        if (isThenable(started)) {
          started = await started;
          awaited = true;
        }
      }
      if (queue.state === "cancelled") return release(started, queue.error);
      if (started === undefined) {
        if (awaited) queue.close();
        return;
      }
      if (started === queue) return;
      if (started instanceof AsyncQueue) return this.#adopt(started);
      // The loop ends by itself, and this function with its start: an idle stream holds one of the two.
      const puller = pullerOf(started);
      if (puller !== undefined) return void this.#pull(puller);
      this.#close(await this.#drain(started));
    } catch (error) {
      this.#fail(error);
    }
  }

  #close(summary?: unknown): void {
    this.#queue.close(isObject(summary) ? summary : undefined);
  }

  #fail(error: unknown): void {
    const queue = this.#queue;
    if (!queue.closed) queue.fail(error);
    else this.#reportUnlessAbort(error);
  }

  /**
   * Calls the source's `return` after the stream has ended, and releases a source that was never run.
   * Nothing waits for either.
   */
  cancel(): void {
    const [source, pulled] = [this.#source, this.#pulled];
    this.#source = this.#pulled = undefined;
    if (source !== undefined) release(source, this.#queue.error);
    if (pulled !== undefined) this.#letGo(pulled);
  }

  #adopt(queue: AsyncQueue<Item>): void {
    if (this.#queue.state === "open") this.#owner.adopt(queue);
    else queue.cancel(this.#queue.error ?? new StreamError("disconnected"));
  }

  #drain(source: unknown): unknown {
    if (typeof source === "string") return void this.#queue.send(source);
    if (isObject(source)) {
      if (source instanceof Response) {
        release(source);
        throw new TypeError(
          "Cannot stream a Response: to pass on its events, give relay(response)",
        );
      }
      if (Symbol.iterator in source) {
        return this.#loop((source as Iterable<Item>)[Symbol.iterator]());
      }
    }
    throw new TypeError(`Cannot stream ${nameOf(source)}: it is not a source`);
  }

  async #pull(iterator: Puller): Promise<void> {
    if (this.#queue.closed) return this.#letGo(iterator);
    this.#pulled = iterator;
    try {
      let result: Result;
      while (!(result = await iterator.next()).done) {
        if (this.#takes(result.value)) continue;
        if (!(await this.#pause())) return this.cancel();
      }
      this.#pulled = undefined;
      this.#close(result.value);
    } catch (error) {
      // What has thrown has ended.
      this.#pulled = undefined;
      this.#fail(error);
    }
  }

  /** Whether the loop may go on at once. */
  #takes(item: Item | null | undefined): boolean {
    return this.#queue.offer(item as Item) < this.#mark && ++this.#streak < this.#turnItems;
  }

  /** Waits for room, or for a turn where nothing waits: items that are skipped take time as well. */
  async #pause(): Promise<boolean> {
    const queue = this.#queue;
    if (this.#streak >= this.#turnItems && queue.bytes === 0) {
      await new Promise<void>((resolve) => schedule({ due: false, run: resolve }));
    }
    this.#streak = 0;
    this.#mark = Math.min(queue.highWaterMark, TURN_BYTES / crowding);
    this.#turnItems = TURN_ITEMS / crowding;
    return await queue.room();
  }

  /**
   * Reads a sync iterator in a plain loop: `for await` over items that exist already would cost
   * three times as much.
   */
  async #loop(iterator: Iterator<Item | null | undefined, unknown>): Promise<unknown> {
    for (;;) {
      let result = iterator.next();
      while (!result.done && this.#takes(result.value)) result = iterator.next();
      if (result.done) return result.value;
      if (!(await this.#pause())) return void iterator.return?.();
    }
  }

  #letGo(iterator: Puller): void {
    callSafely(() => iterator.return?.(), undefined, (error) => this.#reportUnlessAbort(error));
  }

  #reportUnlessAbort(error: unknown): void {
    if (!isAbort(error, this.#queue)) this.#owner.report(error);
  }
}

/** The way to pull a source whose items come later; `undefined` if it is of another kind. */
function pullerOf(source: unknown): Puller | undefined {
  if (!isObject(source)) return undefined;
  if (source instanceof ReadableStream) {
    const reader = source.getReader();
    // A stream's reader can be cancelled while it waits; the stream's own iterator would wait
    // first.
    return { next: () => reader.read() as Promise<Result>, return: () => reader.cancel() };
  }
  if (!(Symbol.asyncIterator in source)) return undefined;
  return (source as AsyncIterable<Item>)[Symbol.asyncIterator]();
}

/**
 * Releases a source that was never run, because it may wait or hold a connection.
 *
 * @param reason Why it is not run. @default {nobody is there to read it}
 */
export function release(
  source: unknown,
  reason: unknown = new StreamError("disconnected"),
): void {
  // If it cannot be cancelled, because it is locked or has ended, nothing is left to release.
  const ignore = () => {};
  if (isThenable(source)) source.then((made) => release(made, reason), ignore);
  else if (typeof source === "function") (source as Partial<Releasable>)[RELEASE]?.(reason);
  else if (source instanceof AsyncQueue) source.cancel(reason);
  else if (source instanceof Response) source.body?.cancel().catch(ignore);
  else if (source instanceof ReadableStream) source.cancel(reason).catch(ignore);
  else if (hasMethod(source, "return")) {
    const returned = source.return();
    if (isThenable(returned)) returned.then(ignore, ignore);
  }
}

/** The method of a source function that holds something which has to be let go if it is never called. */
export const RELEASE: unique symbol = Symbol("release");

interface Releasable {
  [RELEASE](reason: unknown): void;
}

/**
 * Whether an error comes from the cancelling itself. A cancelled source may well throw what its
 * signal said: unchanged, as the cause of an error of its client library, or as any of the many
 * errors that are named as an abort.
 */
function isAbort(error: unknown, queue: AsyncQueue<Item>): boolean {
  let cause = error;
  for (let depth = 0; cause instanceof Error && depth < 4; depth++) {
    if (cause === queue.error || /abort/i.test(`${cause.name} ${cause.message}`)) return true;
    cause = cause.cause;
  }
  return error === queue.error;
}

/** Whether a value is a promise of any implementation. */
function isThenable(value: unknown): value is PromiseLike<unknown> {
  return hasMethod(value, "then");
}
