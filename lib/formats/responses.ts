/** OpenAI's Responses format: an event stream, or one JSON document. */
import type { Problem } from "../error.ts";
import { commentHeartbeat, documentFormat, eventStreamFormat, type Format } from "./format.ts";
import { errorBody as openaiErrorBody } from "./openai_error.ts";
import { ResponseFramer, WholeResponse } from "./responses_framer.ts";
import { responseId, secondsNow } from "./responses_object.ts";
import { isObject } from "../values.ts";
import { checkOptionNames } from "../option_names.ts";

/** Options of {@linkcode responsesFormat}. */
export interface ResponsesFormatOptions {
  /** The model's name in the response. @default {"spillway"} */
  model?: string;
  /** Whether the response is one `response` document, as `stream: false` asks. @default {false} */
  buffered?: boolean;
  /** Whether the response says that it runs in the background, and begins `queued`. @default {false} */
  background?: boolean;
  /**
   * The request's body, whose settings (`instructions`, `tools`, `metadata` and the like) the response
   * repeats, 64 Ki characters of JSON at most. Its `include` and `tools` say what else the client reads.
   * @default {{}}
   */
  request?: Readonly<Record<string, unknown>>;
}

/** The type of {@linkcode responsesFormat}: a format with a method that makes variants of it. */
export interface ResponsesFormat extends Format {
  /**
   * Returns a variant of the format with these options.
   *
   * @throws {TypeError} If `model` is not a string, or `request` no object.
   */
  with(options: ResponsesFormatOptions): Format;
}

/**
 * Writes a sign of life that Codex takes for one, which counts no comments. It has the number of the
 * last event once more: it is not logged, and every reader counts alike.
 */
function heartbeatOf(model: string): NonNullable<Format["heartbeat"]> {
  return (out, { streamId, lastEvent }) => {
    // Nothing may come before `response.created`.
    if (lastEvent === 0) return commentHeartbeat(out);
    const type = "response.in_progress";
    const identity = { id: responseId(streamId), object: "response", created_at: secondsNow() };
    const response = { ...identity, status: "in_progress", model, output: [] };
    out.event({
      event: type,
      data: JSON.stringify({ type, response, sequence_number: lastEvent - 1 }),
    });
  };
}

/** An error object whose members are all text, which `@ai-sdk/open-responses` requires. */
function errorBody(problem: Problem): string {
  return openaiErrorBody(problem, "");
}

function variant(options: ResponsesFormatOptions = {}): Format {
  const names = ["model", "buffered", "background", "request"];
  checkOptionNames("Cannot make the format", options, names);
  const { model = "spillway", buffered = false, background = false, request = {} } = options;
  if (typeof model !== "string") {
    throw new TypeError(`Cannot make the format: model is a ${typeof model}, not a string`);
  }
  if (!isObject(request)) throw new TypeError("Cannot make the format: request is no object");
  const init = { model, background, request };
  return buffered
    ? {
      ...documentFormat,
      name: "responses",
      errorBody,
      open: (context) => new WholeResponse(context, init),
    }
    : {
      ...eventStreamFormat,
      name: "responses",
      heartbeat: heartbeatOf(model),
      ids: false,
      lossless: true,
      errorBody,
      open: (context) => new ResponseFramer(context, init),
    };
}

/**
 * OpenAI's Responses format: `response.created`, an output item for each part with its deltas and its
 * end, `response.completed` with the whole output, `[DONE]`. A failure is `error` and
 * `response.failed`, or `{ error: { message, type, param, code } }` as the body of an error response
 * before the headers. A response that was cut off by length or by a filter ends in
 * `response.incomplete`; so does one that was stopped, with the status `cancelled`. All that is said
 * is kept until the end: a response may have up to 16 MiB.
 *
 * Each event has a `sequence_number` from 0, the same for every reader: with a log, a client comes back
 * by that number, and events have no ids. The id of the response is `resp_` and the stream id. A heartbeat
 * is `response.in_progress` with the last number once more.
 *
 * Text and a refusal become a `message`, reasoning a `reasoning` item with a summary, `tool_call` items
 * `function_call` or `custom_tool_call` items, and a citation with an address an annotation. A signature
 * is `encrypted_content`, and so is a redacted thought, behind `redacted:`, if `include` of the request
 * asks for it. A picture, and an item that `responses()` has passed on, are written if the request names
 * their tool. Other structured items are dropped, because its clients throw on events that they do not
 * know. A finish reason of another API is
 * mapped to the one with the same meaning. The usage is the source's. Without it, `output_tokens` is what
 * Spillway counted and `input_tokens` is 0.
 *
 * The events that `relay` passes on are read as the items that they stand for.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sse } from "spillway";
 * import { responsesFormat } from "spillway/formats";
 *
 * const format = responsesFormat.with({ model: "parrot", buffered: true });
 * const response = await sse(new Request("http://localhost/"), ["Hel", "lo"], { format });
 * const { output, status } = await response.json();
 * assert(output[0].content[0].text === "Hello" && status === "completed");
 * ```
 */
export const responsesFormat: ResponsesFormat = { ...variant(), with: variant };
