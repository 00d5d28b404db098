/**
 * How long a silence means that a connection is broken. Separate from the link, which only arms a
 * timer with it.
 */

/** How many heartbeats make a stall. */
const STALL_HEARTBEATS = 3;
/** The least time between two heartbeats that a server tells, in ms. */
const MIN_HEARTBEAT_MS = 100;
/** The same of comments: a server may have something to say more often. */
const MIN_SEEN_MS = 1000;

/** Knows the server's heartbeat: what it has told, else the time between two comments. */
export class HeartbeatWatch {
  #toldMs = 0;
  #seenMs = 0;
  #lastByteMs!: number;
  #wasComment!: boolean;

  /** Begins with another response. */
  begin(nowMs: number, toldMs = 0): void {
    this.#toldMs = toldMs < MIN_HEARTBEAT_MS ? 0 : toldMs;
    this.#lastByteMs = nowMs;
    this.#wasComment = false;
  }

  /** Takes notice of a chunk. */
  see(nowMs: number, isComment: boolean): void {
    const silentMs = nowMs - this.#lastByteMs;
    if (isComment && this.#wasComment && silentMs >= MIN_SEEN_MS) {
      this.#seenMs = Math.max(this.#seenMs, silentMs);
    }
    this.#lastByteMs = nowMs;
    this.#wasComment = isComment;
  }

  /** The silence in ms that is a stall; 0 while nothing is known. */
  get stallMs(): number {
    return STALL_HEARTBEATS * (this.#toldMs || this.#seenMs);
  }
}
