/**
 * What interleaved pairs say about a change: the median of the ratios after/before, and how sure it is. Separate from
 * `pairs.ts`, which starts processes.
 */
import type { Run } from "./cases/case.ts";
import type { Figures, Job } from "./job.ts";
import { isSaturated, medianInterval, spread } from "./measure.ts";

/** One row measured with the code before and after the change, one right after the other. */
export type Pair = { before: Figures; after: Figures };

/** A figure that a row is judged by. */
export type Main = { name: string; heading: string; better: "more" | "less" };

const less = (name: string, heading: string): Main => ({ name, heading, better: "less" });

const MAIN: Record<Job["mode"], readonly Main[]> = {
  burst: [
    { name: "tokensPerSecond", heading: "tokens/s", better: "more" },
    less("nsPerToken", "processor ns/token"),
  ],
  paced: [less("usPerToken", "processor µs/token"), less("p50", "late p50 ms")],
  rung: [
    { name: "streams", heading: "streams", better: "more" },
    less("usPerToken", "processor µs/token"),
  ],
  gateway: [
    less("firstTokenP50", "first token p50 ms"),
    less("usPerRequest", "processor µs/request"),
  ],
  first: [less("firstTokenP50", "first token p50 ms")],
  fairness: [less("worstWaitMs", "worst wait ms")],
  idle: [less("kbPerStream", "KB per idle stream")],
  stall: [less("grownMiB", "grown MiB")],
};

const CODEC = ["event", "16KiB", "64B", "encode"].map((name) =>
  less(`${name} ns`, `${name}: ns/event`)
);

/** The main figures of a run, the most telling first. */
export function mainFigures(run: Run): readonly Main[] {
  if ("args" in run) return CODEC;
  return MAIN[("job" in run ? run.job : run.ladder).mode];
}

/** What the pairs of a row say of one figure. */
export type Comparison = {
  /** The pairs that have the figure on both sides. */
  pairs: number;
  /** Of the ratios after/before. */
  median: number;
  /** The 95 % interval of the median; none for fewer than six pairs. */
  interval?: [low: number, high: number];
  /** In words, what the interval allows to say. */
  mark: string;
};

/** An interval that is wider says too little of a change of a few per cent for a verdict. */
const WIDEST = 0.05;

/** Compares one figure over the pairs of a row; `undefined` where no pair has it. */
export function compare(pairs: readonly Pair[], { name, better }: Main): Comparison | undefined {
  const ratios = pairs
    .map(({ before, after }) => (after[name] ?? NaN) / (before[name] ?? NaN))
    // No /proc, or a lateness below the clock's step: there is no ratio.
    .filter((ratio) => Number.isFinite(ratio) && ratio > 0);
  if (ratios.length === 0) return undefined;
  const { median } = spread(ratios);
  const interval = medianInterval(ratios);
  const said: string[] = [];
  if (interval === undefined) said.push("no interval: measure six pairs or more");
  else {
    const [low, high] = interval;
    if (high - low > WIDEST) said.push("interval wider than 5 points: measure longer");
    else if (low <= 1 && high >= 1) said.push("no difference shown");
    else said.push((low > 1) === (better === "more") ? "better" : "worse");
  }
  // A rate at the load generator's limit hides what the server has gained; its processor time still shows it.
  const isLimited = pairs.some(({ before, after }) => isSaturated(before) || isSaturated(after));
  if (isLimited && better === "more") {
    said.push("load generator saturated: the change may be larger");
  }
  const mark = said.join("; ");
  return { pairs: ratios.length, median, ...(interval && { interval }), mark };
}
