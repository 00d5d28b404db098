/**
 * Text with a number in it that is counted up in place. Separate from the encoder because only ids and
 * formats that number their events need it.
 */
import { Constant } from "./utf8.ts";
import { utf8Length } from "../values.ts";

const ZERO = 0x30;
const NINE = 0x39;

/** `{before}{number}{after}`, digit by digit (benchmark case: replay). */
export class CountedText {
  readonly line: Constant;
  /** Offset of the number in the line. */
  #digits: number;
  readonly #after: string;

  /**
   * Makes the text with the number 0.
   *
   * @param after ASCII only.
   */
  constructor(before: string, after: string) {
    // Room for as many digits as an integer can have.
    this.line = new Constant(`${before}${Number.MAX_SAFE_INTEGER}${after}`);
    this.#digits = utf8Length(before);
    this.#after = after;
    this.count(0);
  }

  /** Moves to the next number. */
  next(): void {
    const { line } = this;
    const { bytes } = line;
    const end = line.length - this.#after.length;
    let at = end - 1;
    while (bytes[at] === NINE) at--;
    if (at < this.#digits) return this.count(10 ** (end - this.#digits));
    bytes[at++]!++;
    while (at < end) bytes[at++] = ZERO;
  }

  /** Moves to a number. */
  count(number: number): void {
    const { line } = this;
    const { bytes } = line;
    let end = this.#digits + 1;
    for (let rest = number; rest >= 10; rest /= 10) end++;
    for (let at = end, rest = number; at > this.#digits; rest = Math.floor(rest / 10)) {
      bytes[--at] = ZERO + rest % 10;
    }
    line.length = end + put(bytes, end, this.#after);
  }

  /** Puts another text before the number, after its first `kept` bytes; no longer than the first. */
  rename(kept: number, text: string, number: number): void {
    this.#digits = kept + put(this.line.bytes, kept, text);
    this.count(number);
  }
}

/** Writes ASCII text to `at`, and returns its length. */
function put(bytes: Uint8Array, at: number, text: string): number {
  const { length } = text;
  for (let i = 0; i < length; i++) bytes[at + i] = text.charCodeAt(i);
  return length;
}
