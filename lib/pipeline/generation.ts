/**
 * One run of a source: its items become bytes once, whatever number of readers it has. Separate
 * from the stream because a generation may have no reader, one, or many, and ends by itself.
 */
import { active } from "../counters.ts";
import { callSafely, problemOf, publicError, report, StreamError } from "../error.ts";
import type { End, Format, FormatContext, Framer } from "../formats/format.ts";
import {
  nameOf,
  Pump,
  type PumpOwner,
  Relayed,
  release,
  type Source,
  type SourceContext,
} from "./pump.ts";
import type { Item } from "../item.ts";
import { AsyncQueue, type AsyncQueueOptions, type QueueReader } from "./queue.ts";
import { EventWriter } from "../sse/encode.ts";
import { createStreamId } from "../stream_id.ts";

/** How a generation ended. */
export interface StreamReport {
  streamId: string;
  /**
   * The outcome: the source finished, something failed, or the generation was stopped or lost its
   * client.
   */
  outcome: "completed" | "failed" | "cancelled";
  /** The error code, if the outcome is not `completed`. */
  code?: string;
  /** Time from the call to the first item that was sent, in ms; `undefined` if there was none. */
  ttftMs: number | undefined;
  /** Time from the call to the end, in ms. */
  durationMs: number;
  /** Number of tokens that were encoded. */
  tokens: number;
  /** Number of bytes that were handed to the runtime, or to the log. */
  bytes: number;
}

/** Options that every generation has. */
export interface GenerationOptions extends AsyncQueueOptions {
  /** Called exactly once, when the generation has ended. */
  onClose?: (report: StreamReport) => void;
  /** Called once for each error, with the entire error. @default {console.error} */
  onError?: (error: unknown) => void;
}

/** What a generation is made of, beside its options. */
export interface GenerationInit {
  readonly request: Request;
  readonly source: Source<never>;
  readonly format: Format;
  readonly options: GenerationOptions;
  readonly input: unknown;
  readonly lastEventId: string | undefined;
  /** A stream id that the embedder has chosen. */
  readonly streamId?: string | undefined;
}

/** The destination of a generation's bytes: its one stream, or a log. No method may throw. */
export interface Sink {
  /** Whether more than `maxBufferedBytes` is an overflow; if not, the sink makes room. */
  readonly bounded: boolean;
  /**
   * How full a queue with so many waiting bytes seems to its source: less full where a turn serves
   * many readers and may be longer, `Infinity` where the source has to wait however little is
   * encoded.
   */
  pressure(bytes: number): number;
  /** Called when bytes wait to be taken, or the source has ended. */
  wake(): void;
  /** Called when so much waits that it must be taken now. */
  flush(): void;
}

/** The origin of a reader's bytes: a generation, or the log of one. */
export interface ByteProducer {
  /** Whether the response headers may be sent: an item was sent, or there will be none. */
  readonly begun: boolean;
  /** Whether nothing will come but what waits. */
  readonly over: boolean;
  /** Number of bytes that wait. */
  readonly waiting: number;
  /** The error that ended the stream, if one did. */
  readonly failure: { error: unknown } | undefined;
  /** Whether the failure came before any item, so that the response is an error with its own status. */
  readonly failedBeforeHeaders: boolean;
  /** The failure to break off the body with, because the format cannot write it. */
  readonly breakOff: StreamError | undefined;
  /** Writes the end if it has come. Returns whether nothing will follow. */
  conclude(): boolean;
  /** Takes the bytes that wait, in a buffer that nothing else uses: a sink may transfer it. */
  take(): Uint8Array<ArrayBuffer>;
  /** Lends the bytes that wait to one call that copies them. */
  lend(borrow: (bytes: Uint8Array) => void): void;
  /** Writes a heartbeat. */
  heartbeat(): void;
  /** Called when the bytes that were taken have been handed to the runtime. */
  drained(): void;
  /** Called when the reader was given everything. */
  finish(): void;
  /** Called if the client had disconnected before it was served at all; `end` follows. */
  unread?(): void;
  /** Called when the client disconnected, was dropped, or could not be served. */
  end(outcome: "failed" | "cancelled", error: unknown): void;
}

/**
 * Limit of one encoded item, 1 MiB. No character takes more than 8 bytes, so shorter text is not
 * measured.
 */
const MAX_ITEM_BYTES = 1024 * 1024;
const MAX_UNCHECKED_LENGTH = MAX_ITEM_BYTES / 8 - 1024;
/** Encoded bytes at which a sink without a bound has to take them at once. */
const FLUSH_BYTES = 64 * 1024;
const CR = 0x0d;
const RESERVED = new Set(["done", "failed", "open", "error"]);

/**
 * Encodes one run of a source. Each token is written once, when it is sent, into the generation's
 * own buffer: that is what a token costs. What a flush costs depends on the sink.
 */
export class Generation implements QueueReader<Item>, PumpOwner, ByteProducer {
  readonly queue: AsyncQueue<Item>;
  readonly #init: GenerationInit;
  readonly #sink: Sink;
  readonly #framer: Framer;
  readonly #pump: Pump;
  readonly #resumable: boolean;
  /** The queue that is read: the context's, or the source's own. */
  #read: AsyncQueue<Item>;
  /** Encoded bytes that wait for the sink. */
  readonly #out: EventWriter = new EventWriter();
  /** The first half of a surrogate pair whose second half is in a later token. */
  #half = "";
  #state: "waiting" | "running" | "ended" = "waiting";
  #concluded = false;
  /** Number of events that were taken, if events have ids. */
  #takenEvents = 0;
  #endEvent: number | undefined;
  /** Why the source was cancelled from outside, if it was. */
  #letGo: StreamError | undefined;
  #hasReportedLate = false;
  #id: string | undefined;

  readonly #startMs: number = performance.now();
  #ttftMs: number | undefined;
  #tokens = 0;
  #bytes = 0;

  /**
   * Creates a generation that has not started.
   *
   * @param resumable Whether each event gets an id of its own.
   */
  constructor(init: GenerationInit, sink: Sink, resumable: boolean) {
    this.#init = init;
    this.#sink = sink;
    this.#resumable = resumable;
    this.#id = init.streamId;
    this.queue = this.#read = new AsyncQueue<Item>(init.options);
    this.#pump = new Pump(this.queue, this);
    this.#framer = init.format.open(new Opening(this, init.request, resumable));
    if (resumable) this.#out.identify(this.streamId, init.format.retryMs);
  }

  get streamId(): string {
    return this.#id ??= createStreamId();
  }

  /**
   * Starts the source.
   *
   * @throws Whatever the format throws when it writes its first bytes.
   */
  start(): void {
    this.#run();
    this.queue.attach(this);
    this.heartbeat();
    this.#framer.start?.(this.#out);
    this.#pump.run(this.#init.source, contextOf(this, this.#init));
  }

  #run(): void {
    this.#state = "running";
    active.streams++;
    active.sources++;
  }

  /** Whether an item was sent, or none will be. */
  get begun(): boolean {
    return this.#ttftMs !== undefined || this.over;
  }

  /** Whether the failure came before any item. */
  get failedBeforeHeaders(): boolean {
    return this.#ttftMs === undefined && this.failure !== undefined && !this.#isStopped;
  }

  /** Whether the generation was stopped on request, which is a normal end. */
  get #isStopped(): boolean {
    const { state, error } = this.#read;
    return state === "cancelled" && this.#wasLetGo(error);
  }

  /** Whether the source has ended, with or without a failure. */
  get over(): boolean {
    return this.#read.state !== "open";
  }

  /** Number of bytes that wait. */
  get waiting(): number {
    return this.#out.length;
  }

  /** Number of the event that the end begins with, if events have ids; `undefined` before the end. */
  get endEvent(): number | undefined {
    return this.#endEvent;
  }

  /** Number of events that were encoded so far, if events have ids. */
  get events(): number {
    return this.#out.events;
  }

  /** The error that ended the source, if one did. */
  get failure(): { error: unknown } | undefined {
    const { state, error } = this.#read;
    return state === "failed" || state === "cancelled" ? { error } : undefined;
  }

  /** The failure to break off the body with, because the format cannot write it. */
  get breakOff(): StreamError | undefined {
    const { failure } = this;
    if (failure === undefined || this.#framer.fail !== undefined) return undefined;
    return publicError(failure.error);
  }

  /** Ends a generation that has lost its last client: like `fail`, but the outcome is `cancelled`. */
  abandon(): void {
    if (!this.over) this.fail(this.#letGo = new StreamError("disconnected"));
  }

  /** Ends the source, and the queue that is read, as failed; what waits is still delivered. */
  fail(error: StreamError): void {
    this.queue.fail(error);
    this.#read.fail(error);
  }

  /** Ends the source on request: what waits is still delivered, and the normal end after it. */
  stop(reason?: string): void {
    if (this.over) return;
    this.#letGo = new StreamError("stopped", reason === undefined ? {} : { detail: reason });
    this.queue.cancel(this.#letGo);
    this.#read.cancel(this.#letGo);
  }

  // What the queue and the pump call.

  /** Reads from a queue that the source has made itself. */
  adopt(queue: AsyncQueue<Item>): void {
    queue.attach(this);
    this.#read = queue;
    // Two producers would each need an end, so the context's queue is closed.
    this.queue.close();
    this.wake();
  }

  /** Whether a queue that is too full has failed. */
  get bounded(): boolean {
    return this.#sink.bounded;
  }

  /**
   * Encodes an item when it is sent. A token that needs no check is written into its frame at once:
   * the path from `send` to the bytes is what a token costs (benchmark case: burst).
   */
  write(item: Item): number {
    const out = this.#out;
    const { frame } = this.#framer;
    if (
      frame === undefined || typeof item !== "string" || out.length === 0 ||
      this.#ttftMs === undefined || this.#half !== "" || needsSlowPath(item)
    ) return this.#writeAny(item);
    out.frame(frame, item);
    this.#tokens++;
    return this.#written();
  }

  #writeAny(item: Item): number {
    const out = this.#out;
    const before = out.length;
    const events = out.events;
    try {
      if (typeof item !== "string") this.#writeStructured(item);
      else {
        if (this.#half !== "" || needsSlowPath(item)) this.#writeSlow(item);
        else this.#framer.token(out, item);
        this.#tokens++;
      }
    } catch (error) {
      // Half an event would swallow the failure that follows.
      out.rewind(before, events);
      throw error;
    }
    if (this.#ttftMs === undefined) {
      this.#ttftMs = performance.now() - this.#startMs;
      this.wake();
    } else if (before === 0 && out.length > 0) this.wake();
    return this.#written();
  }

  #written(): number {
    const { length } = this.#out;
    if (length >= FLUSH_BYTES) this.#sink.flush();
    return this.#sink.pressure(this.#out.length);
  }

  /** Called when an item waits, or the source has ended. */
  wake(): void {
    if (this.#read.state === "failed" && isOverflow(this.#read.error)) {
      // The producer is notified at once; the reader still gets what waits.
      if (this.#read !== this.queue) this.queue.cancel(this.#read.error);
      this.#settle("failed", this.#read.error);
    }
    this.#sink.wake();
  }

  /** Called when a value was sent after the normal end. */
  sentAfterEnd(): void {
    if (this.#hasReportedLate) return;
    this.#hasReportedLate = true;
    this.report(
      new Error("A value was sent after its source had ended: await your work before you return"),
    );
  }

  report(error: unknown): void {
    report(this.#init.options.onError, error);
  }

  // What the sink calls.

  /** Writes the end if it has come. Returns whether nothing will follow. */
  conclude(): boolean {
    if (!this.over) return false;
    if (this.#concluded) return true;
    this.#concluded = true;
    const { state } = this.#read;
    // Cancelling drops what waits, but a stop is a kind of end.
    const stopped = this.#isStopped;
    if (state === "cancelled" && !stopped) this.#out.rewind(0, this.#takenEvents);
    else if (this.#half !== "") this.#writeHalf();
    this.#endEvent = this.#out.events + 1;
    if (state === "closed") this.#writeEnd("completed");
    else if (stopped) this.#writeEnd("cancelled");
    const { failure } = this;
    if (failure !== undefined && !stopped) this.#framer.fail?.(this.#out, problemOf(failure.error));
    return true;
  }

  /** Takes the bytes that wait, for a sink that may transfer them. */
  take(): Uint8Array<ArrayBuffer> {
    this.#bytes += this.#out.length;
    return this.#out.take();
  }

  /**
   * Writes a heartbeat: the first bytes after the response headers, or a sign of life in a silence.
   * A log holds none.
   */
  heartbeat(): void {
    if (!this.#resumable) this.#init.format.heartbeat?.(this.#out);
  }

  lend(borrow: (bytes: Uint8Array) => void): void {
    this.#bytes += this.#out.length;
    this.#takenEvents = this.#out.events;
    this.#out.lend(borrow);
  }

  /** Called when the bytes that were taken are gone: senders that wait for room go on. */
  drained(): void {
    this.#read.drained();
    if (this.#read !== this.queue) this.queue.drained();
  }

  /** Ends the generation with the outcome of its source, after its last byte was taken. */
  finish(): void {
    const { failure } = this;
    if (failure === undefined) this.end("completed");
    else this.end(this.#wasLetGo(failure.error) ? "cancelled" : "failed", failure.error);
  }

  #wasLetGo(error: unknown): boolean {
    return this.#letGo !== undefined && error === this.#letGo;
  }

  /** Ends the generation. The only way to end, and idempotent: whatever comes first is the outcome. */
  end(outcome: StreamReport["outcome"], error?: unknown): void {
    if (this.#state === "waiting") {
      // The source was never started, but what it holds has to be released all the same.
      this.#run();
      release(this.#init.source, error);
    }
    if (outcome !== "completed") {
      // If the source failed, its queue has that error already; then this only drops what waits.
      this.queue.cancel(error);
      this.#read.cancel(error);
    }
    this.#concluded = true;
    this.#out.truncate(0);
    this.#settle(outcome, error);
  }

  /** Settles an ended generation: its source is cancelled and the operator gets the report. */
  #settle(outcome: StreamReport["outcome"], error?: unknown): void {
    if (this.#state !== "running") return;
    this.#state = "ended";
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

  #writeEnd(reason: End["reason"]): void {
    const before = this.#out.length;
    const events = this.#out.events;
    const { finishReason, usage } = this.#read.summary;
    const end: End = { reason, tokens: this.#tokens };
    if (typeof finishReason === "string") end.finishReason = finishReason;
    if (typeof usage === "object" && usage !== null) end.usage = usage;
    try {
      this.#framer.end(this.#out, end);
    } catch (error) {
      this.#out.rewind(before, events);
      this.#read.failAfterClose(error);
    }
  }

  /** Writes a token that begins or ends in half a surrogate pair, or might be too large. */
  #writeSlow(token: string): void {
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
}

/** Whether a token ends in something that the next one may complete, or might be too large. */
function needsSlowPath(token: string): boolean {
  const last = token.charCodeAt(token.length - 1);
  return last === CR || (last & 0xfc00) === 0xd800 || token.length > MAX_UNCHECKED_LENGTH;
}

/**
 * The context that the source gets: an object of its own, so that it can be spread and exposes
 * nothing internal.
 */
function contextOf(
  generation: Generation,
  { request, input, lastEventId }: GenerationInit,
): SourceContext {
  return {
    input,
    request,
    lastEventId,
    queue: generation.queue,
    get signal() {
      return generation.queue.signal;
    },
    get streamId() {
      return generation.streamId;
    },
  };
}

/** The context that a format gets of its generation, without the rest of it. */
class Opening implements FormatContext {
  readonly request: Request;
  readonly #generation: Generation;
  readonly #resumable: boolean;

  constructor(generation: Generation, request: Request, resumable: boolean) {
    this.request = request;
    this.#generation = generation;
    this.#resumable = resumable;
  }

  get streamId(): string {
    return this.#generation.streamId;
  }

  /** Lets an `EventSource` that asks again after the end be told to stop. */
  get lastId(): string | undefined {
    if (this.#resumable || this.request.method !== "GET") return undefined;
    return `${this.streamId}.end`;
  }
}

function isOverflow(error: unknown): boolean {
  return error instanceof StreamError && error.code === "overflow";
}
