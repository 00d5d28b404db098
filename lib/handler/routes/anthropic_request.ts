/**
 * What a request of Anthropic's messages API holds, and what a source gets of it. Separate from the
 * route because counting tokens asks the same of a body.
 */
import {
  type ChatFields,
  type ChatMessage,
  type ChatTool,
  keepOriginal,
  queryOf,
} from "../../chat.ts";
import { isObject } from "../../values.ts";
import { handlerError } from "../codes.ts";
import { type Faults, InvalidInput, type Schema, where } from "../schema.ts";
import { type ContentBlock, messagesOf, toolChangeOf } from "./anthropic_messages.ts";
import { FIELDS, fieldsOf, PART } from "./chat_fields.ts";
import { type Fields, isText } from "./content.ts";
import type { BodyRoute, InputSettings } from "./stream_route.ts";

/** The body of a messages request. Fields that are not listed here are passed on unchanged. */
export interface MessagesRequest extends CountTokensRequest {
  /** The most tokens to generate, 1 or more. */
  max_tokens: number;
}

/** The body of a request whose tokens are counted: a messages request, which may lack `max_tokens`. */
export interface CountTokensRequest {
  /** The model's name: one of `models` if the handler has them, else any name. */
  model: string;
  /** The conversation, at least one message. */
  messages: { role: "user" | "assistant" | "system"; content: string | ContentBlock[] }[];
  /** The system prompt: text, or text blocks, which are joined by line breaks. */
  system?: string | ContentBlock[] | null;
  /** Whether the response is an event stream or one document. @default {false} */
  stream?: boolean | null;
  /** The sampling temperature, 0 to 1. */
  temperature?: number | null;
  /** The nucleus sampling threshold, 0 to 1. */
  top_p?: number | null;
  /** Texts at which generation stops. */
  stop_sequences?: string[] | null;
  /** The tools that the model may use. */
  tools?: AnthropicTool[] | null;
  /** How tools are chosen: `type` is `auto`, `any`, `none`, or `tool` for the one with this `name`. */
  tool_choice?: {
    type: string;
    name?: string;
    disable_parallel_tool_use?: boolean;
    [field: string]: unknown;
  } | null;
  /** How the model thinks: with `budget_tokens` it becomes a `reasoning_effort`. */
  thinking?: { type: string; budget_tokens?: number; [field: string]: unknown } | null;
  /** How much effort the model makes (`effort`), and the shape of its text (`format`). */
  output_config?: { [field: string]: unknown } | null;
  /** Further fields, which nobody has checked. */
  [field: string]: unknown;
}

/**
 * A tool that the client runs or, with a `type` of its own and without a schema, one that the
 * server runs.
 */
export interface AnthropicTool {
  /** The tool's name, one character or more for one that the client runs. */
  name?: string;
  /** The kind of tool: absent or `custom` for one that the client runs. */
  type?: string | null;
  /** What the tool does, for the model. */
  description?: string;
  /** The JSON Schema of the tool's input. */
  input_schema?: Record<string, unknown>;
  /** Further fields, unchanged. */
  [field: string]: unknown;
}

/** What a source gets as `input` under `POST /v1/messages`. */
export interface AnthropicInput extends ChatFields {
  /** The API of the route. */
  api: "anthropic";
  /** The conversation; all system prompts are its first message, and each tool result is one. */
  messages: ChatMessage[];
  /** The model's name, as the client sent it. */
  model: string;
  /** The most tokens to generate, 1 or more. */
  max_tokens: number;
  /** The request's body, unchanged. */
  body: MessagesRequest;
}

/** The schema of a request whose tokens are counted. */
const counted = {
  type: "object",
  required: ["model", "messages"],
  properties: {
    ...FIELDS,
    messages: {
      type: "array",
      minItems: 1,
      items: {
        type: "object",
        required: ["role", "content"],
        properties: {
          role: { enum: ["user", "assistant", "system"] },
          content: { type: ["string", "array"], items: PART },
        },
      },
    },
    max_tokens: { type: "integer", minimum: 1 },
    system: { type: ["string", "array", "null"], items: PART },
    stream: { type: ["boolean", "null"] },
    temperature: { type: ["number", "null"], minimum: 0, maximum: 1 },
    stop_sequences: { type: ["array", "null"], items: { type: "string" } },
    tools: {
      type: ["array", "null"],
      items: {
        type: "object",
        properties: {
          name: { type: "string", minLength: 1 },
          type: { type: ["string", "null"] },
          input_schema: { type: "object" },
        },
        if: where("type", "custom"),
        then: { required: ["name"] },
      },
    },
    tool_choice: {
      type: ["object", "null"],
      required: ["type"],
      properties: { type: { enum: ["auto", "any", "tool", "none"] }, name: { type: "string" } },
    },
    thinking: {
      type: ["object", "null"],
      required: ["type"],
      properties: {
        type: { type: "string" },
        budget_tokens: { type: ["integer", "null"], minimum: 0 },
      },
    },
    output_config: {
      type: ["object", "null"],
      properties: { effort: { type: ["string", "null"] }, format: { type: ["object", "null"] } },
    },
  },
} satisfies Schema;

/** What `POST /v1/messages/count_tokens` reads. */
export const countedRequest: BodyRoute<CountTokensRequest> = {
  schema: counted,
  invalidStatus: 400,
  picksModel: true,
  input: (body, settings) => inputOf(body as MessagesRequest, settings),
};

/** What `POST /v1/messages` reads. */
export const messagesRequest: BodyRoute<MessagesRequest> = {
  ...countedRequest,
  schema: { ...counted, required: ["model", "max_tokens", "messages"] },
  input: inputOf,
};

/**
 * What a source gets of a request.
 *
 * @throws {StreamError} If it asks for what nobody but Anthropic can do. A thread would be the worst to
 * ignore: its later requests have the new messages alone.
 */
function inputOf(body: MessagesRequest, settings: InputSettings): AnthropicInput {
  const { stop_sequences, thread } = body;
  if (thread != null) throw handlerError("thread_unsupported_request");
  const messages = messagesOf(body.system, body.messages);
  keepOriginal(messages, { api: "anthropic", body });
  return {
    ...fieldsOf(withTools(body, settings)),
    ...stop_sequences ? { stop: stop_sequences } : {},
    ...effortOf(body),
    ...responseFormatOf(body),
    model: body.model,
    max_tokens: body.max_tokens,
    messages,
    query: queryIn(body.messages),
    api: "anthropic",
    body,
  };
}

/** The text of the user's last message. One that only returns what tools have is not the user's. */
function queryIn(messages: MessagesRequest["messages"]): string {
  return queryOf(
    messages.filter(({ content }) =>
      typeof content === "string" || content.some(({ type }) => type === "text") ||
      !content.some(({ type }) => type === "tool_result")
    ),
  );
}

/** What runs on Anthropic's own servers, beside tools. */
const SERVER_FIELDS = ["mcp_servers", "container"];

/**
 * The body with the tools that another model can use, and with what belongs to them.
 *
 * @throws {InvalidInput} If a tool has no name, or one of Anthropic's own is not dropped by option.
 */
function withTools(body: MessagesRequest, { builtInTools }: InputSettings): Fields {
  const fields: Record<string, unknown> = { ...body };
  const faults: Faults = [];
  const dropped = new Set<unknown>();
  fields.tools = toolsIn(body)?.flatMap(({ tool, pointer }): ChatTool[] => {
    const { name, type, input_schema } = tool;
    const isBuiltIn = input_schema === undefined && isText(type) && type !== "custom";
    if (!isBuiltIn && isText(name)) return [toolOf(tool, name)];
    if (!isBuiltIn) faults.push({ pointer: `${pointer}/name`, detail: "Required" });
    else if (builtInTools === "drop") dropped.add(name);
    else faults.push({ pointer, detail: onlyAnthropic(`${isText(name) ? name : type} (${type})`) });
    return [];
  });
  for (const field of SERVER_FIELDS) {
    const value = body[field];
    if (value == null || Array.isArray(value) && value.length === 0) continue;
    if (builtInTools === "drop") delete fields[field];
    else faults.push({ pointer: `/${field}`, detail: onlyAnthropic(field) });
  }
  if (faults.length > 0) throw new InvalidInput(faults, "invalid_input", { status: 400 });
  const { tool_choice: choice } = body;
  if (choice?.type === "tool" && dropped.has(choice.name)) delete fields.tool_choice;
  else if (choice) Object.assign(fields, choiceOf(choice));
  return fields;
}

function onlyAnthropic(what: string): string {
  return `${what} is Anthropic's own and cannot be used here`;
}

/** A tool, and where it stands in the body. */
interface PlacedTool {
  readonly tool: AnthropicTool;
  readonly pointer: string;
}

/**
 * The tools of a request as its conversation has left them: messages of the system may add one, by its
 * definition or, once it was removed, by its name. `undefined` if there never was any.
 */
function toolsIn({ tools, messages }: CountTokensRequest): PlacedTool[] | undefined {
  const placed = new Map<unknown, PlacedTool>();
  const removed = new Map<unknown, PlacedTool>();
  // One without a name is nobody's to remove.
  const add = (tool: AnthropicTool, pointer: string) =>
    placed.set(tool.name ?? pointer, { tool, pointer });
  tools?.forEach((tool, at) => add(tool, `/tools/${at}`));
  messages.forEach(({ role, content }, at) => {
    if (role !== "system" || typeof content === "string") return;
    content.forEach((block, i) => {
      const change = toolChangeOf(block);
      if (change?.definition) {
        add(change.definition, `/messages/${at}/content/${i}/tool/definition`);
      } else if (change) {
        const [from, to] = block.type === "tool_removal" ? [placed, removed] : [removed, placed];
        const found = from.get(change.name);
        if (found && from.delete(change.name)) to.set(change.name, found);
      }
    });
  });
  const all = [...placed.values()];
  return tools == null && all.length === 0 ? undefined : all;
}

/** Translates a tool. */
function toolOf({ description, input_schema, strict }: AnthropicTool, name: string): ChatTool {
  return {
    type: "function",
    function: {
      name,
      ...isText(description) ? { description } : {},
      ...isObject(input_schema) ? { parameters: parametersOf(input_schema) } : {},
      ...typeof strict === "boolean" ? { strict } : {},
    },
  };
}

/** OpenAI rejects the schema of an object that has no `properties`. */
function parametersOf(schema: Fields): Fields {
  return schema.type === "object" && schema.properties === undefined
    ? { ...schema, properties: {} }
    : schema;
}

function choiceOf(
  { type, name, disable_parallel_tool_use }: NonNullable<MessagesRequest["tool_choice"]>,
): Pick<ChatFields, "tool_choice" | "parallel_tool_calls"> {
  return {
    tool_choice: type === "tool"
      ? { type: "function", function: { name } }
      : type === "any"
      ? "required"
      : type,
    ...disable_parallel_tool_use ? { parallel_tool_calls: false } : {},
  };
}

/** The budgets of thinking, in tokens, from which an effort is more than low. */
const MEDIUM_BUDGET = 4096;
const HIGH_BUDGET = 16_384;

/**
 * The effort of the request. What says it in words wins over a budget; without either the upstream
 * decides, and where thinking is disabled as well.
 */
function effortOf(
  { thinking, output_config }: MessagesRequest,
): Pick<ChatFields, "reasoning_effort"> {
  if (thinking?.type === "disabled") return {};
  const effort = output_config?.effort;
  // The word of the chat completions API for the most.
  if (isText(effort)) return { reasoning_effort: effort === "max" ? "xhigh" : effort };
  const budget = thinking?.budget_tokens;
  if (typeof budget !== "number") return {};
  return {
    reasoning_effort: budget < MEDIUM_BUDGET ? "low" : budget < HIGH_BUDGET ? "medium" : "high",
  };
}

/** The shape of the text, under its name of today or of the beta. */
function responseFormatOf(
  { output_config, output_format }: MessagesRequest,
): Pick<ChatFields, "response_format"> {
  const format = output_config?.format ?? output_format;
  const { type, schema } = isObject(format) ? format as Fields : {};
  if (type !== "json_schema" || !isObject(schema)) return {};
  return { response_format: { type, json_schema: { name: "output", schema, strict: true } } };
}
