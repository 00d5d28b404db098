/** The chart can be read without the page it came from: its marks, its names and its origin are told in it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { chart } from "../../bench/chart.ts";
import type { Results } from "../../bench/results.ts";

const [LEAST, MEDIAN, GREATEST] = [1_000_000, 3_000_000, 4_000_000];

const results: Results = {
  date: "2026-11-28T13:19:58.186Z",
  commit: "0000000",
  dirty: false,
  command: "bun bench/run.ts",
  machine: { cpu: "Some <CPU>", cores: 2 },
  versions: { bun: "1.2.3", deno: "4.5.6", python: "7.8.9" },
  rounds: 3,
  samples: ["spillway/bun", "floor/deno"].flatMap((key) =>
    [GREATEST, LEAST, MEDIAN].map((tokensPerSecond, index) => ({
      case: "burst",
      subject: key.split("/")[0]!,
      runtime: key.split("/")[1]!,
      variant: "generator text 64",
      round: index + 1,
      figures: { tokensPerSecond },
    }))
  ),
};

/** What a reader sees: the texts of the picture. */
function texts(svg: string): string[] {
  return [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text]) => text!);
}

test("chart() says what its whiskers, its dashed bars and its names are", () => {
  const all = texts(chart(results)).join("\n");
  for (const part of ["spillway (Bun)", "floor (Deno)", "3.00"]) {
    assert.ok(all.includes(part), part);
  }
  for (const part of ["least to greatest of 3 rounds", "median", "in brackets, the runtime"]) {
    assert.ok(all.includes(part), part);
  }
  assert.match(all, /floor: the same tokens, concatenated and sent as one body/);
});

test("chart() says when and on what its figures were measured", () => {
  const origin = texts(chart(results)).at(-1);
  assert.equal(origin, "Measured on 2026-11-28 · Some &lt;CPU>, 2 cores · Bun 1.2.3 · Deno 4.5.6");
});

test("chart() explains the names that are no library's where it shows them", () => {
  const has = (run: Results) => texts(chart(run)).some((text) => text.startsWith("bare:"));
  assert.equal(has(results), false);
  const [sample] = results.samples;
  const bare = { ...sample!, subject: "bare" };
  assert.equal(has({ ...results, samples: [...results.samples, bare] }), true);
});

test("chart() is empty for a run without a burst", () => {
  assert.equal(chart({ ...results, samples: [] }), "");
});
