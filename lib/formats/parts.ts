/**
 * Finds the parts of a response in its items: text, reasoning, tool calls. Separate from the
 * formats of model APIs because all of them must find the same parts in the same items; each one
 * only writes them.
 */
import { byteCounter } from "./codes.ts";
import type { End, EventSink, Framer } from "./format.ts";
import type { Frame } from "../sse/utf8.ts";
import { type ToolCall, ToolCallAssembler } from "./tool_calls.ts";
import { isObject, parseJson } from "../values.ts";

/** Members of a tool call that have no name here. */
export type Extra = Record<string, unknown>;

/**
 * Finds the parts in the items.
 *
 * - A string is text.
 * - `{ event: "reasoning", data: { text } }` is reasoning.
 * - `{ event: "refusal", data: { text } }` is text in place of an answer.
 * - `{ event: "tool_call", data: { index, id?, name?, arguments?, extra? } }` is a fragment of a tool
 *   call; see {@linkcode ToolCallAssembler}.
 * - Any other structured item is `other`.
 */
export abstract class PartFramer implements Framer {
  /** Counts what is kept until the end, in bytes; throws `answer_too_large`. */
  protected readonly keep: (bytes: number) => void = byteCounter();
  /** Whether the model refused to answer. */
  protected hasRefused = false;
  /** Makes the id of a call that has none of its own. */
  protected readonly callId: (index: number) => string;
  readonly #assembler: ToolCallAssembler;

  /**
   * Creates a framer for one stream.
   *
   * @param callIds Prefix of the ids of calls that have no id of their own.
   */
  constructor(callIds: string) {
    this.callId = (index) => `${callIds}_${index}`;
    this.#assembler = new ToolCallAssembler({
      fault: (what) => new TypeError(`Cannot stream what the source made: ${what}`),
      keep: this.keep,
      idOf: this.callId,
    });
  }

  /** The calls so far, in the order in which they began. */
  protected get calls(): readonly ToolCall[] {
    return this.#assembler.calls;
  }

  abstract token(out: EventSink, text: string): void;
  protected abstract reasoning(out: EventSink, text: string): void;
  /** Called when a call begins; `fragment` is the start of its arguments, perhaps empty. */
  protected abstract callBegan(out: EventSink, call: ToolCall, fragment: string): void;
  /** Called when a call continues; `fragment` is more of its arguments, `extra` more of its members. */
  protected abstract callWent(
    out: EventSink,
    call: ToolCall,
    fragment: string,
    extra?: Extra,
  ): void;
  /** Handles a refusal: text, unless the format has a place for it. */
  protected refusal(out: EventSink, text: string): void {
    this.token(out, text);
  }
  /**
   * Handles any other structured item: dropped, unless the format has a place for it.
   */
  protected other(
    _out: EventSink,
    _event: string | undefined,
    _json: string,
    _data: unknown,
  ): void {}
  /** Writes the normal end, when all calls are there. */
  protected abstract finish(out: EventSink, end: End): void;

  end(out: EventSink, end: End): void {
    // After a stop a call may lack its name.
    if (end.reason === "completed") this.#assembler.end();
    this.finish(out, end);
  }

  structured(out: EventSink, event: string | undefined, json: string, data: unknown): void {
    const text = event === "reasoning" || event === "refusal" ? textOf(data) : undefined;
    if (event === "reasoning" && text !== undefined) {
      if (text !== "") this.reasoning(out, text);
    } else if (event === "refusal" && text !== undefined) {
      this.hasRefused = true;
      if (text !== "") this.refusal(out, text);
    } else if (event === "tool_call" && isObject(data)) this.#takeFragment(out, data);
    else this.other(out, event, json, data);
  }

  #takeFragment(out: EventSink, given: object): void {
    for (const { call, isFirst, fragment, extra } of this.#assembler.take([given])) {
      if (isFirst) this.callBegan(out, call, fragment);
      else this.callWent(out, call, fragment, extra);
    }
  }
}

function textOf(data: unknown): string | undefined {
  return isObject(data) && "text" in data && typeof data.text === "string" ? data.text : undefined;
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
  readonly #openCalls = new Set<ToolCall>();

  /** Writes the beginning of a block and returns the frame of its text. */
  protected abstract blockBegan(out: EventSink, kind: BlockKind): Frame;
  protected abstract blockEnded(out: EventSink, kind: BlockKind): void;
  protected abstract callOpened(out: EventSink, call: ToolCall): void;
  /** Called when the arguments of a call go on; `fragment` is never empty. */
  protected abstract argumentsWent(out: EventSink, call: ToolCall, fragment: string): void;
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

  protected override callBegan(out: EventSink, call: ToolCall, fragment: string): void {
    this.turn(out);
    this.#openCalls.add(call);
    this.callOpened(out, call);
    if (fragment !== "") this.argumentsWent(out, call, fragment);
  }

  protected override callWent(out: EventSink, call: ToolCall, fragment: string): void {
    if (fragment !== "") this.argumentsWent(out, call, fragment);
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
    for (const call of this.#openCalls) {
      if (call.isComplete) this.#endCall(out, call);
    }
  }

  /** Ends every open part at the end of the response. */
  protected endAll(out: EventSink): void {
    this.turn(out);
    for (const call of this.#openCalls) this.#endCall(out, call);
  }

  /** Ends a call whose result is there, however many arguments it has. */
  protected endCall(out: EventSink, id: string): void {
    for (const call of this.#openCalls) if (call.id === id) this.#endCall(out, call);
  }

  #endCall(out: EventSink, call: ToolCall): void {
    this.#openCalls.delete(call);
    this.callEnded(out, call, inputOf(call));
  }
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

/** The address of a `file` item, a data URL if the item holds the file; nothing if it is no file. */
export function fileUrlOf(data: unknown): string | undefined {
  const { mediaType, url, base64 } = Object(data);
  if (typeof url === "string") return url;
  if (typeof mediaType !== "string" || typeof base64 !== "string") return undefined;
  // The scheme stands apart because a test reserves its spelling for the encoder.
  return ["data", `${mediaType};base64,${base64}`].join(":");
}
