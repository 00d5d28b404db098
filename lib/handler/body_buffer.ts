/**
 * The memory of request bodies while they are read: one growing buffer for each, and bounds on all of
 * them together. Separate from their reader because only lengths and ages matter here.
 */
import { active } from "../counters.ts";
import type { Clock } from "../pipeline/scheduler.ts";
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

/**
 * A body that has had so many ms for its first MiB, or for its next, gives way where there is no room
 * for another: a few slow clients would otherwise keep everybody else out.
 */
const YIELD_MS = 5000;

/** What all bodies may take together while they are read: places, and bytes. */
export class BodyMemory {
  readonly #maxBodies: number;
  #free: number;
  readonly #clock: Clock;
  /** The open bodies, the one that has gone without progress for the longest first. */
  readonly #open = new Map<BodyBuffer, number>();

  constructor(maxBodies: number, bytes: number, clock: Clock) {
    this.#maxBodies = maxBodies;
    this.#free = bytes;
    this.#clock = clock;
  }

  /**
   * Takes a place.
   *
   * @throws {StreamError} `too_many_bodies` if there is none.
   */
  enter(body: BodyBuffer): void {
    if (this.#open.size >= this.#maxBodies) this.#makeRoom(body);
    this.#open.set(body, this.#clock.now());
  }

  /** Called when a body has come a MiB further. */
  progress(body: BodyBuffer): void {
    if (this.#open.delete(body)) this.#open.set(body, this.#clock.now());
  }

  /** Gives a body's place back. */
  leave(body: BodyBuffer): void {
    this.#open.delete(body);
  }

  /**
   * Takes bytes for a body.
   *
   * @throws {StreamError} `too_many_bodies` if there are not so many.
   */
  take(bytes: number, body: BodyBuffer): void {
    while (bytes > this.#free) this.#makeRoom(body);
    this.#free -= bytes;
    active.bodyBytes += bytes;
  }

  /** Gives taken bytes back. */
  give(bytes: number): void {
    this.#free += bytes;
    active.bodyBytes -= bytes;
  }

  /** Ends the slowest body in favour of another, if it has had its time. */
  #makeRoom(body: BodyBuffer): void {
    for (const [slowest, sinceMs] of this.#open) {
      if (slowest === body || this.#clock.now() - sinceMs < YIELD_MS) break;
      return slowest.giveWay();
    }
    throw handlerError("too_many_bodies", { retryAfter: 1 });
  }
}

/**
 * The bytes of one body, copied into one buffer that doubles when it is full.
 *
 * `open()`, then `append()` for each chunk, then `release()`. After `giveWay()` it takes nothing more.
 */
export class BodyBuffer {
  /** How many bytes have arrived. */
  size = 0;
  #bytes = new Uint8Array(0);
  readonly #memory: BodyMemory;
  readonly #maxBytes: number;
  /** What the client says of the length; it may be wrong. */
  readonly #expected: number;
  /** Ends the body; absent unless it is open. */
  #expire: (() => void) | undefined;

  constructor(memory: BodyMemory, maxBytes: number, expected: number) {
    this.#memory = memory;
    this.#maxBytes = maxBytes;
    this.#expected = expected;
  }

  /**
   * Takes a place among the bodies.
   *
   * @param expire Called if the body has to give way to another.
   * @throws {StreamError} `too_many_bodies`
   */
  open(expire: () => void): void {
    this.#memory.enter(this);
    this.#expire = expire;
  }

  /** Called when the body has come a MiB further. */
  progress(): void {
    this.#memory.progress(this);
  }

  /** Called if the body has to give way to another. */
  giveWay(): void {
    const expire = this.#expire;
    this.release();
    expire?.();
  }

  /**
   * Copies a chunk, so that nothing of it is kept: a chunk of one byte may hold 64 KiB.
   *
   * @throws {StreamError} `payload_too_large`, `too_many_bodies`
   */
  append(chunk: Uint8Array): void {
    if (this.#expire === undefined) return;
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

  /** Gives the place and the memory back. */
  release(): void {
    this.#expire = undefined;
    this.#memory.leave(this);
    this.#memory.give(this.#bytes.length);
    this.#bytes = new Uint8Array(0);
  }

  #grow(needed: number): void {
    let length = Math.max(needed, 2 * this.#bytes.length, FIRST_BYTES);
    if (this.#expected >= needed) length = Math.min(length, this.#expected);
    length = Math.min(length, this.#maxBytes);
    this.#memory.take(length - this.#bytes.length, this);
    const bytes = new Uint8Array(length);
    bytes.set(this.bytes());
    this.#bytes = bytes;
  }
}

/** The error for a body over its limit. */
export function tooLarge(maxBytes: number): Error {
  return handlerError("payload_too_large", { detail: `The limit is ${maxBytes} bytes` });
}
