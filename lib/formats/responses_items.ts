/**
 * The output items of OpenAI's Responses API: messages, reasoning, calls. Separate from the format
 * because here is what an item holds, and there when its events are written.
 */
import type { Extra } from "./parts.ts";
import { NumberedFrame } from "../sse/numbered_frame.ts";
import type { ToolCall } from "./tool_calls.ts";

/** Whether an item has all that it was to have. */
export type ItemStatus = "in_progress" | "completed" | "incomplete";

/** The kinds of text in an item. */
export type BlockKind = "text" | "refusal" | "reasoning";

/** How the text of a kind is named on the wire. */
interface KindNames {
  /** The kind of item that holds it. */
  readonly item: "message" | "reasoning";
  /** Its events; `.delta` and `.done` follow. */
  readonly events: string;
  /** The events of the part that it is; `.added` and `.done` follow. */
  readonly partEvents: string;
  /** The field with the place of the part in its item. */
  readonly index: string;
  /** The type of the part, and its field with the text. */
  readonly type: string;
  readonly field: string;
}

const KINDS: Readonly<Record<BlockKind, KindNames>> = {
  text: {
    item: "message",
    events: "response.output_text",
    partEvents: "response.content_part",
    index: "content_index",
    type: "output_text",
    field: "text",
  },
  refusal: {
    item: "message",
    events: "response.refusal",
    partEvents: "response.content_part",
    index: "content_index",
    type: "refusal",
    field: "refusal",
  },
  reasoning: {
    item: "reasoning",
    events: "response.reasoning_summary_text",
    partEvents: "response.reasoning_summary_part",
    index: "summary_index",
    type: "summary_text",
    field: "text",
  },
};

/**
 * So many tokens are joined at once: a token is a slice of the chunk that it came in and keeps all of
 * that, and what is made by `+=` keeps each piece.
 */
const JOINED_TOKENS = 1024;

/** One text of an item. */
export class Block {
  readonly kind: BlockKind;
  readonly names: KindNames;
  /** Where it is, as its events say. */
  readonly place: Readonly<Record<string, unknown>>;
  /** Its citations. */
  readonly annotations: object[] = [];
  #text = "";
  #tokens: string[] = [];
  #delta: NumberedFrame | undefined;

  constructor(kind: BlockKind, { id, index, blocks }: SpeechItem) {
    this.kind = kind;
    this.names = KINDS[kind];
    this.place = { item_id: id, output_index: index, [this.names.index]: blocks.length };
  }

  /** The frame of a further token. */
  get delta(): NumberedFrame {
    return this.#delta ??= this.#deltaFrame();
  }

  #deltaFrame(): NumberedFrame {
    const event = `${this.names.events}.delta`;
    const fields = JSON.stringify({ type: event, ...this.place }).slice(0, -1);
    const between = `"${this.kind === "text" ? ',"logprobs":[]' : ""},"sequence_number":`;
    return new NumberedFrame(event, `${fields},"delta":"`, between, "}");
  }

  add(token: string): void {
    if (this.#tokens.push(token) >= JOINED_TOKENS) this.#join();
  }

  get text(): string {
    this.#join();
    return this.#text;
  }

  /** The fields of its `.done` event. */
  get done(): object {
    const text = { [this.names.field]: this.text };
    return { ...this.place, ...text, ...this.kind === "text" ? { logprobs: [] } : {} };
  }

  /** The part that it is; `text` in place of its own. */
  part(text: string = this.text): object {
    const { type, field } = this.names;
    const { annotations } = this;
    const more = this.kind === "text" ? { annotations, logprobs: [] } : {};
    return { type, [field]: text, ...more };
  }

  #join(): void {
    if (this.#tokens.length === 0) return;
    this.#text += this.#tokens.join("");
    this.#tokens = [];
  }
}

/** A message or reasoning: an item of texts, of which the last one may go on. */
export class SpeechItem {
  readonly id: string;
  /** Its place in the output. */
  readonly index: number;
  readonly type: "message" | "reasoning";
  readonly blocks: Block[] = [];
  /** UTF-16 units of its texts. */
  length = 0;
  status: ItemStatus = "in_progress";

  constructor(type: SpeechItem["type"], index: number, stem: string) {
    this.type = type;
    this.index = index;
    this.id = `${type === "message" ? "msg" : "rs"}_${stem}`;
  }

  /** Whether a text of this kind may be in it. */
  holds(kind: BlockKind): boolean {
    return KINDS[kind].item === this.type;
  }

  /** Begins a further text. */
  begin(kind: BlockKind): Block {
    const block = new Block(kind, this);
    this.blocks.push(block);
    return block;
  }

  toJSON(): object {
    const { id, type, status } = this;
    const parts = this.blocks.map((block) => block.part());
    return type === "message"
      ? { id, type, status, role: "assistant", content: parts }
      : { id, type, status, summary: parts };
  }
}

/** The type of item that holds a kind of text. */
export function itemTypeOf(kind: BlockKind): SpeechItem["type"] {
  return KINDS[kind].item;
}

/** A call of a function. */
export class CallItem {
  readonly id: string;
  readonly index: number;
  readonly call: ToolCall;
  status: ItemStatus = "in_progress";

  constructor(call: ToolCall, index: number, stem: string) {
    this.call = call;
    this.index = index;
    this.id = `fc_${stem}`;
  }

  get length(): number {
    return this.call.arguments.length;
  }

  /** Where it is, as its events say. */
  get place(): { item_id: string; output_index: number } {
    return { item_id: this.id, output_index: this.index };
  }

  /** The arguments so far; a call that has ended without any has an empty object. */
  get arguments(): string {
    const { arguments: json } = this.call;
    return this.status !== "in_progress" && json.trim() === "" ? "{}" : json;
  }

  /** The item as it begins. */
  get beginning(): object {
    return { ...this.toJSON(), arguments: "" };
  }

  toJSON(): object {
    const { call: { id, name, extra }, status } = this;
    const item = { id: this.id, type: "function_call", status, arguments: this.arguments };
    return { ...item, call_id: id, name, ...membersOf(extra) };
  }
}

/** Members beside a call, which the client returns with it. Those of its function have no place. */
function membersOf({ function: _function, ...members }: Extra = {}): Extra {
  return members;
}
