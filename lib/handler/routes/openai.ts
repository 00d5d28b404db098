/** `POST /v1/chat/completions`: what OpenAI's clients ask, and every client that speaks their API. */
import { type ChatFields, type ChatMessage, type ChatTool, queryOf } from "../../chat.ts";
import { openaiFormat } from "../../formats/openai.ts";
import { FIELDS, fieldsOf } from "./chat_fields.ts";
import type { StreamRoute } from "./stream_route.ts";

/** The body of a chat completion request. Fields that are not named here pass as they are. */
export interface ChatCompletionRequest {
  /** One of `models`, where the handler has them; else any name. */
  model: string;
  /** At least one. */
  messages: ChatMessage[];
  /** Whether the answer is an event stream, or one document. @default {false} */
  stream?: boolean | null;
  /** `include_usage`: a last chunk tells the tokens that were used. */
  stream_options?: { include_usage?: boolean | null; [field: string]: unknown } | null;
  /** 0 to 2. */
  temperature?: number | null;
  /** 0 to 1. */
  top_p?: number | null;
  /** Most tokens of the answer, 1 or more. */
  max_tokens?: number | null;
  /** The newer name of the same. */
  max_completion_tokens?: number | null;
  stop?: string | string[] | null;
  /** How many answers: one. */
  n?: 1 | null;
  tools?: ChatTool[] | null;
  tool_choice?: string | Record<string, unknown> | null;
  parallel_tool_calls?: boolean | null;
  response_format?: Record<string, unknown> | null;
  seed?: number | null;
  /** -2 to 2. */
  presence_penalty?: number | null;
  /** -2 to 2. */
  frequency_penalty?: number | null;
  reasoning_effort?: string | null;
  user?: string | null;
  [field: string]: unknown;
}

/** What a source is given under `POST /v1/chat/completions`. */
export interface OpenAiInput extends ChatFields {
  api: "openai";
  messages: ChatMessage[];
  model: string;
  /** The request's body as it came. */
  body: ChatCompletionRequest;
}

/** The route. */
export const chatCompletions: StreamRoute<ChatCompletionRequest> = {
  schema: {
    type: "object",
    required: ["model", "messages"],
    properties: {
      ...FIELDS,
      stream: { type: ["boolean", "null"] },
      stream_options: {
        type: ["object", "null"],
        properties: { include_usage: { type: ["boolean", "null"] } },
      },
      n: { type: ["integer", "null"], enum: [1, null] },
      user: { type: ["string", "null"] },
    },
  },
  invalidStatus: 400,
  picksModel: true,
  input: (body): OpenAiInput => ({
    ...fieldsOf(body),
    model: body.model,
    messages: body.messages,
    query: queryOf(body.messages),
    api: "openai",
    body,
  }),
  formatName: "openai",
  format: ({ model, stream, stream_options }) =>
    openaiFormat.with({
      model,
      buffered: stream !== true,
      includeUsage: stream_options?.include_usage === true,
    }),
};
