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
  readonly #digits: number;
  /** Number of bytes after it. */
  readonly #after: number;

  /** Makes the text with the number 0. */
  constructor(before: string, after: string) {
    // Room for as many digits as an integer can have.
    this.line = new Constant(`${before}${Number.MAX_SAFE_INTEGER}${after}`);
    this.#digits = utf8Length(before);
    this.#after = utf8Length(after);
    this.count(0);
  }

  /** Moves to the next number. */
  next(): void {
    const { line } = this;
    const { bytes } = line;
    const end = line.length - this.#after;
    let at = end - 1;
    while (bytes[at] === NINE) at--;
    if (at < this.#digits) return this.count(10 ** (end - this.#digits));
    bytes[at++]!++;
    while (at < end) bytes[at++] = ZERO;
  }

  /** Moves to a number. */
  count(number: number): void {
    const { line } = this;
    const digits = String(number);
    const end = this.#digits + digits.length;
    line.bytes.copyWithin(end, line.length - this.#after, line.length);
    let at = this.#digits;
    for (const digit of digits) line.bytes[at++] = digit.charCodeAt(0);
    line.length = end + this.#after;
  }
}
