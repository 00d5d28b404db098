/**
 * What is alive in this process. It stands apart so that every layer can count what it opens and
 * closes, and one test can ask whether anything was left behind.
 */

/** Counts of what is open now; all zero when nothing runs. */
export interface ActiveCounts {
  /** Generations that have not ended. */
  streams: number;
  /** Readers that a stream still has to serve. */
  readers: number;
  /** Sources that run. */
  sources: number;
  /** Connections to upstream models. */
  upstreams: number;
  /** Timers that are armed. */
  timers: number;
  /** Listeners on somebody else's `AbortSignal`. */
  listeners: number;
  /** Promises that somebody awaits and that we have to settle. */
  waiters: number;
}

/** The live counts of this process. */
export const active: ActiveCounts = {
  streams: 0,
  readers: 0,
  sources: 0,
  upstreams: 0,
  timers: 0,
  listeners: 0,
  waiters: 0,
};
