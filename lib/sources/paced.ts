/**
 * A source that measures the path: tokens at an exact pace, each of which says when it was sent.
 * `spillway doctor --paced` asks for it.
 */
import { StreamError } from "../error.ts";
import type { Source, SourceFunction } from "../pipeline/pump.ts";
import { sleep } from "../pipeline/scheduler.ts";
import { isObject } from "../values.ts";

/** What a request asks of {@linkcode paced}, as its field `paced`. */
export interface Pace {
  /** Number of tokens, 1 to 1000. @default {30} */
  tokens?: number;
  /** Pause before each token but the first, in ms, 1 to 10 000. @default {50} */
  intervalMs?: number;
  /** Further pause before the last token, in ms, 0 to 120 000. @default {0} */
  silentMs?: number;
}

const BOUNDS: Readonly<Record<keyof Pace, readonly [min: number, max: number, preset: number]>> = {
  tokens: [1, 1000, 30],
  intervalMs: [1, 10_000, 50],
  silentMs: [0, 120_000, 0],
};
/** Limit of all pauses together, in ms. */
const MAX_MS = 180_000;

/**
 * The same source, but a request with the field `paced` in its input gets tokens at that pace in place
 * of it. Each token is the number of ms since the first one, and a space. They take 180 s at most.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sse } from "spillway";
 * import { paced } from "spillway/sources";
 *
 * const source = paced(["the ", "model's ", "answer"]);
 * const request = new Request("http://localhost/");
 * const response = await sse(request, source, { format: "plain" });
 * assert(await response.text() === "the model's answer");
 * ```
 *
 * The stream fails with `bad_request` if the field is out of its bounds.
 */
export function paced<Input = unknown>(source: Source<Input>): SourceFunction<Input> {
  return ({ input, signal }) => {
    if (!isObject(input) || !("paced" in input)) return source;
    return tokensAt(checkPace(input.paced), signal);
  };
}

async function* tokensAt(pace: Required<Pace>, signal: AbortSignal): AsyncGenerator<string, void> {
  const { tokens, intervalMs, silentMs } = pace;
  const begunMs = performance.now();
  for (let sent = 0; sent < tokens; sent++) {
    if (sent > 0) await sleep(intervalMs + (sent === tokens - 1 ? silentMs : 0), signal);
    if (signal.aborted) return;
    yield `${Math.round(performance.now() - begunMs)} `;
  }
}

function checkPace(value: unknown): Required<Pace> {
  const given = (isObject(value) ? value : {}) as Record<string, unknown>;
  const pace = { tokens: 0, intervalMs: 0, silentMs: 0 };
  for (const [name, [min, max, preset]] of Object.entries(BOUNDS)) {
    const number = given[name] ?? preset;
    if (!Number.isInteger(number) || !(Number(number) >= min && Number(number) <= max)) {
      throw outOfBounds(`paced.${name} is not an integer from ${min} to ${max}`);
    }
    pace[name as keyof Pace] = Number(number);
  }
  if ((pace.tokens - 1) * pace.intervalMs + pace.silentMs > MAX_MS) {
    throw outOfBounds(`paced takes longer than ${MAX_MS} ms`);
  }
  return pace;
}

function outOfBounds(detail: string): StreamError {
  return new StreamError("bad_request", { detail });
}
