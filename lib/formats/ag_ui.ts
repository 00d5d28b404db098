/** AG-UI 1.0, for CopilotKit and other clients of that protocol, and for TanStack AI's. */
import type { Problem } from "../error.ts";
import { checkOptionNames } from "../option_names.ts";
import { eventFrame } from "../sse/encode.ts";
import type { Frame } from "../sse/utf8.ts";
import { isObject, parseJson } from "../values.ts";
import { type FinishKind, finishKind, sentenceOf, type Usage, usageOf } from "./finish.ts";
import {
  type End,
  type EventSink,
  eventStreamFormat,
  type Format,
  type FormatContext,
} from "./format.ts";
import { BlockFramer, type BlockKind, type ToolResult } from "./parts.ts";
import type { ToolCall } from "./tool_calls.ts";

/** Options of {@linkcode agUiFormat}. */
export interface AgUiFormatOptions {
  /** The id of the conversation, as the client has sent it. @default {the stream id} */
  threadId?: string;
  /** The id of the run, as the client has sent it. @default {the stream id} */
  runId?: string;
  /** The id of the run that this one continues, if the client has sent one. */
  parentRunId?: string;
  /** The model's name, for the usage and for TanStack AI. */
  model?: string;
}

/** The type of {@linkcode agUiFormat}: a format with a method that makes variants of it. */
export interface AgUiFormat extends Format {
  /**
   * Returns a variant of the format with these options.
   *
   * @throws {TypeError} If an option is not a string.
   */
  with(options: AgUiFormatOptions): Format;
}

/** What a member of an event has to be. */
type Kind = "any" | "text" | "list";

/**
 * Events of the protocol that an item may be, as its name says, with the members that clients require.
 * The framer writes all others.
 */
const OWN_EVENTS: ReadonlyMap<string | undefined, Readonly<Record<string, Kind>>> = new Map(
  Object.entries<Readonly<Record<string, Kind>>>({
    STATE_SNAPSHOT: { snapshot: "any" },
    STATE_DELTA: { delta: "list" },
    MESSAGES_SNAPSHOT: { messages: "list" },
    ACTIVITY_SNAPSHOT: { messageId: "text", activityType: "text", content: "any" },
    ACTIVITY_DELTA: { messageId: "text", activityType: "text", patch: "list" },
    STEP_STARTED: { stepName: "text" },
    STEP_FINISHED: { stepName: "text" },
    SUBAGENT_STARTED: { subagentRunId: "text", name: "text" },
    SUBAGENT_FINISHED: { subagentRunId: "text" },
    SUBAGENT_ERROR: { subagentRunId: "text", message: "text" },
    RAW: { event: "any" },
    CUSTOM: { name: "text", value: "any" },
  }),
);

class RunFramer extends BlockFramer {
  readonly #options: AgUiFormatOptions;
  readonly #context: FormatContext;
  /** Number of messages so far. */
  #messages = 0;
  /** The assistant's message that a call belongs to. */
  #message: string | undefined;
  /** The latest message of reasoning. */
  #reasoning: string | undefined;
  /** The end of each part that the source has begun itself. */
  readonly #begun = new Map<string, object>();
  #isStopped = false;

  constructor(options: AgUiFormatOptions, context: FormatContext) {
    super(`call_${context.streamId}`);
    this.#options = options;
    this.#context = context;
  }

  start(out: EventSink): void {
    const { parentRunId } = this.#options;
    write(out, "RUN_STARTED", { ...this.#run, protocolVersion: "1.0", parentRunId });
  }

  protected blockBegan(out: EventSink, kind: BlockKind): Frame {
    // A second text would be joined to the first one, whatever came between them.
    const messageId = this.#nextMessage();
    const isText = kind === "text";
    this.#message = isText ? messageId : undefined;
    if (isText) write(out, "TEXT_MESSAGE_START", { messageId, role: "assistant" });
    else {
      this.#reasoning = messageId;
      write(out, "REASONING_START", { messageId });
      write(out, "REASONING_MESSAGE_START", { messageId, role: "reasoning" });
    }
    const type = isText ? "TEXT_MESSAGE_CONTENT" : "REASONING_MESSAGE_CONTENT";
    return eventFrame(undefined, `{"type":"${type}","messageId":"${messageId}","delta":"`, '"}');
  }

  protected blockEnded(out: EventSink, kind: BlockKind): void {
    if (kind === "text") return write(out, "TEXT_MESSAGE_END", { messageId: this.#message });
    const messageId = this.#reasoning;
    write(out, "REASONING_MESSAGE_END", { messageId });
    write(out, "REASONING_END", { messageId });
  }

  protected blockSigned(out: EventSink, encryptedValue: string): void {
    const entityId = this.#reasoning;
    write(out, "REASONING_ENCRYPTED_VALUE", { subtype: "message", entityId, encryptedValue });
  }

  protected callOpened(out: EventSink, call: ToolCall): void {
    const parentMessageId = this.#message ??= this.#nextMessage();
    const fields = { toolCallId: call.id, toolCallName: call.name, parentMessageId };
    write(out, "TOOL_CALL_START", { ...fields, metadata: membersOf(call) });
  }

  protected argumentsWent(out: EventSink, { id }: ToolCall, delta: string): void {
    if (!this.isSettled(id)) write(out, "TOOL_CALL_ARGS", { toolCallId: id, delta });
  }

  protected callEnded(out: EventSink, call: ToolCall, json: string | undefined): void {
    // Clients parse the arguments, also those of a call that has none. A stopped call is not made whole.
    const isEmpty = call.arguments.trim() === "" && !this.#isStopped;
    if (isEmpty && json !== undefined) this.argumentsWent(out, call, json);
    write(out, "TOOL_CALL_END", { toolCallId: call.id, metadata: membersOf(call) });
  }

  /** Writes a note beside the open text: a note in mid-sentence must not make two messages. */
  protected override other(
    out: EventSink,
    event: string | undefined,
    json: string,
    data: unknown,
  ): void {
    if (isOwn(event, data) && this.#follow(event!, data)) {
      // The type stands last: of two members with one name the last one counts.
      const members = json === "{}" ? "{" : `${json.slice(0, -1)},`;
      out.data(`${members}"type":"${event}"}`);
    } else custom(out, event ?? "item", json);
  }

  protected override result(out: EventSink, result: ToolResult): void {
    const { id, error, denied } = result;
    if (typeof id !== "string") return custom(out, "tool_result", JSON.stringify(result));
    this.endCall(out, id);
    this.#message = undefined;
    write(out, "TOOL_CALL_RESULT", {
      messageId: this.#nextMessage(),
      toolCallId: id,
      role: "tool",
      content: resultText(result),
      metadata: error != null || denied ? { tanstack: { state: "output-error" } } : undefined,
    });
  }

  /**
   * Keeps what the source has begun: a run must not end before it.
   *
   * @returns Whether it is in order: what begins has not begun, and what ends has.
   */
  #follow(event: string, data: Fields): boolean {
    const [what, verb] = event.split("_");
    if (what !== "STEP" && what !== "SUBAGENT") return true;
    const { stepName, subagentRunId } = data;
    const key = JSON.stringify([what, stepName, subagentRunId]);
    if (verb !== "STARTED") return this.#begun.delete(key);
    if (this.#begun.has(key)) return false;
    this.keep(2 * key.length);
    this.#begun.set(key, { type: `${what}_FINISHED`, stepName, subagentRunId });
    return true;
  }

  protected finish(out: EventSink, end: End): void {
    this.#isStopped = end.reason === "cancelled";
    const pending = this.waitingCalls;
    const kind = finishKind(end, pending.length > 0, this.hasRefused);
    this.endAll(out);
    for (const closing of [...this.#begun.values()].reverse()) out.data(JSON.stringify(closing));
    if (!this.#isStopped && isResumer(this.#context)) {
      for (const call of pending) {
        offer(out, call);
      }
    }
    write(out, "RUN_FINISHED", {
      ...this.#run,
      outcome: this.#isStopped
        ? { type: "cancelled" }
        : { type: "success", ...pending.length > 0 && { pendingToolCallIds: idsOf(pending) } },
      usage: end.usage && [{ model: this.#options.model, ...tokensOf(usageOf(end)) }],
      metadata: this.#metadata(FINISH_REASONS[kind]),
    });
  }

  fail(out: EventSink, problem: Problem): void {
    // It reads an end without its event as a cut, and comes back. Others would take it for a success.
    if (problem.resume && isResumer(this.#context)) return;
    const metadata = this.#metadata();
    write(out, "RUN_ERROR", { message: sentenceOf(problem), code: problem.code, metadata });
  }

  get #run() {
    const { threadId = this.#context.streamId, runId = this.#context.streamId } = this.#options;
    return { threadId, runId };
  }

  /** What TanStack AI reads. */
  #metadata(finishReason?: string): object {
    const { runId, threadId, model } = this.#options;
    return { tanstack: finishReason ? { finishReason, model } : { runId, threadId, model } };
  }

  #nextMessage(): string {
    return `${this.#context.streamId}-${++this.#messages}`;
  }
}

const FINISH_REASONS: Readonly<Record<FinishKind, string>> = {
  stop: "stop",
  length: "length",
  tool_calls: "tool_calls",
  content_filter: "content_filter",
  other: "stop",
};

type Fields = Readonly<Record<string, unknown>>;

/** Whether an item is an event of the protocol that clients take. */
function isOwn(event: string | undefined, data: unknown): data is Fields {
  const members = OWN_EVENTS.get(event);
  if (members === undefined || !isObject(data) || Array.isArray(data)) return false;
  return Object.entries(members).every(([name, kind]) => {
    const value = (data as Fields)[name];
    if (kind === "text") return typeof value === "string";
    return kind === "list" ? Array.isArray(value) : value !== undefined;
  });
}

/** Writes an event; fields that are `undefined` are left out. */
function write(out: EventSink, type: string, fields: object): void {
  out.data(JSON.stringify({ type, ...fields }));
}

function custom(out: EventSink, name: string, json: string): void {
  out.data(`{"type":"CUSTOM","name":${JSON.stringify(name)},"value":${json}}`);
}

/** Hands a call to the client: TanStack AI runs a tool of the page when this event names it. */
function offer(out: EventSink, { id, name, arguments: text }: ToolCall): void {
  const input = text.trim() === "" ? {} : parseJson(text);
  if (input === undefined) return;
  custom(out, "tool-input-available", JSON.stringify({ toolCallId: id, toolName: name, input }));
}

/** Whether the client is TanStack AI's, which comes back by itself. */
function isResumer({ request: { method, headers } }: FormatContext): boolean {
  return method === "GET" || headers.has("x-run-id") || headers.has("last-event-id");
}

/** Members of a call that have no name here: a client returns a call with its metadata. */
function membersOf({ extra }: ToolCall): object | undefined {
  return extra && { spillway: extra };
}

function idsOf(calls: readonly ToolCall[]): (string | undefined)[] {
  return calls.map(({ id }) => id);
}

/** The result of a call. There is no word for a denial, and a model takes an empty result for a success. */
function resultText({ output, error, denied }: ToolResult): string {
  const value = (denied ? "The call was denied" : error) ?? output;
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}

/** The usage by the protocol's names; it takes whole numbers alone. */
function tokensOf(usage: Usage): object {
  return Object.fromEntries(
    Object.entries({
      inputTokens: usage.input,
      outputTokens: usage.output,
      totalTokens: usage.total,
      reasoningTokens: usage.reasoning,
      cachedInputTokens: usage.cacheRead,
      cacheWriteInputTokens: usage.cacheWritten,
    }).filter(([, tokens]) => Number.isSafeInteger(tokens)),
  );
}

const OPTIONS: Record<keyof AgUiFormatOptions, true> = {
  threadId: true,
  runId: true,
  parentRunId: true,
  model: true,
};

function variant(options: AgUiFormatOptions = {}): Format {
  checkOptionNames("Cannot make the format", options, Object.keys(OPTIONS));
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || typeof value === "string") continue;
    throw new TypeError(`Cannot make the format: ${name} is a ${typeof value}, not a string`);
  }
  return {
    ...eventStreamFormat,
    name: "ag-ui",
    lossless: true,
    open: (context) => new RunFramer(options, context),
  };
}

/**
 * AG-UI 1.0, as CopilotKit's `HttpAgent` and TanStack AI's client read it: `RUN_STARTED`, the
 * messages, `RUN_FINISHED`. A stopped generation ends with the outcome `cancelled`, a failed one in
 * `RUN_ERROR` with its public title and detail. An error response before the headers is a problem
 * object.
 *
 * Text and reasoning become messages, and each text after another part a message of its own.
 * `tool_call` items become tool calls, of which up to 16 MiB are kept, and `tool_result` items their
 * results. A refusal is text, and the finish reason `content_filter`. Data whose event name is one of
 * the protocol's, such as `STATE_DELTA` or `STEP_STARTED`, is that event if it has the members that
 * the protocol requires, and what is begun so is ended at the latest with the run. Any other structured item becomes a `CUSTOM` event with its event
 * name, or `item` without one. The usage is sent where the source has told it.
 *
 * To a client that sends `X-Run-Id`, as TanStack AI's does, each call without a result is offered at
 * the end by the event with which it runs the page's own tools; and it is not told of a failure that
 * ends its connection alone, so that it comes back.
 *
 * The events that `relay` passes on are read as the items that they stand for.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sse } from "spillway";
 * import { agUiFormat } from "spillway/formats";
 *
 * const response = await sse(new Request("http://localhost/"), ["Hel", "lo"], {
 *   format: agUiFormat.with({ threadId: "t1", runId: "r1" }),
 * });
 * assert((await response.text()).includes('"delta":"Hel"}'));
 * ```
 */
export const agUiFormat: AgUiFormat = { ...variant(), with: variant };
