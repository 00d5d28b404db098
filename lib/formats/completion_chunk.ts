/**
 * Reads one chunk of an OpenAI-compatible response as items. Separate from the formats and the
 * sources because such chunks arrive in both: from an upstream that a source calls, and in an event
 * that `relay` passes on.
 */
import type { Item, Summary } from "../item.ts";
import { isObject, parseJson } from "../values.ts";

/** The fields of a chunk that are read. None of them is certain to be there or of its type. */
export interface CompletionChunk {
  object?: unknown;
  error?: unknown;
  usage?: unknown;
  choices?: unknown;
}

interface Choice {
  index?: number;
  delta?: unknown;
  finish_reason?: unknown;
}

interface Delta {
  content?: unknown;
  reasoning_content?: unknown;
  reasoning?: unknown;
  tool_calls?: unknown;
}

interface ToolCallDelta {
  index?: number;
  id?: string;
  function?: { name?: string; arguments?: string };
}

/** The chunk that a text is; `undefined` if it is no JSON object. */
export function parseChunk(json: string): CompletionChunk | undefined {
  const value = parseJson(json);
  return isObject(value) && !Array.isArray(value) ? value : undefined;
}

/** Whether the chunk is a failure, in OpenAI's shape or in the one of older vLLM versions. */
export function isFailure(chunk: CompletionChunk): boolean {
  return Boolean(chunk.error) || chunk.object === "error";
}

/**
 * Returns what the chunk adds to the response, in order: reasoning, text, fragments of tool calls.
 * Only the first choice is read. The finish reason and the usage go into `summary`.
 */
export function readChunk(chunk: CompletionChunk, summary: Summary): Item[] {
  if (isObject(chunk.usage)) summary.usage = chunk.usage as Record<string, unknown>;
  const choice: Choice | undefined = Array.isArray(chunk.choices) ? chunk.choices[0] : undefined;
  if (!isObject(choice) || (choice.index ?? 0) !== 0) return [];
  if (typeof choice.finish_reason === "string") summary.finishReason = choice.finish_reason;
  return isObject(choice.delta) ? itemsOf(choice.delta) : [];
}

/** A placeholder for the text while a template is tried: a character that JSON does not escape. */
const MARK = "\u{10fffd}";
/** Characters that JSON has to escape in a string. */
// deno-lint-ignore no-control-regex -- in JSON they are faults
const NEEDS_PARSING = /["\\\0-\x1f]/;
const CONTENT = /"content": ?"/;
/**
 * Limit of attempts to learn a template: the chunks of some upstreams differ in more than their
 * text.
 */
const MAX_TRIES = 4;

/**
 * Extracts the text of chunks that differ from an earlier one in their text alone, as nearly all
 * chunks of a response do. The text is cut out without parsing (benchmark case: relay). What stands
 * before and after it must match the earlier chunk exactly, and the text may hold neither a quote
 * nor a backslash, so that parsing would give the same result.
 */
export class TextChunks {
  #head: string | undefined;
  #tail = "";
  #tries = 0;

  /** The text, if `data` matches the chunk that was learned; else `undefined`. */
  read(data: string): string | undefined {
    const head = this.#head;
    if (head === undefined || data.length < head.length + this.#tail.length) return undefined;
    const end = data.length - this.#tail.length;
    // `startsWith` and `endsWith` take V8 one and a half times as long.
    if (data.slice(0, head.length) !== head || data.slice(end) !== this.#tail) return undefined;
    const text = data.slice(head.length, end);
    return NEEDS_PARSING.test(text) ? undefined : text;
  }

  /** Learns from a parsed chunk if `items` is only its text and that text can be located again. */
  learn(data: string, items: readonly Item[]): void {
    const [text] = items;
    if (items.length !== 1 || typeof text !== "string" || this.#tries >= MAX_TRIES) return;
    this.#tries++;
    const content = CONTENT.exec(data);
    if (content === null || text.includes(MARK)) return;
    const head = data.slice(0, content.index + content[0].length);
    if (!data.startsWith(`${text}"`, head.length)) return;
    const tail = data.slice(head.length + text.length);
    // A name or a text may look like the field: what is found must be what was inserted.
    const summary: Summary = {};
    const found = readChunk(parseChunk(head + MARK + tail) ?? {}, summary);
    const isText = found.length === 1 && found[0] === MARK && Object.keys(summary).length === 0;
    if (isText) [this.#head, this.#tail] = [head, tail];
  }
}

function itemsOf(delta: Delta): Item[] {
  const items: Item[] = [];
  const reasoning = delta.reasoning_content ?? delta.reasoning;
  if (typeof reasoning === "string" && reasoning !== "") {
    items.push({ event: "reasoning", data: { text: reasoning } });
  }
  if (typeof delta.content === "string" && delta.content !== "") items.push(delta.content);
  if (!Array.isArray(delta.tool_calls)) return items;
  for (const call of delta.tool_calls as (ToolCallDelta | null)[]) {
    if (!isObject(call)) continue;
    const { index = 0, id, function: named } = call;
    items.push({
      event: "tool_call",
      data: { index, id, name: named?.name, arguments: named?.arguments },
    });
  }
  return items;
}
