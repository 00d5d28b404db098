/**
 * Counts of what has happened in this process. Separate from `counters.ts`, whose counts go back to
 * zero, because a bundle of `sse` alone holds none of these: the handler, the logs and the sources
 * count here.
 */

/** How a client's attempt to come back to a logged stream ended: 200, 204, or an error code. */
export type ResumeResult =
  | "resumed"
  | "nothing"
  | "not_found"
  | "gone"
  | "bad_request"
  | "not_acceptable"
  | "log_unavailable"
  | "other";

/** How a reader of a logged stream ended: it has all of it, or an error code. */
export type LogReaderEnd =
  | "served"
  | "disconnected"
  | "stalled"
  | "lagged"
  | "producer_lost"
  | "shutting_down"
  | "other";

/** Why a log took no stream: an error code. */
export type LogRejection =
  | "log_full"
  | "stream_exists"
  | "other";

/** What was wrong with an upstream's answer. */
export type UpstreamErrorKind =
  | "unreachable"
  | "timeout"
  | "unauthorized"
  | "not_found"
  | "rate_limited"
  | "rejected"
  | "server_error"
  | "bad_response"
  | "failed"
  | "truncated"
  | "too_large"
  | "other";

/** What has happened in this process since it began, whichever handler or `sse` did it. */
export interface ProcessTotals {
  /** Attempts to come back to a logged stream: `resumed`, `nothing` (204), or why not. */
  readonly resumes: Record<ResumeResult, number>;
  /** Readers of logged streams that have ended: `served` to the end, or why not. */
  readonly logReaders: Record<LogReaderEnd, number>;
  /** Streams that logs have not taken, by error code. */
  readonly logRejections: Record<LogRejection, number>;
  /** Events that were written to logs. */
  logEvents: number;
  /** Bytes of those events. */
  logBytes: number;
  /** Calls of the stores of shared logs that have ended. */
  readonly storeCalls: { ok: number; failed: number };
  /** Outages of these stores. */
  storeOutages: number;
  /** Requests that `openai()` has sent, with those that were sent again. */
  upstreamRequests: number;
  /** Requests that were sent again to the same upstream. */
  upstreamRetries: number;
  /** Times that the next upstream was asked in place of one that had failed. */
  upstreamFallbacks: number;
  /** Failures of upstreams under `openai()` and `relay()`, by their kind. */
  readonly upstreamErrors: Record<UpstreamErrorKind, number>;
}

/** The totals of this process. Every name of a record is there from the start, at 0. */
export const totals: ProcessTotals = {
  resumes: {
    resumed: 0,
    nothing: 0,
    not_found: 0,
    gone: 0,
    bad_request: 0,
    not_acceptable: 0,
    log_unavailable: 0,
    other: 0,
  },
  logReaders: {
    served: 0,
    disconnected: 0,
    stalled: 0,
    lagged: 0,
    producer_lost: 0,
    shutting_down: 0,
    other: 0,
  },
  logRejections: { log_full: 0, stream_exists: 0, other: 0 },
  logEvents: 0,
  logBytes: 0,
  storeCalls: { ok: 0, failed: 0 },
  storeOutages: 0,
  upstreamRequests: 0,
  upstreamRetries: 0,
  upstreamFallbacks: 0,
  upstreamErrors: {
    unreachable: 0,
    timeout: 0,
    unauthorized: 0,
    not_found: 0,
    rate_limited: 0,
    rejected: 0,
    server_error: 0,
    bad_response: 0,
    failed: 0,
    truncated: 0,
    too_large: 0,
    other: 0,
  },
};

/** Adds 1 to a count; what has no name of its own is `other`. */
export function count<Name extends string>(
  counts: Record<Name | "other", number>,
  name: string,
): void {
  counts[Object.hasOwn(counts, name) ? name as Name : "other"]++;
}

/** How often values fell between fixed bounds. */
export class Histogram {
  /** The upper bound of each bucket, which it includes, in ascending order. */
  readonly bounds: readonly number[];
  /** Number of values in each bucket; the last one has what is over every bound. */
  readonly counts: number[];
  /** The sum of all values. */
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = [...bounds, Infinity].map(() => 0);
  }

  /** Counts a value. One that is no number, or less than 0, is left out. */
  observe(value: number): void {
    if (!(value >= 0)) return;
    let i = 0;
    while (value > this.bounds[i]!) i++;
    this.counts[i]!++;
    this.sum += value;
  }
}

/** Buckets of `gen_ai.server.time_to_first_token` (OpenTelemetry GenAI conventions), in seconds. */
export const FIRST_TOKEN_BOUNDS: readonly number[] = [
  ...[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1],
  ...[0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10],
];
/** Buckets of `gen_ai.server.time_per_output_token`, in seconds. */
export const PER_TOKEN_BOUNDS: readonly number[] = [
  ...[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5],
];
/** Buckets of the durations of these conventions, in seconds. */
export const DURATION_BOUNDS: readonly number[] = [
  ...[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92],
];
/** Buckets of silences, in seconds: those between tokens, and those that a client takes for a hang. */
const SILENCE_BOUNDS = [...PER_TOKEN_BOUNDS, 5, 10, 30, 60];
/** Buckets of a store's calls, in seconds; a call is given up after 2 s. */
const CALL_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** Times that this process has measured, in seconds. */
export const times: Readonly<
  Record<"upstreamFirstChunk" | "upstreamChunk" | "logWrite" | "storeCall", Histogram>
> = {
  /** From a request of `openai()` to its first item. */
  upstreamFirstChunk: new Histogram(DURATION_BOUNDS),
  /** Between two chunks of its response that hold items. */
  upstreamChunk: new Histogram(SILENCE_BOUNDS),
  /** Between two writes of a logged stream. */
  logWrite: new Histogram(SILENCE_BOUNDS),
  /** A call of a shared log's store. */
  storeCall: new Histogram(CALL_BOUNDS),
};

/**
 * Counts a write of a logged stream, whatever number of events it has.
 *
 * @param sinceMs The time since the stream's write before; `NaN` if this is the first one.
 */
export function countLogWrite(sinceMs: number, bytes: number, events: number): void {
  times.logWrite.observe(sinceMs / 1000);
  totals.logBytes += bytes;
  totals.logEvents += events;
}
