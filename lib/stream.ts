/**
 * One generation on its way to one reader: the only holder of a `ReadableStream` controller, and the
 * only place where a stream commits, flushes and ends. It stands apart because nearly every bug of a
 * streaming server is a second writer, a second ending, or a loop that ignores demand.
 */
import { active } from "./counters.ts";
import { problemOf, publicError, StreamError } from "./error.ts";
import type { End, Format, FormatContext, Framer } from "./format.ts";
import { unwatch, watch, type Watched } from "./heartbeat.ts";
import {
  nameOf,
  Pump,
  type PumpOwner,
  Relayed,
  release,
  type Source,
  type SourceContext,
} from "./pump.ts";
import { AsyncQueue, type AsyncQueueOptions, type Item, type QueueReader } from "./queue.ts";
import { enter, leave, schedule, type Task } from "./scheduler.ts";
import { EventWriter } from "./sse/encode.ts";
import { streamId } from "./stream_id.ts";

/** How a stream ended. */
export interface StreamReport {
  streamId: string;
  /** Exactly one of: the source finished, something broke, the reader left or was dropped. */
  outcome: "completed" | "failed" | "cancelled";
  /** Why, where the outcome is not `completed`. */
  code?: string;
  /** From the call to the first item that was sent, in ms; `undefined` if there was none. */
  ttftMs: number | undefined;
  /** From the call to the end, in ms. */
  durationMs: number;
  /** Tokens that were encoded for the reader. */
  tokens: number;
  /** Bytes that were handed to the runtime. */
  bytes: number;
}

/** Options that every stream has. */
export interface StreamOptions extends AsyncQueueOptions {
  /** A comment is sent after so many ms of silence; 0 is off, else 100 to 60 000. @default {5000} */
  heartbeatMs?: number;
  /** The head is sent after so many ms without an item; 0 to 5000. @default {250} */
  commitAfterMs?: number;
  /** A reader that takes nothing for so many ms is dropped; 0 is off, else 100 or more. @default {60 000} */
  stallMs?: number;
  /** Called exactly once, when the stream has ended. */
  onClose?: (report: StreamReport) => void;
  /** Called once an error, with the whole of it. @default {console.error} */
  onError?: (error: unknown) => void;
}

/** What the stream is told beside its options. */
export interface StreamInit {
  readonly request: Request;
  readonly source: Source<never>;
  readonly format: Format;
  readonly options: StreamOptions;
  readonly input: unknown;
  readonly lastEventId: string | undefined;
  /** Called once, when the reader is served or gone. */
  readonly onEnd?: ((stream: TokenStream) => void) | undefined;
}

/** What the response is made of, or the error that came before it. */
export type Opened =
  | ReadableStream<Uint8Array<ArrayBuffer>>
  | Uint8Array<ArrayBuffer>
  | StreamError;

/** An item may be 1 MiB encoded; no character takes more than 8 bytes, so shorter text need not be measured. */
const MAX_ITEM_BYTES = 1024 * 1024;
const SURELY_SMALL = MAX_ITEM_BYTES / 8 - 1024;
const RESERVED = new Set(["done", "failed", "open", "error"]);
const NO_PREFETCH = { highWaterMark: 0 };

/**
 * ```
 *   opening ──first item, end, or commitAfterMs──▶ idle ◀──flush──┐
 *      │                                            └───pull()──▶ wanting
 *      │                                            │                │
 *      └───────── failure, reader left ─────────▶ ended ◀── end, failure, reader left, stall
 * ```
 *
 * `idle`: the reader has not yet taken the last chunk. `wanting`: it waits for one. Only a `wanting`
 * stream is given a chunk (an ending apart), and only in its turn in the scheduler: `pull` and a queue
 * that wakes both just ask for one. What a token costs: its bytes, written once into the stream's own
 * buffer when it is sent. What a flush costs: one copy and one `enqueue`.
 */
export class TokenStream
  implements Task, Watched, QueueReader<Item>, PumpOwner, EventListenerObject {
  readonly request: Request;
  /** The scheduler's. */
  due = false;
  readonly queue: AsyncQueue<Item>;
  readonly shortestMs: number;

  #state: "opening" | "idle" | "wanting" | "ended" = "opening";
  /** Decided once; before `ended` only where the reader is still owed what an overflow left. */
  #outcome: StreamReport["outcome"] | undefined;
  readonly #init: StreamInit;
  readonly #heartbeatMs: number;
  readonly #stallMs: number;
  readonly #framer: Framer;
  readonly #pump: Pump;
  /** Settles what `open` answers. */
  #opened!: (opened: Opened) => void;
  /** The queue that is read: the context's, or the source's own. */
  #read: AsyncQueue<Item>;
  /** None where the whole of a short stream was one body. */
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #commitTimer: ReturnType<typeof setTimeout> | undefined;
  /** What is encoded and waits for the reader. */
  readonly #out: EventWriter = new EventWriter();
  /** The first half of a surrogate pair whose second half is in a later token. */
  #half = "";
  #late = false;
  #id: string | undefined;

  readonly #startMs: number = performance.now();
  #lastWriteMs = 0;
  #ttftMs: number | undefined;
  #tokens = 0;
  #bytes = 0;

  constructor(init: StreamInit) {
    const { options } = init;
    this.#init = init;
    this.request = init.request;
    this.#heartbeatMs = init.format.heartbeat ? options.heartbeatMs ?? 5000 : 0;
    this.#stallMs = options.stallMs ?? 60_000;
    this.shortestMs = Math.min(this.#heartbeatMs || Infinity, this.#stallMs || Infinity);
    this.queue = this.#read = new AsyncQueue<Item>(options);
    this.#pump = new Pump(this.queue, this);
    this.#framer = init.format.open(new Opening(this, init.request));
  }

  get streamId(): string {
    return this.#id ??= streamId();
  }

  /** Starts the source. The answer is the body, or the error that came before it. */
  open(): Promise<Opened> {
    const opened = new Promise<Opened>((resolve) => {
      this.#opened = resolve;
    });
    enter();
    active.streams++;
    active.readers++;
    active.sources++;
    active.listeners++;
    this.request.signal.addEventListener("abort", this);
    this.queue.attach(this);
    if (this.request.signal.aborted) {
      this.handleEvent();
      release(this.#init.source, this.queue.error);
    } else this.#guard(this.#begin);
    return opened;
  }

  #begin(): void {
    this.#init.format.heartbeat?.(this.#out);
    this.#framer.start?.(this.#out);
    this.#pump.run(this.#init.source, contextOf(this, this.#init));
    schedule(this);
  }

  /** Ends the stream now, with what waits and one failure, whether the reader asks for it or not. */
  shutDown(error: StreamError): void {
    if (this.#state === "ended") return;
    this.queue.fail(error);
    this.#read.fail(error);
    this.#guard(() => {
      if (this.#state === "opening") this.#commit();
      else this.#flush();
    });
  }

  /** The source is a queue of its own. */
  adopt(queue: AsyncQueue<Item>): void {
    queue.attach(this);
    this.#read = queue;
    // Two producers would each need an end; the context's has had its say.
    this.queue.close();
    this.wake();
  }

  /** Encodes an item when it is sent. */
  write(item: Item): number {
    const out = this.#out;
    const before = out.length;
    try {
      if (typeof item !== "string") this.#writeStructured(item);
      else {
        const endsInHalf = (item.charCodeAt(item.length - 1) & 0xfc00) === 0xd800;
        if (endsInHalf || this.#half !== "" || item.length > SURELY_SMALL) this.#writeRare(item);
        else this.#framer.token(out, item);
        this.#tokens++;
      }
    } catch (error) {
      // Half an event would swallow the failure that follows.
      out.truncate(before);
      throw error;
    }
    if (this.#ttftMs === undefined) this.#ttftMs = performance.now() - this.#startMs;
    else if (before > 0 || out.length === 0) return out.length;
    this.wake();
    return out.length;
  }

  /** Something waits, or the source has ended. */
  wake(): void {
    if (this.#read.state === "failed" && isOverflow(this.#read.error)) {
      // The producer is told at once; the reader is owed what waits.
      if (this.#read !== this.queue) this.queue.cancel(this.#read.error);
      this.#settle("failed", this.#read.error);
    }
    if (this.#state === "opening" && this.#read.state !== "open") {
      // All is there: it is sent on while its bytes are in the processor's cache (benchmark case: burst).
      queueMicrotask(() => this.run());
    } else if (this.#state === "wanting" || this.#state === "opening") schedule(this);
  }

  /** A value was sent after the normal end. */
  late(): void {
    if (this.#late) return;
    this.#late = true;
    this.report(
      new Error("A value was sent after its source had ended: await your work before you return"),
    );
  }

  report(error: unknown): void {
    // If the handler for errors is broken itself, there is nobody left to tell.
    callSafely(this.#init.options.onError ?? console.error, error, () => {});
  }

  /** The stream's turn. */
  run(): void {
    this.#guard(this.#turn);
  }

  #turn(): void {
    if (this.#state === "wanting") {
      if (this.#waits) this.#flush();
    } else if (this.#state === "opening") {
      const ended = this.#read.state !== "open";
      if (this.#init.format.whole && !ended) return;
      const begun = this.#ttftMs !== undefined || ended;
      const { commitAfterMs = 250 } = this.#init.options;
      if (begun || commitAfterMs === 0) this.#commit();
      else if (this.#commitTimer === undefined) {
        active.timers++;
        this.#commitTimer = setTimeout(() => this.#guard(this.#commit), commitAfterMs);
      }
    }
  }

  /** A turn is called by the runtime, where an exception would end the process. */
  #guard(turn: () => void): void {
    try {
      turn.call(this);
    } catch (error) {
      this.#end("failed", error, publicError(error));
    }
  }

  /** Called by the heartbeat's timer. */
  sweep(nowMs: number): void {
    const silentMs = nowMs - this.#lastWriteMs;
    if (this.#state === "wanting") {
      if (this.#heartbeatMs > 0 && silentMs >= this.#heartbeatMs && !this.#waits) {
        this.#guard(this.#beat);
      }
    } else if (this.#stallMs > 0 && silentMs >= this.#stallMs) {
      const error = new StreamError("stalled");
      this.#end("cancelled", error, error);
    }
  }

  #beat(): void {
    this.#init.format.heartbeat?.(this.#out);
    this.#enqueue();
  }

  get #waits(): boolean {
    return this.#out.length > 0 || this.#read.state !== "open";
  }

  // What the ReadableStream calls.

  start(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.#controller = controller;
  }

  pull(): void {
    if (this.#state !== "idle") return;
    this.#state = "wanting";
    if (this.#waits) schedule(this);
  }

  cancel(reason: unknown): void {
    this.#end("cancelled", new StreamError("disconnected", { cause: reason }));
  }

  /** `request.signal` aborted: on Deno the only early notice before the head. */
  handleEvent(): void {
    this.#end("cancelled", new StreamError("disconnected"));
  }

  #commit(): void {
    if (this.#state !== "opening") return;
    const failure = this.#failure;
    if (failure !== undefined && (this.#ttftMs === undefined || this.#init.format.whole)) {
      return this.#end("failed", failure.error);
    }
    const last = this.#conclude();
    const broken = this.#init.format.whole ? this.#failure : undefined;
    // Its end could not be written: half a document is worth less than the status.
    if (broken !== undefined) return this.#end("failed", broken.error);
    this.#disarm();
    this.#state = "idle";
    if (last) {
      // All of it is here before its head has left: one body, and no stream to be made and read.
      this.#bytes += this.#out.length;
      this.#opened(this.#out.take());
      this.#drained();
      return this.#finish();
    }
    const body = new ReadableStream(this, NO_PREFETCH);
    if (this.shortestMs < Infinity) watch(this);
    this.#lastWriteMs = performance.now();
    this.#enqueue();
    this.#opened(body as ReadableStream<Uint8Array<ArrayBuffer>>);
  }

  #flush(): void {
    const last = this.#conclude();
    this.#enqueue();
    if (last) this.#finish();
  }

  #enqueue(): void {
    const out = this.#out;
    if (out.length > 0) {
      this.#bytes += out.length;
      this.#lastWriteMs = performance.now();
      this.#state = "idle";
      this.#controller!.enqueue(out.take());
    }
    this.#drained();
  }

  #drained(): void {
    this.#read.drained();
    if (this.#read !== this.queue) this.queue.drained();
  }

  /** What went wrong, if anything did. */
  get #failure(): { error: unknown } | undefined {
    return this.#read.state === "failed" || this.#read.state === "cancelled"
      ? { error: this.#read.error }
      : undefined;
  }

  /** Writes the end if it has come. Answers whether nothing will follow. */
  #conclude(): boolean {
    if (this.#read.state === "open") return false;
    // A cancel drops what waits.
    if (this.#read.state === "cancelled") this.#out.truncate(0);
    else if (this.#half !== "") this.#writeHalf();
    if (this.#read.state === "closed") this.#writeEnd();
    const failure = this.#failure;
    if (failure === undefined) return true;
    if (this.#framer.fail !== undefined) {
      this.#framer.fail(this.#out, problemOf(failure.error));
    } else if (this.#out.length > 0 || this.#state === "idle") {
      // Breaking off before the turn after the text was taken loses it: wait for the next pull.
      return false;
    }
    return true;
  }

  #writeEnd(): void {
    const before = this.#out.length;
    const { finishReason, usage } = this.#read.summary;
    const end: End = { reason: "completed", tokens: this.#tokens };
    if (typeof finishReason === "string") end.finishReason = finishReason;
    if (typeof usage === "object" && usage !== null) end.usage = usage;
    try {
      this.#framer.end(this.#out, end);
    } catch (error) {
      this.#out.truncate(before);
      this.#read.spoil(error);
    }
  }

  /** A token that begins or ends in half a surrogate pair, or might be too large. */
  #writeRare(token: string): void {
    if (this.#half !== "") {
      token = this.#half + token;
      this.#half = "";
    }
    if ((token.charCodeAt(token.length - 1) & 0xfc00) === 0xd800) {
      this.#half = token.slice(-1);
      if (token.length === 1) return;
      token = token.slice(0, -1);
    }
    this.#writeLarge(token.length, (out) => this.#framer.token(out, token));
  }

  #writeStructured(item: Exclude<Item, string>): void {
    if (typeof item !== "object" || !("data" in item)) {
      throw new TypeError(`Cannot stream ${nameOf(item)}: an item is a string or { event?, data }`);
    }
    // In JSON both halves survive on their own, and the order of the items is kept.
    if (this.#half !== "" && this.#init.format.lossless) this.#writeHalf();
    if (item instanceof Relayed) {
      this.#tokens++;
      return this.#writeLarge(
        item.data.length,
        (out) => this.#framer.relayed(out, item.upstream),
      );
    }
    const { event, data } = item;
    if (event !== undefined && typeof event !== "string") {
      throw new TypeError(`Cannot stream an event named by ${nameOf(event)}`);
    }
    if (event !== undefined && RESERVED.has(event)) {
      throw new TypeError(`Cannot stream an event named ${event}: the name is reserved`);
    }
    const json: string | undefined = JSON.stringify(data);
    if (json === undefined) throw new TypeError(`Cannot stream ${nameOf(data)} as JSON`);
    this.#writeLarge(
      json.length,
      (out) => this.#framer.structured(out, event || undefined, json, data),
    );
  }

  /** Writes an item that might be too large. */
  #writeLarge(length: number, write: (out: EventWriter) => void): void {
    const out = this.#out;
    const before = out.length;
    if (length <= MAX_ITEM_BYTES) write(out);
    if (length > MAX_ITEM_BYTES || out.length - before > MAX_ITEM_BYTES) {
      throw new StreamError("item_too_large");
    }
  }

  #writeHalf(): void {
    this.#framer.token(this.#out, this.#half);
    this.#half = "";
  }

  /** The last byte was written, or nothing but breaking off is left. */
  #finish(): void {
    const failure = this.#failure;
    if (failure === undefined) this.#end("completed");
    else if (this.#framer.fail !== undefined) this.#end("failed", failure.error);
    else this.#end("failed", failure.error, publicError(failure.error));
  }

  /**
   * The one ending. Idempotent: whatever comes first is the outcome.
   *
   * @param breakOff What to break the body off with, where closing it would look like a good end.
   */
  #end(outcome: StreamReport["outcome"], error?: unknown, breakOff?: unknown): void {
    if (this.#state === "ended") return;
    const committed = this.#state !== "opening";
    this.#state = "ended";
    this.#disarm();
    unwatch(this);
    this.request.signal.removeEventListener("abort", this);
    active.listeners--;
    active.readers--;
    leave();
    if (outcome !== "completed") {
      // A failure of the source's is what its queue says already; then this only drops what waits.
      this.queue.cancel(error);
      this.#read.cancel(error);
    }
    this.#out.truncate(0);
    this.#settle(outcome, error);
    if (!committed) this.#opened(publicError(error));
    else {
      try {
        if (breakOff !== undefined) this.#controller?.error(breakOff);
        else this.#controller?.close();
      } catch {
        // The reader cancelled: the runtime has closed the controller before it told us.
      }
    }
    this.#init.onEnd?.(this);
  }

  /** The generation is over: its source is let go and the operator told. */
  #settle(outcome: StreamReport["outcome"], error?: unknown): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = outcome;
    active.streams--;
    active.sources--;
    this.#pump.cancel();
    const code = outcome === "completed" ? undefined : publicError(error).code;
    if (outcome === "failed" && code !== "shutting_down") this.report(error);
    const { onClose } = this.#init.options;
    if (onClose === undefined) return;
    const report: StreamReport = {
      streamId: this.streamId,
      outcome,
      ...code === undefined ? {} : { code },
      ttftMs: this.#ttftMs,
      durationMs: performance.now() - this.#startMs,
      tokens: this.#tokens,
      bytes: this.#bytes,
    };
    callSafely(onClose, report, (broken) => this.report(broken));
  }

  #disarm(): void {
    if (this.#commitTimer === undefined) return;
    clearTimeout(this.#commitTimer);
    this.#commitTimer = undefined;
    active.timers--;
  }
}

/** What the source is given: an object of its own, so that it can be spread and nothing of ours leaks. */
function contextOf(
  stream: TokenStream,
  { request, input, lastEventId }: StreamInit,
): SourceContext {
  return {
    input,
    request,
    lastEventId,
    queue: stream.queue,
    get signal() {
      return stream.queue.signal;
    },
    get streamId() {
      return stream.streamId;
    },
  };
}

/** What a format is told of its stream, and nothing else. */
class Opening implements FormatContext {
  readonly request: Request;
  readonly #stream: TokenStream;

  constructor(stream: TokenStream, request: Request) {
    this.request = request;
    this.#stream = stream;
  }

  get streamId(): string {
    return this.#stream.streamId;
  }

  /** So that an `EventSource` that asks again is told to stop. */
  get lastId(): string | undefined {
    return this.request.method === "GET" ? `${this.streamId}.end` : undefined;
  }
}

/** Calls an embedder's function, which may throw, or be async and reject. */
export function callSafely<T>(
  callback: (value: T) => unknown,
  value: T,
  fail: (error: unknown) => void,
): void {
  try {
    Promise.resolve(callback(value)).catch(fail);
  } catch (error) {
    fail(error);
  }
}

function isOverflow(error: unknown): boolean {
  return error instanceof StreamError && error.code === "overflow";
}
