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
  /** What only the model that has thought it can read, if the client has asked for it. */
  encrypted: string | undefined;
  /** UTF-16 units of all that. */
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
    const { id, type, status, encrypted } = this;
    const parts = this.blocks.map((block) => block.part());
    if (type === "message") return { id, type, status, role: "assistant", content: parts };
    const sealed = encrypted === undefined ? {} : { encrypted_content: encrypted };
    return { id, type, status, summary: parts, ...sealed };
  }
}

/** The type of item that holds a kind of text. */
export function itemTypeOf(kind: BlockKind): SpeechItem["type"] {
  return KINDS[kind].item;
}

/** How a call is named on the wire. */
interface CallNames {
  readonly type: string;
  /** What its id begins with. */
  readonly prefix: string;
  /** Its events; `.delta` and `.done` follow. */
  readonly events: string;
  /** Its field with the arguments. */
  readonly field: string;
}

const FUNCTION: CallNames = {
  type: "function_call",
  prefix: "fc",
  events: "response.function_call_arguments",
  field: "arguments",
};
const CUSTOM: CallNames = {
  type: "custom_tool_call",
  prefix: "ctc",
  events: "response.custom_tool_call_input",
  field: "input",
};

/** A call of a function or of a custom tool. */
export class CallItem {
  readonly id: string;
  readonly index: number;
  readonly call: ToolCall;
  readonly #names: CallNames;
  status: ItemStatus = "in_progress";

  constructor(call: ToolCall, index: number, stem: string) {
    this.call = call;
    this.index = index;
    this.#names = call.isCustom ? CUSTOM : FUNCTION;
    this.id = `${this.#names.prefix}_${stem}`;
  }

  get length(): number {
    return this.call.arguments.length;
  }

  /** The name of its events; `.delta` and `.done` follow. */
  get events(): string {
    return this.#names.events;
  }

  /** Where it is, as its events say. */
  get place(): { item_id: string; output_index: number } {
    return { item_id: this.id, output_index: this.index };
  }

  /** The fields of its `.done` event. */
  get done(): object {
    const name = this.#names === FUNCTION ? { name: this.call.name } : {};
    return { ...this.place, ...name, [this.#names.field]: this.#arguments };
  }

  /** The item as it begins. */
  get beginning(): object {
    return { ...this.toJSON(), [this.#names.field]: "" };
  }

  toJSON(): object {
    const { call: { id, name, extra }, status } = this;
    const { type, field } = this.#names;
    const item = { id: this.id, type, status, [field]: this.#arguments };
    return { ...item, call_id: id, name, ...membersOf(extra) };
  }

  /** The arguments so far; a call of a function that has ended without any has an empty object. */
  get #arguments(): string {
    const { arguments: json } = this.call;
    const isEmpty = this.#names === FUNCTION && json.trim() === "";
    return isEmpty && this.status !== "in_progress" ? "{}" : json;
  }
}

/** An item that comes whole. */
export interface WholeItem {
  /** The item as it begins, and as it ends. */
  readonly added: object;
  readonly done: object;
}

/** The kinds of tools that a request names, without the names of their previews. */
export function toolKinds({ tools }: Readonly<Record<string, unknown>>): readonly string[] {
  return Array.isArray(tools)
    ? tools.map((tool) => String(Object(tool).type).replace(/_preview.*/, ""))
    : [];
}

/**
 * What the API's own servers have made, an item of theirs or a picture, if the data is that. A client that
 * has not named the tool takes it for a call of a tool that it does not have.
 */
export function ownItem(
  event: string | undefined,
  data: unknown,
  { kinds, stem }: { kinds: readonly string[]; stem: string },
): WholeItem | undefined {
  const { output_item: item, mediaType, base64 } = Object(data);
  const isNamed = (type: unknown) => kinds.some((kind) => String(type).startsWith(`${kind}_`));
  if (event === "delta" && isNamed(Object(item).type)) return { added: item, done: item };
  const [, format] = /^image\/(\w+)/.exec(String(mediaType)) ?? [];
  const image = { id: `ig_${stem}`, type: "image_generation_call", output_format: format };
  if (event !== "file" || !isNamed(image.type) || format === undefined) return undefined;
  if (typeof base64 !== "string") return undefined;
  return {
    added: { ...image, status: "in_progress", result: null },
    done: { ...image, status: "completed", result: base64 },
  };
}

/** Stands before what another API than this one has encrypted of a thought, in place of its text. */
export const REDACTED = "redacted:";

/** Members beside a call, which the client returns with it. Those of its function have no place. */
function membersOf({ function: _function, ...members }: Extra = {}): Extra {
  return members;
}
