/** OpenAI's chat completions format: a stream of chunks, or one JSON document. */
import type { Problem } from "../error.ts";
import { type CallData, CompletionReader, isChunk, parseChunk } from "./completion_chunk.ts";
import {
  documentFormat,
  type End,
  type EventSink,
  eventStreamFormat,
  type Format,
  type FormatContext,
} from "./format.ts";
import { Completion } from "./openai_document.ts";
import { errorBody } from "./openai_error.ts";
import { callPiece, deltaOf, detailsOf, finishOf, identityOf, usageFor } from "./openai_members.ts";
import { type Extra, PartFramer } from "./parts.ts";
import type { Item } from "../item.ts";
import { eventFrame } from "../sse/encode.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import type { Frame } from "../sse/utf8.ts";
import type { ToolCall } from "./tool_calls.ts";
import { utf8Length } from "../values.ts";
import { checkOptionNames } from "../option_names.ts";

/** Options of {@linkcode openaiFormat}. */
export interface OpenAIFormatOptions {
  /** The model's name in the response. @default {"spillway"} */
  model?: string;
  /** Whether a last chunk has the usage, as `stream_options.include_usage` asks. @default {false} */
  includeUsage?: boolean;
  /**
   * Whether each delta has a random `obfuscation` that rounds its length up, so that whoever sees the
   * sizes of packets learns less of the text. It costs up to 32 bytes a token. @default {false}
   */
  obfuscate?: boolean;
  /**
   * Whether the response is one `chat.completion` document, as `stream: false` asks.
   * @default {false}
   */
  buffered?: boolean;
}

/** The type of {@linkcode openaiFormat}: a format with a method that makes variants of it. */
export interface OpenAIFormat extends Format {
  /**
   * Returns a variant of the format with these options.
   *
   * @throws {TypeError} If `model` is not a string.
   */
  with(options: OpenAIFormatOptions): Format;
}

const DONE = "[DONE]";

class ChunkFramer extends PartFramer {
  /** The text of a chunk before its choices; `#tail` is what follows from there. */
  readonly #head: string;
  readonly #tail: string;
  readonly #includeUsage: boolean;
  readonly #token: Frame;
  /** The frame for tokens; absent until the role was written. */
  frame: Frame | undefined;
  #reasoning: Frame | undefined;
  #refusal: Frame | undefined;
  #begun = false;
  /** Indices of calls of custom tools that an upstream has made. */
  readonly #custom = new Set<number>();
  /** Whether each delta is padded to hide its length. */
  readonly #obfuscate: boolean;
  /** Reads the chunks of an upstream. */
  #upstream: CompletionReader | undefined;
  /**
   * Chunks of an upstream from its finish reason on, and whether each tells the usage. They wait: if
   * more of the answer follows, the reason was no end, and a call would make it another one.
   */
  #last: (readonly [data: string, hasUsage: boolean])[] = [];
  /** Whether a chunk that was passed on has told the usage. */
  #hasUsage = false;

  constructor(
    context: FormatContext,
    model: string,
    { includeUsage = false, obfuscate = false }: OpenAIFormatOptions,
  ) {
    super(`call_${context.streamId}`);
    this.#obfuscate = obfuscate;
    this.#head = `{${identityOf(context, "chat.completion.chunk", model)},"choices":[`;
    this.#tail = includeUsage ? '],"usage":null}' : "]}";
    this.#includeUsage = includeUsage;
    this.#token = this.#deltaFrame("content");
  }

  token(out: EventSink, text: string): void {
    this.#write(out, "content", text, this.#token);
  }

  protected reasoning(out: EventSink, text: string): void {
    const frame = this.#reasoning ??= this.#deltaFrame("reasoning_content");
    this.#write(out, "reasoning_content", text, frame);
  }

  protected override refusal(out: EventSink, text: string): void {
    this.#write(out, "refusal", text, this.#refusal ??= this.#deltaFrame("refusal"));
  }

  protected callBegan(out: EventSink, call: ToolCall, fragment: string): void {
    this.#call(out, call.index, callPiece(call, fragment, call.extra, true));
  }

  protected callWent(out: EventSink, call: ToolCall, fragment: string, extra?: Extra): void {
    this.#call(out, call.index, callPiece(call, fragment, extra, false));
  }

  protected override signed(out: EventSink, signature: string): void {
    this.#delta(out, { reasoning_details: detailsOf("", signature) });
  }

  protected override redacted(out: EventSink, thought: string): void {
    this.#delta(out, { reasoning_details: detailsOf("", undefined, thought) });
  }

  protected override other(
    out: EventSink,
    event: string | undefined,
    _json: string,
    data: unknown,
  ): void {
    const delta = deltaOf(event, data);
    if (delta !== undefined) this.#delta(out, delta);
  }

  #delta(out: EventSink, delta: object): void {
    if (!this.#begun) this.#begin(out);
    out.data(this.#choice(JSON.stringify(delta)));
  }

  /**
   * Passes on a chunk of an upstream unchanged, with its id and its role, if any client reads it as
   * it is meant; else what it stands for.
   */
  relayed(out: EventSink, { event, data }: ServerSentEvent): boolean {
    if (event !== "message" || this.#obfuscate) return false;
    const upstream = this.#upstream ??= new CompletionReader();
    const { reason, usage } = upstream;
    let items: Item[] = [];
    const text = upstream.text(data);
    if (text === undefined) {
      const chunk = parseChunk(data);
      if (chunk === undefined || !isChunk(chunk)) return false;
      items = upstream.items(chunk, data);
    } else if (text !== "") items = [text];
    const isReason = reason !== upstream.reason;
    const hasUsage = usage !== upstream.usage;
    if (items.length > 0) {
      // It goes on: what was called its end is told when it has ended.
      this.#passLast(out, 1);
      const isPassed = upstream.isStandard && !isReason;
      this.#pass(out, isPassed, data, items);
      this.#hasUsage ||= isPassed && hasUsage;
    } else if (upstream.isStandard) {
      this.#last.push([data, hasUsage]);
      if (!isReason && this.#last.length === 1) this.#passLast(out, 0);
    }
    return true;
  }

  /** Passes on the chunks that wait, but for the first ones. */
  #passLast(out: EventSink, from: number): void {
    for (const [data, hasUsage] of this.#last.slice(from)) {
      this.#begun = true;
      out.data(data);
      this.#hasUsage ||= hasUsage;
    }
    this.#last = [];
  }

  #pass(out: EventSink, isStandard: boolean, data: string, items: Item[]): void {
    if (isStandard) {
      this.#begun = true;
      return out.data(data);
    }
    for (const item of items) {
      if (typeof item === "string") this.token(out, item);
      else if (item.event === "tool_call") this.#piece(out, item.data as CallData);
      else this.structured(out, item.event, "", item.data);
    }
  }

  /** Writes a piece of a call that the reader of the upstream has assembled. */
  #piece(out: EventSink, data: CallData): void {
    const { index, id = this.callId(index), type, name, arguments: json = "", extra } = data;
    const isNamed = name !== undefined;
    if (isNamed && type === "custom") this.#custom.add(index);
    const call = { id, name: name ?? "", isCustom: this.#custom.has(index) };
    this.#call(out, index, callPiece(call, json, extra, isNamed));
  }

  protected finish(out: EventSink, end: End): void {
    const callsWait = this.callsWait || this.#upstream?.calledTools === true;
    const finishReason = finishOf(end, callsWait);
    const isTold = this.#last.length > 0;
    this.#passLast(out, 0);
    if (!this.#begun) this.#begin(out);
    if (!isTold) out.data(this.#choice("{}", `"${finishReason}"`));
    if (this.#includeUsage && !this.#hasUsage) {
      out.data(`${this.#head}],"usage":${JSON.stringify(usageFor(end))}}`);
    }
    out.data(DONE);
  }

  fail(out: EventSink, problem: Problem): void {
    out.data(errorBody(problem));
    out.data(DONE);
  }

  /** Writes the role, which the clients' helpers require first. */
  #begin(out: EventSink): void {
    this.#begun = true;
    // A frame is the same for each token, and padding is not.
    this.frame = this.#obfuscate ? undefined : this.#token;
    out.data(this.#choice('{"role":"assistant","content":""}'));
  }

  #call(out: EventSink, index: number, piece: object): void {
    this.#delta(out, { tool_calls: [{ index, ...piece }] });
  }

  #choice(delta: string, finishReason = "null"): string {
    const choice = `{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${finishReason}}`;
    const chunk = `${this.#head}${choice}${this.#tail}`;
    return this.#obfuscate ? `${chunk.slice(0, -1)},"obfuscation":"${paddingOf(delta)}"}` : chunk;
  }

  /** Writes a text as the member of a delta. */
  #write(out: EventSink, field: string, text: string, frame: Frame): void {
    if (!this.#begun) this.#begin(out);
    if (this.#obfuscate) this.#delta(out, { [field]: text });
    else out.frame(frame, text);
  }

  #deltaFrame(field: string): Frame {
    // JSON holds no NUL: the text goes where the NUL is.
    const [before, after] = this.#choice(`{"${field}":"\0"}`).split("\0");
    return eventFrame(undefined, before!, after!);
  }
}

/** What the length of a delta is rounded up to a multiple of, in bytes. */
const PADDED_BYTES = 32;

/** Random letters, which no compression makes shorter than they are long, up to the next multiple. */
function paddingOf(delta: string): string {
  const bytes = new Uint8Array(PADDED_BYTES - utf8Length(delta) % PADDED_BYTES);
  crypto.getRandomValues(bytes);
  return bytes.reduce((text, byte) => text + LETTERS[byte % LETTERS.length], "");
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

function variant(options: OpenAIFormatOptions = {}): Format {
  checkOptionNames("Cannot make the format", options, [
    "model",
    "includeUsage",
    "obfuscate",
    "buffered",
  ]);
  const { model = "spillway", buffered = false } = options;
  if (typeof model !== "string") {
    throw new TypeError(`Cannot make the format: model is a ${typeof model}, not a string`);
  }
  return buffered
    ? {
      ...documentFormat,
      name: "openai",
      errorBody,
      open: (context) => new Completion(context, model),
    }
    : {
      ...eventStreamFormat,
      name: "openai",
      lossless: true,
      errorBody,
      open: (context) => new ChunkFramer(context, model, options),
    };
}

/**
 * OpenAI's chat completions format: one chunk per token, the role first, the finish reason and
 * `[DONE]` last. A failure is `{ error: { message, type, param, code } }`: in the stream, or as the
 * body of an error response before the headers. A buffered response, and the arguments of tool
 * calls, may have up to 16 MiB.
 *
 * Reasoning becomes `reasoning_content` (a signature `reasoning_details`, as OpenRouter has it),
 * `tool_call` items become deltas of `tool_calls`, and a refusal, files, audio, citations and `delta` items their members as OpenAI and OpenRouter have
 * them. Other structured items are dropped, because the format has no place for them. A finish reason
 * of another API is mapped to the one with the same meaning; an unknown one becomes `stop`. The usage
 * is the source's. Without it, `completion_tokens` is what Spillway counted and `prompt_tokens` is 0.
 *
 * An OpenAI chunk that `relay` passes on is written unchanged, with its own id, if every client reads
 * it as it is meant. Any other chunk or event is read as the items that it stands for.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openaiFormat, sse } from "spillway";
 *
 *  const format = openaiFormat.with({ model: "parrot", buffered: true });
 * const response = await sse(new Request("http://localhost/"), ["Hel", "lo"], { format });
 * const { choices } = await response.json();
 * assert(choices[0].message.content === "Hello" && choices[0].finish_reason === "stop");
 * ```
 */
export const openaiFormat: OpenAIFormat = { ...variant(), with: variant };
