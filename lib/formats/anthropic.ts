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
import { BlockFramer, type BlockKind, type Extra, inputOf } from "./parts.ts";
import { eventFrame } from "../sse/encode.ts";
import type { Frame } from "../sse/utf8.ts";
import type { ToolCall } from "./tool_calls.ts";
import { type Part, Transcript } from "./transcript.ts";
import { checkOptionNames } from "../option_names.ts";

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

  protected blockEnded(out: EventSink): void {
    write(out, "content_block_stop", { index: this.#blocks - 1 });
  }

  protected callOpened(out: EventSink, { id, name, extra }: ToolCall): void {
    const block = { type: "tool_use", id, name, input: {}, ...membersOf(extra) };
    this.#callBlocks.push(this.#begin(out, block));
  }

  protected argumentsWent(out: EventSink, call: ToolCall, fragment: string): void {
    const delta = { type: "input_json_delta", partial_json: fragment };
    write(out, "content_block_delta", { index: this.#callBlocks[call.index], delta });
  }

  protected callEnded(out: EventSink, call: ToolCall): void {
    write(out, "content_block_stop", { index: this.#callBlocks[call.index] });
  }

  protected finish(out: EventSink, end: End): void {
    const stop = stopReason(end, this.calls, this.hasRefused);
    this.endAll(out);
    const delta = { stop_reason: stop, stop_sequence: null };
    write(out, "message_delta", { delta, usage: usageFor(end) });
    write(out, "message_stop", {});
  }

  fail(out: EventSink, problem: Problem): void {
    out.event({ event: "error", data: errorBody(problem) });
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

  constructor(context: FormatContext, model: string) {
    super(`call_${context.streamId}`);
    this.#context = context;
    this.#model = model;
  }

  protected finish(out: EventSink, end: End): void {
    const stop = stopReason(end, this.calls, this.hasRefused);
    const blocks = this.parts.map(blockOf);
    const message = messageOf(this.#context, this.#model, blocks, stop, usageFor(end));
    out.text(JSON.stringify(message));
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
): unknown {
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
    const input = json === undefined ? text : JSON.parse(json);
    return { type: "tool_use", id, name, input, ...membersOf(extra) };
  }
  const { kind, text } = part;
  // Only Anthropic can sign reasoning, but its clients require the field.
  return kind === "text"
    ? { type: "text", text }
    : { type: "thinking", thinking: text, signature: "" };
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

function stopReason(end: End, calls: readonly ToolCall[], hasRefused: boolean): string {
  const { reason, finishReason = "" } = end;
  if (reason === "completed" && OWN.includes(finishReason)) return finishReason;
  return STOP_REASONS[finishKind(end, calls.length > 0, hasRefused)];
}

function usageFor(end: End): unknown {
  const { input, output, cacheRead, cacheWritten } = usageOf(end);
  return {
    // Anthropic counts cached tokens beside the input tokens, not among them.
    input_tokens: Math.max(0, input - (cacheRead ?? 0) - (cacheWritten ?? 0)),
    output_tokens: output,
    ...cacheRead === undefined ? {} : { cache_read_input_tokens: cacheRead },
    ...cacheWritten === undefined ? {} : { cache_creation_input_tokens: cacheWritten },
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
 * Reasoning becomes a `thinking` block with an empty signature, and `tool_call` items become
 * `tool_use` blocks. A refusal is text, and the stop reason `refusal`. Other structured items are
 * dropped, because the format has no place for them.
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
