/**
 * `npm run test:simulation`: 20,000 seeds of the simulation, or `SEEDS=n`, shared out among Bun, Deno and
 * Node, and the first 300 on each of them, to see that they take the same steps. `SEED=n`, or a number as
 * argument, replays one seed on Bun with its trace; `RUNTIME=deno` or `node` on another.
 */
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const bin = join(here, "../../../node_modules/.bin");
const script = join(here, "seeds.ts");
const RUNTIMES = {
  bun: ["bun"],
  deno: ["deno", "run", "-A", "--no-check"],
  node: ["node"],
};
/** Bun takes a third of the time of the others. */
const ROUND = ["bun", "node", "bun", "deno", "bun", "bun"];
const BLOCK = 100;
const SAME = 300;
const MAX_FAILURES = 5;

const one = process.argv[2] ?? process.env.SEED;
if (one !== undefined) await replay(Number(one));
else await runAll(Number(process.env.SEEDS ?? 20_000));

function start(runtime, args, stdout) {
  const [command, ...options] = RUNTIMES[runtime];
  return spawn(join(bin, command), [...options, script, ...args.map(String)], {
    stdio: ["ignore", stdout, "inherit"],
  });
}

function replay(seed) {
  const child = start(process.env.RUNTIME ?? "bun", [seed], "inherit");
  return new Promise((resolve) =>
    child.on("close", (code) => {
      process.exitCode = code ?? 1;
      resolve();
    })
  );
}

async function runAll(count) {
  const begunMs = performance.now();
  const blocks = [];
  const same = Math.min(SAME, count);
  for (let first = 1; first <= same; first += BLOCK) {
    const last = Math.min(first + BLOCK - 1, same);
    for (const runtime of Object.keys(RUNTIMES)) blocks.push({ runtime, first, last });
  }
  for (let first = same + 1, i = 0; first <= count; first += BLOCK, i++) {
    const last = Math.min(first + BLOCK - 1, count);
    blocks.push({ runtime: ROUND[i % ROUND.length], first, last });
  }
  const runs = blocks.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  const digests = new Map();
  const ends = new Map();
  const failures = [];
  let done = 0;
  let steps = 0;
  const take = (runtime, report) => {
    done++;
    steps += report.steps;
    for (const [end, clients] of Object.entries(report.ends)) {
      ends.set(end, (ends.get(end) ?? 0) + clients);
    }
    if (report.failure !== undefined) fail(`${runtime}: ${report.failure}`);
    const before = digests.get(report.seed);
    if (before === undefined) digests.set(report.seed, { runtime, digest: report.digest });
    else if (before.digest !== report.digest) {
      fail(`seed ${report.seed} takes other steps on ${runtime} than on ${before.runtime}`);
    }
    if (done % 500 === 0) {
      tell(`${done} of ${runs} runs, ${steps} steps, ${failures.length} failed`);
    }
  };
  const fail = (what) => {
    failures.push(what);
    tell(what);
  };
  const tell = (what) => {
    const seconds = ((performance.now() - begunMs) / 1000).toFixed(0);
    process.stdout.write(`${seconds.padStart(5)} s  ${what}\n`);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, async () => {
    while (blocks.length > 0 && failures.length < MAX_FAILURES) {
      const block = blocks.shift();
      const seen = await runBlock(block, (report) => take(block.runtime, report));
      const wanted = block.last - block.first + 1;
      if (seen !== wanted) {
        fail(`${block.runtime} ran ${seen} of the ${wanted} seeds from ${block.first}`);
      }
    }
  }));
  for (const [end, clients] of [...ends].sort()) tell(`${clients} clients: ${end}`);
  const isGood = failures.length === 0 && done === runs;
  if (!isGood) tell("replay one: SEED=n npm run test:simulation");
  tell(`${isGood ? "ok" : "FAILED"}: ${done} runs of ${count} seeds, ${failures.length} failed`);
  process.exitCode = isGood ? 0 : 1;
}

/** Runs a block of seeds in a process of its own; resolves to how many it has reported. */
async function runBlock({ runtime, first, last }, take) {
  const child = start(runtime, [first, last], "pipe");
  let seen = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    seen++;
    take(JSON.parse(line));
  }
  return seen;
}
