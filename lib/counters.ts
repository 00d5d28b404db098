/**
 * Counts of what is open in this process. Separate from the layers because all of them count here
 * what they open and close, so that one test can check that nothing was left behind.
 */

/** Counts of what is open now; all zero when nothing runs. */
export interface ActiveCounts {
  /** Generations that have not ended. */
  streams: number;
  /** Readers that a stream still has to serve. */
  readers: number;
  /** Sources that are running. */
  sources: number;
  /** Connections to upstream models. */
  upstreams: number;
  /** Timers that are armed. */
  timers: number;
  /** Listeners on an `AbortSignal` that is not Spillway's own. */
  listeners: number;
  /** Promises that a caller awaits and that Spillway has to settle. */
  waiters: number;
  /** Bytes of memory that request bodies take while they are read. */
  bodyBytes: number;
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
  bodyBytes: 0,
};
