/** The clock of the tests: the one of `spillway/testing`, whose turns are as short as they can be. */
import { setImmediate } from "node:timers";
import { FakeClock as PublicClock } from "../../lib/testing.ts";

const TURNS = 4;

/** Time for tests. */
export class FakeClock extends PublicClock {
  protected override async rest(): Promise<void> {
    for (let i = 0; i < TURNS; i++) await turn();
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
