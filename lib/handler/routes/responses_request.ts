/**
 * What a request of OpenAI's Responses API holds, and what a source gets of it. Separate from the routes
 * because those are about responses that are there already.
 */
import {
  type ChatFields,
  type ChatMessage,
  type ChatTool,
  keepOriginal,
  queryOf,
} from "../../chat.ts";
import { responsesFormat } from "../../formats/responses.ts";
import { isObject } from "../../values.ts";
import { type Schema, where } from "../schema.ts";
import { FIELDS, fieldsOf, PART } from "./chat_fields.ts";
import { type Fields, isText } from "./content.ts";
import { isMessage, messagesOf, type ResponsesItem } from "./responses_messages.ts";
import type { StreamRoute } from "./stream_route.ts";

/** The body of a request for a response. Fields that are not listed here are passed on unchanged. */
export interface ResponsesRequest {
  /** The model's name: one of `models` if the handler has them, else any name. */
  model: string;
  /** The conversation: the user's text, or items, at least one. */
  input: string | ResponsesItem[];
  /** The system prompt. */
  instructions?: string | null;
  /** Whether the response is an event stream or one document. @default {false} */
  stream?: boolean | null;
  /**
   * Whether the generation runs to its end without readers, which takes a log. Without `stream` the
   * answer is there at once, and the client asks for more later. @default {false}
   */
  background?: boolean | null;
  /** The sampling temperature, 0 to 2. */
  temperature?: number | null;
  /** The nucleus sampling threshold, 0 to 1. */
  top_p?: number | null;
  /** The most tokens to generate, 1 or more. */
  max_output_tokens?: number | null;
  /** The tools that the model may call. Only functions and custom tools reach the source. */
  tools?: { type: string; [field: string]: unknown }[] | null;
  /** How tools are chosen: `auto`, `none`, `required`, or the tool that must be called. */
  tool_choice?: string | Record<string, unknown> | null;
  /** Whether the model may call several tools at once. */
  parallel_tool_calls?: boolean | null;
  /** How the model thinks: `effort`, such as `low`, `medium` or `high`. */
  reasoning?: { effort?: string | null; [field: string]: unknown } | null;
  /** The shape of the text (`format`), and how wordy it is (`verbosity`). */
  text?: { format?: Record<string, unknown> | null; [field: string]: unknown } | null;
  /** An earlier response that this one goes on from. Nothing is added for it: that is the source's. */
  previous_response_id?: string | null;
  /** Further fields, which nobody has checked. */
  [field: string]: unknown;
}

/** What a source gets as `input` under `POST /v1/responses`. */
export interface ResponsesInput extends ChatFields {
  /** The API of the route. */
  api: "responses";
  /** The conversation, in the terms of the chat completions API. */
  messages: ChatMessage[];
  /** The model's name, as the client sent it. */
  model: string;
  /** The request's body, unchanged. */
  body: ResponsesRequest;
}

const FLAG: Schema = { type: ["boolean", "null"] };
const { messages: _messages, ...SHARED } = FIELDS;

/** What `POST /v1/responses` reads and writes. */
export const createResponse: StreamRoute<ResponsesRequest> = {
  schema: {
    type: "object",
    required: ["model", "input"],
    properties: {
      ...SHARED,
      input: {
        type: ["string", "array"],
        minItems: 1,
        items: {
          type: "object",
          properties: {
            type: { type: ["string", "null"] },
            role: { enum: ["user", "assistant", "system", "developer"] },
            content: { type: ["string", "array", "null"], items: PART },
            call_id: { type: ["string", "null"] },
            name: { type: ["string", "null"] },
            arguments: { type: ["string", "object", "null"] },
          },
          if: where("type", "message"),
          then: { required: ["role", "content"] },
        },
      },
      instructions: { type: ["string", "null"] },
      stream: FLAG,
      background: FLAG,
      max_output_tokens: { type: ["integer", "null"], minimum: 1 },
      tools: {
        type: ["array", "null"],
        items: {
          type: "object",
          required: ["type"],
          properties: { type: { type: "string" }, name: { type: "string", minLength: 1 } },
          if: where("type", "function", "custom"),
          then: { required: ["name"] },
        },
      },
      reasoning: {
        type: ["object", "null"],
        properties: { effort: { type: ["string", "null"] } },
      },
      text: {
        type: ["object", "null"],
        properties: { format: { type: ["object", "null"] } },
      },
      previous_response_id: { type: ["string", "null"] },
    },
  },
  invalidStatus: 400,
  picksModel: true,
  input: (body) => inputOf(body, body.input),
  formatName: "responses",
  format: (body) =>
    responsesFormat.with({
      model: body.model,
      buffered: body.stream !== true && body.background !== true,
      background: body.background === true,
      request: body,
    }),
  isBackground: ({ background }) => background === true,
};

/**
 * What a source gets of a request.
 *
 * @param input Its input without references.
 */
export function inputOf(
  body: ResponsesRequest,
  input: ResponsesRequest["input"],
): ResponsesInput {
  const { instructions: _instructions, input: _input, ...others } = body;
  const messages = messagesOf(body.instructions, input);
  keepOriginal(messages, { api: "responses", body: { ...body, input } });
  return {
    ...fieldsOf({
      ...others,
      ...toolsOf(body),
      max_tokens: body.max_output_tokens ?? null,
      reasoning_effort: body.reasoning?.effort ?? null,
      response_format: responseFormatOf(body.text?.format),
    }),
    model: body.model,
    messages,
    query: typeof input === "string" ? input : queryIn(input),
    api: "responses",
    body,
  };
}

/** The text of the user's last message. */
function queryIn(items: readonly ResponsesItem[]): string {
  const last = items.findLast((item) => isMessage(item) && item.role === "user");
  return last === undefined ? "" : queryOf(messagesOf(undefined, [last]));
}

/** The tools that another model can use, and how they are chosen. Those of OpenAI's servers are dropped. */
function toolsOf({ tools, tool_choice: choice }: ResponsesRequest): Fields {
  return {
    tools: tools?.flatMap(toolOf) ?? null,
    tool_choice: isObject(choice) ? choiceOf(choice as Fields) : choice ?? null,
  };
}

function toolOf({ type, name, description, parameters, strict, format }: Fields): ChatTool[] {
  if (!isText(name)) return [];
  const named = { name, ...isText(description) ? { description } : {} };
  if (type === "custom") {
    const { type: kind, ...grammar } = Object(format);
    const shape = kind === "grammar" ? { format: { type: kind, grammar } } : {};
    return [{ type, custom: { ...named, ...shape } }];
  }
  if (type !== "function") return [];
  const shape = isObject(parameters) ? { parameters } : {};
  return [{
    type,
    function: { ...named, ...shape, ...typeof strict === "boolean" ? { strict } : {} },
  }];
}

function choiceOf({ type, name, mode }: Fields): unknown {
  if (type === "allowed_tools") return mode ?? null;
  return type === "function" || type === "custom" ? { type, [type]: { name } } : null;
}

/** The shape of the text, under the names of the chat completions API. */
function responseFormatOf(format: unknown): Fields | null {
  const { type, ...shape } = isObject(format) ? format as Fields : {};
  if (type === "json_schema") return { type, json_schema: shape };
  return type === "json_object" ? { type } : null;
}
