/**
 * Limits on how many streams are served at once, in all and by owner. Separate from the handler
 * because the same rule counts two things: new streams, and clients that resume or join one.
 */
import { definedOf } from "../values.ts";
import { handlerError } from "./codes.ts";

/** Limits on how many streams are served at once. */
export interface StreamLimits {
  /**
   * Streams that may be open at once, 1 or more; further ones get 503. As many clients again may
   * resume or join one. @default {10 000}
   */
  maxStreams?: number;
  /**
   * Streams that one owner may have open at once, 1 or more; further ones get 429. As many again
   * may be resumed or joined. @default {1000}
   */
  maxStreamsPerOwner?: number;
}

/** The limits of a handler that is given none. */
export const STREAM_LIMITS: Required<StreamLimits> = {
  maxStreams: 10_000,
  maxStreamsPerOwner: 1000,
};

/** Counts the open streams against the limits. */
export class StreamLimit {
  readonly #limits: StreamLimits;
  #taken = 0;
  readonly #owned = new Map<string, number>();

  constructor(limits: StreamLimits) {
    this.#limits = limits;
  }

  /**
   * Checks that there is a place, without taking it.
   *
   * @throws {StreamError} `too_many_streams`: 503 if the limit in all is reached, 429 if that of
   * the owner is.
   */
  check(owner: string | undefined): void {
    const { maxStreams, maxStreamsPerOwner } = { ...STREAM_LIMITS, ...definedOf(this.#limits) };
    if (this.#taken >= maxStreams) throw handlerError("too_many_streams", { retryAfter: 1 });
    if (owner !== undefined && (this.#owned.get(owner) ?? 0) >= maxStreamsPerOwner) {
      throw handlerError("too_many_streams", { status: 429, retryAfter: 1 });
    }
  }

  /**
   * Counts one stream more, until {@linkcode free} is called.
   *
   * @throws {StreamError} As {@linkcode check} does.
   */
  take(owner: string | undefined): void {
    this.check(owner);
    if (owner !== undefined) this.#owned.set(owner, (this.#owned.get(owner) ?? 0) + 1);
    this.#taken++;
  }

  /** Counts one stream less. */
  free(owner: string | undefined): void {
    this.#taken--;
    if (owner === undefined) return;
    const left = this.#owned.get(owner)! - 1;
    if (left > 0) this.#owned.set(owner, left);
    else this.#owned.delete(owner);
  }
}
