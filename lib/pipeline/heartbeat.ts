/**
 * One timer that checks all silent streams, or one each where timers belong to a request. Separate
 * from the streams because a timer that each token re-arms would cost 0.4 µs (Bun) to 1.9 µs (Deno).
 */
import { active } from "../counters.ts";
import { type Clock, PER_REQUEST } from "./scheduler.ts";

/** Something that has to be checked from time to time. `sweep` must not throw. */
export interface Swept {
  /** The shortest time limit of this object, in ms. */
  readonly shortestMs: number;
  sweep(nowMs: number): void;
}

/** The period of the timer: a limit of 5 s is checked twice a second, a limit of 100 ms every 25 ms. */
function periodFor(limitMs: number): number {
  return Math.min(500, Math.max(25, limitMs / 10));
}

/** One timer for everything that is registered, as long as anything is. */
class Sweeper {
  readonly #clock: Clock;
  readonly #registered = new Set<Swept>();
  #timer: unknown;
  #periodMs = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Checks `stream` until `unregister`, often enough for its shortest limit. */
  register(stream: Swept): void {
    this.#registered.add(stream);
    const wanted = periodFor(stream.shortestMs);
    if (this.#periodMs <= wanted) return;
    this.#stop();
    this.#periodMs = wanted;
    active.timers++;
    this.#arm();
  }

  /** Stops checking; the timer goes with the last one. */
  unregister(stream: Swept): void {
    if (this.#registered.delete(stream) && this.#registered.size === 0) this.#stop();
  }

  #arm(): void {
    this.#timer = this.#clock.setTimer(() => this.#sweep(), this.#periodMs);
  }

  #stop(): void {
    if (this.#periodMs === Infinity) return;
    this.#clock.clearTimer(this.#timer);
    this.#periodMs = Infinity;
    active.timers--;
  }

  #sweep(): void {
    this.#arm();
    // Half a period early rather than a period late.
    const nowMs = this.#clock.now() + this.#periodMs / 2;
    for (const stream of this.#registered) stream.sweep(nowMs);
  }
}

/** By clock; by stream where timers belong to a request. */
const sweepers = new WeakMap<object, Sweeper>();

/** The sweeper that checks a stream: one for all on its clock, or its own. */
export function sweeperOf(clock: Clock, stream: Swept): Sweeper {
  const owner = PER_REQUEST ? stream : clock;
  let sweeper = sweepers.get(owner);
  if (sweeper === undefined) sweepers.set(owner, sweeper = new Sweeper(clock));
  return sweeper;
}
