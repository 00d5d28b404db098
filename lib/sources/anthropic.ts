/** Relays Anthropic's messages API, and servers that speak it. */
import type { Item } from "../item.ts";
import type { SourceContext } from "../pipeline/pump.ts";
import type { AsyncQueue } from "../pipeline/queue.ts";
import { messagesBody } from "./anthropic_body.ts";
import { MessageReader } from "./anthropic_reader.ts";
import { type Dialect, FIELDS } from "./dialect.ts";
import type { ModelOptions, ModelUpstream } from "./model_options.ts";
import { modelSource } from "./model_source.ts";

/** Options of {@linkcode anthropic}, which are those of `openai`. */
export type AnthropicOptions<Input = unknown> = ModelOptions<Input>;

/** Which upstream {@linkcode anthropic} asks, and what it is sent. */
export type AnthropicUpstream<Input = unknown> = ModelUpstream<Input>;

/**
 * A source that calls Anthropic's messages API and streams its response. A conversation in the terms of
 * the chat completions API is translated; one that came through `POST /v1/messages` is sent as the
 * client sent it, with its `cache_control`, signatures and documents, unless it was changed since.
 * Without a limit of the client's or of `body`, `max_tokens` is 8192.
 *
 * Text is a token. Reasoning is `{ event: "reasoning", data: { text, signature?, redacted? } }`, a
 * fragment of a tool call `{ event: "tool_call", data: { index, id?, name?, arguments? } }`, a citation
 * `{ event: "citation", data }`, and a block that only this API knows, as those of its servers' tools,
 * `{ event: "delta", data: { content_block } }`. The stop reason and the usage are the summary. A
 * response without `message_stop`, or without a stop reason, fails as `truncated`.
 *
 * @example
 * ```ts
 * import { createHandler } from "spillway";
 * import { anthropic } from "spillway/sources";
 *
 * const source = anthropic({
 *   baseURL: "https://api.anthropic.com",
 *   model: "claude-sonnet-4-5",
 *   apiKey: "a-key",
 * });
 * export const handler = createHandler({ source });
 * ```
 *
 * @returns A function from the context to a queue, which is a source and async iterable.
 * @throws {TypeError} If `baseURL` is not an http(s) URL, `model` is empty, `fields` is not an
 * array, or a header cannot be sent.
 * @throws {RangeError} If a limit is out of its bounds.
 */
export function anthropic<Input = unknown>(
  options: AnthropicOptions<Input>,
): (context: SourceContext<Input>) => AsyncQueue<Item> {
  return modelSource(options, messages);
}

/** Anthropic's messages API. */
const messages: Dialect = {
  // Its SDK's base URL ends before the version, the AI SDK's behind it.
  pathUnder: (base) => base.endsWith("/v1") ? `${base}/messages` : `${base}/v1/messages`,
  authorize(headers, apiKey) {
    if (apiKey !== "") headers.set("x-api-key", apiKey);
    if (!headers.has("anthropic-version")) headers.set("anthropic-version", "2023-06-01");
  },
  fields: [...FIELDS, "top_k", "thinking", "output_config"],
  write: messagesBody,
  read: () => new MessageReader(),
};
