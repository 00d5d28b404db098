/** The OpenAPI operations of AG-UI's route, version 1.0 of the protocol. */
import { agUiRun } from "../routes/ag_ui.ts";
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
  RUN_ID_SCHEMA,
  STREAM_PROBLEMS,
} from "./operation.ts";

const TEXT: JsonSchema = { type: "string" };

/** The texts of each event that the server always writes alike, beside its type. */
const EVENTS: Record<string, string[]> = {
  RUN_STARTED: ["threadId", "runId", "protocolVersion"],
  TEXT_MESSAGE_START: ["messageId", "role"],
  TEXT_MESSAGE_CONTENT: ["messageId", "delta"],
  TEXT_MESSAGE_END: ["messageId"],
  REASONING_START: ["messageId"],
  REASONING_MESSAGE_START: ["messageId", "role"],
  REASONING_MESSAGE_CONTENT: ["messageId", "delta"],
  REASONING_MESSAGE_END: ["messageId"],
  REASONING_END: ["messageId"],
  TOOL_CALL_START: ["toolCallId", "toolCallName", "parentMessageId"],
  TOOL_CALL_ARGS: ["toolCallId", "delta"],
  TOOL_CALL_END: ["toolCallId"],
  TOOL_CALL_RESULT: ["messageId", "toolCallId", "content"],
  RUN_FINISHED: ["threadId", "runId"],
  RUN_ERROR: ["message", "code"],
};
const OTHERS = {
  type: "object",
  properties: {
    type: { type: "string", not: { enum: Object.keys(EVENTS) }, examples: ["CUSTOM"] },
  },
  required: ["type"],
};

const schemas: Record<string, JsonSchema> = {
  AgUiRequest: {
    ...agUiRun.schema,
    description: "A run of AG-UI. `forwardedProps` may hold the settings of a chat completion.",
    examples: [{
      threadId: "thread-1",
      runId: "run-1",
      messages: [{ id: "1", role: "user", content: "Hello?" }],
    }],
  },
  AgUiEvent: {
    description: "An event of AG-UI.",
    anyOf: [
      ...Object.entries(EVENTS).map(([type, fields]) => ({
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

const stream: ResponseObject = {
  description: "The run, from `RUN_STARTED` to `RUN_FINISHED` or `RUN_ERROR`.",
  content: {
    "text/event-stream": { itemSchema: eventSchema(undefined, jsonText(ref("AgUiEvent"))) },
  },
};

/** The operation of `POST /ag-ui`. */
const runOperation: Operation = {
  operationId: "runAgent",
  summary: "Create a run for a client of AG-UI or TanStack AI",
  tags: ["ag-ui"],
  requestBody: jsonBody(ref("AgUiRequest")),
  responses: { 200: stream },
  problems: [...BODY_PROBLEMS, ...STREAM_PROBLEMS],
  schemas,
  resumable: true,
};

/** The operation of `GET /ag-ui`. */
const joinRunOperation: Operation = {
  operationId: "joinRun",
  summary: "Join a run from its start",
  tags: ["ag-ui"],
  parameters: [{
    name: "runId",
    in: "query",
    required: true,
    description: "The `X-Run-Id` of the request that began the run.",
    schema: RUN_ID_SCHEMA,
  }, {
    name: "offset",
    in: "query",
    description: "Always -1, the start of the run.",
    schema: { const: "-1" },
  }],
  responses: {
    200: stream,
    204: { description: "The run has ended, and the client has read its end." },
  },
  problems: ["bad_request", "not_found", "too_many_streams"],
  schemas,
  resumable: true,
};

/** The operations of AG-UI's route. */
export const agUiOperations: Operations = {
  "POST /ag-ui": runOperation,
  "GET /ag-ui": joinRunOperation,
};
