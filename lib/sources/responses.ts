/** Relays OpenAI's Responses API, and servers that speak it. */
import type { Item } from "../item.ts";
import type { SourceContext } from "../pipeline/pump.ts";
import type { AsyncQueue } from "../pipeline/queue.ts";
import { type Dialect, FIELDS } from "./dialect.ts";
import type { ModelOptions, ModelUpstream } from "./model_options.ts";
import { modelSource } from "./model_source.ts";
import { responsesBody } from "./responses_body.ts";
import { ResponseReader } from "./responses_reader.ts";

/** Options of {@linkcode responses}, which are those of `openai`. */
export type ResponsesOptions<Input = unknown> = ModelOptions<Input>;

/** Which upstream {@linkcode responses} asks, and what it is sent. */
export type ResponsesUpstream<Input = unknown> = ModelUpstream<Input>;

/**
 * A source that calls OpenAI's Responses API and streams its response. The conversation is sent each
 * time, and nothing is stored (`store: false`), unless `body` says otherwise.
 *
 * Text is a token. Reasoning, or its summary, is `{ event: "reasoning", data: { text, signature? } }`,
 * where the signature is its `encrypted_content`, a fragment of a tool call
 * `{ event: "tool_call", data: { index, id?, name?, arguments? } }`, and a custom tool's has
 * `type: "custom"`. Further items are `refusal`, `citation`, `file`, and
 * `{ event: "delta", data: { output_item } }` for what only this API knows. The finish reason and the
 * usage are the summary. A response without `response.completed` fails as `truncated`, unless a
 * `response.incomplete` says its reason.
 *
 * @example
 * ```ts
 * import { createHandler } from "spillway";
 * import { responses } from "spillway/sources";
 *
 * const source = responses({
 *   baseURL: "https://api.openai.com/v1",
 *   model: "gpt-5.1",
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
export function responses<Input = unknown>(
  options: ResponsesOptions<Input>,
): (context: SourceContext<Input>) => AsyncQueue<Item> {
  return modelSource(options, api);
}

/** The Responses API. */
const api: Dialect = {
  pathUnder: (base) => `${base}/responses`,
  authorize(headers, apiKey) {
    if (apiKey !== "") headers.set("authorization", `Bearer ${apiKey}`);
  },
  fields: [...FIELDS, "reasoning", "text", "include"],
  write: responsesBody,
  read: () => new ResponseReader(),
};
