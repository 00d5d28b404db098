/**
 * `npm run test:attacks [names]`: attacks on a server of each runtime, with progress and a verdict.
 * Names choose among suites and runtimes: `npm run test:attacks requests deno`. `--quick` is the set
 * that the test suite runs.
 */
import process from "node:process";
import type { Suite } from "./support/context.ts";
import type { Runtime } from "./support/victim.ts";
import { bytes, slow, stall, vanish } from "./suites/connections.ts";
import { bytesOfRequests, fuzz } from "./suites/fuzz.ts";
import { block, clock, descriptors, sigterm } from "./suites/process.ts";
import { requests } from "./suites/requests.ts";

const SUITES: Readonly<Record<string, Suite>> = {
  requests,
  vanish,
  stall,
  slow,
  bytes,
  block,
  clock,
  descriptors,
  sigterm,
  fuzz,
  "fuzz-requests": bytesOfRequests,
};
const QUICK = ["requests", "fuzz"];
const RUNTIMES: readonly Runtime[] = ["bun", "deno", "node"];

const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const quick = process.argv.includes("--quick");
const known = [...Object.keys(SUITES), ...RUNTIMES];
const unknown = words.filter((word) => !known.includes(word));
if (unknown.length > 0) {
  console.error(`There is no ${unknown.join(", ")}; there are ${known.join(", ")}`);
  process.exit(1);
}
const chosen = (names: readonly string[]) => {
  const found = names.filter((name) => words.includes(name));
  return found.length > 0 ? found : names;
};
const suites = chosen(Object.keys(SUITES)).filter((name) => !quick || QUICK.includes(name));
const runtimes = chosen(RUNTIMES) as Runtime[];

let passed = 0;
const failed: string[] = [];
async function attack(name: string, runtime: Runtime): Promise<void> {
  const title = `${name} on ${runtime}`;
  const begun = performance.now();
  const progress = (text: string) => {
    if (!quick) console.log(`  ${title}: ${text}`);
  };
  let verdict: string;
  try {
    verdict = `ok: ${await SUITES[name]!({ runtime, quick, progress })}`;
    passed++;
  } catch (error) {
    verdict = `FAILED\n${(error as Error).message.replace(/^/gm, "    ")}`;
    failed.push(title);
  }
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  console.log(`${title}, ${seconds} s: ${verdict}`);
}
for (const name of suites) {
  if (quick) await Promise.all(runtimes.map((runtime) => attack(name, runtime)));
  else for (const runtime of runtimes) await attack(name, runtime);
}
console.log(
  `${passed} passed, ${failed.length} failed${failed.map((name) => `\n  ${name}`).join("")}`,
);
process.exit(failed.length === 0 && passed > 0 ? 0 : 1);
