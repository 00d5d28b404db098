/**
 * How many may be served at once, in all and by owner. It stands apart from the handler because two
 * things are counted by the same rule: streams that begin, and readers who come back to one.
 */
import { StreamError } from "../error.ts";

/** Limits on how many are served at once. */
export interface StreamLimits {
  /** Streams that may be open at once, 1 or more; further ones get 503. As many readers may come back to one. @default {10 000} */
  maxStreams?: number;
  /** The same for one owner, 1 or more; further ones get 429. @default {1000} */
  maxStreamsPerOwner?: number;
}

/** Places of one kind. */
export class StreamLimit {
  readonly #limits: StreamLimits;
  #taken = 0;
  readonly #owned = new Map<string, number>();

  constructor(limits: StreamLimits) {
    this.#limits = limits;
  }

  /**
   * Takes a place, which the answer gives back; to be called once.
   *
   * @throws {StreamError} `too_many_streams`: 503 if all are taken, 429 if all of the owner's are.
   */
  take(owner: string | undefined): () => void {
    const { maxStreams = 10_000, maxStreamsPerOwner = 1000 } = this.#limits;
    if (this.#taken >= maxStreams) throw new StreamError("too_many_streams", { retryAfter: 1 });
    if (owner !== undefined) {
      const own = this.#owned.get(owner) ?? 0;
      if (own >= maxStreamsPerOwner) {
        throw new StreamError("too_many_streams", { status: 429, retryAfter: 1 });
      }
      this.#owned.set(owner, own + 1);
    }
    this.#taken++;
    return () => this.#free(owner);
  }

  #free(owner: string | undefined): void {
    this.#taken--;
    if (owner === undefined) return;
    const left = this.#owned.get(owner)! - 1;
    if (left > 0) this.#owned.set(owner, left);
    else this.#owned.delete(owner);
  }
}
