/**
 * Encodes events to bytes. No other file spells a field name, and every format writes through this
 * one, so no text, name or id can forge a field (HTML Standard, section 9.2.6).
 */
import type { EventIds } from "./event_ids.ts";
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
  /** The ids of events, if each gets one of its own. */
  #ids: EventIds | undefined;
  /** The id of all further events, if they get the same. */
  #mark: string | undefined;
  #hasIds = false;
  #events = 0;

  /** Counts each later event, and gives it its id. */
  identify(ids: EventIds): void {
    this.#ids = ids;
    this.#hasIds = true;
  }

  /**
   * Gives all further events the same id.
   *
   * @param id `A-Z a-z 0-9 _ - .` only.
   */
  mark(id: string): void {
    this.#mark = id;
    this.#hasIds = true;
  }

  /** The sequence number of the last event that was written. */
  get events(): number {
    return this.#events;
  }

  /** Whether events have ids already: a second one would take their place. */
  get #givesIds(): boolean {
    return this.#mark !== undefined || this.#ids?.isHidden === false;
  }

  /** Drops what was written after the first `length` bytes and after event number `events`. */
  rewind(length: number, events: number): void {
    this.truncate(length);
    this.#events = events;
    this.#ids?.count(events);
  }

  /** Begins an event with its id. */
  #begin(): void {
    const ids = this.#ids;
    if (ids === undefined) {
      if (this.#mark) this.write(ID, this.#mark);
      return;
    }
    if (!ids.isHidden) this.raw(ids.next());
    if (++this.#events === 1) this.raw(ids.retry);
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

// Bundlers leave them out where nobody calls `encodeEvent`.
const single = /* @__PURE__ */ new EventWriter();
const decoder = /* @__PURE__ */ new TextDecoder();

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
