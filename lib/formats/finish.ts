/**
 * How a response ended and what it cost, mapped from any model's terms to one vocabulary. Separate
 * from the formats because each of them translates from all the others.
 */
import { type Problem, upstreamFailed } from "../error.ts";
import type { End } from "./format.ts";
import { isObject } from "../values.ts";

/** Why a model stopped. `other` is a reason that is none of these. */
export type FinishKind = "stop" | "length" | "tool_calls" | "content_filter" | "other";

/** Tokens that were billed. */
export interface Usage {
  /** Tokens of the prompt, including those from a cache; 0 if the source does not say. */
  input: number;
  /** Tokens that were generated; what Spillway counted if the source does not say. */
  output: number;
  total: number;
  /** Tokens of `input` that were read from a cache; `cacheWritten` those that were written to one. */
  cacheRead: number | undefined;
  cacheWritten: number | undefined;
  /** Tokens of `output` that were reasoning. */
  reasoning: number | undefined;
}

/**
 * Finish reasons in lower case with underscores: those of OpenAI, Anthropic, the AI SDK, Gemini,
 * Cohere, Mistral, TGI, and of what serves models under OpenAI's API. `none` is said where no reason
 * is meant, and `failed` where the model broke off.
 */
const REASONS: Readonly<Record<Exclude<FinishKind, "other"> | "none" | "failed", string>> = {
  none: "null none finish_reason_unspecified",
  stop: "stop end end_turn stop_sequence stop_token eos eos_token complete completed finished",
  length: "length max_tokens max_output_tokens max_length model_length error_limit " +
    "model_context_window_exceeded",
  tool_calls: "tool_calls tool_call tool_use function_call function_calls",
  content_filter:
    "content_filter content_filtered refusal safety image_safety sensitive blocklist " +
    "prohibited_content recitation spii guardrail_intervened error_toxic",
  failed: "error abort aborted network_error insufficient_system_resource timeout server_error " +
    "malformed_function_call malformed_model_output malformed_tool_use unexpected_tool_call " +
    "too_many_tool_calls",
};
const KINDS: ReadonlyMap<string, string> = new Map(
  Object.entries(REASONS).flatMap(([kind, reasons]) =>
    reasons.split(" ").map((reason) => [reason, kind])
  ),
);

function kindOf(reason: string): string | undefined {
  return KINDS.get(reason.toLowerCase().replaceAll(/[- ]/g, "_"));
}

/** The reason that a chunk gives: `undefined` where it says nothing, or says so in words. */
export function reasonOf(given: unknown): string | undefined {
  const reason = isObject(given) && "type" in given ? given.type : given;
  return typeof reason === "string" && reason !== "" && kindOf(reason) !== "none"
    ? reason
    : undefined;
}

/** Whether the reason says that the model broke off. */
export function isBroken(reason: string): boolean {
  return kindOf(reason) === "failed";
}

/**
 * The reason, where it agrees with what was streamed: several APIs end tool calls with `stop`, and a
 * client would wait for calls that are not there.
 */
export function agreeing(reason: string, calledTools: boolean): string {
  const kind = kindOf(reason);
  if (kind === "stop" && calledTools) return "tool_calls";
  return kind === "tool_calls" && !calledTools ? "stop" : reason;
}

/**
 * Why the response ended. A stopped generation is `stop`; without a reason it is `stop`, or
 * `tool_calls` if tools were called. A refusal is a `content_filter`, whatever the reason says.
 *
 * @param hasRefused Whether the model refused, where the format has no other place to say so.
 * @throws {StreamError} `upstream_failed` if the reason says that the model broke off.
 */
export function finishKind(
  { reason, ...end }: End,
  calledTools: boolean,
  hasRefused = false,
): FinishKind {
  if (reason === "cancelled") return "stop";
  const finishReason = reasonOf(end.finishReason) ?? "stop";
  if (isBroken(finishReason)) throw upstreamFailed(`The finish reason is ${finishReason}`);
  const kind = kindOf(agreeing(finishReason, calledTools)) as FinishKind | undefined ?? "other";
  return kind === "stop" && hasRefused ? "content_filter" : kind;
}

/** The source's usage, under any API's field names; where it has none, Spillway's own count. */
export function usageOf({ usage = {}, tokens }: End): Usage {
  const prompt = inner(usage, [
    "prompt_tokens_details",
    "input_tokens_details",
    "input_token_details",
  ]);
  const answer = inner(usage, [
    "completion_tokens_details",
    "output_tokens_details",
    "output_token_details",
  ]);
  // Anthropic alone counts the tokens of its cache beside those of the input.
  const readBeside = count(usage, ["cache_read_input_tokens"]);
  const cacheWritten = count(usage, ["cache_creation_input_tokens"]);
  const input = (count(usage, ["prompt_tokens", "input_tokens", "promptTokens", "inputTokens"]) ??
    0) + (readBeside ?? 0) + (cacheWritten ?? 0);
  const output =
    count(usage, ["completion_tokens", "output_tokens", "completionTokens", "outputTokens"]) ??
      tokens;
  return {
    input,
    output,
    total: count(usage, ["total_tokens", "totalTokens"]) ?? input + output,
    cacheRead: readBeside ?? count(prompt, ["cached_tokens", "cache_read"]) ??
      count(usage, ["cachedInputTokens"]),
    cacheWritten,
    reasoning: count(answer, ["reasoning_tokens", "reasoning"]) ??
      count(usage, ["reasoningTokens"]),
  };
}

type Fields = Record<string, unknown>;

/** The first of the fields that is a number of tokens. */
function count(fields: Fields, names: string[]): number | undefined {
  for (const name of names) {
    const value = fields[name];
    if (typeof value === "number" && value >= 0 && value < Infinity) return value;
  }
  return undefined;
}

function inner(fields: Fields, names: string[]): Fields {
  for (const name of names) {
    const value = fields[name];
    if (isObject(value)) return value as Fields;
  }
  return {};
}

/** A failure in one sentence, for APIs whose errors have no field for more. */
export function sentenceOf({ title, detail }: Problem): string {
  return detail === undefined || detail === title ? title : `${title}: ${detail}`;
}
