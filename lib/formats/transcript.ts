/**
 * A response that is kept until its end, for formats that are one document. Separate from the
 * streaming framers because its memory grows with the response and is bounded here.
 */
import { type BlockKind, PartFramer } from "./parts.ts";
import type { EventSink } from "./format.ts";
import type { ToolCall } from "./tool_calls.ts";
import { utf8Length } from "../values.ts";

/** Neighbouring tokens of one kind. */
export interface TextPart {
  readonly kind: BlockKind;
  text: string;
  /** The signature of reasoning, and nothing of it goes on behind it. */
  signature?: string;
  /** A thought that only its own API can read, in place of a text. */
  readonly redacted?: string;
  /** Citations of a text, in the words of the format. */
  citations?: unknown[];
}

/** A part of the response: tokens, a tool call, or what only the format knows. */
export type Part =
  | TextPart
  | { readonly kind: "call"; readonly call: ToolCall }
  | { readonly kind: "own"; readonly value: unknown };

/**
 * Collects the parts and writes nothing; subclasses write their document in `finish`. Text, reasoning
 * and arguments may have 16 MiB of UTF-8 together; past that the stream fails with
 * `answer_too_large`.
 */
export abstract class Transcript extends PartFramer {
  readonly #parts: Part[] = [];
  /** Tokens that belong to the last part. */
  #tokens: string[] = [];

  /** The parts, in the order in which they began. */
  protected get parts(): readonly Part[] {
    this.#settle();
    return this.#parts;
  }

  token(_out: EventSink, text: string): void {
    this.#add("text", text);
  }

  protected reasoning(_out: EventSink, text: string): void {
    this.#add("reasoning", text);
  }

  protected callBegan(_out: EventSink, call: ToolCall): void {
    this.#settle();
    this.#parts.push({ kind: "call", call });
  }

  protected callWent(): void {}

  protected override signed(_out: EventSink, signature: string): void {
    this.keep(utf8Length(signature));
    this.#textPart("reasoning").signature = signature;
  }

  protected override redacted(_out: EventSink, thought: string): void {
    this.keep(PART_BYTES + utf8Length(thought));
    this.#settle();
    this.#parts.push({ kind: "reasoning", text: "", redacted: thought });
  }

  /** Adds what only the format knows. */
  protected addOwn(value: unknown): void {
    this.#settle();
    this.#parts.push({ kind: "own", value });
  }

  /** Adds a citation to the text that is open. */
  protected cite(citation: unknown): void {
    (this.#textPart("text").citations ??= []).push(citation);
  }

  /** The text of all parts of one kind, joined. */
  protected joined(kind: BlockKind): string {
    return this.parts.map((part) => part.kind === kind ? part.text : "").join("");
  }

  #add(kind: BlockKind, text: string): void {
    this.keep(utf8Length(text));
    this.#textPart(kind);
    if (this.#tokens.push(text) >= JOINED_TOKENS) this.#settle();
  }

  /** The last part, if tokens of this kind go on in it; else a new one. */
  #textPart(kind: BlockKind): TextPart {
    const last = this.#parts.at(-1);
    if (last !== undefined && last.kind === kind) {
      const isClosed = last.signature !== undefined || last.redacted !== undefined;
      if (!isClosed) return last;
    }
    this.keep(PART_BYTES);
    this.#settle();
    const part = { kind, text: "" };
    this.#parts.push(part);
    return part;
  }

  /** Joins the tokens to the last part. */
  #settle(): void {
    const last = this.#parts.at(-1);
    if (last === undefined || !("text" in last) || this.#tokens.length === 0) return;
    last.text += this.#tokens.join("");
    this.#tokens = [];
  }
}

/**
 * So many tokens are joined at once: a token is a slice of the chunk that it came in and keeps all of
 * that, and what is made by `+=` keeps each piece.
 */
const JOINED_TOKENS = 1024;
/** The memory of a part beside its text, in bytes: an estimate. */
const PART_BYTES = 64;
