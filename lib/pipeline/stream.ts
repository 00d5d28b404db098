/**
 * One reader and what it is sent: the only holder of a `ReadableStream` controller, and the only place
 * where a response commits, is written to, and ends. It stands apart because nearly every bug of a
 * streaming server is a second writer, a second ending, or a loop that ignores demand.
 */
import { active } from "../counters.ts";
import { publicError, StreamError } from "../error.ts";
import type { ByteProducer, Sink } from "./generation.ts";
import { register, type Swept, unregister } from "./heartbeat.ts";
import { enter, leave, schedule, type Task } from "./scheduler.ts";

/** How a reader is served. */
export interface ReaderOptions {
  /** A comment is sent after so many ms of silence; 0 is off, else 100 to 60 000. @default {5000} */
  heartbeatMs?: number;
  /** The head is sent after so many ms without an item; 0 to 5000. @default {250} */
  commitAfterMs?: number;
  /** A reader that takes nothing for so many ms is dropped; 0 is off, else 100 or more. @default {60 000} */
  stallMs?: number;
}

/** What the stream is told beside its options. */
export interface StreamInit {
  readonly request: Request;
  readonly options: ReaderOptions;
  /** Whether silence is broken by heartbeats. */
  readonly heartbeats: boolean;
  /** Whether the head waits for the end. */
  readonly buffered: boolean;
  /** Called once, when the reader is served or gone. */
  readonly onEnd?: ((stream: TokenStream) => void) | undefined;
}

/** What a response is made of, or the error that came before it. Bytes are lent: whoever keeps them copies them. */
export type Opened =
  | ReadableStream<Uint8Array<ArrayBuffer>>
  | Uint8Array
  | StreamError;

/** What is sent as one body if all of it is there before the head. */
const MAX_BODY_BYTES = 64 * 1024;
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
 * stream is given a chunk (an ending apart), and only in its turn in the scheduler: `pull` and a producer
 * that wakes both just ask for one. What a flush costs: one copy and one `enqueue`.
 */
export class TokenStream implements Task, Swept, Sink, EventListenerObject {
  /** The scheduler's. */
  due = false;
  /** A generation of its own is held to the limits of its queue. */
  readonly bounded = true;
  readonly shortestMs: number;

  #state: "opening" | "idle" | "wanting" | "ended" = "opening";
  readonly #init: StreamInit;
  readonly #heartbeatMs: number;
  readonly #stallMs: number;
  #producer!: ByteProducer;
  /** Makes what `open` answers, once: what made it is let go. */
  #answer: ((opened: Opened) => void) | undefined;
  /** None where the whole of a short stream was one body. */
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** The request's, once it is listened to. */
  #signal: AbortSignal | undefined;
  #commitTimer: ReturnType<typeof setTimeout> | undefined;
  #lastWriteMs = 0;

  constructor(init: StreamInit) {
    this.#init = init;
    this.#heartbeatMs = init.heartbeats ? init.options.heartbeatMs ?? 5000 : 0;
    this.#stallMs = init.options.stallMs ?? 60_000;
    this.shortestMs = Math.min(this.#heartbeatMs || Infinity, this.#stallMs || Infinity);
  }

  /**
   * Serves the reader from `producer`.
   *
   * @param start Called at once; a reader that has left already is noticed a turn later.
   * @param answer Makes the response of the body, or of the error that came before it. Called once.
   */
  open<Result>(
    producer: ByteProducer,
    start: () => void,
    answer: (opened: Opened) => Result,
  ): Promise<Result> {
    this.#producer = producer;
    const answered = new Promise<Result>((resolve, reject) => {
      this.#answer = (opened) => {
        try {
          resolve(answer(opened));
        } catch (error) {
          reject(error);
        }
      };
    });
    enter();
    active.readers++;
    this.#guard(start);
    // What has ended already would ask for a turn that nobody ends.
    if (this.#state !== "ended") schedule(this);
    return answered;
  }

  /**
   * Listens to `request.signal` from now on, and answers whether it has aborted. Not before the first turn:
   * reading it costs Deno 18 µs, a quarter of what a stream of 100 tokens costs that has ended by then (benchmark
   * case: burst). So the source of a reader who has left before the call runs for one turn.
   */
  #hasLeft(): boolean {
    if (this.#signal === undefined) {
      this.#signal = this.#init.request.signal;
      this.#signal.addEventListener("abort", this);
      active.listeners++;
      if (this.#signal.aborted) {
        this.#producer.unread?.();
        this.handleEvent();
      }
    }
    return this.#signal.aborted;
  }

  /** Sends what waits and ends, whether the reader asks for it or not. */
  shutDown(): void {
    if (this.#state === "ended") return;
    this.#guard(() => {
      if (this.#state === "opening") this.#commit();
      else this.#flush();
      // A log hands out a piece at a time.
      while (this.#ends) this.#flush();
    });
  }

  /** Whether nothing but what waits is to be sent. */
  get #ends(): boolean {
    return this.#state !== "ended" && this.#producer.over && this.#producer.waiting > 0;
  }

  /** Something waits, or the producer has ended. */
  wake(): void {
    if (this.#state === "opening" && this.#producer.over) {
      // All is there: it is sent on while its bytes are in the processor's cache (benchmark case: burst).
      queueMicrotask(() => this.run());
    } else if (this.#state === "wanting" || this.#state === "opening") schedule(this);
  }

  /** A queue is as full as what waits in it. */
  pressure(bytes: number): number {
    return bytes;
  }

  /** What waits, waits for the reader. */
  flush(): void {}

  /** The stream's turn. */
  run(): void {
    this.#guard(this.#turn);
  }

  #turn(): void {
    if (this.#state === "wanting") {
      if (this.#waits) this.#flush();
    } else if (this.#state === "opening") {
      const producer = this.#producer;
      if (!producer.over && this.#hasLeft()) return;
      if (this.#init.buffered && !producer.over) return;
      const { commitAfterMs = 250 } = this.#init.options;
      if (producer.begun || commitAfterMs === 0) this.#commit();
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
      this.#fail("failed", error, publicError(error));
    }
  }

  /** Called by the heartbeat's timer. */
  sweep(nowMs: number): void {
    const silentMs = nowMs - this.#lastWriteMs;
    if (this.#state === "wanting") {
      if (this.#heartbeatMs > 0 && silentMs >= this.#heartbeatMs && !this.#waits) {
        this.#guard(this.#heartbeat);
      }
    } else if (this.#stallMs > 0 && silentMs >= this.#stallMs) {
      const error = new StreamError("stalled");
      this.#fail("cancelled", error, error);
    }
  }

  #heartbeat(): void {
    this.#producer.heartbeat();
    this.#enqueue();
  }

  get #waits(): boolean {
    return this.#producer.waiting > 0 || this.#producer.over;
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
    this.#fail("cancelled", new StreamError("disconnected", { cause: reason }));
  }

  /** `request.signal` aborted: on Deno the only early notice before the head. */
  handleEvent(): void {
    this.#fail("cancelled", new StreamError("disconnected"));
  }

  #commit(): void {
    if (this.#state !== "opening") return;
    const producer = this.#producer;
    const { failure } = producer;
    if (failure !== undefined && (producer.failedBeforeHeaders || this.#init.buffered)) {
      return this.#fail("failed", failure.error);
    }
    const last = producer.conclude();
    const broken = this.#init.buffered ? producer.failure : undefined;
    // Its end could not be written: half a document is worth less than the status.
    if (broken !== undefined) return this.#fail("failed", broken.error);
    this.#disarm();
    this.#state = "idle";
    if (last && producer.breakOff === undefined && producer.waiting <= MAX_BODY_BYTES) {
      // All of it is here before its head has left: one body, and no stream to be made and read.
      producer.lend((bytes) => this.#opened(bytes));
      producer.drained();
      return this.#finish();
    }
    const body = new ReadableStream(this, NO_PREFETCH);
    if (this.shortestMs < Infinity) register(this);
    this.#lastWriteMs = performance.now();
    this.#enqueue();
    this.#opened(body as ReadableStream<Uint8Array<ArrayBuffer>>);
    if (last && producer.breakOff === undefined && producer.waiting === 0) this.#finish();
    else if (this.#state === "idle") this.#hasLeft();
  }

  #opened(opened: Opened): void {
    const answer = this.#answer;
    this.#answer = undefined;
    answer!(opened);
  }

  #flush(): void {
    const producer = this.#producer;
    const last = producer.conclude();
    // Breaking off before the turn after the text was taken loses it: wait for the next pull.
    const later = producer.breakOff !== undefined &&
      (producer.waiting > 0 || this.#state === "idle");
    this.#enqueue();
    if (last && !later && producer.waiting === 0) this.#finish();
  }

  #enqueue(): void {
    const producer = this.#producer;
    if (producer.waiting > 0) {
      this.#lastWriteMs = performance.now();
      this.#state = "idle";
      this.#controller!.enqueue(producer.take());
    }
    producer.drained();
  }

  /** The last byte was written, or nothing but breaking off is left. */
  #finish(): void {
    const { breakOff } = this.#producer;
    if (!this.#end()) return;
    this.#producer.finish();
    this.#close(breakOff);
  }

  /**
   * The reader left or was dropped, or something broke that the producer does not know of.
   *
   * @param breakOff What to break the body off with, where closing it would look like a good end.
   */
  #fail(outcome: "failed" | "cancelled", error: unknown, breakOff?: unknown): void {
    const committed = this.#state !== "opening";
    if (!this.#end()) return;
    this.#producer.end(outcome, error);
    if (!committed) this.#opened(publicError(error));
    this.#close(breakOff);
  }

  /** The one ending: whatever comes first. Answers whether this was it. */
  #end(): boolean {
    if (this.#state === "ended") return false;
    this.#state = "ended";
    this.#disarm();
    unregister(this);
    if (this.#signal !== undefined) {
      this.#signal.removeEventListener("abort", this);
      active.listeners--;
    }
    active.readers--;
    leave();
    return true;
  }

  #close(breakOff: unknown): void {
    try {
      if (breakOff !== undefined) this.#controller?.error(breakOff);
      else this.#controller?.close();
    } catch {
      // The reader cancelled: the runtime has closed the controller before it told us.
    }
    this.#init.onEnd?.(this);
  }

  #disarm(): void {
    if (this.#commitTimer === undefined) return;
    clearTimeout(this.#commitTimer);
    this.#commitTimer = undefined;
    active.timers--;
  }
}
