/**
 * One run of a source: its items become bytes once, whoever reads them. It stands apart from the
 * stream because a generation may have no reader, one, or many, and ends by itself.
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
  /** Exactly one of: the source finished, something broke, somebody stopped it or nobody reads on. */
  outcome: "completed" | "failed" | "cancelled";
  /** Why, where the outcome is not `completed`. */
  code?: string;
  /** From the call to the first item that was sent, in ms; `undefined` if there was none. */
  ttftMs: number | undefined;
  /** From the call to the end, in ms. */
  durationMs: number;
  /** Tokens that were encoded. */
  tokens: number;
  /** Bytes that were handed to the runtime, or to the log. */
  bytes: number;
}

/** Options that every generation has. */
export interface GenerationOptions extends AsyncQueueOptions {
  /** Called exactly once, when the generation has ended. */
  onClose?: (report: StreamReport) => void;
  /** Called once an error, with the whole of it. @default {console.error} */
  onError?: (error: unknown) => void;
}

/** What a generation is told beside its options. */
export interface GenerationInit {
  readonly request: Request;
  readonly source: Source<never>;
  readonly format: Format;
  readonly options: GenerationOptions;
  readonly input: unknown;
  readonly lastEventId: string | undefined;
  /** A name that the embedder has chosen. */
  readonly streamId?: string | undefined;
}

/** Where a generation's bytes go: to its one stream, or into a log. None of it may throw. */
export interface Sink {
  /** Whether more than a queue holds is an overflow; else the sink finds room. */
  readonly bounded: boolean;
  /**
   * How full a queue with so many waiting bytes seems to its source: less full where a turn serves many readers and
   * may be longer, `Infinity` where the source has to wait however little is encoded.
   */
  pressure(bytes: number): number;
  /** Something waits to be taken, or the source has ended. */
  wake(): void;
  /** So much waits that it must be taken now, if ever. */
  flush(): void;
}

/** Where a reader's bytes come from: from a generation itself, or from the log of one. */
export interface ByteProducer {
  /** Whether the head may leave: an item was sent, or there will be none. */
  readonly begun: boolean;
  /** Whether nothing but what waits will come. */
  readonly over: boolean;
  /** How many bytes wait. */
  readonly waiting: number;
  /** What went wrong, if anything did. */
  readonly failure: { error: unknown } | undefined;
  /** Whether it went wrong before any item, so that the answer is a status of its own. */
  readonly failedBeforeHeaders: boolean;
  /** The failure that the format cannot tell: the body has to be broken off. */
  readonly breakOff: StreamError | undefined;
  /** Writes the end if it has come. Answers whether nothing will follow. */
  conclude(): boolean;
  /** The bytes that wait, in a buffer that nobody else sees: a sink may transfer it. */
  take(): Uint8Array<ArrayBuffer>;
  /** Lends the bytes that wait to one call that copies them. */
  lend(borrow: (bytes: Uint8Array) => void): void;
  /** Writes a heartbeat. */
  heartbeat(): void;
  /** What was taken was handed to the runtime. */
  drained(): void;
  /** The reader was given everything. */
  finish(): void;
  /** The reader had left before it was served at all; `end` follows. */
  unread?(): void;
  /** The reader left, was dropped, or could not be served. */
  end(outcome: "failed" | "cancelled", error: unknown): void;
}

/** An item may be 1 MiB encoded; no character takes more than 8 bytes, so shorter text need not be measured. */
const MAX_ITEM_BYTES = 1024 * 1024;
const MAX_UNCHECKED_LENGTH = MAX_ITEM_BYTES / 8 - 1024;
/** What is encoded and not yet taken, from where an unbounded sink takes it at once. */
const FLUSH_BYTES = 64 * 1024;
const CR = 0x0d;
const RESERVED = new Set(["done", "failed", "open", "error"]);

/**
 * What a token costs: its bytes, written once into the generation's own buffer when it is sent. What
 * a flush costs is up to its sink.
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
  /** What is encoded and waits for the sink. */
  readonly #out: EventWriter = new EventWriter();
  /** The first half of a surrogate pair whose second half is in a later token. */
  #half = "";
  #state: "waiting" | "running" | "ended" = "waiting";
  #concluded = false;
  /** Events that were taken, where they have ids. */
  #takenEvents = 0;
  #endEvent: number | undefined;
  /** Why the source was let go from outside, if it was. */
  #letGo: StreamError | undefined;
  #hasReportedLate = false;
  #id: string | undefined;

  readonly #startMs: number = performance.now();
  #ttftMs: number | undefined;
  #tokens = 0;
  #bytes = 0;

  /** @param resumable Whether each event gets an id of its own. */
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

  /** Starts the source. @throws Whatever the format throws of its first bytes. */
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

  /** Whether what went wrong came before any item. */
  get failedBeforeHeaders(): boolean {
    return this.#ttftMs === undefined && this.failure !== undefined && !this.#isStopped;
  }

  /** Whether somebody asked for the end, which is then a normal one. */
  get #isStopped(): boolean {
    const { state, error } = this.#read;
    return state === "cancelled" && this.#wasLetGo(error);
  }

  /** Whether the source has ended, one way or another. */
  get over(): boolean {
    return this.#read.state !== "open";
  }

  /** How many bytes wait. */
  get waiting(): number {
    return this.#out.length;
  }

  /** The event that the end begins with, where they have ids; none before the end. */
  get endEvent(): number | undefined {
    return this.#endEvent;
  }

  /** Events that were encoded so far, where they have ids. */
  get events(): number {
    return this.#out.events;
  }

  /** What went wrong, if anything did. */
  get failure(): { error: unknown } | undefined {
    const { state, error } = this.#read;
    return state === "failed" || state === "cancelled" ? { error } : undefined;
  }

  /** The failure that the format cannot tell: the body has to be broken off. */
  get breakOff(): StreamError | undefined {
    const { failure } = this;
    if (failure === undefined || this.#framer.fail !== undefined) return undefined;
    return publicError(failure.error);
  }

  /** Nobody reads on: as `fail`, but it is no fault of anybody's. */
  abandon(): void {
    if (!this.over) this.fail(this.#letGo = new StreamError("disconnected"));
  }

  /** Ends the source, and with it what is read, as failed; what waits is still taken. */
  fail(error: StreamError): void {
    this.queue.fail(error);
    this.#read.fail(error);
  }

  /** Ends the source as one that was let go; what waits is still taken, and the normal end after it. */
  stop(reason?: string): void {
    if (this.over) return;
    this.#letGo = new StreamError("stopped", reason === undefined ? {} : { detail: reason });
    this.queue.cancel(this.#letGo);
    this.#read.cancel(this.#letGo);
  }

  // What the queue and the pump call.

  /** The source is a queue of its own. */
  adopt(queue: AsyncQueue<Item>): void {
    queue.attach(this);
    this.#read = queue;
    // Two producers would each need an end; the context's queue has no further use.
    this.queue.close();
    this.wake();
  }

  /** Whether a queue that is too full has failed. */
  get bounded(): boolean {
    return this.#sink.bounded;
  }

  /**
   * Encodes an item when it is sent. A token that needs no look is written in its frame at once: the
   * way from `send` to the bytes is what a token costs (benchmark case: burst).
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

  /** Something waits, or the source has ended. */
  wake(): void {
    if (this.#read.state === "failed" && isOverflow(this.#read.error)) {
      // The producer is told at once; the reader is owed what waits.
      if (this.#read !== this.queue) this.queue.cancel(this.#read.error);
      this.#settle("failed", this.#read.error);
    }
    this.#sink.wake();
  }

  /** A value was sent after the normal end. */
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

  /** Writes the end if it has come. Answers whether nothing will follow. */
  conclude(): boolean {
    if (!this.over) return false;
    if (this.#concluded) return true;
    this.#concluded = true;
    const { state } = this.#read;
    // A cancel drops what waits, but a stop is a kind of end.
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

  /** The bytes that wait, for a sink that may transfer them. */
  take(): Uint8Array<ArrayBuffer> {
    this.#bytes += this.#out.length;
    return this.#out.take();
  }

  /** Writes a heartbeat, as the head's first bytes or after a silence. In a log there are none. */
  heartbeat(): void {
    if (!this.#resumable) this.#init.format.heartbeat?.(this.#out);
  }

  lend(borrow: (bytes: Uint8Array) => void): void {
    this.#bytes += this.#out.length;
    this.#takenEvents = this.#out.events;
    this.#out.lend(borrow);
  }

  /** What was taken is gone: those who wait for room go on. */
  drained(): void {
    this.#read.drained();
    if (this.#read !== this.queue) this.queue.drained();
  }

  /** Ends what the source has come to, after its last byte was taken. */
  finish(): void {
    const { failure } = this;
    if (failure === undefined) this.end("completed");
    else this.end(this.#wasLetGo(failure.error) ? "cancelled" : "failed", failure.error);
  }

  #wasLetGo(error: unknown): boolean {
    return this.#letGo !== undefined && error === this.#letGo;
  }

  /** The one ending of a generation. Idempotent: whatever comes first is the outcome. */
  end(outcome: StreamReport["outcome"], error?: unknown): void {
    if (this.#state === "waiting") {
      // Never started: what stands behind the source is let go all the same.
      this.#run();
      release(this.#init.source, error);
    }
    if (outcome !== "completed") {
      // A failure of the source's is what its queue says already; then this only drops what waits.
      this.queue.cancel(error);
      this.#read.cancel(error);
    }
    this.#concluded = true;
    this.#out.truncate(0);
    this.#settle(outcome, error);
  }

  /** The generation is over: its source is let go and the operator told. */
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

  /** A token that begins or ends in half a surrogate pair, or might be too large. */
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

/** Whether a token ends in what the next may go on with, or might be too large. */
function needsSlowPath(token: string): boolean {
  const last = token.charCodeAt(token.length - 1);
  return last === CR || (last & 0xfc00) === 0xd800 || token.length > MAX_UNCHECKED_LENGTH;
}

/** What the source is given: an object of its own, so that it can be spread and nothing of ours leaks. */
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

/** What a format is told of its generation, and nothing else. */
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

  /** So that an `EventSource` that asks again is told to stop. */
  get lastId(): string | undefined {
    if (this.#resumable || this.request.method !== "GET") return undefined;
    return `${this.streamId}.end`;
  }
}

function isOverflow(error: unknown): boolean {
  return error instanceof StreamError && error.code === "overflow";
}
