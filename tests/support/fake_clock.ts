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

/** One turn of the real event loop, in which each stream that has asked for a turn gets it. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    if ("Deno" in globalThis && performance.now() - lastTimerMs > BUSY_MS) {
      setTimeout(() => {
        lastTimerMs = performance.now();
        resolve();
      }, 0);
    } else setImmediate(() => resolve());
  });
}
