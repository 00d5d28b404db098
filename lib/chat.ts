/**
 * What a chat request asks for, in the words of the chat completions API, whichever API it came by.
 * It stands below routes and sources so that they agree on it and know nothing of each other.
 */

/** A message as the chat completions API takes it. */
export interface ChatMessage {
  role: string;
  /** Text, or parts like `{ type: "text", text }`, or nothing beside `tool_calls`. */
  content: unknown;
  [field: string]: unknown;
}

/** A tool that the model may call. */
export interface ChatTool {
  type: string;
  function?: { name: string; description?: string; parameters?: unknown; [field: string]: unknown };
  [field: string]: unknown;
}

/** The fields that the chat routes have checked; others of the request stand beside them as they came. */
export interface ChatFields {
  /** The text of the user's last message; `""` if there is none. */
  query: string;
  /** The conversation; the system prompt comes first. */
  messages?: ChatMessage[];
  /** The model's name, as the client wrote it. */
  model?: string;
  /** 0 to 2. */
  temperature?: number;
  /** 0 to 1. */
  top_p?: number;
  /** Most tokens of the answer, 1 or more, by whichever name the request has it. */
  max_tokens?: number;
  max_completion_tokens?: number;
  /** Texts at which the answer ends. */
  stop?: string[];
  tools?: ChatTool[];
  /** `auto`, `none`, `required`, or the tool that must be called. */
  tool_choice?: string | Record<string, unknown>;
  parallel_tool_calls?: boolean;
  response_format?: Record<string, unknown>;
  seed?: number;
  /** -2 to 2. */
  presence_penalty?: number;
  /** -2 to 2. */
  frequency_penalty?: number;
  reasoning_effort?: string;
  [field: string]: unknown;
}

/** The text of a message's content: itself, or its parts' joined. */
export function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part) => {
    return part?.type === "text" && typeof part.text === "string" ? part.text : "";
  }).join("");
}

/** The text of the user's last message. */
export function queryOf(messages: readonly ChatMessage[]): string {
  return textOf(messages.findLast(({ role }) => role === "user")?.content);
}
