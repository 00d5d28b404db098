/** OpenAI's chat completions format: a stream of chunks, or one JSON document. */
import { pathOf, type Problem, upstreamFailed } from "../error.ts";
import { isFailure, parseChunk, readChunk } from "./completion_chunk.ts";
import { finishKind, sentenceOf, usageOf } from "./finish.ts";
import {
  documentFormat,
  type End,
  type EventSink,
  eventStreamFormat,
  type Format,
  type FormatContext,
} from "./format.ts";
import { PartFramer, type ToolCall } from "./parts.ts";
import type { Summary } from "../item.ts";
import { eventFrame } from "../sse/encode.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import type { Frame } from "../sse/utf8.ts";
import { Transcript } from "./transcript.ts";
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
  #begun = false;
  /** What the chunks of an upstream said of their end. */
  readonly #relayedEnd: Summary = {};

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

  protected callBegan(out: EventSink, { index, id, name }: ToolCall, fragment: string): void {
    this.#call(out, { index, id, type: "function", function: { name, arguments: fragment } });
  }

  protected callWent(out: EventSink, { index }: ToolCall, fragment: string): void {
    this.#call(out, { index, function: { arguments: fragment } });
  }

  /** Passes on a chunk of an upstream unchanged, with its id and its role. */
  relayed(out: EventSink, { event, data }: ServerSentEvent): boolean {
    const chunk = event === "message" ? parseChunk(data) : undefined;
    if (chunk === undefined) return false;
    if (isFailure(chunk)) throw upstreamFailed(data);
    if (!("choices" in chunk)) return false;
    readChunk(chunk, this.#relayedEnd);
    this.#begun = true;
    out.data(data);
    return true;
  }

  end(out: EventSink, end: End): void {
    if (!this.#begun) this.#begin(out);
    if (this.#relayedEnd.finishReason === undefined) {
      out.data(this.#choice("{}", `"${finishOf(end, this.calls)}"`));
    }
    if (this.#includeUsage && this.#relayedEnd.usage === undefined) {
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

  #call(out: EventSink, call: unknown): void {
    if (!this.#begun) this.#begin(out);
    out.data(this.#choice(`{"tool_calls":[${JSON.stringify(call)}]}`));
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
  readonly #context: FormatContext;
  readonly #model: string;

  constructor(context: FormatContext, model: string) {
    super(`call_${context.streamId}`);
    this.#context = context;
    this.#model = model;
  }

  end(out: EventSink, given: End): void {
    const end = given;
    const text = this.joined("text");
    const reasoning = this.joined("reasoning");
    const calls = this.calls.map(({ id, name, arguments: json }) => ({
      id,
      type: "function",
      function: { name, arguments: json },
    }));
    const message = {
      role: "assistant",
      content: text === "" && calls.length > 0 ? null : text,
      ...reasoning === "" ? {} : { reasoning_content: reasoning },
      refusal: null,
      ...calls.length === 0 ? {} : { tool_calls: calls },
    };
    const choice = {
      index: 0,
      message,
      logprobs: null,
      finish_reason: finishOf(end, this.calls),
    };
    const identity = identityOf(this.#context, "chat.completion", this.#model);
    const rest = `"choices":[${JSON.stringify(choice)}],"usage":${JSON.stringify(usageFor(end))}`;
    out.text(`{${identity},${rest}}`);
  }
}

/** The fields that each chunk and each document begins with. */
function identityOf({ streamId }: FormatContext, object: string, model: string): string {
  const created = Math.floor(Date.now() / 1000);
  const id = `chatcmpl-${streamId}`;
  return JSON.stringify({ id, object, created, model }).slice(1, -1);
}

/** The finish reason: one of four, the only ones that strict clients accept. */
function finishOf(end: End, calls: readonly ToolCall[]): string {
  const kind = finishKind(end, calls.length > 0);
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

/** An error object; the same before the response headers and in the stream. */
function errorBody(problem: Problem): string {
  const { status, code, errors } = problem;
  const param = pathOf(errors?.[0]?.pointer ?? "") || null;
  const error = { message: sentenceOf(problem), type: errorType(status), param, code };
  return JSON.stringify({ error });
}

function errorType(status: number): string {
  if (status >= 500) return "server_error";
  if (status === 401) return "authentication_error";
  if (status === 403) return "permission_error";
  return status === 429 ? "rate_limit_error" : "invalid_request_error";
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
 * Reasoning becomes `reasoning_content`, and `tool_call` items become deltas of `tool_calls`. Other
 * structured items are dropped, because the format has no place for them. A finish reason of
 * another API is mapped to the one with the same meaning; an unknown one becomes `stop`. The usage
 * is the source's. Without it, `completion_tokens` is what Spillway counted and `prompt_tokens` is
 * 0.
 *
 * An OpenAI chunk that `relay` passes on is written unchanged, with its own id. Any other
 * event of it is read as the item that it represents.
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
