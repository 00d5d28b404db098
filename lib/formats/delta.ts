/**
 * What a delta adds to a response, under whichever names its upstream has for that. Separate from the
 * reader of chunks because nothing here depends on what came before.
 */
import type { Item } from "../item.ts";
import type { CallFragment } from "./tool_calls.ts";
import { isObject } from "../values.ts";

/** What a delta holds. */
export interface DeltaItems {
  /** Reasoning, text, refusal, pictures, audio, citations, and what nobody knows, in this order. */
  readonly items: Item[];
  /** Fragments of tool calls, in the order in which they stand. */
  readonly fragments: CallFragment[];
  /** Whether any client of OpenAI's API reads the text and the calls as they are read here. */
  readonly isStandard: boolean;
}

type Fields = Record<string, unknown>;

/** Names of reasoning as a text. Some upstreams send several, and leave all but one empty. */
const REASONING = ["reasoning_content", "reasoning", "reasoning_text", "thinking", "thought"];
/** Those of them that the clients of OpenAI's API read. */
const STANDARD_REASONING = REASONING.slice(0, 2);
/** Members that say nothing about the answer. */
const SILENT = new Set(["role", "name", "tool_call_id", "id", "index", "finish_reason"]);
const KNOWN = new Set([
  ...REASONING,
  ...SILENT,
  "reasoning_details",
  "content",
  "refusal",
  "images",
  "audio",
  "annotations",
  "tool_calls",
  "function_call",
]);

/** The text of a delta that holds nothing else, as nearly all do; else `undefined`. */
export function plainText(delta: object): string | undefined {
  for (const name in delta) {
    if (name !== "content" && (name !== "role" || (delta as Fields)[name] !== "assistant")) {
      return undefined;
    }
  }
  const { content = "" } = delta as { content?: unknown };
  return typeof content === "string" ? content : undefined;
}

/** Reads a delta, or a message in place of one. */
export function deltaItems(delta: object): DeltaItems {
  const fields = delta as Fields;
  const { content } = fields;
  const parts = contentOf(content);
  const reasoning = REASONING.map((name) => textIn(fields[name])).find(isText) ?? parts.reasoning;
  const details = detailsOf(fields["reasoning_details"]);
  const calls = listOf(fields["tool_calls"]);
  const unknown = unknownOf(fields);
  if (parts.unknown.length > 0) unknown["content_parts"] = parts.unknown;
  if (details.others.length > 0) unknown["reasoning_details"] = details.others;
  const strangers = calls.filter((call) => !isObject(call));
  if (strangers.length > 0) unknown["tool_calls_parts"] = strangers;

  const items: Item[] = [];
  const thought = reasoning || details.text;
  if (thought !== "") items.push({ event: "reasoning", data: { text: thought } });
  if (parts.text !== "") items.push(parts.text);
  const refusal = textIn(fields["refusal"]) || parts.refusal;
  if (refusal !== "") items.push({ event: "refusal", data: { text: refusal } });
  const images = listOf(fields["images"]);
  const files = [...parts.images, ...images].map(fileOf);
  for (const file of files) if (file !== undefined) items.push(file);
  const strange = images.filter((image) => fileOf(image) === undefined);
  if (strange.length > 0) unknown["images"] = strange;
  if (!isEmpty(fields["audio"])) items.push({ event: "audio", data: fields["audio"] });
  for (const data of listOf(fields["annotations"])) items.push({ event: "citation", data });
  if (Object.keys(unknown).length > 0) items.push({ event: "delta", data: unknown });

  const legacy = fields["function_call"];
  const given = calls.filter(isObject).map(fragmentOf);
  if (isObject(legacy)) given.push(fragmentOf({ index: 0, function: legacy }));
  const fragments = given.filter(saysAny);
  const isStandard = (content == null || typeof content === "string") && !isObject(legacy) &&
    fields["role"] !== "" && fragments.length === given.length &&
    strangers.length === 0 && (calls.length === 0 || Array.isArray(fields["tool_calls"])) &&
    (refusal === "" || isText(fields["refusal"])) &&
    (thought === "" || STANDARD_REASONING.some((name) => isText(fields[name])));
  return { items, fragments, isStandard };
}

/** What a content holds: a text, or a list of parts. */
function contentOf(content: unknown) {
  const found = {
    text: "",
    reasoning: "",
    refusal: "",
    images: [] as unknown[],
    unknown: [] as unknown[],
  };
  if (typeof content === "string" || typeof content === "number") found.text = String(content);
  else if (isObject(content)) {
    for (const part of Array.isArray(content) ? content : [content]) takePart(part, found);
  }
  return found;
}

function takePart(part: unknown, found: ReturnType<typeof contentOf>): void {
  if (typeof part === "string") found.text += part;
  else if (!isObject(part) && part != null) found.unknown.push(part);
  if (!isObject(part)) return;
  const { type, text, thinking, refusal } = part as Fields;
  if (type === "thinking" || type === "reasoning") {
    // Mistral's may refer to documents.
    const inner = contentOf(thinking ?? text);
    found.reasoning += inner.reasoning + inner.text;
    found.refusal += inner.refusal;
    found.images = [...found.images, ...inner.images];
    found.unknown = [...found.unknown, ...inner.unknown];
  } else if (type === "refusal" && isText(refusal)) found.refusal += refusal;
  else if (type === "image_url") found.images.push(part);
  else if (isText(text) && (type === undefined || type === "text" || type === "output_text")) {
    found.text += text;
  } else if (text !== "") found.unknown.push(part);
}

/** The text of what is all reasoning, or all refusal. */
function textIn(value: unknown): string {
  const { reasoning, text, refusal } = contentOf(value);
  return reasoning + text + refusal;
}

/** Reasoning in parts: its text, and those parts that hold more than text, as they came. */
function detailsOf(given: unknown): { text: string; others: unknown[] } {
  let text = "";
  const others: unknown[] = [];
  for (const detail of listOf(given)) {
    const { text: said, summary, data, signature } = Object(detail);
    const own = isText(said) ? said : isText(summary) ? summary : "";
    text += own;
    if (own === "" || isText(data) || isText(signature)) others.push(detail);
  }
  return { text, others };
}

/**
 * Members that nobody knows, unless they are empty. Known ones that nobody knows in this shape have
 * another name, because clients would read them.
 */
function unknownOf(fields: Fields): Fields {
  const unknown: [string, unknown][] = [];
  for (const [name, value] of Object.entries(fields)) {
    if (isEmpty(value)) continue;
    if (!KNOWN.has(name)) unknown.push([name, value]);
    else if (isStrange(name, value)) unknown.push([`${name}_parts`, value]);
  }
  return Object.fromEntries(unknown);
}

/** Whether a known member has a shape that is not read. */
function isStrange(name: string, value: unknown): boolean {
  if (name === "refusal" || REASONING.includes(name)) return textIn(value) === "";
  return name === "function_call" && !isObject(value);
}

/** A picture, or nothing if it has another shape. */
function fileOf(image: unknown): Item | undefined {
  const { image_url: given, b64_json: base64, media_type: mediaType = "image/png" } = Object(image);
  if (isText(base64)) return { event: "file", data: { mediaType, base64 } };
  const url = isObject(given) ? (given as Fields)["url"] : given;
  if (!isText(url)) return undefined;
  const [, type, bytes] = /^data:([^;,]*);base64,([^]*)$/.exec(url) ?? [];
  return bytes === undefined
    ? { event: "file", data: { mediaType: "image/*", url } }
    : { event: "file", data: { mediaType: type || "image/png", base64: bytes } };
}

function fragmentOf(call: object): CallFragment {
  const { index, id, type, function: given, custom, ...rest } = call as Fields;
  const isCustom = isObject(custom);
  const { name, arguments: json, input, ...further } = Object(isCustom ? custom : given);
  // An assignment would take `__proto__` for the prototype.
  const extra: Fields = Object.fromEntries(
    Object.entries(rest).filter(([, value]) => !isEmpty(value)),
  );
  if (!isCustom && input !== undefined) further.input = input;
  if (!isEmpty(further)) extra[isCustom ? "custom" : "function"] = further;
  return {
    type: isCustom ? "custom" : type,
    index,
    id,
    name,
    arguments: isCustom ? input : json,
    ...Object.keys(extra).length === 0 ? {} : { extra },
  };
}

/** Whether a fragment says anything: some upstreams send an empty one beside each text. */
function saysAny({ id, name, arguments: json, extra }: CallFragment): boolean {
  return [id, name, json, extra].some((value) => value != null && value !== "");
}

/** A list; an entry that stands in place of one is a list of one. */
function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : isEmpty(value) ? [] : [value];
}

/** Whether a value says nothing: `null`, `""`, `[]`, `{}`. */
function isEmpty(value: unknown): boolean {
  return value == null || value === "" || (isObject(value) && Object.keys(value).length === 0);
}

/** Whether a value is a text that is not empty. */
export function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}
