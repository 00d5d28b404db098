/** `/v1`, the routes of OpenAI's clients and of all others that use their API. */
import { type ChatFields, type ChatMessage, type ChatTool, queryOf } from "../../chat.ts";
import { openaiFormat } from "../../formats/openai.ts";
import type { Schema } from "../schema.ts";
import { FIELDS, fieldsOf } from "./chat_fields.ts";
import type { Api } from "./route.ts";
import type { StreamRoute } from "./stream_route.ts";

/** The body of a chat completion request. Fields that are not listed here are passed on unchanged. */
export interface ChatCompletionRequest {
  /** The model's name: one of `models` if the handler has them, else any name. */
  model: string;
  /** The conversation, at least one message. */
  messages: ChatMessage[];
  /** Whether the response is an event stream or one document. @default {false} */
  stream?: boolean | null;
  /**
   * Options of the stream. `include_usage`: a last chunk has the usage. `include_obfuscation`: each
   * delta is padded to hide its length.
   */
  stream_options?: {
    include_usage?: boolean | null;
    include_obfuscation?: boolean | null;
    [field: string]: unknown;
  } | null;
  /** The sampling temperature, 0 to 2. */
  temperature?: number | null;
  /** The nucleus sampling threshold, 0 to 1. */
  top_p?: number | null;
  /** The most tokens to generate, 1 or more; -1 is no limit. */
  max_tokens?: number | null;
  /** The most tokens to generate, under the newer name of `max_tokens`. */
  max_completion_tokens?: number | null;
  /** Text or texts at which generation stops. */
  stop?: string | string[] | null;
  /** The number of choices to generate, which must be 1. */
  n?: 1 | null;
  /** Whether the probabilities of tokens are wanted, which no format has. */
  logprobs?: false | null;
  /** How many further tokens are wanted with theirs. */
  top_logprobs?: 0 | null;
  /** The tools that the model may call. */
  tools?: ChatTool[] | null;
  /** How tools are chosen: `auto`, `none`, `required`, or the tool that must be called. */
  tool_choice?: string | Record<string, unknown> | null;
  /** Whether the model may call several tools at once. */
  parallel_tool_calls?: boolean | null;
  /** The shape of the text, as `{ type: "json_object" }` or `{ type: "json_schema", json_schema }`. */
  response_format?: Record<string, unknown> | null;
  /** An integer; with the same one, a model that honours it repeats its choices. */
  seed?: number | null;
  /** The presence penalty, -2 to 2. */
  presence_penalty?: number | null;
  /** The frequency penalty, -2 to 2. */
  frequency_penalty?: number | null;
  /** How much the model thinks first, such as `low`, `medium` or `high`. */
  reasoning_effort?: string | null;
  /** The client's name for its end user. */
  user?: string | null;
  /** Further fields, which nobody has checked. */
  [field: string]: unknown;
}

/** What a source gets as `input` under `POST /v1/chat/completions`. */
export interface OpenAIInput extends ChatFields {
  /** The API of the route. */
  api: "openai";
  /** The conversation, as the client sent it, without lists of tool calls that are empty. */
  messages: ChatMessage[];
  /** The model's name, as the client sent it. */
  model: string;
  /** The request's body, unchanged. */
  body: ChatCompletionRequest;
}

/** The schema of a limit on tokens: 1 or more, or -1 for none. */
const LIMIT: Schema = {
  type: ["integer", "null"],
  minimum: -1,
  if: { minimum: 0 },
  then: { minimum: 1 },
};

/** What `POST /v1/chat/completions` reads and writes. */
export const chatCompletions: StreamRoute<ChatCompletionRequest> = {
  schema: {
    type: "object",
    required: ["model", "messages"],
    properties: {
      ...FIELDS,
      stream: { type: ["boolean", "null"] },
      stream_options: {
        type: ["object", "null"],
        properties: {
          include_usage: { type: ["boolean", "null"] },
          include_obfuscation: { type: ["boolean", "null"] },
        },
      },
      max_tokens: LIMIT,
      max_completion_tokens: LIMIT,
      n: { type: ["integer", "null"], enum: [1, null] },
      logprobs: { type: ["boolean", "null"], enum: [false, null] },
      top_logprobs: { type: ["integer", "null"], enum: [0, null] },
      user: { type: ["string", "null"] },
    },
  },
  invalidStatus: 400,
  picksModel: true,
  input(body): OpenAIInput {
    const messages = body.messages.map(withoutEmptyCalls);
    return {
      ...fieldsOf(body),
      model: body.model,
      messages,
      query: queryOf(messages),
      api: "openai",
      body,
    };
  },
  formatName: "openai",
  format: ({ model, stream, stream_options }) =>
    openaiFormat.with({
      model,
      buffered: stream !== true,
      includeUsage: stream_options?.include_usage === true,
      obfuscate: stream_options?.include_obfuscation === true,
    }),
};

/** OpenAI's API, as far as Spillway implements it. */
export const openaiApi: Api = {
  routes: [
    {
      method: "POST",
      path: "/v1/chat/completions",
      answer: (call, context) => context.stream(call, chatCompletions),
    },
    { method: "GET", path: "/v1/models", answer: (_call, { models }) => models.list() },
    {
      method: "GET",
      path: "/v1/models/{model}",
      answer: ({ name }, { models }) => models.retrieve(name),
    },
  ],
  errors: { under: "/v1/", format: openaiFormat },
  formats: [openaiFormat],
};

/** Some upstreams send an empty list of calls; when their client returns it, others reject it. */
function withoutEmptyCalls(message: ChatMessage): ChatMessage {
  const { tool_calls: calls, ...others } = message;
  return Array.isArray(calls) && calls.length === 0 ? others : message;
}
