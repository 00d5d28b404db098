/**
 * `sse()`: a request and a source in, a streaming response out. It stands apart from the handler so
 * that any framework can embed it.
 */
import { StreamError } from "../error.ts";
import type { Format } from "../format.ts";
import { jsonFormat, textFormat } from "../formats/events.ts";
import { ndjsonFormat } from "../formats/ndjson.ts";
import { plainFormat } from "../formats/plain.ts";
import { release, type Source } from "../pump.ts";
import { checkLimits } from "../queue.ts";
import { type StreamOptions, TokenStream } from "../stream.ts";
import { negotiate } from "./request.ts";
import { problemResponse } from "./response.ts";

const FORMATS: Readonly<Record<string, Format>> = {
  json: jsonFormat,
  text: textFormat,
  ndjson: ndjsonFormat,
  plain: plainFormat,
};
/** In the order in which a tie is decided. */
const NEGOTIATED = [jsonFormat, ndjsonFormat, plainFormat];

/** Options of {@linkcode sse}. */
export interface SseOptions extends StreamOptions {
  /** How the stream is written. @default {`?format=`, else what `Accept` likes best, else `json`} */
  format?: "json" | "text" | "plain" | "ndjson" | Format;
  /** Further response headers; they may not replace `content-type`. */
  headers?: HeadersInit;
}

/** What the handler adds to a stream of its own. */
export interface StreamExtras {
  input?: unknown;
  onOpen?: (stream: TokenStream) => void;
  onEnd?: (stream: TokenStream) => void;
}

/**
 * Streams `source` to whoever sent `request`.
 *
 * The answer commits (200 and its head) with the first item, or after `commitAfterMs` of silence.
 * What fails before that is a response with a status of its own and a problem body (RFC 9457); what
 * fails later is told in the stream.
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

/** {@linkcode sse}, with what only the handler knows. */
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
    return problemResponse(chosen, refusedHead(options));
  }
  const lastEventId = request.headers.get("last-event-id") ?? undefined;
  // A finished generation is not run again for an EventSource that comes back for more.
  if (request.method === "GET" && lastEventId !== undefined && FINISHED.test(lastEventId)) {
    release(source, new StreamError("disconnected"));
    return new Response(null, { status: 204, headers: refusedHead(options) });
  }
  const headers = headOf(chosen, options);
  if (request.method === "HEAD") {
    release(source, new StreamError("disconnected"));
    return new Response(null, { headers });
  }
  const stream = new TokenStream({
    request,
    source,
    format: chosen,
    options,
    input: extras.input,
    lastEventId,
    onEnd: extras.onEnd,
  });
  extras.onOpen?.(stream);
  const opened = await stream.open();
  if (opened instanceof StreamError) {
    return problemResponse(opened, refusedHead(options), undefined, chosen.refuse);
  }
  return new Response(opened, { headers });
}

/** The id of a last event without a log. */
const FINISHED = /^[\w-]{22}\.end$/;

/** The embedder's headers are on every answer: without its grant a browser cannot even read a refusal. */
function refusedHead(options: SseOptions): Headers {
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

/** The headers of a format, made once: most streams have no others. */
const heads = new WeakMap<Format, Record<string, string>>();

function headOf(format: Format, options: SseOptions): HeadersInit {
  let head = heads.get(format);
  if (head === undefined) {
    head = {
      "content-type": format.contentType,
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
      "x-content-type-options": "nosniff",
    };
    for (const [name, value] of Object.entries(format.headers ?? {})) head[name] ??= value;
    heads.set(format, head);
  }
  const negotiated = options.format === undefined;
  if (options.headers === undefined && !negotiated) return head;
  const headers = new Headers(options.headers);
  for (const [name, value] of Object.entries(head)) headers.set(name, value);
  if (negotiated) headers.append("vary", "Accept");
  return headers;
}

/** Every stream option in its bounds, or a RangeError that names it. */
export function checkOptions(options: SseOptions): void {
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
}

/** What belongs to one connection, or says how the body is framed, is the runtime's to send. */
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
