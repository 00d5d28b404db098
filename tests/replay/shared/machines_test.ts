/** `SharedLog` on several machines: who reads where, who stops what, and what it costs the store. */
import assert from "node:assert/strict";
import { StreamError } from "../../../mod.ts";
import { Reading, same } from "../../support/event_reader.ts";
import { fakeTest } from "../../support/fake_machines.ts";
import { cutAtRandom, problemIn } from "../../support/machines.ts";

fakeTest("500 random cuts, resumed on any machine: exact, and started once", async (site) => {
  await cutAtRandom(site.machines(), 500, site.clock);
});

fakeTest("a stop on one machine ends the generation on the other within 200 ms", async (site) => {
  const [one, other] = site.machines();
  site.server.latencyMs = 5;
  const tokens = site.paced(10_000, 10);
  const first = await one.start(tokens.source);
  const second = await other.meet(first);
  await Promise.all([first.events(3), second.events(3)]);
  const fromMs = site.clock.now();
  const stopping = other.stop(first.streamId, "enough");
  await site.until(() => tokens.signal!.aborted, 5000, "the source is told");
  const tookMs = site.clock.now() - fromMs;
  assert(tookMs < 200, `${tookMs} ms`);
  assert.equal(await stopping, true);
  assert.equal(tokens.signal!.reason.detail, "enough");
  await Promise.all([first.rest(), second.rest()]);
  assert(site.clock.now() - fromMs < 400);
  same(second.written, first.written);
  assert.equal(JSON.parse(second.last.data).reason, "cancelled");
  // It had ended: nothing to do.
  assert.equal(await other.stop(first.streamId), true);
});

fakeTest(
  "a stop that does not arrive is sent again, and is a 503 after five seconds",
  async (site) => {
    const [one, other] = site.machines();
    const tokens = site.paced(10_000, 10);
    const first = await one.start(tokens.source);
    await first.events(3);
    await site.until(async () => await other.knows(first.streamId) === "live", 1000, "its id");
    const listeners = [...site.server.listeners];
    site.server.listeners.clear();
    const stopping = other.stop(first.streamId);
    await site.sleep(700);
    assert.equal(tokens.signal!.aborted, false);
    for (const [process, listener] of listeners) site.server.listeners.set(process, listener);
    assert.equal(await stopping, true);
    assert.equal(tokens.signal!.aborted, true);
    await first.rest();

    const deaf = site.paced(10_000, 10);
    const second = await one.start(deaf.source);
    await second.events(3);
    const fromMs = site.clock.now();
    const timer = () => site.server.listeners.clear();
    const isUnavailable = (error: unknown) =>
      error instanceof StreamError && error.code === "log_unavailable";
    const refused = assert.rejects(other.stop(second.streamId), isUnavailable);
    for (; site.clock.now() - fromMs < 5500; await site.sleep(5)) timer();
    await refused;
    await one.stop(second.streamId);
  },
);

fakeTest(
  "readers elsewhere keep a generation going, and their departure begins its grace",
  async (site) => {
    const [one, other] = site.machines();
    const tokens = site.paced(10_000, 10);
    const first = await one.start(tokens.source, { disconnect: { continueForMs: 300 } });
    const second = await (await other.meet(first)).events(1);
    await first.leave();
    // Longer than the grace, and than readers elsewhere are silent.
    const untilMs = site.clock.now() + 10_000;
    await second.until(() => site.clock.now() > untilMs);
    assert.equal(tokens.signal!.aborted, false);
    const fromMs = site.clock.now();
    await second.leave();
    await site.until(() => tokens.signal!.aborted, 5000, "the generation is given up");
    const tookMs = site.clock.now() - fromMs;
    assert(tookMs >= 300 && tookMs < 600, `${tookMs} ms`);
    assert.deepEqual(one.reports.map(({ code }) => code), ["disconnected"]);
  },
);

fakeTest("a reader elsewhere sets the pace, where it is the only one", async (site) => {
  const [one, other] = site.machines();
  const tokens = site.paced(Infinity, 0, 2000);
  const first = await one.start(tokens.source, { highWaterMark: 32 * 1024 });
  const second = await (await other.meet(first)).events(1);
  await first.leave();
  let made = -1;
  for (; made !== tokens.made; await site.sleep(150)) made = tokens.made;
  assert(made > 4 && made < 120, `${made} tokens of 4 KB`);
  await second.events(made + 20);
  assert(tokens.made > made);
  same(second.text, tokens.text(second.blocks.length));
  await other.stop(first.streamId);
});

fakeTest(
  "a name that is another machine's is refused, and the first one's text is complete",
  async (site) => {
    const [one, other] = site.machines();
    const tokens = site.paced(100, 5);
    const streamId = "chosen";
    const first = await one.start(tokens.source, { streamId });
    await first.events(1);
    const second = await other.start(site.paced(1000, 5).source, { streamId });
    await second.rest();
    assert.equal(problemIn(second.last).code, "stream_exists");
    await first.rest();
    same(first.text, tokens.text());
    await one.log.flush();
    same((await (await other.join(streamId)).rest()).written, first.written);
    assert.deepEqual(other.reports.map(({ code }) => code), ["stream_exists"]);
  },
);

fakeTest(
  "a generation that is refused before its head leaves nothing in the store",
  async (site) => {
    const [one, other] = site.machines();
    const refused = await one.start(async () => {
      await site.sleep(30);
      throw new Error("no");
    }, { streamId: "refused", chatId: "1" });
    assert.equal(refused.status, 500);
    await refused.rest();
    await site.until(async () => await other.knows("refused") === "not", 1000, "it is forgotten");
    assert.deepEqual([site.server.streams.size, site.server.chats.size], [0, 0]);
  },
);

fakeTest(
  "what is in the store is no more than the log's limits, for as long as it says",
  async (site) => {
    const [one, other] = site.machines({ keepMs: 20_000, maxStreamBytes: 128 * 1024 });
    const tokens = site.paced(2000, 1, 100);
    const first = await one.start(tokens.source, { chatId: "1", owner: "ann" });
    await first.rest();
    assert.equal(await one.log.flush(), true);
    const kept = site.server.streams.get(first.streamId)!;
    const bytes = kept.pieces.reduce((sum, { text }) => sum + text.length, 0);
    assert(bytes > 50_000 && bytes < 160_000, `${bytes} bytes`);
    await site.sleep(19_000);
    assert.equal(await other.knows(first.streamId), "ended");
    await site.sleep(1001);
    assert.equal(await other.knows(first.streamId), "not");
  },
);

fakeTest(
  "from 1 to 200 streams: at most 20 writes a second for each, fewer where nobody reads elsewhere",
  async (site) => {
    const [one, other] = site.machines();
    for (const count of [1, 200]) {
      const { pieces, calls: { append: calls = 0 } } = site.server;
      const fromMs = site.clock.now();
      const sources = Array.from({ length: count }, () => site.paced(60, 20));
      const readings = await Promise.all(sources.map(async ({ source }, i) => {
        const first = await one.start(source);
        return i % 10 === 0 ? [first, await other.meet(first)] : [first];
      }));
      await Promise.all(readings.flat().map((reading) => reading.rest()));
      const seconds = (site.clock.now() - fromMs) / 1000;
      const rate = (site.server.pieces - pieces - count) / seconds / count;
      // One stream in ten is read elsewhere; the others are written twice a second, and at their end.
      assert(rate <= (count === 1 ? 20 : 5), `${rate} writes a second`);
      // Streams share calls: far fewer than one for each token.
      const callRate = (site.server.calls["append"]! - calls) / seconds;
      assert(callRate < 40 * (1 + count / 50), `${callRate} calls a second`);
      for (const [i, [first, second]] of readings.entries()) {
        same(first!.text, sources[i]!.text());
        if (second) same(second.written, first!.written);
      }
    }
  },
);

fakeTest("streams that begin together are written together", async (site) => {
  const [one, other] = site.machines();
  site.server.latencyMs = 5;
  const before = site.server.calls["append"] ?? 0;
  const readings = await Promise.all(
    Array.from({ length: 100 }, async (_, i) => {
      await site.sleep(i % 10);
      return one.start(site.paced(3, 10).source);
    }),
  );
  await site.sleep(25);
  const calls = site.server.calls["append"]! - before;
  assert(calls < 20, `${calls} calls`);
  for (const { streamId } of readings) assert.notEqual(await other.knows(streamId), "not");
});

fakeTest("two hundred readers elsewhere at one place are one read, and one copy", async (site) => {
  const [one, other] = site.machines();
  const tokens = site.paced(50, 20);
  const first = await one.start(tokens.source);
  await site.until(async () => await other.knows(first.streamId) === "live", 1000, "its id");
  const readers = await Promise.all(Array.from({ length: 200 }, () => other.join(first.streamId)));
  const before = site.server.calls["read"] ?? 0;
  await Promise.all([first, ...readers].map((reading) => reading.rest()));
  for (const reader of readers) same(reader.written, first.written);
  const reads = site.server.calls["read"]! - before;
  assert(reads < 60, `${reads} reads: one for each of them would be 4000`);
});

fakeTest(
  "readers elsewhere at every pace: each exact, and those at one place share what was read",
  async (site) => {
    const [one, other] = site.machines({ maxStreamBytes: 8 * 1024 * 1024 });
    const tokens = site.paced(3000, 1, 300);
    const first = await one.start(tokens.source, { disconnect: "continue" });
    await first.events(100);
    await site.until(async () => await other.knows(first.streamId) === "live", 1000, "its id");
    const readers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => other.join(first.streamId, i % 4 === 3 ? 50 : 0)),
    );
    await Promise.all([
      first.rest(),
      ...readers.map(async (reader, i) => {
        while (reader.end === undefined) {
          await reader.step();
          // The slowest is a minute behind when the stream has ended.
          await site.sleep(i % 5 === 0 ? 0 : i * 100);
        }
      }),
    ]);
    same(first.text, tokens.text());
    for (const [i, reader] of readers.entries()) {
      const from = i % 4 === 3 ? 50 : 0;
      same(reader.written, first.blocks.slice(from).map(({ text }) => text).join(""), `${i}`);
    }
  },
);

fakeTest("a reader elsewhere that takes nothing is given no more than may wait", async (site) => {
  const [one, other] = site.machines({ maxStreamBytes: 8 * 1024 * 1024 });
  const first = await one.start(site.paced(4000, 1, 300).source, { disconnect: "continue" });
  await site.until(async () => await other.knows(first.streamId) === "live", 1000, "its id");
  const idle = await (await other.join(first.streamId, 0, { stallMs: 0 })).events(1);
  await first.rest();
  await one.log.flush();
  await site.sleep(5000);
  // A chunk that it has, and one that waits; of more than a megabyte.
  assert(site.server.readLength < 200_000, `${site.server.readLength} characters`);
  same((await idle.rest()).written, first.written);
});

fakeTest(
  "a reader elsewhere that is far behind reads again, and shares what comes once it has caught up",
  async (site) => {
    const [one, other] = site.machines({ maxStreamBytes: 8 * 1024 * 1024 });
    const first = await one.start(site.paced(4000, 1, 300).source, { disconnect: "continue" });
    await site.until(async () => await other.knows(first.streamId) === "live", 1000, "its id");
    const options = { stallMs: 0 };
    const slow = await (await other.join(first.streamId, 0, options)).events(1);
    const fast = await other.join(first.streamId, 0, options);
    await Promise.all([first, fast].map((reading) => reading.events(3000)));
    const once = site.server.readLength;
    assert(once < fast.body.length * 1.2, `${once} characters of ${fast.body.length}`);
    // What it needs was given up here, for more than 256 KiB came since.
    await slow.events(3000);
    assert(site.server.readLength > once * 1.5, `${site.server.readLength} after ${once}`);
    const rest = Promise.all([slow.rest(), fast.rest(), first.rest()]);
    await site.sleep(200);
    const [reads, fromMs] = [site.server.reads, site.clock.now()];
    await rest;
    // One read for both after each write: twenty a second.
    const rate = (site.server.reads - reads) / (site.clock.now() - fromMs) * 1000;
    assert(rate < 30, `${rate} reads a second`);
    for (const reading of [slow, fast]) same(reading.written, first.written);
  },
);

fakeTest(
  "a stream that is read again after its end is read once for all who ask at once",
  async (site) => {
    const [one, other] = site.machines({ maxStreamBytes: 8 * 1024 * 1024 });
    const first = await (await one.start(site.paced(2000, 0, 500).source)).rest();
    assert.equal(await one.log.flush(), true);
    const before = site.server.calls["read"] ?? 0;
    const readers = await Promise.all(Array.from({ length: 50 }, () => other.join(first.streamId)));
    await Promise.all(readers.map((reader) => reader.rest()));
    for (const reader of readers) same(reader.written, first.written);
    const reads = site.server.calls["read"]! - before;
    // 64 KiB at a time.
    assert(reads <= 2 + first.body.length / 32_000, `${reads} reads of ${first.body.length} bytes`);
  },
);

fakeTest(
  "a log that closes sends its readers elsewhere, and others know that it is gone",
  async (site) => {
    const [one, other] = site.machines();
    const tokens = site.paced(10_000, 10);
    const first = await one.start(tokens.source, { disconnect: "continue" });
    await first.events(3);
    const own = site.paced(10_000, 10);
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
    assert.equal(third.last.number, third.blocks.length - 1);
    await one.stop(first.streamId);
  },
);

fakeTest(
  "a reader whose machine shuts down is sent elsewhere, and the generation goes on",
  async (site) => {
    const [one, other] = site.machines();
    const tokens = site.paced(2000, 10);
    const first = await one.start(tokens.source);
    await other.meet(first);
    const lives: { shutDown(error: StreamError): void }[] = [];
    const request = new Request("http://localhost/");
    const { clock } = site;
    const second = new Reading(
      await other.log.resume(request, { streamId: first.streamId, clock }, {
        observer: { onOpen: (live) => void lives.push(live) },
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

fakeTest(
  "a producer that is killed: what the store had, then producer_lost within 12 s; its readers are gone as well",
  async (site) => {
    const [one, other] = site.machines();
    const paced = await other.start(site.paced(10_000, 7).source);
    const silent = await other.start(async function* () {
      for (let i = 0; i < 20; i++) yield `${i} `;
      await new Promise(() => {});
    });
    const readers = await Promise.all([paced, paced, silent].map((stream) => one.meet(stream)));
    await Promise.all(readers.map((reading) => reading.events(10)));
    // A client that had more than the store, from the machine that is about to die.
    const ahead = await one.join(paced.streamId, 1_000_000);
    // A generation here, read by the machine that is about to die.
    const guests = site.paced(10_000, 20);
    const read = await one.start(guests.source, { disconnect: { continueForMs: 100 } });
    await (await other.meet(read)).events(1);
    await read.leave();
    await site.sleep(300);
    assert.equal(guests.signal!.aborted, false);

    const killedMs = site.clock.now();
    other.kill();
    const [lostMs, goneMs] = await Promise.all([
      Promise.all([...readers, ahead].map((reading) => reading.rest()))
        .then(() => site.clock.now() - killedMs),
      site.until(() => guests.signal!.aborted, 12_000, "the guest is gone")
        .then(() => site.clock.now() - killedMs),
    ]);
    assert(lostMs > 8000 && lostMs < 12_000, `${lostMs} ms`);
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
    const length = readers[0]!.blocks.length - 1;
    const { streamId } = paced;
    const late = await (await one.join(streamId, length)).rest();
    same(late.written, readers[0]!.last.text);
    // A reader that was ahead of the log may have had another event of that number: it is told as well.
    for (const after of [length + 1, length + 40]) {
      same((await (await one.join(streamId, after)).rest()).written, late.written);
    }
    same((await (await one.join(streamId, 0)).rest()).written, readers[0]!.written);
    // One that was told is told no more: an EventSource would ask again each second.
    assert.equal((await one.join(streamId, late.last.id)).status, 204);
    assert.equal((await one.join(streamId, late.last.id, {}, "HEAD")).status, 204);
    const again = await one.join(streamId, late.last.id, {}, "POST");
    same((await again.rest()).written, late.written);
    // Nothing of the failure is in the store: it was written here.
    const kept = site.server.streams.get(streamId)!;
    assert.equal(kept.isLost, true);
    assert(kept.pieces.every(({ text }) => !text.includes("failed")));
  },
);

fakeTest("a producer that others took for lost goes on for its own readers", async (site) => {
  const [one, other] = site.machines();
  const tokens = site.paced(20, 2500);
  const first = await one.start(tokens.source);
  await first.events(1);
  const second = await (await other.meet(first)).events(1);
  await site.sleep(11_000);
  assert.equal(await one.log.flush(), true);
  // As if it had been frozen for longer than its lease.
  const kept = site.server.streams.get(first.streamId)!;
  kept.isLost = true;
  await second.rest();
  assert.equal(problemIn(second.last).code, "producer_lost");
  const third = await (await one.join(first.streamId)).events(3);
  await Promise.all([first.rest(), third.rest()]);
  same(first.text, tokens.text());
  same(third.written, first.written);
  assert.equal(first.last.event, "done");
  assert.deepEqual(one.reports.map(({ outcome }) => outcome), ["completed"]);
  assert.match(String(one.outages), /^Error: A stream was taken for lost, and goes on[^,]*$/);
  assert.equal(await one.log.flush(), true);
  same((await (await one.join(first.streamId)).rest()).written, first.written);
  // Elsewhere it is told once more, then no more.
  const back = await (await other.join(first.streamId, second.last.number)).rest();
  assert.match(back.last.id!, /\.lost$/);
  assert.equal((await other.join(first.streamId, back.last.id)).status, 204);
});

fakeTest("a store that loses leases alone takes no living producer for lost", async (site) => {
  const [one, other] = site.machines();
  const tokens = site.paced(30, 2700);
  const first = await one.start(tokens.source);
  await first.events(1);
  let isOver = false;
  const evict = async () => {
    while (!isOver) {
      site.server.leases.clear();
      await site.sleep(20);
    }
  };
  const evicting = evict();
  const readers = [await other.meet(first)];
  for (let i = 0; i < 10; i++) {
    await site.sleep(3000);
    readers.push(await other.join(first.streamId));
  }
  await Promise.all([first, ...readers].map((reading) => reading.rest()));
  isOver = true;
  await evicting;
  same(first.text, tokens.text());
  for (const { written } of readers) same(written, first.written);
  // A stop has time to arrive as well.
  const endless = await one.start(site.paced(1000, 2700).source);
  await endless.events(1);
  assert.equal(await other.log.find(endless.streamId).then((found) => found?.isLost), false);
  site.server.leases.clear();
  assert.equal(await other.stop(endless.streamId), true);
  assert.equal(JSON.parse((await endless.rest()).last.data).reason, "cancelled");
});

fakeTest("a process that hears nothing sees that an evicted lease comes back", async (site) => {
  const [one, other] = site.machines();
  const tokens = site.paced(30, 2700);
  const first = await one.start(tokens.source);
  await first.events(1);
  const second = await (await other.meet(first)).events(1);
  for (let i = 0; i < 6; i++) {
    await site.sleep(3000 + i * 137);
    site.server.leases.clear();
    for (const id of site.server.listeners.keys()) site.server.listeners.set(id, () => {});
  }
  await Promise.all([first.rest(), second.rest()]);
  same(second.written, first.written);
  same(first.text, tokens.text());
});

fakeTest(
  "a stream whose end never came to the store is lost, although its process lives",
  async (site) => {
    const [one, other] = site.machines();
    const first = await (await one.start(site.paced(10, 5).source)).rest();
    assert.equal(await one.log.flush(), true);
    // As if the store had lost its last second.
    site.server.streams.get(first.streamId)!.end = undefined;
    assert.equal(await other.knows(first.streamId), "live");
    const second = await (await other.join(first.streamId)).rest();
    same(second.text, first.text);
    assert.deepEqual([problemIn(second.last).code, second.last.number], ["producer_lost", 11]);
  },
);

fakeTest("a chat's latest stream that is lost is not found", async (site) => {
  const [one, other] = site.machines();
  await (await other.start(site.paced(1000, 10).source, { chatId: "1" })).events(3);
  await site.sleep(1000);
  const joined = await one.join("", undefined, { chatId: "1" });
  other.kill();
  assert.equal(problemIn((await joined.rest()).last).code, "producer_lost");
  assert.equal((await one.join("", undefined, { chatId: "1" })).status, 204);
});

fakeTest("nonsense among the messages is ignored", async (site) => {
  const [one, other] = site.machines();
  const tokens = site.paced(60, 10);
  const first = await one.start(tokens.source);
  const second = await other.meet(first);
  const nonsense = [
    "",
    "x",
    "null",
    "[]",
    "{}",
    "[1,2,3,4,5]",
    `["x",1,[[1]],{},[["a"]]]`,
    "[".repeat(99_999),
    JSON.stringify(["nobody", [], [[first.streamId, "x"], [first.streamId, -5]], [], []]),
  ];
  for (const listener of site.server.listeners.values()) {
    for (const message of nonsense) listener(message);
  }
  await Promise.all([first.rest(), second.rest()]);
  same(first.text, tokens.text());
  same(second.written, first.written);
});
