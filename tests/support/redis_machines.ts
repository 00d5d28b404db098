/** Machines that share a real Redis: each is a `RedisLog` with a client of its own, all in the test's process. */
import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import { RedisLog, type RedisLogOptions } from "../../mod.ts";
import { total } from "./child.ts";
import { Machine } from "./machines.ts";
import { type Connect, connectClient, noRedis, RedisServer } from "./redis_server.ts";
import { until } from "./serve.ts";

/** Whether the long set is run, as by `npm run test:redis`. */
export const isLong: boolean = process.env.LONG === "1";

/** How a machine is set up. */
export interface MachineOptions extends RedisLogOptions {
  /** Where its Redis is. */
  url?: string;
  /** What client it has. */
  connect?: Connect;
}

export type RedisMachine = Machine<RedisLog>;

export function redisMachine(
  { connect = connectClient, url = "", ...options }: MachineOptions,
): RedisMachine {
  const { connection, close } = connect(url);
  const outages: unknown[] = [];
  const onError = (error: unknown) => void outages.push(error);
  return new Machine({ log: new RedisLog(connection, { onError, ...options }), outages, close });
}

/** What a test of machines has. */
export interface Site {
  readonly redis: RedisServer;
  readonly prefix: string;
  /** One more machine, which hears what is said to it. */
  machine(options?: MachineOptions): Promise<RedisMachine>;
  machines(options?: MachineOptions): Promise<[RedisMachine, RedisMachine]>;
  /** Closed when the test is over, after the machines. */
  add<T extends { close(): unknown }>(closable: T): T;
}

let prefixes = 0;

/** What a test wants. */
export interface SiteOptions {
  /** A Redis of its own, that it may kill. */
  own?: boolean;
  /** One that finds its data again when it is started again. */
  persistent?: boolean;
  /** To be alone, for it measures. */
  alone?: boolean;
}

/** These tests wait more than they work: so many of a file are under way at once. */
const AT_ONCE = 4;
let free = AT_ONCE;
const queue: (() => void)[] = [];
const underWay: Promise<void>[] = [];
const unhandled: unknown[] = [];
process.on("unhandledRejection", (error) => void unhandled.push(error));

/** Runs `run` when it is its turn. */
async function inTurn(run: () => Promise<void>): Promise<void> {
  if (free === 0) await new Promise<void>((resolve) => queue.push(resolve));
  else free--;
  try {
    await run();
  } finally {
    const next = queue.shift();
    if (next === undefined) free++;
    else next();
  }
}

/** A test of machines; `afterSites` closes a file of them. */
export function siteTest(
  name: string,
  run: (site: Site) => Promise<void>,
  { own = false, persistent = false, alone = false }: SiteOptions = {},
): void {
  const all = async () => {
    const redis = own ? await RedisServer.start(persistent) : await sharedRedis();
    try {
      await runSite(redis, run);
    } finally {
      if (own) await redis.remove();
    }
  };
  const options = { skip: noRedis, timeout: 120_000 };
  if (noRedis || alone) {
    test(name, options, async () => {
      await Promise.allSettled(underWay);
      await all();
    });
    return;
  }
  const done = inTurn(all);
  // The test says so in its turn.
  done.catch(() => {});
  underWay.push(done);
  test(name, options, () => done);
}

async function runSite(redis: RedisServer, run: (site: Site) => Promise<void>): Promise<void> {
  const prefix = `site${prefixes++}:`;
  const all: RedisMachine[] = [];
  const closables: { close(): unknown }[] = [];
  const site: Site = {
    redis,
    prefix,
    add(closable) {
      closables.push(closable);
      return closable;
    },
    async machine(options = {}) {
      const machine = redisMachine({ url: redis.url, prefix, ...options });
      all.push(machine);
      if (options.url === undefined) await redis.listeners(prefix, all.length);
      return machine;
    },
    machines: async (options) => [await site.machine(options), await site.machine(options)],
  };
  try {
    await run(site);
  } finally {
    for (const machine of all) await machine.leave();
    for (const machine of all) await machine.close();
    for (const closable of closables) await closable.close();
  }
}

/** The last test of a file: nothing is left behind. */
export function afterSites(): void {
  test("nothing is left of all that", { skip: noRedis, timeout: 60_000 }, async () => {
    await Promise.allSettled(underWay);
    await removeSharedRedis();
    await until(() => total(active) === 0, 15_000, "nothing left").catch((error) => {
      throw new Error(`${error.message}: ${JSON.stringify(active)}`);
    });
    assert.deepEqual(unhandled, []);
  });
}

let shared: Promise<RedisServer> | undefined;

/** The Redis of all tests of a file that leave it alone. */
export function sharedRedis(): Promise<RedisServer> {
  return shared ??= RedisServer.start();
}

/** Ends it; called when the tests of a file are over. */
export async function removeSharedRedis(): Promise<void> {
  await (await shared)?.remove();
  shared = undefined;
}
