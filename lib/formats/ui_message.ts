/** The AI SDK's UI message stream, version 1, for `useChat` and other clients of that protocol. */
import type { Problem } from "../error.ts";
import { type FinishKind, finishKind, sentenceOf, usageOf } from "./finish.ts";
import {
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
  fileUrlOf,
  isOfAnthropic,
  type ToolResult,
} from "./parts.ts";
import { eventFrame } from "../sse/encode.ts";
import type { Frame } from "../sse/utf8.ts";
import type { ToolCall } from "./tool_calls.ts";
import { checkOptionNames } from "../option_names.ts";
import { definedOf, isObject } from "../values.ts";

/** Options of {@linkcode uiMessageFormat}. */
export interface UIMessageFormatOptions {
  /** The id of the message that the stream makes. @default {the stream id} */
  messageId?: string;
  /** Whether the message's metadata get the usage, as `{ usage }`, at the end. @default {false} */
  includeUsage?: boolean;
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
  /** The signature of the open part. */
  #signature: string | undefined;
  /** Whether a call has its result: what follows is another step. */
  #hasResult = false;
  readonly #includeUsage: boolean;

  constructor(messageId: string, includeUsage: boolean, { streamId }: FormatContext) {
    super(`call_${streamId}`);
    this.#messageId = messageId;
    this.#includeUsage = includeUsage;
  }

  start(out: EventSink): void {
    write(out, { type: "start", messageId: this.#messageId });
    write(out, { type: "start-step" });
  }

  protected blockBegan(out: EventSink, kind: BlockKind): Frame {
    this.#goOn(out);
    this.#id = `${kind}-${++this.#blocks}`;
    write(out, { type: `${kind}-start`, id: this.#id });
    return eventFrame(undefined, `{"type":"${kind}-delta","id":"${this.#id}","delta":"`, '"}');
  }

  protected blockEnded(out: EventSink, kind: BlockKind): void {
    const metadata = this.#signature === undefined
      ? {}
      : ownMetadata({ signature: this.#signature });
    this.#signature = undefined;
    write(out, { type: `${kind}-end`, id: this.#id, ...metadata });
  }

  protected blockSigned(_out: EventSink, signature: string): void {
    this.#signature = signature;
  }

  protected override redacted(out: EventSink, thought: string): void {
    this.turn(out);
    this.blockBegan(out, "reasoning");
    write(out, { type: "reasoning-end", id: this.#id, ...ownMetadata({ redacted: thought }) });
  }

  /** Begins another step where a call has its result. A front end takes the last step for the open one. */
  #goOn(out: EventSink): void {
    if (!this.#hasResult) return;
    this.#hasResult = false;
    write(out, { type: "finish-step" });
    write(out, { type: "start-step" });
  }

  protected override result(out: EventSink, result: ToolResult): void {
    const { id: toolCallId, output = null, error, denied } = result;
    if (!this.endCall(out, toolCallId)) {
      return this.#note(out, "tool_result", JSON.stringify(result));
    }
    this.#hasResult = true;
    if (denied) write(out, { type: "tool-output-denied", toolCallId });
    else if (error == null) write(out, { type: "tool-output-available", toolCallId, output });
    else {
      const errorText = typeof error === "string" ? error : JSON.stringify(error);
      write(out, { type: "tool-output-error", toolCallId, errorText });
    }
  }

  protected override reset(out: EventSink): void {
    this.forgetOpen();
    write(out, { type: "reset-step" });
  }

  #note(out: EventSink, event: string, json: string): void {
    out.data(`{"type":${JSON.stringify(`data-${event}`)},"data":${json}}`);
  }

  protected callOpened(out: EventSink, { id, name }: ToolCall): void {
    this.#goOn(out);
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
      const metadata = call.extra ? ownMetadata(call.extra) : {};
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
    const part = PARTS.get(event)?.(data);
    if (event === "tool_approval") this.#approve(out, json, data);
    else if (part !== undefined) write(out, part);
    else if (!event?.startsWith("data-")) this.#note(out, event ?? "item", json);
    else if (isDataPart(data)) write(out, { ...data, type: event });
    else out.data(`{"type":${JSON.stringify(event)},"data":${json}}`);
  }

  /** Asks the user to approve a call, or tells what the user has said. */
  #approve(out: EventSink, json: string, data: unknown): void {
    const { id: approvalId, callId: toolCallId, approved, reason } = Object(data);
    const given = typeof reason === "string" ? { reason } : {};
    const hasId = typeof approvalId === "string";
    if (hasId && typeof approved === "boolean") {
      write(out, { type: "tool-approval-response", approvalId, approved, ...given });
    } else if (hasId && this.endCall(out, toolCallId)) {
      write(out, { type: "tool-approval-request", approvalId, toolCallId, ...given });
    } else this.#note(out, "tool_approval", json);
  }

  protected finish(out: EventSink, end: End): void {
    if (end.reason === "cancelled") {
      // After a stop the open calls are not announced: the client would run them.
      this.endBlock(out);
      write(out, { type: "abort" });
    } else {
      const kind = finishKind(end, this.callsWait, this.hasRefused);
      this.endAll(out);
      write(out, { type: "finish-step" });
      const metadata = this.#includeUsage ? { messageMetadata: { usage: usageFor(end) } } : {};
      write(out, { type: "finish", finishReason: FINISH_REASONS[kind], ...metadata });
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

/** The parts that items become which have one of their own. */
const PARTS = new Map<string | undefined, (data: unknown) => object | undefined>([
  ["file", fileOf],
  ["citation", sourceOf],
  ["metadata", metadataOf],
]);

/** Metadata that a front end keeps with a part, and returns. */
function ownMetadata(spillway: object): object {
  return { providerMetadata: { spillway } };
}

/** The usage, under the AI SDK's names. */
function usageFor(end: End): object {
  const { input, output, total, cacheRead, reasoning } = usageOf(end);
  return definedOf({
    inputTokens: input,
    outputTokens: output,
    totalTokens: total,
    cachedInputTokens: cacheRead,
    reasoningTokens: reasoning,
  });
}

/** The part of a message's metadata, which front ends merge; nothing if they could not. */
function metadataOf(messageMetadata: unknown): object | undefined {
  const isMergeable = isObject(messageMetadata) && !Array.isArray(messageMetadata);
  return isMergeable ? { type: "message-metadata", messageMetadata } : undefined;
}

/** Whether data is all of a `data-` part but its type: front ends refuse a stream with any other. */
function isDataPart(data: unknown): data is object {
  const { id, transient } = Object(data);
  return isObject(data) && "data" in data && ["string", "undefined"].includes(typeof id) &&
    ["boolean", "undefined"].includes(typeof transient);
}

/** The part of a file; nothing if the data is none. */
function fileOf(data: unknown): object | undefined {
  const url = fileUrlOf(data);
  const { mediaType } = Object(data);
  return url === undefined || typeof mediaType !== "string"
    ? undefined
    : { type: "file", url, mediaType };
}

/** The part of a citation that has an address, or is a place in a document; nothing for another one. */
function sourceOf(data: unknown): object | undefined {
  const cited = citedIn(data);
  if (cited !== undefined) return { type: "source-url", sourceId: cited.url, ...cited };
  if (!isOfAnthropic(data)) return undefined;
  const { type, document_title: name, document_index: at = 0 } = data;
  const mediaType = type === "page_location" ? "application/pdf" : "text/plain";
  const title = typeof name === "string" ? name : `Document ${Number(at) + 1}`;
  const sourceId = `document-${at}`;
  return {
    type: "source-document",
    sourceId,
    mediaType,
    title,
    ...ownMetadata({ citation: data }),
  };
}

function write(out: EventSink, part: unknown): void {
  out.data(JSON.stringify(part));
}

/** An error response before the headers: the AI SDK shows its entire body as the error message. */
function errorBody(problem: Problem): string {
  return JSON.stringify({ error: sentenceOf(problem), code: problem.code });
}

function variant(options: UIMessageFormatOptions = {}): Format {
  checkOptionNames("Cannot make the format", options, ["messageId", "includeUsage"]);
  const { messageId, includeUsage = false } = options;
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
    open: (context) => new PartsFramer(messageId ?? context.streamId, includeUsage, context),
  };
}

/**
 * The AI SDK's UI message stream, as `useChat` reads it: `start`, the parts, `finish` and `[DONE]`.
 * A stopped generation ends in `abort`, a failed one in `error` with its public title and detail.
 * An error response before the headers has the body `{ error, code }`.
 *
 * Reasoning becomes a `reasoning` part, and `tool_call` items become `tool-input` parts, of which
 * up to 16 MiB are kept. A refusal is text, and the finish reason `content-filter`. A `file` item
 * becomes a `file` part, a citation with an address `source-url`, one of a place in a document
 * `source-document`, `metadata` that of the message. `tool_result` becomes `tool-output-available`,
 * `tool-output-error` or `tool-output-denied`, and what follows it another step. `tool_approval`
 * `{ id, callId }` asks the user to approve a call, `{ id, approved }` is what the user has said.
 * `reset_step` takes back the open step. An item `data-name` with `{ data, id?, transient? }` is such a
 * part. Any other structured item becomes a part named after its event, like `data-note`, or
 * `data-item` without a name; the text around it stays one part. A finish reason of another API is
 * mapped to the one with the same meaning; an unknown one becomes `other`. The usage is sent if
 * `includeUsage` asks for it: the shape of a message's metadata belongs to the application.
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
