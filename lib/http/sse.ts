/**
 * `sse()`: a request and a source in, a streaming response out. Separate from the handler so that
 * any framework can embed it.
 */
import { report, StreamError } from "../error.ts";
import { jsonFormat, textFormat } from "../formats/events.ts";
import type { Format } from "../formats/format.ts";
import { ndjsonFormat } from "../formats/ndjson.ts";
import { plainFormat } from "../formats/plain.ts";
import { Generation, type GenerationInit } from "../pipeline/generation.ts";
import { release, type Source } from "../pipeline/pump.ts";
import { COPYING_RESPONSE } from "../pipeline/scheduler.ts";
import { type Body, type ReaderOptions, TokenStream } from "../pipeline/stream.ts";
import { negotiate } from "./negotiate.ts";
import { type CheckedOptions, checkOptions, type FormatName, type SseOptions } from "./options.ts";
import type { RecordedExtras, Respond, StreamObserver } from "./replay_log.ts";
import { checkRequest } from "./request.ts";
import {
  errorResponse,
  type RespondingRequest,
  RESPONSE,
  settingsOf,
  streamHeaders,
  withFields,
} from "./response.ts";
import { queryParameter } from "./url.ts";

/**
 * The formats that a request may ask for, in the order in which a tie of `Accept` is decided: `text`,
 * whose media type is that of `json`, is had by name alone.
 */
export const FORMATS: Readonly<Record<FormatName, Format>> = {
  json: jsonFormat,
  ndjson: ndjsonFormat,
  plain: plainFormat,
  text: textFormat,
};
/** The id of the last event of a stream without a log. */
const FINISHED = /^[\w-]{1,128}\.end$/;

/** What the handler adds to a stream of its own. */
export interface StreamExtras extends RecordedExtras {
  input?: unknown;
  /** Called with an error that becomes the response. */
  onReject?: (error: unknown) => void;
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
 * @throws {TypeError} If an option is unknown or of the wrong type, or the request is none.
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
  checkRequest("Cannot stream", request);
  let checked: CheckedOptions | undefined;
  let format: Format | undefined;
  try {
    checked = checkOptions(options);
    format = chooseFormat(request, checked.format);
    return await answer(request, source, format, checked, extras);
  } catch (error) {
    if (format === undefined) release(source, error);
    const isPublic = error instanceof StreamError;
    if (checked === undefined || (format === undefined && !isPublic)) throw error;
    // A `StreamError` is for the client alone.
    if (!isPublic) report(checked.onError, error);
    extras.onReject?.(error);
    return errorResponse(error, ownHeaders(checked), format);
  }
}

/** @throws Whatever comes before the response headers. */
function answer(
  request: Request,
  source: Source<never>,
  format: Format,
  options: CheckedOptions,
  extras: StreamExtras,
): Promise<Response> | Response {
  const lastEventId = request.headers.get("last-event-id") ?? undefined;
  if (lastEventId !== undefined) {
    const { log } = options;
    // A finished generation is not run again for an EventSource that reconnects.
    if (request.method === "GET" && FINISHED.test(lastEventId)) {
      release(source);
      return new Response(null, { status: 204, headers: ownHeaders(options) });
    }
    if (log !== undefined) {
      release(source);
      // The names in the options are those of a new stream.
      const { streamId: _streamId, chatId: _chatId, log: _log, ...reading } = options;
      const headers = ownHeaders(options);
      return log.resume(
        request,
        { ...reading, format: format.name, formats: [format], headers },
        extras,
      );
    }
  }
  if (request.method === "HEAD") {
    release(source);
    return new Response(null, { headers: headersOf(format, options) });
  }
  const { input } = extras;
  const { streamId, log } = options;
  const init = { request, source, format, options, input, lastEventId, streamId };
  const { [RESPONSE]: StreamResponse = Response }: RespondingRequest = request;
  const respond = (body: Body, streamId?: string) =>
    new StreamResponse(body as BodyInit, { headers: headersOf(format, options, streamId) });
  if (log !== undefined && isEvents(format)) return log.open(init, options, extras, respond);
  return open(init, options, extras.observer, respond, StreamResponse === COPYING_RESPONSE);
}

/** Opens a generation that has this reader alone. */
function open(
  init: GenerationInit,
  options: SseOptions,
  observer: StreamObserver | undefined,
  respond: Respond,
  copies: boolean,
): Promise<Response> {
  const { request, format: { heartbeat, buffered } } = init;
  let reading: ReaderOptions = options;
  if (!heartbeat) reading = { ...reading, heartbeatMs: 0 };
  if (buffered) reading = { ...reading, commitAfterMs: Infinity };
  const stream = new TokenStream({ request, options: reading, copies, owner: observer });
  const generation = new Generation(init, stream);
  try {
    observer?.onOpen?.(stream);
  } catch (error) {
    release(init.source, error);
    throw error;
  }
  return stream.open(generation, () => generation.start(), respond);
}

/**
 * The embedder's headers, which are on every response: without its CORS grant a browser could not
 * even read an error.
 */
function ownHeaders(options: SseOptions): Headers {
  const headers = new Headers(options.headers);
  if (!options.format) headers.append("vary", "Accept");
  return headers;
}

/**
 * The format that the options or the request ask for.
 *
 * @throws {StreamError} If the request asks for none that can be sent.
 * @throws {TypeError} If the option names none.
 */
export function chooseFormat(request: Request, format: SseOptions["format"]): Format {
  if (typeof format === "object") return format;
  const name = format ?? queryParameter(request, "format");
  if (name !== null) {
    if (Object.hasOwn(FORMATS, name)) return FORMATS[name as FormatName];
    const detail = `format is one of ${Object.keys(FORMATS).join(", ")}`;
    if (format !== undefined) throw new TypeError(`Cannot stream as ${name}: ${detail}`);
    throw new StreamError("bad_request", { detail });
  }
  const formats = Object.values(FORMATS);
  const best = negotiate(
    request.headers.get("accept"),
    formats.map(({ mediaTypes = [] }) => mediaTypes),
  );
  if (best < 0) throw new StreamError("not_acceptable");
  return formats[best]!;
}

/** Whether a format is sent as an event stream, which a log keeps, and not as text or one document. */
export function isEvents({ heartbeat, buffered }: Format): boolean {
  return heartbeat !== undefined && !buffered;
}

/**
 * The headers of a stream, with its id if it can be resumed. All of them are there before the response
 * is made: adding one later would take Deno off its fastest path (benchmark case: replay).
 */
function headersOf(
  format: Format,
  options: SseOptions,
  streamId?: string,
): Record<string, string> | Headers {
  const head = streamHeaders(
    format.contentType,
    format.headers,
    isEvents(format) ? settingsOf(options, options.log && format) : undefined,
    streamId,
  );
  if (options.headers === undefined && options.format !== undefined) return head;
  return withFields(ownHeaders(options), head);
}
