/**
 * One chunk of an OpenAI-compatible answer as items. It stands apart because such chunks come in by
 * two ways: from an upstream that a source asks, and in a `Response` that is passed on.
 */
import type { Item, Summary } from "./queue.ts";

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

interface ToolCall {
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

function itemsOf(delta: Delta): Item[] {
  const items: Item[] = [];
  const reasoning = delta.reasoning_content ?? delta.reasoning;
  if (typeof reasoning === "string" && reasoning !== "") {
    items.push({ event: "reasoning", data: { text: reasoning } });
  }
  if (typeof delta.content === "string" && delta.content !== "") items.push(delta.content);
  if (!Array.isArray(delta.tool_calls)) return items;
  for (const call of delta.tool_calls as (ToolCall | null)[]) {
    if (!isObject(call)) continue;
    const { index = 0, id, function: named } = call;
    items.push({
      event: "tool_call",
      data: { index, id, name: named?.name, arguments: named?.arguments },
    });
  }
  return items;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
