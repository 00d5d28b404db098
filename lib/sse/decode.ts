/**
 * Decodes bytes to events, split at any point: the engine {@linkcode EventDecoder} and an async
 * iterable over it. Separate from the encoder because its input is untrusted: every line and event
 * has a limit that is counted while bytes arrive (HTML Standard, section 9.2.6).
 */
import { decoderError } from "./codes.ts";
import type { ServerSentEvent } from "./event.ts";
import { checkOptionNames } from "../option_names.ts";
import { utf8Length } from "../values.ts";

const LF = 0x0a;
const CR = 0x0d;
const DATA_LENGTH = "data: ".length;
/** The largest size, in bytes, at which the rest of a line and the next chunk are copied together. */
const JOINED_BYTES = 4096;

/** Bytes after which the data of an unfinished block is copied, or as many as the data has. */
const COPIED_BYTES = 64 * 1024;
const utf8 = new TextEncoder();

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
  readonly #text: TextDecoder;

  /** The bytes of the unfinished line. */
  #line = new Uint8Array(256);
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
    this.#text = new TextDecoder("utf-8", { ignoreBOM: true, fatal: options.fatal ?? false });
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
    let from = 0;
    if (this.#afterCr && chunk.length > 0) {
      this.#afterCr = false;
      if (chunk[0] === LF) from = 1;
    }
    let end = lastBreak(chunk, from);
    if (end >= 0 && this.#lineBytes > 0) {
      const kept = this.#lineBytes;
      if (kept + chunk.length <= Math.min(JOINED_BYTES, this.#maxLineBytes)) {
        // A short rest and a short chunk are read as one (benchmark case: codec, 64 B).
        this.#keep(chunk, from, chunk.length);
        chunk = this.#line.subarray(0, this.#lineBytes);
        end += kept - from;
        from = 0;
        this.#lineBytes = 0;
      } else {
        const first = firstBreak(chunk, from);
        this.#keep(chunk, from, first);
        const line = this.#line.subarray(0, this.#lineBytes);
        this.#lineBytes = 0;
        this.#readLine(this.#text.decode(line), line.length, events);
        from = this.#skip(chunk, first);
      }
    }
    if (end >= from) {
      const isAll = from === 0 && end + 1 === chunk.length;
      this.#readLines(isAll ? chunk : chunk.subarray(from, end + 1), events);
      from = this.#skip(chunk, end);
    }
    if (from < chunk.length) this.#keep(chunk, from, chunk.length);
    if (this.#data !== undefined) this.#copyData(this.#data, chunk.length);
    return events;
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
    this.#data = new TextDecoder("utf-8", { ignoreBOM: true }).decode(utf8.encode(data));
  }

  /** Resets the decoder for a new stream; the last event id and the retry time stay. */
  reset(): void {
    this.#lineBytes = 0;
    this.#first = true;
    this.#afterCr = false;
    this.#clearBlock();
    this.#id = this.lastEventId;
  }

  /** The index after the line break at `end`, whose LF may be in the next chunk. */
  #skip(chunk: Uint8Array, end: number): number {
    if (chunk[end] !== CR) return end + 1;
    if (end + 1 === chunk.length) this.#afterCr = true;
    return chunk[end + 1] === LF ? end + 2 : end + 1;
  }

  #keep(chunk: Uint8Array, from: number, to: number): void {
    const size = this.#lineBytes + to - from;
    if (size > this.#maxLineBytes) throw decoderError("line_too_large");
    if (size > this.#line.length) {
      const grown = new Uint8Array(Math.max(size, this.#line.length * 2));
      grown.set(this.#line.subarray(0, this.#lineBytes));
      this.#line = grown;
    }
    const part = from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to);
    this.#line.set(part, this.#lineBytes);
    this.#lineBytes = size;
  }

  /** Reads complete lines, each with its break. */
  #readLines(bytes: Uint8Array, events: ServerSentEvent[]): void {
    let text: string;
    try {
      text = this.#text.decode(bytes);
    } catch {
      // Line by line, so that what came before the invalid line is returned first.
      return this.#readMeasured(bytes, events);
    }
    const ascii = text.length === bytes.length;
    if (this.#blockBytes + bytes.length > this.#maxBytes) return this.#readMeasured(bytes, events);
    const breaks = text.includes("\r");
    // The limits count bytes as they came, whatever they decode to.
    if (!ascii && (breaks || text.includes("\ufffd"))) return this.#readMeasured(bytes, events);
    if (breaks) text = text.replace(/\r\n?/g, "\n");
    for (let from = 0; from < text.length;) {
      const to = text.indexOf("\n", from);
      if (this.#isWhole && text.startsWith("data: ", from) && text.charCodeAt(to + 1) === 0x0a) {
        // One line of data and nothing else, as nearly every event of a model is (benchmark case:
        // codec).
        const data = text.slice(from + DATA_LENGTH, to);
        events.push({ event: "message", data, lastEventId: this.lastEventId });
        from = to + 2;
        continue;
      }
      const line = text.slice(from, to);
      this.#readLine(line, ascii ? line.length : utf8Length(line), events);
      from = to + 1;
    }
  }

  /** Whether a new block begins here, with nothing left of the one before. */
  get #isWhole(): boolean {
    return this.#data === undefined && !this.#first && this.#blockBytes === 0 &&
      this.#event === "" && this.#id === this.lastEventId;
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
      this.#readLine(this.#text.decode(bytes.subarray(from, to)), to - from, events);
      from = bytes[to] === CR && bytes[to + 1] === LF ? to + 2 : to + 1;
    }
  }

  #readLine(line: string, bytes: number, events: ServerSentEvent[]): void {
    if (this.#first) {
      this.#first = false;
      if (line.charCodeAt(0) === 0xfeff) line = line.slice(1);
    }
    if (line === "") return this.#dispatch(events);
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const value = colon < 0
      ? ""
      : line.slice(line.charCodeAt(colon + 1) === 0x20 ? colon + 2 : colon + 1);
    switch (colon < 0 ? line : line.slice(0, colon)) {
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
      default:
        return;
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

/**
 * Decodes the events of a byte stream. Leaving the loop cancels the stream. If the stream fails,
 * its error is thrown after the events that came before it.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { decodeEvents } from "spillway";
 *
 * const response = new Response("data: Hel\n\ndata: lo\n\n");
 * let text = "";
 * for await (const event of decodeEvents(response.body!)) text += event.data;
 * assert(text === "Hello");
 * ```
 *
 * @throws {StreamError} `line_too_large` or `event_too_large`.
 */
export function decodeEvents(
  stream: ReadableStream<Uint8Array>,
  options: EventDecoderOptions = {},
): AsyncIterableIterator<ServerSentEvent, undefined> {
  return new DecodedEvents(stream.getReader(), new EventDecoder(options));
}

/**
 * The iterator of {@linkcode decodeEvents}. An object and not a generator, because `return()` must
 * cancel the stream at once: a generator would first wait for its pending read.
 */
class DecodedEvents implements AsyncIterableIterator<ServerSentEvent, undefined> {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder: EventDecoder;
  #events: ServerSentEvent[] = [];
  #next = 0;
  #ended = false;
  #failure: { error: unknown } | undefined;
  /** The pending read: a `next` that is called meanwhile waits for it. */
  #reading: Promise<void> | undefined;

  constructor(reader: ReadableStreamDefaultReader<Uint8Array>, decoder: EventDecoder) {
    this.#reader = reader;
    this.#decoder = decoder;
  }

  async next(): Promise<IteratorResult<ServerSentEvent, undefined>> {
    while (this.#next === this.#events.length) {
      if (this.#failure) throw this.#failure.error;
      if (this.#ended) return { done: true, value: undefined };
      this.#reading ??= this.#read();
      await this.#reading;
    }
    return { done: false, value: this.#events[this.#next++]! };
  }

  async #read(): Promise<void> {
    this.#events = [];
    this.#next = 0;
    try {
      const { done, value } = await this.#reader.read();
      if (done) this.#ended = true;
      else this.#decoder.feed(value, this.#events);
    } catch (error) {
      this.#failure = { error };
      // The caller gets the thrown error; a failing cancel adds nothing to it.
      this.#reader.cancel(error).catch(() => {});
    } finally {
      this.#reading = undefined;
    }
  }

  async return(): Promise<IteratorResult<ServerSentEvent, undefined>> {
    this.#ended = true;
    this.#failure = undefined;
    this.#events = [];
    this.#next = 0;
    // `next` reports a broken stream; a failing cancel adds nothing to that.
    await this.#reader.cancel().catch(() => {});
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/**
 * The index of the last LF or CR at or after `from`, or -1. Searches from the end, because it is
 * seldom far.
 */
function lastBreak(bytes: Uint8Array, from: number): number {
  for (let at = bytes.length - 1; at >= from; at--) {
    if (bytes[at] === LF || bytes[at] === CR) return at;
  }
  return -1;
}

/** The index of the first LF or CR at or after `from`; there must be one. */
function firstBreak(bytes: Uint8Array, from: number): number {
  let at = from;
  while (bytes[at] !== LF && bytes[at] !== CR) at++;
  return at;
}

function limit(name: string, value = 1024 * 1024): number {
  if (!Number.isInteger(value) || value < 1) {
    throw new RangeError(`Cannot decode events: ${name} is not a positive integer`);
  }
  return value;
}
