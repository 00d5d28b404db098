/**
 * What a client reads of each format: the tokens, the items, the end and the failure. Separate from
 * `lib/formats/`, which writes them, so that a page does not hold what only a server needs.
 */
import type { ServerSentEvent } from "../sse/event.ts";
import { isText } from "./error.ts";

/** An item of `json`, `text` and `ndjson`: a token, or structured data. What the source gave. */
export type StreamItem = string | {
  /** The event name; absent where the source gave none. */
  event?: string;
  /** The data. */
  data: unknown;
};

/** An item of `openai`: a chunk of a chat completion, as far as every server writes it. */
export interface ChatCompletionChunk {
  /** The completion's id. */
  id: string;
  /** The choices; empty in a chunk that has the usage. */
  choices: {
    /** The number of the choice. */
    index: number;
    /** What the chunk adds. */
    delta: {
      /** The role, in the first chunk. */
      role?: string;
      /** Text; or parts of it and of other things, as Mistral's reasoning models send it. */
      content?: string | { type: string; text?: string }[] | null;
      /** Reasoning, by the name that most servers have for it. */
      reasoning_content?: string | null;
      /** A refusal's text. */
      refusal?: string | null;
      /** Parts of tool calls. */
      tool_calls?: {
        index: number;
        id?: string;
        function?: { name?: string; arguments?: string };
      }[];
    };
    /** Why the answer ended, in its last chunk. */
    finish_reason: string | null;
  }[];
  /** The usage, if it was asked for. */
  usage?: { prompt_tokens: number; completion_tokens: number; total_tokens: number } | null;
}

/** An item of `ui-message`: a part of the AI SDK's UI message stream, version 1. */
export type UIMessagePart =
  | { type: "start"; messageId?: string }
  | { type: "start-step" | "finish-step" | "abort" }
  | { type: "finish"; finishReason?: string }
  | { type: "text-start" | "text-end" | "reasoning-start" | "reasoning-end"; id: string }
  | { type: "text-delta" | "reasoning-delta"; id: string; delta: string }
  | { type: "tool-input-start"; toolCallId: string; toolName: string }
  | { type: "tool-input-delta"; toolCallId: string; inputTextDelta: string }
  | { type: "tool-input-available"; toolCallId: string; toolName: string; input: unknown }
  | {
    type: "tool-input-error";
    toolCallId: string;
    toolName: string;
    input: unknown;
    errorText: string;
  }
  | { type: "file"; url: string; mediaType: string }
  | { type: "source-url"; sourceId: string; url: string; title?: string }
  | { type: `data-${string}`; data: unknown };

/** The formats that {@linkcode Connection} reads, each with the type of its items. */
export interface ClientItems {
  /** Spillway's own, and the default. */
  json: StreamItem;
  /** The text of tokens as it is. */
  text: StreamItem;
  /** A JSON object per line. It has no ids, so it cannot be resumed. */
  ndjson: StreamItem;
  /** The chunks of OpenAI's chat completions. */
  openai: ChatCompletionChunk;
  /** The AI SDK's UI message stream. */
  "ui-message": UIMessagePart;
}

/** The name of a format that {@linkcode Connection} reads. */
export type ClientFormat = keyof ClientItems;

/** How a format is read. */
export interface FormatReader {
  /** The item of an event. @throws {SyntaxError} If it is malformed. */
  item(event: ServerSentEvent): unknown;
  /** The text of an item; anything else if it is no token. @throws {TypeError} If it is no item. */
  token(item: never): unknown;
  /** Whether the event is the stream's end. */
  isEnd(event: ServerSentEvent): boolean;
  /** What a failure says; nothing for another event. */
  failure(event: ServerSentEvent): unknown;
}

/** The object in a text; an empty one where there is none. */
export function objectIn(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {}; // the caller knows what to make of none
  }
}

const json: FormatReader = {
  item({ event, data }) {
    const value = JSON.parse(data);
    if (event !== "message") return { event, data: value };
    return isText(value?.token) ? value.token : { data: value };
  },
  token: (item) => item,
  isEnd: ({ event }) => event === "done",
  failure: ({ event, data }) => event === "failed" && objectIn(data),
};

const text: FormatReader = {
  ...json,
  item: (event) => event.event === "message" ? event.data : json.item(event),
};

const isLast = ({ data }: ServerSentEvent) => data === "[DONE]";

const openai: FormatReader = {
  item: ({ data }) => JSON.parse(data),
  token: ({ choices }: ChatCompletionChunk) => {
    const content = choices?.[0]?.delta?.content;
    return Array.isArray(content)
      ? content.map((part) => part?.type === "text" && part.text).filter(isText).join("")
      : content;
  },
  isEnd: isLast,
  // Most events have no such member, and are not parsed twice for it. In a text its quotes are escaped.
  failure: ({ data }) => data.includes('"error"') && objectIn(data).error,
};

const uiMessage: FormatReader = {
  ...openai,
  token: (part: UIMessagePart) => part.type === "text-delta" && part.delta,
  failure: ({ data }) => data.startsWith('{"type":"error"') && objectIn(data),
};

/** The readers by the name of the format. */
export const READERS: Readonly<Record<ClientFormat, FormatReader>> = {
  json,
  text,
  ndjson: json,
  openai,
  "ui-message": uiMessage,
};
