/** A clock that stands still until a test moves it. */
import type { Clock } from "../pipeline/scheduler.ts";

interface Timer {
  readonly dueMs: number;
  readonly run: () => void;
}

/** Turns of the event loop in which promises and hops of the scheduler come to rest. */
const TURNS = 4;

/**
 * A clock for the `clock` option: what waits for seconds or minutes is tested without waiting. Timers
 * run in the order in which they are due.
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
  /** Those that are armed, the next one first. */
  readonly #timers: Timer[] = [];

  /** The time of this clock, in ms; 0 at first. */
  now(): number {
    return this.#nowMs;
  }

  /** Number of timers that are armed. */
  get armed(): number {
    return this.#timers.length;
  }

  /** Arms a timer that runs when the clock has been moved by `ms`. Returns its handle. */
  setTimer(run: () => void, ms: number): unknown {
    const timer: Timer = { run, dueMs: this.#nowMs + Math.max(0, ms) };
    let at = this.#timers.length;
    while (at > 0 && this.#timers[at - 1]!.dueMs > timer.dueMs) at--;
    this.#timers.splice(at, 0, timer);
    return timer;
  }

  /** Disarms a timer, by what `setTimer` returned; one that has run is ignored. */
  clearTimer(timer: unknown): void {
    const at = this.#timers.indexOf(timer as Timer);
    if (at >= 0) this.#timers.splice(at, 1);
  }

  /** Resolves after `ms` of this clock. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.setTimer(resolve, ms));
  }

  /** Moves the time by `ms` at once: timers run, and what they settle goes on afterwards. */
  tick(ms: number): void {
    const endMs = this.#nowMs + ms;
    while (this.#runNext(endMs));
    this.#nowMs = endMs;
  }

  /** Moves the time by `ms`, and lets what each timer settles go on before the next one runs. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await this.rest();
    while (this.#runNext(endMs)) await this.rest();
    this.#nowMs = endMs;
  }

  /**
   * Moves the time until `promise` settles, from one timer to the next.
   *
   * @throws {Error} If that takes more than `limitMs`.
   */
  async during<T>(promise: Promise<T>, limitMs = 120_000): Promise<T> {
    const endMs = this.#nowMs + limitMs;
    let isSettled = false;
    const settle = () => void (isSettled = true);
    promise.then(settle, settle);
    for (await this.rest(); !isSettled; await this.rest()) {
      if (!this.#runNext(endMs)) throw new Error(`Not within ${limitMs} ms of the fake clock`);
    }
    return await promise;
  }

  /** Lets all that is under way come to rest, between two timers. */
  protected async rest(): Promise<void> {
    for (let i = 0; i < TURNS; i++) await new Promise((resolve) => setTimeout(resolve, 0));
  }

  /** Runs the next timer if it is due by then. */
  #runNext(endMs: number): boolean {
    const next = this.#timers[0];
    if (next === undefined || next.dueMs > endMs) return false;
    this.#timers.shift();
    this.#nowMs = Math.max(this.#nowMs, next.dueMs);
    next.run();
    return true;
  }
}
