/**
 * The response object of OpenAI's Responses API. Separate from the format because it says what was
 * asked for as well.
 */
import { usageOf } from "./finish.ts";
import type { End, FormatContext } from "./format.ts";
import { isObject } from "../values.ts";

/** What a response object repeats of its request, as the API has it where the request is silent. */
const SETTINGS: Readonly<Record<string, unknown>> = {
  instructions: null,
  max_output_tokens: null,
  max_tool_calls: null,
  metadata: {},
  parallel_tool_calls: true,
  previous_response_id: null,
  reasoning: { effort: null, summary: null },
  store: true,
  temperature: 1,
  text: { format: { type: "text" } },
  tool_choice: "auto",
  tools: [],
  top_p: 1,
  top_logprobs: 0,
  truncation: "disabled",
  presence_penalty: 0,
  frequency_penalty: 0,
  service_tier: "default",
  safety_identifier: null,
  prompt_cache_key: null,
};

/**
 * The most that is repeated of a request, in UTF-16 units of JSON. It stands three times in a stream,
 * and a coding agent's tools alone may take more.
 */
const MAX_REPEATED = 64 * 1024;

/** How a response stands. */
export type ResponseStatus =
  | "queued"
  | "in_progress"
  | "completed"
  | "incomplete"
  | "failed"
  | "cancelled";

/** What a response object is made of. */
export interface ResponseInit {
  readonly model: string;
  readonly background: boolean;
  /** The request's body. */
  readonly request: Readonly<Record<string, unknown>>;
}

/** What changes of a response object. */
export interface ResponseState {
  readonly output?: readonly object[];
  readonly usage?: unknown;
  readonly error?: { readonly code: string; readonly message: string };
  readonly incomplete_details?: { readonly reason: string } | null;
}

/** The id of the response that a stream is. */
export function responseId(streamId: string): string {
  return `resp_${streamId}`;
}

/** One response, in each of its states. */
export class ResponseObject {
  readonly #identity: object;
  readonly #settings: object;

  constructor({ streamId }: FormatContext, { model, background, request }: ResponseInit) {
    this.#identity = {
      id: responseId(streamId),
      object: "response",
      created_at: secondsNow(),
      model,
      background,
    };
    this.#settings = settingsOf(request);
  }

  /** The object in one state. */
  as(status: ResponseStatus, state: ResponseState = {}): object {
    return {
      ...this.#identity,
      status,
      completed_at: status === "completed" ? secondsNow() : null,
      error: null,
      incomplete_details: null,
      output: [],
      usage: null,
      ...state,
      ...this.#settings,
    };
  }
}

/** The time in seconds since 1970. */
export function secondsNow(): number {
  return Math.floor(Date.now() / 1000);
}

/** The settings of a request; one that would make them too long stands there as if it was not given. */
function settingsOf(request: ResponseInit["request"]): Record<string, unknown> {
  const settings: Record<string, unknown> = { ...SETTINGS };
  let room = MAX_REPEATED;
  for (const name of Object.keys(SETTINGS)) {
    const value = request[name] ?? SETTINGS[name];
    room -= JSON.stringify(value).length;
    if (room < 0) break;
    const usual = SETTINGS[name];
    settings[name] = Array.isArray(value)
      ? value.map(toolOf)
      : isObject(value) && isObject(usual)
      ? { ...usual, ...value }
      : value;
  }
  return settings;
}

/** A tool with the fields that strict clients require of a function. */
function toolOf(tool: unknown): unknown {
  const isFunction = isObject(tool) && "type" in tool && tool.type === "function";
  return isFunction ? { description: null, parameters: null, strict: null, ...tool } : tool;
}

/** The usage as the API counts it. */
export function usageFor(end: End): object {
  const { input, output, total, cacheRead = 0, reasoning = 0 } = usageOf(end);
  return {
    input_tokens: input,
    input_tokens_details: { cached_tokens: cacheRead },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: reasoning },
    total_tokens: total,
  };
}
