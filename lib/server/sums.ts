/**
 * The sum of what several processes have counted. Separate from the workers because it is arithmetic of
 * what `/metrics` shows, and knows no process.
 */
import type { Health, Report } from "../handler/together.ts";
import type { Stats } from "../handler/metrics.ts";

/** From the best to the worst. */
const HEALTHS: readonly Health[] = ["ok", "degraded", "draining"];
/** The states among the gauges, of which no sum is made: one log that is down counts, one that leaves not. */
const STATES: Readonly<Record<string, (a: number, b: number) => number>> = {
  spillway_log_up: Math.min,
  spillway_draining: Math.min,
};

/** The worst of several; `ok` without any. */
export function worstOf(healths: Iterable<Health>): Health {
  let worst = 0;
  for (const health of healths) worst = Math.max(worst, HEALTHS.indexOf(health));
  return HEALTHS[worst]!;
}

/** The samples of one metric. */
interface Family {
  /** Its `HELP` and `TYPE`. */
  readonly head: string[];
  isGauge: boolean;
  /** By name and labels, as they are printed. */
  readonly samples: Map<string, number>;
}

function familiesIn(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  let family: Family | undefined;
  for (const line of text.split("\n")) {
    const [, kind, name, type] = /^# (HELP|TYPE) (\w+) (.*)$/.exec(line) ?? [];
    if (kind === "HELP") {
      families.set(name!, family = { head: [], isGauge: false, samples: new Map() });
    }
    if (kind === "TYPE") family!.isGauge = type === "gauge";
    if (kind !== undefined) family!.head.push(line);
    else if (line !== "") {
      const space = line.lastIndexOf(" ");
      family!.samples.set(line.slice(0, space), Number(line.slice(space + 1)));
    }
  }
  return families;
}

function textOf(families: Iterable<Family>): string {
  const lines = [...families].flatMap(({ head, samples }) => [
    ...head,
    ...[...samples].map(([key, value]) => `${key} ${value}`),
  ]);
  return lines.map((line) => `${line}\n`).join("");
}

/** Prometheus text with the sum of each counter, histogram and gauge, and the states of all. */
function sumOfTexts([first = "", ...others]: readonly string[]): string {
  const families = familiesIn(first);
  for (const text of others) {
    for (const [name, { head, isGauge, samples }] of familiesIn(text)) {
      let sum = families.get(name);
      if (sum === undefined) families.set(name, sum = { head, isGauge, samples: new Map() });
      const add = STATES[name] ?? ((a: number, b: number) => a + b);
      for (const [key, value] of samples) {
        const known = sum.samples.get(key);
        sum.samples.set(key, known === undefined ? value : add(known, value));
      }
    }
  }
  return textOf(families.values());
}

/** Adds the numbers of two values of one shape, at any depth. */
function sumOf(a: unknown, b: unknown): unknown {
  if (a === undefined) return b;
  if (b === undefined) return a;
  if (typeof a === "number") return a + (b as number);
  const [left, right] = [a, b] as Record<string, unknown>[];
  const names = new Set([...Object.keys(left!), ...Object.keys(right!)]);
  return Object.fromEntries([...names].map((name) => [name, sumOf(left![name], right![name])]));
}

/** The sum of several reports, of which there is one at least. */
export function sumOfReports(reports: readonly Report[]): Report {
  return {
    health: worstOf(reports.map(({ health }) => health)),
    stats: reports.map(({ stats }) => stats as unknown).reduce(sumOf) as Stats,
    text: sumOfTexts(reports.map(({ text }) => text)),
  };
}

/** What is left of a report when its process has ended: what has happened, and nothing that is open. */
export function endedOf({ stats, text }: Report): Report {
  const { log: _log, active, ...happened } = stats;
  const none = Object.fromEntries(Object.keys(active).map((name) => [name, 0]));
  const counters = [...familiesIn(text).values()].filter(({ isGauge }) => !isGauge);
  return {
    health: "ok",
    stats: { ...happened, active: none as unknown as Stats["active"] },
    text: textOf(counters),
  };
}
