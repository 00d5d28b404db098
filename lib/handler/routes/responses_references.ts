/**
 * Puts the items of earlier responses in place of references to them, which `@ai-sdk/openai` sends unless
 * `store` is false. Separate from the translation because the log has to be asked.
 */
import { StreamError } from "../../error.ts";
import { isObject, wordOf } from "../../values.ts";
import { type Faults, InvalidInput } from "../schema.ts";
import { responseIn } from "./responses_log.ts";
import type { ResponsesItem } from "./responses_messages.ts";
import type { Call, RouteContext } from "./route.ts";

type Input = string | ResponsesItem[];

/** The id of an item: its kind, its stream, and its place unless it is the first. */
const ITEM_ID = /^(msg|rs|fc|ctc|ig)_([\w-]{22})(?:_\d+)?$/;
/** So many responses may be referred to at once. */
const MAX_RESPONSES = 100;

/**
 * The input without references. One to reasoning that the log does not have is left out: an answer can do
 * without.
 *
 * @throws {InvalidInput} If the log has no such item, or one is referred to twice.
 */
export async function withoutReferences(
  { request, owner }: Call,
  context: RouteContext,
  input: Input,
): Promise<Input> {
  if (typeof input === "string" || !input.some(isReference)) return input;
  // The body of the request was read, and is not that of another one.
  const { url, signal } = request;
  const asked: Call = { request: new Request(url, { signal }), owner, name: "" };
  const outputs = new Map<string, Promise<ResponsesItem[]>>();
  const faults: Faults = [];
  const items: ResponsesItem[] = [];
  const seen = new Set<string>();
  for (const [at, item] of input.entries()) {
    const id = wordOf(item.id);
    if (isReference(item)) {
      // A short request might stand for any length.
      if (seen.has(id)) throw invalid([{ pointer: `/input/${at}/id`, detail: TWICE }]);
      seen.add(id);
    }
    const [, kind, streamId] = isReference(item) ? ITEM_ID.exec(id) ?? [] : [];
    if (streamId !== undefined && outputs.size < MAX_RESPONSES && !outputs.has(streamId)) {
      outputs.set(streamId, outputOf(asked, context, streamId));
    }
    const output = await outputs.get(streamId ?? "");
    const found = isReference(item) ? output?.find((other) => other.id === id) : item;
    if (found !== undefined) items.push(found);
    else if (kind !== "rs") faults.push({ pointer: `/input/${at}/id`, detail: MISSING });
  }
  if (faults.length > 0) throw invalid(faults);
  return items;
}

function invalid(faults: Faults): InvalidInput {
  return new InvalidInput(faults, "invalid_input", { status: 400 });
}

const TWICE = "The item is referred to twice";
const MISSING = "No such item is kept here: send the item itself, as clients do with store: false";

function isReference({ type }: ResponsesItem): boolean {
  return type === "item_reference";
}

/** The output of a response; none where the log does not have it. */
async function outputOf(
  call: Call,
  context: RouteContext,
  streamId: string,
): Promise<ResponsesItem[]> {
  if (!context.resumable) return [];
  try {
    const { output } = await responseIn(call, context, streamId, "first");
    return Array.isArray(output) ? output.filter(isObject) as ResponsesItem[] : [];
  } catch (error) {
    if (error instanceof StreamError && error.status === 404) return [];
    throw error;
  }
}
