/**
 * The OpenAPI operations of `/streaming` and of the streams under it, in each of Spillway's own
 * formats.
 */
import {
  BODY_PROBLEMS,
  eventSchema,
  jsonBody,
  type JsonSchema,
  jsonText,
  type Operation,
  type Operations,
  type ParameterObject,
  ref,
  type ResponseObject,
  RUN_ID_SCHEMA,
  STREAM_PROBLEMS,
} from "./operation.ts";
import { FORMATS } from "../../http/sse.ts";

const NAMED: JsonSchema = { type: "string", not: { enum: ["done", "failed", "open", "error"] } };

/** The schemas of what a stream holds. */
export const streamSchemas: Readonly<Record<string, JsonSchema>> = {
  Token: {
    type: "object",
    description: "A piece of generated text.",
    properties: { token: { type: "string" } },
    required: ["token"],
  },
  Done: {
    type: "object",
    description: "How the generation ended.",
    properties: {
      reason: { enum: ["completed", "cancelled"] },
      tokens: { type: "integer", minimum: 0 },
      finishReason: { type: "string", description: "As the model reports it." },
      usage: { type: "object", description: "As the model reports it." },
    },
    required: ["reason", "tokens"],
  },
  TokenEvent: eventSchema(undefined, jsonText(ref("Token")), "A token (`?format=json`)."),
  TextEvent: eventSchema(undefined, { type: "string" }, "A token (`?format=text`)."),
  StructuredEvent: eventSchema(NAMED, jsonText({}), "Structured data from the source."),
  DoneEvent: eventSchema("done", jsonText(ref("Done")), "The normal end of the stream."),
  FailedEvent: eventSchema(
    "failed",
    jsonText(ref("Problem")),
    "The failure that ended the stream.",
  ),
  StructuredLine: {
    type: "object",
    description: "Structured data from the source.",
    properties: { event: NAMED, data: {} },
    required: ["data"],
  },
  DoneLine: {
    type: "object",
    description: "The normal end of the stream.",
    properties: { event: { const: "done" }, data: ref("Done") },
    required: ["event", "data"],
  },
  FailedLine: {
    type: "object",
    description: "The failure that ended the stream.",
    properties: { event: { const: "failed" }, data: ref("Problem") },
    required: ["event", "data"],
  },
};

const anyOf = (...names: string[]): JsonSchema => ({ anyOf: names.map(ref) });

const EVENTS = {
  itemSchema: anyOf("TokenEvent", "TextEvent", "StructuredEvent", "DoneEvent", "FailedEvent"),
};

/** The response of a stream in the format that was asked for. */
export const streamResponse: ResponseObject = {
  description: "The stream. A body that ends without `done` or `failed` was cut off.",
  content: {
    "text/event-stream": EVENTS,
    "application/x-ndjson": {
      itemSchema: anyOf("Token", "StructuredLine", "DoneLine", "FailedLine"),
    },
    "text/plain": { schema: { type: "string" } },
  },
};

/** The parameter that selects the format. */
export const formatParameter: ParameterObject = {
  name: "format",
  in: "query",
  description: "The format of the stream; without it, `Accept` decides.",
  schema: { enum: Object.keys(FORMATS) },
};

/** The operation of `POST /streaming`. `Input` is the schema that the handler was given. */
const streamOperation: Operation = {
  operationId: "stream",
  summary: "Create a stream",
  tags: ["streams"],
  parameters: [formatParameter],
  requestBody: jsonBody(ref("Input")),
  responses: { 200: streamResponse },
  problems: [...BODY_PROBLEMS, "not_acceptable", ...STREAM_PROBLEMS],
  schemas: streamSchemas,
  resumable: true,
};

const streamId: ParameterObject = {
  name: "id",
  in: "path",
  required: true,
  description: "The stream's id, as in `X-Stream-Id` and in every event id.",
  schema: { type: "string" },
};

/** Where a client begins to read a stream. */
const positions: readonly ParameterObject[] = [{
  name: "lastEventId",
  in: "query",
  description:
    "As `Last-Event-ID`, for clients that cannot send headers; the header takes precedence.",
  schema: { type: "string" },
}, {
  name: "tail",
  in: "query",
  description: "How many of the last events come first; only in `json` and `text`.",
  schema: { type: "integer", minimum: 1, maximum: 10_000 },
}];

/** The operation of `GET /streaming/{id}`. */
const resumeOperation: Operation = {
  operationId: "resume",
  summary: "Join or resume a stream",
  tags: ["streams"],
  parameters: [streamId, ...positions],
  responses: {
    200: {
      description: "The events after the last one received, in the format of the stream.",
      content: { "text/event-stream": EVENTS },
    },
    204: { description: "The stream has ended, and the client has read its end." },
  },
  problems: ["bad_request", "not_found", "too_many_streams"],
  schemas: streamSchemas,
  resumable: true,
};

/** The operation of `GET /streaming`. */
const joinOperation: Operation = {
  ...resumeOperation,
  operationId: "join",
  summary: "Join or resume a stream by the name that its client gave it",
  parameters: [{
    name: "runId",
    in: "query",
    required: true,
    description: "The `X-Run-Id` of the request that began the stream.",
    schema: RUN_ID_SCHEMA,
  }, ...positions],
};

/** The operation of `DELETE /streaming/{id}`. */
const stopOperation: Operation = {
  operationId: "stop",
  summary: "Stop a generation",
  tags: ["streams"],
  parameters: [streamId],
  responses: { 204: { description: "The generation has ended." } },
  problems: ["not_found"],
};

/** The operations of Spillway's own API. */
export const streamingOperations: Operations = {
  "POST /streaming": streamOperation,
  "GET /streaming": joinOperation,
  "GET /streaming/{id}": resumeOperation,
  "DELETE /streaming/{id}": stopOperation,
};
