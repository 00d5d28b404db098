/** A clock that stands still until the test moves it. */
import { setImmediate } from "node:timers";
import type { Clock } from "../../lib/pipeline/scheduler.ts";

interface Timer {
  readonly run: () => void;
  readonly atMs: number;
}

/**
 * Turns of the event loop between two timers: a chain of promises and hops of the scheduler comes to
 * its end in them.
 */
const TURNS = 4;

/** Time for tests. Timers run in the order in which they are due. */
export class FakeClock implements Clock {
  #nowMs = 1_000_000;
  /** Those that are set, the next one first. */
  readonly #timers: Timer[] = [];

  now(): number {
    return this.#nowMs;
  }

  setTimer(run: () => void, ms: number): unknown {
    const timer: Timer = { run, atMs: this.#nowMs + Math.max(0, ms) };
    let at = this.#timers.length;
    while (at > 0 && this.#timers[at - 1]!.atMs > timer.atMs) at--;
    this.#timers.splice(at, 0, timer);
    return timer;
  }

  clearTimer(timer: unknown): void {
    const at = this.#timers.indexOf(timer as Timer);
    if (at >= 0) this.#timers.splice(at, 1);
  }

  /** Number of timers that are set. */
  get timers(): number {
    return this.#timers.length;
  }

  /** Resolves after `ms` of this clock. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.setTimer(resolve, ms));
  }

  /** Passes `ms` at once: nothing but the timers runs meanwhile. */
  tick(ms: number): void {
    const untilMs = this.#nowMs + ms;
    while (this.#runNext(untilMs));
    this.#nowMs = untilMs;
  }

  /** Passes `ms`; what the timers have set going comes to rest before the next of them. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await rest();
    while (this.#runNext(untilMs)) await rest();
    this.#nowMs = untilMs;
  }

  /**
   * Passes time until `promise` settles, from one timer to the next.
   *
   * @throws {Error} If that takes more than `limitMs`.
   */
  async during<T>(promise: Promise<T>, limitMs = 120_000): Promise<T> {
    const untilMs = this.#nowMs + limitMs;
    let isSettled = false;
    const settle = () => void (isSettled = true);
    promise.then(settle, settle);
    for (await rest(); !isSettled; await rest()) {
      if (!this.#runNext(untilMs)) throw new Error(`Not within ${limitMs} ms of the fake clock`);
    }
    return await promise;
  }

  /** Runs the next timer if it is due by then. */
  #runNext(untilMs: number): boolean {
    const next = this.#timers[0];
    if (next === undefined || next.atMs > untilMs) return false;
    this.#timers.shift();
    this.#nowMs = Math.max(this.#nowMs, next.atMs);
    next.run();
    return true;
  }
}

/**
 * The scheduler of streams hops through a real timer on Deno when it has been busy for 3 ms: before
 * that, a turn is as long as such a timer.
 */
const BUSY_MS = 2;
let lastTimerMs = 0;

/** A turn that is as long as any hop of the scheduler. */
export function longTurn(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(() => {
      lastTimerMs = performance.now();
      resolve();
    }, 0);
  });
}

/** One turn of the real event loop, in which streams that have asked for a turn get it, or soon after. */
export function turn(): Promise<void> {
  if ("Deno" in globalThis && performance.now() - lastTimerMs > BUSY_MS) return longTurn();
  return new Promise((resolve) => void setImmediate(() => resolve()));
}

/** Lets all that is under way come to rest. */
async function rest(): Promise<void> {
  for (let i = 0; i < TURNS; i++) await turn();
}
