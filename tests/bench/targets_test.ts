/** The marks of the benchmark's table: the median decides, and a lucky round is called one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { report } from "../../bench/report.ts";
import type { Results, Sample } from "../../bench/results.ts";
import { judge, type Mark, type Target } from "../../bench/targets.ts";

/** One sample a round, of Spillway's memory for idle streams on Bun: at most 4.5 KB each are to be reached. */
function idle(...rounds: number[]): Sample[] {
  return rounds.map((kbPerStream, index) => ({
    case: "memory",
    subject: "spillway",
    runtime: "bun",
    variant: "idle 10000",
    round: index + 1,
    figures: { kbPerStream },
  }));
}

function mark(bound: Target["bound"], figure: number, rounds: number[]): Mark | undefined {
  const target: Target = { what: "any", bound, figure, unit: "x", values: () => rounds };
  return judge([], [target])[0]?.mark;
}

test("judge() takes a figure for reached where the median reaches it, not where one round does", () => {
  assert.equal(mark("at least", 10, [9, 10, 11]), "reached");
  assert.equal(mark("at least", 10, [8, 9.9, 11]), "only within the spread");
  assert.equal(mark("at least", 10, [8, 9, 9.9]), "not reached");
  assert.equal(mark("at most", 10, [9, 10, 11]), "reached");
  assert.equal(mark("at most", 10, [9, 10.1, 12]), "only within the spread");
  assert.equal(mark("at most", 10, [10.1, 11, 12]), "not reached");
});

test("judge() is not misled by the rounding of a difference", () => {
  const difference = 0.53 - 0.48;
  assert.ok(difference > 0.05);
  assert.equal(mark("at most", 0.05, [difference]), "reached");
});

test("judge() leaves out a figure that was not measured", () => {
  assert.deepEqual(judge([]), []);
  assert.deepEqual(judge(idle(5, 4, 6)).map(({ mark }) => mark), ["only within the spread"]);
});

test("report() counts each mark", () => {
  const results: Results = {
    date: "2026-11-28T13:19:58.186Z",
    commit: "0000000",
    dirty: false,
    command: "bun bench/run.ts",
    machine: {},
    versions: {},
    rounds: 3,
    samples: idle(5, 4, 6),
  };
  const of = "0 reached, 1 only within the spread, 0 not reached";
  assert.ok(report(results).includes(`Marks: ${of}.`));
});
