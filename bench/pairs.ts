/**
 * Judges a change of the code: measures rows with the server of another checkout (before) and of this one (after) by
 * turns, and prints the median of the paired ratios with its interval. The order is swapped in every pair (ABBA), so
 * that drift of the machine cancels out.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import type { Run } from "./cases/case.ts";
import { CASES, measure, plan } from "./plan.ts";
import { compare, mainFigures, type Pair } from "./ratios.ts";
import { programOf, ROOT } from "./server.ts";

const HELP = `bun bench/pairs.ts BEFORE_DIR [options]
  BEFORE_DIR      a checkout of the code before the change, with its node_modules; this one is the code after it
  --case NAME     these cases (${
  CASES.map(({ name }) => name).join(", ")
}), comma-separated; burst by default
  --only NAME     only subjects whose name or "name/runtime" is given, comma-separated; Spillway's by default
  --variant TEXT  only variants that contain the text ("generator text 64")
  --pairs N       pairs of each row, 20 by default; six at least for an interval
  --seconds N     measure each window for so long, after the same warm-up; the case's own length by default`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    case: { type: "string", default: "burst" },
    only: { type: "string" },
    variant: { type: "string" },
    pairs: { type: "string", default: "20" },
    seconds: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

/** A row of the result: a run, its name, and what its pairs have measured so far. */
type Row = { name: string; run: Run; pairs: Pair[]; failures: string[] };

function positive(name: string, value: string): number {
  const number = Number(value);
  if (number > 0) return number;
  throw new RangeError(`--${name} must be a number above zero: ${value}`);
}

function rows(before: string): Row[] {
  const { case: cases, only, variant, seconds } = values;
  const ms = seconds === undefined ? undefined : positive("seconds", seconds) * 1000;
  const choice = { kinds: ["own"], cases, only, variant, quick: false } as const;
  const planned = plan(choice).flatMap(({ of, runs }) =>
    runs.map((run): Row => ({
      name: `${of.name}, ${run.variant}: ${run.subject.name}/${run.subject.runtime}`,
      run: ms !== undefined && "job" in run ? { ...run, job: { ...run.job, ms } } : run,
      pairs: [],
      failures: [],
    }))
  );
  if (planned.length === 0) throw new RangeError("Nothing to measure: no case has such a row");
  for (const { run: { subject } } of planned) {
    const file = programOf(subject, before);
    if (!existsSync(file)) throw new RangeError(`Nothing to compare with: no ${file}`);
  }
  return planned;
}

async function measurePair(run: Run, before: string, isSwapped: boolean): Promise<Pair> {
  if (!isSwapped) return { before: await measure(run, before), after: await measure(run) };
  const after = await measure(run);
  return { before: await measure(run, before), after };
}

function number(value: number): string {
  return value >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}

/** A pair's figures, for its progress line. */
function brief({ before, after }: Pair, run: Run): string {
  return mainFigures(run).flatMap(({ name, heading }) => {
    const [was, is] = [before[name], after[name]];
    if (was === undefined || is === undefined) return [];
    return `${heading} ${number(was)} before, ${number(is)} after: ${(is / was).toFixed(3)}`;
  }).join("; ");
}

function table(all: readonly Row[]): string {
  const lines = [
    "| row | figure | after / before | 95 % interval | pairs | mark |",
    "| :-- | :-- | --: | --: | --: | :-- |",
  ];
  for (const { name, run, pairs } of all) {
    for (const main of mainFigures(run)) {
      const found = compare(pairs, main);
      if (found === undefined) continue;
      const interval = found.interval?.map((end) => end.toFixed(3)).join("–") ?? "";
      const figure = `${main.heading} (${main.better} is better)`;
      const cells = [name, figure, found.median.toFixed(3), interval, found.pairs, found.mark];
      lines.push(`| ${cells.join(" | ")} |`);
    }
  }
  return lines.join("\n");
}

async function main(): Promise<boolean> {
  const [folder] = positionals;
  if (values.help || folder === undefined || positionals.length > 1) {
    console.log(HELP);
    return values.help;
  }
  const before = resolve(folder);
  const all = rows(before);
  const count = Math.ceil(positive("pairs", values.pairs));
  const started = Date.now();
  console.error(`before: ${before}\nafter: ${ROOT}`);
  for (let pair = 1; pair <= count; pair++) {
    for (const { name, run, pairs, failures } of all) {
      let line: string;
      try {
        const measured = await measurePair(run, before, pair % 2 === 0);
        pairs.push(measured);
        line = brief(measured, run);
      } catch (error) {
        line = `FAILED: ${(error as Error).message}`;
        failures.push(line);
      }
      const seconds = Math.round((Date.now() - started) / 1000);
      console.error(`[pair ${pair}/${count}, ${seconds}s] ${name}: ${line}`);
    }
  }
  console.log(table(all));
  const failed = all.filter(({ failures }) => failures.length > 0);
  for (const { name, failures } of failed) {
    console.log(`\n${failures.length} of ${count} pairs left out, ${name}: ${failures[0]}`);
  }
  return failed.length === 0;
}

try {
  process.exit(await main() ? 0 : 1);
} catch (error) {
  if (!(error instanceof RangeError)) throw error;
  console.error(error.message); // a mistake on the command line needs no stack
  process.exit(1);
}
