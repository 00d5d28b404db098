/** Anthropic's messages, for every client of that API: as events, or as one document. */
import type { Problem } from "../error.ts";
import { type FinishKind, finishKind, sentenceOf, usageOf } from "./finish.ts";
import {
  DOCUMENT_FORMAT,
  type End,
  EVENT_STREAM_FORMAT,
  type Format,
  type FormatContext,
} from "./format.ts";
import { BlockFramer, type BlockKind, inputOf, type ToolCall } from "./parts.ts";
import { eventFrame, type EventWriter } from "../sse/encode.ts";
import type { Frame } from "../sse/utf8.ts";
import { type Part, Transcript } from "./transcript.ts";

/** Options of {@linkcode anthropicFormat}. */
export interface AnthropicFormatOptions {
  /** What the answer calls its model. @default {"spillway"} */
  model?: string;
  /** Whether the answer is one `message` document, as `stream: false` asks. @default {false} */
  buffered?: boolean;
}

/** {@linkcode anthropicFormat} and its variants. */
export interface AnthropicFormat extends Format {
  /** @throws {TypeError} If `model` is not a string. */
  with(options: AnthropicFormatOptions): Format;
}

class MessageFramer extends BlockFramer {
  readonly #context: FormatContext;
  readonly #model: string;
  /** Blocks so far. One of text or reasoning ends before another block begins: it is the last. */
  #blocks = 0;
  /** The block of each call. */
  readonly #callBlocks: number[] = [];

  constructor(context: FormatContext, model: string) {
    super(`call_${context.streamId}`);
    this.#context = context;
    this.#model = model;
  }

  start(out: EventWriter): void {
    const usage = { input_tokens: 0, output_tokens: 0 };
    const message = messageOf(this.#context, this.#model, [], null, usage);
    write(out, "message_start", { message });
  }

  protected blockBegan(out: EventWriter, kind: BlockKind): Frame {
    const index = this.#begin(out, blockOf({ kind, text: "" }));
    const name = kind === "text" ? "text" : "thinking";
    const before = `{"type":"content_block_delta","index":${index},"delta":` +
      `{"type":"${name}_delta","${name}":"`;
    return eventFrame("content_block_delta", before, '"}}');
  }

  protected blockEnded(out: EventWriter): void {
    write(out, "content_block_stop", { index: this.#blocks - 1 });
  }

  protected callBegan(out: EventWriter, call: ToolCall, fragment: string): void {
    this.turn(out);
    const { id, name } = call;
    this.#callBlocks.push(this.#begin(out, { type: "tool_use", id, name, input: {} }));
    if (fragment !== "") this.callWent(out, call, fragment);
  }

  protected callWent(out: EventWriter, call: ToolCall, fragment: string): void {
    const delta = { type: "input_json_delta", partial_json: fragment };
    write(out, "content_block_delta", { index: this.#callBlocks[call.index], delta });
  }

  protected callEnded(out: EventWriter, call: ToolCall): void {
    write(out, "content_block_stop", { index: this.#callBlocks[call.index] });
  }

  end(out: EventWriter, given: End): void {
    const end = this.endOf(given);
    this.endAll(out);
    const delta = { stop_reason: stopReason(end, this.calls), stop_sequence: null };
    write(out, "message_delta", { delta, usage: usageFor(end) });
    write(out, "message_stop", {});
  }

  fail(out: EventWriter, problem: Problem): void {
    out.event({ event: "error", data: errorBody(problem) });
  }

  /** Answers the block's index. */
  #begin(out: EventWriter, block: unknown): number {
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

  end(out: EventWriter, given: End): void {
    const end = this.endOf(given);
    const stop = stopReason(end, this.calls);
    const blocks = this.parts.map(blockOf);
    const message = messageOf(this.#context, this.#model, blocks, stop, usageFor(end));
    out.utf8(JSON.stringify(message));
  }
}

/** An event: its name is its type as well, and the clients pass over what has no name. */
function write(out: EventWriter, type: string, fields: object): void {
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
    const { id, name, arguments: text } = part.call;
    const json = inputOf(part.call);
    return { type: "tool_use", id, name, input: json === undefined ? text : JSON.parse(json) };
  }
  const { kind, text } = part;
  // Nobody but Anthropic can sign it, and its clients want the field.
  return kind === "text"
    ? { type: "text", text }
    : { type: "thinking", thinking: text, signature: "" };
}

const STOP_REASONS: Readonly<Record<FinishKind, string>> = {
  stop: "end_turn",
  length: "max_tokens",
  tool_calls: "tool_use",
  content_filter: "refusal",
  other: "end_turn",
};
/** Anthropic's own words that say more than the kind does. */
const OWN = ["stop_sequence", "pause_turn", "model_context_window_exceeded"];

function stopReason(end: End, calls: readonly ToolCall[]): string {
  const { reason, finishReason = "" } = end;
  if (reason === "completed" && OWN.includes(finishReason)) return finishReason;
  return STOP_REASONS[finishKind(end, calls.length > 0)];
}

function usageFor(end: End): unknown {
  const { input, output, cacheRead, cacheWritten } = usageOf(end);
  return {
    // Here the cache's are counted beside it.
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

/** The same object before the head and after it. */
function errorBody(problem: Problem): string {
  const { status } = problem;
  const type = ERROR_TYPES[status] ?? (status >= 500 ? "api_error" : "invalid_request_error");
  return JSON.stringify({ type: "error", error: { type, message: sentenceOf(problem) } });
}

function variant(options: AnthropicFormatOptions = {}): Format {
  const { model = "spillway", buffered = false } = options;
  if (typeof model !== "string") {
    throw new TypeError(`Cannot format an answer: model is a ${typeof model}, not a string`);
  }
  return buffered
    ? {
      ...DOCUMENT_FORMAT,
      name: "anthropic",
      errorBody,
      open: (context) => new Message(context, model),
    }
    : {
      ...EVENT_STREAM_FORMAT,
      name: "anthropic",
      lossless: true,
      errorBody,
      open: (context) => new MessageFramer(context, model),
    };
}

/**
 * Messages as Anthropic's clients read them: `message_start`, a content block for each part with its
 * deltas, `message_delta` with the stop reason and the usage, `message_stop`. A failure is
 * `{ type: "error", error: { type, message } }`, in the stream as `event: error` or instead of it. A
 * whole answer, and the arguments of tool calls, may be 16 MiB.
 *
 * Reasoning is a `thinking` block with an empty signature, `tool_call` items are `tool_use` blocks;
 * other structured items are dropped, for the format has no room for them. A finish reason of another
 * API becomes the one that means the same, an unknown one `end_turn`. The usage is the source's, and
 * comes with `message_delta`; without it `output_tokens` is what Spillway counted and `input_tokens`
 * 0. In a whole message the `input` of a tool call whose arguments are no JSON is their text.
 *
 * The events of an upstream `Response` are taken for what they would be as items.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { anthropicFormat, sse } from "spillway";
 *
 * const format = anthropicFormat.with({ model: "parrot", whole: true });
 * const response = await sse(new Request("http://localhost/"), ["Hel", "lo"], { format });
 * const { content, stop_reason } = await response.json();
 * assert(content[0].text === "Hello" && stop_reason === "end_turn");
 * ```
 */
export const anthropicFormat: AnthropicFormat = { ...variant(), with: variant };
