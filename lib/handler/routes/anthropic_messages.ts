/**
 * Translates the messages of Anthropic's API to those of the chat completions API, so that a source has
 * to know only that one. What has no counterpart becomes text.
 */
import type { ChatMessage } from "../../chat.ts";
import { isObject } from "../../values.ts";
import {
  assistantMessages,
  callOf,
  Content,
  type ContentPart,
  dataUrlOf,
  type Fields,
  filePart,
  imagePart,
  isText,
  pairCalls,
  redactedThought,
  resultOf,
  signedThought,
  Speech,
  textOfUnknown,
  textPart,
} from "./content.ts";

/** A block of a message: text, an image, a tool's use or its result, and others. */
export interface ContentBlock {
  /** The kind of block, such as `text`, `image`, `tool_use` or `tool_result`. */
  type: string;
  /** The text of a `text` block. */
  text?: string;
  /** The fields of the other kinds, unchanged. */
  [field: string]: unknown;
}

/** A message of Anthropic's API. */
export interface AnthropicMessage {
  role: "user" | "assistant" | "system";
  content: string | ContentBlock[];
}

/**
 * Translates a conversation. The system prompt and every later message of the system are one message at
 * its beginning: many models accept a single one, and only there.
 */
export function messagesOf(
  system: string | ContentBlock[] | null | undefined,
  messages: readonly AnthropicMessage[],
): ChatMessage[] {
  const prompts = [system ?? "", ...messages.filter(isOfSystem).map(({ content }) => content)]
    .map(textOfPrompt).filter(isText);
  const said = messages.filter((message) => !isOfSystem(message)).flatMap(translate);
  const paired = pairCalls(said);
  return prompts.length > 0
    ? [{ role: "system", content: prompts.join("\n\n") }, ...paired]
    : paired;
}

function isOfSystem({ role }: AnthropicMessage): boolean {
  return role === "system";
}

/**
 * What a block says of the tools: the definition of one that it adds, or the name of one that it adds
 * or removes. `undefined` if it says nothing of the client's own.
 */
export function toolChangeOf(
  { type, tool }: ContentBlock,
): { name: string; definition?: undefined } | { definition: Fields } | undefined {
  if (type !== "tool_addition" && type !== "tool_removal" || !isObject(tool)) return undefined;
  const { type: kind, name, definition } = tool as Fields;
  if (kind === "tool_reference" && isText(name)) return { name };
  if (type === "tool_removal" || kind !== "tool_definition") return undefined;
  return isObject(definition) ? { definition: definition as Fields } : undefined;
}

/** A prompt as text; a picture in it, which no prompt of the chat completions API has, is JSON. */
function textOfPrompt(content: string | ContentBlock[]): string {
  if (typeof content === "string") return content;
  return content.filter((block) => toolChangeOf(block) === undefined)
    .map((block) => block.type === "text" ? block.text ?? "" : textOfUnknown(block))
    .filter(isText).join("\n");
}

/**
 * Translates one message, perhaps to several: in the chat completions API each tool result is a
 * message of its own.
 */
function translate({ role, content }: AnthropicMessage): ChatMessage[] {
  if (role === "assistant") {
    return typeof content === "string"
      ? assistantMessages(content, "", [], [])
      : assistantOf(content);
  }
  return typeof content === "string" ? [{ role, content }] : fromUser(content);
}

function assistantOf(blocks: readonly ContentBlock[]): ChatMessage[] {
  const speech = new Speech();
  const calls: Fields[] = [];
  const made: ContentPart[] = [];
  let reasoning = "";
  const thoughts: Fields[] = [];
  for (const block of blocks) {
    const { type, text, thinking, signature, data, id, name, input, extra_content } = block;
    if (type === "text") speech.say(text ?? "");
    else if (type === "thinking") {
      const thought = isText(thinking) ? thinking : "";
      reasoning += thought;
      if (isText(signature)) thoughts.push(signedThought(thought, signature));
    } else if (type === "redacted_thinking") {
      if (isText(data)) thoughts.push(redactedThought(data));
    } else if (type === "tool_use" && isText(id) && isText(name)) {
      // Gemini's signature, which its client has been given beside the call.
      calls.push(callOf(id, name, input, isObject(extra_content) ? { extra_content } : {}));
    } else {
      for (const part of partsOf(block)) {
        if (part.type === "text") speech.quote(part.text);
        else made.push(part);
      }
    }
  }
  return assistantMessages(speech.text, reasoning, calls, made, thoughts);
}

function fromUser(blocks: readonly ContentBlock[]): ChatMessage[] {
  const results: ChatMessage[] = [];
  const content = new Content();
  // Pictures and documents of results come first: they belong to what the assistant did.
  for (const block of blocks) {
    if (block.type === "tool_result") results.push(takeResult(block, content));
  }
  for (const block of blocks) {
    if (block.type === "text") content.text(block.text ?? "");
    else if (block.type !== "tool_result") content.parts.push(...partsOf(block));
  }
  // The results belong to the assistant's last message, so they come first.
  return content.parts.length > 0 || results.length === 0
    ? [...results, { role: "user", content: content.value }]
    : results;
}

/**
 * The message of a tool result. A tool's message is text in most upstreams, so what else the result
 * holds goes to `beside`, the message behind it.
 */
function takeResult(
  { tool_use_id, content, is_error }: ContentBlock,
  beside: Content,
): ChatMessage {
  const texts: string[] = [];
  const others: ContentPart[] = [];
  const blocks = Array.isArray(content) ? content : isText(content) ? [textPart(content)] : [];
  for (const block of blocks as (Partial<ContentBlock> | null)[]) {
    for (
      const part of block?.type === "text"
        ? [textPart(isText(block.text) ? block.text : "")]
        : partsOf(block)
    ) {
      if (part.type === "text") texts.push(part.text);
      else others.push(part);
    }
  }
  const id = isText(tool_use_id) ? tool_use_id : "";
  if (others.length > 0) {
    beside.text(`What the tool call ${id} returned:`);
    beside.parts.push(...others);
    texts.push("(The rest of the result is in the user's next message.)");
  }
  const text = texts.filter(isText).join("\n");
  return resultOf(id, is_error === true ? asError(text) : text || "(no output)");
}

/** A failure is said in the text, because a tool's message has no other place for it. */
function asError(text: string): string {
  if (text === "") return "Error: the tool failed.";
  return /^\W*(tool_use_)?error/i.test(text) ? text : `Error: ${text}`;
}

/** The parts of a block that is no text. */
function partsOf(block: unknown): ContentPart[] {
  const { type, source } = isObject(block) ? block as Fields : {};
  const parts = isObject(source)
    ? type === "image"
      ? imageOf(source as Fields)
      : type === "document"
      ? documentOf(source as Fields, block as Fields)
      : undefined
    : undefined;
  return parts ?? [textPart(textOfUnknown(block))];
}

function imageOf({ type, url, media_type, data, file_id }: Fields): ContentPart[] | undefined {
  if (type === "url" && isText(url)) return [imagePart(url)];
  if (type === "base64" && isText(media_type) && isText(data)) {
    return [imagePart(dataUrlOf(media_type, data))];
  }
  return type === "file" && isText(file_id) ? [{ type: "file", file: { file_id } }] : undefined;
}

function documentOf(
  { type, url, media_type, data, file_id, content }: Fields,
  { title, context }: Fields,
): ContentPart[] | undefined {
  const about = isText(context) ? [textPart(context)] : [];
  const name = isText(title) ? title : undefined;
  if (type === "base64" && isText(media_type) && isText(data)) {
    // OpenAI wants a name.
    const filename = name ?? (media_type === "application/pdf" ? "document.pdf" : "document");
    return [...about, filePart(dataUrlOf(media_type, data), filename)];
  }
  if (type === "url" && isText(url)) return [...about, filePart(url, name)];
  if (type === "file" && isText(file_id)) return [...about, { type: "file", file: { file_id } }];
  // Text is what every upstream can read.
  const heading = isText(title) ? [textPart(title)] : [];
  if (type === "text" && isText(data)) return joined([...heading, ...about, textPart(data)]);
  if (type !== "content") return undefined;
  const inner = isText(content)
    ? [textPart(content)]
    : Array.isArray(content)
    ? content.flatMap((block: Partial<ContentBlock> | null) =>
      block?.type === "text" ? [textPart(isText(block.text) ? block.text : "")] : partsOf(block)
    )
    : undefined;
  return inner && joined([...heading, ...about, ...inner]);
}

/** Texts that follow each other as one part. */
function joined(parts: readonly ContentPart[]): ContentPart[] {
  const all: ContentPart[] = [];
  let texts: string[] = [];
  const addTexts = () => {
    if (texts.length > 0) all.push(textPart(texts.join("\n")));
    texts = [];
  };
  for (const part of parts) {
    if (part.type !== "text") {
      addTexts();
      all.push(part);
    } else if (part.text !== "") texts.push(part.text);
  }
  addTexts();
  return all;
}
