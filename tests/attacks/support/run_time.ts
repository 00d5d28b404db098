/**
 * The time in which this process ran. A machine that is stopped and goes on, as a virtual one is, makes a
 * server late for nothing that it does.
 */

/** How often it is looked at the clock, and the gap from which this process was held up, in ms. */
const LOOK_MS = 50;
const HELD_UP_MS = 1000;

/** A clock that stands still while this process is stopped. */
export class RunTime {
  #lastMs = performance.now();
  #heldUpMs = 0;
  readonly #timer = setInterval(() => this.now(), LOOK_MS);

  /** The time in ms, from any start. */
  now(): number {
    const nowMs = performance.now();
    const gapMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    if (gapMs >= HELD_UP_MS) this.#heldUpMs += gapMs;
    return nowMs - this.#heldUpMs;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
