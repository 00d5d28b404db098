/** Reads the events of a response of Anthropic's messages API. */
import { upstreamFailed } from "../error.ts";
import { byteCounter } from "../formats/codes.ts";
import { isBroken, reasonOf } from "../formats/finish.ts";
import type { Item, Summary } from "../item.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { isObject, wordOf } from "../values.ts";
import { type Fields, fieldsIn, isText } from "./chat_parts.ts";
import { type AnswerReader, FAILED } from "./dialect.ts";
import { EventFields, summaryOf } from "./event_fields.ts";

/** A content block that is being read. */
interface Block {
  /** Its beginning, as far as it is kept. */
  readonly start: Fields;
  /** The place among the calls of the response; `undefined` if it is no call of the client's. */
  readonly call: number | undefined;
  /** Whether the input of a call has come in pieces. */
  hasInput: boolean;
  /** The input of a block that is passed on as it is, and its other deltas. */
  input: string;
  readonly deltas: Fields[];
}

/** The memory of a block, or of a count, beside its text, in bytes: an estimate. */
const PART_BYTES = 64;
const KNOWN = ["text", "thinking", "redacted_thinking", "tool_use"];

/**
 * Reads one response. It is whole with `message_stop`, if a stop reason came. Blocks that only this API
 * knows, as those of its servers' tools, are items `delta` with `content_block`.
 */
export class MessageReader implements AnswerReader {
  isOver = false;
  readonly #fields = new EventFields();
  readonly #keep = byteCounter();
  readonly #blocks = new Map<unknown, Block>();
  #calls = 0;
  #reason: string | undefined;
  readonly #usage = new Map<string, unknown>();

  get summary(): Summary | undefined {
    if (!this.isOver || this.#reason === undefined) return undefined;
    return summaryOf(this.#reason, this.#calls > 0, Object.fromEntries(this.#usage));
  }

  read(event: ServerSentEvent): string | readonly Item[] | typeof FAILED {
    const fields = this.#fields.of(event);
    if (fields === undefined) return [];
    switch (fields["type"]) {
      case "error":
        return FAILED;
      case "message_start":
        this.#addUsage(fieldsIn(fields["message"])["usage"]);
        return [];
      case "content_block_start":
        return [
          // An index that is used again.
          ...this.#end(fields["index"]),
          ...this.#begin(fields["index"], fieldsIn(fields["content_block"])),
        ];
      case "content_block_delta":
        return this.#delta(this.#blocks.get(fields["index"]), fieldsIn(fields["delta"]));
      case "content_block_stop":
        return this.#end(fields["index"]);
      case "message_delta":
        return this.#close(fields);
      case "message_stop":
        this.isOver = true;
        // Some servers end no block.
        return [...this.#blocks.keys()].flatMap((index) => this.#end(index));
      // The API may add events, and has a `ping`.
      default:
        return [];
    }
  }

  #addUsage(usage: unknown): void {
    // What is counted so far, of which a later event may tell a part.
    for (const [name, value] of Object.entries(fieldsIn(usage))) {
      if (value == null) continue;
      if (typeof value !== "number") this.#keep(JSON.stringify(value).length);
      if (!this.#usage.has(name)) this.#keep(PART_BYTES + name.length);
      this.#usage.set(name, value);
    }
  }

  #begin(index: unknown, start: Fields): Item[] {
    const { type, id, name, text, thinking, signature, data, citations } = start;
    const isCall = type === "tool_use";
    const call = isCall ? this.#calls++ : undefined;
    const isKnown = KNOWN.includes(wordOf(type));
    const kept = isCall ? { type, input: start["input"] } : isKnown ? { type } : start;
    this.#keep(PART_BYTES + JSON.stringify([index, kept]).length);
    this.#blocks.set(index, { start: kept, call, hasInput: false, input: "", deltas: [] });
    if (isCall) {
      if (!isText(name)) throw upstreamFailed("a tool call has no name");
      const known = ["type", "id", "name", "input"];
      const further = Object.entries(start).filter(([key]) => !known.includes(key));
      const extra = further.length === 0 ? {} : { extra: Object.fromEntries(further) };
      return [{
        event: "tool_call",
        data: { index: call, ...isText(id) ? { id } : {}, name, ...extra },
      }];
    }
    if (type === "redacted_thinking" && isText(data)) {
      return [{ event: "reasoning", data: { text: "", redacted: data } }];
    }
    return [
      ...type === "text" && isText(text) ? [text] : [],
      ...type === "text" && Array.isArray(citations) ? citations.map(citation) : [],
      ...type === "thinking" && isText(thinking) ? [reasoning({ text: thinking })] : [],
      ...type === "thinking" && isText(signature) ? [reasoning({ text: "", signature })] : [],
    ];
  }

  #delta(block: Block | undefined, delta: Fields): string | Item[] {
    const { type, text, thinking, signature, partial_json: json } = delta;
    if (block !== undefined && !KNOWN.includes(wordOf(block.start["type"]))) {
      this.#keep(JSON.stringify(delta).length);
      if (type === "input_json_delta" && isText(json)) block.input += json;
      else block.deltas.push(delta);
      return [];
    }
    if (type === "text_delta") return isText(text) ? text : [];
    if (type === "thinking_delta") return isText(thinking) ? [reasoning({ text: thinking })] : [];
    if (type === "signature_delta") {
      return isText(signature) ? [reasoning({ text: "", signature })] : [];
    }
    if (type === "citations_delta") return [citation(delta["citation"])];
    if (type === "input_json_delta" && block?.call !== undefined) {
      if (!isText(json)) return [];
      block.hasInput = true;
      return [{ event: "tool_call", data: { index: block.call, arguments: json } }];
    }
    return [{ event: "delta", data: { content_block_delta: delta } }];
  }

  #end(index: unknown): Item[] {
    const block = this.#blocks.get(index);
    if (block === undefined) return [];
    this.#blocks.delete(index);
    const { start, call, hasInput, input: json, deltas } = block;
    const { type, input } = start;
    if (call !== undefined) {
      const isWhole = !hasInput && isObject(input) && Object.keys(input).length > 0;
      if (!isWhole) return [];
      return [{ event: "tool_call", data: { index: call, arguments: JSON.stringify(input) } }];
    }
    if (type === undefined || KNOWN.includes(wordOf(type))) return [];
    const read = json === "" ? {} : { input: this.#fields.parse(json) };
    const further = deltas.length === 0 ? {} : { content_block_deltas: deltas };
    return [{ event: "delta", data: { content_block: { ...start, ...read }, ...further } }];
  }

  #close({ delta, usage }: Fields): Item[] {
    this.#addUsage(usage);
    const { stop_reason, stop_sequence } = fieldsIn(delta);
    const reason = reasonOf(stop_reason);
    if (reason !== undefined && isBroken(reason)) {
      throw upstreamFailed(`The stop reason is ${reason}`);
    }
    this.#reason ??= reason;
    return isText(stop_sequence) ? [{ event: "metadata", data: { stop_sequence } }] : [];
  }
}

function reasoning(data: { text: string; signature?: string }): Item {
  return { event: "reasoning", data };
}

function citation(data: unknown): Item {
  return { event: "citation", data };
}
