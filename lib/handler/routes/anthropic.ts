/**
 * `POST /v1/messages`, the route of Anthropic's clients. Their messages and tools are translated to
 * those of the chat completions API, so that a source has to know only that one.
 */
import { type ChatFields, type ChatMessage, type ChatTool, queryOf, textOf } from "../../chat.ts";
import { anthropicFormat } from "../../formats/anthropic.ts";
import { FIELDS, fieldsOf, PART } from "./chat_fields.ts";
import type { Api } from "./route.ts";
import type { StreamRoute } from "./stream_route.ts";

/** A block of a message: text, an image, a tool's use or its result, and others. */
export interface ContentBlock {
  /** The kind of block, such as `text`, `image`, `tool_use` or `tool_result`. */
  type: string;
  /** The text of a `text` block. */
  text?: string;
  /** The fields of the other kinds, unchanged. */
  [field: string]: unknown;
}

/** The body of a messages request. Fields that are not listed here are passed on unchanged. */
export interface MessagesRequest {
  /** The model's name: one of `models` if the handler has them, else any name. */
  model: string;
  /** The conversation, at least one message. */
  messages: { role: "user" | "assistant" | "system"; content: string | ContentBlock[] }[];
  /** The most tokens to generate, 1 or more. */
  max_tokens: number;
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
  /** Further fields, which nobody has checked. */
  [field: string]: unknown;
}

/**
 * A tool that the client runs or, with a `type` of its own and without a schema, one that the
 * server runs.
 */
export interface AnthropicTool {
  /** The tool's name, one character or more. */
  name: string;
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
  /** The conversation; the system prompt comes first, and each tool result is a message. */
  messages: ChatMessage[];
  /** The model's name, as the client sent it. */
  model: string;
  /** The most tokens to generate, 1 or more. */
  max_tokens: number;
  /** The request's body, unchanged. */
  body: MessagesRequest;
}

/** What `POST /v1/messages` reads and writes. */
export const messages: StreamRoute<MessagesRequest> = {
  schema: {
    type: "object",
    required: ["model", "max_tokens", "messages"],
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
          required: ["name"],
          properties: {
            name: { type: "string", minLength: 1 },
            type: { type: ["string", "null"] },
            input_schema: { type: "object" },
          },
        },
      },
      tool_choice: {
        type: ["object", "null"],
        required: ["type"],
        properties: { type: { enum: ["auto", "any", "tool", "none"] }, name: { type: "string" } },
      },
    },
  },
  invalidStatus: 400,
  picksModel: true,
  input(body): AnthropicInput {
    const { stop_sequences, tools, tool_choice } = body;
    const system = textOfSystem(body.system);
    const messages = body.messages.flatMap(messagesOf);
    if (system !== "") messages.unshift({ role: "system", content: system });
    return {
      ...fieldsOf(body),
      ...stop_sequences ? { stop: stop_sequences } : {},
      ...tools ? { tools: tools.map(toolOf) } : {},
      ...tool_choice ? choiceOf(tool_choice) : {},
      model: body.model,
      max_tokens: body.max_tokens,
      messages,
      query: queryOf(messages),
      api: "anthropic",
      body,
    };
  },
  formatName: "anthropic",
  format: ({ model, stream }) => anthropicFormat.with({ model, buffered: stream !== true }),
};

/** Anthropic's API, as far as Spillway implements it. */
export const anthropicApi: Api = {
  routes: [{
    method: "POST",
    path: "/v1/messages",
    answer: (call, context) => context.stream(call, messages),
  }],
  errors: { under: "/v1/messages", format: anthropicFormat },
  formats: [anthropicFormat],
};

function textOfSystem(system: MessagesRequest["system"]): string {
  return Array.isArray(system) ? system.map(({ text }) => text ?? "").join("\n") : system ?? "";
}

/**
 * Translates one message, perhaps to several: in the chat completions API each tool result is a
 * message of its own.
 */
function messagesOf({ role, content }: MessagesRequest["messages"][number]): ChatMessage[] {
  if (typeof content === "string") return [{ role, content }];
  return role === "assistant" ? [assistantOf(content)] : fromUser(role, content);
}

function assistantOf(blocks: ContentBlock[]): ChatMessage {
  const calls = blocks.filter(({ type }) => type === "tool_use").map(({ id, name, input }) => ({
    id,
    type: "function",
    function: { name, arguments: JSON.stringify(input ?? {}) },
  }));
  const text = textOf(blocks);
  if (calls.length === 0) return { role: "assistant", content: text };
  return { role: "assistant", content: text || null, tool_calls: calls };
}

function fromUser(role: string, blocks: ContentBlock[]): ChatMessage[] {
  const results: ChatMessage[] = [];
  const parts: unknown[] = [];
  for (const block of blocks) {
    if (block.type === "tool_result") {
      const { tool_use_id, content } = block;
      results.push({ role: "tool", tool_call_id: tool_use_id, content: textOf(content) });
    } else if (block.type === "text") parts.push({ type: "text", text: block.text });
    else parts.push(block.type === "image" ? imageOf(block) : block);
  }
  // Many upstreams accept an array of parts only where it is needed.
  const [only] = blocks;
  if (blocks.length === 1 && only?.type === "text") return [{ role, content: only.text }];
  // The results belong to the assistant's last message, so they come first.
  return parts.length > 0 || results.length === 0
    ? [...results, { role, content: parts }]
    : results;
}

/**
 * Translates an image block. A block that is not a known image is passed on unchanged, because the
 * source may know it.
 */
function imageOf(block: ContentBlock): unknown {
  const { type, url, media_type, data } = (block.source ?? {}) as Record<string, unknown>;
  if (type === "url") return { type: "image_url", image_url: { url } };
  if (type !== "base64") return block;
  // A data URL, with its scheme apart because a test reserves the spelling of the field of that
  // name for the encoder.
  const dataUrl = ["data", `${media_type};base64,${data}`].join(":");
  return { type: "image_url", image_url: { url: dataUrl } };
}

/** Translates a tool. One that the server would run has no counterpart and is passed on unchanged. */
function toolOf(tool: AnthropicTool): ChatTool {
  const { name, description, input_schema, type } = tool;
  if (input_schema === undefined && type != null && type !== "custom") return { ...tool, type };
  return {
    type: "function",
    function: {
      name,
      ...description === undefined ? {} : { description },
      ...input_schema === undefined ? {} : { parameters: input_schema },
    },
  };
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
