/** What a worker and the process that has started it tell each other. */
import type { Health, Report } from "../handler/together.ts";
import type { Address } from "./listen.ts";

/** How a worker is to end: with all others, alone while they go on, or at once. */
export type Drain = "all" | "alone" | "now";

/** What a worker sends. */
export type FromWorker =
  | { readonly type: "listening"; readonly address: Address }
  /** What it has counted: now and then, and when it was asked for it by a number. */
  | { readonly type: "report"; readonly asked?: number; readonly report: Report }
  /** Somebody asks it for `/metrics`. */
  | { readonly type: "sum"; readonly asked: number }
  /** It was sent SIGTERM, and does not know whether the others were as well. */
  | { readonly type: "leaving" };

/** What a worker receives. */
export type ToWorker =
  | { readonly type: "report"; readonly asked: number }
  | { readonly type: "sum"; readonly asked: number; readonly report: Report }
  /** The health of all workers. */
  | { readonly type: "health"; readonly health: Health }
  | { readonly type: "drain"; readonly how: Drain };
