/**
 * One chunk of an OpenAI-compatible answer as items. It stands apart because such chunks come in by
 * two ways: from an upstream that a source asks, and in a `Response` that is passed on.
 */
import type { Item, Summary } from "../item.ts";

/** As much of a chunk as is read; nothing of it is certain. */
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

/** Whether the chunk is a failure, in OpenAI's shape or in the one that vLLM had. */
export function isFailure(chunk: CompletionChunk): boolean {
  return Boolean(chunk.error) || chunk.object === "error";
}

/**
 * What the chunk adds to the answer, in order: reasoning, text, fragments of tool calls. Of several
 * choices the first is read. What it says of the end goes into `summary`.
 */
export function readChunk(chunk: CompletionChunk, summary: Summary): Item[] {
  if (isObject(chunk.usage)) summary.usage = chunk.usage as Record<string, unknown>;
  const choice: Choice | undefined = Array.isArray(chunk.choices) ? chunk.choices[0] : undefined;
  if (!isObject(choice) || (choice.index ?? 0) !== 0) return [];
  if (typeof choice.finish_reason === "string") summary.finishReason = choice.finish_reason;
  return isObject(choice.delta) ? itemsOf(choice.delta) : [];
}

/** What stands in for the text while a template is tried: nothing that JSON would escape. */
const MARK = "\u{10fffd}";
/** What cannot stand in a JSON string as it is. */
// deno-lint-ignore no-control-regex -- in JSON they are faults
const NEEDS_PARSING = /["\\\0-\x1f]/;
const CONTENT = /"content": ?"/;
/** An upstream whose chunks differ in more than their text is not looked at over and over. */
const MAX_TRIES = 4;

/**
 * The text of chunks that differ from an earlier one in their text alone, as nearly all of an answer's do: it is
 * cut out, and not parsed (benchmark case: relay). What stands before and after it is compared to the letter, and
 * the text holds neither a quote nor a backslash, so that parsing could not find anything else.
 */
export class TextChunks {
  #head: string | undefined;
  #tail = "";
  #tries = 0;

  /** The text, where `data` is like the chunk that was learnt. */
  read(data: string): string | undefined {
    const head = this.#head;
    if (head === undefined || data.length < head.length + this.#tail.length) return undefined;
    const end = data.length - this.#tail.length;
    // `startsWith` and `endsWith` take V8 half as long again.
    if (data.slice(0, head.length) !== head || data.slice(end) !== this.#tail) return undefined;
    const text = data.slice(head.length, end);
    return NEEDS_PARSING.test(text) ? undefined : text;
  }

  /** Learns from a chunk that was parsed, if `items` is but its text and that can be found again. */
  learn(data: string, items: readonly Item[]): void {
    const [text] = items;
    if (items.length !== 1 || typeof text !== "string" || this.#tries >= MAX_TRIES) return;
    this.#tries++;
    const content = CONTENT.exec(data);
    if (content === null || text.includes(MARK)) return;
    const head = data.slice(0, content.index + content[0].length);
    if (!data.startsWith(`${text}"`, head.length)) return;
    const tail = data.slice(head.length + text.length);
    // A name or a text may look like the field: what is found must be what was put there.
    const summary: Summary = {};
    const found = readChunk(parse(head + MARK + tail), summary);
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

function parse(json: string): CompletionChunk {
  try {
    return Object(JSON.parse(json));
  } catch {
    // What was put in was put beside a string: then there is no template.
    return {};
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
