/**
 * The benchmark's entry: interleaves the runs of each case over the rounds (A B C A B C), shows progress and writes
 * one JSON file, from which `report.ts` makes the tables and the chart. Runs under Bun and Deno alike.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { arch, cpus, platform, release, totalmem } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Figures } from "./job.ts";
import { isSaturated } from "./measure.ts";
import { CASES, measure, plan } from "./plan.ts";
import { report, writeReport } from "./report.ts";
import { type Results, type Sample, withSample } from "./results.ts";
import { output, PINNING, PROGRAMS, REDIS } from "./server.ts";

const BENCH = fileURLToPath(new URL(".", import.meta.url));

const HELP = `bun bench/run.ts [options]
  --peers         measure the peers too; installs bench/peers/package.json where needed (about three hours for everything)
  --quick         Spillway and the floor, burst only, under a minute
  --case NAME     only these cases (${CASES.map(({ name }) => name).join(", ")}), comma-separated
  --only NAME     only subjects whose name or "name/runtime" is given, comma-separated ("hono", "bare/deno")
  --variant LIST  only variants of these names ("generator text 64,1 token"), else those that contain one, comma-separated
  --rounds N      interleaved rounds, 3 by default
  --out FILE      where the JSON goes, bench/results/latest.json by default
  --append        adds to what FILE has: rows that it has get further rounds, those that failed are replaced`;

const { values } = parseArgs({
  options: {
    peers: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    case: { type: "string" },
    only: { type: "string" },
    variant: { type: "string" },
    rounds: { type: "string", default: "3" },
    out: { type: "string", default: join(BENCH, "results", "latest.json") },
    append: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

/** The figure that a progress line shows. */
function brief(figures: Figures): string {
  const shown = Object.entries(figures).slice(0, 3)
    .map(([name, value]) =>
      `${name} ${value >= 1000 ? Math.round(value) : Number(value.toPrecision(3))}`
    );
  return shown.join(", ") + (isSaturated(figures) ? "  (load generator saturated)" : "");
}

function versionOf(folder: string): string | undefined {
  const file = join(BENCH, "peers", "node_modules", folder, "package.json");
  if (!existsSync(file)) return undefined;
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

function versions(): Record<string, string> {
  const { bun, deno, node, python, nginx } = PROGRAMS;
  const redis = REDIS && output(REDIS, "--version");
  const pinned = JSON.parse(readFileSync(join(BENCH, "peers", "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const found: Record<string, string | undefined> = {
    bun: bun && output(bun, "--version"),
    deno: deno && output(deno, "--version")?.split("\n")[0]?.replace(/^deno (\S+).*/, "$1"),
    node: node && output(node, "--version")?.replace("v", ""),
    fastapi: python && output(python, "-c", "import fastapi; print(fastapi.__version__)"),
    uvicorn: python && output(python, "-c", "import uvicorn; print(uvicorn.__version__)"),
    python: python && output(python, "--version")?.replace("Python ", ""),
    "redis-server": redis && /v=(\S+)/.exec(redis)?.[1],
    nginx: nginx && output("sh", "-c", `${nginx} -v 2>&1`)?.replace(/.*nginx\//, ""),
  };
  for (const name of Object.keys(pinned.dependencies)) found[name] = versionOf(name);
  return Object.fromEntries(
    Object.entries(found).filter((entry): entry is [string, string] => !!entry[1]),
  );
}

/** All of a run but what it measured. */
function describe(): Omit<Results, "rounds" | "samples"> {
  return {
    date: new Date().toISOString(),
    commit: output("git", "rev-parse", "--short", "HEAD") ?? "none",
    dirty: (output("git", "status", "--porcelain", "--", "mod.ts", "lib") ?? "") !== "",
    command: `${"Deno" in globalThis ? "deno run -A" : "bun"} bench/run.ts ${
      process.argv.slice(2).join(" ")
    }`.trim(),
    machine: {
      cpu: cpus()[0]?.model ?? "unknown",
      cores: cpus().length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      system: `${platform()} ${arch()} ${release()}`,
      pinning: PINNING,
    },
    versions: versions(),
  };
}

async function main(): Promise<void> {
  if (values.help) return console.log(HELP);
  const rounds = Math.max(1, Number(values.rounds) || 3);
  const cases = plan({
    kinds: values.peers ? ["own", "floor", "peer"] : ["own", "floor"],
    cases: values.quick ? "burst" : values.case,
    only: values.only,
    variant: values.variant,
    quick: values.quick,
  });
  const total = cases.reduce((sum, { runs }) => sum + runs.length * rounds, 0);
  let done = 0;
  const started = Date.now();
  const run = describe();
  let results: Results = { ...run, rounds, samples: [] };
  if (values.append && existsSync(values.out)) {
    const { samples } = JSON.parse(readFileSync(values.out, "utf8")) as Results;
    results = { ...run, rounds, samples };
  }
  mkdirSync(dirname(values.out), { recursive: true });
  for (const { of, runs } of cases) {
    console.error(`\n${of.name}: ${of.question}`);
    for (let round = 1; round <= rounds; round++) {
      for (const run of runs) {
        const { subject: { name, runtime }, variant } = run;
        const sample: Sample = {
          case: of.name,
          subject: name,
          runtime,
          variant,
          round,
          figures: {},
        };
        try {
          sample.figures = await measure(run);
        } catch (error) {
          sample.error = (error as Error).message;
        }
        // Saved at once: an end in mid-run loses one sample at most.
        results = withSample(results, sample);
        writeFileSync(values.out, JSON.stringify(results, undefined, 1) + "\n");
        const seconds = Math.round((Date.now() - started) / 1000);
        console.error(
          `[${++done}/${total} ${seconds}s] round ${round} ${of.name} ${name}/${runtime} ${variant}: ` +
            (sample.error === undefined ? brief(sample.figures) : `FAILED: ${sample.error}`),
        );
      }
    }
  }
  writeReport(values.out, results);
  console.log(report(results));
  console.error(`results in ${values.out}`);
}

await main();
process.exit(0);
