/** The OpenAPI operations of OpenAI's routes, as far as Spillway implements that API. */
import { chatCompletions } from "../routes/openai.ts";
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
const TIME: JsonSchema = { type: "integer", description: "Seconds since 1970." };
const FINISH: JsonSchema = { type: ["string", "null"], examples: ["stop", "length", "tool_calls"] };

/** The error object of all routes under `/v1` but those of Anthropic's API. */
export const openaiError: JsonSchema = {
  type: "object",
  properties: {
    error: {
      type: "object",
      properties: {
        message: TEXT,
        type: TEXT,
        param: { type: ["string", "null"] },
        code: { type: ["string", "integer", "null"] },
      },
      required: ["message", "type"],
    },
  },
  required: ["error"],
};

const schemas: Record<string, JsonSchema> = {
  ChatCompletionRequest: {
    ...chatCompletions.schema,
    description: "Other fields are passed to the source.",
    examples: [{
      model: "spillway",
      stream: true,
      messages: [{ role: "user", content: "Hello?" }],
    }],
  },
  ChatCompletionUsage: {
    type: "object",
    properties: {
      prompt_tokens: { type: "integer" },
      completion_tokens: { type: "integer" },
      total_tokens: { type: "integer" },
    },
  },
  ChatCompletion: {
    type: "object",
    properties: {
      id: TEXT,
      object: { const: "chat.completion" },
      created: TIME,
      model: TEXT,
      choices: {
        type: "array",
        items: {
          type: "object",
          properties: {
            index: { type: "integer" },
            message: { type: "object", properties: { role: TEXT }, required: ["role"] },
            finish_reason: FINISH,
          },
          required: ["index", "message", "finish_reason"],
        },
      },
      usage: { anyOf: [ref("ChatCompletionUsage"), { type: "null" }] },
    },
    required: ["id", "object", "created", "model", "choices"],
  },
  ChatCompletionChunk: {
    type: "object",
    properties: {
      id: TEXT,
      object: { const: "chat.completion.chunk" },
      created: TIME,
      model: TEXT,
      choices: {
        type: "array",
        items: {
          type: "object",
          properties: {
            index: { type: "integer" },
            delta: {
              type: "object",
              properties: {
                role: TEXT,
                content: { type: ["string", "null"] },
                reasoning_content: TEXT,
                tool_calls: { type: "array", items: { type: "object" } },
              },
            },
            finish_reason: FINISH,
          },
          required: ["index", "delta", "finish_reason"],
        },
      },
      usage: { anyOf: [ref("ChatCompletionUsage"), { type: "null" }] },
    },
    required: ["id", "object", "created", "model", "choices"],
  },
  OpenAIError: openaiError,
};

const modelSchemas: Record<string, JsonSchema> = {
  OpenAIError: openaiError,
  Model: {
    type: "object",
    description: "A model in the shape of two APIs: OpenAI's, and from `type` on Anthropic's.",
    properties: {
      id: TEXT,
      object: { const: "model" },
      created: TIME,
      owned_by: TEXT,
      type: { const: "model" },
      display_name: TEXT,
      created_at: { type: "string", format: "date-time" },
    },
    required: ["id", "object", "created", "owned_by"],
  },
  ModelList: {
    type: "object",
    properties: { object: { const: "list" }, data: { type: "array", items: ref("Model") } },
    required: ["object", "data"],
  },
};

/** The schema of a stream's item: one chunk, the failure, or `[DONE]`, which ends every stream. */
const itemSchema: JsonSchema = {
  anyOf: [
    eventSchema(undefined, jsonText(ref("ChatCompletionChunk")), "A piece of the answer."),
    eventSchema(undefined, jsonText(ref("OpenAIError")), "The failure that ended the stream."),
    eventSchema(undefined, { const: "[DONE]" }, "The last event."),
  ],
};

/** The operation of `POST /v1/chat/completions`. */
const chatCompletionOperation: Operation = {
  operationId: "createChatCompletion",
  summary: "Create a chat completion",
  tags: ["openai"],
  requestBody: jsonBody(ref("ChatCompletionRequest")),
  responses: {
    200: {
      description: "An event stream where `stream` is true, else one JSON document.",
      content: {
        "text/event-stream": { itemSchema },
        "application/json": { schema: ref("ChatCompletion") },
      },
    },
  },
  problems: [...BODY_PROBLEMS, "model_not_found", ...STREAM_PROBLEMS],
  statuses: { invalid_input: 400 },
  errorContent: { schema: ref("OpenAIError") },
  schemas,
  resumable: true,
};

/** The operation of `GET /v1/models`. */
const modelsOperation: Operation = {
  operationId: "listModels",
  summary: "List the models",
  tags: ["openai"],
  responses: { 200: jsonAnswer("The models.", ref("ModelList")) },
  problems: [],
  errorContent: { schema: ref("OpenAIError") },
  schemas: modelSchemas,
};

/** The operation of `GET /v1/models/{model}`. */
const modelOperation: Operation = {
  operationId: "retrieveModel",
  summary: "Retrieve a model",
  tags: ["openai"],
  parameters: [{
    name: "model",
    in: "path",
    required: true,
    description: "The model's name.",
    schema: TEXT,
  }],
  responses: { 200: jsonAnswer("The model.", ref("Model")) },
  problems: ["model_not_found"],
  errorContent: { schema: ref("OpenAIError") },
  schemas: modelSchemas,
};

/** The operations of OpenAI's API. */
export const openaiOperations: Operations = {
  "POST /v1/chat/completions": chatCompletionOperation,
  "GET /v1/models": modelsOperation,
  "GET /v1/models/{model}": modelOperation,
};
