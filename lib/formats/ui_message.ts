/** The AI SDK's UI message stream, version 1, for `useChat` and other clients of that protocol. */
import type { Problem } from "../error.ts";
import { type FinishKind, finishKind, sentenceOf } from "./finish.ts";
import {
  type End,
  type EventSink,
  eventStreamFormat,
  type Format,
  type FormatContext,
} from "./format.ts";
import { BlockFramer, type BlockKind, fileUrlOf } from "./parts.ts";
import { eventFrame } from "../sse/encode.ts";
import type { Frame } from "../sse/utf8.ts";
import type { ToolCall } from "./tool_calls.ts";
import { checkOptionNames } from "../option_names.ts";

/** Options of {@linkcode uiMessageFormat}. */
export interface UIMessageFormatOptions {
  /** The id of the message that the stream makes. @default {the stream id} */
  messageId?: string;
}

/** The type of {@linkcode uiMessageFormat}: a format with a method that makes variants of it. */
export interface UIMessageFormat extends Format {
  /**
   * Returns a variant of the format with these options.
   *
   * @throws {TypeError} If `messageId` is not a string.
   */
  with(options: UIMessageFormatOptions): Format;
}

class PartsFramer extends BlockFramer {
  readonly #messageId: string;
  /** Number of text and reasoning parts so far. */
  #blocks = 0;
  #id = "";

  constructor(messageId: string, { streamId }: FormatContext) {
    super(`call_${streamId}`);
    this.#messageId = messageId;
  }

  start(out: EventSink): void {
    write(out, { type: "start", messageId: this.#messageId });
    write(out, { type: "start-step" });
  }

  protected blockBegan(out: EventSink, kind: BlockKind): Frame {
    this.#id = `${kind}-${++this.#blocks}`;
    write(out, { type: `${kind}-start`, id: this.#id });
    return eventFrame(undefined, `{"type":"${kind}-delta","id":"${this.#id}","delta":"`, '"}');
  }

  protected blockEnded(out: EventSink, kind: BlockKind): void {
    write(out, { type: `${kind}-end`, id: this.#id });
  }

  protected callOpened(out: EventSink, { id, name }: ToolCall): void {
    write(out, { type: "tool-input-start", toolCallId: id, toolName: name });
  }

  protected argumentsWent(out: EventSink, call: ToolCall, fragment: string): void {
    write(out, { type: "tool-input-delta", toolCallId: call.id, inputTextDelta: fragment });
  }

  protected callEnded(out: EventSink, call: ToolCall, json: string | undefined): void {
    const names = { toolCallId: call.id, toolName: call.name };
    if (json === undefined) {
      const errorText = "The arguments of the tool call are not JSON";
      write(out, { type: "tool-input-error", ...names, input: call.arguments, errorText });
    } else {
      // The model's own text: parsing it would round its numbers.
      // `useChat` returns it with the call.
      const metadata = call.extra ? { providerMetadata: { spillway: call.extra } } : {};
      const fields = JSON.stringify({ type: "tool-input-available", ...names, ...metadata });
      out.data(`${fields.slice(0, -1)},"input":${json}}`);
    }
  }

  /** Writes a note beside the open text part: a note in mid-sentence must not make two paragraphs. */
  protected override other(
    out: EventSink,
    event: string | undefined,
    json: string,
    data: unknown,
  ): void {
    const part = event === "file"
      ? fileOf(data)
      : event === "citation"
      ? sourceOf(data)
      : undefined;
    if (part === undefined) {
      out.data(`{"type":${JSON.stringify(`data-${event ?? "item"}`)},"data":${json}}`);
    } else write(out, part);
  }

  protected finish(out: EventSink, end: End): void {
    if (end.reason === "cancelled") {
      // After a stop the open calls are not announced: the client would run them.
      this.endBlock(out);
      write(out, { type: "abort" });
    } else {
      const kind = finishKind(end, this.calls.length > 0, this.hasRefused);
      this.endAll(out);
      write(out, { type: "finish-step" });
      write(out, { type: "finish", finishReason: FINISH_REASONS[kind] });
    }
    out.data(DONE);
  }

  fail(out: EventSink, problem: Problem): void {
    write(out, { type: "error", errorText: sentenceOf(problem) });
    out.data(DONE);
  }
}

const DONE = "[DONE]";

const FINISH_REASONS: Readonly<Record<FinishKind, string>> = {
  stop: "stop",
  length: "length",
  tool_calls: "tool-calls",
  content_filter: "content-filter",
  other: "other",
};

/** The part of a file; nothing if the data is none. */
function fileOf(data: unknown): object | undefined {
  const url = fileUrlOf(data);
  const { mediaType } = Object(data);
  return url === undefined || typeof mediaType !== "string"
    ? undefined
    : { type: "file", url, mediaType };
}

/** The part of a citation that has an address; nothing for another one. */
function sourceOf(data: unknown): object | undefined {
  const { url_citation: cited = data } = Object(data);
  const { url, title } = Object(cited);
  if (typeof url !== "string") return undefined;
  return { type: "source-url", sourceId: url, url, ...typeof title === "string" ? { title } : {} };
}

function write(out: EventSink, part: unknown): void {
  out.data(JSON.stringify(part));
}

/** An error response before the headers: the AI SDK shows its entire body as the error message. */
function errorBody(problem: Problem): string {
  return JSON.stringify({ error: sentenceOf(problem), code: problem.code });
}

function variant(options: UIMessageFormatOptions = {}): Format {
  checkOptionNames("Cannot make the format", options, ["messageId"]);
  const { messageId } = options;
  if (messageId !== undefined && typeof messageId !== "string") {
    throw new TypeError(
      `Cannot make the format: messageId is a ${typeof messageId}, not a string`,
    );
  }
  return {
    ...eventStreamFormat,
    name: "ui-message",
    headers: { "x-vercel-ai-ui-message-stream": "v1" },
    lossless: true,
    errorBody,
    open: (context) => new PartsFramer(messageId ?? context.streamId, context),
  };
}

/**
 * The AI SDK's UI message stream, as `useChat` reads it: `start`, the parts, `finish` and `[DONE]`.
 * A stopped generation ends in `abort`, a failed one in `error` with its public title and detail.
 * An error response before the headers has the body `{ error, code }`.
 *
 * Reasoning becomes a `reasoning` part, and `tool_call` items become `tool-input` parts, of which
 * up to 16 MiB are kept. A refusal is text, and the finish reason `content-filter`. A `file` item
 * becomes a `file` part, and a citation with an address `source-url`. Any other structured item
 * becomes a part named after its event, like `data-note`, or `data-item` without a name; the text
 * around it stays one part. A finish reason of
 * another API is mapped to the one with the same meaning; an unknown one becomes `other`. The usage
 * is not sent: the format's only field for it is the message's metadata, whose shape belongs to the
 * application.
 *
 * The events that `relay` passes on are read as the items that they stand for.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sse, uiMessageFormat } from "spillway";
 *
 * const response = await sse(new Request("http://localhost/"), ["Hel", "lo"], {
 *   format: uiMessageFormat.with({ messageId: "m1" }),
 * });
 * assert((await response.text()).includes('{"type":"text-delta","id":"text-1","delta":"Hel"}'));
 * ```
 */
export const uiMessageFormat: UIMessageFormat = { ...variant(), with: variant };
