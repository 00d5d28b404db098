/** The demo source of the tutorial: it streams the query back, one character at a time. */
import { active } from "../counters.ts";
import type { SourceContext } from "../pipeline/pump.ts";

/** Options of {@linkcode echo}. */
export interface EchoOptions {
  /** Pause before each character but the first, in ms, 0 or more. @default {100} */
  delayMs?: number;
}

/**
 * A source that streams the query itself, code point by code point.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { createHandler, echo } from "spillway";
 *
 * const handler = createHandler({ source: echo({ delayMs: 0 }) });
 * const response = await handler.fetch(
 *   new Request("http://localhost/streaming?format=plain", {
 *     method: "POST",
 *     headers: { "content-type": "application/json" },
 *     body: JSON.stringify({ query: "テスト" }),
 *   }),
 * );
 * assert(await response.text() === "テスト");
 * ```
 *
 * @throws {RangeError} If `delayMs` is negative or no number.
 */
export function echo(
  options: EchoOptions = {},
): (context: SourceContext<{ query: string }>) => AsyncGenerator<string, void, undefined> {
  const { delayMs = 100 } = options;
  if (!(delayMs >= 0 && delayMs < 2 ** 31)) {
    throw new RangeError(`Cannot echo: delayMs is ${delayMs}, not 0 or more`);
  }
  return async function* ({ input, signal }) {
    let first = true;
    for (const character of input.query) {
      if (!first && delayMs > 0) await sleep(delayMs, signal);
      if (signal.aborted) return;
      first = false;
      yield character;
    }
  };
}

/** Resolves after `ms`, or at once when the signal aborts; the timer is cleared in both cases. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", wake);
      active.timers--;
      resolve();
    };
    const timer = setTimeout(wake, ms);
    signal.addEventListener("abort", wake);
    active.timers++;
  });
}
