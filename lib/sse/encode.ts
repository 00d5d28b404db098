/**
 * Encodes events to bytes. No other file spells a field name, and every format writes through this
 * one, so no text, name or id can forge a field (HTML Standard, section 9.2.6).
 */
import type { ServerSentEventInit } from "./event.ts";
import { BARE, ByteWriter, Constant, Escapes, type Frame, frameOf, jsonFrame } from "./utf8.ts";

const DATA_LINES = new Escapes((char) => (/[\r\n]/.test(char) ? "\ndata: " : undefined));
const COMMENT_LINES = new Escapes((char) => (/[\r\n]/.test(char) ? "\n: " : undefined));
/** The frame of an event with nothing but data. CRLF, CR and LF each begin a new data line. */
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
 * Prepares the event `{before}<string>{after}`, so that a token costs two copies and one escape.
 * Neither part may hold a line break.
 */
export function eventFrame(event: string | undefined, before: string, after: string): Frame {
  const name = event === undefined ? "" : `event: ${checkLine("event", event)}\n`;
  return jsonFrame(
    `${name}data: ${checkLine("data", before)}`,
    `${checkLine("data", after)}\n\n`,
  );
}

/** Writes events as bytes. What was written always ends between two events. */
export class EventWriter extends ByteWriter {
  /** The id line, if each event gets an id of its own. */
  #id: IdLine | undefined;
  /** The id line of all further events, if they get the same. */
  #mark: Constant | undefined;
  #hasIds = false;
  #events = 0;
  #retryMs: number | undefined;
  #hidesIds = false;

  /**
   * Counts each later event, and gives it `id: {streamId}.{sequence}` where `ids` says so; the first
   * one gets `retry` as well.
   */
  identify(streamId: string, retryMs: number | undefined, ids = true): void {
    this.#id = new IdLine(checkLine("id", streamId), this.#events);
    this.#retryMs = retryMs;
    this.#hidesIds = !ids;
    this.#hasIds = true;
  }

  /** Gives all further events the same id. */
  mark(id: string): void {
    this.#mark = new Constant(`id: ${checkLine("id", id)}\n`);
    this.#hasIds = true;
  }

  /** The sequence number of the last event that was written. */
  get events(): number {
    return this.#events;
  }

  /** Whether events have ids already: a second one would take their place. */
  get #givesIds(): boolean {
    return this.#mark !== undefined || (this.#id !== undefined && !this.#hidesIds);
  }

  /** Drops what was written after the first `length` bytes and after event number `events`. */
  rewind(length: number, events: number): void {
    this.truncate(length);
    this.#events = events;
    this.#id?.count(events);
  }

  /** Begins an event with its id. */
  #begin(): void {
    const id = this.#id;
    if (id === undefined) {
      if (this.#mark !== undefined) this.raw(this.#mark);
      return;
    }
    this.#events++;
    if (!this.#hidesIds) {
      id.next();
      this.raw(id.line);
    }
    if (this.#events === 1 && this.#retryMs !== undefined) {
      this.write(RETRY, String(this.#retryMs));
    }
  }

  /** Writes a token, or an event, in its frame. */
  frame(frame: Frame, text: string): void {
    if (this.#hasIds) this.#begin();
    this.write(frame, text);
  }

  /** Writes an event with nothing but data. */
  data(text: string): void {
    this.frame(DATA, text);
  }

  /** Writes a comment without a blank line after it: some clients take that for an event. */
  comment(text: string): void {
    if (text === "") this.raw(EMPTY_COMMENT);
    else this.write(COMMENT, text);
  }

  /**
   * Writes any event.
   *
   * @throws {TypeError} If a name or an id holds CR, LF or NUL, or a field is of the wrong type.
   * @throws {RangeError} If `retry` is not an integer from 100 to 60 000.
   */
  event(init: ServerSentEventInit): void {
    const { comment, id, retry, event, data } = init;
    // Everything is checked before the first byte: a rejected event leaves nothing behind.
    if (comment !== undefined) checkString("comment", comment);
    if (id !== undefined) checkLine("id", id);
    if (event !== undefined) checkLine("event", event);
    if (data !== undefined) checkString("data", data);
    if (retry !== undefined && !(Number.isInteger(retry) && retry >= 100 && retry <= 60_000)) {
      throw new RangeError("Cannot encode the event: retry is not an integer from 100 to 60000");
    }
    if (comment !== undefined) this.comment(comment);
    if (data !== undefined && this.#hasIds) this.#begin();
    if (id !== undefined && !this.#givesIds) this.write(ID, id);
    if (retry !== undefined) this.write(RETRY, String(retry));
    if (event !== undefined && event !== "") this.write(EVENT, event);
    if (data !== undefined) this.write(DATA, data);
    else if (id !== undefined || retry !== undefined || event) this.raw(LF);
  }
}

/**
 * The line `id: {stream}.{sequence}`. The number is counted up in place, digit by digit (benchmark
 * case: replay).
 */
class IdLine {
  readonly line: Constant;
  /** Offset of the sequence number in the line. */
  readonly #digits: number;

  /**
   * Creates the line for a stream.
   *
   * @param streamId ASCII only.
   */
  constructor(streamId: string, sequence: number) {
    // Room for as many digits as an integer can have.
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

function checkLine(name: string, value: unknown): string {
  const line = checkString(name, value);
  if (/[\r\n\0]/.test(line)) {
    throw new TypeError(`Cannot encode the event: ${name} holds a line break or NUL`);
  }
  return line;
}

function checkString(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw new TypeError(`Cannot encode the event: ${name} is a ${typeof value}, not a string`);
}

const single = new EventWriter();
const decoder = new TextDecoder();
const encoder = new TextEncoder();

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
