/**
 * One run of a source, from its start to its one ending. Separate from the stream because a
 * generation may have no reader, one, or many, and ends by itself.
 */
import { active } from "../counters.ts";
import { callSafely, problemOf, publicError, report, StreamError } from "../error.ts";
import type { Format, Framer, Position } from "../formats/format.ts";
import type { Item } from "../item.ts";
import type { EventIds } from "../sse/event_ids.ts";
import type { Borrower } from "../sse/utf8.ts";
import { createStreamId } from "../stream_id.ts";
import type { ByteProducer, ProducerPhase, ReaderOutcome, Sink } from "./byte_producer.ts";
import { type EncoderOwner, ItemEncoder } from "./item_encoder.ts";
import { Pump, type PumpOwner, type Source, type SourceContext } from "./pump.ts";
import { AsyncQueue, type AsyncQueueOptions } from "./queue.ts";
import { type Clock, systemClock } from "./scheduler.ts";

/** How a generation ended. */
export interface StreamReport {
  /** The stream id: 128 random bits as base64url, or what the embedder chose. */
  streamId: string;
  /** The source finished, something failed, or the generation was stopped or lost its client. */
  outcome: "completed" | "failed" | "cancelled";
  /** The error code, if the outcome is not `completed`. */
  code?: string;
  /** Why the model stopped, in the words of the source, if it has said so. */
  finishReason?: string | undefined;
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
  /** Time and timers, for tests. @default {the runtime's} */
  clock?: Clock;
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

/**
 * The life of a generation.
 *
 * ```
 *   created ──start()──▶ running ──end(), or an overflow──▶ settled
 *      └──────────────── end() ─────────────────────────────▲
 * ```
 *
 * While it runs, its source fills the queue, whose items an {@linkcode ItemEncoder} turns into bytes
 * for the sink. `settled`: the source is released and the operator has the report. After an overflow
 * the sink still takes what waits, and `conclude` writes the failure behind it.
 */
export class Generation implements EncoderOwner, PumpOwner, ByteProducer {
  readonly queue: AsyncQueue<Item>;
  /** What the source's context is made of, until it starts. Its request is held no longer than that. */
  #init: GenerationInit | undefined;
  readonly #options: GenerationOptions;
  readonly #format: Format;
  readonly #sink: Sink;
  readonly #encoder: ItemEncoder;
  readonly #pump: Pump;
  readonly #resumable: boolean;
  /** Whether an `EventSource` that asks again after the end is told to stop, by the id of the end. */
  readonly #marksEnd: boolean;
  /** The queue that is read: the context's, or the source's own. */
  #read: AsyncQueue<Item>;
  #state: "created" | "running" | "settled" = "created";
  /** Number of events that were taken, if events have ids. */
  #takenEvents = 0;
  /** Number of the event that the end begins with; `undefined` until the end is written. */
  #endEvent: number | undefined;
  /** Why the source was cancelled from outside, if it was. */
  #letGo: StreamError | undefined;
  #hasReportedLate = false;
  #id: string | undefined;
  readonly #clock: Clock;
  readonly #startMs: number;
  #ttftMs: number | undefined;
  #bytes = 0;

  /**
   * Creates a generation that has not started.
   *
   * @param ids Gives each event an id of its own, so that a client can come back.
   */
  constructor(init: GenerationInit, sink: Sink, ids?: EventIds) {
    const { request, source, format, options } = init;
    this.#init = init;
    this.#options = options;
    this.#format = format;
    this.#clock = options.clock ?? systemClock;
    this.#startMs = this.#clock.now();
    this.#sink = sink;
    this.#resumable = ids !== undefined;
    this.#id = init.streamId;
    this.queue = this.#read = new AsyncQueue<Item>(options);
    this.#pump = new Pump(source, this.queue, this);
    this.#encoder = new ItemEncoder(this.#openFormat(init), init, sink, this);
    if (ids !== undefined) this.#encoder.out.identify(ids);
    const { heartbeat, ids: hasIds = true } = format;
    this.#marksEnd = ids === undefined && request.method === "GET" && !!heartbeat && hasIds;
  }

  #openFormat({ request, format }: GenerationInit): Framer {
    try {
      return format.open({ request, streamId: this.streamId });
    } catch (error) {
      this.#pump.cancel();
      throw error;
    }
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
    this.queue.attach(this.#encoder);
    // A log writes the opening comment for each of its readers.
    if (!this.#resumable && this.#format.heartbeat) this.#encoder.out.comment("");
    this.#encoder.start();
    const init = this.#init!;
    this.#init = undefined;
    this.#pump.run(contextOf(this, init));
  }

  #run(): void {
    this.#state = "running";
    active.streams++;
    active.sources++;
  }

  /** Whether the source has ended, with or without a failure. */
  get over(): boolean {
    return this.#read.state !== "open";
  }

  /** The phase of its bytes. A buffered document is `starting` until its end, and never half sent. */
  get phase(): ProducerPhase {
    const { buffered } = this.#format;
    if (!this.over) return this.#ttftMs === undefined || buffered ? "starting" : "running";
    if (!this.#hasFailed) return "ended";
    if (buffered || (this.#ttftMs === undefined && this.#endEvent === undefined)) return "rejected";
    return this.#encoder.canFail ? "ended" : "broken";
  }

  get error(): unknown {
    return this.#read.error;
  }

  /** Number of bytes that wait. */
  get waiting(): number {
    return this.#encoder.out.length;
  }

  /** Number of the event that the end begins with, if events have ids; `undefined` before the end. */
  get endEvent(): number | undefined {
    return this.#endEvent;
  }

  /** Number of events that were encoded so far, if events have ids. */
  get events(): number {
    return this.#encoder.out.events;
  }

  /** Whether an error ended the source. A stop is a normal end. */
  get #hasFailed(): boolean {
    const { state } = this.#read;
    return state === "failed" || (state === "cancelled" && !this.#isStopped);
  }

  get #position(): Position {
    return { streamId: this.streamId, lastEvent: this.#encoder.lastEvent };
  }

  get #isStopped(): boolean {
    const { state, error } = this.#read;
    return state === "cancelled" && this.#wasLetGo(error);
  }

  #wasLetGo(error: unknown): boolean {
    return !!error && error === this.#letGo;
  }

  /** Ends a generation that has lost its last client: like `fail`, but the outcome is `cancelled`. */
  abandon(code: "disconnected" | "stalled"): void {
    if (!this.over) this.fail(this.#letGo = new StreamError(code));
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

  // What the pump and the encoder call.

  /** Reads from a queue that the source has made itself. */
  adopt(queue: AsyncQueue<Item>): void {
    queue.attach(this.#encoder);
    this.#read = queue;
    // Two producers would each need an end, so the context's queue is closed.
    this.queue.close();
    this.wake();
  }

  /** Called when an item waits, or the source has ended. */
  wake(): void {
    if (this.#ttftMs === undefined && this.#encoder.hasItems) {
      this.#ttftMs = this.#clock.now() - this.#startMs;
    }
    const { state, error } = this.#read;
    if (state === "failed" && error instanceof StreamError && error.code === "overflow") {
      // The producer is notified at once; the reader still gets what waits.
      if (this.#read !== this.queue) this.queue.cancel(error);
      this.#settle("failed", error);
    }
    this.#sink.wake();
  }

  /** Called when a value was sent after the normal end. */
  sentAfterEnd(): void {
    if (this.#hasReportedLate) return;
    this.#hasReportedLate = true;
    this.report(
      new Error("A value was sent after its source had ended: await your work"),
    );
  }

  report(error: unknown): void {
    report(this.#options.onError, error);
  }

  // What the sink calls.

  /** Writes the end if it has come. Returns whether nothing will follow. */
  conclude(): boolean {
    if (!this.over) return false;
    if (this.#endEvent !== undefined) return true;
    const { out } = this.#encoder;
    const { state, summary } = this.#read;
    // Cancelling drops what waits, but a stop is a kind of end.
    const stopped = this.#isStopped;
    try {
      if (state === "cancelled" && !stopped) out.rewind(0, this.#takenEvents);
      else this.#encoder.writeHalf();
      this.#beginEnd();
      if (state === "closed" || stopped) {
        this.#encoder.end(stopped ? "cancelled" : "completed", summary);
      }
    } catch (error) {
      // What the format throws must not hide why the source has failed.
      if (this.#hasFailed) this.report(error);
      else this.#read.failAfterClose(error);
      this.#beginEnd();
    }
    if (this.#hasFailed) this.#encoder.fail(problemOf(this.#read.error), this.#position);
    return true;
  }

  /** Prepares what the end is written to. */
  #beginEnd(): void {
    const { out } = this.#encoder;
    this.#endEvent = out.events + 1;
    if (this.#marksEnd) out.mark(`${this.streamId}.end`);
  }

  /** Takes the bytes that wait, for a sink that may transfer them. */
  take(): Uint8Array<ArrayBuffer> {
    const { out } = this.#encoder;
    this.#bytes += out.length;
    return out.take();
  }

  heartbeat(): void {
    this.#format.heartbeat?.(this.#encoder.out, this.#position);
  }

  /** Lends the bytes that wait to a borrower. */
  lend(borrower: Borrower): void {
    const { out } = this.#encoder;
    this.#bytes += out.length;
    this.#takenEvents = out.events;
    out.lend(borrower);
  }

  /** Called when the bytes that were taken are gone: senders that wait for room go on. */
  drained(): void {
    this.#read.drained();
    if (this.#read !== this.queue) this.queue.drained();
  }

  /** Ends the generation. The only way to end, and idempotent: whatever comes first is the outcome. */
  end(outcome: ReaderOutcome, error?: unknown): void {
    if (this.#state === "created") this.#run();
    const { state } = this.#read;
    if (outcome === "completed" && (state === "failed" || state === "cancelled")) {
      // The reader has all of it: the outcome is the source's.
      error = this.#read.error;
      outcome = this.#wasLetGo(error) ? "cancelled" : "failed";
    }
    if (outcome !== "completed") {
      // If the source failed, its queue has that error already; then this only drops what waits.
      this.queue.cancel(error);
      this.#read.cancel(error);
    }
    this.#endEvent ??= this.events + 1;
    this.#encoder.out.truncate(0);
    this.#settle(outcome === "unread" ? "cancelled" : outcome, error);
  }

  /** Settles the generation: its source is cancelled and the operator gets the report. */
  #settle(outcome: StreamReport["outcome"], error?: unknown): void {
    if (this.#state !== "running") return;
    this.#state = "settled";
    active.streams--;
    active.sources--;
    this.#pump.cancel();
    const code = outcome === "completed" ? undefined : publicError(error).code;
    if (outcome === "failed" && code !== "shutting_down") this.report(error);
    const { onClose } = this.#options;
    if (onClose === undefined) return;
    const report: StreamReport = {
      streamId: this.streamId,
      outcome,
      ...code === undefined ? {} : { code },
      finishReason: this.#read.summary.finishReason,
      ttftMs: this.#ttftMs,
      durationMs: this.#clock.now() - this.#startMs,
      tokens: this.#encoder.tokens,
      bytes: this.#bytes,
    };
    callSafely(onClose, report, (broken) => this.report(broken));
  }
}

/**
 * The context that the source gets: it can be spread and exposes nothing internal. All share one
 * getter: with one of its own, V8 keeps each of them until a full collection, which nearly doubled the
 * time of a short stream on Deno (benchmark case: short).
 */
function contextOf(
  generation: Generation,
  { request, input, lastEventId }: GenerationInit,
): SourceContext {
  const { queue, streamId } = generation;
  const report = (error: unknown) => generation.report(error);
  const context = { input, request, lastEventId, queue, streamId, report } as SourceContext;
  return Object.defineProperty(context, "signal", SIGNAL);
}

const SIGNAL: PropertyDescriptor & ThisType<SourceContext> = {
  enumerable: true,
  get() {
    return this.queue.signal;
  },
};
