/**
 * `npm test`: every check of the project, with progress and one closing line; `--long` in front of a
 * check's name runs what takes too long to be one of them. Most suites wait more than they work, so
 * five lanes run side by side on two cores, and what measures time runs when they have ended, in two.
 * It is plain JavaScript so that a machine with only Node and npm can start it; the three runtimes
 * come from npm.
 */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { differences } from "./support/same_tests.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = join(root, "node_modules", ".bin");
const env = {
  ...process.env,
  PATH: `${bin}${delimiter}${process.env.PATH}`,
  NO_COLOR: "1",
  // Node starts a process for each file; what they share is compiled once, in half the processor time.
  NODE_COMPILE_CACHE: join(root, "node_modules", ".cache", "compiled"),
};
const MARKDOWN = [
  "README.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "AGENTS.md",
  "skills",
];
const ours = ["mod.ts", "lib", "tests", "bench", "docs", "scripts", ...MARKDOWN];

/** How many tests a runner says have passed and failed; a check without tests counts as one. */
const one = (_output, ok) => (ok ? [1, 0] : [0, 1]);
const withoutWarning = (output, ok) => one(output, ok && !/^warning/im.test(output));
const bunCounts = (output) => [/(\d+) pass$/m, /(\d+) fail$/m].map((count) => find(output, count));
const denoCounts = (output) =>
  [/\| (\d+) passed/, /\| (\d+) failed/].map((count) => find(output, count));

const nodeCounts = (output) =>
  [/^# pass (\d+)$/m, /^# fail (\d+)$/m].map((count) => find(output, count));

const attackCounts = (output) =>
  [/^(\d+) passed/m, /^\d+ passed, (\d+) failed/m].map((count) => find(output, count));

const INTEROP = "tests/interop";
const browser = filesOf("tests/browser", ".browser.mjs");
const SCHEMAS = "tests/schemas";
const schemaTests = ["input", "openapi"].map((name) => `./${SCHEMAS}/${name}.interop.ts`);
const STACK = ["stack", "doctor", "client"].map((name) => `./tests/stack/${name}.interop.ts`);
const redis = (...names) => names.map((name) => `./tests/replay/redis/${name}.interop.ts`);
const BUN_TEST = ["bun", "test", "--timeout", "60000"];
const BUN_PATIENT = ["bun", "test", "--timeout", "120000"];
const BUN_LONG = ["bun", "test", "--timeout", "240000"];
const DENO_TEST = ["deno", "test", "-A", "--no-check"];
const NODE_TEST = [
  "node",
  "--import=./tests/support/node_end.mjs",
  "--test",
  "--test-reporter=tap",
  "--test-timeout=120000",
];
/** A process a file, two at a time: each waits more than it works. */
const NODE_PAIRS = [...NODE_TEST, "--test-concurrency=2"];
const NODE_ONE = [...NODE_TEST, "--test-concurrency=1"];
const SQLITE = ["./tests/replay/sqlite/log.interop.ts"];
const allOfRedis = redis(
  "redis",
  "store",
  "clients",
  "machines",
  "trouble",
  "as_it_is_run",
  "garbage",
);

/**
 * Suites of what is started as a process of its own, on each runtime: one runner is enough. They run
 * at the end, as those that a neighbour breaks.
 */
const COMMANDS = named(
  "behaviour/commands", // it takes port 8000, of which there is one
  "cli", // a process ends within three seconds of its signal
  "server", // a process ends within a second of its signal
);
/** Likewise, but with limits that are long. */
const PROCESSES = named(
  "behaviour/exit",
  "handler/pages/src/docs/snippets", // it starts curl, Python and Node
  "server/failures",
  "server/process",
  "server/replay_file",
  "server/workers",
  "sources/entry",
);
/** Suites that a neighbour breaks: most have limits that are short. */
const TIMED = named(
  "behaviour/departure", // nothing is left 100 ms after a client has disconnected
  "http/resume/post", // a stream is joined within 100 ms
  "http/resume/readers", // a stop reaches every client within 100 ms; sockets fill at their own pace
  "pipeline/stream", // response headers within 30 ms
  "sources/openai_faults", // upstreams that stay just within limits of 150 ms
  "sources/openai_limits", // likewise
  "sources/openai_pace", // the upstream learns of a departure within 100 ms
  "sources/relay", // likewise
  "sse/decode", // twice the input takes less than four times as long
);
/** Likewise, with the real packages: the upstream learns of a departure within 150 ms. */
const TIMED_INTEROP = [`./${INTEROP}/recipes.interop.ts`];
/** It waits, and does nothing else, for 12 s: beside everything else from the start. */
const SILENT = named("behaviour/silence");
const suites = filesOf("tests", "_test.ts");
const apart = [...COMMANDS, ...PROCESSES, ...TIMED, ...SILENT];
const unknown = apart.filter((file) => !suites.includes(file));
// A runner would leave out in silence what it does not find.
if (unknown.length > 0) throw new Error(`There is no file ${unknown.join(", ")}`);
const suite = suites.filter((file) => !apart.includes(file));
/** The entries of the module, as JSR serves them. */
const entries = Object.values(JSON.parse(readFileSync(join(root, "deno.json"), "utf8")).exports);
const interop = filesOf(INTEROP, ".interop.ts").filter((file) => !TIMED_INTEROP.includes(file));

/** What the tests use and the module does not is installed in folders of theirs, and nowhere else. */
const install = (what, folder) => [
  `packages of the ${what}`,
  ["npm", "ci", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error"],
  () => [0, 0],
];
/** They stand behind a check that cannot run before they are installed. */
const PACKAGES = install("tests", "tests");
const HOMES = install("homes", "tests/homes");

/** Each lane runs its checks one after another: name, command, how to count, what it needs. */
const lanes = [
  [
    PACKAGES,
    ["type check", ["tsc"], one, PACKAGES],
    ["type check of the pages", ["tsc", "-p", "lib/handler/pages/src"], one],
    ["format", ["deno", "fmt", "--check", ...ours], one],
    ["lint", ["deno", "lint", "mod.ts", "lib", "tests", "bench", "scripts"], one],
    ["documentation lint", ["deno", "doc", "--quiet", "--lint", ...entries], one],
    // A warning is a part of the package that does not work as JSR serves it.
    ["package for JSR", ["deno", "publish", "--dry-run", "--allow-dirty"], withoutWarning],
    ["types with the real packages", ["tsc", "-p", INTEROP], one, PACKAGES],
    ["types of the schema tests", ["tsc", "-p", SCHEMAS], one, PACKAGES],
    ["inferred types", ["tsc", "-p", "tests/types"], one, PACKAGES],
    // What a real Redis has of its own; the rules of a shared log run with the suites, on a fake store.
    ["RedisLog on Deno", [...DENO_TEST, ...redis("store", "machines")], denoCounts, PACKAGES],
    // Two processes, nginx and Redis: one runner is enough for both.
    [
      "stack of Bun, Deno, nginx and Redis",
      [...BUN_PATIENT, ...STACK],
      bunCounts,
    ],
    [
      "package as a user gets it",
      ["node", "--test", "--test-reporter=tap", "tests/package/package.mjs"],
      nodeCounts,
      PACKAGES,
    ],
    [
      "pages in a browser",
      [...NODE_ONE, ...browser],
      nodeCounts,
      PACKAGES,
    ],
    HOMES,
    ["frameworks", [...NODE_TEST, "tests/homes/quick.homes.mjs"], nodeCounts, HOMES],
    ["workers", [...NODE_TEST, "tests/homes/workers/workers.homes.mjs"], nodeCounts, HOMES],
    ["processes on each runtime", [...BUN_TEST, ...PROCESSES], bunCounts],
  ],
  [
    ["tests on Bun", [...BUN_TEST, ...suite], bunCounts],
    ["real packages on Bun", [...BUN_TEST, ...interop], bunCounts, PACKAGES],
    ["schema packages on Bun", [...BUN_TEST, ...schemaTests], bunCounts, PACKAGES],
  ],
  [
    ["tests on Deno", [...DENO_TEST, ...suite], denoCounts],
    ["schema packages on Deno", [...DENO_TEST, ...schemaTests], denoCounts, PACKAGES],
    [
      "examples",
      ["deno", "test", "-A", "--doc", "mod.ts", "lib", "README.md", "docs", "skills"],
      denoCounts,
    ],
  ],
  [
    ["tests on Node", [...NODE_PAIRS, ...suite], nodeCounts],
    // Here, because the lane of Deno's own tests is the longest.
    ["real packages on Deno", [...DENO_TEST, ...interop], denoCounts, PACKAGES],
    [
      "RedisLog on Bun",
      [...BUN_PATIENT, ...redis("redis", "store", "clients", "trouble")],
      bunCounts,
      PACKAGES,
    ],
    // Some seconds of them; `npm run test:attacks` has all.
    ["attacks on each runtime", ["node", "tests/attacks/run.ts", "--quick"], attackCounts],
  ],
  [
    ["silent tests on Bun", [...BUN_TEST, ...SILENT], bunCounts],
    ["silent tests on Deno", [...DENO_TEST, ...SILENT], denoCounts],
    ["silent tests on Node", [...NODE_ONE, ...SILENT], nodeCounts],
  ],
];

/** These begin when the lanes above have ended: two at a time, so that each has a core. */
const timedLanes = [
  [
    ["timed tests on Bun", [...BUN_TEST, ...TIMED], bunCounts],
    ["timed tests on Deno", [...DENO_TEST, ...TIMED], denoCounts],
    ["timed packages on Bun", [...BUN_TEST, ...TIMED_INTEROP], bunCounts, PACKAGES],
  ],
  [
    ["timed tests on Node", [...NODE_ONE, ...TIMED], nodeCounts],
    ["timed packages on Deno", [...DENO_TEST, ...TIMED_INTEROP], denoCounts, PACKAGES],
    ["commands on each runtime", [...BUN_TEST, ...COMMANDS], bunCounts],
  ],
];

/** What a release wants to see, and a change of its room. */
const longChecks = [
  ["Redis on Bun", [...BUN_LONG, ...allOfRedis], bunCounts, PACKAGES],
  ["Redis on Deno", [...DENO_TEST, ...allOfRedis], denoCounts, PACKAGES],
  ["Redis on Node", [...NODE_ONE, ...allOfRedis], nodeCounts, PACKAGES],
  ["SqliteLog on Bun", [...BUN_LONG, ...SQLITE], bunCounts],
  ["SqliteLog on Deno", [...DENO_TEST, ...SQLITE], denoCounts],
  ["SqliteLog on Node", [...NODE_ONE, ...SQLITE], nodeCounts],
  [
    "packages on Node",
    [...NODE_ONE, ...interop, ...TIMED_INTEROP, ...schemaTests],
    nodeCounts,
    PACKAGES,
  ],
  ["stack", [...BUN_LONG, ...STACK], bunCounts],
  ["workers of one machine", [...BUN_LONG, "./tests/stack/one_machine.interop.ts"], bunCounts],
  ["picture", [...NODE_ONE, "./tests/browser/moving_picture.browser.mjs"], nodeCounts, PACKAGES],
  [
    "metrics in Prometheus",
    [...BUN_LONG, "./tests/metrics/prometheus.interop.ts", "./tests/handler/metrics_docs_test.ts"],
    bunCounts,
  ],
];

const isLong = process.argv[2] === "--long";
const wanted = process.argv.slice(isLong ? 3 : 2);
if (isLong) env.LONG = "1";
const isWanted = ([name]) => wanted.length === 0 || wanted.some((word) => name.includes(word));
/** What runs side by side; each set of lanes begins when the one before it has ended. */
const planned = (isLong ? [[longChecks]] : [lanes, timedLanes]).map((lanes) =>
  lanes.map((lane) => lane.filter(isWanted)).filter((lane) => lane.length > 0)
).filter((lanes) => lanes.length > 0);
const all = planned.flat(2);
for (const needed of new Set(all.map(([, , , needs]) => needs))) {
  if (needed && !all.includes(needed)) planned[0][0].unshift(needed);
}
/** With one lane, what a check prints is seen as it comes; side by side, as one block at its end. */
const isLive = planned.every((lanes) => lanes.length === 1);

let passed = 0;
let failed = 0;
const failures = [];
/** What the suite has printed on each runtime. */
const printed = {};
const installs = new Map([PACKAGES, HOMES].map((check) => {
  let resolve;
  const promise = new Promise((done) => resolve = done);
  return [check, { promise, resolve }];
}));
for (const lanes of planned) await Promise.all(lanes.map(runLane));
compareTests();
for (const failure of failures) process.stdout.write(`\n${failure}`);
process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

async function runLane(lane) {
  for (const check of lane) await runCheck(check);
}

async function runCheck(check) {
  const [name, command, count, needs] = check;
  await installs.get(needs)?.promise;
  const begun = Date.now();
  const title = `=== ${name}: ${command.join(" ")}\n`;
  process.stdout.write(isLive ? `\n${title}` : `=== ${name}: begun\n`);
  const { output, code } = await run(command);
  installs.get(check)?.resolve();
  const [good, bad] = count(output, code === 0);
  passed += good;
  // A runner that died before it could count has failed all the same.
  failed += code === 0 ? bad : Math.max(bad, 1);
  const [, runtime] = /^(?:timed |silent )?tests on (\w+)$/.exec(name) ?? [];
  if (runtime) printed[runtime] = (printed[runtime] ?? "") + output;
  const seconds = ((Date.now() - begun) / 1000).toFixed(1);
  const isGood = code === 0 && bad === 0;
  const result = `=== ${name}: ${isGood ? "ok" : "FAILED"} in ${seconds} s\n`;
  process.stdout.write(isLive ? result : `\n${title}${output}${result}`);
  if (!isGood) failures.push(`${result}${failedTests(output)}`);
}

/** Every runtime has run the same tests; only the entire suite can tell. */
function compareTests() {
  if (isLong || wanted.length > 0) return;
  const found = differences(printed);
  const isSame = found.length === 0;
  if (isSame) passed++;
  else failed++;
  const result = `=== the same tests on each runtime: ${isSame ? "ok" : "FAILED"}\n`;
  process.stdout.write(`\n${result}`);
  if (!isSame) failures.push(`${result}${found.slice(0, 40).join("\n")}\n`);
}

/** The lines in which a runner names what failed, once each. */
function failedTests(output) {
  const lines = output.match(/^(\(fail\) .*|\s*not ok .*|.* \.\.\. FAILED.*)$/gm) ?? [];
  return [...new Set(lines)].map((line) => `${line}\n`).join("");
}

function named(...names) {
  return names.map((name) => `./tests/${name}_test.ts`);
}

/** The files in a folder of the tests whose names end so, by their paths from the root. */
function filesOf(folder, end) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return entry.name === "node_modules" ? [] : filesOf(path, end);
    return path.endsWith(end) ? [`./${path}`] : [];
  });
}

function find(output, pattern) {
  return Number(pattern.exec(output)?.[1] ?? 0);
}

function run([command, ...args]) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const print = (data) => {
      output += data;
      if (isLive) process.stdout.write(data);
    };
    for (const stream of [child.stdout, child.stderr]) stream.on("data", print);
    child.on("error", (error) => {
      print(`${error.message}\n`);
      resolve({ output, code: 1 });
    });
    child.on("close", (code) => resolve({ output, code }));
  });
}
