/** Measurements that hold on a machine that has other things to do. */
import process from "node:process";
import test, { type TestContext } from "node:test";
import { active } from "../../lib/counters.ts";
import { until } from "./serve.ts";

/** Starts to count the processor time of this process, in ms; the result tells how much it was since. */
export function processorTime(): () => number {
  const from = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(from);
    return (user + system) / 1000;
  };
}

/**
 * The first measurement that is no more than `atMost`, else the least of five: a neighbour makes some of
 * them longer, a fault makes all of them so.
 */
export async function least(
  atMost: number,
  measure: () => number | Promise<number>,
): Promise<number> {
  let found = Infinity;
  for (let i = 0; i < 5 && found > atMost; i++) found = Math.min(found, await measure());
  return found;
}

/**
 * Runs what a neighbour can break, and where it fails runs it again, twice at most: it is told which time it
 * is, from 0 on. What is at fault fails each time.
 */
export async function tried(name: string, run: (again: number) => Promise<void>): Promise<void> {
  for (let again = 0;; again++) {
    try {
      return await run(again);
    } catch (error) {
      if (again === 2) throw error;
      console.error(`Tried again: ${name}: ${`${error}`.split("\n", 1)}`);
      // The next try does not begin with what this one has left.
      const isOver = () => Object.values(active).every((count) => count === 0);
      await until(isOver, 5000, "nothing left").catch(() => {});
    }
  }
}

/** A test of what has to happen in time, or of limits that are short, which is tried again where it fails. */
export function timed(name: string, run: (context: TestContext) => Promise<void>): void {
  test(name, (context) => tried(name, () => run(context)));
}
