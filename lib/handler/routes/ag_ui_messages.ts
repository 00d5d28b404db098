/**
 * Translates the messages of AG-UI to those of the chat completions API, so that a source has to know
 * only that one. What has no counterpart becomes text.
 */
import type { ChatMessage } from "../../chat.ts";
import { isObject, wordOf } from "../../values.ts";
import {
  assistantMessages,
  Content,
  dataUrlOf,
  type Fields,
  filePart,
  imagePart,
  isText,
  pairCalls,
  resultOf,
  textOfUnknown,
} from "./content.ts";

/** A message of AG-UI. */
export interface AgUiMessage {
  /** The message's id. */
  id?: string;
  /** Who speaks. `activity` is there for the page alone. */
  role: "developer" | "system" | "user" | "assistant" | "tool" | "reasoning" | "activity";
  /** The content: text, or parts of text, pictures and documents. */
  content?: unknown;
  /** The calls of an assistant, each `{ id, function: { name, arguments } }`. */
  toolCalls?: Record<string, unknown>[];
  /** The call that a tool's message is the result of. */
  toolCallId?: string;
  /** Further fields, unchanged. */
  [field: string]: unknown;
}

/** What the application tells of itself. */
export interface AgUiContext {
  /** What the value is. */
  description: string;
  /** The value. */
  value: string;
}

/** Translates a conversation. What the application tells of itself is added to the system prompt. */
export function messagesOf(
  given: readonly AgUiMessage[],
  context: readonly AgUiContext[],
): ChatMessage[] {
  const messages: ChatMessage[] = [];
  let reasoning = "";
  for (const message of given) {
    const { role, content, toolCallId } = message;
    if (role === "reasoning") reasoning += textIn(content);
    else if (role === "assistant") {
      const said = fromAssistant(message, reasoning);
      messages.push(...said);
      // Some clients put an empty message behind the reasoning, and the calls behind that.
      if (said.length > 0) reasoning = "";
    } else {
      if (role !== "activity" && role !== "tool") reasoning = "";
      if (role === "tool") messages.push(resultOf(toolCallId ?? "", textIn(content)));
      else if (role === "user") messages.push({ role, content: contentOf(content) });
      else if (role !== "activity") messages.push({ role, content: textIn(content) });
    }
  }
  return withContext(pairCalls(messages), context);
}

/** Many upstreams take one system message, at the beginning. */
function withContext(
  messages: readonly ChatMessage[],
  context: readonly AgUiContext[],
): ChatMessage[] {
  const text = context.map(({ description, value }) => `${description}:\n${value}`).join("\n\n");
  const [first, ...others] = messages;
  if (text === "") return [...messages];
  if (first?.role !== "system" && first?.role !== "developer") {
    return [{ role: "system", content: text }, ...messages];
  }
  const prompt = [first.content, text].filter(isText).join("\n\n");
  return [{ ...first, content: prompt }, ...others];
}

function fromAssistant(
  { content, toolCalls = [] }: AgUiMessage,
  reasoning: string,
): ChatMessage[] {
  return assistantMessages(textIn(content), reasoning, toolCalls.map(callOf), []);
}

/** A call, with the members that the format has sent as its metadata. */
function callOf({ id, function: given, metadata }: Fields): Fields {
  const { name, arguments: json } = Object(given);
  const { spillway } = Object(metadata);
  return {
    ...isObject(spillway) ? spillway : {},
    id,
    type: "function",
    function: { name: textOfUnknown(name), arguments: isText(json) ? json : "{}" },
  };
}

/** The text of a content that can be text alone. */
function textIn(content: unknown): string {
  return Array.isArray(content) ? content.map(textOfPart).join("") : textOfUnknown(content ?? "");
}

function textOfPart(part: unknown): string {
  const { type, text } = Object(part);
  return type === "text" && typeof text === "string" ? text : textOfUnknown(part);
}

/** The content of a user's message: text, or parts. */
function contentOf(given: unknown): unknown {
  if (!Array.isArray(given)) return textIn(given);
  const content = new Content();
  for (const part of given) {
    const url = urlOf(part);
    const { type, source, mimeType, filename, metadata } = Object(part);
    const { filename: name = filename } = Object(metadata);
    const { type: kind, value } = Object(source);
    if (kind === "file" && isText(value)) {
      content.parts.push({ type: "file", file: { file_id: value } });
    } else if (url === undefined) content.text(textOfPart(part));
    else if (type === "image" || wordOf(mimeType).startsWith("image/")) {
      content.parts.push(imagePart(url));
    } else content.parts.push(filePart(url, isText(name) ? name : undefined));
  }
  return content.value;
}

/**
 * The address of a part's picture or document, a data URL if the part holds it. Before version 1.0 the
 * source's members were the part's own.
 */
function urlOf(part: unknown): string | undefined {
  const { type, source, url, data, mimeType: own } = Object(part);
  if (type === "binary") {
    return isText(url) ? url : isText(data) && isText(own) ? dataUrlOf(own, data) : undefined;
  }
  const { type: kind, value, mimeType } = Object(source);
  if (!isText(value)) return undefined;
  if (kind === "url") return value;
  return kind === "data" && isText(mimeType) ? dataUrlOf(mimeType, value) : undefined;
}
