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

/** Checks streams from time to time. */
export interface Sweeper {
  /** Checks `stream` until `unregister`, often enough for its shortest limit. */
  register(stream: Swept): void;
  /** Stops checking; the timer goes with the last one. */
  unregister(stream: Swept): void;
}

/** One timer for everything that is registered, as long as anything is. */
class SharedSweeper implements Sweeper {
  readonly #clock: Clock;
  readonly #registered = new Set<Swept>();
  #timer: unknown;
  #periodMs = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  register(stream: Swept): void {
    this.#registered.add(stream);
    const wanted = periodFor(stream.shortestMs);
    if (this.#periodMs <= wanted) return;
    this.#stop();
    this.#periodMs = wanted;
    active.timers++;
    this.#arm();
  }

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

/** A timer for each, armed in the request that registers it. */
class OwnSweeper implements Sweeper {
  readonly #clock: Clock;
  readonly #sweepers = new Map<Swept, SharedSweeper>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  register(stream: Swept): void {
    if (this.#sweepers.has(stream)) return;
    const sweeper = new SharedSweeper(this.#clock);
    this.#sweepers.set(stream, sweeper);
    sweeper.register(stream);
  }

  unregister(stream: Swept): void {
    this.#sweepers.get(stream)?.unregister(stream);
    this.#sweepers.delete(stream);
  }
}

const sweepers = new WeakMap<Clock, Sweeper>();

/** The sweeper of a clock. */
export function sweeperOf(clock: Clock): Sweeper {
  let sweeper = sweepers.get(clock);
  if (sweeper === undefined) {
    sweeper = PER_REQUEST ? new OwnSweeper(clock) : new SharedSweeper(clock);
    sweepers.set(clock, sweeper);
  }
  return sweeper;
}
