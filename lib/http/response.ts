/** Responses that are not streams, made in one place so that no header is forgotten on any of them. */
import { type Problem, problemOf, publicError } from "../error.ts";

/** An RFC 9457 problem as a response. */
export function problemResponse(
  error: unknown,
  init: HeadersInit = {},
  errors?: Problem["errors"],
): Response {
  const problem = problemOf(error);
  const { retryAfter } = publicError(error);
  const headers = new Headers(init);
  headers.set("content-type", "application/problem+json");
  headers.set("cache-control", "no-store");
  headers.set("x-content-type-options", "nosniff");
  if (retryAfter !== undefined) headers.set("retry-after", String(Math.ceil(retryAfter)));
  if (errors !== undefined) problem.errors = errors;
  return new Response(JSON.stringify(problem), { status: problem.status, headers });
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
