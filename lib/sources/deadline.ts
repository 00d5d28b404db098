/** The time limits of a request to an upstream. */
import { active } from "../counters.ts";
import { StreamError } from "../error.ts";
import { type Clock, sleep, systemClock } from "../pipeline/scheduler.ts";

/**
 * One timer for all time limits of a request, moved by an assignment. It also passes on the abort
 * of the queue's signal, so that the fetch has one signal to listen to.
 */
export class Deadline {
  readonly #abort = new AbortController();
  readonly #parent: AbortSignal;
  readonly #clock: Clock;
  #dueMs = Infinity;
  #timer: unknown;
  /** When the timer fires: at its due time, or before, and then it checks again. */
  #firesMs = Infinity;
  #hasTimedOut = false;
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

  /** Sets the limit for the next step, in ms; `Infinity` is for ever. */
  expect(limitMs: number): void {
    this.#dueMs = this.#clock.now() + limitMs;
    if (this.#dueMs < this.#firesMs) this.#arm();
  }

  /**
   * Throws if the request has to end.
   *
   * @throws {StreamError} `upstream_timeout` if a limit has passed; the abort's reason if it
   * aborted.
   */
  check(): void {
    if (this.#hasTimedOut) throw new StreamError("upstream_timeout");
    if (this.#parent.aborted) throw this.#parent.reason;
  }

  /** Waits, unless the request is aborted meanwhile. */
  async pause(ms: number): Promise<void> {
    this.check();
    await sleep(ms, this.signal, this.#clock);
    this.check();
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
      if (this.#clock.now() < this.#dueMs) {
        if (this.#dueMs < Infinity) this.#arm();
        return;
      }
      this.#hasTimedOut = true;
      this.#abort.abort(new StreamError("upstream_timeout"));
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
