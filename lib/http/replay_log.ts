/**
 * A replay log, as a stream sees it. It is what `MemoryLog` and `SharedLog` are, and nothing that a
 * user implements: an `EventStore` is.
 */
import type { StreamError } from "../error.ts";
import type { Format } from "../formats/format.ts";
import type { GenerationInit, GenerationOptions } from "../pipeline/generation.ts";
import type { Body, ReaderOptions } from "../pipeline/stream.ts";
import type { HeaderFields } from "./response.ts";

/** What happens to a logged generation when its last client disconnects. */
export type Disconnect = "cancel" | "continue" | { continueForMs: number };

/** Options of a stream that is recorded. */
export interface LoggedOptions {
  /**
   * The stream's name in the log, 1 to 128 of `A-Z a-z 0-9 _ -`. Whoever knows it can ask for the
   * stream. @default {128 random bits}
   */
  streamId?: string;
  /** The owner of a logged stream; only the owner can resume or stop it. */
  owner?: string;
  /** The chat that a logged stream belongs to; {@linkcode resume} finds the stream by it. */
  chatId?: string;
  /**
   * What happens when the last client disconnects: the generation is cancelled, goes on to its end,
   * or goes on for so many ms (0 to 2 147 483 647). Without a log it is cancelled.
   * @default {{ continueForMs: 10_000 }}
   */
  disconnect?: Disconnect;
}

/** What a client that comes back asks for. */
export interface ResumeRequest extends ReaderOptions {
  /** The stream id. @default {the one in `Last-Event-ID`} */
  streamId?: string;
  /**
   * A chat id in place of a stream id: the chat's latest stream, from its start; 204 if none is
   * going on, 410 if its start is held no longer.
   */
  chatId?: string;
  /** The owner who asks; another owner's stream is 404, like one that never existed. */
  owner?: string;
  /** The name of the format that is wanted; another one is 406. @default {the one that it was recorded in} */
  format?: string;
  /**
   * Formats that a stream of another process may be recorded in, besides `json` and `text`; a stream
   * in a format that is unknown here is 406.
   */
  formats?: readonly Format[];
  /** Further response headers. */
  headers?: HeaderFields;
}

/** A request that names the generation that it begins. */
export interface RunRequest {
  /** Whose name it is; another owner's is another. */
  readonly owner: string | undefined;
  /** The name. */
  readonly runId: string;
  /** What tells the request from others: of its body. */
  readonly digest: string;
  /** How long a generation of that name that another process makes may be waited for. */
  readonly commitAfterMs: number;
}

/** A name that was checked, as logs keep it. */
export interface Run {
  /** The name and its owner. */
  readonly key: string;
  readonly digest: string;
}

/** Which stream a name is, or is to be. */
export interface RunClaim {
  readonly streamId: string;
  /** Set if there is no such stream yet: the caller begins it with this, and then calls `settle`. */
  readonly run: Run | undefined;
  /** Frees the name if no stream was begun. Returns whether it did. */
  settle(): boolean;
}

/** Which generation is to be stopped. */
export interface StopRequest {
  /** The stream id of the generation. */
  streamId: string;
  /** The owner who asks; another owner's stream is not stopped. */
  owner?: string;
  /** The reason, for the source's `signal.reason`. */
  reason?: string;
}

/** What a log holds in the memory of this process. */
export interface LogUsage {
  /** Number of streams. */
  streams: number;
  /** Number of events of these streams. */
  events: number;
  /** Bytes of memory of these streams. */
  bytes: number;
}

/** An open stream that can be ended from outside. */
export interface OpenStream {
  /** Ends the stream with a failure that its clients get. */
  shutDown(error: StreamError): void;
}

/** What the handler is told of a stream that it opens. */
export interface StreamObserver {
  /** Called when a generation begins, or a reader joins one. If it throws, neither happens. */
  onOpen?(openStream: OpenStream): void;
  /** Called when the generation or the reader has ended. */
  onEnd?(openStream: OpenStream): void;
}

/** What the handler adds to a stream that is recorded. */
export interface RecordedExtras {
  /** Is told when the stream opens and ends. */
  observer?: StreamObserver;
  /** The name that the client has given it. */
  run?: Run;
  /**
   * Whether the generation runs to its end without readers, whatever `disconnect` says. It does not wait
   * for any: past the limits of the log its oldest events are dropped.
   */
  isBackground?: boolean;
}

/** What the handler adds to a request of a client that comes back. */
export interface ResumeExtras {
  /** Is told when the reader joins and ends. */
  observer?: StreamObserver;
  /**
   * Number of the last event that the client has, in place of an event id. A client that has read a
   * stream to its end, or further, gets the last event once more.
   */
  after?: number;
}

/** How far a recorded stream is. */
export interface StreamState {
  /** The name of its format. */
  readonly format: string;
  /** Number of the first event that is held. */
  readonly firstEvent: number;
  /** Number of the last event so far; 0 where there is none. */
  readonly lastEvent: number;
  /** Whether it goes on, has ended, or has lost its producer. */
  readonly phase: "live" | "ended" | "lost";
}

/** Makes the response of a body; `streamId` is the stream that the client may come back to. */
export type Respond = (body: Body, streamId?: string) => Response;

/**
 * Keeps the events of streams for a while, so that a client that lost its connection loses nothing
 * else.
 */
export interface ReplayLog {
  /**
   * Checks the options of a stream that is to be recorded.
   *
   * @throws {RangeError} If one is out of its bounds.
   * @throws {TypeError} If one is of the wrong type.
   */
  check(options: LoggedOptions): void;
  /**
   * Starts a generation that is recorded, and serves it to its first client.
   *
   * @throws {StreamError} `log_full` (503) where there is no room; `stream_exists` (409) where the
   * stream id is taken; whatever came before the first item.
   *
   * @internal
   */
  open(
    init: GenerationInit,
    options: ReaderOptions & GenerationOptions & LoggedOptions,
    extras: RecordedExtras,
    respond: Respond,
  ): Promise<Response>;
  /**
   * Serves a stream to a client that comes back.
   *
   * @throws {StreamError} If nothing can be resumed.
   *
   * @internal
   */
  resume(request: Request, options: ResumeRequest, extras: ResumeExtras): Promise<Response>;
  /**
   * Finds out how far a stream of that owner is; `undefined` if there is none.
   *
   * @throws {StreamError} `log_unavailable` (503) while the log cannot be reached.
   *
   * @internal
   */
  look(streamId: string, owner: string | undefined): Promise<StreamState | undefined>;
  /**
   * Stops a stream of that owner and drops what is held of it. Resolves to whether there was one.
   *
   * @throws {StreamError} `log_unavailable` (503) while the log cannot be reached.
   *
   * @internal
   */
  forget(streamId: string, owner: string | undefined): Promise<boolean>;
  /**
   * Finds the stream of a name, or takes the name for a new one. Waits while another request has taken
   * it and has not begun its stream.
   *
   * @throws {StreamError} `stream_exists` (409) if the name is that of another request.
   *
   * @internal
   */
  claim(request: RunRequest): Promise<RunClaim>;
  /**
   * Finds the id of the stream of a name.
   *
   * @internal
   */
  named(owner: string | undefined, runId: string): Promise<string | undefined>;
  /** Ends a generation, wherever it runs. Resolves to whether there is such a stream. */
  stop(options: StopRequest): Promise<boolean>;
  /**
   * Whether all parts of the log work. While it is `degraded`, what needs another machine may have
   * to wait.
   */
  health?(): "ok" | "degraded";
  /** What the log holds in the memory of this process. */
  usage?(): LogUsage;
  /**
   * Waits until all that was recorded is kept where it survives this process, at most `timeoutMs`.
   * Resolves to whether it is.
   */
  flush?(options?: { timeoutMs?: number }): Promise<boolean>;
}
