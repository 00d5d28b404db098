/** What pairs say about a change: no more than their interval allows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Figures } from "../../bench/job.ts";
import { compare, type Main, mainFigures, type Pair } from "../../bench/ratios.ts";
import { SUBJECTS } from "../../bench/subjects.ts";

const RATE: Main = { name: "rate", heading: "tokens/s", better: "more" };
const COST: Main = { name: "cost", heading: "ns/token", better: "less" };

/** Pairs with these ratios of both figures. */
function pairs(ratios: number[], more: Figures = {}): Pair[] {
  return ratios.map((ratio) => ({
    before: { rate: 200, cost: 50, ...more },
    after: { rate: 200 * ratio, cost: 50 * ratio },
  }));
}

const FASTER = [1.04, 1.05, 1.03, 1.05, 1.06, 1.05, 1.04, 1.06];
const SAME = [1.01, 0.99, 1, 1.02, 0.98, 1, 1.01, 0.99];

test("compare() gives the median of the ratios after/before and its interval", () => {
  assert.deepEqual(compare(pairs(FASTER), RATE), {
    pairs: 8,
    median: 1.05,
    interval: [1.03, 1.06],
    mark: "better",
  });
});

test("compare() knows whether more or less is better", () => {
  const slower = FASTER.map((ratio) => 1 / ratio);
  assert.equal(compare(pairs(FASTER), COST)!.mark, "worse");
  assert.equal(compare(pairs(slower), COST)!.mark, "better");
  assert.equal(compare(pairs(slower), RATE)!.mark, "worse");
});

test("compare() shows no difference where the interval holds 1", () => {
  assert.equal(compare(pairs(SAME), RATE)!.mark, "no difference shown");
});

test("compare() asks for more where the interval is wider than 5 points, or is none", () => {
  const longer = "interval wider than 5 points: measure longer";
  const wide = [0.9, 1.1, 1, 0.95, 1.05, 1];
  assert.equal(compare(pairs(wide), RATE)!.mark, longer);
  assert.equal(compare(pairs(wide.map((ratio) => ratio + 0.2)), RATE)!.mark, longer);
  const few = compare(pairs([1.2, 1.3, 1.25]), RATE)!;
  assert.equal(few.interval, undefined);
  assert.equal(few.mark, "no interval: measure six pairs or more");
});

test("compare() leaves out pairs without a ratio", () => {
  const none: Pair[] = [{ before: {}, after: { rate: 1 } }, {
    before: { rate: 0 },
    after: { rate: 1 },
  }];
  assert.equal(compare(none, RATE), undefined);
  assert.equal(compare([...none, ...pairs(SAME)], RATE)!.pairs, SAME.length);
});

test("compare() says where the load generator may have hidden a gain of the rate", () => {
  const saturated = pairs(SAME, { loadShare: 0.99 });
  assert.match(compare(saturated, RATE)!.mark, /load generator saturated/);
  assert.doesNotMatch(compare(saturated, COST)!.mark, /saturated/);
});

test("mainFigures() are those of the load generator's mode", () => {
  const [subject] = SUBJECTS;
  const common = { path: "/", payload: "raw", connections: 1, n: 1, warmMs: 0, ms: 1 } as const;
  const names = (mode: "burst" | "paced") =>
    mainFigures({ subject: subject!, variant: "", job: { mode, ...common } })
      .map(({ name }) => name);
  assert.deepEqual(names("burst"), ["tokensPerSecond", "nsPerToken"]);
  assert.deepEqual(names("paced"), ["usPerToken", "p50"]);
});
