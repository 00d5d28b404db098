/** The AI SDK's UI message stream, version 1, for `useChat` and whoever else reads it. */
import type { Problem } from "../error.ts";
import { type FinishKind, finishKind, sentenceOf } from "./finish.ts";
import { type End, EVENT_STREAM_FORMAT, type Format, type FormatContext } from "./format.ts";
import { BlockFramer, type BlockKind, type ToolCall } from "./parts.ts";
import { eventFrame, type EventWriter } from "../sse/encode.ts";
import type { Frame } from "../sse/utf8.ts";

/** Options of {@linkcode uiMessageFormat}. */
export interface UiMessageFormatOptions {
  /** The id of the message that the stream makes. @default {the stream id} */
  messageId?: string;
}

/** {@linkcode uiMessageFormat} and its variants. */
export interface UiMessageFormat extends Format {
  /** @throws {TypeError} If `messageId` is not a string. */
  with(options: UiMessageFormatOptions): Format;
}

class PartsFramer extends BlockFramer {
  readonly #messageId: string;
  /** Parts of text and reasoning so far. */
  #blocks = 0;
  #id = "";

  constructor(messageId: string, { streamId }: FormatContext) {
    super(`call_${streamId}`);
    this.#messageId = messageId;
  }

  start(out: EventWriter): void {
    write(out, { type: "start", messageId: this.#messageId });
    write(out, { type: "start-step" });
  }

  protected blockBegan(out: EventWriter, kind: BlockKind): Frame {
    this.#id = `${kind}-${++this.#blocks}`;
    write(out, { type: `${kind}-start`, id: this.#id });
    return eventFrame(undefined, `{"type":"${kind}-delta","id":"${this.#id}","delta":"`, '"}');
  }

  protected blockEnded(out: EventWriter, kind: BlockKind): void {
    write(out, { type: `${kind}-end`, id: this.#id });
  }

  protected callBegan(out: EventWriter, call: ToolCall, fragment: string): void {
    this.turn(out);
    write(out, { type: "tool-input-start", toolCallId: call.id, toolName: call.name });
    if (fragment !== "") this.callWent(out, call, fragment);
  }

  protected callWent(out: EventWriter, call: ToolCall, fragment: string): void {
    write(out, { type: "tool-input-delta", toolCallId: call.id, inputTextDelta: fragment });
  }

  protected callEnded(out: EventWriter, call: ToolCall, json: string | undefined): void {
    const names = { toolCallId: call.id, toolName: call.name };
    if (json === undefined) {
      const errorText = "The arguments of the tool call are not JSON";
      write(out, { type: "tool-input-error", ...names, input: call.arguments, errorText });
    } else {
      // As the model wrote it: parsing would round its numbers.
      const fields = JSON.stringify({ type: "tool-input-available", ...names });
      out.data(`${fields.slice(0, -1)},"input":${json}}`);
    }
  }

  /** Beside the text and not between it: a note in mid-sentence must not make two paragraphs. */
  protected override other(out: EventWriter, event: string | undefined, json: string): void {
    out.data(`{"type":${JSON.stringify(`data-${event ?? "item"}`)},"data":${json}}`);
  }

  end(out: EventWriter, given: End): void {
    if (given.reason === "cancelled") {
      // What was called is not to be run.
      this.endBlock(out);
      write(out, { type: "abort" });
    } else {
      this.endAll(out);
      const kind = finishKind(this.endOf(given), this.calls.length > 0);
      write(out, { type: "finish-step" });
      write(out, { type: "finish", finishReason: FINISH_REASONS[kind] });
    }
    out.data(DONE);
  }

  fail(out: EventWriter, problem: Problem): void {
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

function write(out: EventWriter, part: unknown): void {
  out.data(JSON.stringify(part));
}

/** The AI SDK makes the whole body the message of its error. */
function errorBody(problem: Problem): string {
  return JSON.stringify({ error: sentenceOf(problem), code: problem.code });
}

function variant(options: UiMessageFormatOptions = {}): Format {
  const { messageId } = options;
  if (messageId !== undefined && typeof messageId !== "string") {
    throw new TypeError(
      `Cannot format an answer: messageId is a ${typeof messageId}, not a string`,
    );
  }
  return {
    ...EVENT_STREAM_FORMAT,
    name: "ui-message",
    headers: { "x-vercel-ai-ui-message-stream": "v1" },
    lossless: true,
    errorBody,
    open: (context) => new PartsFramer(messageId ?? context.streamId, context),
  };
}

/**
 * A UI message as the AI SDK's `useChat` reads it: `start`, the parts, `finish` and `[DONE]`. A
 * stopped generation ends in `abort`, a failed one in `error` with its public title and detail;
 * before the head a failure is `{ error, code }`.
 *
 * Reasoning is a `reasoning` part, `tool_call` items are `tool-input` parts, of which 16 MiB are
 * kept; any other structured item is a part named after its event, `data-note`, or `data-item`
 * without a name, and the text around it stays one part. A finish reason of another API becomes the
 * one that means the same, an unknown one `other`. The usage is not sent: the format has no field for
 * it but the message's metadata, whose shape is the application's.
 *
 * The events of an upstream `Response` are taken for what they would be as items.
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
export const uiMessageFormat: UiMessageFormat = { ...variant(), with: variant };
