/** The interval of a median: the ranks are those of the textbooks, and it holds the median as often as it says. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { random, SEED } from "../../bench/inputs.ts";
import { medianInterval } from "../../bench/measure.ts";

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

test("medianInterval() takes the ranks of the binomial distribution", () => {
  // Ranks of the tables for the sign test at 5 %.
  const ranks = [[6, 1, 6], [8, 1, 8], [9, 2, 8], [10, 2, 9], [20, 6, 15], [100, 40, 61]];
  for (const [count, low, high] of ranks) {
    assert.deepEqual(medianInterval(upTo(count!).reverse()), [low, high], `${count} values`);
  }
});

test("medianInterval() is none where the whole range covers less than 95 %", () => {
  for (const count of [0, 1, 3, 5]) assert.equal(medianInterval(upTo(count)), undefined);
});

test("medianInterval() holds the median in 95 of 100 samples, also of a lopsided distribution", () => {
  const next = random(SEED);
  const median = Math.log(2); // of the exponential distribution
  const samples = 2000;
  let held = 0;
  for (let sample = 0; sample < samples; sample++) {
    const [low, high] = medianInterval(Array.from({ length: 20 }, () => -Math.log(1 - next())))!;
    if (low <= median && median <= high) held++;
  }
  assert.ok(held / samples > 0.95 && held / samples < 0.97, `${held} of ${samples}`);
});
