/**
 * `sse()`: a request and a source in, a streaming response out. Separate from the handler so that
 * any framework can embed it.
 */
import { problemOf, publicError, report, StreamError } from "../error.ts";
import type { Format, FormatContext } from "../formats/format.ts";
import { jsonFormat, textFormat } from "../formats/events.ts";
import { ndjsonFormat } from "../formats/ndjson.ts";
import { plainFormat } from "../formats/plain.ts";
import { Generation, type GenerationInit, type GenerationOptions } from "../pipeline/generation.ts";
import { release, type Source } from "../pipeline/pump.ts";
import { checkLimits } from "../pipeline/queue.ts";
import type { Recorder, ReplayLog } from "./replay_log.ts";
import { EventWriter } from "../sse/encode.ts";
import { type Opened, type ReaderOptions, TokenStream } from "../pipeline/stream.ts";
import { createStreamId as newStreamId } from "../stream_id.ts";
import { negotiate } from "./negotiate.ts";
import { problemResponse, streamHeaders } from "./response.ts";
import { type OpenStream, resumed, type StreamObserver } from "./resume.ts";

const FORMATS: Readonly<Record<string, Format>> = {
  json: jsonFormat,
  text: textFormat,
  ndjson: ndjsonFormat,
  plain: plainFormat,
};
/** Formats in the order in which a tie of `Accept` is decided. */
const NEGOTIATED = [jsonFormat, ndjsonFormat, plainFormat];

/** What happens to a logged generation when its last client disconnects. */
export type Disconnect = "cancel" | "continue" | { continueForMs: number };

/** Options of {@linkcode sse}. */
export interface SseOptions extends ReaderOptions, GenerationOptions {
  /** The format of the stream. @default {`?format=`, else what `Accept` likes best, else `json`} */
  format?: "json" | "text" | "plain" | "ndjson" | Format;
  /** Further response headers; they may not replace `content-type`. */
  headers?: HeadersInit;
  /**
   * The log that makes event streams resumable: their events get ids and are kept there. Other
   * formats are not logged.
   */
  log?: ReplayLog;
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

/** What the handler adds to a stream of its own. */
export interface StreamExtras extends StreamObserver {
  input?: unknown;
}

/**
 * Streams `source` to the client that sent `request`.
 *
 * The response commits (200 and its headers) with the first item, or after `commitAfterMs` of
 * silence. A failure before that is an error response with its own status and a problem body (RFC
 * 9457); a later failure is sent in the stream.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sse } from "spillway";
 *
 * const request = new Request("http://localhost/", { headers: { accept: "text/plain" } });
 * const response = await sse(request, async function* () {
 *   yield "Hel";
 *   yield "lo";
 * });
 * assert(await response.text() === "Hello");
 * ```
 *
 * @throws {RangeError} If an option is out of its bounds.
 * @throws {TypeError} If `format` is not one of the names.
 */
export function sse(
  request: Request,
  source: Source<undefined>,
  options: SseOptions = {},
): Promise<Response> {
  return respond(request, source as Source<never>, options);
}

/** Does the same as {@linkcode sse}, with the handler's additions. */
export async function respond(
  request: Request,
  source: Source<never>,
  options: SseOptions,
  extras: StreamExtras = {},
): Promise<Response> {
  checkOptions(options);
  const chosen = choose(request, options.format);
  if (chosen instanceof StreamError) {
    release(source, chosen);
    return problemResponse(chosen, errorHeaders(options));
  }
  const lastEventId = request.headers.get("last-event-id") ?? undefined;
  // A finished generation is not run again for an EventSource that reconnects.
  if (request.method === "GET" && lastEventId !== undefined && FINISHED.test(lastEventId)) {
    release(source, new StreamError("disconnected"));
    return new Response(null, { status: 204, headers: errorHeaders(options) });
  }
  if (options.log !== undefined && lastEventId !== undefined) {
    release(source, new StreamError("disconnected"));
    try {
      // The names in the options are those of a new stream.
      const { streamId: _streamId, chatId: _chatId, log, ...reading } = options;
      const headers = errorHeaders(options);
      return await resumed(request, { ...reading, log, format: chosen.name, headers }, extras);
    } catch (error) {
      reportBroken(error, options);
      return problemResponse(error, errorHeaders(options), undefined, chosen.errorBody);
    }
  }
  const headers = headOf(chosen, options);
  if (request.method === "HEAD") {
    release(source, new StreamError("disconnected"));
    return new Response(null, { headers });
  }
  const init = {
    request,
    source,
    format: chosen,
    options,
    input: extras.input,
    lastEventId,
    streamId: options.streamId,
  };
  const isLogged = options.log !== undefined && chosen.heartbeat !== undefined && !chosen.buffered;
  const { errorBody } = chosen;
  function answer(opened: Opened, streamId?: string): Response {
    if (opened instanceof StreamError) {
      return problemResponse(opened, errorHeaders(options), undefined, errorBody);
    }
    return new Response(opened as BodyInit, { headers: named(headers, streamId) });
  }
  return isLogged ? openLogged(init, options, extras, answer) : open(init, options, extras, answer);
}

/** Makes the response; `streamId` is the id under which the client may resume. */
type MakeResponse = (opened: Opened, streamId?: string) => Response;

/** Opens a generation that has this reader alone. */
function open(
  init: GenerationInit,
  options: SseOptions,
  { onOpen, onEnd }: StreamExtras,
  answer: MakeResponse,
): Promise<Response> {
  const { request, format } = init;
  const stream = new TokenStream({
    request,
    options,
    heartbeats: format.heartbeat !== undefined,
    buffered: format.buffered === true,
    onEnd: onEnd && (() => onEnd(openStream)),
  });
  const generation = new Generation(init, stream, false);
  const openStream: OpenStream = {
    shutDown(error) {
      generation.fail(error);
      stream.shutDown();
    },
  };
  onOpen?.(openStream);
  return stream.open(generation, () => generation.start(), answer);
}

/** Opens a generation that is recorded, with this reader as its first. */
async function openLogged(
  init: GenerationInit,
  options: SseOptions,
  { onOpen, onEnd }: StreamExtras,
  answer: MakeResponse,
): Promise<Response> {
  const { request, format } = init;
  const { disconnect = { continueForMs: 10_000 } } = options;
  const streamId = init.streamId ?? newStreamId();
  const stream = new TokenStream({
    request,
    options,
    heartbeats: true,
    buffered: false,
    onEnd: ended,
  });
  let recorder: Recorder | undefined;
  const openStream: OpenStream = {
    shutDown(error) {
      recorder?.shutDown(error);
      stream.shutDown();
    },
  };
  /**
   * What has yet to end: the generation may go on without its reader, and the reader may still have
   * to take what there is.
   */
  let left = 2;
  function ended(): void {
    if (--left === 0) onEnd?.(openStream);
  }
  onOpen?.(openStream);
  try {
    recorder = options.log!.record({
      streamId,
      format: format.name,
      headers: format.headers ?? {},
      owner: options.owner,
      chatId: options.chatId,
    }, {
      highWaterMark: checkLimits(options).highWaterMark,
      continueForMs: disconnect === "cancel"
        ? 0
        : disconnect === "continue"
        ? Infinity
        : disconnect.continueForMs,
      fail: (error, final) =>
        failureOf(format, { request, streamId, lastId: undefined }, error, final),
      onEnd: ended,
    });
  } catch (error) {
    reportBroken(error, options);
    release(init.source, error);
    onEnd?.(openStream);
    return answer(publicError(error));
  }
  const generation = new Generation({ ...init, streamId }, recorder, true);
  const { start } = recorder;
  const producer = recorder.follow(0, stream);
  return await stream.open(
    producer,
    () => start.call(recorder, generation),
    (opened) => answer(opened, streamId),
  );
}

/** Reports a broken log to the operator. A `StreamError` of the log is for the client alone. */
function reportBroken(error: unknown, { onError }: SseOptions): void {
  if (!(error instanceof StreamError)) report(onError, error);
}

/** The bytes with which a format reports a failure that ends one reader and not the generation. */
function failureOf(
  format: Format,
  context: FormatContext,
  error: StreamError,
  final = false,
): Uint8Array<ArrayBuffer> {
  const out = new EventWriter();
  const problem = problemOf(error);
  if (!final) problem.resume = true;
  format.open(context).fail?.(out, problem);
  return out.take();
}

/** The id of the last event of a stream without a log. */
const FINISHED = /^[\w-]{22}\.end$/;

/**
 * Headers for an error response. The embedder's headers are on every response: without its CORS
 * grant a browser could not even read an error.
 */
function errorHeaders(options: SseOptions): Headers {
  const headers = new Headers(options.headers);
  if (options.format === undefined) headers.append("vary", "Accept");
  return headers;
}

function choose(request: Request, format: SseOptions["format"]): Format | StreamError {
  if (typeof format === "object") return format;
  if (format !== undefined) {
    const named = Object.hasOwn(FORMATS, format) ? FORMATS[format] : undefined;
    if (named === undefined) throw new TypeError(`Cannot stream as ${format}: no such format`);
    return named;
  }
  // Parsing a URL costs a microsecond, and most requests have no query.
  const asked = request.url.includes("?")
    ? new URL(request.url).searchParams.get("format") ?? undefined
    : undefined;
  if (asked !== undefined) {
    const named = Object.hasOwn(FORMATS, asked) ? FORMATS[asked] : undefined;
    const detail = `format is one of ${Object.keys(FORMATS).join(", ")}`;
    return named ?? new StreamError("bad_request", { detail });
  }
  const best = negotiate(
    request.headers.get("accept"),
    NEGOTIATED.map(({ mediaTypes }) => mediaTypes),
  );
  return NEGOTIATED[best] ?? new StreamError("not_acceptable");
}

/** The headers of each format, made once: most streams have no others. */
const heads = new WeakMap<Format, Record<string, string>>();

function headOf(format: Format, options: SseOptions): Record<string, string> | Headers {
  let head = heads.get(format);
  if (head === undefined) {
    head = streamHeaders(format.contentType, format.headers);
    heads.set(format, head);
  }
  const negotiated = options.format === undefined;
  if (options.headers === undefined && !negotiated) return head;
  const headers = new Headers(options.headers);
  for (const [name, value] of Object.entries(head)) headers.set(name, value);
  if (negotiated) headers.append("vary", "Accept");
  return headers;
}

/**
 * Adds the id of a stream that can be resumed. Adding it later would take Deno off its fastest path
 * (benchmark case: replay).
 */
function named(
  head: Record<string, string> | Headers,
  streamId: string | undefined,
): HeadersInit {
  if (streamId === undefined) return head;
  if (!(head instanceof Headers)) return { ...head, "x-stream-id": streamId };
  head.set("x-stream-id", streamId);
  return head;
}

/**
 * Checks every stream option.
 *
 * @throws {RangeError} If an option is out of its bounds; the message names it.
 * @throws {TypeError} If an option is of the wrong type.
 */
export function checkOptions(
  options: SseOptions,
  isLogged: boolean = options.log !== undefined,
): void {
  const { heartbeatMs, commitAfterMs, stallMs } = options;
  checkLimits(options);
  for (const name of ["onClose", "onError"] as const) {
    if (options[name] !== undefined && typeof options[name] !== "function") {
      throw new TypeError(`Cannot stream: ${name} is a ${typeof options[name]}, not a function`);
    }
  }
  if (options.headers !== undefined) checkHeaders(new Headers(options.headers));
  checkMs("heartbeatMs", heartbeatMs, 100, 60_000);
  checkMs("stallMs", stallMs, 100, 2 ** 31 - 1);
  checkMs("commitAfterMs", commitAfterMs, 0, 5000);
  checkReplay(options, isLogged);
}

function checkReplay({ streamId, disconnect }: SseOptions, isLogged: boolean): void {
  if (streamId !== undefined && !/^[\w-]{1,128}$/.test(streamId)) {
    throw new TypeError("Cannot stream: streamId is not 1 to 128 of A-Z a-z 0-9 _ -");
  }
  if (disconnect === undefined || disconnect === "cancel") return;
  if (!isLogged) {
    throw new TypeError("Cannot stream: disconnect needs a log to be anything but cancel");
  }
  if (disconnect === "continue") return;
  if (typeof disconnect !== "object" || disconnect === null) {
    throw new TypeError(`Cannot stream: disconnect is ${disconnect}, not cancel or continue`);
  }
  const { continueForMs } = disconnect;
  if (!(continueForMs >= 0 && continueForMs < 2 ** 31)) {
    throw new RangeError(`Cannot stream: continueForMs is ${continueForMs}, not 0 to 2147483647`);
  }
}

/**
 * Headers that belong to one connection, or describe how the body is framed: the runtime sends
 * them.
 */
const NOT_OURS = [
  "connection",
  "content-encoding",
  "content-length",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

function checkHeaders(headers: Headers): void {
  const name = NOT_OURS.find((name) => headers.has(name));
  if (name !== undefined) {
    throw new TypeError(`Cannot stream: the header ${name} is not yours to set`);
  }
}

function checkMs(name: string, value: number | undefined, min: number, max: number): void {
  if (value === undefined || value === 0) return;
  if (typeof value === "number" && value >= min && value <= max) return;
  throw new RangeError(`Cannot stream: ${name} is ${value}, not 0 or ${min} to ${max}`);
}
