/**
 * Translates the input items of OpenAI's Responses API to the messages of the chat completions API, so
 * that a source has to know only that one. What has no counterpart becomes text.
 */
import type { ChatMessage } from "../../chat.ts";
import { REDACTED } from "../../formats/responses_items.ts";
import { isObject } from "../../values.ts";
import {
  assistantMessages,
  Content,
  type ContentPart,
  type Fields,
  filePart,
  isText,
  pairCalls,
  redactedThought,
  resultOf,
  signedThought,
  Speech,
  textOfUnknown,
  textPart,
} from "./content.ts";

/** An input item: a message, reasoning, a call or its result, and others. */
export interface ResponsesItem {
  /** The kind of item, such as `message`, `reasoning`, `function_call` or `function_call_output`. */
  type?: string | null;
  /** Who speaks, in a message. */
  role?: string;
  /** What is said: text, or parts like `{ type: "input_text", text }`. */
  content?: string | unknown[] | null;
  /** Further fields, unchanged. */
  [field: string]: unknown;
}

/** Translates the instructions and the items of a request. All system prompts are one message, the first. */
export function messagesOf(
  instructions: string | null | undefined,
  input: string | readonly ResponsesItem[],
): ChatMessage[] {
  const items = typeof input === "string" ? [{ role: "user", content: input }] : input;
  const conversation = new Conversation();
  if (isText(instructions)) conversation.prompts.push(instructions);
  for (const item of items) conversation.add(item);
  return conversation.messages;
}

/** Whether an item is a message; then it may lack its type. */
export function isMessage({ type, role }: ResponsesItem): boolean {
  return type === "message" || type == null && role !== undefined;
}

/** A conversation, item by item. */
class Conversation {
  readonly prompts: string[] = [];
  readonly #said: ChatMessage[] = [];
  // What the assistant says and calls in one step.
  #speech = new Speech();
  #reasoning: string[] = [];
  #thoughts: Fields[] = [];
  #calls: Fields[] = [];
  #made: ContentPart[] = [];

  /** The messages, as upstreams want them. */
  get messages(): ChatMessage[] {
    this.#endStep();
    const paired = pairCalls(this.#said);
    return this.prompts.length > 0
      ? [{ role: "system", content: this.prompts.join("\n\n") }, ...paired]
      : paired;
  }

  add(item: ResponsesItem): void {
    const { type, role, content, call_id, output } = item;
    if (isMessage(item)) {
      if (role === "assistant") this.#assistant(content);
      else if (role === "user") this.#user(content);
      else this.prompts.push(textsOf(content));
    } else if (type === "reasoning") this.#reason(item);
    else if (type?.endsWith("call_output") && isText(call_id)) this.#result(call_id, output);
    else if (type === "function_call" || type === "custom_tool_call") this.#call(item);
    else this.#speech.quote(textOfUnknown(item));
  }

  #assistant(content: ResponsesItem["content"]): void {
    if (this.#speech.text !== "") this.#speech.say("\n\n");
    for (const part of partsOf(content)) {
      if (part.type === "text") this.#speech.say(part.text);
      else this.#made.push(part);
    }
  }

  #user(content: ResponsesItem["content"]): void {
    this.#endStep();
    const parts = new Content();
    for (const part of partsOf(content)) {
      if (part.type === "text") parts.text(part.text);
      else parts.parts.push(part);
    }
    this.#said.push({ role: "user", content: parts.value });
  }

  /** Takes the reasoning itself, else its summary. What is encrypted is for the model that has thought it. */
  #reason({ content, summary, encrypted_content: encrypted }: ResponsesItem): void {
    const text = textsOf(content) || textsOf(summary as ResponsesItem["content"]);
    if (text !== "") this.#reasoning.push(text);
    if (!isText(encrypted)) return;
    this.#thoughts.push(
      encrypted.startsWith(REDACTED)
        ? redactedThought(encrypted.slice(REDACTED.length))
        : signedThought(text, encrypted),
    );
  }

  #call({ type, call_id, name, arguments: json, input, ...others }: ResponsesItem): void {
    const id = isText(call_id) ? call_id : "";
    const { id: _id, status: _status, ...more } = others;
    this.#calls.push(
      type === "function_call"
        ? { ...more, id, type: "function", function: { name, arguments: json ?? "{}" } }
        : { ...more, id, type: "custom", custom: { name, input } },
    );
  }

  /**
   * Takes the result of a call. A tool's message is text in most upstreams, so what else the result
   * holds goes to a message behind it.
   */
  #result(id: string, output: unknown): void {
    this.#endStep();
    const isParts = typeof output === "string" || Array.isArray(output);
    const parts = partsOf(isParts ? output : textOfUnknown(output));
    const others = parts.filter(({ type }) => type !== "text");
    const texts = parts.map((part) => part.type === "text" ? part.text : "").filter(isText);
    if (others.length > 0) texts.push("(The rest of the result is in the user's next message.)");
    this.#said.push(resultOf(id, texts.join("\n") || "(no output)"));
    if (others.length === 0) return;
    const heading = textPart(`What the tool call ${id} returned:`);
    this.#said.push({ role: "user", content: [heading, ...others] });
  }

  /** Ends a step of the assistant. */
  #endStep(): void {
    const reasoning = this.#reasoning.join("\n");
    this.#said.push(
      ...assistantMessages(this.#speech.text, reasoning, this.#calls, this.#made, this.#thoughts),
    );
    this.#speech = new Speech();
    this.#reasoning = [];
    this.#thoughts = [];
    this.#calls = [];
    this.#made = [];
  }
}

/** The texts of a content. */
function textsOf(content: ResponsesItem["content"]): string {
  return partsOf(content).map((part) => part.type === "text" ? part.text : textOfUnknown(part))
    .filter(isText).join("\n");
}

/** The parts of a content, in the terms of the chat completions API. */
function partsOf(content: ResponsesItem["content"]): ContentPart[] {
  if (!Array.isArray(content)) return isText(content) ? [textPart(content)] : [];
  return content.map((part) => isObject(part) ? partOf(part as Fields) : textPart(String(part)));
}

function partOf(part: Fields): ContentPart {
  const { type, text, refusal, image_url, detail, file_id, file_data, file_url, filename } = part;
  if (typeof text === "string") return textPart(text);
  if (type === "refusal" && isText(refusal)) return textPart(refusal);
  if (type === "input_image" && isText(image_url)) {
    const image = { url: image_url, ...isText(detail) ? { detail } : {} };
    return { type: "image_url", image_url: image };
  }
  const file = isText(file_data) ? file_data : file_url;
  if (type === "input_file" && isText(file)) {
    return filePart(file, isText(filename) ? filename : undefined);
  }
  if (isText(file_id)) return { type: "file", file: { file_id } };
  // It is called and made the same in both APIs.
  if (type === "input_audio") return part as unknown as ContentPart;
  return textPart(textOfUnknown(part));
}
