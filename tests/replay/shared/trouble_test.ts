/** `SharedLog` while its store is away, slow or forgetful: readers where it is made notice nothing, and no text is wrong. */
import assert from "node:assert/strict";
import { createHandler, StreamError } from "../../../mod.ts";
import type { FakeStoreOptions } from "../../support/fake_store.ts";
import { type FakeSite, fakeTest } from "../../support/fake_machines.ts";
import { problemIn } from "../../support/machines.ts";
import { int, random } from "../../support/random.ts";
import { same } from "../../support/event_reader.ts";

for (const keepsData of [true, false]) {
  const kind = keepsData ? "that keeps its data" : "that keeps nothing";
  fakeTest(
    `a store ${kind} is away for 20 s in mid-stream: nothing is lost or doubled`,
    async (site) => {
      const [one, other] = site.machines();
      const tokens = Array.from({ length: 20 }, () => site.paced(1500, 20));
      const before = await one.start(site.paced(30, 0).source);
      await before.rest();
      assert.equal(await one.log.flush(), true);
      const streams = await Promise.all(tokens.map(async ({ source }) => {
        const first = await one.start(source);
        return { first, second: await other.meet(first) };
      }));
      await Promise.all(streams.map(({ second }) => second.events(5)));
      site.server.kill();
      await site.until(() => one.log.health() === "degraded", 1000, "it is noticed");
      await site.sleep(20_000);
      site.server.start(keepsData);
      await Promise.all(streams.flatMap(({ first, second }) => [first.rest(), second.rest()]));
      for (const [i, { first, second }] of streams.entries()) {
        same(first.text, tokens[i]!.text());
        same(second.written, first.written, `stream ${i}`);
      }
      assert.equal(await one.log.flush(), true);
      assert.equal(one.log.health(), "ok");
      assert.equal(one.outages.length, 1);
      // Resumes are exact afterwards, on either machine.
      for (const [i, { first }] of streams.entries()) {
        const at = first.blocks.length - 1 - i * 3;
        const back = await (await [one, other][i % 2]!.join(first.streamId, at)).rest();
        same(back.written, first.blocks.slice(at).map(({ text }) => text).join(""));
      }
      // What had ended before is there if the store has kept it, and else unknown.
      const again = await other.join(before.streamId);
      if (keepsData) same((await again.rest()).written, before.written);
      else assert.equal(again.status, 404);
    },
  );
}

fakeTest(
  "a store that is away for longer than readers elsewhere wait: they are told, and come back",
  async (site) => {
    const [one, other] = site.machines();
    const tokens = site.paced(5000, 10);
    const first = await one.start(tokens.source);
    const second = await (await other.meet(first)).events(5);
    site.server.kill();
    const killedMs = site.clock.now();
    await second.rest();
    const tookMs = site.clock.now() - killedMs;
    assert(tookMs > 30_000 && tookMs < 33_000, `${tookMs} ms`);
    const { code, resume } = problemIn(second.last);
    assert.deepEqual([code, resume, second.last.id], ["log_unavailable", true, undefined]);
    site.server.start(true);
    await site.until(() => other.log.health() === "ok", 6000, "it is back");
    const third = await (await other.join(first.streamId, second.blocks.length - 1)).rest();
    await first.rest();
    same(second.text + third.text, tokens.text());
  },
);

fakeTest(
  "nobody can reach the store for longer than a lease: no producer is lost for it",
  async (site) => {
    const [one, other] = site.machines();
    const tokens = site.paced(9500, 10);
    const first = await one.start(tokens.source);
    const second = await (await other.meet(first)).events(5);
    const read = Promise.all([first.rest(), second.rest()]);
    for (let i = 0; i < 5; i++) {
      // Its leases run out, and it is not restarted.
      site.server.isDown = true;
      await site.sleep(12_000);
      site.server.isDown = false;
      await site.sleep(6000);
    }
    await read;
    same(first.text, tokens.text());
    same(second.written, first.written);
  },
);

fakeTest(
  "a producer that is lost in an outage: readers are told one lease after it",
  async (site) => {
    const [one, other] = site.machines();
    const first = await other.start(site.paced(5000, 10).source);
    const reader = await (await one.meet(first)).events(5);
    site.server.kill();
    await site.sleep(5000);
    other.kill();
    await site.sleep(5000);
    site.server.start(true);
    const startedMs = site.clock.now();
    await reader.rest();
    assert.equal(problemIn(reader.last).code, "producer_lost");
    const tookMs = site.clock.now() - startedMs;
    assert(tookMs >= 10_000 && tookMs < 17_000, `${tookMs} ms`);
  },
);

fakeTest(
  "the store is flushed: what goes on is written anew, what had ended is a 404",
  async (site) => {
    const [one, other] = site.machines();
    const done = await (await one.start(["a"])).rest();
    const tokens = site.paced(300, 10);
    const silent = site.paced(Infinity, 60_000);
    const first = await one.start(tokens.source);
    const quiet = await one.start(silent.source);
    const second = await (await other.meet(first)).events(20);
    const third = await (await other.meet(quiet)).events(1);
    assert.equal(await one.log.flush(), true);
    for (let i = 0; i < 3; i++) {
      site.server.flush();
      assert.equal((await other.join(done.streamId)).status, 404);
      await site.sleep(150);
    }
    await Promise.all([first.rest(), second.rest()]);
    same(first.text, tokens.text());
    same(second.written, first.written);
    assert.equal(await one.log.flush(), true);
    same((await (await other.join(first.streamId)).rest()).written, first.written);
    // Also the one that has nothing to say.
    const again = await (await other.meet(quiet)).events(1);
    same(again.text, "0 ");
    assert.equal(third.blocks.length, 1);
    assert.equal(await other.stop(quiet.streamId), true);
    for (const reading of [quiet, third, again]) {
      assert.equal(JSON.parse((await reading.rest()).last.data).reason, "cancelled");
    }
    assert.deepEqual([one.outages, other.outages], [[], []]);
  },
);

fakeTest(
  "the store loses all events of a stream, but not the stream: never a text with a hole",
  async (site) => {
    const [one, other] = site.machines();
    const done = await (await one.start(["a", "b"])).rest();
    const tokens = site.paced(150, 10);
    const first = await one.start(tokens.source);
    const second = await (await other.meet(first)).events(10);
    assert.equal(await one.log.flush(), true);
    for (const part of ["events", "all", "events"]) {
      if (part === "all") site.server.streams.delete(first.streamId);
      else site.server.streams.get(first.streamId)!.pieces = [];
      await site.sleep(200);
    }
    site.server.streams.get(done.streamId)!.pieces = [];
    assert.equal((await other.join(done.streamId)).status, 404);
    await Promise.all([first.rest(), second.rest()]);
    same(first.text, tokens.text());
    same(second.written, first.written);
    assert.equal(await one.log.flush(), true);
    same((await (await other.join(first.streamId)).rest()).written, first.written);
  },
);

fakeTest(
  "the store loses a part of a stream that has ended: its readers are told",
  async (site) => {
    const [one, other] = site.machines({ maxStreamBytes: 8 * 1024 * 1024 });
    const first = await (await one.start(site.paced(1000, 1, 500).source)).rest();
    assert.equal(await one.log.flush(), true);
    const { pieces } = site.server.streams.get(first.streamId)!;
    assert(pieces.length > 4);
    const [removed] = pieces.splice(2, 1);
    const second = await (await other.join(first.streamId)).rest();
    assert.equal(problemIn(second.last).code, "lagged");
    assert.equal(second.blocks.length - 1, removed!.first - 1);
    same(second.text, first.text.slice(0, second.text.length));
    pieces.splice(2);
    const fromMs = site.clock.now();
    const third = await (await other.join(first.streamId)).rest();
    assert.equal(problemIn(third.last).code, "lagged");
    assert.equal(third.blocks.length, second.blocks.length);
    assert(site.clock.now() - fromMs < 1000);
  },
);

fakeTest(
  "the store is down: what is made here goes on, what is elsewhere is a 503 with Retry-After",
  async (site) => {
    const [one, other] = site.machines();
    const done = await (await one.start(["a"])).rest();
    assert.equal(await one.log.flush(), true);
    site.server.kill();
    const tokens = site.paced(600, 10);
    const first = await one.start(tokens.source, { chatId: "1" });
    const { streamId } = first;
    await first.events(5);
    // Here it can be joined, found by its chat, and stopped.
    const second = await (await one.join(streamId)).events(5);
    const latest = await (await one.join("", undefined, { chatId: "1" })).events(5);
    await Promise.all([one, other].map(async (machine) => {
      const fromMs = site.clock.now();
      const away = await machine.join(done.streamId);
      assert.equal(away.status, 503);
      assert.equal(away.response.headers.get("retry-after"), "1");
      assert.equal(JSON.parse((await away.rest()).body).code, "log_unavailable");
      assert(site.clock.now() - fromMs < 2500);
      await assert.rejects(
        machine.stop(done.streamId),
        (error) => error instanceof StreamError && error.code === "log_unavailable",
      );
    }));
    assert.equal((await other.join("", undefined, { chatId: "1" })).status, 503);
    assert.deepEqual([one.log.health(), other.log.health()], ["degraded", "degraded"]);
    const { fetch } = createHandler({ source: "", log: one.log });
    const health = await fetch(new Request("http://localhost/health"));
    assert.deepEqual([health.status, await health.json()], [200, { status: "degraded" }]);
    await Promise.all([first, second, latest].map((reading) => reading.rest()));
    same(first.text, tokens.text());
    for (const reading of [second, latest]) same(reading.written, first.written);
    assert.equal(await one.log.flush({ timeoutMs: 100 }), false);
    // It has ended, and is still there.
    same((await (await one.join(streamId)).rest()).written, first.written);
    site.server.start(true);
    assert.equal(await one.log.flush({ timeoutMs: 10_000 }), true);
    assert.equal(one.log.health(), "ok");
    await site.until(() => other.log.health() === "ok", 10_000, "it comes back by itself");
    same((await (await other.join(streamId)).rest()).written, first.written);
    assert.deepEqual([one.outages.length, other.outages.length], [1, 1]);
  },
);

fakeTest(
  "what was given up before the store came back is a gap: lagged and 410, never text",
  async (site) => {
    const [one, other] = site.machines({ maxStreamBytes: 128 * 1024 });
    let go = () => {};
    const first = await one.start(async ({ queue, signal }) => {
      for (let i = 0; i < 50; i++) queue.send(`${i} `.padEnd(100));
      await new Promise<void>((resolve) => go = resolve);
      for (let i = 50; i < 4000; i++) {
        queue.send(`${i} `.padEnd(100));
        if (i % 100 === 0) await site.sleep(2);
      }
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    });
    await first.events(50);
    const second = await (await other.meet(first)).events(50);
    site.server.kill();
    await site.until(() => other.log.health() === "degraded", 5000, "it is noticed");
    go();
    await first.events(4000);
    site.server.start(true);
    await second.rest();
    const { code, resume } = problemIn(second.last);
    assert.deepEqual([code, resume, second.last.id], ["lagged", true, undefined]);
    same(second.text, first.text.slice(0, second.text.length));
    assert.equal((await other.join(first.streamId, second.blocks.length - 1)).status, 410);
    assert.equal((await other.join(first.streamId)).status, 410);
    assert.equal(await one.log.flush({ timeoutMs: 10_000 }), true);
    const { firstEvent } = (await other.log.find(first.streamId))!;
    assert(firstEvent > 1000);
    const third = await other.join(first.streamId, firstEvent - 1);
    await other.stop(first.streamId);
    await Promise.all([first.rest(), third.rest()]);
    same(third.written, first.blocks.slice(firstEvent - 1).map(({ text }) => text).join(""));
  },
);

/** How late the tokens of a source came to its reader, in ms of the clock: the worst of them. */
async function lateness(site: FakeSite, response: Response): Promise<number> {
  let mostMs = 0;
  const decoder = new TextDecoder();
  for await (const chunk of response.body!) {
    for (const [, at] of decoder.decode(chunk).matchAll(/"token":"([\d.]+) "/g)) {
      mostMs = Math.max(mostMs, site.clock.now() - Number(at));
    }
  }
  return mostMs;
}

fakeTest(
  "a slow store makes nobody late on the machine that makes it, and nothing wrong elsewhere",
  async (site) => {
    const [one, other] = site.machines();
    site.server.latencyMs = 250;
    const tokens = site.paced(100, 10);
    const first = await one.start(tokens.source);
    const second = await other.meet(first);
    const response = await one.answer(async function* () {
      for (let i = 0; i < 60; i++) {
        yield `${site.clock.now()} `;
        await site.sleep(10);
      }
    }, true);
    assert(await lateness(site, response) < 200);
    await Promise.all([first.rest(), second.rest()]);
    same(second.written, first.written);
    assert.deepEqual(one.outages, []);
  },
);

fakeTest(
  "a store that takes too long is given up for a while, and nothing is written twice for it",
  async (site) => {
    const [one, other] = site.machines();
    const tokens = site.paced(600, 10);
    const first = await one.start(tokens.source);
    await first.events(10);
    const second = await other.meet(first);
    site.server.latencyMs = 1250;
    await site.until(() => one.log.health() === "degraded", 10_000, "it is told");
    site.server.latencyMs = 1;
    await Promise.all([first.rest(), second.rest()]);
    same(first.text, tokens.text());
    same(second.written, first.written);
    assert.equal(await one.log.flush({ timeoutMs: 10_000 }), true);
    same((await (await other.join(first.streamId)).rest()).written, first.written);
  },
);

fakeTest("the store loses what it was told last: it is told again, from there", async (site) => {
  const [one, other] = site.machines();
  const tokens = site.paced(200, 10);
  const first = await one.start(tokens.source);
  const second = await (await other.meet(first)).events(20);
  const silent = site.paced(Infinity, 60_000);
  const quiet = await one.start(silent.source);
  await quiet.events(1);
  await one.log.flush();
  for (let i = 0; i < 4; i++) {
    site.server.loseLast(first.streamId, 3);
    await site.sleep(120);
  }
  site.server.loseLast(quiet.streamId, 1);
  await Promise.all([first.rest(), second.rest()]);
  same(first.text, tokens.text());
  same(second.written, first.written);
  assert.equal(await one.log.flush(), true);
  same((await (await other.join(first.streamId)).rest()).written, first.written);
  // Also the one that says nothing more.
  const again = await (await other.join(quiet.streamId)).events(1);
  same(again.text, "0 ");
  await other.stop(quiet.streamId);
});

/** Calls fail as they like: before the store has them, or after. */
function unreliable(site: FakeSite, chance: () => number, share: number): FakeStoreOptions {
  return {
    async onCall(when) {
      const fate = chance();
      if (fate < share / 2) throw new Error(`lost ${when} the call`);
      if (fate < share) await site.sleep(int(chance, 30));
    },
  };
}

for (let seed = 1; seed <= 8; seed++) {
  fakeTest(
    `calls and results are lost at random, ${seed}: written once, and exact`,
    async (site) => {
      const chance = random(seed);
      const [one, other] = site.machines(unreliable(site, chance, 0.15));
      const judge = site.machine();
      await Promise.all(Array.from({ length: 10 }, async () => {
        const tokens = site.paced(100, int(chance, 20), int(chance, 300));
        const first = await one.start(tokens.source);
        await first.events(1);
        const second = await judge.meet(first);
        await Promise.all([first.rest(), second.rest()]);
        same(first.text, tokens.text());
        same(second.written, first.written);
        for (let tries = 0;; tries++) {
          const third = await other.join(first.streamId);
          if (third.status === 200) {
            same((await third.rest()).written, first.written);
            break;
          }
          assert.equal(third.status, 503);
          assert(tries < 500);
          await site.sleep(20);
        }
      }));
      assert(one.outages.length > 0);
    },
  );
}

fakeTest("the store refuses to write: it is degraded, and comes back by itself", async (site) => {
  const [one, other] = site.machines();
  const tokens = site.paced(500, 10);
  const first = await one.start(tokens.source);
  const second = await (await other.meet(first)).events(5);
  site.server.full = "out of memory";
  await site.until(() => one.log.health() === "degraded", 5000, "it is told");
  assert.match(String(one.outages[0]), /out of memory/);
  await site.sleep(300);
  site.server.full = undefined;
  await Promise.all([first.rest(), second.rest()]);
  same(first.text, tokens.text());
  same(second.written, first.written);
  assert.equal(one.log.health(), "ok");
});

fakeTest("the store rejects one stream: it goes on here, and others everywhere", async (site) => {
  const [one, other] = site.machines();
  const [bad, good] = [site.paced(300, 10), site.paced(300, 10)];
  site.server.rejected.add("bad");
  const rejected = await one.start(bad.source, { streamId: "bad" });
  const taken = await one.start(good.source, { streamId: "good" });
  const reader = await other.meet(taken);
  assert.equal((await other.join("bad")).status, 404);
  await Promise.all([rejected, taken, reader].map((reading) => reading.rest()));
  same(rejected.text, bad.text());
  same(reader.written, taken.written);
  assert.deepEqual([one.log.health(), other.log.health()], ["ok", "ok"]);
  assert.match(String(one.outages[0]), /rejects a stream: rejected/);
  site.server.rejected.clear();
  assert.equal(await one.log.flush(), true);
  same((await (await other.join("bad")).rest()).written, rejected.written);
});

fakeTest("messages get lost: readers elsewhere have all within a second", async (site) => {
  const [one, other] = site.machines();
  let go = () => {};
  const first = await one.start(async function* () {
    yield "a";
    await new Promise<void>((resolve) => go = resolve);
    yield "b";
    await new Promise<void>((resolve) => go = resolve);
  });
  const second = await (await other.meet(first)).events(1);
  await first.events(1);
  const listeners = [...site.server.listeners];
  site.server.listeners.clear();
  go();
  const fromMs = site.clock.now();
  await second.events(2);
  assert(site.clock.now() - fromMs < 1600, `${site.clock.now() - fromMs} ms`);
  // They subscribe again by themselves.
  await site.until(() => site.server.listeners.size === listeners.length, 6000, "they listen");
  go();
  await Promise.all([first.rest(), second.rest()]);
  same(second.written, first.written);
});

fakeTest(
  "a subscription that the store never answers is asked for again: stops arrive",
  async (site) => {
    let asked = 0;
    const one = site.machine({
      onCall: (when, method) => {
        const isLost = when === "before" && method === "subscribe" && ++asked === 1;
        return isLost ? new Promise<void>(() => {}) : undefined;
      },
    });
    const other = site.machine();
    const first = await one.start(site.paced(Infinity, 100).source);
    await first.events(1);
    await site.sleep(12_000);
    assert(asked > 1, "it was asked for once");
    assert.equal(await other.stop(first.streamId), true);
    assert.equal(JSON.parse((await first.rest()).last.data).reason, "cancelled");
  },
);

for (const stalls of [true, false]) {
  const what = stalls ? "stalls: it ends with stalled" : "leaves: it ends with disconnected";
  fakeTest(`the last client, on another process, ${what}`, async (site) => {
    const [one, other] = site.machines();
    const first = await one.start(site.paced(10_000, 1, 1000).source, { disconnect: "cancel" });
    const second = await other.join(first.streamId, undefined, { stallMs: 1000 });
    await first.events(3);
    await first.leave();
    if (stalls) await site.sleep(5000);
    else await second.leave();
    await site.until(() => one.reports.length > 0, 5000, "the generation ends");
    const { outcome, code } = one.reports[0]!;
    assert.deepEqual([outcome, code], ["cancelled", stalls ? "stalled" : "disconnected"]);
  });
}
