/** Reads the events of a response of OpenAI's Responses API. */
import { upstreamFailed } from "../error.ts";
import { isBroken, reasonOf } from "../formats/finish.ts";
import type { Item, Summary } from "../item.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { type Fields, fieldsIn, isText } from "./chat_parts.ts";
import { type AnswerReader, FAILED } from "./dialect.ts";
import { EventFields, summaryOf } from "./event_fields.ts";

/** An item of the output that is being read. */
interface OutputItem {
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

/**
 * Reads one response. It is whole with `response.completed`, or with a `response.incomplete` that gives
 * its reason. What comes whole only, behind its pieces or without any, is read once. Items that only
 * this API knows are items `delta` with `output_item`.
 */
export class ResponseReader implements AnswerReader {
  isOver = false;
  readonly #fields = new EventFields();
  readonly #items = new Map<unknown, OutputItem>();
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
    const type = String(fields["type"]);
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
      case "response.function_call_arguments.delta":
      case "response.custom_tool_call_input.delta":
        return this.#input(at, delta);
      case "response.output_text.annotation.added":
        return [citation(fields["annotation"])];
      case "response.output_item.added":
        return this.#begin(at, fieldsIn(fields["item"]));
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

  #item(at: unknown): OutputItem {
    const known = this.#items.get(at);
    if (known !== undefined) return known;
    const item = { hasPieces: false, isDone: false };
    this.#items.set(at, item);
    return item;
  }

  #piece(at: unknown, delta: unknown): string | undefined {
    if (!isText(delta)) return undefined;
    this.#item(at).hasPieces = true;
    return delta;
  }

  #think(at: unknown, type: string, delta: unknown): Item[] {
    const item = this.#item(at);
    if (!isText(delta) || (item.thinksIn ??= type) !== type) return [];
    item.hasPieces = true;
    return [reasoning(delta)];
  }

  /** A blank line between two parts of a summary. */
  #thinkFurther(at: unknown, part: unknown): Item[] {
    const { hasPieces, thinksIn } = this.#item(at);
    const isFurther = typeof part === "number" && part > 0 && hasPieces &&
      thinksIn === "response.reasoning_summary_text.delta";
    return isFurther ? [reasoning("\n\n")] : [];
  }

  #input(at: unknown, delta: unknown): Item[] {
    const { call } = this.#item(at);
    if (!isText(delta)) return [];
    if (call === undefined) throw upstreamFailed("arguments belong to no tool call");
    this.#item(at).hasPieces = true;
    return [{ event: "tool_call", data: { index: call, arguments: delta } }];
  }

  #begin(at: unknown, { type, name, call_id: id }: Fields): Item[] {
    const item = this.#item(at);
    if (!Object.hasOwn(INPUTS, String(type)) || item.call !== undefined) return [];
    if (!isText(name)) throw upstreamFailed("a tool call has no name");
    item.call = this.#calls++;
    const custom = type === "custom_tool_call" ? { type: "custom" } : {};
    const data = { index: item.call, ...isText(id) ? { id } : {}, ...custom, name };
    return [{ event: "tool_call", data }];
  }

  /** Reads what has come in no pieces. */
  #end(at: unknown, item: Fields): Item[] {
    const { type, content, summary, encrypted_content: signature, result } = item;
    const begun = this.#begin(at, item);
    const read = this.#item(at);
    if (read.isDone) return [];
    read.isDone = true;
    if (type === "message") return read.hasPieces ? [] : listOf(content).flatMap(itemsOf);
    if (type === "reasoning") {
      const texts = [summary, content].map((parts) => textsIn(parts).join("\n\n"));
      const text = read.hasPieces ? "" : texts.find(isText) ?? "";
      return [
        ...text === "" ? [] : [reasoning(text)],
        ...isText(signature) ? [{ event: "reasoning", data: { text: "", signature } }] : [],
      ];
    }
    if (read.call !== undefined) {
      const input = item[INPUTS[String(type)]!];
      if (read.hasPieces || !isText(input)) return begun;
      return [...begun, { event: "tool_call", data: { index: read.call, arguments: input } }];
    }
    if (type === "image_generation_call" && isText(result)) {
      const format = isText(item["output_format"]) ? item["output_format"] : "png";
      return [{ event: "file", data: { mediaType: `image/${format}`, base64: result } }];
    }
    return [{ event: "delta", data: { output_item: item } }];
  }

  #close({ output, usage, incomplete_details: details }: Fields, type: string): Item[] {
    this.#usage = fieldsIn(usage);
    const { reason } = fieldsIn(details);
    this.#reason = type === "response.completed" ? "stop" : reasonOf(reason);
    if (this.#reason !== undefined && isBroken(this.#reason)) {
      throw upstreamFailed(`The response is incomplete: ${this.#reason}`);
    }
    this.isOver = true;
    // Some servers tell an item here alone. One without a place was not told by it.
    const isPlaced = !this.#items.has(undefined);
    return isPlaced ? listOf(output).flatMap((item, at) => this.#end(at, fieldsIn(item))) : [];
  }
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
