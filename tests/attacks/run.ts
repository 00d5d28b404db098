/**
 * `npm run test:attacks [names]`: attacks on a server of each runtime, with progress and a verdict.
 * Names choose among suites and runtimes: `npm run test:attacks requests deno`. `--quick` is the set
 * that the test suite runs. `--figures` measures the server beside a bare one, on Bun and Deno, and
 * compares each figure with its limit; with `--quick` too it tries each with few clients.
 */
import process from "node:process";
import { bytes as bytesFigures } from "./figures/bytes.ts";
import { crowd } from "./figures/crowd.ts";
import { hold } from "./figures/hold.ts";
import { slow as slowFigures } from "./figures/slow.ts";
import { stall as stallFigures } from "./figures/stall.ts";
import { vanish as vanishFigures } from "./figures/vanish.ts";
import type { Suite } from "./support/context.ts";
import { suiteOf } from "./support/figure.ts";
import type { Runtime } from "./support/victim.ts";
import { bytes, slow, stall, vanish } from "./suites/connections.ts";
import { bytesOfRequests, fuzz } from "./suites/fuzz.ts";
import { block, clock, descriptors, sigterm } from "./suites/process.ts";
import { requests } from "./suites/requests.ts";

const ATTACKS: Readonly<Record<string, Suite>> = {
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
const FIGURES: Readonly<Record<string, Suite>> = {
  bytes: suiteOf(bytesFigures),
  vanish: suiteOf(vanishFigures),
  stall: suiteOf(stallFigures),
  hold: suiteOf(hold),
  crowd: suiteOf(crowd),
  slow: suiteOf(slowFigures),
};
const QUICK = ["requests", "fuzz"];

const isFigures = process.argv.includes("--figures");
const SUITES = isFigures ? FIGURES : ATTACKS;
const RUNTIMES: readonly Runtime[] = isFigures ? ["bun", "deno"] : ["bun", "deno", "node"];

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
const suites = chosen(Object.keys(SUITES))
  .filter((name) => !quick || isFigures || QUICK.includes(name));
const runtimes = chosen(RUNTIMES) as Runtime[];

let passed = 0;
const failed: string[] = [];
async function attack(name: string, runtime: Runtime): Promise<void> {
  const title = `${name} on ${runtime}`;
  const begun = performance.now();
  const progress = (text: string) => {
    if (!quick || isFigures) console.log(`  ${title}: ${text}`);
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
  // Figures are measured one at a time.
  if (quick && !isFigures) await Promise.all(runtimes.map((runtime) => attack(name, runtime)));
  else for (const runtime of runtimes) await attack(name, runtime);
}
console.log(
  `${passed} passed, ${failed.length} failed${failed.map((name) => `\n  ${name}`).join("")}`,
);
process.exit(failed.length === 0 && passed > 0 ? 0 : 1);
