/** The OpenAPI operations of OpenAI's Responses API, as far as Spillway implements it. */
import { createResponse } from "../routes/responses_request.ts";
import {
  BODY_PROBLEMS,
  eventSchema,
  jsonAnswer,
  jsonBody,
  type JsonSchema,
  jsonText,
  type Operation,
  type Operations,
  type ParameterObject,
  ref,
  STREAM_PROBLEMS,
} from "./operation.ts";
import { openaiError } from "./openai.ts";

const TEXT: JsonSchema = { type: "string" };
const OBJECT: JsonSchema = { type: "object" };
const INDEX: JsonSchema = { type: "integer", minimum: 0 };
const RESPONSE = { response: ref("Response") };
const ITEM = { output_index: INDEX, item: OBJECT };
const PLACE = { item_id: TEXT, output_index: INDEX };
const CONTENT = { ...PLACE, content_index: INDEX };
const SUMMARY = { ...PLACE, summary_index: INDEX };

/** The fields of each event beside its type and its number. */
const EVENTS: Record<string, Record<string, JsonSchema>> = {
  "response.created": RESPONSE,
  "response.queued": RESPONSE,
  "response.in_progress": RESPONSE,
  "response.output_item.added": ITEM,
  "response.content_part.added": { ...CONTENT, part: OBJECT },
  "response.output_text.delta": { ...CONTENT, delta: TEXT },
  "response.output_text.annotation.added": {
    ...CONTENT,
    annotation_index: INDEX,
    annotation: OBJECT,
  },
  "response.output_text.done": { ...CONTENT, text: TEXT },
  "response.refusal.delta": { ...CONTENT, delta: TEXT },
  "response.refusal.done": { ...CONTENT, refusal: TEXT },
  "response.content_part.done": { ...CONTENT, part: OBJECT },
  "response.reasoning_summary_part.added": { ...SUMMARY, part: OBJECT },
  "response.reasoning_summary_text.delta": { ...SUMMARY, delta: TEXT },
  "response.reasoning_summary_text.done": { ...SUMMARY, text: TEXT },
  "response.reasoning_summary_part.done": { ...SUMMARY, part: OBJECT },
  "response.function_call_arguments.delta": { ...PLACE, delta: TEXT },
  "response.function_call_arguments.done": { ...PLACE, name: TEXT, arguments: TEXT },
  "response.custom_tool_call_input.delta": { ...PLACE, delta: TEXT },
  "response.custom_tool_call_input.done": { ...PLACE, input: TEXT },
  "response.output_item.done": ITEM,
  "response.completed": RESPONSE,
  "response.incomplete": RESPONSE,
  error: { code: TEXT, message: TEXT, param: { type: ["string", "null"] }, error: OBJECT },
  "response.failed": RESPONSE,
};

const responseSchemas: Record<string, JsonSchema> = {
  OpenAIError: openaiError,
  Response: {
    type: "object",
    properties: {
      id: TEXT,
      object: { const: "response" },
      created_at: { type: "integer", description: "Seconds since 1970." },
      model: TEXT,
      status: {
        enum: ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"],
      },
      output: { type: "array", items: OBJECT },
      error: { type: ["object", "null"] },
      incomplete_details: { type: ["object", "null"] },
      usage: { type: ["object", "null"] },
    },
    required: ["id", "object", "status", "output"],
  },
};

const itemSchema: JsonSchema = {
  anyOf: [
    ...Object.entries(EVENTS).map(([name, more]) =>
      eventSchema(
        name,
        jsonText({
          type: "object",
          properties: { type: { const: name }, ...more, sequence_number: INDEX },
          required: ["type", ...Object.keys(more), "sequence_number"],
        }),
      )
    ),
    eventSchema(undefined, { const: "[DONE]" }, "The last event."),
  ],
};

/** The operation of `POST /v1/responses`. */
const createOperation: Operation = {
  operationId: "createResponse",
  summary: "Create a response",
  tags: ["responses"],
  requestBody: jsonBody(ref("ResponseRequest")),
  responses: {
    200: {
      description: "An event stream where `stream` is true, else one JSON document. With " +
        "`background` and without `stream` the document is sent at once, and the generation goes on.",
      content: {
        "text/event-stream": { itemSchema },
        "application/json": { schema: ref("Response") },
      },
    },
  },
  problems: [...BODY_PROBLEMS, "model_not_found", ...STREAM_PROBLEMS],
  statuses: { invalid_input: 400 },
  errorContent: { schema: ref("OpenAIError") },
  schemas: {
    ...responseSchemas,
    ResponseRequest: {
      ...createResponse.schema,
      description: "Other fields are passed to the source.",
      examples: [{ model: "spillway", stream: true, input: "Hello?" }],
    },
  },
  resumable: true,
};

const id: ParameterObject = {
  name: "id",
  in: "path",
  required: true,
  description: "The response's id: `resp_` and the stream's id.",
  schema: TEXT,
};

/** What the operations on a response that is there have in common. */
const found: Pick<Operation, "tags" | "parameters" | "problems" | "errorContent" | "schemas"> = {
  tags: ["responses"],
  parameters: [id],
  problems: ["not_found", "too_many_streams", "log_unavailable"],
  errorContent: { schema: ref("OpenAIError") },
  schemas: responseSchemas,
};

/** The operation of `GET /v1/responses/{id}`. */
const retrieveOperation: Operation = {
  ...found,
  operationId: "retrieveResponse",
  summary: "Retrieve or resume a response",
  parameters: [id, {
    name: "stream",
    in: "query",
    description: "`true` returns its events in place of it, from the first one on.",
    schema: { type: "boolean" },
  }, {
    name: "starting_after",
    in: "query",
    description: "With `stream`: the `sequence_number` of the last event that the client has.",
    schema: INDEX,
  }],
  responses: {
    200: {
      description: "The response as it is now, or its events.",
      content: {
        "text/event-stream": { itemSchema },
        "application/json": { schema: ref("Response") },
      },
    },
    204: { description: "The client has read the end, as its `Last-Event-ID` says." },
  },
  problems: [...found.problems, "bad_request"],
  resumable: true,
};

/** The operation of `POST /v1/responses/{id}/cancel`. */
const cancelOperation: Operation = {
  ...found,
  operationId: "cancelResponse",
  summary: "Cancel a response",
  responses: { 200: jsonAnswer("The response, which has ended.", ref("Response")) },
};

/** The operation of `DELETE /v1/responses/{id}`. */
const deleteOperation: Operation = {
  ...found,
  operationId: "deleteResponse",
  summary: "Stop and delete a response",
  responses: {
    200: jsonAnswer("The response was deleted.", {
      type: "object",
      properties: { id: TEXT, object: { const: "response" }, deleted: { const: true } },
      required: ["id", "object", "deleted"],
    }),
  },
};

/** The operations of the Responses API. */
export const responsesOperations: Operations = {
  "POST /v1/responses": createOperation,
  "GET /v1/responses/{id}": retrieveOperation,
  "POST /v1/responses/{id}/cancel": cancelOperation,
  "DELETE /v1/responses/{id}": deleteOperation,
};
