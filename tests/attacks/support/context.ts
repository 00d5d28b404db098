/** What a suite of attacks is given. */
import type { Runtime } from "./victim.ts";

/** One run of a suite against one runtime. */
export interface Context {
  readonly runtime: Runtime;
  /** Whether it is the short run of the test suite. */
  readonly quick: boolean;
  /** Says how far it is. */
  progress(text: string): void;
}

/** A suite: resolves to what it has measured, and rejects with what it has found. */
export type Suite = (context: Context) => Promise<string>;

/** Waits. */
export const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms));

/** The middle of some numbers, and other quantiles. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}
