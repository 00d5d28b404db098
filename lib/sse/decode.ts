/**
 * The engine that decodes bytes to events, split at any point: {@linkcode EventDecoder}. Separate
 * from the encoder because its input is untrusted: every line and event has a limit that is counted
 * while bytes arrive (HTML Standard, section 9.2.6).
 */
import { decoderError } from "./codes.ts";
import { DataEvents } from "./data_events.ts";
import type { ServerSentEvent } from "./event.ts";
import {
  COLON,
  CR,
  firstBreak,
  indexOf,
  isData,
  lastBreak,
  LF,
  nameAt,
  valueAt,
  viewOf,
} from "./lines.ts";
import { checkOptionNames } from "../option_names.ts";

const DATA_LENGTH = "data:".length;
/** The largest size, in bytes, at which the rest of a line and the next chunk are read as one. */
const JOINED_BYTES = 4096;

/** Bytes after which the data of an unfinished block is copied, or as many as the data has. */
const COPIED_BYTES = 64 * 1024;
const utf8 = new TextEncoder();
const lenient = /* @__PURE__ */ new TextDecoder("utf-8", { ignoreBOM: true });
const strict = /* @__PURE__ */ new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** Options of {@linkcode EventDecoder} and {@linkcode decodeEvents}. */
export interface EventDecoderOptions {
  /** Bytes of the longest line, 1 or more. @default {1 MiB} */
  maxLineBytes?: number;
  /**
   * Bytes of the fields of one event, 1 or more; comments and unknown fields are not counted.
   * @default {1 MiB}
   */
  maxEventBytes?: number;
  /**
   * Whether invalid UTF-8 is a TypeError, as in `TextDecoder`; in the standard it becomes U+FFFD.
   * @default {false}
   */
  fatal?: boolean;
}

/**
 * An incremental decoder: {@linkcode EventDecoder.feed} takes bytes and returns the events that
 * they complete. A block that the end of the stream cuts off is never returned, as the standard
 * requires.
 *
 * Only an unfinished line is kept, as bytes, so a long line in many chunks costs linear time, and
 * every line is decoded once. A UTF-8 sequence cannot span an LF or CR, so decoding line by line
 * gives the same text as decoding everything at once.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { EventDecoder } from "spillway";
 *
 * const decoder = new EventDecoder();
 * const bytes = new TextEncoder().encode("event: note\ndata: a\n\ndata: cut o");
 * assert(decoder.feed(bytes)[0]?.data === "a");
 * ```
 */
export class EventDecoder {
  /** The id of the last event that was dispatched; `""` before the first. */
  lastEventId = "";
  /** The reconnection time in ms that the stream sent last. */
  retry: number | undefined;

  readonly #maxLineBytes: number;
  readonly #maxEventBytes: number;
  /** The smaller of both limits: shorter input needs no measuring. */
  readonly #maxBytes: number;
  readonly #isFatal: boolean;

  /** The bytes of the unfinished line, and of a short chunk that is read together with it. */
  #line = new Uint8Array(256);
  #view: DataView = viewOf(this.#line);
  #lineBytes = 0;
  /** Whether no line was read yet: a BOM may come first. */
  #first = true;
  /** Whether the last byte was a CR that ended a line; an LF that follows belongs to it. */
  #afterCr = false;

  /** The data of the current block; `undefined` until its first data line. */
  #data: string | undefined;
  /** Bytes that were fed since that was copied. */
  #fedBytes = 0;
  #event = "";
  #id: string;
  #blockRetry: number | undefined;
  #blockBytes = 0;

  /**
   * Creates a decoder for one stream.
   *
   * @throws {RangeError} If a limit is not a positive integer.
   */
  constructor(options: EventDecoderOptions = {}) {
    checkOptionNames("Cannot decode", options, ["maxLineBytes", "maxEventBytes", "fatal"]);
    this.#maxLineBytes = limit("maxLineBytes", options.maxLineBytes);
    this.#maxEventBytes = limit("maxEventBytes", options.maxEventBytes);
    this.#maxBytes = Math.min(this.#maxLineBytes, this.#maxEventBytes);
    this.#isFatal = options.fatal ?? false;
    this.#id = this.lastEventId;
  }

  /**
   * Reads the next bytes of the stream.
   *
   * @param events The array to append to; after an error it has what was decoded before it.
   * @returns The events that these bytes completed.
   * @throws {StreamError} `line_too_large` or `event_too_large`; the decoder cannot be used
   * afterwards.
   * @throws {TypeError} If the bytes are not UTF-8 and `fatal` was set.
   */
  feed(chunk: Uint8Array, events: ServerSentEvent[] = []): ServerSentEvent[] {
    if (this.#isEvents(chunk)) {
      // Nearly always it is one, of one line of data (benchmark case: codec, a chunk an event).
      const text = lenient.decode(chunk);
      if (!this.#isFatal || !text.includes("\ufffd")) {
        const end = text.length - 2;
        if (text.indexOf("\n") === end && !text.includes("\r")) {
          const data = text.slice(valueAt(text, DATA_LENGTH), end);
          events.push({ event: "message", data, lastEventId: this.lastEventId });
        } else this.#readText(text, chunk, events);
        return events;
      }
    }
    let from = 0;
    if (this.#afterCr && chunk.length > 0) {
      this.#afterCr = false;
      if (chunk[0] === LF) from = 1;
    }
    const { length } = chunk;
    const isWhole = this.#lineBytes === 0 && (chunk[length - 1] === LF || chunk[length - 1] === CR);
    const isShort = this.#lineBytes + length <= Math.min(JOINED_BYTES, this.#maxLineBytes);
    if (isWhole && from === 0) {
      this.#readLines(chunk, events);
      this.#afterCr = chunk[length - 1] === CR;
    } else if (isShort && !isWhole) this.#feedJoined(chunk, from, events);
    else this.#feedInPlace(chunk, from, events);
    if (this.#data !== undefined) this.#copyData(this.#data, chunk.length);
    return events;
  }

  /** Whether a chunk is whole events that need no measuring, of which the first begins with data. */
  #isEvents(chunk: Uint8Array): boolean {
    const { length } = chunk;
    return chunk[length - 1] === LF && chunk[length - 2] === LF && isData(chunk, 0) &&
      this.#lineBytes === 0 && !this.#afterCr && length <= this.#maxBytes && this.#isFresh;
  }

  /** Reads a short chunk and the rest of a line as one (benchmark case: codec, 64 B). */
  #feedJoined(chunk: Uint8Array, from: number, events: ServerSentEvent[]): void {
    const kept = this.#lineBytes;
    this.#keep(chunk, from, chunk.length);
    const size = this.#lineBytes;
    const end = lastBreak(this.#line, kept, size, this.#view);
    if (end < 0) return;
    this.#readLines(this.#line.subarray(0, end + 1), events);
    const next = this.#skip(this.#line, end, size);
    this.#line.copyWithin(0, next, size);
    this.#lineBytes = size - next;
  }

  /** Reads a chunk where it is. Only the line that it ends and the one that it begins are copied. */
  #feedInPlace(chunk: Uint8Array, from: number, events: ServerSentEvent[]): void {
    const { length } = chunk;
    const end = lastBreak(chunk, from, length);
    if (end >= 0 && this.#lineBytes > 0) {
      const first = firstBreak(chunk, from);
      this.#keep(chunk, from, first);
      const line = this.#line.subarray(0, this.#lineBytes);
      this.#lineBytes = 0;
      this.#readBytes(line, events);
      from = this.#skip(chunk, first, length);
    }
    if (end >= from) {
      const isAll = from === 0 && end + 1 === length;
      this.#readLines(isAll ? chunk : chunk.subarray(from, end + 1), events);
      from = this.#skip(chunk, end, length);
    }
    if (from < length) this.#keep(chunk, from, length);
  }

  /**
   * Copies the data of a block that a chunk leaves unfinished. Its lines are slices of the chunks'
   * text and would keep all of that, comments as well; copied with each chunk, they would cost
   * quadratic time.
   */
  #copyData(data: string, bytes: number): void {
    this.#fedBytes += bytes;
    if (this.#fedBytes < Math.max(COPIED_BYTES, data.length)) return;
    this.#fedBytes = 0;
    this.#data = lenient.decode(utf8.encode(data));
  }

  /** Resets the decoder for a new stream; the last event id and the retry time stay. */
  reset(): void {
    this.#lineBytes = 0;
    this.#first = true;
    this.#afterCr = false;
    this.#clearBlock();
    this.#id = this.lastEventId;
  }

  /** The index after the line break at `end` of `size` bytes; its LF may be in the next chunk. */
  #skip(bytes: Uint8Array, end: number, size: number): number {
    if (bytes[end] !== CR) return end + 1;
    if (end + 1 === size) this.#afterCr = true;
    return end + 1 < size && bytes[end + 1] === LF ? end + 2 : end + 1;
  }

  #keep(chunk: Uint8Array, from: number, to: number): void {
    const size = this.#lineBytes + to - from;
    if (size > this.#maxLineBytes) throw decoderError("line_too_large");
    if (size > this.#line.length) {
      const grown = new Uint8Array(Math.max(size, this.#line.length * 2));
      grown.set(this.#line.subarray(0, this.#lineBytes));
      this.#line = grown;
      this.#view = viewOf(grown);
    }
    const part = from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to);
    this.#line.set(part, this.#lineBytes);
    this.#lineBytes = size;
  }

  /** Reads complete lines, each with its break. */
  #readLines(bytes: Uint8Array, events: ServerSentEvent[]): void {
    // No line has to be measured where all of them together are within the limits.
    if (this.#blockBytes + bytes.length > this.#maxBytes) return this.#readMeasured(bytes, events);
    let text: string;
    try {
      text = this.#decode(bytes);
    } catch {
      // Line by line, so that what came before the invalid line is returned first.
      return this.#readMeasured(bytes, events);
    }
    this.#readText(text, bytes, events);
  }

  /** Reads complete lines that need no measuring, by their text. */
  #readText(text: string, bytes: Uint8Array, events: ServerSentEvent[]): void {
    const isAscii = text.length === bytes.length;
    let isFresh = this.#isFresh;
    let lf = -1;
    let cr = indexOf(text, "\r", 0);
    let fast = cr === text.length ? DataEvents.of(text, bytes) : undefined;
    // Where a line begins, in the text and in the bytes.
    for (let from = 0, at = 0; from < text.length;) {
      if (fast !== undefined && isFresh) {
        if (fast.read(from, at, events, this.lastEventId)) {
          ({ from, at } = fast);
          continue;
        }
        // The events are of another kind.
        fast = undefined;
      }
      // Each is sought once: a search from every line for a break that is far takes quadratic time.
      if (lf < from) lf = indexOf(text, "\n", from);
      if (cr < from) cr = indexOf(text, "\r", from);
      const to = lf < cr ? lf : cr;
      const end = isAscii ? to : firstBreak(bytes, at + to - from);
      let next = cr + 1 === lf ? lf + 1 : to + 1;
      const after = text.charCodeAt(next);
      if (isFresh && (after === LF || after === CR) && isData(bytes, at)) {
        // One line of data and nothing else, as nearly every event of a model is (benchmark case:
        // codec, 64 B).
        const data = text.slice(valueAt(text, from + DATA_LENGTH), to);
        events.push({ event: "message", data, lastEventId: this.lastEventId });
        next += after === CR && text.charCodeAt(next + 1) === LF ? 2 : 1;
      } else {
        this.#readLine(text, from, to, end - at, events);
        isFresh = this.#isFresh;
      }
      from = next;
      at = end + next - to;
    }
  }

  /** Whether a new block begins here, with nothing left of the one before. */
  get #isFresh(): boolean {
    return this.#data === undefined && !this.#first && this.#blockBytes === 0 &&
      this.#blockRetry === undefined && this.#event === "" && this.#id === this.lastEventId;
  }

  /**
   * Measures each line before it decodes it: one may be too long, or its size in bytes is not known
   * from the text.
   */
  #readMeasured(bytes: Uint8Array, events: ServerSentEvent[]): void {
    for (let from = 0; from < bytes.length;) {
      // One scan over all bytes: a search for either break would begin anew for each line.
      let to = from;
      while (to < bytes.length && bytes[to] !== LF && bytes[to] !== CR) to++;
      if (to - from > this.#maxLineBytes) throw decoderError("line_too_large");
      this.#readBytes(bytes.subarray(from, to), events);
      from = bytes[to] === CR && bytes[to + 1] === LF ? to + 2 : to + 1;
    }
  }

  /**
   * The text of bytes. What is invalid shows as U+FFFD, so a strict decoder is asked only then: Deno's
   * takes 2 to 12 times as long (benchmark case: relay).
   *
   * @throws {TypeError} If the bytes are not UTF-8 and `fatal` was set.
   */
  #decode(bytes: Uint8Array): string {
    const text = lenient.decode(bytes);
    return this.#isFatal && text.includes("\ufffd") ? strict.decode(bytes) : text;
  }

  /** Reads one line, without its break. */
  #readBytes(bytes: Uint8Array, events: ServerSentEvent[]): void {
    const text = this.#decode(bytes);
    this.#readLine(text, 0, text.length, bytes.length, events);
  }

  /** Reads one line of `text`, which had so many bytes. */
  #readLine(
    text: string,
    from: number,
    to: number,
    bytes: number,
    events: ServerSentEvent[],
  ): void {
    if (this.#first) {
      this.#first = false;
      if (text.charCodeAt(from) === 0xfeff) from++;
    }
    if (from === to) return this.#dispatch(events);
    const name = nameAt(text, from);
    if (name === "") return;
    const colon = from + name.length;
    if (colon < to && text.charCodeAt(colon) !== COLON) return;
    const value = text.slice(valueAt(text, colon + 1), to);
    switch (name) {
      case "data":
        this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`;
        break;
      case "event":
        this.#event = value;
        break;
      case "id":
        if (!value.includes("\0")) this.#id = value;
        break;
      case "retry":
        // In force as soon as its line is read, even if the block is never finished.
        if (/^[0-9]+$/.test(value)) this.retry = this.#blockRetry = Number(value);
        break;
    }
    this.#blockBytes += bytes;
    if (this.#blockBytes > this.#maxEventBytes) throw decoderError("event_too_large");
  }

  #dispatch(events: ServerSentEvent[]): void {
    this.lastEventId = this.#id;
    if (this.#data !== undefined) {
      const event: ServerSentEvent = {
        event: this.#event === "" ? "message" : this.#event,
        data: this.#data,
        lastEventId: this.lastEventId,
      };
      if (this.#blockRetry !== undefined) event.retry = this.#blockRetry;
      events.push(event);
    }
    this.#clearBlock();
  }

  #clearBlock(): void {
    this.#data = undefined;
    this.#event = "";
    this.#blockRetry = undefined;
    this.#blockBytes = 0;
  }
}

function limit(name: string, value = 1024 * 1024): number {
  if (!Number.isInteger(value) || value < 1) {
    throw new RangeError(`Cannot decode events: ${name} is not a positive integer`);
  }
  return value;
}
