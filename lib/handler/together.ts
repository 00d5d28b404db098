/**
 * What a handler tells of itself where several processes serve one port and tell as one. Separate from
 * the options because only the server entry starts such processes.
 */
import type { Stats } from "./metrics.ts";

/** Whether a server takes streams; `degraded` does, without what its log's store would add. */
export type Health = "ok" | "degraded" | "draining";

/** What one process, or all of them, have counted. */
export interface Report {
  readonly health: Health;
  readonly stats: Stats;
  /** Prometheus text. */
  readonly text: string;
}

/** How a handler tells for all processes. */
export interface Together {
  /** Called once, with what reports on this process alone. */
  join(own: () => Report): void;
  /** Reports on all processes, for `/metrics`. */
  report(): Promise<Report>;
  /** The health of all of them, for `/health`. */
  health(own: Health): Health;
}

/** The key of the option by which the server entry hands {@linkcode Together} to its handler. */
export const TOGETHER: unique symbol = Symbol("spillway.together");

/** Options that may hold it. */
export interface TogetherOptions {
  readonly [TOGETHER]?: Together;
}
