/** `RedisStore` with a real Redis: the contract of a store, and what is Redis's own. */
import assert from "node:assert/strict";
import test from "node:test";
import { RedisStore } from "../../../lib/replay/redis/store.ts";
import type { Producer, StreamAppend } from "../../../lib/replay/shared/event_store.ts";
import { eventStoreContract } from "../../../lib/testing.ts";
import { afterSites, sharedRedis, type Site, siteTest } from "../../support/redis_machines.ts";
import { clients, connectClient, noRedis } from "../../support/redis_server.ts";

const options = { skip: noRedis, timeout: 60_000 };
for (const [client, connect] of Object.entries(clients)) {
  const makeStore = async () => {
    const { connection, close } = connect((await sharedRedis()).url);
    const closeAll = async () => {
      await connection.close?.();
      await close();
    };
    return new RedisStore({ ...connection, close: closeAll }, "contract:");
  };
  for (const { name, run } of eventStoreContract(makeStore)) {
    test(`${client}: ${name}`, options, run);
  }
}

const producer: Producer = { id: "one", leaseMs: 10_000, liveMs: 120_000, keepMs: 60_000 };

function storeOf(site: Site, read = (reply: unknown) => reply): RedisStore {
  const { connection, close } = connectClient(site.redis.url);
  site.add({ close });
  const send = async (command: string, args: string[]) =>
    read(await connection.send(command, args));
  return new RedisStore({ ...connection, send }, site.prefix);
}

/** Events `first` to `last` of the stream `s`. */
function append(first: number, last: number, more: Partial<StreamAppend> = {}): StreamAppend {
  const pieces = last < first ? [] : [{ first, last, text: `${first}-${last}` }];
  const stream = { streamId: "s", chat: undefined, info: "info", first: 1, end: undefined };
  return { ...stream, last, pieces, ...more };
}

siteTest("a client may have its own idea of integers", async (site) => {
  const asText = (reply: unknown): unknown =>
    Array.isArray(reply) ? reply.map(asText) : typeof reply === "number" ? `${reply}` : reply;
  const store = storeOf(site, asText);
  assert.deepEqual(await store.append(producer, [append(1, 3)]), [{ state: "ok", last: 3 }]);
  const t = append(1, 1, { streamId: "t", info: undefined });
  assert.deepEqual(
    await store.append(producer, [t, append(5, 6)]),
    [{ state: "missing" }, { state: "ok", last: 3 }],
  );
  const [part] = await store.read([{ streamId: "s", producerId: "one", after: 0 }], 1);
  assert.equal(part!.isAlive, true);
  const lost = { streamId: "s", producerId: "one", last: 3 };
  assert.equal(await store.markLost(producer, lost), true);
});

siteTest("append() to a key of another type fails for that stream alone", async (site) => {
  const store = storeOf(site);
  await site.redis.command("SET", `${site.prefix}stream:bad`, "x");
  const bad = append(1, 1, { streamId: "bad" });
  const [first, second] = await store.append(producer, [bad, append(1, 2)]);
  assert.equal(first!.state, "failed");
  assert.match((first as { error: string }).error, /WRONGTYPE/);
  assert.deepEqual(second, { state: "ok", last: 2 });
});

siteTest("append() puts the expiry off before it comes near", async (site) => {
  const store = storeOf(site);
  const chat = '["ann","1"]';
  const names = ["stream:s", "events:s", `chat:${chat}`];
  const ttls = () =>
    Promise.all(names.map(async (name) => {
      return Number((await site.redis.command("PTTL", site.prefix + name)).slice(1));
    }));
  await store.append(producer, [append(1, 1, { chat })]);
  assert((await ttls()).every((ms) => ms > 119_000 && ms <= 120_000), `${await ttls()}`);
  for (const [leftMs, isRenewed] of [[115_000, false], [105_000, true]] as const) {
    for (const name of names) await site.redis.command("PEXPIRE", site.prefix + name, `${leftMs}`);
    await store.append(producer, [append(2, 2, { chat })]);
    const found = await ttls();
    assert(found.every((ms) => ms > 119_000 === isRenewed), `${found} from ${leftMs}`);
  }
  // The end has a time of its own.
  await store.append(producer, [append(3, 3, { chat, end: 3 })]);
  assert((await ttls()).every((ms) => ms > 59_000 && ms <= 60_000), `${await ttls()}`);
  // So has a stream that is lost.
  await store.append(producer, [append(1, 1, { streamId: "t" })]);
  await store.markLost(producer, { streamId: "t", producerId: "one", last: 1 });
  for (const name of ["stream:t", "events:t"]) {
    const ms = Number((await site.redis.command("PTTL", site.prefix + name)).slice(1));
    assert(ms > 59_000 && ms <= 60_000, `${name}: ${ms}`);
  }
}, { own: true });

siteTest(
  "markLost() takes no producer for lost while Redis has run for less than a lease",
  async (site) => {
    const store = storeOf(site);
    await store.append(producer, [append(1, 1)]);
    await store.leave("one");
    const lost = { streamId: "s", producerId: "one", last: 1 };
    const stranger = { ...producer, id: "other" };
    assert.equal(await store.markLost({ ...stranger, leaseMs: 3_600_000 }, lost), false);
    assert.equal(await store.markLost({ ...stranger, leaseMs: 0 }, lost), true);
  },
);

siteTest("a stream whose events were evicted is not there", async (site) => {
  const store = storeOf(site);
  await store.append(producer, [append(1, 2)]);
  await site.redis.command("DEL", `${site.prefix}events:s`);
  assert.equal(await store.find("s"), undefined);
  assert.deepEqual(await store.read([{ streamId: "s", producerId: "one", after: 0 }], 1), [
    undefined,
  ]);
  const [first] = await store.append(producer, [append(3, 3, { info: undefined })]);
  assert.deepEqual(first, { state: "missing" });
  const [second] = await store.append(producer, [append(1, 3)]);
  assert.deepEqual(second, { state: "ok", last: 3 });
});

afterSites();
