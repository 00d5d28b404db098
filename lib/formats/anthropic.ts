/** Anthropic's Messages format: an event stream, or one JSON document. */
import type { Problem } from "../error.ts";
import { type FinishKind, finishKind, sentenceOf, usageOf } from "./finish.ts";
import {
  documentFormat,
  type End,
  type EventSink,
  eventStreamFormat,
  type Format,
  type FormatContext,
} from "./format.ts";
import {
  BlockFramer,
  type BlockKind,
  citedIn,
  type Extra,
  inputOf,
  isOfAnthropic,
} from "./parts.ts";
import { eventFrame } from "../sse/encode.ts";
import type { Frame } from "../sse/utf8.ts";
import type { ToolCall } from "./tool_calls.ts";
import { type Part, Transcript } from "./transcript.ts";
import { checkOptionNames } from "../option_names.ts";
import { isObject, utf8Length } from "../values.ts";

/** Options of {@linkcode anthropicFormat}. */
export interface AnthropicFormatOptions {
  /** The model's name in the response. @default {"spillway"} */
  model?: string;
  /** Whether the response is one `message` document, as `stream: false` asks. @default {false} */
  buffered?: boolean;
}

/** The type of {@linkcode anthropicFormat}: a format with a method that makes variants of it. */
export interface AnthropicFormat extends Format {
  /**
   * Returns a variant of the format with these options.
   *
   * @throws {TypeError} If `model` is not a string.
   */
  with(options: AnthropicFormatOptions): Format;
}

class MessageFramer extends BlockFramer {
  readonly #context: FormatContext;
  readonly #model: string;
  /**
   * Number of content blocks so far. Only the last one is open if it is text or reasoning: such a
   * block ends before another begins.
   */
  #blocks = 0;
  /** The block index of each tool call. */
  readonly #callBlocks: number[] = [];
  #stopSequence: string | null = null;

  constructor(context: FormatContext, model: string) {
    super(`call_${context.streamId}`);
    this.#context = context;
    this.#model = model;
  }

  start(out: EventSink): void {
    const usage = { input_tokens: 0, output_tokens: 0 };
    const message = messageOf(this.#context, this.#model, [], null, usage);
    write(out, "message_start", { message });
  }

  protected blockBegan(out: EventSink, kind: BlockKind): Frame {
    const index = this.#begin(out, blockOf({ kind, text: "" }));
    const name = kind === "text" ? "text" : "thinking";
    const before = `{"type":"content_block_delta","index":${index},"delta":` +
      `{"type":"${name}_delta","${name}":"`;
    return eventFrame("content_block_delta", before, '"}}');
  }

  protected blockSigned(out: EventSink, signature: string): void {
    this.#delta(out, { type: "signature_delta", signature });
  }

  protected override redacted(out: EventSink, data: string): void {
    this.#writeBlock(out, { type: "redacted_thinking", data }, []);
  }

  protected override other(
    out: EventSink,
    event: string | undefined,
    _json: string,
    data: unknown,
  ): void {
    const { content_block: block, content_block_deltas: deltas } = ownOf(event, data);
    const citation = citationOf(event, data);
    this.#stopSequence ??= stopSequenceOf(event, data);
    if (citation !== undefined) {
      this.beginText(out);
      this.#delta(out, { type: "citations_delta", citation });
    } else if (block !== undefined) this.#writeBlock(out, block, deltas);
  }

  protected blockEnded(out: EventSink): void {
    write(out, "content_block_stop", { index: this.#blocks - 1 });
  }

  protected callOpened(out: EventSink, { id, name, extra }: ToolCall): void {
    const block = { type: "tool_use", id, name, input: {}, ...membersOf(extra) };
    this.#callBlocks.push(this.#begin(out, block));
  }

  protected argumentsWent(out: EventSink, call: ToolCall, fragment: string): void {
    if (!call.isCustom) return this.#input(out, call, fragment);
    // The API's input is an object. Until here, nothing or a beginning was written.
    const isFirst = call.arguments.length === fragment.length;
    const text = JSON.stringify(fragment).slice(1, -1);
    this.#input(out, call, isFirst ? `{"input":"${text}` : text);
  }

  #input(out: EventSink, { index: at }: ToolCall, json: string): void {
    const index = this.#callBlocks[at];
    const delta = { type: "input_json_delta", partial_json: json };
    write(out, "content_block_delta", { index, delta });
  }

  protected callEnded(out: EventSink, call: ToolCall): void {
    if (call.isCustom) this.#input(out, call, call.arguments === "" ? '{"input":""}' : '"}');
    write(out, "content_block_stop", { index: this.#callBlocks[call.index] });
  }

  protected finish(out: EventSink, end: End): void {
    const stop = stopReason(end, this.callsWait, this.hasRefused);
    this.endAll(out);
    const delta = { stop_reason: stop, stop_sequence: this.#stopSequence };
    write(out, "message_delta", { delta, usage: usageFor(end) });
    write(out, "message_stop", {});
  }

  fail(out: EventSink, problem: Problem): void {
    out.event({ event: "error", data: errorBody(problem) });
  }

  /** Writes a block that comes whole. */
  #writeBlock(out: EventSink, block: object, deltas: readonly unknown[]): void {
    this.turn(out);
    const { input, ...rest } = block as { input?: unknown };
    this.#begin(out, input === undefined ? rest : { ...rest, input: {} });
    const json = { type: "input_json_delta", partial_json: JSON.stringify(input) };
    for (const delta of input === undefined ? deltas : [json, ...deltas]) this.#delta(out, delta);
    this.blockEnded(out);
  }

  #delta(out: EventSink, delta: unknown): void {
    write(out, "content_block_delta", { index: this.#blocks - 1, delta });
  }

  /** Begins a block and returns its index. */
  #begin(out: EventSink, block: unknown): number {
    const index = this.#blocks++;
    write(out, "content_block_start", { index, content_block: block });
    return index;
  }
}

class Message extends Transcript {
  readonly #context: FormatContext;
  readonly #model: string;
  #stopSequence: string | null = null;

  constructor(context: FormatContext, model: string) {
    super(`call_${context.streamId}`);
    this.#context = context;
    this.#model = model;
  }

  protected override other(
    _out: EventSink,
    event: string | undefined,
    json: string,
    data: unknown,
  ): void {
    const { content_block: block } = ownOf(event, data);
    const citation = citationOf(event, data);
    this.#stopSequence ??= stopSequenceOf(event, data);
    if (citation === undefined && block === undefined) return;
    this.keep(utf8Length(json));
    if (citation !== undefined) this.cite(citation);
    else this.addOwn(block);
  }

  protected finish(out: EventSink, end: End): void {
    const stop = stopReason(end, this.callsWait, this.hasRefused);
    const blocks = this.parts.map(blockOf);
    const message = messageOf(this.#context, this.#model, blocks, stop, usageFor(end));
    out.text(JSON.stringify({ ...message, stop_sequence: this.#stopSequence }));
  }
}

/** Writes an event under the name of its type: the clients skip events without a name. */
function write(out: EventSink, type: string, fields: object): void {
  out.event({ event: type, data: JSON.stringify({ type, ...fields }) });
}

function messageOf(
  { streamId }: FormatContext,
  model: string,
  content: unknown[],
  stopReason: string | null,
  usage: unknown,
): object {
  return {
    id: `msg_${streamId}`,
    type: "message",
    role: "assistant",
    content,
    model,
    stop_reason: stopReason,
    stop_sequence: null,
    usage,
  };
}

function blockOf(part: Part): unknown {
  if (part.kind === "call") {
    const { id, name, arguments: text, extra } = part.call;
    const json = inputOf(part.call);
    const value = json === undefined ? text : JSON.parse(json);
    const input = part.call.isCustom ? { input: value } : value;
    return { type: "tool_use", id, name, input, ...membersOf(extra) };
  }
  if (part.kind === "own") return part.value;
  // Only Anthropic can sign reasoning, but its clients require the field.
  const { kind, text, signature = "", redacted, citations } = part;
  if (redacted !== undefined) return { type: "redacted_thinking", data: redacted };
  return kind === "text"
    ? { type: "text", text, ...citations === undefined ? {} : { citations } }
    : { type: "thinking", thinking: text, signature };
}

/** A block that only this API knows, as `anthropic()` has read it, with what followed its beginning. */
function ownOf(
  event: string | undefined,
  data: unknown,
): { content_block?: object; content_block_deltas: readonly unknown[] } {
  const { content_block: block, content_block_deltas: deltas } = Object(data);
  const content_block_deltas = Array.isArray(deltas) ? deltas.filter(isObject) : [];
  const isBlock = event === "delta" && isObject(block) && "type" in block;
  return { ...isBlock ? { content_block: block } : {}, content_block_deltas };
}

/** A citation in the words of this API: one of its own, or an address. */
function citationOf(event: string | undefined, data: unknown): unknown {
  if (event !== "citation") return undefined;
  if (isOfAnthropic(data)) return data;
  const { url, title = null } = citedIn(data) ?? {};
  if (url === undefined) return undefined;
  // Only Anthropic can make the index, but its clients require the field.
  const own = { cited_text: "", encrypted_index: "" };
  return { type: "web_search_result_location", url, title, ...own };
}

function stopSequenceOf(event: string | undefined, data: unknown): string | null {
  const { stop_sequence: sequence } = Object(data);
  return event === "metadata" && typeof sequence === "string" ? sequence : null;
}

/** Members beside a call, which the client returns with it. Those of its function have no place. */
function membersOf({ function: _function, ...members }: Extra = {}): Extra {
  return members;
}

const STOP_REASONS: Readonly<Record<FinishKind, string>> = {
  stop: "end_turn",
  length: "max_tokens",
  tool_calls: "tool_use",
  content_filter: "refusal",
  other: "end_turn",
};
/** Stop reasons of Anthropic's that are more precise than a `FinishKind`. */
const OWN = ["stop_sequence", "pause_turn", "model_context_window_exceeded"];

function stopReason(end: End, callsWait: boolean, hasRefused: boolean): string {
  const { reason, finishReason = "" } = end;
  if (reason === "completed" && OWN.includes(finishReason)) return finishReason;
  return STOP_REASONS[finishKind(end, callsWait, hasRefused)];
}

function usageFor(end: End): unknown {
  const { input, output, cacheRead, cacheWritten } = usageOf(end);
  const searches = end.usage?.["server_tool_use"];
  return {
    // Anthropic counts cached tokens beside the input tokens, not among them.
    input_tokens: Math.max(0, input - (cacheRead ?? 0) - (cacheWritten ?? 0)),
    output_tokens: output,
    ...cacheRead === undefined ? {} : { cache_read_input_tokens: cacheRead },
    ...cacheWritten === undefined ? {} : { cache_creation_input_tokens: cacheWritten },
    ...isObject(searches) ? { server_tool_use: searches } : {},
  };
}

const ERROR_TYPES: Readonly<Record<number, string>> = {
  401: "authentication_error",
  402: "billing_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  503: "overloaded_error",
  504: "timeout_error",
  529: "overloaded_error",
};

/** An error object; the same before the response headers and in the stream. */
function errorBody(problem: Problem): string {
  const { status } = problem;
  const type = ERROR_TYPES[status] ?? (status >= 500 ? "api_error" : "invalid_request_error");
  return JSON.stringify({ type: "error", error: { type, message: sentenceOf(problem) } });
}

function variant(options: AnthropicFormatOptions = {}): Format {
  checkOptionNames("Cannot make the format", options, ["model", "buffered"]);
  const { model = "spillway", buffered = false } = options;
  if (typeof model !== "string") {
    throw new TypeError(`Cannot make the format: model is a ${typeof model}, not a string`);
  }
  return buffered
    ? {
      ...documentFormat,
      name: "anthropic",
      errorBody,
      open: (context) => new Message(context, model),
    }
    : {
      ...eventStreamFormat,
      name: "anthropic",
      lossless: true,
      errorBody,
      open: (context) => new MessageFramer(context, model),
    };
}

/**
 * Anthropic's Messages format: `message_start`, a content block for each part with its deltas,
 * `message_delta` with the stop reason and the usage, `message_stop`. A failure is
 * `{ type: "error", error: { type, message } }`: `event: error` in the stream, or the body of an
 * error response before the headers. A buffered response, and the arguments of tool calls, may have
 * up to 16 MiB.
 *
 * Reasoning becomes a `thinking` block, whose signature is empty unless the source gives it, and
 * `tool_call` items become `tool_use` blocks; the input of a custom tool is `{ input }`. A refusal is
 * text, and the stop reason `refusal`. A citation is written if it is Anthropic's or has an address,
 * and so is a block that `anthropic()` has passed on. Other structured items are dropped, because the
 * format has no place for them.
 * A finish reason of another API is mapped to the one with the same meaning; an unknown one becomes
 * `end_turn`. The usage is the source's and is sent in `message_delta`. Without it, `output_tokens`
 * is what Spillway counted and `input_tokens` is 0. In a buffered message, the `input` of a tool
 * call whose arguments are not JSON is their text.
 *
 * The events that `relay` passes on are read as the items that they stand for.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { anthropicFormat, sse } from "spillway";
 *
 *  const format = anthropicFormat.with({ model: "parrot", buffered: true });
 * const response = await sse(new Request("http://localhost/"), ["Hel", "lo"], { format });
 * const { content, stop_reason } = await response.json();
 * assert(content[0].text === "Hello" && stop_reason === "end_turn");
 * ```
 */
export const anthropicFormat: AnthropicFormat = { ...variant(), with: variant };
