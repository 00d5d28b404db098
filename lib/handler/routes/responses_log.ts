/**
 * Reads a response object from the events that the log has of its stream. Separate from the routes because
 * a request may refer to items of earlier responses as well.
 */
import { StreamError } from "../../error.ts";
import { responsesFormat } from "../../formats/responses.ts";
import { responseId } from "../../formats/responses_object.ts";
import { replayError } from "../../replay/codes.ts";
import { decodeEvents } from "../../sse/decode_events.ts";
import { isObject, parseJson } from "../../values.ts";
import type { Call, RouteContext } from "./route.ts";

/** A response object. */
export type ResponseFields = Readonly<Record<string, unknown>>;

/**
 * The response object as the log has it.
 *
 * @param which Of a response that goes on: how it began, or, after a wait, how it ended.
 */
export async function responseIn(
  call: Call,
  context: RouteContext,
  streamId: string,
  which: "first" | "last",
): Promise<ResponseFields> {
  const { format, phase, firstEvent, lastEvent } = await context.look(call, streamId);
  if (format !== responsesFormat.name) throw new StreamError("not_found");
  if (call.request.method === "HEAD") return {};
  const isLive = phase === "live";
  const wantsFirst = isLive && which === "first";
  if (wantsFirst && firstEvent > 1) return trimmed(streamId);
  // The last event but one has the response; of a lost one the failure has it, which is not logged.
  const after = phase === "ended"
    ? lastEvent - 2
    : phase === "lost" || which === "last"
    ? lastEvent
    : 0;
  let response: ResponseFields;
  try {
    const events = await context.resumeAfter(call, { streamId, format, after });
    response = await lastIn(events, isLive ? which : "last");
  } catch (error) {
    // The log may have dropped the first events since it was looked at.
    if (!wantsFirst || (await context.look(call, streamId)).firstEvent <= 1) throw error;
    return await responseIn(call, context, streamId, which);
  }
  const hasBegun = isLive && lastEvent > BEGINNING;
  return hasBegun && response.status === "queued"
    ? { ...response, status: "in_progress" }
    : response;
}

/** Number of events of a response in the background that has said nothing. */
const BEGINNING = 3;

/** What is known of a response that goes on and of whose events the log has dropped the first. */
function trimmed(streamId: string): ResponseFields {
  return {
    id: responseId(streamId),
    object: "response",
    status: "in_progress",
    output: [],
    error: null,
  };
}

/** A response has up to 16 MiB of text, which JSON may spell in six times as many bytes. */
const MAX_BYTES = 128 * 1024 * 1024;

/**
 * The response object of the first or the last event that has one. The rest of the stream is not read.
 *
 * @throws {StreamError} `log_unavailable` if the events could not be read to the end.
 */
export async function lastIn(
  { body }: Response,
  which: "first" | "last",
): Promise<ResponseFields> {
  let last: unknown;
  const limits = { maxLineBytes: MAX_BYTES, maxEventBytes: MAX_BYTES };
  for await (const { data } of decodeEvents(body!, limits)) {
    const { response, resume } = Object(parseJson(data));
    // This reader alone has failed.
    if (resume === true) break;
    if (!isObject(response)) continue;
    last = response;
    if (which === "first") break;
  }
  if (!isObject(last)) throw replayError("log_unavailable", { retryAfter: 1 });
  return last as ResponseFields;
}
