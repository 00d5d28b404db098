/**
 * The only loop over a source: whatever kind it is, its items end up in the queue, at the queue's
 * pace. It stands apart so that streams know nothing of iterators and sources nothing of streams.
 */
import { StreamError } from "../error.ts";
import type { Item, Summary } from "../item.ts";
import { accepted, AsyncQueue } from "./queue.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { FOR_AWAIT_IS_FASTER, schedule, TURN_BYTES, TURN_ITEMS } from "./scheduler.ts";
import { isLast, readUpstream } from "../sources/upstream.ts";

/** What a source function is given. */
export interface SourceContext<Input = unknown> {
  /** The checked body under `createHandler`; `undefined` under `sse`. */
  readonly input: Input;
  /** Aborts when nobody waits for the answer any more; `signal.reason.code` says why. */
  readonly signal: AbortSignal;
  /** For sources that have callbacks: what is sent here is streamed. */
  readonly queue: AsyncQueue<Item>;
  /** The request that is answered. Its body may have been read. */
  readonly request: Request;
  /** The name of this generation: 128 random bits, base64url. */
  readonly streamId: string;
  /** What the reader sent as `Last-Event-ID`, if anything. */
  readonly lastEventId: string | undefined;
}

/** A source that is there already, as opposed to a function that makes one. */
export type StartedSource =
  | string
  | AsyncIterable<Item | null | undefined, Summary | void, undefined>
  | Iterable<Item | null | undefined, Summary | void, undefined>
  | ReadableStream<Item>
  | AsyncQueue<Item>
  | AsyncQueue<string>
  | Response;

/** A function that makes a source, or fills `context.queue` and returns nothing. */
export type SourceFunction<Input = unknown> = (
  context: SourceContext<Input>,
) => Source<Input> | void | Promise<Source<Input> | void>;

/**
 * Where the items come from.
 *
 * A string is one token. A generator may return its {@linkcode Summary}. A function that returns
 * nothing is a callback producer: an async one is done when its promise settles, a plain one ends
 * with `queue.close()` or `queue.fail()`. A `Response` is an upstream's event stream.
 */
export type Source<Input = unknown> =
  | StartedSource
  | SourceFunction<Input>
  | Promise<StartedSource | SourceFunction<Input>>;

/** An upstream's event on its way through, with its data as it came. */
export class Relayed {
  readonly upstream: ServerSentEvent;
  /** What the queue measures. */
  readonly data: string;

  constructor(upstream: ServerSentEvent) {
    this.upstream = upstream;
    this.data = upstream.data;
  }
}

/** Who takes over what the pump finds. */
export interface PumpOwner {
  /** The source is a queue of its own: read that one from now on. */
  adopt(queue: AsyncQueue<Item>): void;
  /** The source broke after it had been let go. */
  report(error: unknown): void;
}

/** Functions that answer functions. */
const MAX_DEPTH = 16;
/** Items of the first turn: far more than the queue holds, unless they are skipped. */
const FIRST_ITEMS = 20_000;

type Result = IteratorResult<Item | null | undefined, unknown>;
interface Puller {
  next(): Promise<Result> | Result;
  return?(): unknown;
}

/** Runs one source into one queue, once. `cancel` lets it go, whatever it waits for. */
export class Pump {
  readonly #queue: AsyncQueue<Item>;
  readonly #owner: PumpOwner;
  #pulled: Puller | undefined;
  /** What may wait before the loop gives its turn away: at first as much as the queue takes. */
  #turnBytes = Infinity;
  #turnItems = FIRST_ITEMS;
  /** Items since the loop last gave its turn away. */
  #streak = 0;

  constructor(queue: AsyncQueue<Item>, owner: PumpOwner) {
    this.#queue = queue;
    this.#owner = owner;
  }

  /** Never rejects: the queue is closed or failed, or the owner told. */
  async run(source: Source<never>, context: SourceContext): Promise<void> {
    const queue = this.#queue;
    try {
      let started: unknown = source;
      let depth = 0;
      let awaited = false;
      let plain = false;
      if (isThenable(started)) started = await started;
      while (typeof started === "function") {
        // A function that only ever answers functions would hold the process for good.
        if (++depth > MAX_DEPTH) throw new TypeError("Cannot stream a source that makes no source");
        if (queue.closed) return;
        plain = FOR_AWAIT_IS_FASTER && returnsNothing(started);
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
      // Those two end by themselves, and this function with their start: an idle stream holds one of them and not both.
      if (plain) return void this.#iterate(started as AsyncGenerator<Item, undefined, undefined>);
      const puller = pullerOf(started);
      if (puller !== undefined) return void this.#pull(puller);
      this.#close(await this.#drain(started));
    } catch (error) {
      this.#fail(error);
    }
  }

  #close(summary?: unknown): void {
    this.#queue.close(isSummary(summary) ? summary : {});
  }

  #fail(error: unknown): void {
    const queue = this.#queue;
    if (!queue.closed) queue.fail(error);
    else if (!isAbort(error, queue)) this.#owner.report(error);
  }

  /** The stream has ended: the source's `return` is called, and nothing waits for it. */
  cancel(): void {
    const pulled = this.#pulled;
    this.#pulled = undefined;
    if (pulled === undefined) return;
    this.#letGo(pulled);
  }

  #adopt(queue: AsyncQueue<Item>): void {
    if (this.#queue.state === "open") this.#owner.adopt(queue);
    else queue.cancel(this.#queue.error ?? new StreamError("disconnected"));
  }

  #drain(source: unknown): unknown {
    if (typeof source === "string") return void this.#queue.send(source);
    if (typeof source === "object" && source !== null) {
      if (source instanceof Response) return this.#relay(source);
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
      for (;;) {
        const result = await iterator.next();
        if (result.done) {
          this.#pulled = undefined;
          return this.#close(result.value);
        }
        if (this.#takes(result.value)) continue;
        if (!(await this.#pause())) return this.cancel();
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /**
   * `#pull` for a generator that returns nothing: `for await` drops what is returned, but Bun drives
   * it a fifth faster than any loop over `next()` (benchmark case: burst, generator).
   */
  async #iterate(generator: AsyncGenerator<Item, undefined, undefined>): Promise<void> {
    this.#pulled = generator as unknown as Puller;
    try {
      for await (const item of generator) {
        if (this.#takes(item)) continue;
        if (!(await this.#pause())) break;
      }
      this.#pulled = undefined;
      this.#close();
    } catch (error) {
      this.#fail(error);
    }
  }

  /**
   * Whether the loop may go on at once. Apart from it, because what an async function does and holds
   * across its `await` costs Bun a fifth of the throughput (benchmark case: burst, generator).
   */
  #takes(item: Item | null | undefined): boolean {
    const queue = this.#queue;
    return accepted(queue.send(item as Item)) && queue.bytes < this.#turnBytes &&
      ++this.#streak < this.#turnItems;
  }

  /** Waits for room, or for a turn where nothing waits: items that are skipped take time as well. */
  async #pause(): Promise<boolean> {
    const queue = this.#queue;
    if (this.#streak >= this.#turnItems && queue.bytes === 0) {
      await new Promise<void>((resolve) => schedule({ due: false, run: resolve }));
    }
    this.#streak = 0;
    this.#turnBytes = TURN_BYTES;
    this.#turnItems = TURN_ITEMS;
    return await queue.room();
  }

  /** A plain loop: `for await` over what is there already would cost three times as much. */
  async #loop(iterator: Iterator<Item | null | undefined, unknown>): Promise<unknown> {
    for (;;) {
      let result = iterator.next();
      while (!result.done && this.#takes(result.value)) result = iterator.next();
      if (result.done) return result.value;
      if (!(await this.#pause())) return void iterator.return?.();
    }
  }

  /** An upstream's events, unchanged, up to its end. */
  async #relay(response: Response): Promise<unknown> {
    const queue = this.#queue;
    let summary: unknown;
    const complete = await readUpstream(response, queue.signal, (event) => {
      if (!isLast(event)) return queue.send(new Relayed(event));
      if (event.event === "done") summary = parseQuietly(event.data);
      return "last";
    });
    if (!complete && !queue.closed) throw new StreamError("truncated");
    return summary;
  }

  #letGo(iterator: Puller): void {
    try {
      const returned = iterator.return?.();
      if (isThenable(returned)) {
        returned.then(undefined, (error) => this.#reportUnlessAbort(error));
      }
    } catch (error) {
      this.#reportUnlessAbort(error);
    }
  }

  #reportUnlessAbort(error: unknown): void {
    if (!isAbort(error, this.#queue)) this.#owner.report(error);
  }
}

/** How a source is pulled whose items come later; `undefined` where it is of another kind. */
function pullerOf(source: unknown): Puller | undefined {
  if (typeof source !== "object" || source === null) return undefined;
  if (source instanceof ReadableStream) {
    const reader = source.getReader();
    // A reader can be cancelled while it waits; the stream's own iterator would wait first.
    return { next: () => reader.read() as Promise<Result>, return: () => reader.cancel() };
  }
  if (!(Symbol.asyncIterator in source)) return undefined;
  return (source as AsyncIterable<Item>)[Symbol.asyncIterator]();
}

/** Lets go of a source that was never run: what stands behind it may wait or hold a connection. */
export function release(source: unknown, reason: unknown): void {
  // That it cannot be let go, because somebody else has it or it has ended, is no news to us.
  const ignore = () => {};
  if (isThenable(source)) source.then((made) => release(made, reason), ignore);
  else if (source instanceof AsyncQueue) source.cancel(reason);
  else if (source instanceof Response) source.body?.cancel().catch(ignore);
  else if (source instanceof ReadableStream) source.cancel(reason).catch(ignore);
  else if (isReturnable(source)) {
    const returned = source.return();
    if (isThenable(returned)) returned.then(ignore, ignore);
  }
}

function isReturnable(value: unknown): value is { return(): unknown } {
  return typeof value === "object" && value !== null && "return" in value &&
    typeof value.return === "function";
}

/** Another server's summary is worth a look and no failure. */
function parseQuietly(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

const AsyncGeneratorFunction = (async function* () {}).constructor;

/** Whether a function is an async generator whose text has no `return` with a value; in doubt it is not. */
function returnsNothing(source: object): boolean {
  if (!(source instanceof AsyncGeneratorFunction)) return false;
  const text = Function.prototype.toString.call(source);
  return !text.includes("[native code]") && !/\breturn\b(?!\s*[;}])/.test(text);
}

/**
 * A source that is let go may well throw what its signal said: as it is, as the cause of an error of
 * its client's, or as any of the many errors that call themselves an abort.
 */
function isAbort(error: unknown, queue: AsyncQueue<Item>): boolean {
  let cause = error;
  for (let depth = 0; cause instanceof Error && depth < 4; depth++) {
    if (cause === queue.error || /abort/i.test(`${cause.name} ${cause.message}`)) return true;
    cause = cause.cause;
  }
  return error === queue.error;
}

/** Whether a value is a promise, of whatever make. */
function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value &&
    typeof value.then === "function";
}

function isSummary(value: unknown): value is Summary {
  return typeof value === "object" && value !== null;
}

/** How an error message names a value of the wrong kind. */
export function nameOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value !== "object") return `a ${typeof value}`;
  return `a ${value.constructor?.name ?? "object"}`;
}
