/** OpenAI's chat completions format: a stream of chunks, or one JSON document. */
import type { Problem } from "../error.ts";
import { type CallData, CompletionReader, isChunk, parseChunk } from "./completion_chunk.ts";
import { finishKind, usageOf } from "./finish.ts";
import {
  documentFormat,
  type End,
  type EventSink,
  eventStreamFormat,
  type Format,
  type FormatContext,
} from "./format.ts";
import { errorBody } from "./openai_error.ts";
import { type Extra, fileUrlOf, PartFramer } from "./parts.ts";
import type { Item } from "../item.ts";
import { eventFrame } from "../sse/encode.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import type { Frame } from "../sse/utf8.ts";
import type { ToolCall } from "./tool_calls.ts";
import { Transcript } from "./transcript.ts";
import { isObject, utf8Length } from "../values.ts";
import { checkOptionNames } from "../option_names.ts";

/** Options of {@linkcode openaiFormat}. */
export interface OpenAIFormatOptions {
  /** The model's name in the response. @default {"spillway"} */
  model?: string;
  /** Whether a last chunk has the usage, as `stream_options.include_usage` asks. @default {false} */
  includeUsage?: boolean;
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
  /** Reads the chunks of an upstream. */
  #upstream: CompletionReader | undefined;
  /**
   * Chunks of an upstream from its finish reason on, and whether each tells the usage. They wait: if
   * more of the answer follows, the reason was no end, and a call would make it another one.
   */
  #last: (readonly [data: string, hasUsage: boolean])[] = [];
  /** Whether a chunk that was passed on has told the usage. */
  #hasUsage = false;

  constructor(context: FormatContext, model: string, includeUsage: boolean) {
    super(`call_${context.streamId}`);
    this.#head = `{${identityOf(context, "chat.completion.chunk", model)},"choices":[`;
    this.#tail = includeUsage ? '],"usage":null}' : "]}";
    this.#includeUsage = includeUsage;
    this.#token = this.#deltaFrame("content");
  }

  token(out: EventSink, text: string): void {
    if (!this.#begun) this.#begin(out);
    out.frame(this.#token, text);
  }

  protected reasoning(out: EventSink, text: string): void {
    if (!this.#begun) this.#begin(out);
    out.frame(this.#reasoning ??= this.#deltaFrame("reasoning_content"), text);
  }

  protected override refusal(out: EventSink, text: string): void {
    if (!this.#begun) this.#begin(out);
    out.frame(this.#refusal ??= this.#deltaFrame("refusal"), text);
  }

  protected callBegan(out: EventSink, call: ToolCall, fragment: string): void {
    const { index, id, name, extra } = call;
    this.#call(out, index, { id, type: "function" }, { name, arguments: fragment }, extra);
  }

  protected callWent(out: EventSink, { index }: ToolCall, fragment: string, extra?: Extra): void {
    this.#call(out, index, {}, { arguments: fragment }, extra);
  }

  protected override other(
    out: EventSink,
    event: string | undefined,
    _json: string,
    data: unknown,
  ): void {
    const delta = deltaOf(event, data);
    if (delta === undefined) return;
    if (!this.#begun) this.#begin(out);
    out.data(this.#choice(JSON.stringify(delta)));
  }

  /**
   * Passes on a chunk of an upstream unchanged, with its id and its role, if any client reads it as
   * it is meant; else what it stands for.
   */
  relayed(out: EventSink, { event, data }: ServerSentEvent): boolean {
    if (event !== "message") return false;
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
  #piece(out: EventSink, { index, id, name, arguments: fragment = "", extra }: CallData): void {
    if (name === undefined) return this.#call(out, index, {}, { arguments: fragment }, extra);
    const call = { id: id ?? this.callId(index), type: "function" };
    this.#call(out, index, call, { name, arguments: fragment }, extra);
  }

  protected finish(out: EventSink, end: End): void {
    const calledTools = this.calls.length > 0 || this.#upstream?.calledTools === true;
    const finishReason = finishOf(end, calledTools);
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
    this.frame = this.#token;
    out.data(this.#choice('{"role":"assistant","content":""}'));
  }

  #call(out: EventSink, index: number, call: object, named: object, extra: Extra = {}): void {
    if (!this.#begun) this.#begin(out);
    const { function: further, ...members } = extra;
    const piece = { index, ...call, function: { ...named, ...Object(further) }, ...members };
    out.data(this.#choice(`{"tool_calls":[${JSON.stringify(piece)}]}`));
  }

  #choice(delta: string, finishReason = "null"): string {
    const choice = `{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${finishReason}}`;
    return `${this.#head}${choice}${this.#tail}`;
  }

  #deltaFrame(field: string): Frame {
    // JSON holds no NUL: the text goes where the NUL is.
    const [before, after] = this.#choice(`{"${field}":"\0"}`).split("\0");
    return eventFrame(undefined, before!, after!);
  }
}

class Completion extends Transcript {
  #refusal = "";
  readonly #further = noMembers();
  readonly #context: FormatContext;
  readonly #model: string;

  constructor(context: FormatContext, model: string) {
    super(`call_${context.streamId}`);
    this.#context = context;
    this.#model = model;
  }

  protected override refusal(_out: EventSink, text: string): void {
    this.keep(utf8Length(text));
    this.#refusal += text;
  }

  protected override other(
    _out: EventSink,
    event: string | undefined,
    json: string,
    data: unknown,
  ): void {
    const delta = deltaOf(event, data);
    if (delta === undefined) return;
    this.keep(utf8Length(json));
    merge(this.#further, delta);
  }

  protected finish(out: EventSink, end: End): void {
    const text = this.joined("text");
    const reasoning = this.joined("reasoning");
    const calls = this.calls.map(({ id, name, arguments: json, extra = {} }) => {
      const { function: further, ...members } = extra;
      const named = { name, arguments: json, ...Object(further) };
      return { id, type: "function", function: named, ...members };
    });
    const isEmpty = text === "" && (calls.length > 0 || this.hasRefused);
    const message = {
      ...Object(this.#further),
      role: "assistant",
      content: isEmpty ? null : text,
      ...reasoning === "" ? {} : { reasoning_content: reasoning },
      refusal: this.hasRefused ? this.#refusal : null,
      ...calls.length === 0 ? {} : { tool_calls: calls },
    };
    const choice = {
      index: 0,
      message,
      logprobs: null,
      finish_reason: finishOf(end, calls.length > 0),
    };
    const identity = identityOf(this.#context, "chat.completion", this.#model);
    const rest = `"choices":[${JSON.stringify(choice)}],"usage":${JSON.stringify(usageFor(end))}`;
    out.text(`{${identity},${rest}}`);
  }
}

/** The members of a delta, or of a message, that an item becomes; nothing for a note. */
function deltaOf(event: string | undefined, data: unknown): Extra | undefined {
  if (event === "audio") return { audio: data };
  if (event === "citation") return { annotations: [data] };
  if (event === "delta" && isObject(data)) return data as Extra;
  const url = event === "file" ? fileUrlOf(data) : undefined;
  return url === undefined ? undefined : { images: [{ type: "image_url", image_url: { url } }] };
}

/** Texts of audio, whose pieces may be alike: silence is. */
const GROWING: ReadonlySet<string> = new Set(["data", "transcript"]);

/**
 * Adds a delta to what deltas make together, in time in proportion to it: lists and texts grow, but
 * for a name that each of them repeats.
 */
function merge(all: Extra, fresh: object): Extra {
  for (const [name, value] of Object.entries(fresh)) {
    const old = all[name];
    if (Array.isArray(value)) {
      const list = Array.isArray(old) ? old : all[name] = [];
      for (const entry of value) list.push(entry);
    } else if (isObject(value)) {
      all[name] = merge(isObject(old) && !Array.isArray(old) ? old as Extra : noMembers(), value);
    } else if (typeof old !== "string" || typeof value !== "string") all[name] = value;
    else if (old !== value || GROWING.has(name)) all[name] = old + value;
  }
  return all;
}

/** An object without a prototype, where `__proto__` is a name like any other. */
function noMembers(): Extra {
  return Object.create(null);
}

/** The fields that each chunk and each document begins with. */
function identityOf({ streamId }: FormatContext, object: string, model: string): string {
  const created = Math.floor(Date.now() / 1000);
  const id = `chatcmpl-${streamId}`;
  return JSON.stringify({ id, object, created, model }).slice(1, -1);
}

/** The finish reason: one of four, the only ones that strict clients accept. */
function finishOf(end: End, calledTools: boolean): string {
  const kind = finishKind(end, calledTools);
  return kind === "other" ? "stop" : kind;
}

function usageFor(end: End): unknown {
  const { input, output, total, cacheRead, reasoning } = usageOf(end);
  return {
    prompt_tokens: input,
    completion_tokens: output,
    total_tokens: total,
    ...cacheRead === undefined ? {} : { prompt_tokens_details: { cached_tokens: cacheRead } },
    ...reasoning === undefined
      ? {}
      : { completion_tokens_details: { reasoning_tokens: reasoning } },
  };
}

function variant(options: OpenAIFormatOptions = {}): Format {
  checkOptionNames("Cannot make the format", options, ["model", "includeUsage", "buffered"]);
  const { model = "spillway", includeUsage = false, buffered = false } = options;
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
      open: (context) => new ChunkFramer(context, model, includeUsage),
    };
}

/**
 * OpenAI's chat completions format: one chunk per token, the role first, the finish reason and
 * `[DONE]` last. A failure is `{ error: { message, type, param, code } }`: in the stream, or as the
 * body of an error response before the headers. A buffered response, and the arguments of tool
 * calls, may have up to 16 MiB.
 *
 * Reasoning becomes `reasoning_content`, `tool_call` items become deltas of `tool_calls`, and a
 * refusal, files, audio, citations and `delta` items their members as OpenAI and OpenRouter have
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
