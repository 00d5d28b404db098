/** The chart can be read without the page it came from: its marks, its names and its origin are told in it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { chart } from "../../bench/chart.ts";
import type { Results, Sample } from "../../bench/results.ts";

const [LEAST, MEDIAN, GREATEST] = [1000, 3000, 4000];

function sample(key: string, round: number, figures: Sample["figures"]): Sample {
  const [subject, runtime] = key.split("/") as [string, string];
  const of = "streams" in figures ? "capacity" : "burst";
  const variant = of === "capacity" ? "most streams" : "generator text 64";
  return { case: of, subject, runtime, variant, round, figures };
}

const ROUNDS = [GREATEST, LEAST, MEDIAN];
const capacity = ["spillway/bun", "spillway/deno", "raw socket/deno"].flatMap((key) =>
  ROUNDS.map((streams, index) => sample(key, index + 1, { streams, usPerToken: 12.34 }))
);
const bursts = ["spillway/bun", "floor/deno"].flatMap((key) =>
  ROUNDS.map((rate, index) => sample(key, index + 1, { tokensPerSecond: rate * 1000 }))
);

const results: Results = {
  date: "2026-11-28T13:19:58.186Z",
  commit: "0000000",
  dirty: false,
  command: "bun bench/run.ts",
  machine: { cpu: "Some <CPU>", cores: 2 },
  versions: { bun: "1.2.3", deno: "4.5.6", python: "7.8.9" },
  rounds: 3,
  samples: [...capacity, ...bursts],
};

/** What a reader sees: the texts of the picture. */
function texts(svg: string): string[] {
  return [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text]) => text!);
}

test("chart() begins with capacity and a token's price, a panel per runtime, and ends with bursts", () => {
  const all = texts(chart(results));
  const at = (part: string) => {
    const index = all.findIndex((text) => text.startsWith(part));
    assert.ok(index >= 0, part);
    return index;
  };
  assert.ok(at("Streams that one core holds") < at("Million tokens a second"));
  assert.deepEqual(all.filter((text) => /^(Bun|Deno)$/.test(text)), ["Bun", "Deno", "Bun", "Deno"]);
  for (const part of ["3,000 · 12.3 µs", "3.00"]) assert.ok(all.includes(part), part);
});

test("chart() says what its whiskers, its dashed bars and its names are", () => {
  const all = texts(chart(results)).join("\n");
  for (const part of ["least to greatest round", "median", "longer is better"]) {
    assert.ok(all.includes(part), part);
  }
  assert.match(all, /floor of the streams: a raw socket/);
  assert.match(all, /floor of the bursts: the tokens, concatenated/);
  const single = { ...results, samples: [sample("spillway/bun", 1, { streams: 1 })] };
  assert.doesNotMatch(texts(chart(single)).join("\n"), /round|floor/);
});

test("chart() says when and on what its figures were measured", () => {
  const origin = texts(chart(results)).slice(-2).join(" ");
  assert.ok(
    origin.endsWith("Measured on 2026-11-28 · Some &lt;CPU>, 2 cores · Bun 1.2.3 · Deno 4.5.6"),
    origin,
  );
});

test("chart() explains the names that are no library's where it shows them", () => {
  const has = (run: Results) => texts(chart(run)).some((text) => text.startsWith("bare:"));
  assert.equal(has(results), false);
  const bare = sample("bare/bun", 1, { streams: 1 });
  assert.equal(has({ ...results, samples: [...results.samples, bare] }), true);
});

test("chart() marks what the load generator may have held up", () => {
  const busy = sample("bare/bun", 1, { streams: 1, loadShare: 0.99 });
  const marked = texts(chart({ ...results, samples: [...results.samples, busy] }));
  assert.ok(marked.includes("1 †"));
  assert.ok(marked.some((text) => text.startsWith("†")));
  assert.ok(!texts(chart(results)).some((text) => text.includes("†")));
});

test("chart() can be read on a phone: no line is longer than its width", () => {
  const svg = chart(results);
  const width = Number(/ width="(\d+)"/.exec(svg)![1]);
  assert.ok(width <= 430);
  // A letter of 12 px is 7 px wide at most, on average.
  for (const text of texts(svg)) assert.ok(text.length * 6.5 <= width, text);
});

test("chart() is empty for a run with neither", () => {
  assert.equal(chart({ ...results, samples: [] }), "");
});
