/** What a gateway adds is told against its upstream, in the same round. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { report, withAdded } from "../../bench/report.ts";
import type { Results, Sample } from "../../bench/results.ts";

function sample(subject: string, variant: string, round: number, ms: number): Sample {
  const figures = { firstTokenP50: ms, firstTokenP99: 2 * ms, tokenP50: ms / 2, tokenP99: ms };
  return { case: "gateway", subject, runtime: "bun", variant, round, figures };
}

const samples: Sample[] = [
  sample("upstream itself", "512 streams", 1, 1),
  sample("upstream itself", "512 streams", 2, 2),
  sample("spillway handler", "512 streams", 1, 4),
  sample("spillway handler", "512 streams", 2, 6),
  sample("spillway handler", "512 streams", 3, 6),
];

test("withAdded() takes the upstream's latency away, round by round", () => {
  const added = withAdded(samples).map(({ figures }) => figures["addedFirstP50"]);
  assert.deepEqual(added, [undefined, undefined, 3, 4, undefined]);
  assert.equal(withAdded(samples)[3]!.figures["addedFirstP99"], 8);
  assert.equal(withAdded(samples)[3]!.figures["addedTokenP50"], 2);
  assert.equal(withAdded(samples)[3]!.figures["addedTokenP99"], 4);
});

test("report() begins with what a core holds, then the price of a token, bursts later", () => {
  const of = (name: string): Sample => ({ ...samples[0]!, case: name, figures: { usPerToken: 1 } });
  const results: Results = {
    date: "2026-11-28T13:19:58.186Z",
    commit: "0000000",
    dirty: false,
    command: "bun bench/run.ts",
    machine: {},
    versions: {},
    rounds: 1,
    samples: ["burst", "paced", "relay", "capacity"].map(of),
  };
  const headings = report(results).split("\n").filter((line) => line.startsWith("## "));
  assert.deepEqual(headings, ["## capacity", "## paced", "## burst", "## relay"]);
});
