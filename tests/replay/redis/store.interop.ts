/** The scripts by themselves: what each refuses, at moments that no test of a log could hit. */
import assert from "node:assert/strict";
import { RedisLink } from "../../../lib/replay/redis/link.ts";
import { type Append, RedisScripts } from "../../../lib/replay/redis/store.ts";
import { afterSites, type Site, siteTest } from "../../support/redis_machines.ts";
import { connectClient } from "../../support/redis_server.ts";

/** The scripts as two processes have them. */
function scriptsOf(
  site: Site,
  keepMs = 60_000,
  read = (reply: unknown) => reply,
): [RedisScripts, RedisScripts] {
  const { connection, close } = connectClient(site.redis.url);
  site.add({ close });
  const probe = (): [string, string[]] => ["PING", []];
  const send = async (command: string, args: string[]) =>
    read(await connection.send(command, args));
  const link = new RedisLink({ ...connection, send }, {
    probe,
    recovered: () => {},
    report: (error) => assert.fail(String(error)),
  });
  const of = (process: string) => new RedisScripts(link, site.prefix, process, keepMs);
  return [of("one"), of("other")];
}

/** Events `first` to `last` of the stream `s`, all of which Redis should then have. */
function append(first: number, last: number, more: Partial<Append> = {}): Append {
  const pieces = last < first ? [] : [{ first, last, text: `${first}-${last}` }];
  const held = { streamId: "s", owner: undefined, chatId: undefined, info: "info", first: 1 };
  return { ...held, final: last, end: undefined, pieces, ...more };
}

const texts = async (scripts: RedisScripts, after = 0) =>
  (await scripts.read([{ streamId: "s", producerId: "one", after }]))[0]?.pieces.map(({ text }) =>
    text
  );

siteTest("append() writes what follows, once, and says how far it is", async (site) => {
  const [one, other] = scriptsOf(site);
  assert.deepEqual(await one.append([append(1, 3, { info: "" })]), [{ state: "missing", last: 0 }]);
  for (let i = 0; i < 2; i++) {
    assert.deepEqual(await one.append([append(1, 3)]), [{ state: "ok", last: 3 }]);
  }
  // What was cut otherwise the first time overlaps, and is written from where it goes on.
  assert.deepEqual(await one.append([append(2, 5)]), [{ state: "ok", last: 5 }]);
  // What is still held has to come first.
  assert.deepEqual(await one.append([append(8, 9)]), [{ state: "behind", last: 5 }]);
  assert.deepEqual(await one.append([append(6, 5, { final: 9 })]), [{ state: "behind", last: 5 }]);
  assert.deepEqual(await texts(one), ["1-3", "2-5"]);
  assert.deepEqual(await texts(one, 4), ["2-5"]);
  assert.deepEqual(await texts(one, 5), []);
  // What is held no longer is a gap, and nothing from before it stays.
  assert.deepEqual(await one.append([append(8, 9, { first: 8 })]), [{ state: "ok", last: 9 }]);
  assert.deepEqual(await texts(one), ["8-9"]);
  assert.deepEqual(await other.append([append(10, 11)]), [{ state: "taken", last: 0 }]);
  // One that Redis refuses hinders no other one.
  await site.redis.command("SET", `${site.prefix}stream:bad`, "x");
  const [bad, good] = await one.append([append(1, 1, { streamId: "bad" }), append(10, 10)]);
  assert.equal(bad!.state, "failed");
  assert.deepEqual(good, { state: "ok", last: 10 });
  assert.equal((await one.find("s"))!.end, undefined);
  // An end counts when all before it is there.
  await one.append([append(13, 14, { end: 14 })]);
  assert.equal((await one.find("s"))!.end, undefined);
  await one.append([append(11, 14, { end: 14 })]);
  assert.deepEqual(await other.find("s"), {
    producerId: "one",
    info: "info",
    first: 8,
    last: 14,
    end: 14,
    isLost: false,
  });
});

siteTest("a client may have its own idea of integers", async (site) => {
  const asText = (reply: unknown): unknown =>
    Array.isArray(reply) ? reply.map(asText) : typeof reply === "number" ? `${reply}` : reply;
  const [one] = scriptsOf(site, 60_000, asText);
  assert.deepEqual(await one.append([append(1, 3)]), [{ state: "ok", last: 3 }]);
  assert.deepEqual(
    await one.append([append(1, 1, { streamId: "t", info: "" }), append(5, 6)]),
    [{ state: "missing", last: 0 }, { state: "behind", last: 3 }],
  );
});

siteTest("append() puts the expiry off before it comes near", async (site) => {
  const [one] = scriptsOf(site);
  const chat = { owner: "ann", chatId: "1" };
  const names = ["stream:s", "events:s", `chat:["ann","1"]`];
  const ttls = () =>
    Promise.all(names.map(async (name) => {
      return Number((await site.redis.command("PTTL", site.prefix + name)).slice(1));
    }));
  await one.append([append(1, 1, chat)]);
  assert((await ttls()).every((ms) => ms > 119_000 && ms <= 120_000), `${await ttls()}`);
  for (const [leftMs, isRenewed] of [[115_000, false], [105_000, true]] as const) {
    for (const name of names) await site.redis.command("PEXPIRE", site.prefix + name, `${leftMs}`);
    await one.append([append(2, 2, chat)]);
    const found = await ttls();
    assert(found.every((ms) => ms > 119_000 === isRenewed), `${found} from ${leftMs}`);
  }
  // The end has a time of its own.
  await one.append([append(3, 3, { ...chat, end: 3 })]);
  assert((await ttls()).every((ms) => ms > 59_000 && ms <= 60_000), `${await ttls()}`);
}, { own: true });

siteTest(
  "lose() ends a stream only where its process is silent, and has said nothing more",
  async (site) => {
    const [one, other] = scriptsOf(site);
    const events = { first: 4, last: 4, text: "lost" };
    await one.append([append(1, 3)]);
    assert.equal(await other.markProducerLost("s", "one", 3, events), false, "its lease holds");
    // Who made it needs no lease to say so, but has to know where it stands.
    assert.equal(await one.markProducerLost("s", "one", 2, events), false, "it has gone on");
    assert.equal(await one.markProducerLost("s", "two", 3, events), false, "it is another one's");
    assert.equal(await one.markProducerLost("unknown", "one", 3, events), false);
    assert.equal(await one.markProducerLost("s", "one", 3, events), true);
    assert.equal(await one.markProducerLost("s", "one", 4, events), false, "it has ended");
    assert.deepEqual(await one.append([append(4, 6)]), [{ state: "lost", last: 0 }]);
    const { last, end, isLost } = (await other.find("s"))!;
    assert.deepEqual([last, end, isLost], [4, 4, true]);
    assert.deepEqual(await texts(other), ["1-3", "lost"]);
    // Without its lease it is lost, unless Redis itself has just begun.
    await one.append([append(1, 3, { streamId: "t" })]);
    await one.leave();
    const isYoung = /uptime_in_seconds:\d\r/.test(await site.redis.command("INFO", "server"));
    assert.equal(await other.markProducerLost("t", "one", 3, events), !isYoung);
  },
  { own: true },
);

siteTest("read() answers at most 64 KiB and a piece of each stream, in order", async (site) => {
  const [one] = scriptsOf(site);
  const text = "x".repeat(10_000);
  const pieces = Array.from({ length: 30 }, (_, i) => ({ first: i + 1, last: i + 1, text }));
  for (const streamId of ["s", "t"]) {
    await one.append([append(1, 30, { streamId, pieces })]);
  }
  const wanted = ["s", "unknown", "t"].map((streamId, i) => ({
    streamId,
    producerId: "one",
    after: i * 4,
  }));
  const [first, unknown, second] = await one.read(wanted);
  assert.equal(unknown, undefined);
  assert.deepEqual(first!.pieces.map(({ last }) => last), [1, 2, 3, 4, 5, 6, 7]);
  assert.deepEqual(second!.pieces.map(({ last }) => last), [9, 10, 11, 12, 13, 14, 15]);
  assert.deepEqual([first!.last, first!.end, first!.isAlive], [30, undefined, true]);
  // Positions are strangers' numbers.
  for (const after of [30, 1e9, 999_999_999_999_999]) assert.deepEqual(await texts(one, after), []);
});

siteTest("forget() takes back a stream of one's own, and its chat", async (site) => {
  const [one, other] = scriptsOf(site);
  const chat = { owner: "ann", chatId: "1" };
  await one.append([append(1, 1, { ...chat })]);
  assert.equal(await other.latest("ann", "1"), "s");
  await other.forget("s", "ann", "1");
  assert(await other.find("s"));
  await one.append([append(1, 1, { ...chat, streamId: "t" })]);
  await one.forget("s", "ann", "1");
  assert.equal(await one.find("s"), undefined);
  assert.equal(await one.latest("ann", "1"), "t");
  await one.forget("t", "ann", "1");
  assert.equal(await one.latest("ann", "1"), undefined);
  assert.equal(await one.latest(undefined, ""), undefined);
});

afterSites();
