/** The way to a store by itself: how often it is tried while it is away, and what a late result is worth. */
import assert from "node:assert/strict";
import test from "node:test";
import type { Clock } from "../../../lib/pipeline/scheduler.ts";
import type { EventStore, Producer } from "../../../lib/replay/shared/event_store.ts";
import { StoreLink } from "../../../lib/replay/shared/store_link.ts";
import { times, totals } from "../../../lib/totals.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const producer: Producer = { id: "one", leaseMs: 10_000, liveMs: 60_000, keepMs: 60_000 };

/** A link to a store that answers as `respond` does, and what it has told. */
function linkTo<C extends Clock = FakeClock>(
  respond: (method: string) => Promise<unknown>,
  clock: C = new FakeClock() as Clock as C,
) {
  const told: string[] = [];
  const store = {
    latest: () => respond("latest"),
    renew: () => respond("renew"),
  } as unknown as EventStore;
  const link = new StoreLink(store, producer, clock, {
    recovered: () => void told.push("recovered"),
    report: (error) => void told.push((error as Error).message),
  });
  const call = () => link.call((store) => store.latest("chat"));
  return { link, told, clock, call };
}

const unavailable = { name: "StreamError", code: "log_unavailable", status: 503 };

test("StoreLink backs off with jitter while the store is away, and says so once", async () => {
  let isAway = true;
  const clock = new FakeClock();
  const links = await Promise.all(Array.from({ length: 8 }, async () => {
    const probedMs: number[] = [];
    const { link, told, call } = linkTo((method) => {
      if (method === "renew") probedMs.push(clock.now());
      return isAway ? Promise.reject(new Error("away")) : Promise.resolve("here");
    }, clock);
    const fromMs = clock.now();
    await assert.rejects(call(), unavailable);
    assert.equal(link.isUp, false);
    return { link, told, probedMs, fromMs };
  }));
  await clock.advance(120_000);
  const gaps = links.map(({ probedMs, fromMs }) =>
    probedMs.map((ms, i) => ms - (probedMs[i - 1] ?? fromMs))
  );
  for (const of of gaps) {
    for (const [i, ms] of of.entries()) {
      const mostMs = Math.min(5000, 100 * 2 ** i);
      assert(ms >= mostMs / 2 && ms <= mostMs, `${of.map(Math.round)} ms`);
    }
    assert(of.length > 25, `${of.length} probes in two minutes`);
  }
  // Of eight that lost the store in one moment, no two come back in step.
  assert(new Set(gaps.map((of) => of[2])).size === 8, `${gaps.map((of) => of[2])} ms`);
  isAway = false;
  await clock.advance(5000);
  for (const { link, told } of links) {
    assert.deepEqual(told, ["away", "recovered"]);
    assert.equal(link.isUp, true);
    assert.equal(link.wasUpFor(5001), false);
  }
  await clock.advance(5001);
  assert(links.every(({ link }) => link.wasUpFor(5001)));
});

test("StoreLink gives a store that works only for moments no shorter backoff", async () => {
  let isAway = true;
  const { link, clock, call } = linkTo(() =>
    isAway ? Promise.reject(new Error("away")) : Promise.resolve()
  );
  await assert.rejects(call(), unavailable);
  await clock.advance(30_000);
  isAway = false;
  await clock.advance(5000);
  assert.equal(link.isUp, true);
  isAway = true;
  await assert.rejects(call(), unavailable);
  await clock.advance(2400);
  isAway = false;
  await clock.advance(90);
  assert.equal(link.isUp, false, "it is not tried 100 ms after that");
  await clock.advance(2600);
  assert.equal(link.isUp, true);
});

test("StoreLink lets one call at a time through while the store is away", async () => {
  const waiting: (() => void)[] = [];
  const { call, clock } = linkTo(() =>
    new Promise((_, reject) => waiting.push(() => reject(new Error())))
  );
  const first = call();
  waiting[0]!();
  await assert.rejects(first, unavailable);
  const second = call();
  await assert.rejects(call(), unavailable);
  assert.equal(waiting.length, 2, "a client that is offline queues what it is given");
  await clock.advance(1000);
  assert.equal(waiting.length, 2, "its probe waits as well");
  waiting[1]!();
  await assert.rejects(second, unavailable);
});

test("StoreLink waits for a result no longer than 2 s", async () => {
  let respond = (_: unknown) => {};
  const { link, told, clock, call } = linkTo((method) =>
    method === "renew" ? Promise.reject(new Error()) : new Promise((resolve) => respond = resolve)
  );
  const rejected = assert.rejects(call(), unavailable);
  await clock.advance(1999);
  assert.equal(link.isUp, true);
  await clock.advance(1);
  await rejected;
  respond("late");
  await clock.advance(0);
  assert.equal(link.isUp, false, "a late result is nobody's");
  assert.deepEqual(told, ["The store did not respond within 2000 ms"]);
  link.close();
  assert.equal(clock.armed, 0);
  await assert.rejects(call(), unavailable);
});

test("StoreLink takes a store that throws for one that rejects", async () => {
  const { link, told } = linkTo(() => {
    throw new Error("thrown");
  });
  await assert.rejects(link.call((store) => store.latest("chat")), unavailable);
  assert.deepEqual(told, ["thrown"]);
  link.close();
});

test("StoreLink counts calls with their time, and outages", async () => {
  const before = { ...totals.storeCalls, outages: totals.storeOutages, sum: times.storeCall.sum };
  const clock = new FakeClock();
  let isAway = false;
  const { link, call } = linkTo(async () => {
    await new Promise<void>((resolve) => void clock.setTimer(resolve, 30));
    if (isAway) throw new Error("away");
    return "here";
  }, clock);
  const first = call();
  await clock.advance(30);
  await first;
  isAway = true;
  const second = assert.rejects(call(), unavailable);
  await clock.advance(30);
  await second;
  assert.deepEqual(
    [totals.storeCalls.ok - before.ok, totals.storeCalls.failed - before.failed],
    [1, 1],
  );
  assert.equal(totals.storeOutages - before.outages, 1);
  assert.equal(Math.round((times.storeCall.sum - before.sum) * 1000), 60);
  link.close();
});

test("StoreLink takes no store for lost because its own process was held up", async () => {
  const clock = new FakeClock();
  let heldUpMs = 0;
  const late = {
    now: () => clock.now() + heldUpMs,
    setTimer: (run: () => void, ms: number) => clock.setTimer(run, ms),
    clearTimer: (timer: unknown) => clock.clearTimer(timer),
  };
  let respond = (_value: string) => {};
  const { link, told, call } = linkTo(() => new Promise((resolve) => respond = resolve), late);
  const first = call();
  heldUpMs = 3000;
  await clock.advance(2000);
  respond("here");
  assert.equal(await first, "here");
  assert.equal(link.isUp, true);
  // A store that does not respond after that either is lost.
  const second = assert.rejects(call(), unavailable);
  for (heldUpMs of [6000, 9000]) await clock.advance(2000);
  await second;
  assert.deepEqual(told, ["The store did not respond within 2000 ms"]);
});
