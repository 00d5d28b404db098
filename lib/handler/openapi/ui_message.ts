/** The OpenAPI operations of the AI SDK's chat routes: the UI message stream, version 1. */
import { uiChat } from "../routes/ui_message.ts";
import {
  BODY_PROBLEMS,
  eventSchema,
  jsonBody,
  type JsonSchema,
  jsonText,
  type Operation,
  type Operations,
  ref,
  type ResponseObject,
  STREAM_PROBLEMS,
} from "./operation.ts";

const TEXT: JsonSchema = { type: "string" };

/**
 * The fields of each kind of text part, beside its type. Other parts are described by their type
 * alone.
 */
const PARTS: Record<string, string[]> = {
  "text-start": ["id"],
  "text-delta": ["id", "delta"],
  "text-end": ["id"],
  "reasoning-start": ["id"],
  "reasoning-delta": ["id", "delta"],
  "reasoning-end": ["id"],
  error: ["errorText"],
};
const OTHERS = {
  type: "object",
  properties: {
    type: { type: "string", not: { enum: Object.keys(PARTS) }, examples: ["start", "finish"] },
  },
  required: ["type"],
};

const schemas: Record<string, JsonSchema> = {
  UIChatRequest: {
    ...uiChat.schema,
    description: "Other fields are passed to the source.",
    examples: [{
      id: "chat-1",
      messages: [{ id: "1", role: "user", parts: [{ type: "text", text: "Hello?" }] }],
    }],
  },
  UIMessagePart: {
    description: "A part of the UI message stream.",
    anyOf: [
      ...Object.entries(PARTS).map(([type, fields]) => ({
        type: "object",
        properties: {
          type: { const: type },
          ...Object.fromEntries(fields.map((field) => [field, TEXT])),
        },
        required: ["type", ...fields],
      })),
      OTHERS,
    ],
  },
};

const itemSchema: JsonSchema = {
  anyOf: [
    eventSchema(undefined, jsonText(ref("UIMessagePart"))),
    eventSchema(undefined, { const: "[DONE]" }, "The last event."),
  ],
};

const stream: ResponseObject = {
  description: "The stream.",
  content: { "text/event-stream": { itemSchema } },
};

/** The operation of `POST /api/chat`. */
const chatOperation: Operation = {
  operationId: "chat",
  summary: "Create a UI message stream for the AI SDK",
  tags: ["ui-message"],
  requestBody: jsonBody(ref("UIChatRequest")),
  responses: { 200: stream },
  problems: [...BODY_PROBLEMS, ...STREAM_PROBLEMS],
  schemas,
  resumable: true,
};

/** The operation of `GET /api/chat/{chat id}/stream`. */
const resumeChatOperation: Operation = {
  operationId: "resumeChat",
  summary: "Resume the chat's latest stream from its start",
  tags: ["ui-message"],
  parameters: [{
    name: "id",
    in: "path",
    required: true,
    description: "The chat's id.",
    schema: TEXT,
  }],
  responses: { 200: stream, 204: { description: "No stream of this chat is running." } },
  problems: ["gone", "too_many_streams"],
  schemas,
};

/** The operations of the AI SDK's chat API. */
export const uiMessageOperations: Operations = {
  "POST /api/chat": chatOperation,
  "GET /api/chat/{id}/stream": resumeChatOperation,
};
