/** The ladder finds where a server's tokens become late, in few rungs, and is not misled by one pause of the machine. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Figures } from "../../bench/job.ts";
import { climb, FIRST_RUNG, isOnTime } from "../../bench/ladder.ts";

/** A server whose core is full at `most` streams: tokens are late above that, or missing. */
function server(most: number, asked: number[], more: (streams: number) => Figures = () => ({})) {
  return (streams: number): Promise<Figures> => {
    asked.push(streams);
    return Promise.resolve({
      p50: 1,
      p99: streams <= most ? 20 : 300,
      deliveredShare: Math.min(1, most / streams),
      coreShare: Math.min(1, 0.1 + 0.85 * streams / most),
      loadShare: streams / 10_000,
      usPerToken: 1000 / streams,
      kbPerStream: 9,
      ...more(streams),
    });
  };
}

test("climb() finds the most streams within five per cent, in at most nine rungs", async () => {
  for (const most of [30, 140, 480, 730, 1990, 5300]) {
    const asked: number[] = [];
    const { streams, failedAt, rungs } = await climb(server(most, asked));
    const between = `${streams} to ${failedAt} for ${most}, asked ${asked}`;
    assert.ok(streams! <= most && most < failedAt!, between);
    assert.ok(failedAt! / streams! <= 1.05 || failedAt! - streams! === 20, between);
    assert.equal(rungs, asked.length);
    assert.ok(asked.length <= 9, between);
  }
});

test("climb() tells a token's price at the rung where all begin, and memory at the highest that passes", async () => {
  const weighed = server(1700, [], (streams) => ({ kbPerStream: streams / 100 }));
  const { streams, usPerToken, kbPerStream } = await climb(weighed);
  assert.equal(usPerToken, 1000 / FIRST_RUNG);
  assert.equal(kbPerStream, streams! / 100);
  assert.equal((await climb(server(100, []))).usPerToken, undefined);
});

test("climb() asks again where a rung fails though the core had time left", async () => {
  const asked: number[] = [];
  const paused = new Set<number>();
  const pause = (streams: number): Figures => {
    if (paused.has(streams) || streams > 1000) return {};
    paused.add(streams);
    return { p99: 80 };
  };
  const { streams } = await climb(server(1700, asked, pause));
  assert.deepEqual(asked.slice(0, 2), [FIRST_RUNG, FIRST_RUNG]);
  assert.ok(streams! > 1600, `${streams}`);
});

test("climb() ends where nothing passes, and says how busy the load generator was where it ended", async () => {
  const { streams, ...none } = await climb(server(5, []));
  assert.equal(streams, 0);
  assert.equal("p99" in none, false);
  const busy = server(1700, [], (streams) => ({ loadCoreShare: streams > 1700 ? 0.99 : 0.5 }));
  assert.equal((await climb(busy)).loadShare, 0.99);
});

test("isOnTime() takes tokens that never came for late", () => {
  assert.equal(isOnTime({ p99: 50, deliveredShare: 1 }), true);
  assert.equal(isOnTime({ p99: 50.1, deliveredShare: 1 }), false);
  assert.equal(isOnTime({ p99: 1, deliveredShare: 0.98 }), false);
  assert.equal(isOnTime({ deliveredShare: 0 }), false);
});
