/** Responses that are not streams, made in one place so that no header is forgotten on any of them. */
import { type Problem, problemOf, publicError } from "../error.ts";

/** An RFC 9457 problem as a response. */
export function problemResponse(
  error: unknown,
  headers: Record<string, string> = {},
  errors?: Problem["errors"],
): Response {
  const problem = problemOf(error);
  const { retryAfter } = publicError(error);
  if (errors !== undefined) problem.errors = errors;
  return new Response(JSON.stringify(problem), {
    status: problem.status,
    headers: {
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      ...retryAfter === undefined ? {} : { "retry-after": String(Math.ceil(retryAfter)) },
      ...headers,
    },
  });
}

/** A JSON document that must not be kept. */
export function jsonResponse(value: unknown, status = 200): Response {
  return new Response(JSON.stringify(value), {
    status,
    headers: {
      "content-type": "application/json",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    },
  });
}
