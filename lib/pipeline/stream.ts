/**
 * One reader's stream: the only holder of a `ReadableStream` controller, and the only place where a
 * response commits, is written to, and ends. Separate from the generation because nearly every bug
 * of a streaming server is a second writer, a second ending, or a loop that ignores demand.
 */
import { active } from "../counters.ts";
import { publicError, StreamError } from "../error.ts";
import type { Borrower } from "../sse/utf8.ts";
import type { ByteProducer, ReaderOutcome, Sink } from "./byte_producer.ts";
import { sweeperOf, type Swept } from "./heartbeat.ts";
import {
  catchUp,
  type Clock,
  enter,
  IS_BUN,
  leave,
  PER_REQUEST,
  schedule,
  systemClock,
  type Task,
} from "./scheduler.ts";

/** Options for how one client is served. */
export interface ReaderOptions {
  /** A comment is sent after so many ms of silence; 0 is off, else 100 to 60 000. @default {5000} */
  heartbeatMs?: number;
  /** The response headers are sent after so many ms without an item; 0 to 5000. @default {250} */
  commitAfterMs?: number;
  /**
   * A client that takes nothing for so many ms is dropped; 0 is off, else 100 or more.
   * @default {60 000}
   */
  stallMs?: number;
  /** Time and timers, for tests. @default {the runtime's} */
  clock?: Clock;
}

/** The default of `commitAfterMs`. */
export const COMMIT_AFTER_MS = 250;

/** What a stream is made of, beside its options. */
export interface StreamInit {
  readonly request: Request;
  /** With `commitAfterMs` at `Infinity` the response headers wait for an item or the end. */
  readonly options: ReaderOptions;
  /** Whether `respond` copies the bytes that it is given, so that the producer lends them. */
  readonly copies?: boolean;
  /** Is told once, when the reader was served or is gone. */
  readonly owner?: { onEnd?(stream: TokenStream): void } | undefined;
}

/** What `open` has to settle. */
interface Opening {
  readonly respond: (body: Body) => unknown;
  readonly resolve: (response: never) => void;
  readonly reject: (error: unknown) => void;
}

/** The body of a response. Its bytes are its own: a library may have replaced `Response` by one that copies none. */
export type Body = ReadableStream<Uint8Array<ArrayBuffer>> | Uint8Array<ArrayBuffer>;

/** The largest response, in bytes, that is sent as one body if it is complete before its headers. */
const MAX_BODY_BYTES = 64 * 1024;
const NO_PREFETCH = { highWaterMark: 0 };

/**
 * The stream of one reader.
 *
 * ```
 *   opening ──first item, end, or commitAfterMs──▶ idle ◀──flush──┐
 *      │                                            └───pull()──▶ wanting
 *      │                                            │                │
 *      └───────── failure, reader left ─────────▶ ended ◀── end, failure, reader left, stall
 * ```
 *
 * `idle`: the reader has not yet taken the last chunk. `wanting`: it waits for one. Only a
 * `wanting` stream is given a chunk (except for an ending), and only in its turn in the scheduler:
 * `pull` and a producer that wakes the stream both just ask for a turn. A flush costs one copy and
 * one `enqueue`.
 */
export class TokenStream implements Task, Swept, Sink, Borrower {
  /** Whether this stream waits for its turn. Written by the scheduler alone. */
  due = false;
  /** Whether the queue's limit applies: always, for a generation that only this stream reads. */
  readonly bounded = true;
  readonly shortestMs: number;

  #state: "opening" | "idle" | "wanting" | "ended" = "opening";
  readonly #commitAfterMs: number;
  readonly #copies: boolean | undefined;
  readonly #owner: StreamInit["owner"];
  readonly #clock: Clock;
  readonly #heartbeatMs: number;
  readonly #stallMs: number;
  #producer!: ByteProducer;
  /** What `open` returned, until it is settled; then all that it holds is dropped. */
  #opening: Opening | undefined;
  /** The controller of the body; absent if a short response was one body. */
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  /**
   * The request, on Bun until the stream listens to its signal: there it is 0.8 KB of heap. On Node one
   * that is collected no longer passes an abort on to its signal.
   */
  #request: Request | undefined;
  #signal: AbortSignal | undefined;
  #commitTimer: unknown;
  #lastWriteMs = 0;

  constructor(init: StreamInit) {
    const {
      heartbeatMs = 5000,
      commitAfterMs = COMMIT_AFTER_MS,
      stallMs = 60_000,
      clock = systemClock,
    } = init.options;
    this.#request = init.request;
    this.#owner = init.owner;
    this.#commitAfterMs = commitAfterMs;
    this.#copies = init.copies;
    this.#heartbeatMs = heartbeatMs;
    this.#stallMs = stallMs;
    this.#clock = clock;
    this.shortestMs = Math.min(heartbeatMs || Infinity, stallMs || Infinity);
  }

  /**
   * Serves the reader from `producer`. The promise rejects with a {@linkcode StreamError} if the
   * error came before the response headers.
   *
   * @param start Called at once; a client that has disconnected already is noticed a turn later.
   * @param respond Makes the response from its body.
   */
  open<Result>(
    producer: ByteProducer,
    start: () => void,
    respond: (body: Body) => Result,
  ): Promise<Result> {
    this.#producer = producer;
    const opened = new Promise<Result>((resolve, reject) => {
      this.#opening = { respond, resolve, reject };
    });
    enter();
    active.readers++;
    // Here the current request is the stream's own. Later it may be that of another one.
    if (PER_REQUEST) this.#sweep();
    this.#guard(start);
    // A stream that has ended already would ask for a turn that nothing ends.
    if (this.#state !== "ended") schedule(this);
    return opened;
  }

  /**
   * Listens to `request.signal` from now on, and returns whether it has aborted. Not called before
   * the first turn: reading the signal costs Deno 18 µs, a quarter of the cost of a stream of 100
   * tokens that has ended by then (benchmark case: burst). So the source of a client that
   * disconnected before the call runs for one turn.
   */
  #hasLeft(): boolean {
    if (this.#signal === undefined) {
      this.#signal = this.#request!.signal;
      if (IS_BUN) this.#request = undefined;
      this.#signal.addEventListener("abort", this);
      active.listeners++;
      if (this.#signal.aborted) this.#fail("unread", new StreamError("disconnected"));
    }
    return this.#signal.aborted;
  }

  /** Sends what waits and ends, whether the reader asks for it or not. `error` fails its own generation. */
  shutDown(error?: StreamError): void {
    if (this.#state === "ended") return;
    if (error !== undefined) this.#producer.fail?.(error);
    this.#guard(() => {
      if (this.#state === "opening") this.#commit();
      else this.#flush();
      // A log hands out one piece at a time.
      while (this.#state !== "ended" && this.#isOver && this.#producer.waiting > 0) this.#flush();
    });
  }

  /** Called when bytes wait, or the producer has ended. */
  wake(): void {
    if (this.#state === "opening" && this.#isOver) {
      // The response is complete: it is sent while its bytes are in the processor's cache
      // (benchmark case: burst).
      queueMicrotask(() => this.run());
    } else if (this.#state === "wanting" || this.#state === "opening") schedule(this);
  }

  /** How full the queue seems to its source: as full as what waits in it. */
  pressure(bytes: number): number {
    return bytes;
  }

  /** Does nothing: what waits, waits for the reader. */
  flush(): void {}

  /** Takes the stream's turn. */
  run(): void {
    this.#guard(this.#turn);
  }

  #turn(): void {
    if (this.#state === "wanting") {
      if (this.#waits) this.#flush();
    } else if (this.#state === "opening") {
      if (!this.#isOver && this.#hasLeft()) return;
      if (this.#producer.phase !== "starting" || this.#commitAfterMs === 0) this.#commit();
      else if (this.#commitTimer === undefined && this.#commitAfterMs < Infinity) {
        active.timers++;
        this.#commitTimer = this.#clock.setTimer(
          () => this.#guard(this.#commit),
          this.#commitAfterMs,
        );
      }
    }
  }

  /**
   * Runs a turn and catches its errors: the runtime calls it, where an exception would end the
   * process.
   */
  #guard(turn: () => void): void {
    try {
      turn.call(this);
    } catch (error) {
      this.#fail("failed", error, publicError(error));
    }
  }

  /** Lets the heartbeat's timer check this stream, if it has anything to check. */
  #sweep(): void {
    if (this.shortestMs < Infinity) sweeperOf(this.#clock, this).register(this);
  }

  /** Called by the heartbeat's timer. */
  sweep(nowMs: number): void {
    if (PER_REQUEST) {
      catchUp(this);
      if (this.#state === "opening") return;
    }
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

  /** Whether nothing will come but what waits. */
  get #isOver(): boolean {
    const { phase } = this.#producer;
    return phase !== "running" && phase !== "starting";
  }

  get #waits(): boolean {
    return this.#producer.waiting > 0 || this.#isOver;
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

  cancel(reason?: unknown): void {
    this.#fail("cancelled", new StreamError("disconnected", { cause: reason }));
  }

  /** Called when `request.signal` aborts: on Deno the only early notice before the response headers. */
  handleEvent(): void {
    this.cancel();
  }

  #commit(): void {
    if (this.#state !== "opening") return;
    const producer = this.#producer;
    // An end that cannot be written may reject a document that was complete until then.
    const last = producer.phase !== "rejected" && producer.conclude();
    if (producer.phase === "rejected") return this.#fail("failed", producer.error);
    const breaksOff = producer.phase === "broken";
    this.#disarm();
    this.#state = "idle";
    if (last && !breaksOff && producer.waiting <= MAX_BODY_BYTES) {
      // Complete before its headers are sent: one body, without the cost of a stream.
      if (this.#copies) producer.lend!(this);
      else this.#respond(producer.take());
      producer.drained();
      return this.#finish();
    }
    const body = new ReadableStream(this, NO_PREFETCH);
    if (!PER_REQUEST) this.#sweep();
    this.#lastWriteMs = this.#clock.now();
    this.#enqueue();
    this.#respond(body as ReadableStream<Uint8Array<ArrayBuffer>>);
    if (last && !breaksOff && producer.waiting === 0) this.#finish();
    else if (this.#state === "idle") this.#hasLeft();
  }

  /** Called with the bytes of a whole response, if they are lent. */
  borrow(bytes: Uint8Array<ArrayBuffer>, length: number): void {
    this.#respond(bytes.subarray(0, length));
  }

  #respond(body: Body): void {
    const { respond, resolve } = this.#opening!;
    resolve(respond(body) as never);
    this.#opening = undefined;
  }

  #flush(): void {
    const producer = this.#producer;
    if (!producer.conclude()) return this.#enqueue();
    // Breaking off in the turn in which the text was taken loses that text: wait for the next pull.
    const later = producer.phase === "broken" && (producer.waiting > 0 || this.#state === "idle");
    this.#enqueue();
    if (!later && producer.waiting === 0) this.#finish();
  }

  #enqueue(): void {
    const producer = this.#producer;
    if (producer.waiting > 0) {
      this.#lastWriteMs = this.#clock.now();
      this.#state = "idle";
      this.#controller!.enqueue(producer.take());
    }
    producer.drained();
  }

  /** Ends the stream after its last byte was written, or when only breaking off is left. */
  #finish(): void {
    const { phase, error } = this.#producer;
    if (!this.#end()) return;
    this.#producer.end("completed");
    this.#close(phase === "broken" ? publicError(error) : undefined);
  }

  /**
   * Ends the stream because the client disconnected or was dropped, or because of an error that the
   * producer does not have.
   *
   * @param breakOff The error to break off the body with, where closing it would look like a normal
   * end.
   */
  #fail(outcome: ReaderOutcome, error: unknown, breakOff?: unknown): void {
    if (!this.#end()) return;
    this.#producer.end(outcome, error);
    this.#opening?.reject(publicError(error));
    this.#opening = undefined;
    this.#close(breakOff);
  }

  /** Ends the stream. The only way to end: whatever comes first. Returns whether this call did it. */
  #end(): boolean {
    if (this.#state === "ended") return false;
    this.#state = "ended";
    this.#disarm();
    sweeperOf(this.#clock, this).unregister(this);
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
      // The client disconnected: the runtime closed the controller before it called `cancel`.
    }
    this.#owner?.onEnd?.(this);
  }

  #disarm(): void {
    if (this.#commitTimer === undefined) return;
    this.#clock.clearTimer(this.#commitTimer);
    this.#commitTimer = undefined;
    active.timers--;
  }
}
