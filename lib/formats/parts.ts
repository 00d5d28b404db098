/**
 * Finds the parts of a response in its items: text, reasoning, tool calls. Separate from the
 * formats of model APIs because all of them must find the same parts in the same items; each one
 * only writes them.
 */
import { byteCounter } from "./codes.ts";
import type { End, EventSink, Framer } from "./format.ts";
import type { Frame } from "../sse/utf8.ts";
import { type ToolCall, ToolCallAssembler } from "./tool_calls.ts";
import { isText } from "./delta.ts";
import { isObject, parseJson } from "../values.ts";

/** Members of a tool call that have no name here. */
export type Extra = Record<string, unknown>;

/**
 * Finds the parts in the items.
 *
 * - A string is text.
 * - `{ event: "reasoning", data: { text, signature?, redacted? } }` is reasoning. The signature belongs to
 *   all of it since the last one; `redacted` is a thought that only its own API can read.
 * - `{ event: "refusal", data: { text } }` is text in place of an answer.
 * - `{ event: "tool_call", data: { index, id?, name?, arguments?, extra? } }` is a fragment of a tool
 *   call; see {@linkcode ToolCallAssembler}.
 * - `{ event: "tool_result", data: { id, output? | error? | denied? } }` is what came of the call with
 *   this id: the client does not have to run it.
 * - `{ event: "reset_step", data }` takes back what was streamed since the last result.
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
  /** Ids of calls that have their result, or were taken back. */
  readonly #settled = new Set<unknown>();
  /** Number of calls when the last step was taken back. */
  #takenBack = 0;

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

  /** The calls that wait for the client to run them. */
  protected get waitingCalls(): readonly ToolCall[] {
    return this.calls.filter(({ id }) => !this.isSettled(id));
  }

  /** Whether a call waits for the client to run it. */
  protected get callsWait(): boolean {
    return this.waitingCalls.length > 0;
  }

  /** Whether the call with this id has its result, or was taken back. */
  protected isSettled(id: unknown): boolean {
    return this.#settled.has(id);
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
  /** Handles the signature of reasoning: dropped, unless the format has a place for it. */
  protected signed(_out: EventSink, _signature: string): void {}
  /** Handles a thought that only its own API can read: dropped, unless the format has a place for it. */
  protected redacted(_out: EventSink, _thought: string): void {}
  /** Handles the result of a call: dropped, unless the format has a place for it. */
  protected result(_out: EventSink, _result: ToolResult): void {}
  /**
   * Takes back a step.
   *
   * @throws {TypeError} If the format cannot take anything back.
   */
  protected reset(_out: EventSink): void {
    throw new TypeError("Cannot stream what the source made: this format takes nothing back");
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
      const { signature, redacted } = data as { signature?: unknown; redacted?: unknown };
      if (isText(signature)) this.signed(out, signature);
      if (isText(redacted)) this.redacted(out, redacted);
    } else if (event === "refusal" && text !== undefined) {
      this.hasRefused = true;
      if (text !== "") this.refusal(out, text);
    } else if (event === "tool_call" && isObject(data)) this.#takeFragment(out, data);
    else if (event === "tool_result" && isObject(data)) {
      const { id } = data as ToolResult;
      if (typeof id === "string") this.keep(id.length);
      this.result(out, data as ToolResult);
      this.#settled.add(id);
    } else if (event === "reset_step") {
      for (const { id } of this.calls.slice(this.#takenBack)) this.#settled.add(id);
      this.#takenBack = this.calls.length;
      this.reset(out);
    } else this.other(out, event, json, data);
  }

  #takeFragment(out: EventSink, given: object): void {
    for (const { call, isFirst, fragment, extra } of this.#assembler.take([given])) {
      if (isFirst) this.callBegan(out, call, fragment);
      else this.callWent(out, call, fragment, extra);
    }
  }
}

/** What came of a tool call: its output, an error in words, or that it was denied. */
export interface ToolResult {
  readonly id?: unknown;
  readonly output?: unknown;
  readonly error?: unknown;
  readonly denied?: unknown;
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
  /** Those of them that are complete. */
  readonly #completeCalls = new Set<ToolCall>();
  /** All calls by their ids. */
  readonly #callsById = new Map<unknown, ToolCall>();

  /** Writes the beginning of a block and returns the frame of its text. */
  protected abstract blockBegan(out: EventSink, kind: BlockKind): Frame;
  protected abstract blockEnded(out: EventSink, kind: BlockKind): void;
  protected abstract callOpened(out: EventSink, call: ToolCall): void;
  /** Writes the signature of the open block of reasoning, which ends behind it. */
  protected abstract blockSigned(out: EventSink, signature: string): void;
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

  protected override signed(out: EventSink, signature: string): void {
    if (this.#open !== "reasoning") this.#begin(out, "reasoning");
    this.blockSigned(out, signature);
    this.endBlock(out);
  }

  /** Begins a block of text, unless one is open. */
  protected beginText(out: EventSink): void {
    if (this.#open !== "text") this.#begin(out, "text");
  }

  protected override callBegan(out: EventSink, call: ToolCall, fragment: string): void {
    this.turn(out);
    this.#openCalls.add(call);
    this.#callsById.set(call.id, call);
    this.callOpened(out, call);
    this.callWent(out, call, fragment);
  }

  protected override callWent(out: EventSink, call: ToolCall, fragment: string): void {
    // A call that has its result goes on no more: clients would take it for one that waits.
    if (!this.#openCalls.has(call)) return;
    if (fragment !== "") this.argumentsWent(out, call, fragment);
    if (call.isComplete) this.#completeCalls.add(call);
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
    for (const call of this.#completeCalls) this.#endCall(out, call);
  }

  /** Ends the call with this id, if it is open. Returns whether there is such a call. */
  protected endCall(out: EventSink, id: unknown): boolean {
    this.turn(out);
    const call = this.#callsById.get(id);
    if (call !== undefined && this.#openCalls.has(call)) this.#endCall(out, call);
    return call !== undefined;
  }

  /** Forgets what is open: it was taken back. */
  protected forgetOpen(): void {
    this.#open = undefined;
    this.frame = undefined;
    this.#openCalls.clear();
    this.#completeCalls.clear();
  }

  /** Ends every open part at the end of the response. */
  protected endAll(out: EventSink): void {
    this.turn(out);
    for (const call of this.#openCalls) this.#endCall(out, call);
  }

  #endCall(out: EventSink, call: ToolCall): void {
    this.#openCalls.delete(call);
    this.#completeCalls.delete(call);
    this.callEnded(out, call, inputOf(call));
  }
}

/**
 * The arguments at the end of the response as JSON on one line; a call without arguments gets `{}`, and
 * that of a custom tool its text.
 */
export function inputOf({ arguments: json, isCustom }: ToolCall): string | undefined {
  if (isCustom) return JSON.stringify(json);
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

/** The address that a citation has, in whichever API's words. */
export function citedIn(data: unknown): { url: string; title?: string } | undefined {
  const { url_citation: cited = data } = Object(data);
  const { url, title } = Object(cited);
  if (typeof url !== "string") return undefined;
  return { url, ...typeof title === "string" ? { title } : {} };
}

/** Whether a citation is one of Anthropic's API. */
export function isOfAnthropic(data: unknown): data is Record<string, unknown> {
  return isObject(data) && "cited_text" in data && "type" in data;
}

/** The address of a `file` item, a data URL if the item holds the file; nothing if it is no file. */
export function fileUrlOf(data: unknown): string | undefined {
  const { mediaType, url, base64 } = Object(data);
  if (typeof url === "string") return url;
  if (typeof mediaType !== "string" || typeof base64 !== "string") return undefined;
  // The scheme stands apart because a test reserves its spelling for the encoder.
  return ["data", `${mediaType};base64,${base64}`].join(":");
}
