/** Runs of one machine can be put together: a row's rounds are counted on, and a failed round makes room. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Results, type Sample, withSample } from "../../bench/results.ts";

const sample = (subject: string, error?: string): Sample => ({
  case: "capacity",
  subject,
  runtime: "bun",
  variant: "most streams",
  round: 1,
  figures: { streams: 1 },
  ...(error === undefined ? {} : { error }),
});

const none: Results = {
  date: "2026-11-29T12:00:00.000Z",
  commit: "0000000",
  dirty: false,
  command: "bun bench/run.ts",
  machine: {},
  versions: {},
  rounds: 1,
  samples: [],
};

test("withSample() counts a row's rounds on, each row for itself", () => {
  const { samples, rounds } = ["a", "b", "a", "a"].map((name) => sample(name))
    .reduce(withSample, none);
  assert.deepEqual(
    samples.map(({ subject, round }) => `${subject} ${round}`),
    ["a 1", "b 1", "a 2", "a 3"],
  );
  assert.equal(rounds, 3);
});

test("withSample() replaces a row's failed round, and keeps another row's", () => {
  const failed = [sample("a", "did not start"), sample("b", "did not start")];
  const { samples } = [...failed, sample("a")].reduce(withSample, none);
  assert.deepEqual(samples.map(({ subject, error }) => [subject, error === undefined]), [
    ["b", false],
    ["a", true],
  ]);
});
