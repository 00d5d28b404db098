/** The fuzzer of the store's fields on a real Redis: keys of other types as well. A part of the long set. */
import process from "node:process";
import { pick } from "../../support/random.ts";
import { afterSites, isLong, type Site, siteTest } from "../../support/redis_machines.ts";
import { Paced, sleep } from "../../support/machines.ts";
import { attack, type Chance, type Garbage, type GarbageSite } from "../shared/garbage.ts";

/** A key that is no stream, no chat and no lease. */
async function otherType(site: Site, key: string, chance: Chance): Promise<void> {
  const { redis } = site;
  await redis.command("DEL", key);
  await redis.command(...pick(chance, [
    ["SET", key, "5"],
    ["RPUSH", key, "a", "b"],
    ["SADD", key, "a"],
    ["ZADD", key, "1", "a"],
    ["HSET", key, "a", "b"],
    ["XADD", key, "5-3", "x", "y"],
  ]) as [string, ...string[]]);
}

async function put(site: Site, garbage: Garbage, chance: Chance): Promise<void> {
  const { redis, prefix } = site;
  const { streamId, fields, entries } = garbage;
  const meta = `${prefix}stream:${streamId}`;
  const events = `${prefix}events:${streamId}`;
  const set = Object.entries(fields).filter(([, value]) => value !== undefined);
  await redis.command("HSET", meta, ...set.flatMap(([name, value]) => [name, String(value)]));
  for (const { first, last, text } of entries) {
    const id = /^\d{1,15}$/.test(String(last)) ? `${last}-0` : "*";
    // An id that is not above the last one is refused, and the entry is missing then.
    await redis.command("XADD", events, id, "f", String(first), "d", String(text));
  }
  if (!garbage.isFree || chance() < 0.6) return;
  const key = chance() < 0.5 ? meta : events;
  await pick(chance, [
    () => otherType(site, key, chance),
    () => redis.command("XADD", events, "*", "f", "9"),
    () => redis.command("DEL", key),
  ])();
}

async function garbageSite(site: Site): Promise<GarbageSite> {
  const { redis, prefix } = site;
  const machines = await site.machines();
  const leases = await redis.command(
    "EVAL",
    "return redis.call('KEYS', ARGV[1])[1]",
    "0",
    `${prefix}process:*`,
  );
  const processes = [leases.trim().split(":").at(-1)!, "unknown"];
  return {
    machines,
    paced: (count, everyMs) => new Paced(count, everyMs),
    sleep,
    put: (garbage, chance) => put(site, garbage, chance),
    chat: async (key, value, chance) => {
      const name = `${prefix}chat:${key}`;
      if (chance() < 0.1) await otherType(site, name, chance);
      else await redis.command("SET", name, value);
    },
    lease: async (processId, ms) => {
      await redis.command("SET", `${prefix}process:${processId}`, "1", "PX", `${ms + 1}`);
    },
    processes: () => processes,
    say: async (processId, message) => {
      await redis.command("PUBLISH", `${prefix}inbox:${processId}`, message);
    },
  };
}

const SEED = Number(process.env["SEED"] ?? 0);
if (isLong) {
  const count = SEED > 0 ? 1 : 300;
  siteTest(
    `garbage in Redis, ${count} seeds: a named failure, and nobody else notices`,
    async (site) => attack(await garbageSite(site), { first: SEED || 1, count, atOnce: 100 }),
  );
}

afterSites();
