/**
 * The parts of the chat completions API's messages, read for upstreams of another API. Separate from
 * them because each of them has to find the same parts.
 */
import { type ChatMessage, type ChatTool, keptThoughts } from "../chat.ts";
import { upstreamError } from "./codes.ts";
import { isObject, wordOf } from "../values.ts";

/** A value of untrusted JSON, whose members may be anything. */
export type Fields = Readonly<Record<string, unknown>>;

/** A part of a message. A file has a `url`, which may be a data URL, or the `id` of one that was uploaded. */
export type ChatPart =
  | { kind: "text"; text: string }
  | { kind: "image"; url: string }
  | { kind: "file"; url?: string; id?: string; name?: string };

/** A call of a tool; `input` is JSON, or the text that a custom tool is given. */
export interface ChatCall {
  readonly id: string;
  readonly name: string;
  readonly input: string;
  readonly isCustom: boolean;
}

/** What a model thought, as far as its own API can take it back: signed, or encrypted. */
export type Thought =
  | { readonly text: string; readonly signature: string }
  | { readonly encrypted: string };

/** Whether a value is some text. */
export function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

/** The members of a value; none if it is no object. */
export function fieldsIn(value: unknown): Fields {
  return isObject(value) ? value as Fields : {};
}

/**
 * The parts of a content.
 *
 * @throws {StreamError} `upstream_unprocessable` if a part has no counterpart.
 */
export function partsOf(content: unknown): ChatPart[] {
  if (content == null || content === "") return [];
  if (typeof content === "string") return [{ kind: "text", text: content }];
  return (Array.isArray(content) ? content : [content]).flatMap(partOf);
}

function partOf(part: unknown): ChatPart[] {
  const { type, text, refusal, image_url: image, file } = fieldsIn(part);
  const said = type === "refusal" ? refusal : text;
  if (typeof said === "string") return said === "" ? [] : [{ kind: "text", text: said }];
  const { url = image } = fieldsIn(image);
  if (type === "image_url" && isText(url)) return [{ kind: "image", url }];
  const { file_data: data, file_id: id, filename: name } = fieldsIn(file);
  if (type === "file" && (isText(data) || isText(id))) {
    const held = isText(data) ? { url: data } : { id: String(id) };
    return [{ kind: "file", ...held, ...isText(name) ? { name } : {} }];
  }
  throw cannotSend(`a part of the type ${wordOf(type)}`);
}

/** The error for what another API has no place for. */
export function cannotSend(what: string): Error {
  return upstreamError("upstream_unprocessable", {
    detail: `The upstream's API does not take ${what}`,
  });
}

/** The media type and the base64 of a data URL; `undefined` if it is none. */
export function dataIn(url: string): { mediaType: string; base64: string } | undefined {
  const [, mediaType, base64] = /^data:([^;,]+)[^,]*;base64,([^]*)$/.exec(url) ?? [];
  return mediaType === undefined || base64 === undefined ? undefined : { mediaType, base64 };
}

/** The calls of an assistant's message. */
export function callsOf({ tool_calls: calls }: ChatMessage): ChatCall[] {
  if (!Array.isArray(calls)) return [];
  return calls.map((call) => {
    const { id, type } = fieldsIn(call);
    const isCustom = type === "custom";
    const named = fieldsIn(fieldsIn(call)[isCustom ? "custom" : "function"]);
    const input = named[isCustom ? "input" : "arguments"];
    return {
      id: wordOf(id),
      name: wordOf(named["name"]),
      input: typeof input === "string" ? input : JSON.stringify(input ?? {}),
      isCustom,
    };
  });
}

/**
 * What an assistant's message says that can be sent back to the model that has thought it. A signature
 * that came in a stream stands apart from its text.
 */
export function thoughtsOf(message: ChatMessage): Thought[] {
  const { reasoning_details: given, reasoning_content: all } = message;
  const details: readonly unknown[] = Array.isArray(given) ? given : keptThoughts(message);
  const signed = details.filter((detail) => isText(fieldsIn(detail)["signature"]));
  const only = signed.length === 1 && isText(all) ? all : "";
  return details.flatMap((detail): Thought[] => {
    const { text, signature, data } = fieldsIn(detail);
    if (isText(signature)) return [{ text: isText(text) ? text : only, signature }];
    return isText(data) ? [{ encrypted: data }] : [];
  });
}

/** A function among the tools. */
export function functionIn(tool: ChatTool): NonNullable<ChatTool["function"]> | undefined {
  return tool.type === "function" ? tool.function : undefined;
}

/** The JSON Schema of a tool's arguments; one of an object without any where it has none. */
export function schemaOf(parameters: unknown): object {
  return isObject(parameters) ? parameters : { type: "object", properties: {} };
}

/** How tools are chosen: a word, or the name of the tool that must be called. */
export function choiceIn(choice: unknown): { word: string } | { name: string } | undefined {
  if (isText(choice)) return { word: choice };
  const { function: named, custom = named } = fieldsIn(choice);
  const { name } = fieldsIn(custom);
  return isText(name) ? { name } : undefined;
}
