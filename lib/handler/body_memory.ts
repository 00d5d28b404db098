/**
 * The memory that request bodies share while they are read: who has a place, who has how many bytes,
 * and who waits for some. Separate from their buffers because only lengths and ages matter here.
 */
import { active } from "../counters.ts";
import type { StreamError } from "../error.ts";
import type { Clock } from "../pipeline/scheduler.ts";
import { handlerError } from "./codes.ts";

/**
 * A body that has had so many ms for its first MiB, or for its next, gives way where there is no room
 * for another: a few slow clients would otherwise keep everybody else out.
 */
const YIELD_MS = 5000;

/** Bytes for small bodies alone: one large body could otherwise hold up everybody's short questions. */
export const SMALL_BODIES_BYTES: number = 4 * 2 ** 20;
/** So many small bodies of the largest size have room together. */
const SMALL_BODIES = 16;

/** The part of a pool that is kept for its first body at most: it may be a slow one. */
const MAX_KEPT = 1 / 4;

/** So many bodies may wait. What a runtime takes in of each is not counted: on Bun 1.4 it is 2 MiB. */
const MAX_WAITING = 64;

/** A body, as its memory sees it. */
export interface MemoryOwner {
  /** Bytes that it has taken; its pool counts them. */
  takenBytes: number;
  /** Bytes that it will probably need beside them. */
  readonly missingBytes: number;
  /** Its number in the order of the first bytes; 0 before them. Its pool sets it. */
  turn: number;
  /** Ends the body with an error, and gives its memory back. */
  end(error: StreamError): void;
}

/** A body that needs more bytes. */
interface Waiter {
  readonly body: MemoryOwner;
  readonly bytes: number;
  /** Lets it look whether it has got them. */
  readonly wake: () => void;
}

/**
 * Bytes that several bodies share. A body that needs more than there are waits, while its client is
 * held back.
 *
 * `enter()`, then `take()` and `progress()`, then `leave()`, at any time. While a body waits it cannot
 * be slow.
 *
 * ```
 *  enter ──▶ reading ──take()──▶ waiting ──▶ reading
 *               └───────leave()──────┴─────▶ gone
 * ```
 */
export class BytePool {
  readonly #clock: Clock;
  readonly #bytes: number;
  #freeBytes: number;
  /** Taken bytes whose bodies wait. */
  #idleBytes = 0;
  #latestTurn = 0;
  /** The bodies that have bytes, in their order. */
  readonly #owners = new Set<MemoryOwner>();
  /** The bodies that are read, the one that has gone without progress for the longest first. */
  readonly #reading = new Map<MemoryOwner, number>();
  /** The bodies that wait, in their order. */
  readonly #waiting: Waiter[] = [];
  /** Armed while a body waits, for when another one may be slow. */
  #timer: unknown;
  #isServing = false;

  constructor(bytes: number, clock: Clock) {
    this.#bytes = bytes;
    this.#freeBytes = bytes;
    this.#clock = clock;
  }

  /** Adds a body, which has no bytes yet. */
  enter(body: MemoryOwner): void {
    this.#reading.set(body, this.#clock.now());
  }

  /** Called when a body has come a MiB further. */
  progress(body: MemoryOwner): void {
    if (this.#reading.delete(body)) this.enter(body);
  }

  /**
   * Takes bytes for a body. Where a promise is returned they are not there yet: the body has to wait
   * until it resolves, and was ended meanwhile or has them.
   */
  take(bytes: number, body: MemoryOwner): Promise<void> | undefined {
    if (body.turn === 0) body.turn = ++this.#latestTurn;
    const [first] = this.#waiting;
    const isFirst = first === undefined || body.turn < first.body.turn;
    if (isFirst && this.#fits(bytes, body)) {
      this.#count(bytes, body);
      return undefined;
    }
    return new Promise((wake) => {
      this.#reading.delete(body);
      this.#idleBytes += body.takenBytes;
      let at = this.#waiting.length;
      while (at > 0 && this.#waiting[at - 1]!.body.turn > body.turn) at--;
      this.#waiting.splice(at, 0, { body, bytes, wake });
      active.waiters++;
      if (this.#waiting.length > MAX_WAITING) this.#waiting.at(-1)!.body.end(tooManyBodies());
      else this.#serve();
    });
  }

  /** Takes a body out, and gives its bytes back. */
  leave(body: MemoryOwner): void {
    if (!this.#reading.delete(body)) {
      const at = this.#waiting.findIndex((waiter) => waiter.body === body);
      if (at < 0) return;
      this.#wake(at);
    }
    this.#count(-body.takenBytes, body);
    this.#owners.delete(body);
    body.turn = 0;
    this.#serve();
  }

  /** The body that has gone without progress for the longest, and since when, if it has had its time. */
  slowest(): [MemoryOwner, number] | undefined {
    const [first] = this.#reading;
    return first !== undefined && this.#clock.now() - first[1] >= YIELD_MS ? first : undefined;
  }

  /**
   * Whether there is room. The next bytes of the first body are kept for it: where many of one size
   * arrive together, all would otherwise get to a half of it, and none further.
   */
  #fits(bytes: number, body: MemoryOwner): boolean {
    const [first] = this.#owners;
    const isKept = first !== undefined && first !== body;
    const keptBytes = isKept ? Math.min(first.missingBytes, this.#bytes * MAX_KEPT) : 0;
    return bytes + keptBytes <= this.#freeBytes;
  }

  #count(bytes: number, body: MemoryOwner): void {
    this.#owners.add(body);
    this.#freeBytes -= bytes;
    body.takenBytes += bytes;
    active.bodyBytes += bytes;
  }

  /** Takes a body out of those that wait. */
  #wake(at: number): void {
    const [{ body, wake }] = this.#waiting.splice(at, 1) as [Waiter];
    this.#idleBytes -= body.takenBytes;
    active.waiters--;
    wake();
  }

  /** Lets those go on for whom there is room, strictly one after the other: large ones do not starve. */
  #serve(): void {
    // Whoever is ended for another leaves, which comes back here.
    if (this.#isServing) return;
    this.#isServing = true;
    for (let [first] = this.#waiting; first !== undefined; [first] = this.#waiting) {
      const { body, bytes } = first;
      if (this.#fits(bytes, body)) {
        this.#wake(0);
        this.#count(bytes, body);
        this.enter(body);
      } else if (!this.#makeRoom()) break;
    }
    this.#isServing = false;
    this.#setTimer();
  }

  /** Ends one body in favour of those that wait; `false` if there is reason to wait instead. */
  #makeRoom(): boolean {
    const slowest = this.slowest();
    if (slowest !== undefined) {
      slowest[0].end(handlerError("request_timeout"));
      return true;
    }
    if (this.#idleBytes < this.#bytes - this.#freeBytes) return false;
    // Whoever has bytes waits for more, so that nobody would ever go on.
    const newest = this.#waiting.findLast(({ body }) => body.takenBytes > 0);
    newest?.body.end(tooManyBodies());
    return newest !== undefined;
  }

  #setTimer(): void {
    const [sinceMs] = this.#reading.values();
    const isNeeded = this.#waiting.length > 0 && sinceMs !== undefined;
    if (isNeeded === (this.#timer !== undefined)) return;
    if (!isNeeded) {
      this.#clock.clearTimer(this.#timer);
      this.#timer = undefined;
      active.timers--;
      return;
    }
    active.timers++;
    this.#timer = this.#clock.setTimer(() => {
      this.#timer = undefined;
      active.timers--;
      this.#serve();
    }, sinceMs + YIELD_MS - this.#clock.now());
  }
}

/** What all bodies may take together while they are read: places, and bytes. */
export class BodyMemory {
  readonly #maxBodies: number;
  #openBodies = 0;
  readonly #smallBytes: number;
  readonly #small: BytePool;
  readonly #large: BytePool;

  /**
   * @param maxBodies How many places there are.
   * @param bytes How many bytes, of which small bodies have some for themselves.
   * @param maxBytes Bytes of the largest body, which keeps its room.
   */
  constructor(maxBodies: number, bytes: number, maxBytes: number, clock: Clock) {
    this.#maxBodies = maxBodies;
    const small = Math.min(SMALL_BODIES_BYTES, Math.floor(bytes / 8), bytes - maxBytes);
    this.#smallBytes = Math.floor(small / SMALL_BODIES);
    this.#small = new BytePool(small, clock);
    this.#large = new BytePool(bytes - small, clock);
  }

  /** The bytes for a body of this length; one whose length is unknown (`NaN`) may become a large one. */
  poolOf(length: number): BytePool {
    return length <= this.#smallBytes ? this.#small : this.#large;
  }

  /**
   * Takes a place.
   *
   * @throws {StreamError} `too_many_bodies` if there is none.
   */
  enter(): void {
    if (this.#openBodies >= this.#maxBodies) this.#makeRoom();
    this.#openBodies++;
  }

  /** Gives a place back. */
  leave(): void {
    this.#openBodies--;
  }

  /** Ends the slowest body in favour of another, if it has had its time. */
  #makeRoom(): void {
    const small = this.#small.slowest();
    const large = this.#large.slowest();
    const slowest = small === undefined || (large !== undefined && large[1] < small[1])
      ? large
      : small;
    if (slowest === undefined) throw tooManyBodies();
    slowest[0].end(handlerError("request_timeout"));
  }
}

function tooManyBodies(): StreamError {
  return handlerError("too_many_bodies", { retryAfter: 1 });
}
