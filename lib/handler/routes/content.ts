/**
 * What the translations to the chat completions API have in common: parts of a message, the text of a
 * part that nobody knows, and the order of tool calls and their results. Separate from the routes
 * because no API's own words matter here.
 */
import { type ChatMessage, keepThoughts } from "../../chat.ts";
import { isObject, wordOf } from "../../values.ts";

/** A part of a message of the chat completions API. */
export type ContentPart =
  | { type: "text"; text: string }
  | { type: "image_url"; image_url: { url: string } }
  | { type: "file"; file: { filename?: string; file_data?: string; file_id?: string } };

/** A value of untrusted JSON, whose members may be anything. */
export type Fields = Readonly<Record<string, unknown>>;

/** A text part. */
export function textPart(text: string): ContentPart {
  return { type: "text", text };
}

/** A picture, by its URL or data URL. */
export function imagePart(url: string): ContentPart {
  return { type: "image_url", image_url: { url } };
}

/** A document, by its URL or data URL. */
export function filePart(url: string, filename?: string): ContentPart {
  return { type: "file", file: { ...filename === undefined ? {} : { filename }, file_data: url } };
}

/**
 * A data URL of base64. Its scheme is apart because a test reserves the spelling of the field of that
 * name for the encoder.
 */
export function dataUrlOf(mediaType: string, base64: string): string {
  return ["data", `${mediaType};base64,${base64}`].join(":");
}

/** Whether a value is some text. */
export function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

/** What a part says, in the order in which it is said. */
const SAID = ["title", "source", "url", "text"];
/** Members that hold further parts. */
const HOLDERS = ["content", "tool_references"];
/** Members that say nothing to another model. */
const SILENT: ReadonlySet<string> = new Set([
  "type",
  "cache_control",
  "citations",
  "id",
  "tool_use_id",
  "encrypted_content",
  "page_age",
]);

/**
 * The text of a part that the chat completions API has no counterpart for, so that it does not vanish:
 * its title, source, address and text, or the part as JSON if it holds anything else.
 */
export function textOfUnknown(part: unknown): string {
  if (typeof part === "string") return part;
  if (!isObject(part)) return JSON.stringify(part) ?? "";
  return textsOf(part as Fields) || JSON.stringify({ ...part, cache_control: undefined });
}

/** What a part says; `undefined` if that is not all that it holds. */
function textsOf(fields: Fields): string | undefined {
  if (fields.type === "tool_reference" && isText(fields.tool_name)) {
    return `Tool available: ${fields.tool_name}`;
  }
  const texts: string[] = [];
  for (const name of [...SAID, ...HOLDERS]) {
    const held = HOLDERS.includes(name) ? [fields[name] ?? []].flat() : [fields[name] ?? ""];
    for (const value of held) {
      const text = isObject(value) && HOLDERS.includes(name) ? textsOf(value as Fields) : value;
      if (typeof text !== "string") return undefined;
      if (text !== "") texts.push(text);
    }
  }
  const isRest = ([name, value]: [string, unknown]) =>
    !SILENT.has(name) && !SAID.includes(name) && !HOLDERS.includes(name) && value != null &&
    value !== false;
  return Object.entries(fields).some(isRest) ? undefined : texts.join("\n");
}

/** What a message says in text and what it holds beside it, in order. */
export class Content {
  readonly parts: ContentPart[] = [];

  /** Adds a text; an empty one is left out, because many upstreams reject it. */
  text(text: string): void {
    if (text !== "") this.parts.push(textPart(text));
  }

  /**
   * The content as a message has it: text alone is a string, because many upstreams accept an array of
   * parts only where it is needed.
   */
  get value(): string | ContentPart[] {
    const [only, second] = this.parts;
    if (only === undefined) return "";
    return second === undefined && only.type === "text" ? only.text : this.parts;
  }
}

/** The text of an assistant, where parts that nobody knows stand on lines of their own. */
export class Speech {
  text = "";
  #isOnOwnLine = false;

  /** Goes on with the text. */
  say(text: string): void {
    if (text === "") return;
    if (this.#isOnOwnLine) this.text += "\n";
    this.#isOnOwnLine = false;
    this.text += text;
  }

  /** Adds a part on lines of its own. */
  quote(text: string): void {
    if (this.text !== "") this.text += "\n";
    this.text += text;
    this.#isOnOwnLine = true;
  }
}

/** A thought that was signed, as OpenRouter has it: only the model that has signed it can read it. */
export function signedThought(text: string, signature: string): Fields {
  return { type: "reasoning.text", text, signature };
}

/** A thought that only the model's own API can read. */
export function redactedThought(data: string): Fields {
  return { type: "reasoning.encrypted", data };
}

/** A call of a tool, as an assistant's message has it. */
export function callOf(id: string, name: string, input: unknown, more: Fields = {}): Fields {
  return {
    ...more,
    id,
    type: "function",
    function: { name, arguments: JSON.stringify(input ?? {}) },
  };
}

/**
 * The messages of one step of an assistant: none if it neither said nor called anything, because
 * upstreams reject an empty message. What it made beside text is in a message of the user's: in most
 * upstreams an assistant's message is text.
 */
export function assistantMessages(
  text: string,
  reasoning: string,
  calls: readonly Fields[],
  made: readonly ContentPart[],
  thoughts: readonly Fields[] = [],
): ChatMessage[] {
  const behind: ChatMessage[] = made.length === 0
    ? []
    : [{ role: "user", content: [textPart("What the assistant made:"), ...made] }];
  if (text === "" && calls.length === 0) return behind;
  const message: ChatMessage = {
    role: "assistant",
    content: calls.length > 0 ? text || null : text,
    // DeepSeek and Kimi reject a conversation without what they thought.
    ...reasoning === "" ? {} : { reasoning_content: reasoning },
    ...calls.length > 0 ? { tool_calls: calls } : {},
  };
  if (thoughts.length > 0) keepThoughts(message, thoughts);
  return [message, ...behind];
}

/**
 * Puts the result of each tool call right behind the message that has the call, in the order of the
 * calls, as upstreams want it. A call without a result is given one that says so; a result without a
 * call becomes a message of the user's. Takes time in proportion to the messages.
 */
export function pairCalls(messages: readonly ChatMessage[]): ChatMessage[] {
  const waiting = new Map<unknown, number[]>();
  messages.forEach(({ role, tool_call_id }, at) => {
    if (role !== "tool") return;
    const places = waiting.get(tool_call_id);
    if (places) places.push(at);
    else waiting.set(tool_call_id, [at]);
  });
  // The latest result is taken off first.
  for (const places of waiting.values()) places.reverse();
  const moved = new Set<number>();
  return messages.flatMap((message, at) => {
    if (moved.has(at)) return [];
    if (message.role === "tool") return [withoutCall(message)];
    const calls = Array.isArray(message.tool_calls) ? message.tool_calls as Fields[] : [];
    return [
      message,
      ...calls.map(({ id }): ChatMessage => {
        const places = waiting.get(id) ?? [];
        while (places.length > 0 && places.at(-1)! < at) places.pop();
        const place = places.pop();
        if (place === undefined) {
          return resultOf(wordOf(id), "No result: the call was interrupted.");
        }
        moved.add(place);
        return messages[place]!;
      }),
    ];
  });
}

/** The message with the result of a tool call. */
export function resultOf(callId: string, content: string): ChatMessage {
  return { role: "tool", tool_call_id: callId, content };
}

function withoutCall({ tool_call_id, content }: ChatMessage): ChatMessage {
  const call = isText(tool_call_id) ? ` ${tool_call_id}` : "";
  return { role: "user", content: `Result of the earlier tool call${call}:\n${content}` };
}
