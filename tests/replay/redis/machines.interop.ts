/** `RedisLog` on several machines: who reads where, who stops what, and what it costs Redis. */
import assert from "node:assert/strict";
import { type Child, startScript } from "../../support/child.ts";
import { int, random } from "../../support/random.ts";
import { until } from "../../support/serve.ts";
import {
  afterSites,
  isLong,
  Machine,
  Paced,
  problemIn,
  type Site,
  siteTest,
  sleep,
} from "../../support/redis_machines.ts";
import { type RedisConnection } from "../../../lib/redis.ts";
import { resume, StreamError } from "../../../mod.ts";
import { Reading, same } from "../../support/event_reader.ts";
import { type Connect, connectClient } from "../../support/redis_server.ts";

/** Reads a stream as clients do that are cut off time and again, and come back to any machine. */
async function readThroughCuts(
  machines: readonly Machine[],
  first: Reading,
  chance: () => number,
  counts: { cuts: number },
): Promise<string> {
  const { streamId } = first;
  let written = "";
  let last = 0;
  for (let reading = first;;) {
    const most = chance() < 0.3 ? 60 : 2500;
    const atByte = int(chance, most);
    await reading.until(() => reading.body.length >= atByte);
    // What a client has of an event that was cut in two is nothing.
    for (const block of reading.blocks) {
      written += block.text;
      last = block.number!;
    }
    if (written.includes("event: done")) return written;
    await reading.leave();
    counts.cuts++;
    const machine = machines[int(chance, machines.length)]!;
    const method = chance() < 0.5 ? "GET" : "POST";
    // With a position from the first event on, as a client has it.
    reading = await machine.meet(streamId, last === 0 ? undefined : last, method);
    if (reading.status === 204) return written;
    assert.equal(reading.status, 200, reading.body);
  }
}

const CUTS = isLong ? 500 : 100;

siteTest(`${CUTS} random cuts, resumed on any machine: exact, and started once`, async (site) => {
  const machines = await site.machines();
  const chance = random(17);
  const counts = { cuts: 0 };
  while (counts.cuts < CUTS) {
    const sources: Paced[] = [];
    await Promise.all(Array.from({ length: 25 }, async (_, i) => {
      const tokens = new Paced(60, int(chance, 12), i % 3 === 0 ? 40 : 0);
      sources.push(tokens);
      const format = i % 5 === 4 ? "text" : "json";
      const first = await machines[i % 2]!.start(tokens.source, { format });
      const whole = machines[(i + 1) % 2]!.meet(first);
      const written = await readThroughCuts(machines, first, chance, counts);
      same(written, (await (await whole).rest()).written, `stream ${i}`);
      if (format === "json") {
        const text = written.matchAll(/^data: \{"token":(.*)\}$/gm);
        same([...text].map(([, token]) => JSON.parse(token!)).join(""), tokens.text());
      }
    }));
    assert(sources.every(({ starts }) => starts === 1));
  }
  assert.deepEqual(machines.map(({ outages }) => outages), [[], []]);
});

siteTest("a stop on one machine ends the generation on the other within 200 ms", async (site) => {
  const [one, other] = await site.machines();
  const tookMs: number[] = [];
  for (let i = 0; i < 5; i++) {
    const tokens = new Paced(10_000, 10);
    const first = await one.start(tokens.source);
    const second = await other.meet(first);
    await Promise.all([first.events(3), second.events(3)]);
    const fromMs = performance.now();
    const stopping = other.stop(first.streamId, "enough");
    await until(() => tokens.signal!.aborted, 5000, "the source is told");
    tookMs.push(performance.now() - fromMs);
    assert.equal(await stopping, true);
    assert.equal(tokens.signal!.reason.detail, "enough");
    await Promise.all([first.rest(), second.rest()]);
    same(second.written, first.written);
    assert.equal(JSON.parse(second.last.data).reason, "cancelled");
    // It had ended: nothing to do.
    assert.equal(await other.stop(first.streamId), true);
  }
  tookMs.sort((a, b) => a - b);
  assert(tookMs[2]! < 200, `${tookMs.map(Math.round)} ms`);
}, { alone: true });

siteTest(
  "readers elsewhere keep a generation going, and their departure begins its grace",
  async (site) => {
    const [one, other] = await site.machines();
    const tokens = new Paced(10_000, 10);
    const first = await one.start(tokens.source, { disconnect: { continueForMs: 300 } });
    const second = await (await other.meet(first)).events(1);
    await first.leave();
    // Longer than the grace, and than readers elsewhere are silent.
    const untilMs = performance.now() + 1500;
    await second.until(() => performance.now() > untilMs);
    assert.equal(tokens.signal!.aborted, false);
    const fromMs = performance.now();
    await second.leave();
    await until(() => tokens.signal!.aborted, 5000, "the generation is given up");
    const tookMs = performance.now() - fromMs;
    assert(tookMs > 250 && tookMs < 1000, `${tookMs} ms`);
    assert.deepEqual(one.reports.map(({ code }) => code), ["disconnected"]);
  },
);

siteTest("a reader elsewhere sets the pace, where it is the only one", async (site) => {
  const [one, other] = await site.machines();
  const tokens = new Paced(Infinity, 0, 2000);
  const first = await one.start(tokens.source, { highWaterMark: 32 * 1024 });
  const second = await (await other.meet(first)).events(1);
  await first.leave();
  let made = -1;
  for (; made !== tokens.made; await sleep(150)) made = tokens.made;
  assert(made > 4 && made < 120, `${made} tokens of 4 KB`);
  await second.events(made + 20);
  assert(tokens.made > made);
  same(second.text, tokens.text(second.blocks.length));
  await other.stop(first.streamId);
});

siteTest(
  "a name that is another machine's is refused, and the first one's text is whole",
  async (site) => {
    const [one, other] = await site.machines();
    const tokens = new Paced(100, 5);
    const streamId = "chosen";
    const first = await one.start(tokens.source, { streamId });
    await first.events(1);
    const second = await other.start(new Paced(1000, 5).source, { streamId });
    await second.rest();
    assert.equal(problemIn(second.last).code, "stream_exists");
    await first.rest();
    same(first.text, tokens.text());
    same((await (await other.join(streamId)).rest()).written, first.written);
    assert.deepEqual(other.reports.map(({ code }) => code), ["stream_exists"]);
  },
);

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
  // Nothing but the leases.
  assert.equal(await site.redis.command("KEYS", `${site.prefix}[^p]*`), "*0");
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

siteTest(
  "a stream that makes a lot is written down as it comes, though nobody reads it elsewhere",
  async (site) => {
    const one = await site.machine();
    const calls = await site.redis.calls();
    const reading = await one.start(async function* () {
      for (let i = 0; i < 40; i++) {
        yield "x".repeat(20_000);
        await sleep(20);
      }
    });
    await reading.rest();
    const scripts = (await site.redis.calls())["eval"]! - (calls["eval"] ?? 0);
    assert(scripts >= 8, `${scripts} scripts in a second`);
  },
  { own: true, alone: true },
);

siteTest("streams that begin together are written down together", async (site) => {
  let sent = 0;
  const connect: Connect = (url) => {
    const { connection, close } = connectClient(url);
    const counted: RedisConnection = {
      ...connection,
      send(command, args) {
        sent++;
        return connection.send(command, args);
      },
    };
    return { connection: counted, close };
  };
  const one = await site.machine({ connect });
  const other = await site.machine();
  const before = sent;
  const readings = await Promise.all(
    Array.from({ length: 100 }, async (_, i) => {
      await sleep(i % 10);
      return one.start(new Paced(3, 10).source);
    }),
  );
  for (const { streamId } of readings) assert.notEqual(await other.knows(streamId), "not");
  assert(sent - before < 50, `${sent - before} commands`);
});

siteTest("two hundred readers elsewhere at one place are one read", async (site) => {
  const [one, other] = await site.machines();
  const tokens = new Paced(50, 20);
  const first = await one.start(tokens.source);
  const readers = await Promise.all(
    Array.from({ length: 200 }, () => other.meet(first)),
  );
  const calls = await site.redis.calls();
  await Promise.all([first, ...readers].map((reading) => reading.rest()));
  const now = await site.redis.calls();
  for (const reader of readers) same(reader.written, first.written);
  assert((now["xrange"] ?? 0) - (calls["xrange"] ?? 0) < 300, "one for each of them would be 4000");
}, { own: true });

siteTest(
  "a log that closes sends its readers elsewhere, and others know that it is gone",
  async (site) => {
    const [one, other] = await site.machines();
    const tokens = new Paced(10_000, 10);
    const first = await one.start(tokens.source, { disconnect: "continue" });
    await first.events(3);
    const own = new Paced(10_000, 10);
    const live = await other.start(own.source, { disconnect: "cancel" });
    await live.events(3);
    const second = await (await other.meet(first)).events(3);
    const third = await (await one.meet(live)).events(3);
    await other.log.close();
    await second.rest();
    const { code, resume } = problemIn(second.last);
    assert.deepEqual([code, resume, second.last.id], ["shutting_down", true, undefined]);
    const back = await (await one.join(first.streamId, second.blocks.length - 1)).events(1);
    assert.equal(back.blocks[0]!.number, second.blocks.length);
    // It went without an end of its own.
    await third.rest();
    assert.equal(problemIn(third.last).code, "producer_lost");
    assert.equal(third.last.number, third.blocks.length);
    await one.stop(first.streamId);
  },
);

siteTest(
  "a reader whose machine shuts down is sent elsewhere, and the generation goes on",
  async (site) => {
    const [one, other] = await site.machines();
    const tokens = new Paced(100, 10);
    const first = await one.start(tokens.source);
    await other.meet(first);
    const lives: { shutDown(error: StreamError): void }[] = [];
    const request = new Request("http://localhost/");
    const second = new Reading(
      await resume(request, { log: other.log, streamId: first.streamId }, {
        onOpen: (live) => void lives.push(live),
      }),
    );
    await second.events(5);
    for (let i = 0; i < 2; i++) lives[0]!.shutDown(new StreamError("shutting_down"));
    await second.rest();
    const { code, resume: mayResume } = problemIn(second.last);
    assert.deepEqual([code, mayResume, second.last.id], ["shutting_down", true, undefined]);
    const back = await (await one.join(first.streamId, second.blocks.length - 1)).rest();
    await first.rest();
    same(second.text + back.text, tokens.text());
    assert.deepEqual(one.reports.map(({ outcome }) => outcome), ["completed"]);
  },
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
      assert.deepEqual(blocks.map(({ number }) => number), blocks.map((_, i) => i + 1));
      same(text, Array.from({ length: blocks.length - 1 }, (_, i) => `${i} `).join(""));
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

siteTest("a producer that others took for lost ends as it was told", async (site) => {
  const [one, other] = await site.machines();
  // A Redis that has just begun gives everybody a lease's time.
  while (
    Number(/uptime_in_seconds:(\d+)/.exec(await site.redis.command("INFO", "server"))![1]) < 11
  ) {
    await sleep(200);
  }
  const tokens = new Paced(10_000, 2500);
  const first = await one.start(tokens.source);
  await first.events(1);
  const second = await (await other.meet(first)).events(1);
  // As if it had been frozen for longer than its lease.
  const untilMs = performance.now() + 20_000;
  while (await other.knows(first.streamId) === "live") {
    assert(performance.now() < untilMs, "it is noticed");
    const keys = await site.redis.command(
      "EVAL",
      `
      for _, name in ipairs(redis.call("KEYS", ARGV[1])) do redis.call("DEL", name) end
      return 1`,
      "0",
      `${site.prefix}process:*`,
    );
    assert.equal(keys, ":1");
    await sleep(20);
  }
  await Promise.all([first.rest(), second.rest()]);
  assert.equal(problemIn(second.last).code, "producer_lost");
  assert.equal(problemIn(first.last).code, "producer_lost");
  assert.equal(tokens.signal!.aborted, true);
  assert.deepEqual(one.reports.map(({ code }) => code), ["producer_lost"]);
  same((await (await one.join(first.streamId)).rest()).written, second.written);
});

siteTest(
  "a stream whose end never came to Redis is lost, although its process lives",
  async (site) => {
    const [one, other] = await site.machines();
    const first = await (await one.start(new Paced(10, 5).source)).rest();
    assert.equal(await one.log.flush(), true);
    // As if Redis had lost its last second.
    await site.redis.command("HDEL", `${site.prefix}stream:${first.streamId}`, "end");
    assert.equal(await other.knows(first.streamId), "live");
    const second = await (await other.join(first.streamId)).rest();
    same(second.text, first.text);
    assert.deepEqual([problemIn(second.last).code, second.last.number], ["producer_lost", 12]);
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
