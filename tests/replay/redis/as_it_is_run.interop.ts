/** `RedisLog` on a Redis as it is run: garbage in its keys, evictions, failovers, a cluster, a user with few rights. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { same } from "../../support/event_reader.ts";
import { Paced, problemIn, sleep } from "../../support/machines.ts";
import {
  afterSites,
  type RedisMachine,
  type Site,
  siteTest,
} from "../../support/redis_machines.ts";
import {
  clients,
  clusterClients,
  type Connect,
  RedisServer,
  SlowWay,
} from "../../support/redis_server.ts";
import { root } from "../../support/child.ts";
import { freePort } from "../../support/free_port.ts";
import { until } from "../../support/serve.ts";

const INFO = '{"format":"json","headers":{}}';
const EVENT = 'id: s.1\ndata: {"token":"a"}\n\n';

/** Writes a stream by hand. */
async function write(site: Site, name: string, fields: string[], entries: string[][]) {
  const meta = `${site.prefix}stream:${name}`;
  const events = `${site.prefix}events:${name}`;
  await site.redis.command("DEL", meta, events);
  if (fields.length > 0) await site.redis.command("HSET", meta, ...fields);
  for (const entry of entries) await site.redis.command("XADD", events, ...entry);
}

siteTest(
  "keys that others have written are one stream's trouble, and nobody else's",
  async (site) => {
    const [one, other] = await site.machines();
    const tokens = new Paced(150, 20);
    const first = await one.start(tokens.source);
    const second = await other.meet(first);
    const { prefix, redis } = site;
    const good = ["by", "p", "info", INFO, "last", "1"];
    const entry = ["1-0", "f", "1", "d", EVENT];
    const unknown: [name: string, fields: string[]][] = [
      ["noInfo", ["by", "p", "last", "1"]],
      ["noProducer", ["info", INFO, "last", "1"]],
      ["noLast", ["by", "p", "info", INFO]],
      ["words", [...good, "last", "one"]],
      ["zeros", [...good, "last", "01"]],
      ["end", [...good, "end", "x"]],
      ["late", [...good, "end", "9"]],
      ...["", "{", "null", "5", "[]", '{"version":2}'].map((info, i): [string, string[]] => [
        `info${i}`,
        [...good, "info", info],
      ]),
    ];
    for (const [name, fields] of unknown) {
      await write(site, name, fields, [entry]);
      assert.equal((await other.join(name)).status, 404, name);
    }
    await redis.command("SET", `${prefix}stream:text`, "x");
    await redis.command("LPUSH", `${prefix}stream:list`, "x");
    for (const name of ["text", "list"]) {
      assert.equal((await other.join(name)).status, 404, name);
      assert.equal(await other.stop(name), false, name);
    }
    // What is known, and cannot be read, is unavailable.
    await write(site, "type", good, []);
    await redis.command("SET", `${prefix}events:type`, "x");
    await write(site, "pair", good, [["1-0", "x", "y"]]);
    for (const name of ["type", "pair"]) {
      const refused = await other.join(name);
      assert.equal(refused.status, 503, name);
      assert.equal(JSON.parse((await refused.rest()).body).code, "log_unavailable", name);
    }
    const entries: [name: string, entry: string[]][] = [
      ["one field", ["2-0", "x", "y"]],
      ["a word", ["2-0", "f", "two", "d", EVENT]],
      ["half an event", ["2-0", "f", "2", "d", "data: x"]],
      ["two events", ["2-0", "f", "2", "d", EVENT + EVENT]],
    ];
    for (const [what, odd] of entries) {
      await write(site, "odd", [...good, "last", "2"], [entry, odd]);
      const reading = await (await other.join("odd")).rest();
      assert.equal(problemIn(reading.last).code, "log_unavailable", what);
    }
    // One of them is a producer's own.
    const own = await one.start(new Paced(50, 20).source, { streamId: "text" });
    await redis.command("SET", `${prefix}chat:[null,"1"]`, "no name");
    assert.equal((await other.join("", undefined, { chatId: "1" })).status, 204);
    await redis.command("DEL", `${prefix}chat:[null,"1"]`);
    await redis.command("LPUSH", `${prefix}chat:[null,"1"]`, "x");
    assert.equal((await other.join("", undefined, { chatId: "1" })).status, 204);
    await Promise.all([first.rest(), second.rest(), own.rest()]);
    same(second.written, first.written);
    same(first.text, tokens.text());
    assert.deepEqual([one.log.health(), other.log.health()], ["ok", "ok"]);
    assert(
      other.outages.every((error) => /cannot be read/.test(String(error))),
      `${other.outages}`,
    );
    assert(other.outages.length >= unknown.length + 5, `${other.outages.length}`);
    assert(one.outages.every((error) => /rejects a stream/.test(String(error))), `${one.outages}`);
  },
);

siteTest("an unknown id costs two look-ups", async (site) => {
  const other = await site.machine();
  const before = (await site.redis.calls()).eval ?? 0;
  for (let i = 0; i < 5; i++) assert.equal((await other.join(`unknown${i}`)).status, 404);
  assert.equal((await site.redis.calls()).eval! - before, 10);
}, { own: true });

for (
  const [what, refuse, allow] of [
    ["is full", ["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]],
    ["has become a replica", ["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]],
  ] as const
) {
  siteTest(
    `a Redis that ${what}: a stream that has just begun is 503, and not 404`,
    async (site) => {
      const [one, other] = await site.machines();
      await site.redis.command(...refuse);
      const tokens = new Paced(600, 10);
      const first = await one.start(tokens.source);
      await first.events(1);
      for (let i = 0; i < 4; i++) {
        const refused = await other.join(first.streamId);
        assert.equal(refused.status, 503);
        assert.equal(JSON.parse((await refused.rest()).body).code, "log_unavailable");
        await sleep(300);
      }
      assert.deepEqual([one.outages.length, other.outages.length], [1, 1]);
      await site.redis.command(...allow);
      const isUp = () => one.log.health() === "ok" && other.log.health() === "ok";
      await until(isUp, 10_000, "it is over");
      const second = await other.meet(first);
      await Promise.all([first.rest(), second.rest()]);
      same(second.written, first.written);
    },
    { own: true },
  );
}

siteTest("leases that are evicted make nobody lost, and the policy is told once", async (site) => {
  await site.redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
  const [one, other] = await site.machines();
  const tokens = new Paced(9, 1000);
  const first = await one.start(tokens.source);
  const second = await other.meet(first);
  let isOver = false;
  const evict = async () => {
    while (!isOver) {
      await site.redis.command(
        "EVAL",
        `for _, key in ipairs(redis.call("KEYS", ARGV[1])) do redis.call("DEL", key) end`,
        "0",
        `${site.prefix}process:*`,
      );
      await sleep(20);
    }
  };
  const evicting = evict();
  await Promise.all([first.rest(), second.rest()]);
  isOver = true;
  await evicting;
  same(first.text, tokens.text());
  same(second.written, first.written);
  for (const { outages } of [one, other]) {
    assert.equal(outages.length, 1, `${outages}`);
    assert.match(String(outages[0]), /maxmemory-policy is allkeys-lru, and should be noeviction/);
  }
}, { own: true });

for (const [name, connect] of Object.entries(clients)) {
  siteTest(`${name}: a failover behind one name is followed`, async (site) => {
    const next = await RedisServer.start();
    try {
      await next.command("REPLICAOF", "127.0.0.1", `${site.redis.port}`);
      const isSynced = async () =>
        /master_link_status:up/.test(await next.command("INFO", "replication"));
      for (let i = 0; i < 1000 && !await isSynced(); i++) await sleep(20);
      const way = site.add(await SlowWay.open(site.redis.port, 0));
      const one = await site.machine({ connect, url: way.url });
      const other = await site.machine({ connect, url: way.url });
      await site.redis.listeners(site.prefix, 2);
      const tokens = new Paced(400, 20);
      const first = await one.start(tokens.source);
      const second = await (await other.meet(first)).events(5);
      way.to = next.port;
      await next.command("REPLICAOF", "NO", "ONE");
      await site.redis.command("REPLICAOF", "127.0.0.1", `${next.port}`);
      await until(() => one.outages.length > 0, 5000, "it is noticed");
      await until(() => one.log.health() === "ok", 10_000, "it is over");
      await Promise.all([first.rest(), second.rest()]);
      same(first.text, tokens.text());
      same(second.written, first.written);
      assert.equal(await one.log.flush(), true);
      assert.equal(await next.command("EXISTS", `${site.prefix}stream:${first.streamId}`), ":1");
      for (const { outages } of [one, other]) assert(outages.length <= 2, `${outages}`);
      const again = await other.join(first.streamId);
      same((await again.rest()).written, first.written);
    } finally {
      await next.remove();
    }
  }, { own: true });
}

/**
 * A cluster of two servers, each with half of the slots. It is there until the machines are closed: ioredis
 * would look for servers that are gone, and add a listener to one socket each time.
 */
async function cluster(site: Site): Promise<RedisServer[]> {
  const folder = mkdtempSync(join(tmpdir(), "spillway-cluster-"));
  const servers: RedisServer[] = [];
  site.add({
    async close() {
      for (const server of servers) await server.remove();
      rmSync(folder, { recursive: true });
    },
  });
  const buses: number[] = [];
  for (const name of ["a", "b"]) {
    const bus = await freePort();
    const file = join(folder, `${name}.conf`);
    const args = ["--cluster-enabled", "yes", "--cluster-config-file", file];
    servers.push(await RedisServer.start(false, [...args, "--cluster-port", `${bus}`]));
    buses.push(bus);
  }
  const [one, other] = servers;
  await one!.command("CLUSTER", "ADDSLOTSRANGE", "0", "8191");
  await other!.command("CLUSTER", "ADDSLOTSRANGE", "8192", "16383");
  await one!.command("CLUSTER", "MEET", "127.0.0.1", `${other!.port}`, `${buses[1]}`);
  for (const server of servers) {
    const isUp = async () => /cluster_state:ok/.test(await server.command("CLUSTER", "INFO"));
    for (let i = 0; i < 500 && !await isUp(); i++) await sleep(20);
  }
  return servers;
}

siteTest("a cluster: it is served with one slot, and said what to set without", async (site) => {
  const [one, other] = await cluster(site);
  const prefix = "{spillway}:";
  const url = one!.url;
  for (const [name, connect] of Object.entries(clusterClients)) {
    const machines = [];
    for (let i = 0; i < 2; i++) machines.push(await site.machine({ connect, url, prefix }));
    const tokens = new Paced(100, 20);
    const first = await machines[0]!.start(tokens.source);
    const second = await machines[1]!.meet(first);
    const third = await machines[0]!.start(new Paced(10_000, 20).source);
    await (await machines[1]!.meet(third)).events(3);
    assert.equal(await machines[1]!.stop(third.streamId), true, name);
    await Promise.all([first.rest(), second.rest(), third.rest()]);
    same(first.text, tokens.text(), name);
    same(second.written, first.written, name);
    for (const { outages } of machines) assert.deepEqual(outages, [], name);
    const spread = await site.machine({ connect, url });
    await until(() => spread.outages.length > 0, 5000, "it is told");
    assert.match(String(spread.outages[0]), /cluster.*REDIS_PREFIX, to \{spillway\}:/, name);
  }
  // A client for one server, at the one that has not the slot.
  for (const [name, connect] of Object.entries(clients)) {
    const single: RedisMachine[] = [];
    for (const { url } of [one!, other!]) {
      single.push(await site.machine({ connect, url, prefix }));
    }
    const told = () => single.flatMap(({ outages }) => outages.map(String));
    await until(() => told().length > 0, 5000, "it is told");
    assert.match(told()[0]!, /cluster.*createCluster of redis or Cluster of ioredis/, name);
  }
});

/** The rights as docs/many_machines.md has them. */
const RIGHTS = /ACL SETUSER spillway ([^`]*)/
  .exec(readFileSync(join(root, "docs/many_machines.md"), "utf8"))![1]!
  .replaceAll("\\\n", "").replaceAll("\\|", "|").replaceAll('"', "").trim().split(/\s+/);

/** A client that is a user of few rights. */
const asUser = (connect: Connect): Connect => (url) =>
  connect(url.replace("redis://", "redis://spillway:secret@"));

for (const [name, connect] of Object.entries(clients)) {
  siteTest(
    `${name}: a user with the rights of the docs can do all, and one without is told`,
    async (site) => {
      const rights = RIGHTS.map((right) =>
        right.replace(">...", ">secret").replace("spillway:", site.prefix)
      );
      assert(rights.length > 10, `${rights}`);
      await site.redis.command("ACL", "SETUSER", "spillway", "reset", ...rights);
      const [one, other] = await site.machines({ connect: asUser(connect) });
      const tokens = new Paced(60, 20);
      const first = await one.start(tokens.source, { chatId: "1" });
      const second = await other.meet(first);
      assert.equal((await other.join("", undefined, { chatId: "1" })).status, 200);
      const third = await one.start(new Paced(10_000, 20).source);
      await (await other.meet(third)).events(3);
      assert.equal(await other.stop(third.streamId), true);
      assert.equal((await other.join("unknown")).status, 404);
      const lost = await site.machine({ connect: asUser(connect) });
      const fourth = await lost.start(new Paced(10_000, 20).source);
      await other.meet(fourth);
      await Promise.all([first.rest(), second.rest(), third.rest()]);
      same(second.written, first.written);
      assert.deepEqual([one.outages, other.outages], [[], []]);
      assert.doesNotMatch(await site.redis.command("ACL", "LOG", "1"), /^\*[1-9]/);
      await site.redis.command("ACL", "SETUSER", "spillway", "-hset");
      await one.start(["a"]);
      await until(() => one.outages.length > 0, 5000, "it is told");
      assert.match(String(one.outages[0]), /lacks a right.*docs\/many_machines\.md/);
    },
    { own: true },
  );
}

afterSites();
