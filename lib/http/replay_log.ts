/**
 * What a replay log is to the rest: the small interface between generations that are recorded and
 * readers that come, go and come back. It stands apart from its implementations so that one process
 * and many machines look alike from outside.
 */
import type { StreamError } from "../error.ts";
import type { ByteProducer, Generation, Sink } from "../pipeline/generation.ts";

/** What a log keeps beside the events of a stream. */
export interface StreamInfo {
  /** Its name: 128 random bits as base64url, or what the embedder chose. */
  readonly streamId: string;
  /** The name of the one format that it is written in. */
  readonly format: string;
  /** Response headers that the format wants beside those of every event stream. */
  readonly headers: Readonly<Record<string, string>>;
  /** Whom it belongs to; nobody else is told that it exists. */
  readonly owner: string | undefined;
  /** The chat that it answers, where there is one. */
  readonly chatId: string | undefined;
}

/** How a generation is recorded. */
export interface RecordOptions {
  /** How far the source may run ahead of the fastest reader, in bytes. */
  readonly highWaterMark: number;
  /** How long the generation goes on without a reader, in ms; `Infinity` is to its end. */
  readonly continueForMs: number;
  /**
   * A failure as its format tells it, without an id: one that ends a reader and not the generation, or
   * with `final` one that ends both.
   */
  readonly fail: (error: StreamError, final?: boolean) => Uint8Array<ArrayBuffer>;
  /** Called once, when the generation has ended. */
  readonly onEnd: () => void;
}

/** A reader of a log. */
export interface Follower {
  /** Something waits, or the end has come: the reader may take it at once. Must not throw. */
  run(): void;
}

/** What a reader of a log is served from. */
export interface Followed extends ByteProducer {
  /** Ends the reader alone, where the generation is another process's and goes on without this one. */
  drop?(error: StreamError): void;
}

/** A stream that a log holds. */
export interface LoggedStream {
  readonly info: StreamInfo;
  /** The first event that is still held; one past the last where none is. */
  readonly firstEvent: number;
  /** The last event so far; 0 where there is none. */
  readonly lastEvent: number;
  /** From where the events say how the stream ended; `undefined` while it may go on. */
  readonly endEvent: number | undefined;
  /** Whether it has ended because the process that made it is gone: readers may have come further than the log. */
  readonly isLost?: boolean;
  /** What comes after event number `after`, from now on. Ends when the reader leaves or has all. */
  follow(after: number, reader: Follower): Followed;
  /** Ends the generation, wherever it runs: what is queued is delivered, then the normal end. */
  stop(reason?: string): Promise<void>;
}

/** A generation that is written down. */
export interface Recorder extends LoggedStream, Sink {
  /** Records `generation`, which then starts. */
  start(generation: Generation): void;
  /** Ends the generation with a failure that is logged. */
  shutDown(error: StreamError): void;
}

/** Keeps the events of streams for a while, so that a reader who lost the connection loses nothing else. */
export interface ReplayLog {
  /**
   * Takes up a new stream.
   *
   * @throws {StreamError} `log_full` (503) where there is no room; `stream_exists` (409) where the name is taken.
   */
  record(info: StreamInfo, options: RecordOptions): Recorder;
  /**
   * The stream of that name, if it is known. Whose it is, is for the caller to ask.
   *
   * @throws {StreamError} `log_unavailable` (503) where that cannot be known for now.
   */
  find(streamId: string): Promise<LoggedStream | undefined>;
  /** The latest stream of a chat of that owner. */
  latest(owner: string | undefined, chatId: string): Promise<LoggedStream | undefined>;
  /** Whether all of it works; with a `degraded` one what needs another machine may have to wait. */
  health?(): "ok" | "degraded";
  /** Waits until all that was recorded is kept where it survives this process, `timeoutMs` at most. Answers whether it is. */
  flush?(options?: { timeoutMs?: number }): Promise<boolean>;
}
