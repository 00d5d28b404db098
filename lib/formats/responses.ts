/** OpenAI's Responses format: an event stream, or one JSON document. */
import type { Problem } from "../error.ts";
import { type FinishKind, finishKind, sentenceOf } from "./finish.ts";
import {
  commentHeartbeat,
  documentFormat,
  type End,
  type EventSink,
  eventStreamFormat,
  type Format,
  type FormatContext,
  type Position,
} from "./format.ts";
import { errorBody as openaiErrorBody } from "./openai_error.ts";
import { citedIn, PartFramer } from "./parts.ts";
import {
  type Block,
  type BlockKind,
  CallItem,
  type ItemStatus,
  itemTypeOf,
  SpeechItem,
} from "./responses_items.ts";
import {
  responseId,
  type ResponseInit,
  ResponseObject,
  type ResponseStatus,
  secondsNow,
  usageFor,
} from "./responses_object.ts";
import type { ToolCall } from "./tool_calls.ts";
import { isObject, utf8Length } from "../values.ts";
import { checkOptionNames } from "../option_names.ts";

/** Options of {@linkcode responsesFormat}. */
export interface ResponsesFormatOptions {
  /** The model's name in the response. @default {"spillway"} */
  model?: string;
  /** Whether the response is one `response` document, as `stream: false` asks. @default {false} */
  buffered?: boolean;
  /** Whether the response says that it runs in the background, and begins `queued`. @default {false} */
  background?: boolean;
  /**
   * The request's body, whose settings (`instructions`, `tools`, `metadata` and the like) the response
   * repeats, 64 Ki characters of JSON at most. @default {{}}
   */
  request?: Readonly<Record<string, unknown>>;
}

/** The type of {@linkcode responsesFormat}: a format with a method that makes variants of it. */
export interface ResponsesFormat extends Format {
  /**
   * Returns a variant of the format with these options.
   *
   * @throws {TypeError} If `model` is not a string, or `request` no object.
   */
  with(options: ResponsesFormatOptions): Format;
}

type Item = SpeechItem | CallItem;

/**
 * An item ends where another begins if it has no more than so many UTF-16 units; a longer one ends with
 * the response. Its text is in three of the events of its end, and what one item of the source makes
 * may have 1 MiB.
 */
const MAX_EARLY = 32 * 1024;
/** The framers of streams that have no event ids, by what their heartbeats are given. */
const framers = new WeakMap<object, ResponseFramer>();

class ResponseFramer extends PartFramer {
  readonly #response: ResponseObject;
  readonly #background: boolean;
  readonly #streamId: string;
  /** Number of events so far, each with the number before as its `sequence_number`. */
  #events = 0;
  readonly #output: Item[] = [];
  /** The items that have not ended, in their order. */
  readonly #open = new Set<Item>();
  readonly #callItems = new Map<ToolCall, CallItem>();
  /** The text that goes on. */
  #block: Block | undefined;
  #item: SpeechItem | undefined;

  constructor(context: FormatContext, init: ResponseInit) {
    super(`call_${context.streamId}`);
    this.#response = new ResponseObject(context, init);
    this.#background = init.background;
    this.#streamId = context.streamId;
    framers.set(context, this);
  }

  /** Number of events so far. */
  get events(): number {
    return this.#events;
  }

  start(out: EventSink): void {
    const status = this.#background ? "queued" : "in_progress";
    this.#announce(out, "created", status);
    if (this.#background) this.#announce(out, "queued", status);
    this.#announce(out, "in_progress", "in_progress");
  }

  token(out: EventSink, text: string): void {
    this.#say(out, "text", text);
  }

  protected reasoning(out: EventSink, text: string): void {
    this.#say(out, "reasoning", text);
  }

  protected override refusal(out: EventSink, text: string): void {
    this.#say(out, "refusal", text);
  }

  #say(out: EventSink, kind: BlockKind, text: string): void {
    this.keep(utf8Length(text));
    const block = this.#block?.kind === kind ? this.#block : this.#begin(out, kind);
    block.add(text);
    this.#item!.length += text.length;
    this.writeToken(out, block, text);
  }

  /** Writes a token of a text. */
  protected writeToken(out: EventSink, block: Block, text: string): void {
    out.frame(block.delta.at(this.#events++), text);
  }

  #begin(out: EventSink, kind: BlockKind): Block {
    if (this.#item?.holds(kind) && this.#item.length <= MAX_EARLY) this.#endBlock(out);
    else {
      this.#turn(out);
      this.#item = new SpeechItem(itemTypeOf(kind), this.#output.length, this.#stem());
      this.#add(out, this.#item, this.#item);
    }
    const block = this.#block = this.#item.begin(kind);
    this.write(out, `${block.names.partEvents}.added`, { ...block.place, part: block.part("") });
    return block;
  }

  #add(out: EventSink, item: Item, beginning: object): void {
    this.#output.push(item);
    this.#open.add(item);
    this.write(out, "response.output_item.added", { output_index: item.index, item: beginning });
  }

  /** The rest of the id of the next item. */
  #stem(): string {
    const { length } = this.#output;
    return length === 0 ? this.#streamId : `${this.#streamId}_${length}`;
  }

  protected callBegan(out: EventSink, call: ToolCall, fragment: string): void {
    this.#turn(out);
    const item = new CallItem(call, this.#output.length, this.#stem());
    this.#callItems.set(call, item);
    this.#add(out, item, item.beginning);
    this.callWent(out, call, fragment);
  }

  protected callWent(out: EventSink, call: ToolCall, fragment: string): void {
    if (fragment === "") return;
    const { place } = this.#callItems.get(call)!;
    this.write(out, "response.function_call_arguments.delta", { ...place, delta: fragment });
  }

  protected override other(
    out: EventSink,
    event: string | undefined,
    json: string,
    data: unknown,
  ): void {
    const annotation = event === "citation" ? annotationOf(data) : undefined;
    if (annotation === undefined) return;
    this.keep(utf8Length(json));
    const block = this.#block?.kind === "text" ? this.#block : this.#begin(out, "text");
    this.#item!.length += json.length;
    const annotation_index = block.annotations.push(annotation) - 1;
    const fields = { ...block.place, annotation_index, annotation };
    this.write(out, "response.output_text.annotation.added", fields);
  }

  /** Called when another item begins: ends those that cannot go on. */
  #turn(out: EventSink): void {
    this.#endBlockAtTurn(out);
    for (const item of this.#open) {
      const isOver = item instanceof SpeechItem || item.call.isComplete;
      if (isOver && item.length <= MAX_EARLY) this.#end(out, item, "completed");
    }
  }

  #endBlockAtTurn(out: EventSink): void {
    if (this.#item !== undefined && this.#item.length <= MAX_EARLY) this.#endBlock(out);
    this.#item = undefined;
    this.#block = undefined;
  }

  /** Ends a text. */
  #endBlock(out: EventSink, block: Block | undefined = this.#block): void {
    if (block === undefined) return;
    const { names: { events, partEvents }, place } = block;
    this.write(out, `${events}.done`, block.done);
    this.write(out, `${partEvents}.done`, { ...place, part: block.part() });
  }

  #end(out: EventSink, item: Item, status: ItemStatus): void {
    this.#open.delete(item);
    item.status = status;
    if (item instanceof CallItem) {
      const { place, arguments: json, call: { name } } = item;
      this.write(out, "response.function_call_arguments.done", { ...place, name, arguments: json });
    }
    this.write(out, "response.output_item.done", { output_index: item.index, item });
  }

  protected finish(out: EventSink, end: End): void {
    const isStopped = end.reason === "cancelled";
    const details = INCOMPLETE[finishKind(end, this.calls.length > 0)];
    const status = isStopped ? "cancelled" : details === undefined ? "completed" : "incomplete";
    for (const item of this.#open) {
      const isCall = item instanceof CallItem;
      // After a stop the open calls are not announced: the client would run them.
      if (isCall && isStopped) continue;
      if (!isCall) this.#endBlock(out, item.blocks.at(-1));
      const isWhole = status === "completed" || isCall && item.call.isComplete;
      this.#end(out, item, isWhole ? "completed" : "incomplete");
    }
    const output = this.#output.filter((item) => !this.#open.has(item));
    const incomplete_details = isStopped || details === undefined ? null : { reason: details };
    const state = { output, usage: usageFor(end), incomplete_details };
    this.conclude(
      out,
      status === "completed" ? "completed" : "incomplete",
      this.#response.as(status, state),
    );
  }

  /** Writes the response at its end. */
  protected conclude(out: EventSink, event: string, response: object): void {
    this.write(out, `response.${event}`, { response });
    out.data(DONE);
  }

  fail(out: EventSink, problem: Problem, { lastEvent }: Position): void {
    // A framer that saw no item counts from what its client has, as one whose last item was dropped.
    if (lastEvent > 0) this.#events = lastEvent;
    const { code, resume } = problem;
    const message = sentenceOf(problem);
    const fault = { code, message, param: null };
    const more = resume ? { resume } : {};
    this.write(out, "error", { ...fault, error: { type: code, ...fault }, ...more });
    for (const item of this.#open) item.status = "incomplete";
    const state = { output: this.#output, error: { code, message } };
    this.conclude(out, "failed", this.#response.as("failed", state));
  }

  #announce(out: EventSink, event: string, status: ResponseStatus): void {
    this.write(out, `response.${event}`, { response: this.#response.as(status) });
  }

  /** Writes an event under the name of its type. */
  protected write(out: EventSink, type: string, fields: object): void {
    const data = JSON.stringify({ type, ...fields, sequence_number: this.#events++ });
    out.event({ event: type, data });
  }
}

/** The response alone, at its end. */
class WholeResponse extends ResponseFramer {
  protected override writeToken(): void {}
  protected override write(): void {}
  protected override conclude(out: EventSink, _event: string, response: object): void {
    out.text(JSON.stringify(response));
  }
}

const DONE = "[DONE]";

/** Why a response that ended so is incomplete; the others are complete. */
const INCOMPLETE: Readonly<Partial<Record<FinishKind, string>>> = {
  length: "max_output_tokens",
  content_filter: "content_filter",
};

/** The annotation of a citation that has an address. */
function annotationOf(data: unknown): object | undefined {
  const cited = citedIn(data);
  const { url_citation = data } = Object(data);
  const { start_index, end_index } = Object(url_citation);
  const place = { start_index: indexOf(start_index), end_index: indexOf(end_index) };
  return cited && { type: "url_citation", title: "", ...cited, ...place };
}

/** A place in a text; clients refuse what is none. */
function indexOf(value: unknown): number {
  return Number.isSafeInteger(value) ? value as number : 0;
}

/**
 * Writes a sign of life that Codex takes for one, which counts no comments. It has the number of the
 * last event once more: it is not logged, and every reader counts alike.
 */
function heartbeatOf(model: string): NonNullable<Format["heartbeat"]> {
  return (out, position) => {
    const { streamId, lastEvent } = position;
    const events = lastEvent || (framers.get(position)?.events ?? 0);
    // Nothing may come before `response.created`.
    if (events === 0) return commentHeartbeat(out);
    const type = "response.in_progress";
    const identity = { id: responseId(streamId), object: "response", created_at: secondsNow() };
    const response = { ...identity, status: "in_progress", model, output: [] };
    out.event({
      event: type,
      data: JSON.stringify({ type, response, sequence_number: events - 1 }),
    });
  };
}

/** An error object whose members are all text, which `@ai-sdk/open-responses` requires. */
function errorBody(problem: Problem): string {
  return openaiErrorBody(problem, "");
}

function variant(options: ResponsesFormatOptions = {}): Format {
  const names = ["model", "buffered", "background", "request"];
  checkOptionNames("Cannot make the format", options, names);
  const { model = "spillway", buffered = false, background = false, request = {} } = options;
  if (typeof model !== "string") {
    throw new TypeError(`Cannot make the format: model is a ${typeof model}, not a string`);
  }
  if (!isObject(request)) throw new TypeError("Cannot make the format: request is no object");
  const init = { model, background, request };
  return buffered
    ? {
      ...documentFormat,
      name: "responses",
      errorBody,
      open: (context) => new WholeResponse(context, init),
    }
    : {
      ...eventStreamFormat,
      name: "responses",
      heartbeat: heartbeatOf(model),
      ids: false,
      lossless: true,
      errorBody,
      open: (context) => new ResponseFramer(context, init),
    };
}

/**
 * OpenAI's Responses format: `response.created`, an output item for each part with its deltas and its
 * end, `response.completed` with the whole output, `[DONE]`. A failure is `error` and
 * `response.failed`, or `{ error: { message, type, param, code } }` as the body of an error response
 * before the headers. A response that was cut off by length or by a filter ends in
 * `response.incomplete`; so does one that was stopped, with the status `cancelled`. All that is said
 * is kept until the end: a response may have up to 16 MiB.
 *
 * Each event has a `sequence_number` from 0, the same for every reader: with a log, a client comes back
 * by that number, and events have no ids. The id of the response is `resp_` and the stream id. A heartbeat
 * is `response.in_progress` with the last number once more.
 *
 * Text and a refusal become a `message`, reasoning a `reasoning` item with a summary, `tool_call` items
 * `function_call` items, and a citation with an address an annotation. Other structured items are
 * dropped, because its clients throw on events that they do not know. A finish reason of another API is
 * mapped to the one with the same meaning. The usage is the source's. Without it, `output_tokens` is what
 * Spillway counted and `input_tokens` is 0.
 *
 * The events that `relay` passes on are read as the items that they stand for.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sse } from "spillway";
 * import { responsesFormat } from "spillway/formats";
 *
 * const format = responsesFormat.with({ model: "parrot", buffered: true });
 * const response = await sse(new Request("http://localhost/"), ["Hel", "lo"], { format });
 * const { output, status } = await response.json();
 * assert(output[0].content[0].text === "Hello" && status === "completed");
 * ```
 */
export const responsesFormat: ResponsesFormat = { ...variant(), with: variant };
