/** The clock of other tests: what it runs, when, and in which order. */
import assert from "node:assert/strict";
import test from "node:test";
import { FakeClock } from "../../lib/testing.ts";

test("FakeClock runs timers in the order in which they are due, at their times", async () => {
  for (const way of ["tick", "advance"] as const) {
    const clock = new FakeClock();
    const startMs = clock.now();
    const seen: string[] = [];
    const note = (name: string) => () => void seen.push(`${name} ${clock.now() - startMs}`);
    clock.setTimer(note("b"), 20);
    clock.setTimer(note("a"), 10);
    clock.setTimer(note("c"), 20);
    clock.clearTimer(clock.setTimer(note("never"), 15));
    clock.setTimer(() => void clock.setTimer(note("set by a timer"), 5), 12);
    clock.setTimer(note("late"), 100);
    await clock[way](50);
    assert.deepEqual(seen, ["a 10", "set by a timer 17", "b 20", "c 20"]);
    assert.equal(clock.now() - startMs, 50);
    assert.equal(clock.armed, 1);
  }
});

test("FakeClock.advance() lets promises run between two timers, and tick() does not", async () => {
  for (const [way, expectedMs] of [["advance", 30], ["tick", 70]] as const) {
    const clock = new FakeClock();
    const startMs = clock.now();
    let wokenMs = 0;
    const done = (async () => {
      await clock.sleep(10);
      await clock.sleep(20);
      wokenMs = clock.now() - startMs;
    })();
    await clock[way](50);
    await clock.during(done);
    assert.equal(wokenMs, expectedMs);
  }
});

test("FakeClock.during() passes time as long as a promise waits, and no longer than it may", async () => {
  const clock = new FakeClock();
  const startMs = clock.now();
  assert.equal(await clock.during(clock.sleep(500).then(() => "done")), "done");
  assert.equal(clock.now() - startMs, 500);
  await assert.rejects(clock.during(new Promise(() => {}), 100), /Not within 100 ms/);
});
