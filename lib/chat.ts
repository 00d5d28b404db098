/**
 * What a chat request asks for, in the terms of the chat completions API, whichever API it came
 * through. Separate from routes and sources because both use these types and neither imports the
 * other.
 */

/** A message of the chat completions API. */
export interface ChatMessage {
  /** Who speaks, such as `system`, `user`, `assistant` or `tool`. */
  role: string;
  /** The content: text, parts like `{ type: "text", text }`, or nothing beside `tool_calls`. */
  content: unknown;
  /** Further fields, such as `tool_calls` and `tool_call_id`, unchanged. */
  [field: string]: unknown;
}

/** A tool that the model may call. */
export interface ChatTool {
  /** The kind of tool: `function`, or one that the source's own API knows. */
  type: string;
  /** The function, if `type` is `function`; `parameters` is a JSON Schema. */
  function?: { name: string; description?: string; parameters?: unknown; [field: string]: unknown };
  /** Further fields, unchanged. */
  [field: string]: unknown;
}

/** The fields that the chat routes check. Other fields of the request stand beside them, unchanged. */
export interface ChatFields {
  /** The text of the user's last message; `""` if there is none. */
  query: string;
  /** The conversation; the system prompt comes first. */
  messages?: ChatMessage[];
  /** The model's name, as the client sent it. */
  model?: string;
  /** The sampling temperature, 0 to 2. */
  temperature?: number;
  /** The nucleus sampling threshold, 0 to 1. */
  top_p?: number;
  /** The most tokens to generate, 1 or more, under whichever name the request has the limit. */
  max_tokens?: number;
  /** The same limit, where the request gives it under this newer name. */
  max_completion_tokens?: number;
  /** Texts at which generation stops. */
  stop?: string[];
  /** The tools that the model may call. */
  tools?: ChatTool[];
  /** How tools are chosen: `auto`, `none`, `required`, or the tool that must be called. */
  tool_choice?: string | Record<string, unknown>;
  /** Whether the model may call several tools at once. */
  parallel_tool_calls?: boolean;
  /** The shape of the text, as `{ type: "json_object" }` or `{ type: "json_schema", json_schema }`. */
  response_format?: Record<string, unknown>;
  /** An integer; with the same one, a model that honours it repeats its choices. */
  seed?: number;
  /** The presence penalty, -2 to 2. */
  presence_penalty?: number;
  /** The frequency penalty, -2 to 2. */
  frequency_penalty?: number;
  /** How much the model thinks first, such as `low`, `medium` or `high`. */
  reasoning_effort?: string;
  /** Further fields of the request, which nobody has checked. */
  [field: string]: unknown;
}

/** The text of a message's content: the content itself, or the text of its parts, joined. */
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

/** A request as its client sent it, in the API's own terms. */
export interface OriginalRequest {
  /** The API of the route, as `anthropic`. */
  readonly api: string;
  /** The body, unchanged. */
  readonly body: Readonly<Record<string, unknown>>;
}

const originals = new WeakMap<
  readonly ChatMessage[],
  OriginalRequest & { contents: readonly unknown[] }
>();

function contentsOf(messages: readonly ChatMessage[]): unknown[] {
  return messages.flatMap((message) => [message, message.content]);
}

/**
 * Keeps what a conversation was translated from, so that an upstream of the same API can be sent it
 * without a loss.
 */
export function keepOriginal(messages: readonly ChatMessage[], original: OriginalRequest): void {
  originals.set(messages, { ...original, contents: contentsOf(messages) });
}

/** What a conversation was translated from; `undefined` if it was changed since, or not translated. */
export function originalOf(
  messages: readonly ChatMessage[],
  api: string,
): OriginalRequest["body"] | undefined {
  const kept = originals.get(messages);
  if (kept?.api !== api) return undefined;
  const contents = contentsOf(messages);
  const isSame = contents.length === kept.contents.length &&
    contents.every((content, at) => content === kept.contents[at]);
  return isSame ? kept.body : undefined;
}

const thoughts = new WeakMap<ChatMessage, readonly unknown[]>();

/**
 * Keeps what only the model that has thought it can read of an assistant's message. It is no member of
 * the message, because upstreams of other APIs reject what they do not know.
 */
export function keepThoughts(message: ChatMessage, details: readonly unknown[]): void {
  thoughts.set(message, details);
}

/** What was kept with a message, as OpenRouter has it in `reasoning_details`. */
export function keptThoughts(message: ChatMessage): readonly unknown[] {
  return thoughts.get(message) ?? [];
}
