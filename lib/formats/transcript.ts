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
  /** The parts, in the order in which they began. */
  protected readonly parts: Part[] = [];

  token(_out: EventSink, text: string): void {
    this.#add("text", text);
  }

  protected reasoning(_out: EventSink, text: string): void {
    this.#add("reasoning", text);
  }

  protected callBegan(_out: EventSink, call: ToolCall): void {
    this.parts.push({ kind: "call", call });
  }

  protected callWent(): void {}

  /** The text of all parts of one kind, joined. */
  protected joined(kind: BlockKind): string {
    return this.parts.map((part) => part.kind === kind ? part.text : "").join("");
  }

  #add(kind: BlockKind, text: string): void {
    this.keep(utf8Length(text));
    const last = this.parts.at(-1);
    if (last?.kind === kind) last.text += text;
    else {
      this.keep(PART_BYTES);
      this.parts.push({ kind, text });
    }
  }
}

/** The memory of a part beside its text, in bytes: an estimate. */
const PART_BYTES = 64;
