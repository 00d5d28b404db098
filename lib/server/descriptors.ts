/**
 * How many streams the open files of a process allow. Separate from the settings because it is the
 * machine that says so.
 */
import { readFileSync } from "node:fs";

/** Files that are open beside connections: modules, the log, Redis, the listener. */
const RESERVE = 64;

/** How many files this process may have open, as `ulimit -n`; `undefined` where nobody tells. */
export function maxOpenFiles(): number | undefined {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    const [, soft] = /^Max open files +(\d+) /m.exec(limits) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined; // not Linux
  }
}

/** What fits into so many open files. */
export interface FittingLimits {
  readonly maxStreams: number;
  readonly maxBodies: number;
}

/**
 * The limits that can be kept with so many open files: half of them for streams, with a connection to the
 * upstream each where there is one, a quarter for bodies, and the rest for clients that come back and for
 * connections without a request.
 *
 * @param perStream How many files a stream takes, 1 or 2.
 */
export function fittingLimits(
  wanted: FittingLimits,
  files: number | undefined,
  perStream: number,
): FittingLimits {
  if (files === undefined) return wanted;
  const room = Math.max(0, files - RESERVE);
  return {
    maxStreams: Math.max(1, Math.min(wanted.maxStreams, Math.floor(room / 2 / perStream))),
    maxBodies: Math.max(1, Math.min(wanted.maxBodies, Math.floor(room / 4))),
  };
}

/** How many open files so many streams need. */
export function filesFor(maxStreams: number, perStream: number): number {
  return RESERVE + 2 * perStream * maxStreams;
}
