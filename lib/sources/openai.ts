/** Relays any OpenAI-compatible upstream: its chat completion chunks become tokens and typed items. */
import { CompletionReader, isFailure, parseChunk } from "../formats/completion_chunk.ts";
import type { Item, Summary } from "../item.ts";
import type { SourceContext } from "../pipeline/pump.ts";
import type { AsyncQueue } from "../pipeline/queue.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { type AnswerReader, type Dialect, FAILED, FIELDS } from "./dialect.ts";
import type { ModelOptions, ModelUpstream } from "./model_options.ts";
import { modelSource } from "./model_source.ts";

/** Options of {@linkcode openai}. */
export type OpenAIOptions<Input = unknown> = ModelOptions<Input>;

/** Which upstream {@linkcode openai} asks, and what it is sent. */
export type OpenAIUpstream<Input = unknown> = ModelUpstream<Input>;

/**
 * A source that calls an OpenAI-compatible upstream and streams its response.
 *
 * Text is a token. Reasoning is `{ event: "reasoning", data: { text } }`, a fragment of a tool call
 * `{ event: "tool_call", data: { index, id?, name?, arguments? } }`, with the name in the first one.
 * Further items are `refusal`, `file`, `audio`, `citation`, and `delta` for what nobody knows. The
 * finish reason, as far as it agrees with what came, and the usage are the summary. A response that
 * ends without a finish reason fails as `truncated`, one whose finish reason says that the model
 * broke off as `upstream_failed`. What fails before its first item may be asked again (`retries`), and
 * of another upstream (`fallback`).
 *
 * @example
 * ```ts
 * import { createHandler, openai } from "spillway";
 *
 * const source = openai({ baseURL: "http://127.0.0.1:11434/v1", model: "llama3.2" });
 * export const handler = createHandler({ source });
 * ```
 *
 * @returns A function from the context to a queue, which is a source and async iterable.
 * @throws {TypeError} If `baseURL` is not an http(s) URL, `model` is empty, `fields` is not an
 * array, or a header cannot be sent.
 * @throws {RangeError} If a limit is out of its bounds.
 */
export function openai<Input = unknown>(
  options: OpenAIOptions<Input>,
): (context: SourceContext<Input>) => AsyncQueue<Item> {
  return modelSource(options, completions);
}

/** The chat completions API. */
const completions: Dialect = {
  pathUnder: (base) => `${base}/chat/completions`,
  authorize(headers, apiKey) {
    if (apiKey !== "") headers.set("authorization", `Bearer ${apiKey}`);
  },
  fields: FIELDS,
  write: ({ fields, fixed, messages }) => ({
    stream_options: { include_usage: true },
    ...fields,
    ...fixed,
    messages,
  }),
  read: () => new CompletionEvents(),
};

/** Reads the chunks of one response, and its end. */
class CompletionEvents implements AnswerReader {
  isOver = false;
  readonly #answer = new CompletionReader();

  /** With a finish reason the response is whole, whether `[DONE]` came or not. */
  get summary(): Summary | undefined {
    const { summary } = this.#answer;
    return summary.finishReason === undefined ? undefined : summary;
  }

  read({ event, data }: ServerSentEvent): string | readonly Item[] | typeof FAILED {
    if (data === "[DONE]") return this.#end();
    if (event === "error") return FAILED;
    // Some servers send empty events to keep a connection alive.
    if (data === "") return [];
    const text = this.#answer.text(data);
    if (text !== undefined) return text;
    const chunk = parseChunk(data);
    if (chunk === undefined && data.trim() === "[DONE]") return this.#end();
    // Some send `null` in place of a chunk.
    if (data === "null") return [];
    if (chunk === undefined || isFailure(chunk)) return FAILED;
    return this.#answer.items(chunk, data);
  }

  #end(): readonly Item[] {
    this.isOver = true;
    return [];
  }
}
