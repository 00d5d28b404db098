/** The events of a byte stream as an async iterable, over the engine of `decode.ts`. */
import { EventDecoder, type EventDecoderOptions } from "./decode.ts";
import type { ServerSentEvent } from "./event.ts";

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
