/** The OpenAPI operations of Anthropic's Messages routes, as far as Spillway implements that API. */
import { countedRequest, messagesRequest } from "../routes/anthropic_request.ts";
import {
  BODY_PROBLEMS,
  eventSchema,
  jsonAnswer,
  jsonBody,
  type JsonSchema,
  jsonText,
  type Operation,
  type Operations,
  ref,
  STREAM_PROBLEMS,
} from "./operation.ts";

const TEXT: JsonSchema = { type: "string" };
const OBJECT: JsonSchema = { type: "object" };
const INDEX: JsonSchema = { type: "integer", minimum: 0 };

/** The fields of each event beside its type. */
const EVENTS: Record<string, Record<string, JsonSchema>> = {
  message_start: { message: ref("AnthropicMessage") },
  content_block_start: { index: INDEX, content_block: OBJECT },
  ping: {},
  content_block_delta: {
    index: INDEX,
    delta: {
      type: "object",
      properties: { type: TEXT, text: TEXT },
      required: ["type"],
    },
  },
  content_block_stop: { index: INDEX },
  message_delta: { delta: OBJECT, usage: OBJECT },
  message_stop: {},
};

const schemas: Record<string, JsonSchema> = {
  AnthropicRequest: {
    ...messagesRequest.schema,
    description: "Other fields are passed to the source.",
    examples: [{
      model: "spillway",
      max_tokens: 1024,
      stream: true,
      messages: [{ role: "user", content: "Hello?" }],
    }],
  },
  AnthropicMessage: {
    type: "object",
    properties: {
      id: TEXT,
      type: { const: "message" },
      role: { const: "assistant" },
      content: { type: "array", items: OBJECT },
      model: TEXT,
      stop_reason: { type: ["string", "null"] },
      stop_sequence: { type: ["string", "null"] },
      usage: OBJECT,
    },
    required: ["id", "type", "role", "content", "model", "usage"],
  },
  AnthropicError: {
    type: "object",
    properties: {
      type: { const: "error" },
      error: {
        type: "object",
        properties: { type: TEXT, message: TEXT, details: OBJECT },
        required: ["type", "message"],
      },
    },
    required: ["type", "error"],
  },
};

const itemSchema: JsonSchema = {
  anyOf: [
    ...Object.entries(EVENTS).map(([name, more]) =>
      eventSchema(
        name,
        jsonText({
          type: "object",
          properties: { type: { const: name }, ...more },
          required: ["type", ...Object.keys(more)],
        }),
      )
    ),
    eventSchema("error", jsonText(ref("AnthropicError")), "The failure that ended the stream."),
  ],
};

/** The operation of `POST /v1/messages`. */
const messagesOperation: Operation = {
  operationId: "createMessage",
  summary: "Create a message",
  tags: ["anthropic"],
  requestBody: jsonBody(ref("AnthropicRequest")),
  responses: {
    200: {
      description: "An event stream where `stream` is true, else one JSON document.",
      content: {
        "text/event-stream": { itemSchema },
        "application/json": { schema: ref("AnthropicMessage") },
      },
    },
  },
  problems: [...BODY_PROBLEMS, "model_not_found", "thread_unsupported_request", ...STREAM_PROBLEMS],
  statuses: { invalid_input: 400 },
  errorContent: { schema: ref("AnthropicError") },
  schemas,
  resumable: true,
};

/** The operation of `POST /v1/messages/count_tokens`. */
const countTokensOperation: Operation = {
  operationId: "countTokens",
  summary: "Count the tokens of a message",
  tags: ["anthropic"],
  requestBody: jsonBody(ref("AnthropicCountRequest")),
  responses: {
    200: jsonAnswer("How many tokens the request would take.", {
      type: "object",
      properties: { input_tokens: { type: "integer", minimum: 0 } },
      required: ["input_tokens"],
    }),
  },
  problems: [...BODY_PROBLEMS, "model_not_found", "thread_unsupported_request", "internal"],
  statuses: { invalid_input: 400 },
  errorContent: { schema: ref("AnthropicError") },
  schemas: {
    AnthropicError: schemas.AnthropicError!,
    AnthropicCountRequest: {
      ...countedRequest.schema,
      description: "A message request, which may lack `max_tokens`.",
      examples: [{ model: "spillway", messages: [{ role: "user", content: "Hello?" }] }],
    },
  },
};

/** The operations of Anthropic's API. */
export const anthropicOperations: Operations = {
  "POST /v1/messages": messagesOperation,
  "POST /v1/messages/count_tokens": countTokensOperation,
};
