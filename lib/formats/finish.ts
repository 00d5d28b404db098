/**
 * How a response ended and what it cost, mapped from any model's terms to one vocabulary. Separate
 * from the formats because each of them translates from all the others.
 */
import type { Problem } from "../error.ts";
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
 * Cohere, Mistral and TGI.
 */
const KINDS: ReadonlyMap<string, FinishKind> = new Map([
  ["stop", "stop"],
  ["end_turn", "stop"],
  ["stop_sequence", "stop"],
  ["eos_token", "stop"],
  ["complete", "stop"],
  ["length", "length"],
  ["max_tokens", "length"],
  ["max_output_tokens", "length"],
  ["model_length", "length"],
  ["model_context_window_exceeded", "length"],
  ["tool_calls", "tool_calls"],
  ["tool_call", "tool_calls"],
  ["tool_use", "tool_calls"],
  ["function_call", "tool_calls"],
  ["content_filter", "content_filter"],
  ["refusal", "content_filter"],
  ["safety", "content_filter"],
  ["prohibited_content", "content_filter"],
  ["recitation", "content_filter"],
]);

/**
 * Why the response ended. A stopped generation is `stop`; without a reason it is `stop`, or
 * `tool_calls` if tools were called.
 */
export function finishKind({ reason, finishReason }: End, calledTools: boolean): FinishKind {
  if (reason === "cancelled") return "stop";
  if (finishReason === undefined) return calledTools ? "tool_calls" : "stop";
  return KINDS.get(finishReason.toLowerCase().replaceAll("-", "_")) ?? "other";
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
