/** A log that has seen many streams, finished and abandoned, is as small as it was before them. */
import assert from "node:assert/strict";
import test from "node:test";
import type { ActiveCounts } from "../../lib/counters.ts";
import { startScript, total } from "../support/child.ts";
import { until } from "../support/serve.ts";

interface Held {
  heapBytes: number;
  bytes: number;
  size: number;
}

/** What `tests/support/child/expiring_streams.ts` says after each 500 streams. */
export interface Round {
  /** While the log keeps them, and after it has forgotten them. */
  held: Held;
  left: Held;
  active: ActiveCounts;
}

test("2,500 finished and 2,500 abandoned streams leave nothing behind", async () => {
  const child = startScript("tests/support/child/expiring_streams.ts");
  try {
    await until(
      () => child.exit !== undefined,
      50_000,
      `an end: ${child.errors}`,
    );
    assert.equal(child.exit, 0, child.errors);
    const rounds = child.output.trim().split("\n").map((line) => JSON.parse(line) as Round);
    assert.equal(rounds.length, 10);
    for (const { held, left, active } of rounds) {
      assert(
        held.size >= 50 && held.bytes > 50 * 1024,
        `${held.size} streams were held`,
      );
      assert.deepEqual([left.size, left.bytes, total(active)], [0, 0, 0]);
    }
    // One measurement may come before a collection; a leak is in all of them.
    // What was held was little more than what the log counts: not who made it, nor who read it.
    const eachBytes = Math.min(
      ...rounds.slice(5).map(({ held, left }) =>
        (held.heapBytes - left.heapBytes - held.bytes) / held.size
      ),
    );
    assert(eachBytes < 1024, `each holds ${eachBytes} bytes that are not counted`);
    const least = (from: number, to: number) =>
      Math.min(...rounds.slice(from, to).map(({ left }) => left.heapBytes)) / 2 ** 20;
    const grown = least(7, 10) - least(2, 5);
    assert(grown < 1, `live objects grew by ${grown.toFixed(2)} MiB in 2,500 streams`);
  } finally {
    await child.stop();
  }
});
