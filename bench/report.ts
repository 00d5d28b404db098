/**
 * From the JSON of a run to what people read: a table per case, the table of targets, and the chart.
 * `bun bench/report.ts [FILE.json]` writes `FILE.md` and `FILE.svg` beside it; the runner prints the same text.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { chart } from "./chart.ts";
import { isSaturated, type Spread, spread } from "./measure.ts";
import type { Results, Sample } from "./results.ts";
import { UPSTREAM_ITSELF } from "./subjects.ts";
import { judge, type Mark } from "./targets.ts";

const RATE: [name: string, heading: string, factor: number][] = [
  ["tokensPerSecond", "million tokens/s", 1e-6],
  ["nsPerToken", "processor ns/token", 1],
];

/** The figures a case is about: name in the samples, heading, and factor into the heading's unit. */
const SHOWN: Record<string, [name: string, heading: string, factor: number][]> = {
  burst: RATE,
  formats: RATE,
  replay: RATE,
  redis: [
    ...RATE,
    ["usPerToken", "processor µs/token", 1],
    ["p50", "late p50 ms", 1],
    ["p99", "p99", 1],
    ["firstTokenP50", "first token p50 ms", 1],
    ["firstTokenP99", "p99", 1],
    ["entriesPerToken", "entries/token", 1],
    ["scriptsPerToken", "scripts/token", 1],
  ],
  capacity: [
    ["streams", "streams", 1],
    ["usPerToken", "processor µs/token at 500", 1],
    ["kbPerStream", "KB a stream", 1],
    ["p50", "late p50 ms", 1],
    ["p99", "p99", 1],
    ["failedAt", "too late at", 1],
  ],
  gateway: [
    ["addedFirstP50", "added to first token: p50 ms", 1],
    ["addedFirstP99", "p99", 1],
    ["addedTokenP50", "added to a token: p50 ms", 1],
    ["addedTokenP99", "p99", 1],
    ["requestsPerSecond", "requests/s", 1],
    ["usPerRequest", "processor µs/request", 1],
    ["serverShare", "core used %", 100],
  ],
  paced: [
    ["usPerToken", "processor µs/token", 1],
    ["deliveredShare", "delivered %", 100],
    ["p50", "late p50 ms", 1],
    ["p99", "p99", 1],
    ["p999", "p99.9", 1],
  ],
  first: [
    ["firstByteP50", "first byte p50 ms", 1],
    ["firstTokenP50", "first token p50 ms", 1],
    ["firstTokenP99", "p99", 1],
  ],
  fairness: [
    ["worstWaitMs", "worst wait ms", 1],
    ["p50WaitMs", "median wait ms", 1],
    ["burstMs", "burst ms", 1],
  ],
  relay: [
    ["tokensPerSecond", "million tokens/s", 1e-6],
    ["nsPerToken", "processor ns/token", 1],
    ["firstTokenP50", "first token p50 ms", 1],
    ["firstTokenP99", "p99", 1],
  ],
  memory: [["kbPerStream", "KB per idle stream", 1], ["grownMiB", "grown MiB", 1]],
  codec: ["event", "16KiB", "64B", "encode"].flatMap((name) => [
    [`${name} ns`, `${name}: ns/event`, 1],
    [`${name} MB/s`, "MB/s", 1],
  ]),
};

function number(value: number): string {
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return String(Number(value.toPrecision(3)));
}

/** Median, and least to greatest in brackets. */
function cell(samples: readonly Sample[], name: string, factor: number): string {
  const values = samples.flatMap(({ figures }) => figures[name] ?? []).map((value) =>
    value * factor
  );
  if (values.length === 0) return "";
  const { median, min, max } = spread(values);
  return min === max ? number(median) : `${number(median)} (${number(min)}–${number(max)})`;
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

function groups<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const found = new Map<string, T[]>();
  for (const item of items) found.set(key(item), [...found.get(key(item)) ?? [], item]);
  return found;
}

/** What a gateway adds to the latency of its upstream, percentile by percentile, within a round. */
const ADDED = {
  addedFirstP50: "firstTokenP50",
  addedFirstP99: "firstTokenP99",
  addedTokenP50: "tokenP50",
  addedTokenP99: "tokenP99",
};

/** The samples, those of a gateway with what it adds. */
export function withAdded(samples: readonly Sample[]): Sample[] {
  const gateways = samples.filter((sample) => sample.case === "gateway");
  return samples.map((sample) => {
    const upstream = gateways.find(({ subject, variant, round }) =>
      subject === UPSTREAM_ITSELF && variant === sample.variant && round === sample.round
    );
    if (sample.case !== "gateway" || upstream === undefined) return sample;
    const added = Object.entries(ADDED).flatMap(([name, of]) => {
      const [its, least] = [sample.figures[of], upstream.figures[of]];
      return its === undefined || least === undefined ? [] : [[name, its - least] as const];
    });
    const isGateway = sample !== upstream && sample.variant.endsWith("streams");
    return isGateway
      ? { ...sample, figures: { ...sample.figures, ...Object.fromEntries(added) } }
      : sample;
  });
}

function caseTables(of: string, samples: readonly Sample[]): string[] {
  const lines = [`## ${of}`, ""];
  for (const [variant, each] of groups(samples, (sample) => sample.variant)) {
    const columns = (SHOWN[of] ?? []).filter(([name]) =>
      each.some(({ figures }) => name in figures)
    );
    lines.push(row([variant, ...columns.map(([, heading]) => heading)]));
    lines.push(row([":--", ...columns.map(() => "--:")]));
    for (
      const [subject, rounds] of groups(each, (sample) => `${sample.subject} (${sample.runtime})`)
    ) {
      const error = rounds.find((sample) => sample.error !== undefined)?.error;
      const isLimited = rounds.some(({ figures }) => isSaturated(figures));
      const cells = columns.map(([name, , factor]) => cell(rounds, name, factor));
      if (error !== undefined) {
        cells[0] = `${cells[0]} failed: ${error.slice(0, 120).replace(/[|\n]/g, " ")}`;
      }
      lines.push(row([subject + (isLimited ? " †" : ""), ...cells]));
    }
    lines.push("");
  }
  return lines;
}

function targetTable(samples: readonly Sample[]): string[] {
  const verdicts = judge(samples);
  if (verdicts.length === 0) return [];
  const lines = [
    "## To reach",
    "",
    row(["figure", "to reach", "measured", "by processor time", "mark"]),
    row([":--", "--:", "--:", "--:", ":--"]),
  ];
  const shown = ({ median, min, max }: Spread, unit: string) =>
    `${number(median)} ${unit} (${number(min)}–${number(max)})`;
  for (const { target: { what, bound, figure, unit }, spread, byProcessor, mark } of verdicts) {
    lines.push(row([
      what,
      `${bound} ${figure} ${unit}`,
      shown(spread, unit),
      byProcessor === undefined ? "" : shown(byProcessor, unit),
      mark,
    ]));
  }
  const count = (wanted: Mark) => verdicts.filter(({ mark }) => mark === wanted).length;
  const counts = (["reached", "only within the spread", "not reached"] as const)
    .map((mark) => `${count(mark)} ${mark}`).join(", ");
  return [...lines, "", `Marks: ${counts}.`, ""];
}

/** The whole report in Markdown. */
export function report({ samples, machine, versions, ...run }: Results): string {
  const lines = [
    "# Benchmark results",
    "",
    `${run.date} · commit ${run.commit}${
      run.dirty ? " with changes" : ""
    } · \`${run.command}\` · ${run.rounds} rounds`,
    "",
    `${machine["cpu"]}, ${machine["cores"]} cores, ${machine["memoryGiB"]} GiB, ${
      machine["system"]
    }; ${machine["pinning"]}`,
    "",
    Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(" · "),
    "",
    "Medians of the interleaved rounds, least and greatest in brackets. † the load generator's core was saturated: " +
    "the server can do more.",
    "",
    ...targetTable(samples),
  ];
  // What a core holds, and the price of a token at the pace of a model, concern everybody; bursts come second.
  const rank = (of: string) => ["paced", "capacity"].indexOf(of);
  const cases = [...groups(withAdded(samples), (sample) => sample.case)]
    .sort(([a], [b]) => rank(b) - rank(a));
  for (const [of, each] of cases) lines.push(...caseTables(of, each));
  return lines.join("\n");
}

/** Writes the report and the chart beside the JSON file. */
export function writeReport(file: string, results: Results): void {
  const base = file.replace(/\.json$/, "");
  writeFileSync(`${base}.md`, report(results));
  const svg = chart(results);
  if (svg !== "") writeFileSync(`${base}.svg`, svg);
}

if (import.meta.main) {
  const latest = join(fileURLToPath(new URL(".", import.meta.url)), "results", "latest.json");
  const file = process.argv[2] ?? latest;
  writeReport(file, JSON.parse(readFileSync(file, "utf8")) as Results);
}
