/** `SharedLog` over a store in which somebody else has written: nobody is told something false. */
import assert from "node:assert/strict";
import test from "node:test";
import type { StoredPiece } from "../../../lib/replay/shared/event_store.ts";
import { formatInfo, parseInfo } from "../../../lib/replay/shared/stored.ts";
import { same } from "../../support/event_reader.ts";
import { type FakeSite, fakeTest } from "../../support/fake_machines.ts";
import { problemIn } from "../../support/machines.ts";

const INFO = formatInfo({
  streamId: "s",
  format: "json",
  headers: {},
  owner: undefined,
  chatId: undefined,
});
const EVENT = 'id: s.1\ndata: {"token":"a"}\n\n';
type Kept = FakeSite["server"]["streams"] extends Map<string, infer Value> ? Value : never;

/** A stream that is in the store and that no process makes. */
function keep(site: FakeSite, more: Partial<Record<keyof Kept, unknown>>): void {
  const fresh = { producerId: "p", info: INFO, end: undefined, isLost: false, untilMs: Infinity };
  const pieces = [{ first: 1, last: 1, text: EVENT }];
  site.server.streams.set("s", { ...fresh, last: 1, pieces, ...more } as Kept);
}

fakeTest("a stream whose record cannot be read is 404, and told once", async (site) => {
  const machine = site.machine();
  const infos = [
    undefined,
    "",
    "{",
    "null",
    "5",
    "[]",
    "{}",
    '"json"',
    '{"format":5,"headers":{}}',
    '{"format":"json"}',
    '{"format":"json","headers":[]}',
    '{"format":"json","headers":{"a":1}}',
    '{"format":"json","headers":{"a b":"c"}}',
    '{"format":"json","headers":{"a":"b\\nc"}}',
    '{"format":"json","headers":{},"owner":5}',
    '{"format":"json","headers":{},"chatId":{}}',
    '{"version":2,"format":"json","headers":{}}',
  ].map((info) => ({ info }));
  const records = [
    { producerId: undefined },
    { producerId: "" },
    { last: NaN },
    { last: -1 },
    { last: 1.5 },
    { last: "1" },
    { end: NaN },
    { end: 0 },
    { end: 3 },
    { pieces: [{ first: NaN, last: 1, text: EVENT }] },
    { pieces: [{ first: 3, last: 3, text: EVENT }] },
  ];
  for (const more of [...infos, ...records]) {
    keep(site, more);
    const what = JSON.stringify(more);
    assert.equal((await machine.join("s")).status, 404, what);
    assert.equal(await machine.stop("s"), false, what);
  }
  assert.equal(machine.log.unreadable, 2 * (infos.length + records.length));
  assert.deepEqual(machine.outages.map(String), [
    "Error: A stream in the store cannot be read: s: its info is not JSON",
  ]);
  assert.equal(machine.log.health(), "ok");
});

test("an info without a version is read, as one with ours", () => {
  const { version: _, ...old } = JSON.parse(INFO);
  same(JSON.stringify(parseInfo(JSON.stringify(old))), JSON.stringify(parseInfo(INFO)));
});

const odd: [what: string, pieces: unknown][] = [
  ["no text", [{ first: 2, last: 2, text: 5 }]],
  ["no number", [{ first: 2, last: NaN, text: EVENT }]],
  ["words for numbers", [{ first: "two", last: 2, text: EVENT }]],
  ["an end before the beginning", [{ first: 3, last: 2, text: EVENT }]],
  ["no event", [{ first: 2, last: 2, text: "" }]],
  ["half an event", [{ first: 2, last: 2, text: EVENT.slice(0, -1) }]],
  ["more than its events", [{ first: 2, last: 2, text: EVENT + EVENT }]],
  ["fewer than its events", [{ first: 2, last: 3, text: EVENT }]],
  ["nothing, where there should be something", []],
];
for (const [what, pieces] of odd) {
  fakeTest(`events that cannot be read end their readers: ${what}`, async (site) => {
    const machine = site.machine();
    const kept: StoredPiece[] = [{ first: 1, last: 1, text: EVENT }];
    keep(site, { last: 3, pieces: [...kept, ...pieces as StoredPiece[]] });
    site.server.leases.set("p", Infinity);
    const fromMs = site.clock.now();
    const reading = await machine.join("s");
    assert.equal(reading.status, 200);
    await reading.rest();
    assert(site.clock.now() - fromMs < 3000, "it does not stay open");
    const { code, resume } = problemIn(reading.last);
    const expected = (pieces as unknown[]).length === 0 ? "lagged" : "log_unavailable";
    assert.deepEqual([code, resume, reading.last.id], [expected, true, undefined]);
    assert.equal(machine.log.health(), "ok");
  });
}

for (const isLive of [true, false]) {
  const what = isLive ? "a stream that goes on" : "one that has ended";
  fakeTest(
    `who comes back to a gap that stays is told that it is for good: ${what}`,
    async (site) => {
      const piece = (event: number) => ({
        first: event,
        last: event,
        text: EVENT.replace("s.1", `s.${event}`),
      });
      const end = isLive ? undefined : 4;
      site.server.leases.set("p", Infinity);
      for (const machine of site.machines()) {
        keep(site, { last: 4, end, pieces: [piece(1), piece(2), piece(4)] });
        const first = await (await machine.join("s")).rest();
        const { code, resume } = problemIn(first.last);
        assert.deepEqual([first.blocks.length, code, resume], [3, "lagged", true]);
        const calls = site.server.calls.read!;
        for (const method of ["GET", "POST"]) {
          const again = await machine.join("s", 2, {}, method);
          assert.equal(again.status, 410);
          assert.equal(JSON.parse((await again.rest()).body).code, "gone");
        }
        assert.equal(
          site.server.calls.read,
          calls + 2,
          "each has looked whether it is still there",
        );
        // Other positions are served as before.
        assert.equal(problemIn((await (await machine.join("s", 1)).rest()).last).code, "lagged");
        // The producer has written it again.
        keep(site, { last: 4, end: 4, pieces: [1, 2, 3, 4].map(piece) });
        const whole = await (await machine.join("s", 2)).rest();
        assert.equal(whole.blocks.length, 2);
        assert.equal(machine.log.health(), "ok");
        assert.deepEqual(machine.outages, []);
      }
    },
  );
}

fakeTest("a store that cannot read a stream says so: 503, and no outage", async (site) => {
  const [machine, other] = site.machines();
  const tokens = site.paced(300, 10);
  const first = await other.start(tokens.source);
  const second = await machine.meet(first);
  keep(site, {});
  site.server.broken.add("s");
  for (let i = 0; i < 5; i++) {
    const refused = await machine.join("s");
    assert.deepEqual([refused.status, refused.response.headers.get("retry-after")], [503, "1"]);
    assert.equal(JSON.parse((await refused.rest()).body).code, "log_unavailable");
  }
  site.server.broken.clear();
  site.server.leases.set("p", Infinity);
  const reading = await (await machine.join("s")).events(1);
  site.server.broken.add("s");
  await reading.rest();
  assert.equal(problemIn(reading.last).code, "log_unavailable");
  await Promise.all([first.rest(), second.rest()]);
  same(second.written, first.written);
  assert.equal(machine.log.health(), "ok");
  assert.deepEqual(machine.outages.map(String), [
    "Error: A stream in the store cannot be read: s: broken",
  ]);
});

fakeTest("a chat that names no stream has none", async (site) => {
  const machine = site.machine();
  site.server.chats.set(JSON.stringify([null, "1"]), "no name");
  assert.equal((await machine.join("", undefined, { chatId: "1" })).status, 204);
  assert.equal(machine.outages.length, 1);
});

fakeTest("a stream of which the store says more than was made is rejected there", async (site) => {
  const [one, other] = site.machines();
  const first = await one.start(site.paced(200, 20).source);
  const second = await (await other.meet(first)).events(3);
  site.server.streams.get(first.streamId)!.last = 5000;
  await second.rest();
  assert.equal(problemIn(second.last).code, "lagged");
  await first.rest();
  assert.match(String(one.outages[0]), /rejects a stream: its last event was never made/);
});

fakeTest("an unknown id costs two look-ups while no stream has begun", async (site) => {
  const [one, other] = site.machines();
  await site.sleep(1000);
  for (let i = 1; i <= 3; i++) {
    assert.equal((await other.join(`unknown${i}`)).status, 404);
    assert.equal(site.server.calls.find, 2 * i);
  }
  // While streams begin, it may be one that is being written.
  await one.start(site.paced(Infinity, 60_000).source);
  await site.sleep(100);
  assert.equal((await other.join("unknown")).status, 404);
  assert.equal(site.server.calls.find, 10);
  await site.sleep(1100);
  assert.equal((await other.join("unknown")).status, 404);
  assert.equal(site.server.calls.find, 12);
});

fakeTest("the first stream for long is found before its first write has arrived", async (site) => {
  const one = site.machine({
    onCall: (when, method) => {
      if (when === "before" && method === "append") return site.sleep(100);
    },
  });
  const other = site.machine();
  await site.sleep(2000);
  const first = await one.start(site.paced(5, 10).source);
  const second = await other.join(first.streamId);
  assert.equal(second.status, 200);
  await Promise.all([first.rest(), second.rest()]);
  same(second.written, first.written);
});

fakeTest("while the store refuses writes, an unknown stream is 503 and not 404", async (site) => {
  const [one, other] = site.machines();
  await site.sleep(1000);
  site.server.full = "out of memory";
  const first = await one.start(site.paced(1000, 10).source);
  await first.events(1);
  for (let i = 0; i < 3; i++) {
    const refused = await other.join(first.streamId);
    assert.equal(refused.status, 503);
    assert.equal(JSON.parse((await refused.rest()).body).code, "log_unavailable");
    await site.sleep(2000);
  }
  assert.deepEqual([one.log.health(), other.log.health()], ["degraded", "degraded"]);
  // Reads that succeed end no outage: it is told once.
  assert.deepEqual([one.outages.length, other.outages.length], [1, 1]);
  site.server.full = undefined;
  await site.until(() => one.log.health() === "ok", 10_000, "it comes back");
  await site.until(() => other.log.health() === "ok", 10_000, "it comes back");
  const second = await other.meet(first);
  await Promise.all([first.rest(), second.rest()]);
  same(second.written, first.written);
});

fakeTest(
  "in an outage a stream that is not found may be one that was not written",
  async (site) => {
    // It reads, and does not look whether it could write.
    const machine = site.machine({
      onCall(when, method) {
        if (when === "before" && method === "renew") throw new Error("no writes");
      },
    });
    await site.sleep(10);
    assert.equal(machine.log.health(), "degraded");
    assert.equal((await machine.join("unknown")).status, 503);
  },
);

fakeTest("what a store is not set up for is told once", async (site) => {
  site.server.fault = "evicts";
  const machine = site.machine();
  await site.sleep(1000);
  site.server.kill();
  await site.sleep(5000);
  site.server.start(true);
  await site.sleep(10_000);
  const texts = machine.outages.map(String);
  assert.equal(texts.filter((text) => text === "Error: evicts").length, 1, `${texts}`);
});
