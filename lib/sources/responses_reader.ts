/** Reads the events of a response of OpenAI's Responses API. */
import { upstreamFailed } from "../error.ts";
import { byteCounter } from "../formats/codes.ts";
import { isBroken, reasonOf } from "../formats/finish.ts";
import type { Item, Summary } from "../item.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { wordOf } from "../values.ts";
import { type Fields, fieldsIn, isText } from "./chat_parts.ts";
import { type AnswerReader, FAILED } from "./dialect.ts";
import { EventFields, summaryOf } from "./event_fields.ts";

/** An item of the output that is being read. */
interface OutputItem {
  /** Its id, that of its call if it is one; `undefined` where the server does not say. */
  id: string | undefined;
  /** The place among the calls of the response; `undefined` if it is none, or not yet. */
  call?: number;
  /** Whether text, a refusal, reasoning or arguments of it have come in pieces. */
  hasPieces: boolean;
  /** The events that its reasoning comes in: some servers send the whole and its summary. */
  thinksIn?: string;
  /** Whether all of it was read. */
  isDone: boolean;
}

/** What a call's input is named in its item. */
const INPUTS: Readonly<Record<string, string>> = {
  function_call: "arguments",
  custom_tool_call: "input",
};
/** The memory of an item beside its texts, in bytes: an estimate. */
const ITEM_BYTES = 64;

/**
 * Reads one response. It is whole with `response.completed`, or with a `response.incomplete` that gives
 * its reason. What comes whole only, behind its pieces or without any, is read once. Items that only
 * this API knows are items `delta` with `output_item`.
 *
 * Not all servers count alike: to some every item is the first, some leave reasoning out of the output
 * at the end, and some give an item another id in each event. So an item is known by its type and place
 * while it comes, and by its type and order at the end.
 */
export class ResponseReader implements AnswerReader {
  isOver = false;
  readonly #fields = new EventFields();
  readonly #keep = byteCounter();
  /** The latest item of each type at each place. */
  readonly #items = new Map<string, OutputItem>();
  /** All items of each type, in their order. */
  readonly #byType = new Map<string, OutputItem[]>();
  #calls = 0;
  #reason: string | undefined;
  #usage: Fields = {};

  get summary(): Summary | undefined {
    if (!this.isOver || this.#reason === undefined) return undefined;
    return summaryOf(this.#reason, this.#calls > 0, this.#usage);
  }

  read(event: ServerSentEvent): string | readonly Item[] | typeof FAILED {
    const fields = this.#fields.of(event);
    if (fields === undefined) return [];
    const { delta, output_index: at } = fields;
    const type = wordOf(fields["type"]);
    switch (type) {
      case "error":
      case "response.failed":
        return FAILED;
      case "response.output_text.delta":
        return this.#piece(at, delta) ?? [];
      case "response.refusal.delta":
        return this.#piece(at, delta) === undefined ? [] : [refusal(String(delta))];
      case "response.reasoning_summary_text.delta":
      case "response.reasoning_text.delta":
        return this.#think(at, type, delta);
      case "response.reasoning_summary_part.added":
        return this.#thinkFurther(at, fields["summary_index"]);
      case "response.custom_tool_call_input.delta":
        return this.#input("custom_tool_call", at, delta);
      case "response.function_call_arguments.delta":
        return this.#input("function_call", at, delta);
      case "response.output_text.annotation.added":
        return [citation(fields["annotation"])];
      case "response.output_item.added":
        return this.#add(at, fieldsIn(fields["item"]));
      case "response.output_item.done":
        return this.#end(at, fieldsIn(fields["item"]));
      case "response.completed":
      case "response.incomplete":
        return this.#close(fieldsIn(fields["response"]), type);
      // The API may add events, and repeats in others what came before.
      default:
        return [];
    }
  }

  /** The item that goes on at a place, or another one there. */
  #item(type: string, at: unknown, isOther = (known: OutputItem) => known.isDone): OutputItem {
    const place = `${type} ${typeof at === "number" ? at : ""}`;
    const known = this.#items.get(place);
    if (known !== undefined && !isOther(known)) return known;
    this.#keep(ITEM_BYTES + place.length);
    const item: OutputItem = { id: undefined, hasPieces: false, isDone: false };
    this.#items.set(place, item);
    const ofType = this.#byType.get(type);
    if (ofType === undefined) this.#byType.set(type, [item]);
    else ofType.push(item);
    return item;
  }

  #piece(at: unknown, delta: unknown): string | undefined {
    if (!isText(delta)) return undefined;
    this.#item("message", at).hasPieces = true;
    return delta;
  }

  #think(at: unknown, type: string, delta: unknown): Item[] {
    const item = this.#item("reasoning", at);
    if (!isText(delta) || (item.thinksIn ??= type) !== type) return [];
    item.hasPieces = true;
    return [reasoning(delta)];
  }

  /** A blank line between two parts of a summary. */
  #thinkFurther(at: unknown, part: unknown): Item[] {
    const { hasPieces, thinksIn } = this.#item("reasoning", at);
    const isFurther = typeof part === "number" && part > 0 && hasPieces &&
      thinksIn === "response.reasoning_summary_text.delta";
    return isFurther ? [reasoning("\n\n")] : [];
  }

  #input(type: string, at: unknown, delta: unknown): Item[] {
    if (!isText(delta)) return [];
    const item = this.#item(type, at);
    if (item.call === undefined) throw upstreamFailed("arguments belong to no tool call");
    item.hasPieces = true;
    return [{ event: "tool_call", data: { index: item.call, arguments: delta } }];
  }

  #add(at: unknown, fields: Fields): Item[] {
    const id = idOf(fields);
    const item = this.#item(
      wordOf(fields["type"]),
      at,
      (known) => known.isDone || isCall(fields) && isAnother(known.id, id),
    );
    this.#name(item, id);
    return this.#begin(item, fields);
  }

  #name(item: OutputItem, id: string | undefined): void {
    if (item.id !== undefined || id === undefined) return;
    this.#keep(id.length);
    item.id = id;
  }

  /** Begins a call, unless it has begun. */
  #begin(item: OutputItem, fields: Fields): Item[] {
    const { type, name, call_id: id } = fields;
    if (!isCall(fields) || item.call !== undefined) return [];
    if (!isText(name)) throw upstreamFailed("a tool call has no name");
    item.call = this.#calls++;
    const custom = type === "custom_tool_call" ? { type: "custom" } : {};
    const data = { index: item.call, ...isText(id) ? { id } : {}, ...custom, name };
    return [{ event: "tool_call", data }];
  }

  /** Ends the item at a place. Said once more, an item has the same id. */
  #end(at: unknown, fields: Fields): Item[] {
    const id = idOf(fields);
    const item = this.#item(
      wordOf(fields["type"]),
      at,
      (known) => (known.isDone || isCall(fields)) && isAnother(known.id, id),
    );
    this.#name(item, id);
    return this.#complete(item, fields);
  }

  /** Reads what has come in no pieces. */
  #complete(read: OutputItem, item: Fields): Item[] {
    if (read.isDone) return [];
    read.isDone = true;
    const { type, content, summary, encrypted_content: signature, result } = item;
    if (type === "message") return read.hasPieces ? [] : listOf(content).flatMap(itemsOf);
    if (type === "reasoning") {
      const texts = [summary, content].map((parts) => textsIn(parts).join("\n\n"));
      const text = read.hasPieces ? "" : texts.find(isText) ?? "";
      return [
        ...text === "" ? [] : [reasoning(text)],
        ...isText(signature) ? [{ event: "reasoning", data: { text: "", signature } }] : [],
      ];
    }
    if (isCall(item)) {
      const begun = this.#begin(read, item);
      const input = item[INPUTS[wordOf(type)]!];
      if (read.hasPieces || !isText(input)) return begun;
      return [...begun, { event: "tool_call", data: { index: read.call, arguments: input } }];
    }
    if (type === "image_generation_call" && isText(result)) {
      const format = isText(item["output_format"]) ? item["output_format"] : "png";
      return [{ event: "file", data: { mediaType: `image/${format}`, base64: result } }];
    }
    return [{ event: "delta", data: { output_item: item } }];
  }

  #close(response: Fields, type: string): Item[] | typeof FAILED {
    const { output, usage, status, incomplete_details: details } = response;
    // Some servers say so here alone.
    if (status === "failed") return FAILED;
    this.#usage = fieldsIn(usage);
    const { reason } = fieldsIn(details);
    const isComplete = type === "response.completed" && !INCOMPLETE.includes(status);
    this.#reason = isComplete ? "stop" : reasonOf(reason);
    if (this.#reason !== undefined && isBroken(this.#reason)) {
      throw upstreamFailed(`The response is incomplete: ${this.#reason}`);
    }
    this.isOver = true;
    // Some servers tell an item here alone.
    const counts = new Map<string, number>();
    return listOf(output).map(fieldsIn).flatMap((item) => {
      const type = wordOf(item["type"]);
      const at = counts.get(type) ?? 0;
      counts.set(type, at + 1);
      return this.#complete(
        this.#byType.get(type)?.[at] ?? this.#item(type, undefined, () => true),
        item,
      );
    });
  }
}

const INCOMPLETE: readonly unknown[] = ["incomplete", "cancelled"];

function isCall({ type }: Fields): boolean {
  return Object.hasOwn(INPUTS, wordOf(type));
}

/** The id by which an item is told from another one. */
function idOf(item: Fields): string | undefined {
  const id = isCall(item) ? item["call_id"] : item["id"];
  return isText(id) ? id : undefined;
}

/** Whether two ids are those of two items; without them nobody knows. */
function isAnother(known: string | undefined, id: string | undefined): boolean {
  return known !== undefined && id !== undefined && known !== id;
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function textsIn(parts: unknown): string[] {
  return listOf(parts).map((part) => fieldsIn(part)["text"]).filter(isText);
}

/** The items of a part of a message. */
function itemsOf(part: unknown): Item[] {
  const { type, text, refusal: words, annotations } = fieldsIn(part);
  if (type === "refusal" && isText(words)) return [refusal(words)];
  return [...isText(text) ? [text] : [], ...listOf(annotations).map(citation)];
}

function reasoning(text: string): Item {
  return { event: "reasoning", data: { text } };
}

function refusal(text: string): Item {
  return { event: "refusal", data: { text } };
}

/** A citation, in the shape that the chat completions API has for an address. */
function citation(annotation: unknown): Item {
  const { type, ...cited } = fieldsIn(annotation);
  const data = type === "url_citation" ? { type, url_citation: cited } : annotation;
  return { event: "citation", data };
}
