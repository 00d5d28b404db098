/**
 * A response that is kept until its end, for formats that are one document. Separate from the
 * streaming framers because its memory grows with the response and is bounded here.
 */
import { type BlockKind, PartFramer } from "./parts.ts";
import type { EventSink } from "./format.ts";
import type { ToolCall } from "./tool_calls.ts";
import { utf8Length } from "../values.ts";

/** A part of the response: neighbouring tokens of one kind, or a tool call. */
export type Part =
  | { readonly kind: BlockKind; text: string }
  | { readonly kind: "call"; readonly call: ToolCall };

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

  /** The text of all parts of one kind, joined. */
  protected joined(kind: BlockKind): string {
    return this.parts.map((part) => part.kind === kind ? part.text : "").join("");
  }

  #add(kind: BlockKind, text: string): void {
    this.keep(utf8Length(text));
    if (this.#parts.at(-1)?.kind !== kind) {
      this.keep(PART_BYTES);
      this.#settle();
      this.#parts.push({ kind, text: "" });
    }
    if (this.#tokens.push(text) >= JOINED_TOKENS) this.#settle();
  }

  /** Joins the tokens to the last part. */
  #settle(): void {
    const last = this.#parts.at(-1);
    if (last === undefined || last.kind === "call" || this.#tokens.length === 0) return;
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
