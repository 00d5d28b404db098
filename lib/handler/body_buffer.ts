/** The bytes of one request body while it is read. */
import type { StreamError } from "../error.ts";
import type { BodyMemory, BytePool, MemoryOwner } from "./body_memory.ts";
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

/** ECMAScript 2024, section 25.1.6.8. */
type TransferableBuffer = ArrayBuffer & { transfer?(length: number): ArrayBuffer };

/**
 * The bytes of one body, copied into one buffer that grows when it is full.
 *
 * `open()`, then `append()` for each chunk, then `release()`. After `end()` it takes nothing more.
 */
export class BodyBuffer implements MemoryOwner {
  /** How many bytes have arrived. */
  size = 0;
  takenBytes = 0;
  turn = 0;
  /** Why the body was ended. */
  failure: StreamError | undefined;
  #bytes = new Uint8Array(0);
  readonly #memory: BodyMemory;
  #pool: BytePool;
  readonly #maxBytes: number;
  /** What the client says of the length; it may be wrong. */
  #expected: number;
  /** Stops the reading; absent unless the body is open. */
  #stop: (() => void) | undefined;

  /** @param expected The length that the client has announced, or `NaN`. */
  constructor(memory: BodyMemory, maxBytes: number, expected: number) {
    this.#memory = memory;
    this.#pool = memory.poolOf(expected);
    this.#maxBytes = maxBytes;
    this.#expected = expected;
  }

  get missingBytes(): number {
    return (this.#expected || Math.min(2 * this.takenBytes, this.#maxBytes)) - this.takenBytes;
  }

  /**
   * Takes a place among the bodies.
   *
   * @param stop Called if the body is ended.
   * @throws {StreamError} `too_many_bodies`
   */
  open(stop: () => void): void {
    this.#memory.enter();
    this.#pool.enter(this);
    this.#stop = stop;
  }

  /** Called when the body has come a MiB further. */
  progress(): void {
    this.#pool.progress(this);
  }

  end(error: StreamError): void {
    const stop = this.#stop;
    if (stop === undefined) return;
    this.failure = error;
    this.release();
    stop();
  }

  /**
   * Copies a chunk, so that nothing of it is kept: a chunk of one byte may hold 64 KiB. Where a promise
   * is returned there is no room yet, and it resolves when the chunk was copied or the body has ended.
   *
   * @throws {StreamError} `payload_too_large`
   */
  append(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#stop === undefined) return undefined;
    const size = this.size + chunk.length;
    if (size > this.#maxBytes) throw tooLarge(this.#maxBytes);
    const room = size > this.takenBytes ? this.#takeFor(size) : undefined;
    if (room !== undefined) return room.then(() => this.#copy(chunk));
    this.#copy(chunk);
    return undefined;
  }

  /** All bytes that have arrived, until the memory is given back. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.size);
  }

  /** Gives the place and the memory back. */
  release(): void {
    if (this.#stop === undefined) return;
    this.#stop = undefined;
    this.#resize(0);
    this.#memory.leave();
    this.#pool.leave(this);
  }

  #takeFor(size: number): Promise<void> | undefined {
    if (size > this.#expected) this.#outgrow();
    // What has announced its length will hardly be cut short, and is copied less often.
    const factor = this.#expected >= size ? 4 : 2;
    const length = Math.min(
      Math.max(size, factor * this.takenBytes, FIRST_BYTES),
      this.#expected || Infinity,
      this.#maxBytes,
    );
    return this.#pool.take(length - this.takenBytes, this);
  }

  /** Called when the body is longer than was announced, as the bodies of some frameworks are. */
  #outgrow(): void {
    this.#expected = NaN;
    const pool = this.#memory.poolOf(NaN);
    if (pool === this.#pool) return;
    this.#pool.leave(this);
    this.#pool = pool;
    pool.enter(this);
  }

  #copy(chunk: Uint8Array): void {
    if (this.#stop === undefined) return;
    if (this.takenBytes > this.#bytes.length) this.#resize(this.takenBytes);
    this.#bytes.set(chunk, this.size);
    this.size += chunk.length;
  }

  /**
   * Moves the bytes to a buffer of another length. Where the length was not announced, the old buffer is
   * free at once, if the runtime can do that (Node 20 cannot): the garbage of tiny chunks makes the
   * collector come late. For other bodies it would take Deno a sixth more time.
   */
  #resize(length: number): void {
    const buffer: TransferableBuffer = this.#bytes.buffer;
    if (Number.isNaN(this.#expected) && buffer.transfer !== undefined) {
      this.#bytes = new Uint8Array(buffer.transfer(length));
      return;
    }
    const bytes = new Uint8Array(length);
    bytes.set(this.#bytes.subarray(0, length));
    this.#bytes = bytes;
  }
}

/** The error for a body over its limit. */
export function tooLarge(maxBytes: number): Error {
  return handlerError("payload_too_large", { detail: `The limit is ${maxBytes} bytes` });
}
