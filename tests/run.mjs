/**
 * `npm test`: every check of the project in turn, with progress and one closing line; `--long` in front
 * of a check's name runs what takes too long to be one of them. It is plain JavaScript so that a machine
 * with only Node and npm can start it; the two runtimes come from npm.
 */
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = join(root, "node_modules", ".bin");
const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}`, NO_COLOR: "1" };
const ours = ["mod.ts", "lib", "tests", "bench", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"];

/** How many tests a runner says have passed and failed; a check without tests counts as one. */
const one = (_output, ok) => (ok ? [1, 0] : [0, 1]);
const bunCounts = (output) => [/(\d+) pass$/m, /(\d+) fail$/m].map((count) => find(output, count));
const denoCounts = (output) =>
  [/\| (\d+) passed/, /\| (\d+) failed/].map((count) => find(output, count));

const nodeCounts = (output) =>
  [/^# pass (\d+)$/m, /^# fail (\d+)$/m].map((count) => find(output, count));

const INSTALL = ["npm", "ci", "--prefix", "tests", "--no-audit", "--no-fund", "--loglevel=error"];
const INTEROP = "tests/interop";
const BROWSER = "tests/browser";
const SCHEMAS = "tests/schemas";
const schemaTests = ["input", "openapi"].map((name) => `./${SCHEMAS}/${name}.interop.ts`);
const interop = readdirSync(join(root, INTEROP))
  .filter((file) => file.endsWith(".interop.ts"))
  .map((file) => `./${INTEROP}/${file}`);
const redis = (...names) => names.map((name) => `./tests/replay/redis/${name}.interop.ts`);
const BUN_LONG = ["bun", "test", "--timeout", "240000"];
const DENO_TEST = ["deno", "test", "-A", "--no-check"];
const allOfRedis = redis(
  "redis",
  "store",
  "clients",
  "machines",
  "trouble",
);
const checks = [
  // What the tests use and the module does not: installed in tests/, and nowhere else.
  ["packages of the tests", INSTALL, () => [0, 0]],
  ["type check", ["tsc"], one],
  ["format", ["deno", "fmt", "--check", ...ours], one],
  ["lint", ["deno", "lint", "mod.ts", "lib", "tests", "bench"], one],
  ["tests on Bun", ["bun", "test", "--timeout", "60000", "./tests"], bunCounts],
  ["tests on Deno", ["deno", "test", "-A", "--no-check", "tests"], denoCounts],
  ["types with the real packages", ["tsc", "-p", "tests/interop"], one],
  ["real packages on Bun", ["bun", "test", "--timeout", "60000", ...interop], bunCounts],
  ["real packages on Deno", ["deno", "test", "-A", "--no-check", ...interop], denoCounts],
  // Two processes, nginx and Redis: one runner is enough for both.
  [
    "stack of Bun, Deno, nginx and Redis",
    ["bun", "test", "--timeout", "100000", "./tests/stack/stack.interop.ts"],
    bunCounts,
  ],
  // The rules of a log on both runtimes; they wait more than they work, so the rest is shared out.
  [
    "RedisLog on Bun",
    [
      ...["bun", "test", "--timeout", "120000"],
      ...redis("redis", "store", "clients", "trouble"),
    ],
    bunCounts,
  ],
  ["RedisLog on Deno", [...DENO_TEST, ...redis("redis", "machines")], denoCounts],
  ["types of the schema tests", ["tsc", "-p", SCHEMAS], one],
  ["schema packages on Bun", ["bun", "test", "--timeout", "60000", ...schemaTests], bunCounts],
  ["schema packages on Deno", ["deno", "test", "-A", "--no-check", ...schemaTests], denoCounts],
  [
    "pages in a browser",
    ["node", "--test", "--test-reporter=tap", `${BROWSER}/pages.browser.mjs`],
    nodeCounts,
  ],
  ["examples", ["deno", "test", "-A", "--doc", "mod.ts", "lib", "README.md"], denoCounts],
];

/** What a release wants to see, and a change of its room. */
const longChecks = [
  ["packages for Redis", INSTALL, () => [0, 0]],
  ["Redis on Bun", [...BUN_LONG, ...allOfRedis], bunCounts],
  ["Redis on Deno", [...DENO_TEST, ...allOfRedis], denoCounts],
  ["stack", [...BUN_LONG, "./tests/stack/stack.interop.ts"], bunCounts],
];

const isLong = process.argv[2] === "--long";
const wanted = process.argv.slice(isLong ? 3 : 2);
if (isLong) env.LONG = "1";
let passed = 0;
let failed = 0;
for (const [name, command, count] of isLong ? longChecks : checks) {
  if (wanted.length > 0 && !wanted.some((word) => name.includes(word))) continue;
  const begun = Date.now();
  process.stdout.write(`\n=== ${name}: ${command.join(" ")}\n`);
  const { output, code } = await run(command);
  const [good, bad] = count(output, code === 0);
  passed += good;
  // A runner that died before it could count has failed all the same.
  failed += code === 0 ? bad : Math.max(bad, 1);
  const seconds = ((Date.now() - begun) / 1000).toFixed(1);
  process.stdout.write(`=== ${name}: ${code === 0 ? "ok" : "FAILED"} in ${seconds} s\n`);
}
process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

function find(output, pattern) {
  return Number(pattern.exec(output)?.[1] ?? 0);
}

function run([command, ...args]) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => {
        output += data;
        process.stdout.write(data);
      });
    }
    child.on("error", (error) => {
      process.stdout.write(`${error.message}\n`);
      resolve({ output, code: 1 });
    });
    child.on("close", (code) => resolve({ output, code }));
  });
}
