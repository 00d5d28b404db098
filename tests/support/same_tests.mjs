/**
 * Whether every runtime has run the same tests: read from what the runners print, so that a test that a
 * runner has not found is seen as well. Plain JavaScript, as `tests/run.mjs`, which calls it.
 */

/** What is skipped on a runtime, and why. Everything else runs on each of them, by the same name. */
const SKIPPED = [
  [
    ["Bun", "Deno"],
    /^(?:toNodeListener\(\)|on Node,) /,
    "node:http is a program of Node's own",
  ],
  [
    ["Bun", "Deno"],
    /^openai\(\) waits past the limits of Node's fetch,/,
    "the limits are those of Node's fetch",
  ],
  [
    ["Deno", "Node"],
    /^an open stream holds no request on Bun$/,
    "there the signal needs its request",
  ],
  [
    ["Node"],
    /^readEvents: format-bom-2,/,
    "its TextDecoderStream loses a byte order mark in two parts",
  ],
];

const LINES = {
  Bun: /^\((?<result>pass|fail|skip)\) (?<name>.*?)(?: \[[\d.]+m?s\])?$/gm,
  // What a test prints stands between its name and its result, at times on the name's own line.
  Deno: /^(?<name>\S.*?) \.\.\.(?: (?<result>ok|ignored|FAILED)(?: \(.*\))?|[^\s.].*)?$/gm,
  Node: /^(?:not )?ok \d+ - (?<name>.*?)(?<skipped> # SKIP.*)?$/gm,
};

/** The names of the tests that a runner has run, and whether each was skipped. */
export function testsOf(runtime, output) {
  const tests = new Map();
  for (const { groups } of output.matchAll(LINES[runtime])) {
    const { name, result = "", skipped } = groups;
    // TAP escapes what stands for something else in it.
    const told = runtime === "Node" ? name.replaceAll(/\\(.)/g, "$1") : name;
    tests.set(
      told,
      skipped !== undefined || result === "skip" || result === "ignored",
    );
  }
  return tests;
}

/** A line for each test that one runtime has and another has not, or skips without a reason above. */
export function differences(outputs) {
  const runs = Object.entries(outputs).map((
    [runtime, text],
  ) => [runtime, testsOf(runtime, text)]);
  const all = [...new Set(runs.flatMap(([, tests]) => [...tests.keys()]))];
  const isNamed = (runtime, name) =>
    SKIPPED.some(([runtimes, names]) => runtimes.includes(runtime) && names.test(name));
  return all.flatMap((name) => {
    const skippers = runs.filter(([, tests]) => tests.get(name));
    return runs.flatMap(([runtime, tests]) => {
      if (!tests.has(name)) {
        return [`${runtime} has no test ${JSON.stringify(name)}`];
      }
      // What all of them skip is no difference.
      if (
        !tests.get(name) || skippers.length === runs.length ||
        isNamed(runtime, name)
      ) return [];
      return [
        `${runtime} skips ${JSON.stringify(name)}, and no reason is given`,
      ];
    });
  });
}
