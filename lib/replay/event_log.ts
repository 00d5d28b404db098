/**
 * A log, as its events are written and read. Separate from `ReplayLog`, which is what a stream asks
 * of a log, so that the code of replay is in a program only with a log.
 */
import type { StreamError } from "../error.ts";
import type { Format } from "../formats/format.ts";
import type { ByteProducer, Sink } from "../pipeline/byte_producer.ts";
import type { Run } from "../http/replay_log.ts";
import type { Generation } from "../pipeline/generation.ts";

/** What a log keeps beside the events of a stream. */
export interface StreamInfo {
  /** The stream id: 128 random bits as base64url, or what the embedder chose. */
  readonly streamId: string;
  /** The name of the one format that the stream is written in. */
  readonly format: string;
  /** Response headers of the format, beside those of every event stream. */
  readonly headers: Readonly<Record<string, string>>;
  /** The owner of the stream; for every other owner the stream does not exist. */
  readonly owner: string | undefined;
  /** The id of the chat that the stream belongs to, if any. */
  readonly chatId: string | undefined;
  /** The name that the stream's client has given it, if any, in the process that makes it. */
  readonly run?: Run | undefined;
}

/** What one reader gets beside the events of the log, in the format of the stream. */
export interface ReaderFrames {
  /** A sign of life after a silence; `lastEvent` is the number of the last event that the reader has. */
  heartbeat(lastEvent: number): Uint8Array;
  /**
   * A failure that ends one reader and not the generation; `undefined` if the format cannot write it.
   *
   * @param isFinal Whether it ends the stream, after its event number `lastEvent`, because its
   * producer is lost.
   */
  fail(error: StreamError, lastEvent: number, isFinal: boolean): Uint8Array | undefined;
  /** Called when the reader was dropped because it took nothing: its connection may still be open. */
  closeSoon?(): void;
}

/** How a generation is recorded. */
export interface RecordOptions {
  /** How far the source may run ahead of the fastest reader, in bytes. */
  readonly highWaterMark: number;
  /** How long the generation goes on without a reader, in ms; `Infinity` is to its end. */
  readonly continueForMs: number;
  /** Whether the source never waits for a reader while there is none. */
  readonly isBackground?: boolean;
  /** The format that the generation is written in. */
  readonly format: Format;
  /** Is told once, when the generation has ended. */
  readonly owner: { onEnd(): void };
}

/** The reader of a log, as the log calls it. */
export interface Follower {
  /** Called when events wait, or the end has come: the reader may take them at once. Must not throw. */
  run(): void;
}

/** The byte producer that a log serves one reader from. */
export interface Followed extends ByteProducer {
  /** Ends this reader, and not the generation, with a failure after what waits for it. */
  drop(error: StreamError): void;
}

/** A stream that a log holds. */
export interface LoggedStream {
  readonly info: StreamInfo;
  /** The format of `info`, if this process has recorded streams in it. */
  readonly format: Format | undefined;
  /** Number of the first event that is still held; one past the last where none is. */
  readonly firstEvent: number;
  /** Number of the last event so far; 0 where there is none. */
  readonly lastEvent: number;
  /**
   * Number of the first event that belongs to the end; `undefined` while the stream may go on, and
   * if it is lost.
   */
  readonly endEvent: number | undefined;
  /** Whether nothing was written and no client got a response: it may fail with a status of its own. */
  readonly isStarting?: boolean;
  /** Whether another process makes the stream. */
  readonly isRemote?: boolean;
  /**
   * Whether the stream ended because its producer was lost: `lastEvent` is its last one, and readers
   * may have come further.
   */
  readonly isLost?: boolean;
  /**
   * Whether the log lacks what comes after event number `after`, and has later ones: a gap that an
   * earlier reader has met, and that is still there.
   *
   * @throws Whatever the store rejects with.
   */
  hasGap?(after: number): Promise<boolean>;
  /** Follows the stream after event number `after`. Ends when the reader leaves or has everything. */
  follow(after: number, reader: Follower, frames: ReaderFrames): Followed;
  /** Ends the generation, wherever it runs: what is queued is delivered, then the normal end. */
  stop(reason?: string): Promise<void>;
}

/** A stream that is being recorded. */
export interface Recorder extends LoggedStream, Sink {
  /** Records `generation` and starts it. */
  start(generation: Generation): void;
  /** Forgets a stream whose generation was never made. */
  discard(): void;
  /** Ends the generation with a failure that is logged. */
  shutDown(error: StreamError): void;
}

/** A log of events. */
export interface EventLog {
  /**
   * Begins the recording of a new stream.
   *
   * @throws {StreamError} `log_full` (503) where there is no room; `stream_exists` (409) where the
   * stream id is taken.
   */
  record(info: StreamInfo, options: RecordOptions): Recorder;
  /**
   * Finds a stream by its id. The caller has to check its owner.
   *
   * @throws {StreamError} `log_unavailable` (503) while the log cannot be reached.
   */
  find(streamId: string): Promise<LoggedStream | undefined>;
  /** Finds the latest stream of a chat of that owner. */
  latest(owner: string | undefined, chatId: string): Promise<LoggedStream | undefined>;
}
