/** Figures beside their limits, and the load's share, without which no figure is the server's. */
import process from "node:process";
import { type Context, type Suite } from "./context.ts";

/** One figure of a run. */
export interface Figure {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  /** What it may be at most; one without is told beside the others. */
  readonly limit?: number;
}

/** Measures a server beside a bare control of the same runtime, in one run. */
export type Measurement = (context: Context) => Promise<Figure[]>;

/** A number as people read it. */
const short = (value: number) => String(Number(value.toPrecision(value < 100 ? 3 : 6)));

/** A figure in a line: whether it is within its limit, which may be none. */
export function lineOf(figure: Figure): string {
  const { what, value, unit, limit } = figure;
  const text = `${what}: ${short(value)} ${unit}`.trimEnd();
  if (limit === undefined) return `     ${text}`;
  return `${isMissed(figure) ? "MISS" : "ok  "} ${text}, limit ${short(limit)}`;
}

/** Whether a figure is over its limit, or could not be had. */
export function isMissed({ value, limit }: Figure): boolean {
  return limit !== undefined && !(value <= limit);
}

/** A suite of a measurement: it fails if a figure misses its limit. */
export function suiteOf(measure: Measurement): Suite {
  return async (context) => {
    const figures = await measure(context);
    const lines = figures.map(lineOf).join("\n");
    if (figures.some(isMissed)) throw new Error(lines);
    return `\n${lines}`.replaceAll("\n", "\n    ");
  };
}

/** Past this share of its core the load is what was measured. */
const MAX_LOAD_SHARE = 0.9;

/** Watches how busy the load, this process, is: the function that it returns says so as a figure. */
export function startLoad(): (name: string) => Figure {
  const [cpu, begunMs] = [process.cpuUsage(), performance.now()];
  return (name) => {
    const { user, system } = process.cpuUsage(cpu);
    const share = (user + system) / 1000 / (performance.now() - begunMs);
    return {
      what: `${name}, the load's share of a core`,
      value: share,
      unit: "",
      limit: MAX_LOAD_SHARE,
    };
  };
}
