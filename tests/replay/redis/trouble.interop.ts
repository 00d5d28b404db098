/** `RedisLog` while Redis is away, slow, forgetful or deaf: readers where it is made notice nothing, and no text is wrong. */
import assert from "node:assert/strict";
import { createHandler, StreamError } from "../../../mod.ts";
import { type RedisConnection } from "../../../lib/redis.ts";
import { int, random } from "../../support/random.ts";
import { until } from "../../support/serve.ts";
import {
  afterSites,
  isLong,
  Paced,
  problemIn,
  siteTest,
  sleep,
} from "../../support/redis_machines.ts";
import { type Reading, same } from "../../support/event_reader.ts";
import { connectClient, type Connected, SlowWay } from "../../support/redis_server.ts";

/** How late the tokens of a source came to its reader, in ms: the median, and the worst. */
async function lateness(
  start: (source: () => AsyncIterable<string>) => Promise<Response>,
): Promise<[p50: number, most: number]> {
  const lateMs: number[] = [];
  const response = await start(async function* () {
    for (let i = 0; i < 60; i++) {
      yield `${performance.timeOrigin + performance.now()} `;
      await sleep(10);
    }
  });
  const decoder = new TextDecoder();
  for await (const chunk of response.body!) {
    const nowMs = performance.timeOrigin + performance.now();
    for (const [, at] of decoder.decode(chunk).matchAll(/"token":"([\d.]+) "/g)) {
      lateMs.push(nowMs - Number(at));
    }
  }
  assert.equal(lateMs.length, 60);
  lateMs.sort((a, b) => a - b);
  return [lateMs[30]!, lateMs[59]!];
}

for (const persistent of [true, false]) {
  const downMs = isLong ? 10_000 : 1000;
  const kind = persistent ? "that keeps its data" : "that keeps nothing";
  siteTest(
    `a Redis ${kind} is restarted in mid-stream: nothing is lost or doubled`,
    async (site) => {
      const [one, other] = await site.machines();
      const tokens = Array.from({ length: 20 }, () => new Paced((downMs + 2000) / 20, 20));
      const before = await one.start(new Paced(30, 0).source);
      await before.rest();
      assert.equal(await one.log.flush(), true);
      const streams = await Promise.all(tokens.map(async ({ source }) => {
        const first = await one.start(source);
        return { first, second: await other.meet(first) };
      }));
      await Promise.all(streams.map(({ second }) => second.events(5)));
      await site.redis.kill();
      await until(() => one.log.health() === "degraded", 5000, "it is noticed");
      await sleep(downMs);
      await site.redis.start();
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
      // What had ended before is there if Redis has kept it, and else unknown.
      const again = await other.join(before.streamId);
      if (persistent) same((await again.rest()).written, before.written);
      else assert.equal(again.status, 404);
    },
    { own: true, persistent },
  );
}

siteTest(
  "Redis is flushed: what goes on is written anew, what had ended is a 404",
  async (site) => {
    const [one, other] = await site.machines();
    const done = await (await one.start(["a"])).rest();
    const tokens = new Paced(300, 10);
    const silent = new Paced(Infinity, 60_000);
    const first = await one.start(tokens.source);
    const quiet = await one.start(silent.source);
    const second = await (await other.meet(first)).events(20);
    const third = await (await other.meet(quiet)).events(1);
    assert.equal(await one.log.flush(), true);
    for (let i = 0; i < 3; i++) {
      await site.redis.command("FLUSHALL");
      assert.equal((await other.join(done.streamId)).status, 404);
      await sleep(150);
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
  { own: true },
);

siteTest("Redis evicts a part of a stream: never a text with a hole", async (site) => {
  const [one, other] = await site.machines();
  const done = await (await one.start(["a", "b"])).rest();
  const tokens = new Paced(150, 10);
  const first = await one.start(tokens.source);
  const second = await (await other.meet(first)).events(10);
  assert.equal(await one.log.flush(), true);
  for (const kind of ["events", "stream", "events"]) {
    await site.redis.command("DEL", `${site.prefix}${kind}:${first.streamId}`);
    await sleep(200);
  }
  await site.redis.command("DEL", `${site.prefix}events:${done.streamId}`);
  assert.equal((await other.join(done.streamId)).status, 404);
  await Promise.all([first.rest(), second.rest()]);
  same(first.text, tokens.text());
  same(second.written, first.written);
  assert.equal(await one.log.flush(), true);
  same((await (await other.join(first.streamId)).rest()).written, first.written);
});

siteTest(
  "Redis is down: what is made here goes on, what is elsewhere is a 503 with Retry-After",
  async (site) => {
    const [one, other] = await site.machines();
    const done = await (await one.start(["a"])).rest();
    assert.equal(await one.log.flush(), true);
    await site.redis.kill();
    const tokens = new Paced(60, 10);
    const first = await one.start(tokens.source, { chatId: "1" });
    const { streamId } = first;
    await first.events(5);
    // Here it can be joined, found by its chat, and stopped.
    const second = await (await one.join(streamId)).events(5);
    const latest = await (await one.join(streamId, undefined, { chatId: "1" })).events(5);
    await Promise.all([one, other].map(async (machine) => {
      const fromMs = performance.now();
      const away = await machine.join(done.streamId);
      assert.equal(away.status, 503);
      assert.equal(away.response.headers.get("retry-after"), "1");
      assert.equal(JSON.parse((await away.rest()).body).code, "log_unavailable");
      assert(performance.now() - fromMs < 2500);
      await assert.rejects(
        machine.stop(done.streamId),
        (error) => error instanceof StreamError && error.code === "log_unavailable",
      );
    }));
    assert.equal((await other.join("x", undefined, { chatId: "1" })).status, 503);
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
    await site.redis.start();
    assert.equal(await one.log.flush({ timeoutMs: 10_000 }), true);
    assert.equal(one.log.health(), "ok");
    await until(() => other.log.health() === "ok", 10_000, "it comes back by itself");
    same((await (await other.join(streamId)).rest()).written, first.written);
    assert.deepEqual([one.outages.length, other.outages.length], [1, 1]);
  },
  { own: true },
);

siteTest(
  "what was given up before Redis came back is a gap: lagged and 410, never text",
  async (site) => {
    const [one, other] = await site.machines({ maxStreamBytes: 128 * 1024 });
    let go = () => {};
    const first = await one.start(async ({ queue, signal }) => {
      for (let i = 0; i < 50; i++) queue.send(`${i} `.padEnd(100));
      await new Promise<void>((resolve) => go = resolve);
      for (let i = 50; i < 4000; i++) {
        queue.send(`${i} `.padEnd(100));
        if (i % 100 === 0) await sleep(2);
      }
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    });
    await first.events(50);
    const second = await (await other.meet(first)).events(50);
    await site.redis.kill();
    await until(() => other.log.health() === "degraded", 5000, "it is noticed");
    go();
    await first.events(4000);
    await site.redis.start();
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
  { own: true },
);

siteTest(
  "a slow Redis makes nobody late on the machine that makes it, and nothing wrong elsewhere",
  async (site) => {
    const quick = await site.machine();
    const way = site.add(await SlowWay.open(site.redis.port, 0));
    const one = await site.machine({ url: way.url });
    const other = await site.machine({ url: way.url });
    await site.redis.listeners(site.prefix, 3);
    const [plainMs] = await lateness((source) => quick.answer(source, false));
    way.delayMs = 250;
    const tokens = new Paced(100, 10);
    const first = await one.start(tokens.source);
    const second = await other.meet(first);
    const [p50Ms, mostMs] = await lateness((source) => one.answer(source, true));
    assert(p50Ms < plainMs + 3, `${p50Ms} ms, and ${plainMs} without a log`);
    assert(mostMs < 250, `${mostMs} ms`);
    await Promise.all([first.rest(), second.rest()]);
    same(second.written, first.written);
    assert.deepEqual(one.outages, []);
  },
  { alone: true },
);

siteTest(
  "a Redis that takes too long is given up for a while, and nothing is written twice for it",
  async (site) => {
    const quick = await site.machine();
    const way = site.add(await SlowWay.open(site.redis.port, 0));
    const one = await site.machine({ url: way.url });
    const other = await site.machine({ url: way.url });
    await site.redis.listeners(site.prefix, 3);
    const more = new Paced(200, 10);
    const third = await one.start(more.source);
    await third.events(10);
    const fourth = await other.meet(third);
    way.delayMs = 2500;
    await until(() => one.log.health() === "degraded", 10_000, "it is told");
    way.delayMs = 1;
    await Promise.all([third.rest(), fourth.rest()]);
    same(third.text, more.text());
    same(fourth.written, third.written);
    assert.equal(await one.log.flush({ timeoutMs: 10_000 }), true);
    same((await (await quick.join(third.streamId)).rest()).written, third.written);
  },
);

siteTest("Redis loses what it was told last: it is told again, from there", async (site) => {
  const [one, other] = await site.machines();
  const tokens = new Paced(200, 10);
  const first = await one.start(tokens.source);
  const second = await (await other.meet(first)).events(20);
  const silent = new Paced(Infinity, 60_000);
  const quiet = await one.start(silent.source);
  await quiet.events(1);
  await one.log.flush();
  const lost = `
    local entries = redis.call("XREVRANGE", KEYS[2], "+", "-", "COUNT", ARGV[1])
    local last = 0
    if #entries > tonumber(ARGV[2]) then last = string.match(entries[#entries][1], "%d+") end
    for i = 1, #entries do
      if entries[i][1] ~= last .. "-0" then redis.call("XDEL", KEYS[2], entries[i][1]) end
    end
    redis.call("HSET", KEYS[1], "last", last)
    redis.call("XSETID", KEYS[2], last .. "-0")
    return #entries`;
  const keys = ({ streamId }: Reading) => [
    "2",
    `${site.prefix}stream:${streamId}`,
    `${site.prefix}events:${streamId}`,
  ];
  for (let i = 0; i < 4; i++) {
    assert.match(await site.redis.command("EVAL", lost, ...keys(first), "4", "1"), /^:[234]$/);
    await sleep(120);
  }
  await site.redis.command("EVAL", lost, ...keys(quiet), "1", "1");
  await Promise.all([first.rest(), second.rest()]);
  same(first.text, tokens.text());
  same(second.written, first.written);
  assert.equal(await one.log.flush(), true);
  const whole = await (await other.join(first.streamId)).rest();
  same(whole.written, first.written);
  // Also the one that says nothing more.
  const again = await (await other.join(quiet.streamId)).events(1);
  same(again.text, "0 ");
  await other.stop(quiet.streamId);
});

/** A client whose commands fail as they like: before Redis has them, or after. */
function unreliable(chance: () => number, share: number): (url: string) => Connected {
  return (url) => {
    const { connection, close } = connectClient(url);
    const lossy: RedisConnection = {
      ...connection,
      async send(command, args) {
        const fate = chance();
        if (fate < share / 2) throw new Error("lost on the way");
        if (fate < share) await sleep(int(chance, 30));
        const reply = await connection.send(command, args);
        if (fate > 1 - share / 2) throw new Error("lost on the way back");
        return reply;
      },
    };
    return { connection: lossy, close };
  };
}

for (const seed of isLong ? [1, 2, 3, 4, 5, 6, 7, 8] : [1, 2]) {
  siteTest(
    `commands and replies are lost at random, ${seed}: written once, and exact`,
    async (site) => {
      const chance = random(seed);
      const [one, other] = await site.machines({ connect: unreliable(chance, 0.15) });
      const judge = await site.machine();
      await Promise.all(Array.from({ length: 10 }, async () => {
        const tokens = new Paced(100, int(chance, 20), int(chance, 300));
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
          await sleep(20);
        }
      }));
      assert(one.outages.length > 0);
    },
  );
}

siteTest("Redis refuses to write: it is degraded, and comes back by itself", async (site) => {
  const [one, other] = await site.machines();
  const tokens = new Paced(150, 10);
  const first = await one.start(tokens.source);
  const second = await (await other.meet(first)).events(5);
  await site.redis.command("CONFIG", "SET", "maxmemory", "1");
  await until(() => one.log.health() === "degraded", 5000, "it is told");
  assert.match(String(one.outages[0]), /OOM/);
  await sleep(300);
  await site.redis.command("CONFIG", "SET", "maxmemory", "0");
  await Promise.all([first.rest(), second.rest()]);
  same(first.text, tokens.text());
  same(second.written, first.written);
  assert.equal(one.log.health(), "ok");
}, { own: true });

afterSites();
