/** The time limits of a request to an upstream. */
import { active } from "../counters.ts";
import { StreamError } from "../error.ts";
import { type Clock, sleep, systemClock } from "../pipeline/scheduler.ts";

/**
 * One timer for all time limits of a request, moved by an assignment. It also passes on the abort
 * of the queue's signal, so that the fetch has one signal to listen to.
 *
 * There are two limits at any time: that of the step, which each sign of life moves, and an end,
 * which only the time that our own client takes moves.
 */
export class Deadline {
  readonly #abort = new AbortController();
  readonly #parent: AbortSignal;
  readonly #clock: Clock;
  #dueMs = Infinity;
  #limitMs = Infinity;
  /** The option that limits the step. */
  #limit = "";
  #endMs = Infinity;
  /** The option that sets the end. */
  #endLimit = "";
  /** Since when our own client is waited for; `undefined` while it is not. */
  #heldSinceMs: number | undefined;
  #timer: unknown;
  /** When the timer fires: at its due time, or before, and then it checks again. */
  #firesMs = Infinity;
  #timeout: StreamError | undefined;
  readonly #passOn = (): void => this.#abort.abort(this.#parent.reason);

  constructor(parent: AbortSignal, clock: Clock = systemClock) {
    this.#parent = parent;
    this.#clock = clock;
    parent.addEventListener("abort", this.#passOn);
    active.listeners++;
    if (parent.aborted) this.#passOn();
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Time until the nearest limit, in ms; `Infinity` if there is none. */
  get leftMs(): number {
    return this.#dueMs - this.#clock.now();
  }

  /** Sets the end, as a time of the clock; it holds from the next step on. */
  endAt(endMs: number, limit: string): void {
    this.#endMs = endMs;
    this.#endLimit = limit;
  }

  /**
   * Sets the limit for the next step.
   *
   * @param limitMs In ms; `Infinity` leaves the end alone.
   * @param limit The option that it comes from, for the operator.
   * @returns The time at which the step begins.
   */
  expect(limitMs: number, limit: string): number {
    this.#limit = limit;
    this.#limitMs = limitMs;
    return this.extend();
  }

  /** Begins the step's limit anew, at a sign of life. Returns the time at which it begins. */
  extend(): number {
    const nowMs = this.#clock.now();
    const dueMs = nowMs + this.#limitMs;
    this.#dueMs = dueMs < this.#endMs ? dueMs : this.#endMs;
    if (this.#dueMs < this.#firesMs) this.#arm();
    return nowMs;
  }

  /** Stops every limit while our own client is slow: the upstream is not late then. */
  hold(): void {
    this.#heldSinceMs ??= this.#clock.now();
    this.#dueMs = Infinity;
  }

  /** Ends `hold`, and begins the step's limit anew. */
  release(): void {
    if (this.#heldSinceMs === undefined) return;
    this.#endMs += this.#clock.now() - this.#heldSinceMs;
    this.#heldSinceMs = undefined;
    this.extend();
  }

  /**
   * Throws if the request has to end.
   *
   * @throws {StreamError} `upstream_timeout` if a limit has passed; the abort's reason if it
   * aborted.
   */
  check(): void {
    if (this.#timeout !== undefined) throw this.#timeout;
    if (this.#parent.aborted) throw this.#parent.reason;
  }

  /** Waits, unless the request is aborted meanwhile. */
  async pause(ms: number): Promise<void> {
    this.check();
    await sleep(ms, this.signal, this.#clock);
    this.check();
  }

  /** Calls `run` once after `ms`, whatever the limits are. Returns what takes it back. */
  after(ms: number, run: () => void): () => void {
    let isWaiting = true;
    const settle = (): void => {
      if (isWaiting) active.timers--;
      isWaiting = false;
    };
    active.timers++;
    const timer = this.#clock.setTimer(() => {
      settle();
      run();
    }, ms);
    return () => {
      this.#clock.clearTimer(timer);
      settle();
    };
  }

  stop(): void {
    this.#parent.removeEventListener("abort", this.#passOn);
    active.listeners--;
    this.#disarm();
  }

  #arm(): void {
    this.#disarm();
    active.timers++;
    this.#firesMs = this.#dueMs;
    this.#timer = this.#clock.setTimer(() => {
      this.#disarm();
      const nowMs = this.#clock.now();
      if (nowMs < this.#dueMs) {
        if (this.#dueMs < Infinity) this.#arm();
        return;
      }
      const limit = nowMs < this.#endMs ? this.#limit : this.#endLimit;
      const cause = new Error(`${limit} has passed`);
      this.#timeout = new StreamError("upstream_timeout", { cause });
      this.#abort.abort(this.#timeout);
    }, Math.max(0, this.#dueMs - this.#clock.now()));
  }

  #disarm(): void {
    if (this.#timer === undefined) return;
    this.#clock.clearTimer(this.#timer);
    this.#timer = undefined;
    this.#firesMs = Infinity;
    active.timers--;
  }
}
