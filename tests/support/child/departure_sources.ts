/**
 * Sources whose client disconnects, each at a different moment. Tests run them in their own process, to
 * look into them, and in another one, where a crash would show.
 */
import type { SseOptions } from "../../../lib/http/options.ts";
import type { SourceFunction } from "../../../lib/pipeline/pump.ts";

/** What a scene's source lets be seen. */
export class Probe {
  /** What the source was told; it has not begun while there is none. */
  signal: AbortSignal | undefined;
  /** The source's `finally` has run. */
  finished = false;
  pulled = 0;
  /** Settles what a source waits for that does not look at its signal. */
  release = (): void => {};
  readonly released: Promise<void> = new Promise((resolve) => {
    this.release = resolve;
  });
}

/** One moment at which a reader may leave. */
export interface Scene {
  readonly options: SseOptions;
  source(probe: Probe): SourceFunction;
  /** Whether the moment has come, by what the reader has received. */
  ready(received: string, probe: Probe): boolean;
  /** The source waits for something that its signal does not end. */
  readonly deaf?: boolean;
}

const TOKENS = Array.from({ length: 1000 }, (_, i) => `${i} ${"x".repeat(90)} `);

/** The token of that number, one of 1,000 that are there already: the sizes measured are not its own. */
export function numbered(i: number): string {
  return TOKENS[i % 1000]!;
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** A generator that makes `tokens` and then waits. */
function waiting(tokens: string[], deaf: boolean): Scene["source"] {
  return (probe) =>
    async function* ({ signal }) {
      probe.signal = signal;
      try {
        yield* tokens;
        await (deaf ? probe.released : aborted(signal));
      } finally {
        probe.finished = true;
      }
    };
}

const begun = (_received: string, probe: Probe): boolean => probe.signal !== undefined;
const headRead = (received: string): boolean => /\r\n:\n/.test(received);
const tokenRead = (received: string): boolean => received.includes('{"token":"one"}');

/** By the moment's name. */
export const scenes: Readonly<Record<string, Scene>> = {
  "before the head": {
    options: { commitAfterMs: 5000 },
    source: waiting([], false),
    ready: begun,
  },
  "before the head of a deaf source": {
    options: { commitAfterMs: 5000 },
    source: waiting([], true),
    ready: begun,
    deaf: true,
  },
  "before the first token": {
    options: { commitAfterMs: 0 },
    source: waiting([], false),
    ready: headRead,
  },
  "while the source waits on a promise that never settles": {
    options: {},
    source: waiting(["one"], true),
    ready: tokenRead,
    deaf: true,
  },
  "in mid-burst": {
    options: {},
    source: (probe) =>
      async function* ({ signal }) {
        probe.signal = signal;
        try {
          for (;;) {
            probe.pulled++;
            yield "a token of an endless burst ";
          }
        } finally {
          probe.finished = true;
        }
      },
    ready: (received) => received.length > 50_000,
  },
  "in the silence of a callback producer": {
    options: {},
    source: (probe) => async ({ queue, signal }) => {
      probe.signal = signal;
      try {
        await queue.send("one");
        await aborted(signal);
      } finally {
        probe.finished = true;
      }
    },
    ready: tokenRead,
  },
};
