/**
 * What an answer is made of for those who know a model's API: text, reasoning, tool calls. It stands
 * between the framer's interface and the formats of such APIs, so that all of them see the same parts
 * in the same items, and each says only how it writes them.
 */
import { isFailure, readChunk } from "./completion_chunk.ts";
import { StreamError, upstreamFailed } from "../error.ts";
import type { End, Framer } from "./format.ts";
import type { Item, Summary } from "../item.ts";
import type { EventWriter } from "../sse/encode.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import type { Frame } from "../sse/utf8.ts";

/** What one stream may have its framer keep, in bytes: arguments of tool calls, and whole answers. */
export const MAX_KEPT_BYTES: number = 16 * 1024 * 1024;
/** What a tool call costs beside its strings. */
const CALL_BYTES = 64;

/** A tool call as its fragments come in. */
export interface ToolCall {
  /** Its place among the calls of the answer: 0, 1, 2, … */
  readonly index: number;
  readonly id: string;
  readonly name: string;
  /** JSON, as far as it has come. */
  arguments: string;
  ended: boolean;
}

/** A fragment as a source gives it; nothing of it is certain. */
interface Fragment {
  index?: unknown;
  id?: unknown;
  name?: unknown;
  arguments?: unknown;
}

/**
 * Finds the parts in the items.
 *
 * - A string is text.
 * - `{ event: "reasoning", data: { text } }` is reasoning.
 * - `{ event: "tool_call", data: { index, id?, name?, arguments? } }` is a fragment of a tool call:
 *   the first one names the tool. An id that the call does not have begins another call, for some
 *   upstreams give them all the index 0.
 * - Any other structured item is `other`.
 * - An event of an upstream is what it would be as an item: a chunk of OpenAI's is its text,
 *   reasoning and tool calls, Spillway's `{"token"}` is text, a named event is a structured item;
 *   without a name, what is no JSON object is text as it stands. What is a failure fails the stream.
 */
export abstract class PartFramer implements Framer {
  /** The calls so far, in the order in which they began. */
  protected readonly calls: ToolCall[] = [];
  /** Those among them whose arguments have grown since a format last cleared the set. */
  protected readonly grown: Set<ToolCall> = new Set();
  /** What an upstream's chunks said of their end. */
  protected readonly relayedEnd: Summary = {};
  /** The call that each index of the source stands for. */
  readonly #current = new Map<unknown, ToolCall>();
  readonly #callIds: string;
  #keptBytes = 0;

  /** @param callIds What the ids of calls begin with that have none of their own. */
  constructor(callIds: string) {
    this.#callIds = callIds;
  }

  abstract token(out: EventWriter, text: string): void;
  protected abstract reasoning(out: EventWriter, text: string): void;
  /** A call begins; `fragment` is what its arguments begin with, perhaps nothing. */
  protected abstract callBegan(out: EventWriter, call: ToolCall, fragment: string): void;
  /** Its arguments go on; `fragment` is never empty. */
  protected abstract callWent(out: EventWriter, call: ToolCall, fragment: string): void;
  /** A structured item that is no part of an answer: dropped, unless the format has room for it. */
  protected other(_out: EventWriter, _event: string | undefined, _json: string): void {}
  abstract end(out: EventWriter, end: End): void;

  structured(out: EventWriter, event: string | undefined, json: string, data: unknown): void {
    if (
      event === "reasoning" && isObject(data) && "text" in data && typeof data.text === "string"
    ) {
      if (data.text !== "") this.reasoning(out, data.text);
    } else if (event === "tool_call" && isObject(data)) this.#takeFragment(out, data);
    else this.other(out, event, json);
  }

  relayed(out: EventWriter, { event, data }: ServerSentEvent): void {
    const value = parse(data);
    if (event !== "message") {
      const json = value === undefined ? JSON.stringify(data) : oneLine(data);
      this.structured(out, event, json, value ?? data);
    } else if (!isObject(value) || Array.isArray(value)) {
      if (data !== "") this.token(out, data);
    } else if (isFailure(value)) throw upstreamFailed(data);
    else if ("choices" in value) this.chunk(out, data, readChunk(value, this.relayedEnd));
    else if (!("token" in value && typeof value.token === "string")) {
      this.structured(out, undefined, oneLine(data), value);
    } else if (value.token !== "") this.token(out, value.token);
  }

  /** An upstream's chunk, and the items that were found in it. */
  protected chunk(out: EventWriter, _data: string, items: Item[]): void {
    for (const item of items) {
      if (typeof item === "string") this.token(out, item);
      // Reasoning and tool calls: nobody looks at their JSON.
      else this.structured(out, item.event, "", item.data);
    }
  }

  /** The end as the source says it, or the upstream whose events were relayed. */
  protected endOf(end: End): End {
    return { ...this.relayedEnd, ...end };
  }

  /**
   * Counts what is kept until the end.
   *
   * @throws {StreamError} `answer_too_large`
   */
  protected keep(bytes: number): void {
    this.#keptBytes += bytes;
    if (this.#keptBytes > MAX_KEPT_BYTES) throw new StreamError("answer_too_large");
  }

  #takeFragment(out: EventWriter, given: Fragment): void {
    const { index, id, name } = given;
    const fragment = typeof given.arguments === "string"
      ? given.arguments
      : JSON.stringify(given.arguments ?? undefined) ?? "";
    const call = this.#current.get(index);
    this.keep(utf8Length(fragment));
    if (call === undefined || isText(id) && id !== call.id) {
      if (!isText(name)) throw new TypeError("Cannot stream a tool call without a name");
      const begun = this.#begin(isText(id) ? id : undefined, name, fragment);
      this.#current.set(index, begun);
      this.callBegan(out, begun, fragment);
      this.grown.add(begun);
    } else if (fragment !== "") {
      if (call.ended) {
        if (fragment.trim() === "") return;
        throw new TypeError("Cannot stream arguments of a tool call after its end");
      }
      call.arguments += fragment;
      this.grown.add(call);
      this.callWent(out, call, fragment);
    }
  }

  #begin(id: string | undefined, name: string, fragment: string): ToolCall {
    const index = this.calls.length;
    const call: ToolCall = {
      index,
      id: id ?? `${this.#callIds}_${index}`,
      name,
      arguments: fragment,
      ended: false,
    };
    this.keep(CALL_BYTES + utf8Length(call.id) + utf8Length(name));
    this.calls.push(call);
    return call;
  }
}

/** The parts that are written as a block of their own with a beginning and an end. */
export type BlockKind = "text" | "reasoning";

/**
 * For APIs that frame each part as a block: a block of text or reasoning ends where another part
 * begins. A tool call ends there too if its arguments are whole, else with the answer: fragments of
 * several calls may come by turns.
 */
export abstract class BlockFramer extends PartFramer {
  /** Of a block of text, while one is open. */
  frame: Frame | undefined;
  #open: BlockKind | undefined;
  #delta!: Frame;

  /** Writes the beginning of a block; answers the frame of what it says. */
  protected abstract blockBegan(out: EventWriter, kind: BlockKind): Frame;
  protected abstract blockEnded(out: EventWriter, kind: BlockKind): void;
  /** Nothing will be added to the call. `json` is its arguments on one line, if they are JSON. */
  protected abstract callEnded(out: EventWriter, call: ToolCall, json: string | undefined): void;

  override token(out: EventWriter, text: string): void {
    if (this.#open !== "text") this.#begin(out, "text");
    out.frame(this.#delta, text);
  }

  protected override reasoning(out: EventWriter, text: string): void {
    if (this.#open !== "reasoning") this.#begin(out, "reasoning");
    out.frame(this.#delta, text);
  }

  #begin(out: EventWriter, kind: BlockKind): void {
    this.turn(out);
    this.#delta = this.blockBegan(out, kind);
    this.#open = kind;
    if (kind === "text") this.frame = this.#delta;
  }

  /** The text or the reasoning ends. */
  protected endBlock(out: EventWriter): void {
    if (this.#open !== undefined) this.blockEnded(out, this.#open);
    this.#open = undefined;
    this.frame = undefined;
  }

  /** Another part begins. */
  protected turn(out: EventWriter): void {
    this.endBlock(out);
    for (const call of this.grown) {
      const json = completeJson(call);
      if (json !== undefined) this.#endCall(out, call, json);
    }
    this.grown.clear();
  }

  /** No part will follow. */
  protected endAll(out: EventWriter): void {
    this.turn(out);
    for (const call of this.calls) {
      if (!call.ended) this.#endCall(out, call, inputOf(call));
    }
  }

  #endCall(out: EventWriter, call: ToolCall, json: string | undefined): void {
    call.ended = true;
    this.callEnded(out, call, json);
  }
}

/** The arguments, if an object is complete: no JSON could follow it. */
function completeJson({ arguments: json }: ToolCall): string | undefined {
  if (!json.trimEnd().endsWith("}")) return undefined;
  return parse(json) === undefined ? undefined : oneLine(json);
}

/** The arguments at the end of the answer as JSON on one line: a call without any has no members. */
export function inputOf({ arguments: json }: ToolCall): string | undefined {
  if (json.trim() === "") return "{}";
  return parse(json) === undefined ? undefined : oneLine(json);
}

/** Between the tokens of JSON a line break is but space; within them there is none. */
function oneLine(json: string): string {
  return json.replace(/[\r\n]+/g, " ");
}

/** `undefined` if it is not JSON. */
function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

/** Bytes of a text as UTF-8, where a lone surrogate takes three. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x80) continue;
    bytes += code < 0x800 ? 1 : 2;
    if ((code & 0xfc00) === 0xd800 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) i++;
  }
  return bytes;
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
