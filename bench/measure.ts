/**
 * What a measurement is made of: the processor time and memory of a process, percentiles, the median of rounds
 * and how sure it is.
 * It reads `/proc`, the only way to the processor time of a process that is not one's own; elsewhere these are `NaN`.
 */
import { readdirSync, readFileSync } from "node:fs";

/** Nanoseconds of processor that all living threads of a process have used. */
export function processorNs(pid: number): number {
  try {
    let total = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      try {
        total += Number(
          readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0],
        );
      } catch {
        // The thread ended between the two reads; what it used in the window is lost, which is microseconds.
      }
    }
    return total;
  } catch {
    return NaN; // no /proc on this system, or the process is gone
  }
}

/**
 * Nanoseconds that a core was not idle. Unlike `processorNs` this has the kernel's network work in interrupts, which
 * is charged to nobody; it also has whatever else ran on the core, so it is good on a quiet machine only.
 */
export function coreNs(core: number): number {
  try {
    const line = readFileSync("/proc/stat", "utf8").split("\n").find((each) =>
      each.startsWith(`cpu${core} `)
    )!;
    const [user, nice, system, _idle, _wait, irq, softirq] = line.split(" ").slice(1).map(
      Number,
    ) as number[];
    return (user! + nice! + system! + irq! + softirq!) * 1e7;
  } catch {
    return NaN; // no /proc on this system
  }
}

/** Resident bytes of a process. */
export function residentBytes(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? NaN) * 1024;
  } catch {
    return NaN; // as above
  }
}

/** The value below which a share of the values lies; `values` need not be sorted. */
export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) return NaN;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
}

/** Middle, least and greatest of the rounds. */
export type Spread = { median: number; min: number; max: number };

/** The spread of one value per round; the median of an even number is the mean of its two middles. */
export function spread(values: readonly number[]): Spread {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  if (sorted.length === 0) return { median: NaN, min: NaN, max: NaN };
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1
    ? sorted[middle]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted[sorted.length - 1]! };
}

/** The coverage of `medianInterval`. */
const COVERAGE = 0.95;

/**
 * The interval that holds the median of what the values are drawn from, in 95 of 100 cases or more. It takes the
 * values' order alone, whatever their distribution: each lies below the median as a coin falls, so the binomial
 * distribution says how many do. `undefined` for fewer than six values, whose whole range covers less.
 */
export function medianInterval(values: readonly number[]): [low: number, high: number] | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const { length } = sorted;
  let interval: [number, number] | undefined;
  let chance = 0.5 ** length; // that exactly `below` values lie below the median
  let tail = chance;
  for (let below = 0; 1 - 2 * tail >= COVERAGE; below++) {
    interval = [sorted[below]!, sorted[length - 1 - below]!];
    chance *= (length - below) / (below + 1);
    tail += chance;
  }
  return interval;
}

/** Whether the load generator's core was too busy in the window for the figures to be the server's. */
export function isSaturated(figures: Readonly<Record<string, number>>): boolean {
  return (figures["loadShare"] ?? 0) > 0.95;
}

/** A histogram of milliseconds in steps of 10 µs up to two seconds: constant memory for millions of latenesses. */
export class Histogram {
  readonly #steps = new Uint32Array(200_001);
  count = 0;

  add(ms: number): void {
    const step = Math.round(ms * 100);
    this.#steps[step < 0 ? 0 : step > 200_000 ? 200_000 : step]!++;
    this.count++;
  }

  /** Milliseconds below which a share lies. */
  percentile(share: number): number {
    let left = share * this.count;
    for (let step = 0; step <= 200_000; step++) {
      left -= this.#steps[step]!;
      if (left < 0) return step / 100;
    }
    return NaN;
  }
}
