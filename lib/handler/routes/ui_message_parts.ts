/**
 * Translates the messages of the AI SDK's `useChat` to those of the chat completions API, so that a
 * source has to know only that one. What has no counterpart becomes text.
 */
import type { ChatMessage } from "../../chat.ts";
import { isObject, wordOf } from "../../values.ts";
import { type Faults, InvalidInput } from "../schema.ts";
import {
  assistantMessages,
  callOf,
  Content,
  type ContentPart,
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
} from "./content.ts";

/** A part of a UI message: text, a file, a tool's use and its output, and others. */
export interface UIPart {
  /** The kind of part, such as `text`, `file`, `reasoning` or `tool-<name>`. */
  type: string;
  /** The text of a `text` or `reasoning` part. */
  text?: string;
  /** The fields of the other kinds, unchanged. */
  [field: string]: unknown;
}

/** Limit of faults in one error: an untrusted body may have a million. */
const MAX_FAULTS = 20;

/** A message as far as it is translated. */
interface Message {
  role: "system" | "user" | "assistant";
  parts: UIPart[];
}

/**
 * Translates a conversation.
 *
 * @throws {InvalidInput} If a tool call was approved and its output is missing.
 */
export function messagesOf(messages: readonly Message[]): ChatMessage[] {
  const faults = messages.flatMap(({ role, parts }, at) =>
    role === "assistant"
      ? parts.flatMap((part, i) => faultsOf(part, `/messages/${at}/parts/${i}`))
      : []
  );
  if (faults.length > 0) throw new InvalidInput(faults.slice(0, MAX_FAULTS));
  return pairCalls(messages.flatMap(({ role, parts }) => {
    if (role === "user") return [fromUser(parts)];
    if (role === "assistant") return stepsOf(parts).flatMap(messagesOfStep);
    const texts = parts.map(({ type, text }) => type === "text" ? text : "");
    return [{ role, content: texts.join("") }];
  }));
}

/** Who approves a call and sends no output wants it to be run, and nobody here can. */
function faultsOf(part: UIPart, pointer: string): Faults {
  const { state, approval } = part;
  if (!isTool(part) || state !== "approval-responded") return [];
  if ((approval as Fields | undefined)?.approved === false) return [];
  return [{ pointer, detail: `The call of ${nameOf(part)} was approved, and has no output` }];
}

function fromUser(parts: readonly UIPart[]): ChatMessage {
  const content = new Content();
  for (const part of parts) {
    if (part.type === "text") content.text(part.text ?? "");
    else if (part.type === "file" && isText(part.url)) content.parts.push(fileOf(part, part.url));
    else if (!isForPage(part)) content.text(textOfUnknown(part));
  }
  return { role: "user", content: content.value };
}

function fileOf({ mediaType, filename }: UIPart, url: string): ContentPart {
  return isText(mediaType) && mediaType.startsWith("image/")
    ? imagePart(url)
    : filePart(url, isText(filename) ? filename : undefined);
}

/** Whether a part is there for the page alone, as in the AI SDK's own translation. */
function isForPage({ type }: UIPart): boolean {
  return type.startsWith("data-");
}

/** Parts of an assistant that the AI SDK's own translation has no text for either. */
const UNSAID = ["source-url", "source-document", "reasoning-file"];

/** Splits the assistant's parts into steps: what it did between two calls of the model. */
function stepsOf(parts: readonly UIPart[]): UIPart[][] {
  const steps: UIPart[][] = [[]];
  for (const part of parts) {
    if (part.type === "step-start") steps.push([]);
    // What the user said while the assistant was at work stands between two steps.
    else if (part.type === "steering-message") steps.push([part], []);
    else steps.at(-1)!.push(part);
  }
  return steps;
}

/** The messages of one step: its text, the tools that it used, and their results. */
function messagesOfStep(parts: readonly UIPart[]): ChatMessage[] {
  const [first] = parts;
  if (first?.type === "steering-message") {
    return [fromUser(Array.isArray(first.parts) ? first.parts.map(checkedPart) : [])];
  }
  const speech = new Speech();
  const calls: Fields[] = [];
  const results: ChatMessage[] = [];
  const made: ContentPart[] = [];
  let reasoning = "";
  const thoughts: Fields[] = [];
  for (const part of parts) {
    const { type, text, url, toolCallId, input, rawInput } = part;
    if (type === "text") speech.say(text ?? "");
    else if (type === "reasoning") {
      reasoning += text ?? "";
      const { signature, redacted } = ownMetadata(part.providerMetadata);
      if (isText(signature)) thoughts.push(signedThought(text ?? "", signature));
      if (isText(redacted)) thoughts.push(redactedThought(redacted));
    } else if (isTool(part) && isText(toolCallId)) {
      calls.push(callOf(toolCallId, nameOf(part), input ?? rawInput, membersOf(part)));
      const content = resultIn(part);
      if (content !== undefined) results.push(resultOf(toolCallId, content));
    } else if (type === "file" && isText(url)) made.push(fileOf(part, url));
    else if (!isForPage(part) && !UNSAID.includes(type)) speech.quote(textOfUnknown(part));
  }
  return [...assistantMessages(speech.text, reasoning, calls, made, thoughts), ...results];
}

/** A value as a part, where no schema has checked it. */
function checkedPart(value: unknown): UIPart {
  const { type, text = "" } = Object(value);
  return typeof type === "string" && typeof text === "string"
    ? value as UIPart
    : { type: "text", text: textOfUnknown(value) };
}

/** Whether a part is a call; one that has no name is none. */
function isTool({ type, toolName }: UIPart): boolean {
  return type === "dynamic-tool" ? isText(toolName) : type.startsWith("tool-");
}

function nameOf({ type, toolName }: UIPart): string {
  return type === "dynamic-tool" ? wordOf(toolName) : type.slice("tool-".length);
}

/** What stands beside a call, as Gemini's signature: a front end keeps it as metadata of ours. */
function membersOf({ callProviderMetadata }: UIPart): Fields {
  return ownMetadata(callProviderMetadata);
}

/** What a front end has kept of ours beside a part. */
function ownMetadata(metadata: unknown): Fields {
  const { spillway } = (metadata ?? {}) as Fields;
  return isObject(spillway) ? spillway as Fields : {};
}

/** What came of a tool call; `undefined` if nothing has. */
function resultIn({ state, output, errorText, approval }: UIPart): string | undefined {
  switch (state) {
    case "output-available":
      return (typeof output === "string" ? output : JSON.stringify(output ?? null)) ||
        "(no output)";
    case "output-error":
      return isText(errorText) ? errorText : "Error: the tool failed.";
    // Where the call was approved, the request was rejected before.
    case "approval-responded":
    case "output-denied": {
      const { reason } = (approval ?? {}) as { reason?: unknown };
      return isText(reason)
        ? `The user denied this tool call: ${reason}`
        : "The user denied this tool call.";
    }
    case "approval-requested":
      return "No result: the user has not approved this tool call.";
    default:
      return undefined;
  }
}
