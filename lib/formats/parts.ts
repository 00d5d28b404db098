/**
 * Finds the parts of a response in its items: text, reasoning, tool calls. Separate from the
 * formats of model APIs because all of them must find the same parts in the same items; each one
 * only writes them.
 */
import { formatError } from "./codes.ts";
import type { End, EventSink, Framer } from "./format.ts";
import type { Frame } from "../sse/utf8.ts";
import { isObject, parseJson } from "../values.ts";

/**
 * The most that the framer of one stream may keep, in bytes: arguments of tool calls, and buffered
 * responses.
 */
export const MAX_KEPT_BYTES: number = 16 * 1024 * 1024;
/** The memory of a tool call beside its strings, in bytes: an estimate. */
const CALL_BYTES = 64;

/** A tool call, assembled from its fragments. */
export interface ToolCall {
  /** The call's place among the calls of the response: 0, 1, 2, … */
  readonly index: number;
  readonly id: string;
  readonly name: string;
  /** The arguments as JSON, as far as they have arrived. */
  arguments: string;
  ended: boolean;
}

/** A fragment of a tool call from a source. None of its fields is certain. */
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
 * - `{ event: "tool_call", data: { index, id?, name?, arguments? } }` is a fragment of a tool call;
 *   the first fragment names the tool. An id that differs from the call's id begins another call,
 *   because some upstreams give all calls the index 0.
 * - Any other structured item is `other`.
 */
export abstract class PartFramer implements Framer {
  /** The calls so far, in the order in which they began. */
  protected readonly calls: ToolCall[] = [];
  /** The calls whose arguments have grown since the format last cleared this set. */
  protected readonly grown: Set<ToolCall> = new Set();
  /** The current call for each index that the source uses. */
  readonly #current = new Map<unknown, ToolCall>();
  readonly #callIds: string;
  #keptBytes = 0;

  /**
   * Creates a framer for one stream.
   *
   * @param callIds Prefix of the ids of calls that have no id of their own.
   */
  constructor(callIds: string) {
    this.#callIds = callIds;
  }

  abstract token(out: EventSink, text: string): void;
  protected abstract reasoning(out: EventSink, text: string): void;
  /** Called when a call begins; `fragment` is the start of its arguments, perhaps empty. */
  protected abstract callBegan(out: EventSink, call: ToolCall, fragment: string): void;
  /** Called when the arguments of a call continue; `fragment` is never empty. */
  protected abstract callWent(out: EventSink, call: ToolCall, fragment: string): void;
  /**
   * Handles a structured item that is no part of a response: dropped, unless the format has a place
   * for it.
   */
  protected other(_out: EventSink, _event: string | undefined, _json: string): void {}
  abstract end(out: EventSink, end: End): void;

  structured(out: EventSink, event: string | undefined, json: string, data: unknown): void {
    if (
      event === "reasoning" && isObject(data) && "text" in data && typeof data.text === "string"
    ) {
      if (data.text !== "") this.reasoning(out, data.text);
    } else if (event === "tool_call" && isObject(data)) this.#takeFragment(out, data);
    else this.other(out, event, json);
  }

  /**
   * Counts what is kept until the end.
   *
   * @throws {StreamError} `answer_too_large`
   */
  protected keep(bytes: number): void {
    this.#keptBytes += bytes;
    if (this.#keptBytes > MAX_KEPT_BYTES) throw formatError("answer_too_large");
  }

  #takeFragment(out: EventSink, given: Fragment): void {
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

/** The kinds of part that are written as a block of their own, with a beginning and an end. */
export type BlockKind = "text" | "reasoning";

/**
 * The base of formats that frame each part as a block. A block of text or reasoning ends where
 * another part begins. A tool call ends there too if its arguments are complete, else with the
 * response: fragments of several calls may alternate.
 */
export abstract class BlockFramer extends PartFramer {
  /** The frame of the open text block; absent while none is open. */
  frame: Frame | undefined;
  #open: BlockKind | undefined;
  #delta!: Frame;

  /** Writes the beginning of a block and returns the frame of its text. */
  protected abstract blockBegan(out: EventSink, kind: BlockKind): Frame;
  protected abstract blockEnded(out: EventSink, kind: BlockKind): void;
  /** Called when a call is complete. `json` is its arguments on one line, if they are JSON. */
  protected abstract callEnded(out: EventSink, call: ToolCall, json: string | undefined): void;

  override token(out: EventSink, text: string): void {
    if (this.#open !== "text") this.#begin(out, "text");
    out.frame(this.#delta, text);
  }

  protected override reasoning(out: EventSink, text: string): void {
    if (this.#open !== "reasoning") this.#begin(out, "reasoning");
    out.frame(this.#delta, text);
  }

  #begin(out: EventSink, kind: BlockKind): void {
    this.turn(out);
    this.#delta = this.blockBegan(out, kind);
    this.#open = kind;
    if (kind === "text") this.frame = this.#delta;
  }

  /** Ends the open block of text or reasoning. */
  protected endBlock(out: EventSink): void {
    if (this.#open !== undefined) this.blockEnded(out, this.#open);
    this.#open = undefined;
    this.frame = undefined;
  }

  /** Called when another part begins: ends what cannot continue. */
  protected turn(out: EventSink): void {
    this.endBlock(out);
    for (const call of this.grown) {
      const json = completeJson(call);
      if (json !== undefined) this.#endCall(out, call, json);
    }
    this.grown.clear();
  }

  /** Ends every open part at the end of the response. */
  protected endAll(out: EventSink): void {
    this.turn(out);
    for (const call of this.calls) {
      if (!call.ended) this.#endCall(out, call, inputOf(call));
    }
  }

  #endCall(out: EventSink, call: ToolCall, json: string | undefined): void {
    call.ended = true;
    this.callEnded(out, call, json);
  }
}

/** The arguments if they are a complete object: no JSON could follow it. */
function completeJson({ arguments: json }: ToolCall): string | undefined {
  if (!json.trimEnd().endsWith("}")) return undefined;
  return parseJson(json) === undefined ? undefined : oneLine(json);
}

/** The arguments at the end of the response as JSON on one line; a call without arguments gets `{}`. */
export function inputOf({ arguments: json }: ToolCall): string | undefined {
  if (json.trim() === "") return "{}";
  return parseJson(json) === undefined ? undefined : oneLine(json);
}

/**
 * Replaces line breaks by spaces: between the tokens of JSON they mean the same, and within them
 * there are none.
 */
function oneLine(json: string): string {
  return json.replace(/[\r\n]+/g, " ");
}

/** The length of a text in bytes of UTF-8, where a lone surrogate takes three. */
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
