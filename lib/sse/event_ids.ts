/**
 * The ids of the events of one stream. Separate from the encoder so that they are in a program only
 * with a log.
 */
import { Constant } from "./utf8.ts";

const ZERO = 0x30;
const NINE = 0x39;
const LF = 0x0a;

/**
 * The line `id: {stream}.{sequence}`. The number is counted up in place, digit by digit (benchmark
 * case: replay).
 */
export class EventIds {
  readonly line: Constant;
  /** The reconnection time, which the first event carries. */
  readonly retry: Constant;
  /** Whether events are counted and show no id. */
  readonly isHidden: boolean;
  /** Offset of the sequence number in the line. */
  readonly #digits: number;

  /**
   * Creates the ids of a stream, before its first event.
   *
   * @param streamId `A-Z a-z 0-9 _ -` only.
   */
  constructor(streamId: string, retryMs: number | undefined, isHidden: boolean) {
    // Room for as many digits as an integer can have.
    this.line = new Constant(`id: ${streamId}.${Number.MAX_SAFE_INTEGER}\n`);
    this.retry = new Constant(retryMs === undefined ? "" : `retry: ${retryMs}\n`);
    this.isHidden = isHidden;
    this.#digits = "id: .".length + streamId.length;
    this.count(0);
  }

  /** Moves the line to the next event. */
  next(): void {
    const { line } = this;
    const { bytes } = line;
    let at = line.length - 2;
    while (bytes[at] === NINE) at--;
    if (at < this.#digits) return this.count(10 ** (line.length - 1 - this.#digits));
    bytes[at++]!++;
    while (at < line.length - 1) bytes[at++] = ZERO;
  }

  /** Moves the line to an event. */
  count(sequence: number): void {
    const { line } = this;
    let at = this.#digits;
    for (const digit of String(sequence)) line.bytes[at++] = digit.charCodeAt(0);
    line.bytes[at++] = LF;
    line.length = at;
  }
}
