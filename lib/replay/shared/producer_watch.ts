/**
 * Whether the producer of a followed stream is gone. Separate from the stream because a missing lease
 * alone says little: a store may have lost it and nothing else, as by an eviction.
 */

/**
 * A producer writes each of its streams every 3 s, and says so to those who read them: after so long
 * a silence it is asked, in ms.
 */
const SILENT_MS = 4000;
/** How long a producer without a lease has time to say that it lives, in ms. */
const DOUBT_MS = 2000;
/** How long an answer takes at most, in ms. */
const ANSWER_MS = 1000;
/** How long a process may hear nothing before it subscribes anew, with some to spare, in ms. */
const DEAF_MS = 5000;

/** The signs of life of one producer. */
export class ProducerWatch {
  #heardMs: number;
  /** Since when it is asked and says nothing, and since when its lease is missing, in ms. */
  #askedMs: number | undefined;
  #missingMs: number | undefined;

  constructor(nowMs: number) {
    this.#heardMs = nowMs;
  }

  /** Called when the producer has said something. */
  heard(nowMs: number): void {
    this.#heardMs = nowMs;
    this.#askedMs = this.#missingMs = undefined;
  }

  /** Whether the producer is to be asked whether it lives. */
  isSilent(nowMs: number): boolean {
    return nowMs - this.#heardMs >= SILENT_MS;
  }

  /** Called when it is asked. */
  asked(nowMs: number): void {
    this.#askedMs ??= nowMs;
  }

  /** Called when the store says that the lease holds, which it does for 10 s after a producer's end. */
  leaseHeld(): void {
    this.#missingMs = undefined;
  }

  /**
   * Called when the store says that the lease is missing. Returns whether the producer is gone: it
   * says nothing although it is asked, for so long that neither it nor this process can have missed a
   * message; or the lease is missing for longer than it takes to be renewed.
   *
   * @param messageMs When the last message of any process arrived here.
   */
  isGone(nowMs: number, messageMs: number): boolean {
    this.#missingMs ??= nowMs;
    const missingForMs = nowMs - this.#missingMs;
    if (missingForMs >= SILENT_MS) return true;
    const askedMs = this.#askedMs ?? Infinity;
    const isHearing = messageMs >= askedMs + ANSWER_MS;
    return isHearing &&
      (nowMs - askedMs >= DEAF_MS || Math.min(missingForMs, nowMs - askedMs) >= DOUBT_MS);
  }
}
