/**
 * `/api/chat`, the routes of the AI SDK's `useChat`. Its messages are translated to those of
 * the chat completions API, so that a source has to know only that one.
 */
import { type ChatFields, type ChatMessage, textOf } from "../../chat.ts";
import { uiMessageFormat } from "../../formats/ui_message.ts";
import { FIELDS, fieldsOf, MAX_NAME_LENGTH, PART } from "./chat_fields.ts";
import type { Api } from "./route.ts";
import type { StreamRoute } from "./stream_route.ts";
import { messagesOf, type UIPart } from "./ui_message_parts.ts";

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
  /** `include_usage`: the message's metadata get the usage, as `{ usage }`. */
  stream_options?: { include_usage?: boolean | null; [field: string]: unknown } | null;
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
      id: { type: "string", maxLength: MAX_NAME_LENGTH },
      messages: {
        type: "array",
        minItems: 1,
        items: {
          type: "object",
          required: ["role", "parts"],
          properties: {
            id: { type: "string", maxLength: MAX_NAME_LENGTH },
            role: { enum: ["system", "user", "assistant"] },
            parts: { type: "array", items: PART },
          },
        },
      },
      trigger: {
        type: ["string", "null"],
        enum: ["submit-message", "regenerate-message", null],
      },
      messageId: { type: ["string", "null"], maxLength: MAX_NAME_LENGTH },
      stream_options: {
        type: ["object", "null"],
        properties: { include_usage: { type: ["boolean", "null"] } },
      },
    },
  },
  invalidStatus: 422,
  input(body): UIMessageInput {
    const messages = messagesOf(body.messages);
    return {
      ...fieldsOf(body),
      messages,
      query: textOf(body.messages.findLast(({ role }) => role === "user")?.parts),
      chatId: body.id,
      api: "ui-message",
      body,
    };
  },
  formatName: "ui-message",
  chatId: ({ id }) => id,
  format({ messages, stream_options }) {
    const last = messages.at(-1);
    // After tool results the same message continues.
    const messageId = last?.role === "assistant" ? last.id : undefined;
    const includeUsage = stream_options?.include_usage === true;
    const options = messageId === undefined ? {} : { messageId };
    // Outside `/v1` every error is a problem object; a front end shows its body, whatever it is.
    const { errorBody: _errorBody, ...format } = uiMessageFormat.with({ ...options, includeUsage });
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
