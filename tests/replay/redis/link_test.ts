/** The way to Redis by itself: how often it is tried while Redis is away, and what a late answer is worth. */
import assert from "node:assert/strict";
import test from "node:test";
import { RedisLink } from "../../../lib/replay/redis/link.ts";
import { until } from "../../support/serve.ts";

/** A link to a Redis that answers as `send` does, and what it has told. */
function linkTo(send: (command: string) => Promise<unknown>) {
  const told: string[] = [];
  const link = new RedisLink({ send, subscribe: () => Promise.resolve() }, {
    probe: () => ["PROBE", []],
    recovered: () => void told.push("recovered"),
    report: (error) => void told.push((error as Error).message),
  });
  return { link, told };
}

const unavailable = { name: "StreamError", code: "log_unavailable", status: 503 };

test("RedisLink backs off with jitter while Redis is away, and says so once", async () => {
  let isAway = true;
  const links = await Promise.all(Array.from({ length: 8 }, async () => {
    const probedMs: number[] = [];
    const { link, told } = linkTo(() => {
      probedMs.push(performance.now());
      return isAway ? Promise.reject(new Error("away")) : Promise.resolve("here");
    });
    await assert.rejects(link.send("GET", []), unavailable);
    assert.equal(link.isUp, false);
    return { link, told, probedMs };
  }));
  await until(() => links.every(({ probedMs }) => probedMs.length > 4), 5000, "four probes");
  const gaps = links.map(({ probedMs }) => probedMs.slice(1, 5).map((ms, i) => ms - probedMs[i]!));
  for (const of of gaps) {
    // A timer is never early by more than a moment, and late if the machine is busy.
    for (const [i, ms] of of.entries()) assert(ms > 50 * 2 ** i - 2, `${of.map(Math.round)} ms`);
  }
  // Of eight that lost Redis in one moment, no two come back in step.
  const thirds = gaps.map((of) => of[2]!).sort((a, b) => a - b);
  assert(thirds[7]! - thirds[0]! > 20, `${thirds.map(Math.round)} ms`);
  isAway = false;
  await until(() => links.every(({ link }) => link.isUp), 5000, "all are up");
  for (const { link, told } of links) {
    assert.deepEqual(told, ["away", "recovered"]);
    link.close();
  }
});

test("RedisLink lets one command at a time through while Redis is away", async () => {
  const waiting: (() => void)[] = [];
  const { link } = linkTo(() =>
    new Promise((_, reject) => waiting.push(() => reject(new Error())))
  );
  const first = link.send("GET", []);
  waiting[0]!();
  await assert.rejects(first, unavailable);
  const second = link.send("GET", []);
  await assert.rejects(link.send("GET", []), unavailable);
  assert.equal(waiting.length, 2, "a client that is offline queues what it is given");
  waiting[1]!();
  await assert.rejects(second, unavailable);
  link.close();
  await assert.rejects(link.send("GET", []), unavailable);
});

test("RedisLink waits for an answer no longer than 2 s", async () => {
  let answer = (_: unknown) => {};
  const { link, told } = linkTo((command) =>
    command === "PROBE" ? Promise.reject(new Error()) : new Promise((resolve) => answer = resolve)
  );
  // A link keeps no process alive.
  const alive = setTimeout(() => {}, 10_000);
  const fromMs = performance.now();
  await assert.rejects(link.send("GET", []), unavailable);
  clearTimeout(alive);
  const tookMs = performance.now() - fromMs;
  assert(tookMs > 1990 && tookMs < 3000, `${tookMs} ms`);
  answer("late");
  await Promise.resolve();
  assert.equal(link.isUp, false, "a late answer is nobody's");
  assert.equal(told.length, 1);
  link.close();
});
