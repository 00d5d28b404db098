/** Responses that are not streams, made in one place so that each of them has all its headers. */
import { type Problem, problemOf, publicError } from "../error.ts";
import type { Format } from "../formats/format.ts";
import type { ReaderOptions } from "../pipeline/stream.ts";

/** What `new Headers` takes. It has its name in the DOM's types alone, which a server may not load. */
export type HeaderFields = NonNullable<ConstructorParameters<typeof Headers>[0]>;

/** What `new Response` takes as its body; likewise. */
export type ResponseBody = NonNullable<ConstructorParameters<typeof Response>[0]>;

/**
 * An error as a response, with the status of its code. The only way from one to the other.
 *
 * @param format Writes it as a model API does; without that, or if it throws, it is an RFC 9457 problem.
 * @param errors Faults of the input.
 */
export function errorResponse(
  error: unknown,
  init: HeaderFields = {},
  format: Pick<Format, "errorBody"> = {},
  errors?: Problem["errors"],
): Response {
  const problem = problemOf(error);
  const { retryAfter } = publicError(error);
  if (errors !== undefined) problem.errors = errors;
  let body: string | undefined;
  try {
    body = format.errorBody?.(problem);
  } catch {
    // The problem tells as much.
  }
  const headers = new Headers(init);
  const type = body === undefined ? "application/problem+json" : "application/json";
  withFields(headers, uncached(type));
  if (problem.status === 401) headers.set("www-authenticate", "Bearer");
  if (retryAfter !== undefined) headers.set("retry-after", String(Math.ceil(retryAfter)));
  return new Response(body ?? JSON.stringify(problem), { status: problem.status, headers });
}

/** Sets all of the fields in `headers`, and returns those. */
export function withFields(headers: Headers, fields: Readonly<Record<string, string>>): Headers {
  for (const name in fields) headers.set(name, fields[name]!);
  return headers;
}

/** A JSON document that must not be cached. */
export function jsonResponse(value: unknown, status = 200): Response {
  return new Response(JSON.stringify(value), {
    status,
    headers: uncached("application/json"),
  });
}

/** The headers of a body that must not be cached. */
function uncached(contentType: string): Record<string, string> {
  return {
    "content-type": contentType,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  };
}

/**
 * Where a request has a class of its own for the response to its stream: on Node a `Response` with a
 * body costs as much as 50 tokens (benchmark case: burst).
 */
export const RESPONSE: unique symbol = Symbol();

/** A request that may have such a class. */
export interface RespondingRequest extends Request {
  readonly [RESPONSE]?: new (
    body: ResponseBody,
    init: { headers: Record<string, string> | Headers },
  ) => Response;
}

/** The media type of every event stream. */
export const EVENT_STREAM_TYPE = "text/event-stream; charset=utf-8";

/**
 * The headers of a stream: no proxy may cache, compress or buffer it. `incremental` is the standard's
 * way to say so (RFC 10036), `x-accel-buffering` the one that nginx knows.
 *
 * @param settings What {@linkcode settingsOf} says of an event stream.
 * @param streamId The id of a stream that can be resumed.
 */
export function streamHeaders(
  contentType: string,
  further?: Readonly<Record<string, string>>,
  settings?: string,
  streamId?: string,
): Record<string, string> {
  return {
    ...further,
    "content-type": contentType,
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    "incremental": "?1",
    "x-content-type-options": "nosniff",
    ...settings && { "x-stream-settings": settings },
    ...streamId && { "x-stream-id": streamId },
  };
}

/**
 * The times of an event stream, in ms, so that its client needs no constants: after how much silence
 * there is a heartbeat (0 is never), and what the stream says in `retry:`, if it does.
 */
export function settingsOf(
  { heartbeatMs = 5000 }: ReaderOptions,
  { retryMs }: Pick<Format, "retryMs"> = {},
): string {
  const heartbeat = `heartbeat=${heartbeatMs}`;
  return retryMs ? `${heartbeat}, retry=${retryMs}` : heartbeat;
}
