/** `RedisLog` while a real Redis is away, slow, evicts or is full. What any store may do is in `trouble_test.ts` of `shared`. */
import assert from "node:assert/strict";
import { type Reading, same } from "../../support/event_reader.ts";
import { type Machine, Paced, sleep } from "../../support/machines.ts";
import { afterSites, isLong, siteTest } from "../../support/redis_machines.ts";
import { SlowWay } from "../../support/redis_server.ts";
import { until } from "../../support/serve.ts";

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

/** Joins a stream, as soon as a write of the machine's own has shown that Redis takes them again. */
async function joined(machine: Machine, streamId: string, after?: number): Promise<Reading> {
  let reading = await machine.join(streamId, after);
  for (let tries = 0; reading.status === 503 && tries < 50; tries++) {
    await reading.rest();
    await sleep(100);
    reading = await machine.join(streamId, after);
  }
  return reading;
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
        const back = await (await joined([one, other][i % 2]!, first.streamId, at)).rest();
        same(back.written, first.blocks.slice(at).map(({ text }) => text).join(""));
      }
      // What had ended before is there if Redis has kept it, and else unknown.
      const again = await joined(other, before.streamId);
      if (persistent) same((await again.rest()).written, before.written);
      else assert.equal(again.status, 404);
    },
    { own: true, persistent },
  );
}

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
