/** Responses that are not streams, made in one place so that each of them has all its headers. */
import { type Problem, problemOf, publicError } from "../error.ts";

/** How an error is written. */
export interface ErrorResponseOptions {
  /** Faults of the input. */
  readonly errors?: Problem["errors"] | undefined;
  /** Writes the error as a model API does; without it, it is an RFC 9457 problem. */
  readonly errorBody?: ((problem: Problem) => string) | undefined;
}

/** An error as a response, with the status of its code. The only way from one to the other. */
export function errorResponse(
  error: unknown,
  init: HeadersInit = {},
  { errors, errorBody }: ErrorResponseOptions = {},
): Response {
  const problem = problemOf(error);
  const { retryAfter } = publicError(error);
  const headers = new Headers(init);
  const type = errorBody ? "application/json" : "application/problem+json";
  for (const [name, value] of Object.entries(uncached(type))) headers.set(name, value);
  if (problem.status === 401) headers.set("www-authenticate", "Bearer");
  if (retryAfter !== undefined) headers.set("retry-after", String(Math.ceil(retryAfter)));
  if (errors !== undefined) problem.errors = errors;
  const body = errorBody ? errorBody(problem) : JSON.stringify(problem);
  return new Response(body, { status: problem.status, headers });
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

/** The media type of every event stream. */
export const EVENT_STREAM_TYPE = "text/event-stream; charset=utf-8";

/** The headers of a stream: no proxy may cache, compress or buffer it. */
export function streamHeaders(
  contentType: string,
  further: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    ...further,
    "content-type": contentType,
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
  };
}
