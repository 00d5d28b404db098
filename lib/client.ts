/**
 * `spillway/client`: the other end of a stream, for browsers, workers, Bun, Deno and Node. It reads a
 * stream to its end, whatever happens to the connection. Separate from `mod.ts` so that a page does
 * not hold what a server needs.
 *
 * @module
 */
import { Connection } from "./client/connection.ts";
import type { ClientFormat } from "./client/formats.ts";
import type { ConnectInit } from "./client/options.ts";
import type { Clock } from "./pipeline/scheduler.ts";

export type { Connection };
export { ConnectError, type ConnectErrorInit, type ConnectErrorKind } from "./client/error.ts";
export type {
  ChatCompletionChunk,
  ClientFormat,
  ClientItems,
  StreamItem,
  UIMessagePart,
} from "./client/formats.ts";
export type {
  ClientBody,
  ClientHeaders,
  ConnectInit,
  ConnectionState,
  FetchInit,
  RequestFields,
} from "./client/options.ts";
export type { Problem } from "./error.ts";
export type { Clock } from "./pipeline/scheduler.ts";
export type { ServerSentEvent } from "./sse/event.ts";

interface Target {
  addEventListener?(type: string, listener: () => void, options: { signal: AbortSignal }): void;
}

/** What browsers have, and workers in part. */
const runtime = globalThis as Target & {
  navigator?: { onLine?: boolean };
  document?: Target & { visibilityState?: string };
};

/** Calls `wake` when the network is back, or the page is seen again. */
function wakeOf(wake: () => void): () => void {
  const { navigator, document } = runtime;
  const abort = new AbortController();
  // Other runtimes have `addEventListener` as well, and some mind what it is called for.
  if (navigator?.onLine !== undefined) runtime.addEventListener?.("online", wake, abort);
  document?.addEventListener?.("visibilitychange", () => {
    if (document.visibilityState === "visible") wake();
  }, abort);
  return () => abort.abort();
}

const clock: Clock = {
  now: Date.now,
  setTimer: (run, ms) => setTimeout(run, ms),
  clearTimer: (timer) => clearTimeout(timer as number),
};

/**
 * Connects to a stream, by any method and with any body, and reads it to its end. Where the connection
 * breaks, it goes on after the last event that the application was given: by the same request with
 * `Last-Event-ID`, or by GET at the stream's own address. It never asks for another generation: what
 * cannot be resumed ends in an error.
 *
 * The request is sent at once; what follows is read by demand.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { connect } from "spillway/client";
 *
 * // Stands for the server.
 * const headers = { "content-type": "text/event-stream" };
 * const body = 'data: {"token":"Hel"}\n\ndata: {"token":"lo"}\n\nevent: done\ndata: {}\n\n';
 * const fetch = () => Promise.resolve(new Response(body, { headers }));
 *
 * let text = "";
 * for await (const token of connect("/streaming", { fetch }).tokens()) text += token;
 * assert(text === "Hello");
 * ```
 *
 * @throws {TypeError} If an option or the format is unknown, or `fetch` would reject the address, or a
 * body with GET.
 * @throws {RangeError} If a number is out of its bounds.
 */
export function connect<F extends ClientFormat = "json">(
  input: string | URL | Request,
  init: ConnectInit<F> = {},
): Connection<F> {
  return new Connection(input, init, wakeOf, init.clock ?? clock);
}
