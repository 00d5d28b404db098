/** Patience has an end: what is at fault fails, however busy the machine may be. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./serve.ts";
import { least, processorTime, tried } from "./timing.ts";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Keeps the processor for a while. */
function work(ms: number): void {
  for (const fromMs = performance.now(); performance.now() - fromMs < ms;);
}

test("least() takes the first that is good enough, and the least of five that are not", async () => {
  const given = [9, 7, 8, 6, 7, 1];
  assert.equal(await least(7, () => given.shift()!), 7);
  assert.equal(await least(0, () => given.shift() ?? 5), 1);
  assert.deepEqual(given, []);
});

test("tried() tries three times, and fails with the last reason", async () => {
  const tries: number[] = [];
  const failing = (times: number) =>
    tried("a test of tried()", async (again) => {
      tries.push(again);
      await Promise.resolve();
      if (again < times) throw new Error(`try ${again}`);
    });
  await failing(2);
  await assert.rejects(failing(3), /^Error: try 2$/);
  assert.deepEqual(tries, [0, 1, 2, 0, 1, 2]);
});

test("until() fails when its time is over, and does not count what others take", async () => {
  await assert.rejects(until(() => false, 20, "never"), /^Error: Not within 20 ms: never$/);
  let looks = 0;
  const slow = () => {
    work(20);
    return ++looks === 4;
  };
  await until(slow, 40, "the fourth look");
});

test("processorTime() counts work, and no waiting", async () => {
  const usedMs = processorTime();
  await sleep(100);
  const waitedMs = usedMs();
  assert(waitedMs < 90, `${waitedMs} ms`);
  while (usedMs() < waitedMs + 20) work(1);
});
