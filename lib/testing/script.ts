/**
 * A source that follows a script, with a pace, a stall or a failure, and records what became of it.
 * Separate from `collect` because a test of a source needs only `collect`, and a test of a client
 * only this.
 */
import { StreamError } from "../error.ts";
import type { SourceContext } from "../pipeline/pump.ts";
import type { Item, Summary } from "../item.ts";
import type { AsyncQueue } from "../pipeline/queue.ts";
import { type Clock, sleep } from "../pipeline/scheduler.ts";
import { checkOptionNames } from "../option_names.ts";

/** One step of a script: an item, or a function to call, whose result is awaited and ignored. */
export type Step = Item | ((context: SourceContext, clock?: Clock) => unknown);

/** Options of {@linkcode script}. */
export interface ScriptOptions {
  /** Pause before each item but the first, in ms, 0 or more. @default {0} */
  paceMs?: number;
  /**
   * Whether the items are yielded, or sent to `context.queue` as a library with callbacks would.
   * @default {"generator"}
   */
  kind?: "generator" | "callbacks";
  /** The summary that the source ends with. @default {nothing} */
  summary?: Summary;
  /** Time and timers of the pauses, for tests. @default {the runtime's} */
  clock?: Clock;
}

/** A record of one run of a scripted source. */
export interface ScriptRun {
  /** Number of items that were handed over: no more than the consumer had room for. */
  readonly given: number;
  /**
   * The state of the run. `completed`: the script came to its end. `failed`: a step threw.
   * `cancelled`: the run was cancelled.
   */
  readonly state: "running" | "completed" | "failed" | "cancelled";
  /** The error that a step threw, or the reason of the signal: a `StreamError`. */
  readonly reason: unknown;
  /** Settles when the run is over; never rejects. */
  readonly ended: Promise<void>;
}

/** A source that follows its script. It may be started any number of times. */
export interface ScriptedSource {
  (context: SourceContext): AsyncGenerator<Item, Summary | void, undefined> | Promise<void>;
  /** The runs so far, one for each start. */
  readonly runs: readonly ScriptRun[];
}

class Run implements ScriptRun {
  given = 0;
  state: ScriptRun["state"] = "running";
  reason: unknown;
  readonly ended: Promise<void>;
  readonly #signal: AbortSignal;
  readonly #letGo = (): void => this.end("cancelled", this.#signal.reason);
  #settle!: () => void;

  constructor(signal: AbortSignal) {
    this.ended = new Promise((resolve) => this.#settle = resolve);
    this.#signal = signal;
    signal.addEventListener("abort", this.#letGo);
    if (signal.aborted) this.#letGo();
  }

  /** Ends the run; only the first call counts. */
  end(state: ScriptRun["state"], reason?: unknown): void {
    if (this.state !== "running") return;
    this.state = state;
    this.reason = reason;
    this.#signal.removeEventListener("abort", this.#letGo);
    this.#settle();
  }
}

/**
 * A source that gives `steps` in order and records what became of it. Use it to test the code
 * around a source, and how a client handles a source that is slow, breaks or never ends.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sse } from "spillway";
 * import { collect, script, stall } from "spillway/testing";
 *
 * const source = script(["Hel", stall()]);
 * const answer = await collect(sse(new Request("http://localhost/"), source), {
 *   until: ({ text }) => text === "Hel",
 * });
 * assert.equal(answer.end, "cancelled");
 * assert.equal(source.runs[0]?.state, "cancelled"); // it was let go
 * ```
 *
 * @throws {RangeError} If `paceMs` is out of its bounds.
 * @throws {TypeError} If `kind` is neither of the two.
 */
export function script(steps: readonly Step[], options: ScriptOptions = {}): ScriptedSource {
  checkOptionNames("Cannot write the script", options, ["paceMs", "kind", "summary", "clock"]);
  const { paceMs = 0, kind = "generator" } = options;
  checkMs("paceMs", paceMs);
  if (kind !== "generator" && kind !== "callbacks") {
    throw new TypeError(`Cannot write the script: kind is ${kind}, not generator or callbacks`);
  }
  const runs: Run[] = [];
  const start = (context: SourceContext) => {
    const run = new Run(context.signal);
    runs.push(run);
    const items = play(steps, options, context, run);
    return kind === "generator" ? items : send(items, context.queue);
  };
  return Object.assign(start, { runs });
}

async function* play(
  steps: readonly Step[],
  { paceMs = 0, summary, clock }: ScriptOptions,
  context: SourceContext,
  run: Run,
): AsyncGenerator<Item, Summary | void, undefined> {
  const { signal } = context;
  try {
    for (const step of steps) {
      if (signal.aborted) return;
      if (typeof step === "function") await step(context, clock);
      else {
        if (run.given > 0 && paceMs > 0) await sleep(paceMs, signal, clock);
        if (signal.aborted) return;
        run.given++;
        yield step;
      }
    }
    run.end("completed");
    return summary;
  } catch (error) {
    run.end("failed", error);
    throw error;
  } finally {
    // The consumer left without an error.
    run.end("cancelled", signal.reason);
  }
}

async function send(
  items: AsyncGenerator<Item, Summary | void, undefined>,
  queue: AsyncQueue<Item>,
): Promise<void> {
  for (;;) {
    const { done, value } = await items.next();
    if (done) return queue.close(value ?? {});
    if (!(await queue.send(value))) await items.return();
  }
}

/**
 * A step that waits for `ms`, or until the source is cancelled.
 *
 * @throws {RangeError} If `ms` is negative or not a number.
 */
export function pause(ms: number): Step {
  checkMs("ms", ms);
  return ({ signal }, clock) => sleep(ms, signal, clock);
}

/** A step that waits until the source is cancelled, like a model that has stopped responding. */
export function stall(): Step {
  return ({ signal }) => sleep(undefined, signal);
}

/**
 * A step at which the source fails. As the first step it is a failure before the first item, which
 * the client gets as an error response. The text of an error that is not a `StreamError` never
 * reaches the client.
 */
export function fail(error: unknown = new Error("The script fails here")): Step {
  return () => {
    throw error;
  };
}

/**
 * A step at which the source breaks off, as a relay does when its upstream breaks off: it fails
 * with `truncated`.
 */
export function truncate(): Step {
  return fail(new StreamError("truncated"));
}

function checkMs(name: string, ms: number): void {
  if (ms >= 0 && ms < 2 ** 31) return;
  throw new RangeError(`Cannot write the script: ${name} is ${ms}, not 0 or more`);
}
