/**
 * Writes the events of OpenAI's Responses API, in their order. Separate from the format because that says
 * what is chosen and how it begins, and here is what follows from each item.
 */
import type { Problem } from "../error.ts";
import { type FinishKind, finishKind, sentenceOf } from "./finish.ts";
import type { End, EventSink, FormatContext, Position } from "./format.ts";
import { citedIn, PartFramer } from "./parts.ts";
import {
  type Block,
  type BlockKind,
  CallItem,
  type ItemStatus,
  itemTypeOf,
  ownItem,
  REDACTED,
  SpeechItem,
  toolKinds,
  type WholeItem,
} from "./responses_items.ts";
import {
  type ResponseInit,
  ResponseObject,
  type ResponseStatus,
  usageFor,
} from "./responses_object.ts";
import type { ToolCall } from "./tool_calls.ts";
import { isObject, utf8Length } from "../values.ts";

type Item = SpeechItem | CallItem;

/**
 * An item ends where another begins if it has no more than so many UTF-16 units; a longer one ends with
 * the response. Its text is in three of the events of its end, and what one item of the source makes
 * may have 1 MiB.
 */
const MAX_EARLY = 32 * 1024;
/** Writes a response as events. */
export class ResponseFramer extends PartFramer {
  readonly #response: ResponseObject;
  readonly #background: boolean;
  /** Whether the client wants what only the model that has thought it can read. */
  readonly #wantsEncrypted: boolean;
  readonly #toolKinds: readonly string[];
  readonly #streamId: string;
  /** Number of events so far, each with the number before as its `sequence_number`. */
  #events = 0;
  readonly #output: object[] = [];
  /** The items that have not ended, in their order. */
  readonly #open = new Set<Item>();
  /** Those of them that are calls with whole arguments, since the last turn. */
  readonly #completeCalls = new Set<CallItem>();
  readonly #callItems = new Map<ToolCall, CallItem>();
  /** The text that goes on. */
  #block: Block | undefined;
  #item: SpeechItem | undefined;

  constructor(context: FormatContext, init: ResponseInit) {
    super(`call_${context.streamId}`);
    this.#response = new ResponseObject(context, init);
    this.#background = init.background;
    const { include } = init.request;
    this.#toolKinds = toolKinds(init.request);
    this.#wantsEncrypted = Array.isArray(include) && include.includes(ENCRYPTED);
    this.#streamId = context.streamId;
  }

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
    else this.#beginItem(out, itemTypeOf(kind));
    const block = this.#block = this.#item!.begin(kind);
    this.write(out, `${block.names.partEvents}.added`, { ...block.place, part: block.part("") });
    return block;
  }

  #beginItem(out: EventSink, type: SpeechItem["type"]): void {
    this.#turn(out);
    this.#item = new SpeechItem(type, this.#output.length, this.#stem());
    this.#add(out, this.#item, this.#item);
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
    const item = this.#callItems.get(call)!;
    this.write(out, `${item.events}.delta`, { ...item.place, delta: fragment });
    if (call.isComplete) this.#completeCalls.add(item);
  }

  #addWhole(out: EventSink, { added, done }: WholeItem): void {
    const output_index = this.#output.push(done) - 1;
    this.write(out, "response.output_item.added", { output_index, item: added });
    this.write(out, "response.output_item.done", { output_index, item: done });
  }

  protected override signed(out: EventSink, signature: string): void {
    if (this.#wantsEncrypted) this.#seal(out, signature);
  }

  protected override redacted(out: EventSink, thought: string): void {
    if (!this.#wantsEncrypted) return;
    this.#turn(out);
    this.#seal(out, `${REDACTED}${thought}`);
  }

  /** Ends an item of reasoning with what only its model can read; one of its own if none is open. */
  #seal(out: EventSink, encrypted: string): void {
    this.keep(encrypted.length);
    if (this.#item?.type !== "reasoning") this.#beginItem(out, "reasoning");
    const item = this.#item!;
    item.encrypted = encrypted;
    item.length += encrypted.length;
    this.#turn(out);
  }

  protected override other(
    out: EventSink,
    event: string | undefined,
    json: string,
    data: unknown,
  ): void {
    const annotation = event === "citation" ? annotationOf(data) : undefined;
    const own = ownItem(event, data, { kinds: this.#toolKinds, stem: this.#stem() });
    if (annotation !== undefined || own !== undefined) this.keep(utf8Length(json));
    if (own !== undefined) {
      this.#turn(out);
      this.#addWhole(out, own);
    }
    if (annotation === undefined) return;
    const block = this.#block?.kind === "text" ? this.#block : this.#begin(out, "text");
    this.#item!.length += json.length;
    const annotation_index = block.annotations.push(annotation) - 1;
    const fields = { ...block.place, annotation_index, annotation };
    this.write(out, "response.output_text.annotation.added", fields);
  }

  /** Called when another item begins: ends those that cannot go on. */
  #turn(out: EventSink): void {
    const item = this.#item;
    if (item !== undefined && item.length <= MAX_EARLY) {
      this.#endBlock(out);
      this.#end(out, item, "completed");
    }
    this.#item = undefined;
    this.#block = undefined;
    for (const call of this.#completeCalls) {
      if (call.length <= MAX_EARLY) this.#end(out, call, "completed");
    }
    this.#completeCalls.clear();
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
    if (item instanceof CallItem) this.write(out, `${item.events}.done`, item.done);
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
      const block = isCall ? undefined : item.blocks.at(-1);
      if (block !== undefined) this.#endBlock(out, block);
      const isWhole = status === "completed" || isCall && item.call.isComplete;
      this.#end(out, item, isWhole ? "completed" : "incomplete");
    }
    const open: ReadonlySet<object> = this.#open;
    const output = this.#output.filter((item) => !open.has(item));
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

/** Writes the response alone, at its end. */
export class WholeResponse extends ResponseFramer {
  protected override writeToken(): void {}
  protected override write(): void {}
  protected override conclude(out: EventSink, _event: string, response: object): void {
    out.text(JSON.stringify(response));
  }
}

const DONE = "[DONE]";
/** How a request asks for what only the model that has thought it can read. */
const ENCRYPTED = "reasoning.encrypted_content";

/** Why a response that ended so is incomplete; the others are complete. */
const INCOMPLETE: Readonly<Partial<Record<FinishKind, string>>> = {
  length: "max_output_tokens",
  content_filter: "content_filter",
};

/** The annotation that a citation is: of an address, or as the API itself has those of files. */
function annotationOf(data: unknown): object | undefined {
  const cited = citedIn(data);
  const { url_citation = data, type } = Object(data);
  const { start_index, end_index } = Object(url_citation);
  const place = { start_index: indexOf(start_index), end_index: indexOf(end_index) };
  if (cited !== undefined) return { type: "url_citation", title: "", ...cited, ...place };
  return isObject(data) && FILE_ANNOTATION.test(String(type)) ? data : undefined;
}

/** A place in a text; clients refuse what is none. */
function indexOf(value: unknown): number {
  return Number.isSafeInteger(value) ? value as number : 0;
}

const FILE_ANNOTATION = /^(?:container_)?file_(?:citation|path)$/;
