/** The demo source of the tutorial: it streams the query back, one character at a time. */
import { checkOptionNames } from "../option_names.ts";
import type { SourceContext } from "../pipeline/pump.ts";
import { type Clock, sleep } from "../pipeline/scheduler.ts";

/** The sources that are the echo: a page says so of them. */
const echoes = new WeakSet<object>();

/** Marks a source that is the echo with something around it, and returns it. */
export function asEcho<S extends object>(source: S): S {
  echoes.add(source);
  return source;
}

/** Whether a source is what {@linkcode echo} or {@linkcode asEcho} has returned. */
export function isEcho(source: unknown): boolean {
  return typeof source === "function" && echoes.has(source);
}

/** Options of {@linkcode echo}. */
export interface EchoOptions {
  /** Pause before each character but the first, in ms, 0 or more. @default {100} */
  delayMs?: number;
  /** Time and timers, for tests. @default {the runtime's} */
  clock?: Clock;
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
  checkOptionNames("Cannot create the source", options, ["delayMs", "clock"]);
  const { delayMs = 100, clock } = options;
  if (!(delayMs >= 0 && delayMs < 2 ** 31)) {
    throw new RangeError(`Cannot create the source: delayMs is ${delayMs}, not 0 or more`);
  }
  return asEcho(async function* (
    { input, signal }: SourceContext<{ query: string }>,
  ): AsyncGenerator<string, void, undefined> {
    let first = true;
    for (const character of input.query) {
      if (!first && delayMs > 0) await sleep(delayMs, signal, clock);
      if (signal.aborted) return;
      first = false;
      yield character;
    }
  });
}
