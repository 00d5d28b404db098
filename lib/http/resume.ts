/**
 * `resume()` and `stop()`: replay from a log for returning clients. Separate from the handler so
 * that any framework can embed replay.
 */
import { StreamError } from "../error.ts";
import type { Followed, LoggedStream, ReplayLog } from "./replay_log.ts";
import { type ReaderOptions, TokenStream } from "../pipeline/stream.ts";
import { negotiate } from "./negotiate.ts";
import { EVENT_STREAM_TYPE, problemResponse, streamHeaders } from "./response.ts";

/** Options of {@linkcode resume}. */
export interface ResumeOptions extends ReaderOptions {
  /** The log in which the stream was recorded. */
  log: ReplayLog;
  /** The stream id. @default {the one in `Last-Event-ID`} */
  streamId?: string;
  /**
   * A chat id in place of a stream id: the chat's latest stream, from its start; 204 if none is
   * going on, 410 if its start is held no longer.
   */
  chatId?: string;
  /** The owner who asks; another owner's stream is 404, like one that never existed. */
  owner?: string;
  /** The format that is wanted; another one is 406. @default {the one that it was recorded in} */
  format?: string;
  /** Further response headers. */
  headers?: HeadersInit;
}

/** An open stream that can be ended from outside. */
export interface OpenStream {
  /** Ends the stream with a failure that its clients get. */
  shutDown(error: StreamError): void;
}

/** Callbacks with which the handler observes the streams that it opens. */
export interface StreamObserver {
  /** Called when a generation begins, or a reader joins one. If it throws, neither happens. */
  onOpen?: (openStream: OpenStream) => void;
  /** Called when the generation or the reader has ended. */
  onEnd?: (openStream: OpenStream) => void;
}

/**
 * A position: a stream id, a dot, the number of the last event that the client has, and `.lost` if
 * that event reported the stream's loss.
 */
const POSITION = /^([\w-]{1,128})\.(\d{1,15})(\.lost)?$/;

/**
 * Resumes a recorded stream after the position in `Last-Event-ID`, else in `?lastEventId=`; without
 * one from the start.
 *
 * If the client has read the stream to its end: 204 on GET, which tells an `EventSource` to stop,
 * else the end once more. Malformed, or past the end: 400. Unknown, forgotten, or another owner's:
 * 404. In another format: 406. No longer held: 410.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { MemoryLog, resume, sse } from "spillway";
 *
 * const log = new MemoryLog();
 * const response = await sse(new Request("http://localhost/"), ["Hel", "lo"], { log, format: "text" });
 * await response.text();
 * const id = response.headers.get("x-stream-id");
 * const again = new Request("http://localhost/", { headers: { "last-event-id": `${id}.1` } });
 * assert((await (await resume(again, { log })).text()).includes("data: lo"));
 * ```
 */
export async function resume(
  request: Request,
  options: ResumeOptions,
  observer: StreamObserver = {},
): Promise<Response> {
  try {
    return await resumed(request, options, observer);
  } catch (error) {
    if (!(error instanceof StreamError)) throw error;
    return problemResponse(error, options.headers);
  }
}

/** Options of {@linkcode stop}. */
export interface StopOptions {
  /** The log in which the stream was recorded. */
  log: ReplayLog;
  streamId: string;
  /** The owner who asks; another owner's stream is not stopped. */
  owner?: string;
  /** The reason, for the source's `signal.reason`. */
  reason?: string;
}

/**
 * Ends a generation, whatever number of clients it has and wherever it runs: what is queued is
 * delivered, then every client gets the normal end of its format.
 *
 * @returns Whether there is such a stream; also `true` where it had ended.
 */
export async function stop({ log, streamId, owner, reason }: StopOptions): Promise<boolean> {
  const logged = await log.find(streamId);
  if (logged === undefined || logged.info.owner !== owner) return false;
  await logged.stop(reason);
  return true;
}

/**
 * Does the same as {@linkcode resume}, but throws instead of making an error response.
 *
 * @throws {StreamError} If nothing can be resumed.
 */
export async function resumed(
  request: Request,
  options: ResumeOptions,
  observer: StreamObserver = {},
): Promise<Response> {
  const { log, owner, chatId } = options;
  if (chatId !== undefined) {
    const logged = await log.latest(owner, chatId);
    const isLive = logged !== undefined && logged.endEvent === undefined;
    if (!isLive) return nothing(options);
    if (logged.firstEvent > 1) throw new StreamError("gone");
    return replay(request, logged, 0, options, observer);
  }
  const position = positionOf(request);
  const streamId = options.streamId ?? position?.streamId;
  if (streamId === undefined) {
    throw new StreamError("bad_request", { detail: "Last-Event-ID is missing" });
  }
  if (position !== undefined && position.streamId !== streamId) {
    throw new StreamError("bad_request", { detail: "Last-Event-ID is of another stream" });
  }
  const logged = await log.find(streamId);
  if (logged === undefined || logged.info.owner !== owner) throw new StreamError("not_found");
  checkFormat(request, logged, options.format);
  const { firstEvent, lastEvent, endEvent } = logged;
  let after = position?.event ?? 0;
  if (endEvent !== undefined && logged.isLost && position?.toldOfLoss !== true) {
    // Its client may have come further than the log, and gets the failure wherever it is.
    after = Math.min(after, endEvent - 1);
  } else if (endEvent !== undefined && after >= lastEvent) {
    if (after > lastEvent) {
      throw new StreamError("bad_request", { detail: "Last-Event-ID is past the end" });
    }
    // A 204 would send a client that POSTs into a loop: it gets the end once more.
    if (request.method === "GET" || request.method === "HEAD") return nothing(options);
    after = endEvent - 1;
  }
  if (after + 1 < firstEvent) throw new StreamError("gone");
  return replay(request, logged, after, options, observer);
}

function nothing({ headers }: ResumeOptions): Response {
  return new Response(null, { status: 204, ...headers === undefined ? {} : { headers } });
}

function positionOf(
  request: Request,
): { streamId: string; event: number; toldOfLoss: boolean } | undefined {
  const text = request.headers.get("last-event-id") ??
    (request.url.includes("?") ? new URL(request.url).searchParams.get("lastEventId") : null);
  if (text === null) return undefined;
  const [, streamId, event, lost] = POSITION.exec(text) ?? [];
  if (streamId === undefined) {
    throw new StreamError("bad_request", { detail: "Last-Event-ID is malformed" });
  }
  return { streamId, event: Number(event), toldOfLoss: lost !== undefined };
}

function checkFormat(request: Request, { info }: LoggedStream, wanted: string | undefined): void {
  const asked = wanted ??
    (request.url.includes("?") ? new URL(request.url).searchParams.get("format") : null);
  const accept = request.headers.get("accept");
  const fits = asked === null || asked === info.format;
  if (fits && (wanted !== undefined || negotiate(accept, [["text/event-stream"]]) === 0)) return;
  throw new StreamError("not_acceptable", { detail: `The stream is recorded as ${info.format}` });
}

/** Serves what a log holds of a stream, after event number `after`. */
async function replay(
  request: Request,
  logged: LoggedStream,
  after: number,
  options: ResumeOptions,
  { onOpen, onEnd }: StreamObserver,
): Promise<Response> {
  const headers = new Headers(options.headers);
  const { info } = logged;
  for (const [name, value] of Object.entries(streamHeaders(EVENT_STREAM_TYPE, info.headers))) {
    headers.set(name, value);
  }
  headers.set("x-stream-id", info.streamId);
  if (request.method === "HEAD") return new Response(null, { headers });
  const stream = new TokenStream({
    request,
    options: { ...options, commitAfterMs: 0 },
    heartbeats: true,
    buffered: false,
    onEnd: onEnd && (() => onEnd(openStream)),
  });
  let followed: Followed | undefined = undefined;
  const openStream: OpenStream = {
    shutDown(error) {
      followed?.drop?.(error);
      stream.shutDown();
    },
  };
  onOpen?.(openStream);
  followed = logged.follow(after, stream);
  return await stream.open(
    followed,
    () => {},
    (opened) =>
      opened instanceof StreamError
        ? problemResponse(opened, options.headers)
        : new Response(opened as BodyInit, { headers }),
  );
}
