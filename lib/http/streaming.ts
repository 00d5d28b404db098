/** `POST /streaming`: the body is checked, the source started, its items streamed. */
import { type Problem, StreamError } from "../error.ts";
import type { Source } from "../pump.ts";
import { type BodyLimits, readJson } from "./request.ts";
import { problemResponse } from "./response.ts";
import { respond, type SseOptions, type StreamExtras } from "./sse.ts";

/** What `createHandler` takes as input by default. */
export interface QueryInput {
  query: string;
}

/** Answers a stream, or the problem that the body has. */
export async function streaming(
  request: Request,
  source: Source<never>,
  options: SseOptions,
  limits: BodyLimits,
  extras: StreamExtras,
): Promise<Response> {
  const body = await readJson(request, limits);
  const faults = faultsOf(body);
  if (faults.length > 0) return problemResponse(new StreamError("invalid_input"), {}, faults);
  return respond(request, source, options, { ...extras, input: body as QueryInput });
}

/** The default schema, `{ query: string }`. */
function faultsOf(body: unknown): NonNullable<Problem["errors"]> {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    return [{ pointer: "", detail: "Expected an object" }];
  }
  if (!("query" in body)) return [{ pointer: "/query", detail: "Required" }];
  if (typeof body.query !== "string") return [{ pointer: "/query", detail: "Expected a string" }];
  return [];
}
