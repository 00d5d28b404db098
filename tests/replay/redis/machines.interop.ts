/** `RedisLog` on several machines with a real Redis: its keys, its connections, and processes that are killed. */
import assert from "node:assert/strict";
import { type Child, startScript } from "../../support/child.ts";
import { same } from "../../support/event_reader.ts";
import { cutAtRandom, Paced, problemIn, sleep } from "../../support/machines.ts";
import { afterSites, isLong, type Site, siteTest } from "../../support/redis_machines.ts";
import { connectClient } from "../../support/redis_server.ts";
import { until } from "../../support/serve.ts";

const CUTS = isLong ? 500 : 100;

siteTest(`${CUTS} random cuts, resumed on any machine: exact, and started once`, async (site) => {
  await cutAtRandom(await site.machines(), CUTS);
});

siteTest("a generation that is refused before its head leaves nothing in Redis", async (site) => {
  const [one, other] = await site.machines();
  const refused = await one.start(async () => {
    await sleep(30);
    throw new Error("no");
  }, { streamId: "refused", chatId: "1" });
  assert.equal(refused.status, 500);
  await refused.rest();
  for (let i = 0; await other.knows("refused") !== "not"; i++) {
    assert(i < 1000);
    await sleep(5);
  }
  // Nothing but the leases, and for a second that something has begun.
  assert.equal(await site.redis.command("KEYS", `${site.prefix}[^bp]*`), "*0");
}, { own: true });

siteTest(
  "what is in Redis expires by itself, and is no more than the log's limits",
  async (site) => {
    const one = await site.machine({ keepMs: 60_000, maxStreamBytes: 128 * 1024 });
    const tokens = new Paced(2000, 0, 100);
    const first = await one.start(tokens.source, { chatId: "1", owner: "ann" });
    await first.events(10);
    await one.log.flush();
    const key = (kind: string) => `${site.prefix}${kind}`;
    const ttl = async (name: string) => Number((await site.redis.command("PTTL", name)).slice(1));
    const { streamId } = first;
    const chat = key(`chat:["ann","1"]`);
    for (const name of [key(`stream:${streamId}`), key(`events:${streamId}`), chat]) {
      const ms = await ttl(name);
      assert(ms > 60_000 && ms <= 120_000, `${name}: ${ms}`);
    }
    await first.rest();
    assert.equal(await one.log.flush(), true);
    for (const name of [key(`stream:${streamId}`), key(`events:${streamId}`), chat]) {
      const ms = await ttl(name);
      assert(ms > 50_000 && ms <= 60_000, `${name}: ${ms}`);
    }
    const bytes = Number(
      (await site.redis.command("MEMORY", "USAGE", key(`events:${streamId}`))).slice(1),
    );
    assert(bytes > 50_000 && bytes < 250_000, `${bytes} bytes`);
    // Every key expires.
    const names = await site.redis.command(
      "EVAL",
      `
    local bad = {}
    for _, name in ipairs(redis.call("KEYS", ARGV[1])) do
      if redis.call("PTTL", name) < 0 then bad[#bad + 1] = name end
    end
    return #bad`,
      "0",
      `${site.prefix}*`,
    );
    assert.equal(names, ":0");
  },
);

const MANY = isLong ? 1000 : 200;

siteTest(
  `from 1 to ${MANY} streams: the same connections, and at most 20 writes a second for each, fewer where nobody reads elsewhere`,
  async (site) => {
    const [one, other] = await site.machines();
    const before = await site.redis.clients();
    for (const count of [1, MANY]) {
      const calls = await site.redis.calls();
      const fromMs = performance.now();
      const sources = Array.from({ length: count }, () => new Paced(60, 20));
      const readings = await Promise.all(sources.map(async ({ source }, i) => {
        const first = await one.start(source);
        return i % 10 === 0 ? [first, await other.meet(first)] : [first];
      }));
      await Promise.all(readings.flat().map((reading) => reading.events(20)));
      assert.deepEqual(await site.redis.clients(), before);
      await Promise.all(readings.flat().map((reading) => reading.rest()));
      const seconds = (performance.now() - fromMs) / 1000;
      const now = await site.redis.calls();
      const rate = (name: string) => ((now[name] ?? 0) - (calls[name] ?? 0)) / seconds;
      // One stream in ten is read elsewhere; the others are written down twice a second, and at their end.
      const most = count === 1 ? 20 : 5;
      assert(rate("xadd") / count <= most, `${rate("xadd") / count} writes a second`);
      // Streams share commands: far fewer than one for each token.
      assert(rate("eval") < 60 * (1 + count / 50), `${rate("eval")} scripts a second`);
      for (const [i, [first, second]] of readings.entries()) {
        same(first!.text, sources[i]!.text());
        if (second) same(second.written, first!.written);
      }
    }
  },
  { own: true, alone: true },
);

/** A machine in a process of its own, which makes a stream and prints its name. */
async function startProducer(
  site: Site,
  silentAfter: number,
): Promise<{ child: Child; streamId: string }> {
  const { url } = site.redis;
  const child = startScript(
    "tests/support/child/producer.ts",
    url,
    site.prefix,
    String(silentAfter),
  );
  await until(() => /^stream \S+$/m.test(child.output), 20_000, `a stream: ${child.errors}`);
  return { child, streamId: /^stream (\S+)$/m.exec(child.output)![1]! };
}

siteTest(
  "a producer that is killed: what the log had, then producer_lost within 12 s; its readers are gone as well",
  async (site) => {
    const one = await site.machine();
    const [paced, silent] = await Promise.all([
      startProducer(site, Infinity),
      startProducer(site, 20),
    ]);
    const readers = await Promise.all(
      [paced, paced, silent].map(({ streamId }) => one.meet(streamId)),
    );
    await Promise.all(readers.map((reading) => reading.events(10)));
    // A client that had more than Redis, from the machine that is about to die.
    const ahead = await one.join(paced.streamId, 1_000_000);
    // A generation here, read by a process that is about to die.
    const guests = new Paced(10_000, 20);
    const read = await one.start(guests.source, { disconnect: { continueForMs: 100 } });
    await read.events(1);
    const reader = startScript(
      "tests/support/child/reader.ts",
      site.redis.url,
      site.prefix,
      read.streamId,
    );
    await until(() => /^reading$/m.test(reader.output), 20_000, `a reader: ${reader.errors}`);
    await read.leave();
    await sleep(300);
    assert.equal(guests.signal!.aborted, false);

    const killedMs = performance.now();
    for (const { child } of [paced, silent, { child: reader }]) child.kill("SIGKILL");
    const [lostMs, goneMs] = await Promise.all([
      Promise.all([...readers, ahead].map((reading) => reading.rest()))
        .then(() => performance.now() - killedMs),
      until(() => guests.signal!.aborted, 12_000, "the guest is gone")
        .then(() => performance.now() - killedMs),
    ]);
    assert(lostMs < 12_000, `${lostMs} ms`);
    assert(goneMs > 5000 && goneMs < 9000, `${goneMs} ms`);
    for (const { blocks, last, text } of readers) {
      assert.equal(problemIn(last).code, "producer_lost");
      assert.equal(problemIn(last).resume, undefined);
      const numbers = blocks.slice(0, -1).map(({ number }) => number);
      assert.deepEqual(numbers, numbers.map((_, i) => i + 1));
      assert.match(last.id!, new RegExp(`\\.${numbers.length}\\.lost$`));
      same(text, numbers.map((_, i) => `${i} `).join(""));
    }
    same(readers[0]!.written, readers[1]!.written);
    assert.equal(readers[2]!.blocks.length, 21);
    assert.deepEqual(ahead.blocks.map(({ id }) => id), [readers[0]!.last.id]);
    // It is final, and told to whoever comes.
    const { length } = readers[0]!.blocks;
    const late = await (await one.join(paced.streamId, length - 1)).rest();
    same(late.written, readers[0]!.last.text);
    // A reader that was ahead of the log may have had another event of that number: it is told as well.
    for (const after of [length, length + 40]) {
      same((await (await one.join(paced.streamId, after)).rest()).written, late.written);
    }
    // One that was told is told no more: an EventSource would ask again each second.
    assert.equal((await one.join(paced.streamId, late.last.id)).status, 204);
    const again = await one.join(paced.streamId, late.last.id, {}, "POST");
    same((await again.rest()).written, late.written);
    await Promise.all([paced, silent, { child: reader }].map(({ child }) => child.stop()));
  },
);

siteTest("nonsense in an inbox is ignored", async (site) => {
  const [one, other] = await site.machines();
  const tokens = new Paced(60, 10);
  const first = await one.start(tokens.source);
  const second = await other.meet(first);
  const { connection, close } = connectClient(site.redis.url);
  const nonsense = [
    "",
    "x",
    "null",
    "[]",
    "{}",
    "[1,2,3,4,5]",
    `["x",1,[[1]],{},[["a"]]]`,
    "[".repeat(99_999),
  ];
  const here = JSON.stringify([
    "nobody",
    [],
    [[first.streamId, "x"], [first.streamId, -5]],
    [],
    [],
  ]);
  await connection.send("EVAL", [
    `
    for _, channel in ipairs(redis.call("PUBSUB", "CHANNELS", ARGV[1])) do
      for i = 2, #ARGV do redis.call("PUBLISH", channel, ARGV[i]) end
    end`,
    "0",
    `${site.prefix}*`,
    ...nonsense,
    here,
  ]);
  await Promise.all([first.rest(), second.rest()]);
  same(first.text, tokens.text());
  same(second.written, first.written);
  await close();
});

afterSites();
