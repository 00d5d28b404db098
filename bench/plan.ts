/**
 * From a command line to what is measured: the chosen cases with the runs of the chosen subjects, and one run carried
 * out. Separate from `run.ts` because `pairs.ts` measures the same runs in another order.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { burst } from "./cases/burst.ts";
import { capacity } from "./cases/capacity.ts";
import type { Case, Run } from "./cases/case.ts";
import { codec } from "./cases/codec.ts";
import { fairness } from "./cases/fairness.ts";
import { firstToken } from "./cases/first_token.ts";
import { formats } from "./cases/formats.ts";
import { gateway } from "./cases/gateway.ts";
import { memory } from "./cases/memory.ts";
import { paced } from "./cases/paced.ts";
import { redis } from "./cases/redis.ts";
import { relay } from "./cases/relay.ts";
import { replay } from "./cases/replay.ts";
import { short } from "./cases/short.ts";
import type { Figures, Job } from "./job.ts";
import { climb, isOnTime } from "./ladder.ts";
import { load, PROGRAMS, REDIS, ROOT, script, type Where, withServer } from "./server.ts";
import { type Subject, SUBJECTS } from "./subjects.ts";

export const CASES: readonly Case[] = [
  capacity,
  burst,
  short,
  paced,
  firstToken,
  fairness,
  memory,
  relay,
  gateway,
  codec,
  formats,
  replay,
  redis,
];

/** What a command line asks for; lists are comma-separated. */
export type Choice = {
  /** Kinds of subjects that are measured where `only` names none. */
  kinds: readonly Subject["kind"][];
  cases: string | undefined;
  /** Subjects by name, or by `name/runtime`. */
  only: string | undefined;
  /** Variants by name, or a part of their names. */
  variant: string | undefined;
  quick: boolean;
};

/** A case with its runs. */
export type Planned = { of: Case; runs: Run[] };

function installPeers(): void {
  const folder = join(ROOT, "bench", "peers");
  const { dependencies } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const isThere = (name: string) => existsSync(join(folder, "node_modules", name));
  if (Object.keys(dependencies).every(isThere)) return;
  console.error("installing the peers ...");
  const args = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"];
  execFileSync("npm", args, { cwd: folder, stdio: "inherit" });
}

function chosen({ kinds, only }: Choice): Subject[] {
  const names = only?.split(",").map((name) => name.trim().toLowerCase());
  const isNamed = ({ name, runtime }: Subject, as: string) =>
    as === name || as === `${name}/${runtime}`;
  const unknown = names?.filter((as) => !SUBJECTS.some((subject) => isNamed(subject, as))) ?? [];
  if (unknown.length > 0) throw new RangeError(`No such subject: ${unknown.join(", ")}`);
  const wanted = SUBJECTS.filter((subject) =>
    names?.some((as) => isNamed(subject, as)) ?? kinds.includes(subject.kind)
  );
  const missing = new Set(
    wanted.map(({ runtime }) => runtime).filter((runtime) => !PROGRAMS[runtime]),
  );
  for (const runtime of missing) console.error(`left out: ${runtime} is not installed`);
  const isWithout = REDIS === undefined && wanted.some(({ redis }) => redis !== undefined);
  if (isWithout) console.error("left out: redis-server is not installed");
  return wanted.filter(({ runtime, redis }) =>
    !missing.has(runtime) && !(isWithout && redis !== undefined)
  );
}

/** The runs of a choice, by case; installs the peers where one is to be measured. */
export function plan(choice: Choice): Planned[] {
  const { variant, quick } = choice;
  const listed = (text?: string) => text?.split(",").map((name) => name.trim());
  const names = listed(choice.cases);
  const variants = listed(variant);
  const unknown = names?.filter((name) => !CASES.some((each) => each.name === name)) ?? [];
  if (unknown.length > 0) throw new RangeError(`No such case: ${unknown.join(", ")}`);
  const subjects = chosen(choice);
  if (subjects.some(({ kind }) => kind === "peer")) installPeers();
  return CASES.filter(({ name }) => names?.includes(name) ?? true).map((of) => {
    const runs = of.runs(subjects.filter(({ cases }) => cases.includes(of.name)), { quick });
    if (variants === undefined) return { of, runs };
    const exact = runs.filter((run) => variants.includes(run.variant));
    if (exact.length > 0) return { of, runs: exact };
    return { of, runs: runs.filter((run) => variants.some((text) => run.variant.includes(text))) };
  });
}

/** Carries a run out, with the subject's program of this checkout or of another. */
export function measure(run: Run, checkout: string = ROOT): Promise<Figures> {
  if ("args" in run) return script(run.subject, run.args, checkout);
  const carryOut = (job: Omit<Job, keyof Where>) =>
    withServer(run.subject, (where) => load({ ...job, ...where }), checkout, run.env);
  if ("job" in run) return carryOut(run.job);
  return climb(async (connections) => {
    const figures = await carryOut({ ...run.ladder, connections });
    const late = `p99 ${figures["p99"]} ms late`;
    console.error(`  ${connections} streams: ${late}${isOnTime(figures) ? "" : ", too late"}`);
    return figures;
  });
}
