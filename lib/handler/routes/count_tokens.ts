/**
 * How the tokens of a request are counted before it is sent: by the application, or by an estimate.
 * Separate from the route because the handler's options name these types as well.
 */
import type { ChatFields, ChatMessage } from "../../chat.ts";
import { isObject } from "../../values.ts";
import type { CountTokensRequest } from "./anthropic_request.ts";
import type { Fields } from "./content.ts";

/** What {@linkcode CountTokens} gets beside the body. */
export interface CountTokensContext {
  /** The request; its body has been read. */
  readonly request: Request;
  /** The owner of the request, if `authorize` is set. */
  readonly owner: string | undefined;
  /**
   * The same request in the terms of the chat completions API, as a source would get it, and
   * `query`, the text of the user's last message.
   */
  readonly input: ChatFields & { messages: ChatMessage[] };
}

/**
 * Counts the tokens that a request of `POST /v1/messages/count_tokens` would take, as an integer of 0
 * or more. A `StreamError` that it throws is the response.
 */
export type CountTokens = (
  body: CountTokensRequest,
  context: CountTokensContext,
) => number | Promise<number>;

/** The bytes of UTF-8 that are estimated to be one token. */
const TOKEN_BYTES = 4;
/** Tokens that a message takes beside its text. */
const MESSAGE_TOKENS = 4;
/** Tokens of a picture, as large as models take them; and the fewest of a document. */
const PICTURE_TOKENS = 1600;
/** Characters of a data URL of a document that are estimated to be one token. */
const DOCUMENT_CHARACTERS = 64;

/**
 * An estimate of the tokens of a request: one for each four bytes of its text (messages, tool calls and
 * definitions, as UTF-8), four for each message, 1600 for a picture, and for a document one for each 64
 * characters of its data URL, 1600 or more.
 */
export function estimateTokens(
  { messages = [], tools = [] }: Pick<ChatFields, "messages" | "tools">,
): number {
  let bytes = tools.length === 0 ? 0 : bytesOf(JSON.stringify(tools));
  let others = 0;
  for (const message of messages) {
    bytes += bytesOf(textsOf(message));
    others += MESSAGE_TOKENS;
    for (const part of Array.isArray(message.content) ? message.content as Fields[] : []) {
      if (part.type !== "text") others += tokensOf(part);
    }
  }
  return Math.ceil(bytes / TOKEN_BYTES) + others;
}

function textsOf({ content, reasoning_content, tool_calls }: ChatMessage): string {
  const texts = Array.isArray(content)
    ? content.map(({ text }: Fields) => text ?? "")
    : [content ?? ""];
  const calls = Array.isArray(tool_calls)
    ? tool_calls.map(({ function: called }) => `${called.name}${called.arguments}`)
    : [];
  return [...texts, reasoning_content ?? "", ...calls].join("");
}

function tokensOf({ file }: Fields): number {
  const { file_data: data } = isObject(file) ? file as Fields : {};
  if (typeof data !== "string" || !/^[a-z]+:[^/]/i.test(data)) return PICTURE_TOKENS;
  return Math.max(PICTURE_TOKENS, Math.ceil(data.length / DOCUMENT_CHARACTERS));
}

function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}
