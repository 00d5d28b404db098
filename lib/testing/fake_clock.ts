/** A clock that stands still until a test moves it. */
import type { Clock } from "../pipeline/scheduler.ts";

interface Timer {
  readonly dueMs: number;
  readonly run: () => void;
}

/**
 * A clock for the `clock` option: what waits for seconds or minutes is tested without waiting. Timers
 * run in the order in which they are due, within the call that moves the time.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sse } from "spillway";
 * import { FakeClock } from "spillway/testing";
 *
 * const clock = new FakeClock();
 * const silent = () => new Promise<void>(() => {});
 * const answer = sse(new Request("http://localhost/"), silent, { clock, stallMs: 0 });
 * await clock.advance(250); // the response headers are sent after 250 ms of silence
 * assert.equal((await answer).status, 200);
 * ```
 */
export class FakeClock implements Clock {
  #nowMs = 0;
  readonly #timers = new Set<Timer>();

  now(): number {
    return this.#nowMs;
  }

  /** Number of timers that are armed. */
  get armed(): number {
    return this.#timers.size;
  }

  setTimer(run: () => void, ms: number): unknown {
    const timer: Timer = { dueMs: this.#nowMs + Math.max(0, ms), run };
    this.#timers.add(timer);
    return timer;
  }

  clearTimer(timer: unknown): void {
    this.#timers.delete(timer as Timer);
  }

  /** Moves the time by `ms` at once: timers run, and what they settle goes on afterwards. */
  tick(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (let next = this.#next(endMs); next !== undefined; next = this.#next(endMs)) {
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.run();
    }
    this.#nowMs = endMs;
  }

  /** Moves the time by `ms`, and lets what each timer settles go on before the next one runs. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await turn();
    for (let next = this.#next(endMs); next !== undefined; next = this.#next(endMs)) {
      this.tick(Math.max(0, next.dueMs - this.#nowMs));
      await turn();
    }
    this.#nowMs = endMs;
  }

  /** The timer that is due first, until `endMs`. */
  #next(endMs: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueMs <= endMs && (next === undefined || timer.dueMs < next.dueMs)) next = timer;
    }
    return next;
  }
}

/** A turn of the event loop, with all that waits in it. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
