/**
 * A source that does as it is told, with a pace, a stall, a failure, and keeps a record of what became
 * of it. It stands apart from `collect` because the one writes what the other reads.
 */
import { active } from "../counters.ts";
import { StreamError } from "../error.ts";
import type { SourceContext } from "../pipeline/pump.ts";
import type { Item, Summary } from "../item.ts";
import type { AsyncQueue } from "../pipeline/queue.ts";

/** One step of a script: an item, or something to do, which is awaited; what it answers is ignored. */
export type Step = Item | ((context: SourceContext) => unknown);

/** Options of {@linkcode script}. */
export interface ScriptOptions {
  /** Pause before each item but the first, in ms, 0 or more. @default {0} */
  paceMs?: number;
  /** Whether the items are yielded, or sent to `context.queue` as a library with callbacks would. @default {"generator"} */
  kind?: "generator" | "callbacks";
  /** What the source ends with. @default {nothing} */
  summary?: Summary;
}

/** What became of a scripted source that was started. */
export interface ScriptRun {
  /** Items that it has handed over: no more than its consumer had room for. */
  readonly given: number;
  /** `completed`: the script came to its end. `failed`: a step threw. `cancelled`: it was let go. */
  readonly state: "running" | "completed" | "failed" | "cancelled";
  /** What the step threw, or the reason of the signal: a `StreamError`. */
  readonly reason: unknown;
  /** Settles when the run is over; never rejects. */
  readonly ended: Promise<void>;
}

/** A source that does what its script says. It may be started any number of times. */
export interface ScriptedSource {
  (context: SourceContext): AsyncGenerator<Item, Summary | void, undefined> | Promise<void>;
  /** One for each time that it was started. */
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

  /** The first end counts. */
  end(state: ScriptRun["state"], reason?: unknown): void {
    if (this.state !== "running") return;
    this.state = state;
    this.reason = reason;
    this.#signal.removeEventListener("abort", this.#letGo);
    this.#settle();
  }
}

/**
 * A source that gives `steps` in order and keeps a record of what became of it: for tests of what
 * stands around a source, and of what a reader makes of one that is slow, breaks or never ends.
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
  const { paceMs = 0, kind = "generator", summary } = options;
  checkMs("paceMs", paceMs);
  if (kind !== "generator" && kind !== "callbacks") {
    throw new TypeError(`Cannot write the script: kind is ${kind}, not generator or callbacks`);
  }
  const runs: Run[] = [];
  const start = (context: SourceContext) => {
    const run = new Run(context.signal);
    runs.push(run);
    const items = play(steps, paceMs, summary, context, run);
    return kind === "generator" ? items : send(items, context.queue);
  };
  return Object.assign(start, { runs });
}

async function* play(
  steps: readonly Step[],
  paceMs: number,
  summary: Summary | undefined,
  context: SourceContext,
  run: Run,
): AsyncGenerator<Item, Summary | void, undefined> {
  const { signal } = context;
  try {
    for (const step of steps) {
      if (signal.aborted) return;
      if (typeof step === "function") await step(context);
      else {
        if (run.given > 0 && paceMs > 0) await wait(signal, paceMs);
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
    // The consumer left without a word.
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
 * A step that waits, or until the source is let go.
 *
 * @throws {RangeError} If `ms` is negative or no number.
 */
export function pause(ms: number): Step {
  checkMs("ms", ms);
  return ({ signal }) => wait(signal, ms);
}

/** A step that waits until the source is let go, as a model does that has stopped answering. */
export function stall(): Step {
  return ({ signal }) => wait(signal);
}

/**
 * A step at which the source fails. As the first one it is a failure before the first item, which the
 * reader is told as a status; the text of what is no `StreamError` the reader never sees.
 */
export function fail(error: unknown = new Error("The script fails here")): Step {
  return () => {
    throw error;
  };
}

/** A step at which the source breaks off, as one does that relays an upstream: it fails with `truncated`. */
export function truncate(): Step {
  return fail(new StreamError("truncated"));
}

/** Resolves after `ms`, if any, or when the signal aborts, which it has not yet: then the timer is gone too. */
function wait(signal: AbortSignal, ms?: number): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      signal.removeEventListener("abort", wake);
      resolve();
      if (timer === undefined) return;
      clearTimeout(timer);
      active.timers--;
    };
    signal.addEventListener("abort", wake);
    const timer = ms === undefined ? undefined : setTimeout(wake, ms);
    if (timer !== undefined) active.timers++;
  });
}

function checkMs(name: string, ms: number): void {
  if (ms >= 0 && ms < 2 ** 31) return;
  throw new RangeError(`Cannot write the script: ${name} is ${ms}, not 0 or more`);
}
