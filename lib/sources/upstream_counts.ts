/**
 * Counts of what upstreams do: requests, failures by kind, and the time between chunks. Separate
 * from the sources because both of them count failures in the same way.
 */
import { StreamError } from "../error.ts";
import { publish } from "../diagnostics.ts";
import { count, times, totals, type UpstreamErrorKind } from "../totals.ts";
import { type Failure, UpstreamError } from "./upstream_failure.ts";

/** The kinds that an error's code tells; `undefined` is no failure of the upstream. */
const KINDS: Readonly<Record<string, UpstreamErrorKind | undefined>> = {
  disconnected: undefined,
  stopped: undefined,
  shutting_down: undefined,
  overflow: undefined,
  stalled: undefined,
  rate_limited: "rate_limited",
  upstream_timeout: "timeout",
  truncated: "truncated",
  context_length_exceeded: "rejected",
  upstream_bad_request: "rejected",
  upstream_too_large: "rejected",
  upstream_unprocessable: "rejected",
  line_too_large: "too_large",
  event_too_large: "too_large",
  answer_too_large: "too_large",
  item_too_large: "too_large",
};

/** The kind of an upstream's failure; `undefined` if the end was ours. */
export function kindOf(error: unknown): UpstreamErrorKind | undefined {
  if (!(error instanceof StreamError)) return "other";
  const { code, cause } = error;
  if (Object.hasOwn(KINDS, code)) return KINDS[code];
  const status = cause instanceof UpstreamError ? cause.status : undefined;
  if (status === 401 || status === 403) return "unauthorized";
  if (status === 404) return "not_found";
  if (code === "upstream_failed") return "failed";
  if (code !== "bad_upstream") return "other";
  if (status !== undefined) return status >= 500 ? "server_error" : "bad_response";
  return cause instanceof UpstreamError ? "unreachable" : "bad_response";
}

/** Counts a failure of an upstream, unless the request was aborted by our side. */
export function countUpstreamError(error: unknown): void {
  const kind = kindOf(error);
  if (kind === undefined) return;
  count(totals.upstreamErrors, kind);
  publish("spillway:upstream:error", () => ({ kind, error }));
}

/** Counts a request and what becomes of it: a summary, a failure, or an error that it throws. */
export async function counted<Result extends object>(
  request: Promise<Result | Failure>,
  isRetry: boolean,
): Promise<Result | Failure> {
  totals.upstreamRequests++;
  if (isRetry) totals.upstreamRetries++;
  try {
    const result = await request;
    if ("mayRetry" in result) countUpstreamError(result.error);
    return result;
  } catch (error) {
    countUpstreamError(error);
    throw error;
  }
}

/**
 * The times between the chunks of one response. The clock is not asked for each item: a chunk counts
 * where it holds one, when the next chunk has come. Comments, which keep a connection alive, do not
 * count.
 */
export class ChunkTimes {
  readonly #startMs: number;
  /** When the last chunk came that holds an item; `undefined` before, and after our own waiting. */
  #itemMs: number | undefined;
  /** When the last chunk came. */
  #chunkMs: number;
  #hasBegun = false;
  #hasItem = false;
  /** Whether our own client was slow since the last chunk came. */
  #wasHeld = false;

  /**
   * Begins with a request.
   *
   * @param nowMs The time at which it is sent.
   */
  constructor(nowMs: number) {
    this.#startMs = this.#chunkMs = nowMs;
  }

  /** Called with the time at which a chunk came, before its items are read. */
  chunk(nowMs: number): void {
    this.#settle();
    if (this.#wasHeld) this.#itemMs = undefined;
    this.#wasHeld = false;
    this.#chunkMs = nowMs;
  }

  /** Called when an item was read. */
  item(): void {
    this.#hasItem = true;
  }

  /** Called when our own client was slow: the time until the next chunk is not the upstream's. */
  held(): void {
    this.#wasHeld = true;
  }

  /** Called at the end of the response. */
  end(): void {
    this.#settle();
  }

  #settle(): void {
    if (!this.#hasItem) return;
    this.#hasItem = false;
    if (!this.#hasBegun) times.upstreamFirstChunk.observe((this.#chunkMs - this.#startMs) / 1000);
    else if (this.#itemMs !== undefined) {
      times.upstreamChunk.observe((this.#chunkMs - this.#itemMs) / 1000);
    }
    this.#hasBegun = true;
    this.#itemMs = this.#chunkMs;
  }
}
