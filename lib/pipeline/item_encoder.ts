/**
 * Items to bytes: the reader of a generation's queue. Separate from the generation because this is
 * what a token costs, and a generation is a life cycle.
 */
import { type Problem, StreamError } from "../error.ts";
import type { End, EventSink, Format, Framer, Position } from "../formats/format.ts";
import type { Item, Summary } from "../item.ts";
import { EventWriter } from "../sse/encode.ts";
import type { Sink } from "./byte_producer.ts";
import type { QueueReader } from "./queue.ts";
import type { Frame } from "../sse/utf8.ts";
import { isObject, nameOf } from "../values.ts";

/** An item that writes itself, as one that is relayed does. */
export abstract class SelfWritten {
  /** The item's text, by whose length the queue measures it. */
  abstract readonly data: string;
  abstract write(writer: ItemWriter, framer: Framer): void;
}

/** What such an item writes through. */
export interface ItemWriter {
  /** Writes a token; an empty one is skipped. */
  writeToken(token: string): void;
  /** Writes structured data that is JSON already, on one line. */
  writeJson(event: string | undefined, json: string, data: unknown): void;
  /** Writes what counts as one token, if `write` can. Returns whether it did. */
  writeWhole(length: number, write: (out: EventSink) => boolean | undefined): boolean;
}

/** What an encoder is made for. */
export interface EncoderInit {
  readonly format: Format;
  readonly options: { readonly maxBufferedBytes?: number | undefined };
}

/** What an encoder calls. No method may throw. */
export interface EncoderOwner {
  /** Called when bytes wait, or the source has ended. */
  wake(): void;
  /** Called when a value was sent after the normal end. */
  sentAfterEnd(): void;
  /** Reports what goes wrong while a failure is written. */
  report(error: unknown): void;
}

/**
 * Limit of one encoded item, 1 MiB, or `maxBufferedBytes` where more may wait. No character takes more
 * than 8 bytes, so shorter text is not measured.
 */
const MAX_ITEM_BYTES = 1024 * 1024;
const MAX_UNCHECKED_LENGTH = MAX_ITEM_BYTES / 8 - 1024;
/** Encoded bytes at which a sink without a bound has to take them at once. */
const FLUSH_BYTES = 64 * 1024;
const CR = 0x0d;
const RESERVED = new Set(["done", "failed", "open", "error"]);

/**
 * Encodes each item when it is sent, in the order of the calls: `write` for each item, then `end` or
 * `fail` once. What it has written waits in `out` until the sink takes it.
 */
export class ItemEncoder implements QueueReader<Item>, ItemWriter {
  /** Encoded bytes that wait for the sink. */
  readonly out: EventWriter = new EventWriter();
  /** Whether an item was sent. Written by the encoder alone, as are the next two. */
  hasItems = false;
  /** Number of tokens that were encoded. */
  tokens = 0;
  /** Whether the format can write a failure; if not, the body has to be broken off. */
  canFail: boolean;
  readonly #framer: Framer;
  readonly #lossless: boolean | undefined;
  readonly #sink: Sink;
  readonly #owner: EncoderOwner;
  readonly #maxItemBytes: number;
  /** The first half of a surrogate pair whose second half is in a later token. */
  #half = "";
  /** The framer's frame, as it was after the last call of the framer; none before the first item. */
  #frame: Frame | undefined;

  constructor(
    framer: Framer,
    { format, options: { maxBufferedBytes = 0 } }: EncoderInit,
    sink: Sink,
    owner: EncoderOwner,
  ) {
    this.#framer = framer;
    this.canFail = framer.fail !== undefined;
    this.#lossless = format.lossless;
    this.#sink = sink;
    this.#owner = owner;
    this.#maxItemBytes = Math.max(MAX_ITEM_BYTES, maxBufferedBytes);
  }

  /** Number of the last event, by its id or as the format counts; 0 if neither has a number. */
  get lastEvent(): number {
    return this.out.events || this.#framer.events || 0;
  }

  /** Whether a queue that is too full has failed. */
  get bounded(): boolean {
    return this.#sink.bounded;
  }

  /** Writes what comes before the first item. */
  start(): void {
    this.#framer.start?.(this.out);
  }

  wake(): void {
    this.#owner.wake();
  }

  sentAfterEnd(): void {
    this.#owner.sentAfterEnd();
  }

  /**
   * Encodes an item. A token that needs no check is written into its frame at once: the path from
   * `send` to the bytes is what a token costs (benchmark case: burst).
   */
  write(item: Item): number {
    const { out } = this;
    const frame = this.#frame;
    if (
      frame === undefined || typeof item !== "string" || needsSlowPath(item)
    ) return this.#writeAny(item);
    const before = out.length;
    out.frame(frame, item);
    this.tokens++;
    return this.#written(before);
  }

  #writeAny(item: Item): number {
    const { out } = this;
    const before = out.length;
    const events = out.events;
    try {
      this.#encode(item);
    } catch (error) {
      // Half an event would swallow the failure that follows.
      out.rewind(before, events);
      throw error;
    }
    this.#frame = this.#half === "" ? this.#framer.frame : undefined;
    return this.#written(before);
  }

  /** Called when an item was written behind so many bytes. */
  #written(before: number): number {
    if (!this.hasItems || (before === 0 && this.out.length > 0)) {
      this.hasItems = true;
      this.#owner.wake();
    }
    if (this.out.length >= FLUSH_BYTES) this.#sink.flush();
    return this.#sink.pressure(this.out.length);
  }

  #encode(item: Item): void {
    if (typeof item !== "string") return this.#writeStructured(item);
    if (this.#half !== "" || needsSlowPath(item)) this.#writeSlow(item);
    else this.#framer.token(this.out, item);
    this.tokens++;
  }

  /**
   * Writes the normal end.
   *
   * @throws Whatever the format throws; nothing of the end is written then.
   */
  end(reason: End["reason"], { finishReason, usage }: Summary): void {
    const end: End = { reason, tokens: this.tokens };
    if (typeof finishReason === "string") end.finishReason = finishReason;
    if (isObject(usage)) end.usage = usage;
    this.#writeAll((out) => this.#framer.end(out, end));
  }

  /** Writes the failure, if the format can. What the format throws is reported. */
  fail(problem: Problem, position: Position): void {
    try {
      this.#writeAll((out) => this.#framer.fail?.(out, problem, position));
    } catch (error) {
      this.canFail = false;
      this.#owner.report(error);
    }
  }

  /**
   * Writes half a surrogate pair that nothing will complete.
   *
   * @throws Whatever the format throws; nothing of it is written then.
   */
  writeHalf(): void {
    const half = this.#half;
    this.#half = "";
    if (half !== "") this.#writeAll((out) => this.#framer.token(out, half));
  }

  /** Writes all of it or nothing. */
  #writeAll(write: (out: EventWriter) => void): void {
    const { out } = this;
    const { length, events } = out;
    try {
      write(out);
    } catch (error) {
      out.rewind(length, events);
      throw error;
    }
  }

  /** Writes a token that begins or ends in half a surrogate pair, or might be too large. */
  #writeSlow(token: string): void {
    if (this.#half !== "") {
      token = this.#half + token;
      this.#half = "";
    }
    if ((token.charCodeAt(token.length - 1) & 0xfc00) === 0xd800) {
      this.#half = token.slice(-1);
      if (token.length === 1) return;
      token = token.slice(0, -1);
    }
    this.#writeLarge(token.length, (out) => this.#framer.token(out, token));
  }

  #writeStructured(item: Exclude<Item, string>): void {
    if (!isObject(item) || !("data" in item)) {
      throw new TypeError(`Cannot stream ${nameOf(item)}: an item is a string or { event?, data }`);
    }
    // In JSON both halves survive on their own, and the order of the items is kept.
    if (this.#lossless) this.writeHalf();
    if (item instanceof SelfWritten) return item.write(this, this.#framer);
    const { event, data } = item;
    if (event !== undefined && typeof event !== "string") {
      throw new TypeError(`Cannot stream an event named by ${nameOf(event)}`);
    }
    if (event !== undefined && RESERVED.has(event)) {
      throw new TypeError(`Cannot stream an event named ${event}: the name is reserved`);
    }
    const json: string | undefined = JSON.stringify(data);
    if (json === undefined) throw new TypeError(`Cannot stream ${nameOf(data)} as JSON`);
    this.writeJson(event, json, data);
  }

  writeToken(token: string): void {
    if (token !== "") this.#encode(token);
  }

  writeJson(event: string | undefined, json: string, data: unknown): void {
    this.#writeLarge(
      json.length,
      (out) => this.#framer.structured?.(out, event || undefined, json, data),
    );
  }

  writeWhole(length: number, write: (out: EventWriter) => boolean | undefined): boolean {
    let isWritten = false;
    this.#writeLarge(length, (out) => {
      isWritten = write(out) ?? false;
    });
    if (isWritten) this.tokens++;
    return isWritten;
  }

  /** Writes an item that might be too large. */
  #writeLarge(length: number, write: (out: EventWriter) => void): void {
    const { out } = this;
    const before = out.length;
    const max = this.#maxItemBytes;
    if (length <= max) write(out);
    if (length > max || out.length - before > max) {
      throw new StreamError("item_too_large");
    }
  }
}

/** Whether a token ends in something that the next one may complete, or might be too large. */
function needsSlowPath(token: string): boolean {
  const last = token.charCodeAt(token.length - 1);
  return last === CR || (last & 0xfc00) === 0xd800 || token.length > MAX_UNCHECKED_LENGTH;
}
