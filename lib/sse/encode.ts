/**
 * Events to bytes, and the only place that spells a field name. Every format writes through it, so
 * no text, name or id can forge a field (HTML Standard, section 9.2.6).
 */
import type { ServerSentEventInit } from "./event.ts";
import { BARE, ByteWriter, Constant, Escapes, type Frame, frameOf, jsonFrame } from "./utf8.ts";

const DATA_LINES = new Escapes((char) => (/[\r\n]/.test(char) ? "\ndata: " : undefined));
const COMMENT_LINES = new Escapes((char) => (/[\r\n]/.test(char) ? "\n: " : undefined));
/** An event of nothing but data. CRLF, CR and LF each begin a new data line. */
export const DATA: Frame = frameOf("data: ", DATA_LINES, "\n\n");
const EVENT = frameOf("event: ", BARE.escapes, "\n");
const ID = frameOf("id: ", BARE.escapes, "\n");
const RETRY = frameOf("retry: ", BARE.escapes, "\n");
const COMMENT = frameOf(": ", COMMENT_LINES, "\n");
const EMPTY_COMMENT = new Constant(":\n");
const LF = new Constant("\n");
const ZERO = 0x30;
const NINE = 0x39;
const LF_BYTE = 0x0a;

/**
 * Prepares an event `{before}<string>{after}`, so that a token costs two copies and one escape.
 * Neither part may hold a line break.
 */
export function eventFrame(event: string | undefined, before: string, after: string): Frame {
  const name = event === undefined ? "" : `event: ${checkLine("event", event)}\n`;
  return jsonFrame(
    `${name}data: ${checkLine("data", before)}`,
    `${checkLine("data", after)}\n\n`,
  );
}

/** Writes events as bytes. What it has written always ends between two events. */
export class EventWriter extends ByteWriter {
  /** Where each event gets an id of its own. */
  #id: IdLine | undefined;
  #events = 0;
  #retryMs: number | undefined;

  /** From now on each event carries `id: {streamId}.{sequence}`, and the first one `retry`. */
  identify(streamId: string, retryMs: number | undefined): void {
    this.#id = new IdLine(checkLine("id", streamId), this.#events);
    this.#retryMs = retryMs;
  }

  /** The sequence number of the last event that was written. */
  get events(): number {
    return this.#events;
  }

  /** Forgets what was written after the first `length` bytes, and after event number `events`. */
  rewind(length: number, events: number): void {
    this.truncate(length);
    this.#events = events;
    this.#id?.count(events);
  }

  /** Begins an event with its id. */
  #begin(id: IdLine): void {
    this.#events++;
    id.next();
    this.raw(id.line);
    if (this.#events === 1 && this.#retryMs !== undefined) {
      this.write(RETRY, String(this.#retryMs));
    }
  }

  /** A token, or an event, in its frame. */
  frame(frame: Frame, text: string): void {
    if (this.#id !== undefined) this.#begin(this.#id);
    this.write(frame, text);
  }

  /** An event of nothing but data. */
  data(text: string): void {
    this.frame(DATA, text);
  }

  /** A comment without a blank line after it: some clients take that for an event. */
  comment(text: string): void {
    if (text === "") this.raw(EMPTY_COMMENT);
    else this.write(COMMENT, text);
  }

  /**
   * Any event.
   *
   * @throws {TypeError} If a name or an id holds CR, LF or NUL, or a field is of the wrong type.
   * @throws {RangeError} If `retry` is not an integer from 100 to 60 000.
   */
  event(init: ServerSentEventInit): void {
    const { comment, id, retry, event, data } = init;
    checkFields(comment, id, retry, event, data);
    if (comment !== undefined) this.comment(comment);
    if (data !== undefined && this.#id !== undefined) this.#begin(this.#id);
    if (id !== undefined) this.write(ID, id);
    if (retry !== undefined) this.write(RETRY, String(retry));
    if (event !== undefined && event !== "") this.write(EVENT, event);
    if (data !== undefined) this.write(DATA, data);
    else if (id !== undefined || retry !== undefined || event) this.raw(LF);
  }
}

/**
 * Events that were written without an id, as the ones that tell of a stream's loss after number `after`. Their
 * ids say so: the process that is lost may have given a reader another event of that number. Answers how
 * many they are, too.
 */
export function numberLost(
  events: string,
  streamId: string,
  after: number,
): { text: string; count: number } {
  const blocks = events.split("\n\n").slice(0, -1);
  const numbered = blocks.map((block, i) => `id: ${streamId}.${after + 1 + i}.lost\n${block}\n\n`);
  return { text: numbered.join(""), count: blocks.length };
}

/** `id: {stream}.{sequence}`, and its line break: counted up as it stands, digit by digit (benchmark case: replay). */
class IdLine {
  readonly line: Constant;
  /** Where the sequence number begins. */
  readonly #digits: number;

  /** @param streamId ASCII alone. */
  constructor(streamId: string, sequence: number) {
    // Room for as many digits as an integer has.
    this.line = new Constant(`id: ${streamId}.${Number.MAX_SAFE_INTEGER}\n`);
    this.#digits = "id: .".length + streamId.length;
    this.count(sequence);
  }

  next(): void {
    const { line } = this;
    const { bytes } = line;
    let at = line.length - 2;
    while (bytes[at] === NINE) at--;
    if (at < this.#digits) return this.count(10 ** (line.length - 1 - this.#digits));
    bytes[at++]!++;
    while (at < line.length - 1) bytes[at++] = ZERO;
  }

  count(sequence: number): void {
    const { line } = this;
    let at = this.#digits;
    for (const digit of String(sequence)) line.bytes[at++] = digit.charCodeAt(0);
    line.bytes[at++] = LF_BYTE;
    line.length = at;
  }
}

/** All checks come before the first byte: a refused event leaves nothing behind. */
function checkFields(
  comment: unknown,
  id: unknown,
  retry: unknown,
  event: unknown,
  data: unknown,
): void {
  if (id !== undefined) checkLine("id", id);
  if (event !== undefined) checkLine("event", event);
  for (const [name, value] of [["comment", comment], ["data", data]] as const) {
    if (value !== undefined && typeof value !== "string") {
      throw new TypeError(`Cannot encode the event: ${name} is a ${typeof value}, not a string`);
    }
  }
  if (retry === undefined) return;
  if (!Number.isInteger(retry) || Number(retry) < 100 || Number(retry) > 60_000) {
    throw new RangeError("Cannot encode the event: retry is not an integer from 100 to 60000");
  }
}

function checkLine(name: string, value: unknown): string {
  if (typeof value !== "string") {
    throw new TypeError(`Cannot encode the event: ${name} is a ${typeof value}, not a string`);
  }
  if (/[\r\n\0]/.test(value)) {
    throw new TypeError(`Cannot encode the event: ${name} holds a line break or NUL`);
  }
  return value;
}

const single = new EventWriter();
const decoder = new TextDecoder();

/**
 * One event as text, ready to be sent as UTF-8.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { encodeEvent } from "spillway";
 *
 * assert(encodeEvent({ event: "note", data: "a\nb" }) === "event: note\ndata: a\ndata: b\n\n");
 * ```
 *
 * @throws {TypeError} If a name or an id holds CR, LF or NUL, or a field is of the wrong type.
 * @throws {RangeError} If `retry` is not an integer from 100 to 60 000.
 */
export function encodeEvent(init: ServerSentEventInit): string {
  single.event(init);
  return decoder.decode(single.take());
}
