/**
 * The two contracts between whoever makes a stream's bytes and whoever takes them. Separate from
 * their implementations because each side has two: a generation and the log of one make bytes, a
 * stream and a log take them.
 */
import type { StreamError } from "../error.ts";
import type { Borrower } from "../sse/utf8.ts";

/**
 * The phase of a producer, in order.
 *
 * ```
 *   starting ──first item──▶ running ──▶ ended       nothing comes but what waits
 *      │                        └──────▶ broken      the same, and the format cannot write the failure
 *      └──failure before any item──────▶ rejected    the response is an error with its own status
 * ```
 *
 * `conclude` writes the end of a `rejected` producer into its bytes, if its stream has committed
 * already: then it is `ended` or `broken`.
 */
export type ProducerPhase = "starting" | "running" | "ended" | "broken" | "rejected";

/**
 * How a reader ended: it was given everything (`completed`), could not be served (`failed`),
 * disconnected or was dropped (`cancelled`), or had disconnected before it was served at all
 * (`unread`).
 */
export type ReaderOutcome = "completed" | "failed" | "cancelled" | "unread";

/** The origin of a reader's bytes: a generation, or the log of one. */
export interface ByteProducer {
  readonly phase: ProducerPhase;
  /** The error that made the producer `rejected` or `broken`. */
  readonly error: unknown;
  /** Number of bytes that wait. */
  readonly waiting: number;
  /** Writes the end if it has come. Returns whether nothing will follow. */
  conclude(): boolean;
  /** Takes the bytes that wait, in a buffer that nothing else uses: a sink may transfer it. */
  take(): Uint8Array<ArrayBuffer>;
  /** Lends them to a borrower that copies them; only where a buffer can be lent. */
  lend?(borrower: Borrower): void;
  /** Writes a heartbeat. */
  heartbeat(): void;
  /** Called when the bytes that were taken have been handed to the runtime. */
  drained(): void;
  /** Fails the generation; only where the stream is its one reader. */
  fail?(error: StreamError): void;
  /** Called once, when the reader has ended; `error` says why, unless it was given everything. */
  end(outcome: ReaderOutcome, error?: unknown): void;
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
