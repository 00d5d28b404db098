/**
 * `/ag-ui`, the route of AG-UI's clients and of TanStack AI's. Its messages are translated to those of
 * the chat completions API, so that a source has to know only that one.
 */
import { type ChatFields, type ChatMessage, type ChatTool, queryOf } from "../../chat.ts";
import { StreamError } from "../../error.ts";
import { agUiFormat } from "../../formats/ag_ui.ts";
import { queryParameter } from "../../http/url.ts";
import { definedOf } from "../../values.ts";
import { type Schema, where } from "../schema.ts";
import { type AgUiContext, type AgUiMessage, messagesOf } from "./ag_ui_messages.ts";
import { FIELDS, fieldsOf, MAX_NAME_LENGTH } from "./chat_fields.ts";
import type { Api } from "./route.ts";
import type { StreamRoute } from "./stream_route.ts";

/** A tool of the client's. */
export interface AgUiTool {
  /** The name by which the model calls it. */
  name: string;
  /** What it does. */
  description?: string;
  /** Its arguments, as a JSON Schema. */
  parameters?: unknown;
  /** Further fields, unchanged. */
  [field: string]: unknown;
}

/** The body of a request of AG-UI: `RunAgentInput`. */
export interface AgUiRequest {
  /** The conversation's id. */
  threadId: string;
  /** The run's id, which the client has chosen. */
  runId: string;
  /** The id of the run that this one continues. */
  parentRunId?: string;
  /** The application's state. */
  state?: unknown;
  /** The conversation. */
  messages: AgUiMessage[];
  /** The tools that run in the client. */
  tools?: AgUiTool[];
  /** What the application tells of itself. */
  context?: AgUiContext[];
  /** What the front end adds. The fields of {@linkcode ChatFields} are checked. */
  forwardedProps?: unknown;
  /** What has become of the interrupts of an earlier run. */
  resume?: unknown[];
  /** Further fields, unchanged. */
  [field: string]: unknown;
}

/** What a source gets as `input` under `POST /ag-ui`. */
export interface AgUiInput extends ChatFields {
  /** The API of the route. */
  api: "ag-ui";
  /** The conversation, in the terms of the chat completions API. */
  messages: ChatMessage[];
  /** The conversation's id. */
  threadId: string;
  /** The run's id. */
  runId: string;
  /** The request's body, unchanged. */
  body: AgUiRequest;
}

const NAME: Schema = { type: "string", maxLength: MAX_NAME_LENGTH };

const CALL: Schema = {
  type: "object",
  required: ["id", "function"],
  properties: {
    id: { type: "string" },
    function: {
      type: "object",
      required: ["name"],
      properties: { name: { type: "string" }, arguments: { type: "string" } },
    },
  },
};

/** The settings that a front end may add. What it says and which tools it has stand in their places. */
const { messages: _messages, tools: _tools, ...SETTINGS } = FIELDS;

/** What `POST /ag-ui` reads and writes. */
export const agUiRun: StreamRoute<AgUiRequest> = {
  schema: {
    type: "object",
    required: ["threadId", "runId", "messages"],
    properties: {
      threadId: NAME,
      runId: NAME,
      parentRunId: NAME,
      messages: {
        type: "array",
        items: {
          type: "object",
          required: ["role"],
          properties: {
            id: { type: "string" },
            role: {
              enum: ["developer", "system", "user", "assistant", "tool", "reasoning", "activity"],
            },
            toolCalls: { type: "array", items: CALL },
            toolCallId: { type: "string" },
          },
          if: where("role", "tool"),
          then: { required: ["toolCallId"] },
        },
      },
      tools: {
        type: "array",
        items: {
          type: "object",
          required: ["name"],
          properties: { name: { type: "string", minLength: 1 }, description: { type: "string" } },
        },
      },
      context: {
        type: "array",
        items: {
          type: "object",
          required: ["description", "value"],
          properties: { description: { type: "string" }, value: { type: "string" } },
        },
      },
      forwardedProps: { properties: SETTINGS },
    },
  },
  invalidStatus: 422,
  input(body): AgUiInput {
    const { threadId, runId, context = [], tools = [], forwardedProps } = body;
    const { messages: _messages, tools: _tools, ...settings } = fieldsOf(Object(forwardedProps));
    const messages = messagesOf(body.messages, context);
    return {
      ...settings,
      ...tools.length > 0 && { tools: tools.map(functionOf) },
      messages,
      query: queryOf(messages),
      threadId,
      runId,
      api: "ag-ui",
      body,
    };
  },
  formatName: agUiFormat.name,
  isAlwaysNamed: true,
  format({ threadId, runId, parentRunId, forwardedProps }) {
    const { model } = Object(forwardedProps);
    return agUiFormat.with(definedOf({ threadId, runId, parentRunId, model }));
  },
};

function functionOf({ name, description, parameters }: AgUiTool): ChatTool {
  return { type: "function", function: { name, ...definedOf({ description, parameters }) } };
}

/** The API of AG-UI. */
export const agUiApi: Api = {
  routes: [
    {
      method: "POST",
      path: "/ag-ui",
      answer: (call, context) => context.stream(call, agUiRun),
    },
    {
      method: "GET",
      path: "/ag-ui",
      answer(call, context) {
        const runId = queryParameter(call.request, "runId");
        const offset = queryParameter(call.request, "offset") ?? "-1";
        if (runId === null || offset !== "-1") {
          const detail = runId === null
            ? "runId is missing; POST begins a run"
            : "offset is not -1; Last-Event-ID says where to go on";
          throw new StreamError("bad_request", { detail });
        }
        return context.resume(call, { runId, format: agUiFormat.name });
      },
    },
  ],
  formats: [agUiFormat],
};
