/**
 * The memory of request bodies while they are read: one growing buffer for each, and a bound on all of
 * them together. Separate from their reader because only lengths matter here.
 */
import { active } from "../counters.ts";
import { handlerError } from "./codes.ts";

/** The first size of a buffer, in bytes: many clients may begin a body and send nothing. */
const FIRST_BYTES = 1024;
/** The largest size of a buffer that a runtime reads into, in bytes. */
const MAX_CHUNK_BYTES = 64 * 1024;

/**
 * A buffer for the runtime to read into: the last one again, or a larger one once that was filled. It
 * is not counted, and small until much has arrived.
 */
export function chunkAfter(last: Uint8Array<ArrayBuffer> | undefined): Uint8Array<ArrayBuffer> {
  if (last === undefined) return new Uint8Array(FIRST_BYTES);
  const { byteLength } = last.buffer;
  return last.length === byteLength && byteLength < MAX_CHUNK_BYTES
    ? new Uint8Array(2 * byteLength)
    : new Uint8Array(last.buffer);
}

/** The memory that all bodies may take together while they are read. */
export class BodyMemory {
  #free: number;

  constructor(bytes: number) {
    this.#free = bytes;
  }

  /**
   * Takes bytes.
   *
   * @throws {StreamError} `too_many_bodies` if there are not so many.
   */
  take(bytes: number): void {
    if (bytes > this.#free) throw handlerError("too_many_bodies", { retryAfter: 1 });
    this.#free -= bytes;
    active.bodyBytes += bytes;
  }

  /** Gives taken bytes back. */
  give(bytes: number): void {
    this.#free += bytes;
    active.bodyBytes -= bytes;
  }
}

/** The bytes of one body, copied into one buffer that doubles when it is full. */
export class BodyBuffer {
  /** How many bytes have arrived. */
  size = 0;
  #bytes = new Uint8Array(0);
  readonly #memory: BodyMemory;
  readonly #maxBytes: number;
  /** What the client says of the length; it may be wrong. */
  readonly #expected: number;

  constructor(memory: BodyMemory, maxBytes: number, expected: number) {
    this.#memory = memory;
    this.#maxBytes = maxBytes;
    this.#expected = expected;
  }

  /**
   * Copies a chunk, so that nothing of it is kept: a chunk of one byte may hold 64 KiB.
   *
   * @throws {StreamError} `payload_too_large`, `too_many_bodies`
   */
  append(chunk: Uint8Array): void {
    const size = this.size + chunk.length;
    if (size > this.#maxBytes) throw tooLarge(this.#maxBytes);
    if (size > this.#bytes.length) this.#grow(size);
    this.#bytes.set(chunk, this.size);
    this.size = size;
  }

  /** All bytes that have arrived. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.size);
  }

  /** Gives the memory back. */
  release(): void {
    this.#memory.give(this.#bytes.length);
    this.#bytes = new Uint8Array(0);
  }

  #grow(needed: number): void {
    let length = Math.max(needed, 2 * this.#bytes.length, FIRST_BYTES);
    if (this.#expected >= needed) length = Math.min(length, this.#expected);
    length = Math.min(length, this.#maxBytes);
    this.#memory.take(length - this.#bytes.length);
    const bytes = new Uint8Array(length);
    bytes.set(this.bytes());
    this.#bytes = bytes;
  }
}

/** The error for a body over its limit. */
export function tooLarge(maxBytes: number): Error {
  return handlerError("payload_too_large", { detail: `The limit is ${maxBytes} bytes` });
}
