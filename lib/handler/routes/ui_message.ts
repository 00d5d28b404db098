/**
 * `/api/chat`, the routes of the AI SDK's `useChat`. Its messages are translated to those of
 * the chat completions API, so that a source has to know only that one.
 */
import { type ChatFields, type ChatMessage, queryOf, textOf } from "../../chat.ts";
import { uiMessageFormat } from "../../formats/ui_message.ts";
import { FIELDS, fieldsOf, PART } from "./chat_fields.ts";
import type { Api } from "./route.ts";
import type { StreamRoute } from "./stream_route.ts";

/** A part of a UI message: text, a file, a tool's use and its output, and others. */
export interface UIPart {
  /** The kind of part, such as `text`, `file`, `reasoning` or `tool-<name>`. */
  type: string;
  /** The text of a `text` or `reasoning` part. */
  text?: string;
  /** The fields of the other kinds, unchanged. */
  [field: string]: unknown;
}

/** A message as `useChat` keeps it. */
export interface UIMessage {
  /** The message's id, which the front end has chosen. */
  id?: string;
  /** Who speaks. */
  role: "system" | "user" | "assistant";
  /** The content, in order. */
  parts: UIPart[];
  /** Further fields, such as `metadata`, unchanged. */
  [field: string]: unknown;
}

/** The body of a `useChat` request; what the front end adds to it (`body`) is passed on unchanged. */
export interface UIChatRequest {
  /** The chat's id. */
  id?: string;
  /** The conversation, at least one message. */
  messages: UIMessage[];
  /** Whether a message was sent, or the last answer is wanted again. */
  trigger?: "submit-message" | "regenerate-message" | null;
  /** The id of the message that is to be generated again. */
  messageId?: string | null;
  /** What the front end adds, which nobody has checked. */
  [field: string]: unknown;
}

/** What a source gets as `input` under `POST /api/chat`. */
export interface UIMessageInput extends ChatFields {
  /** The API of the route. */
  api: "ui-message";
  /** The conversation, in the terms of the chat completions API. */
  messages: ChatMessage[];
  /** The chat's id, if the client sent one. */
  chatId: string | undefined;
  /** The request's body, unchanged. */
  body: UIChatRequest;
}

/** What `POST /api/chat` reads and writes. */
export const uiChat: StreamRoute<UIChatRequest> = {
  schema: {
    type: "object",
    required: ["messages"],
    properties: {
      ...FIELDS,
      id: { type: "string" },
      messages: {
        type: "array",
        minItems: 1,
        items: {
          type: "object",
          required: ["role", "parts"],
          properties: {
            id: { type: "string" },
            role: { enum: ["system", "user", "assistant"] },
            parts: { type: "array", items: PART },
          },
        },
      },
      trigger: {
        type: ["string", "null"],
        enum: ["submit-message", "regenerate-message", null],
      },
      messageId: { type: ["string", "null"] },
    },
  },
  invalidStatus: 422,
  input(body): UIMessageInput {
    const messages = body.messages.flatMap(messagesOf);
    return {
      ...fieldsOf(body),
      messages,
      query: queryOf(messages),
      chatId: body.id,
      api: "ui-message",
      body,
    };
  },
  formatName: "ui-message",
  chatId: ({ id }) => id,
  format({ messages }) {
    const last = messages.at(-1);
    // After tool results the same message continues.
    const messageId = last?.role === "assistant" ? last.id : undefined;
    const options = messageId === undefined ? {} : { messageId };
    // Outside `/v1` every error is a problem object; a front end shows its body, whatever it is.
    const { errorBody: _errorBody, ...format } = uiMessageFormat.with(options);
    return format;
  },
};

/** The chat API of the AI SDK. */
export const uiMessageApi: Api = {
  routes: [
    {
      method: "POST",
      path: "/api/chat",
      answer: (call, context) => context.stream(call, uiChat),
    },
    {
      method: "GET",
      path: "/api/chat/{id}/stream",
      answer: (call, context) => context.resume(call, { chatId: call.name }),
    },
  ],
  formats: [uiMessageFormat],
};

function messagesOf({ role, parts }: UIMessage): ChatMessage[] {
  if (role === "system") return [{ role, content: textOf(parts) }];
  if (role === "assistant") return stepsOf(parts).flatMap(assistantOf);
  const content = parts.filter(({ type }) => type === "text" || type === "file").map(userPartOf);
  // Many upstreams accept an array of parts only where it is needed.
  const plain = content.length === 0 || (content.length === 1 && parts[0]?.type === "text");
  return [{ role, content: plain ? textOf(parts) : content }];
}

function userPartOf({ type, text, mediaType, url, filename }: UIPart): unknown {
  if (type === "text") return { type, text };
  return String(mediaType).startsWith("image/")
    ? { type: "image_url", image_url: { url } }
    : { type: "file", file: { filename, file_data: url } };
}

/** Splits the assistant's parts into steps: what it did between two calls of the model. */
function stepsOf(parts: UIPart[]): UIPart[][] {
  const steps: UIPart[][] = [[]];
  for (const part of parts) {
    if (part.type === "step-start") steps.push([]);
    else steps.at(-1)!.push(part);
  }
  return steps;
}

/** The messages of one step: its text, the tools that it used, and their results. */
function assistantOf(parts: UIPart[]): ChatMessage[] {
  const text = textOf(parts);
  // Models reject a conversation in which a call has no result.
  const used = parts.filter((part) => isTool(part) && resultOf(part) !== undefined);
  if (used.length === 0) return text === "" ? [] : [{ role: "assistant", content: text }];
  const tool_calls = used.map((part) => ({
    id: part.toolCallId,
    type: "function",
    function: {
      name: part.type === "dynamic-tool" ? part.toolName : part.type.slice("tool-".length),
      arguments: JSON.stringify(part.input ?? part.rawInput ?? {}),
    },
  }));
  const results = used.map((part) => ({
    role: "tool",
    tool_call_id: part.toolCallId,
    content: resultOf(part),
  }));
  return [{ role: "assistant", content: text || null, tool_calls }, ...results];
}

function isTool({ type }: UIPart): boolean {
  return type === "dynamic-tool" || type.startsWith("tool-");
}

function resultOf({ state, output, errorText, approval }: UIPart): string | undefined {
  switch (state) {
    case "output-available":
      return typeof output === "string" ? output : JSON.stringify(output ?? null);
    case "output-error":
      return String(errorText);
    case "output-denied": {
      const { reason } = (approval ?? {}) as { reason?: unknown };
      return String(reason ?? "The tool call was denied");
    }
    default:
      return undefined;
  }
}
