/**
 * Machines that share a Redis: each is a `RedisLog` with a client of its own, all in the test's process.
 * They share what is in Redis, and nothing else.
 */
import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import {
  RedisLog,
  type RedisLogOptions,
  resume,
  type ResumeOptions,
  type Source,
  sse,
  type SseOptions,
  stop,
  type StreamReport,
} from "../../mod.ts";
import { total } from "./child.ts";
import { until } from "./serve.ts";
import { Reading } from "./event_reader.ts";
import { type Connect, connectClient, noRedis, RedisServer } from "./redis_server.ts";

/** Whether the long set is run, as by `npm run test:redis`. */
export const isLong: boolean = process.env.LONG === "1";

export const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms));

/** How a machine is set up. */
export interface MachineOptions extends RedisLogOptions {
  /** Where its Redis is. */
  url?: string;
  /** What client it has. */
  connect?: Connect;
}

/** One of them. */
export class Machine {
  readonly log: RedisLog;
  readonly reports: StreamReport[] = [];
  /** What was reported of Redis. */
  readonly outages: unknown[] = [];
  readonly #close: () => unknown;
  readonly #readings: Reading[] = [];

  constructor({ connect = connectClient, url = "", ...options }: MachineOptions) {
    const { connection, close } = connect(url);
    this.log = new RedisLog(connection, {
      onError: (error) => void this.outages.push(error),
      ...options,
    });
    this.#close = close;
  }

  /** Starts a generation, with its first reader. */
  async start(source: Source<undefined>, options: SseOptions = {}): Promise<Reading> {
    const request = new Request("http://localhost/streaming", { method: "POST" });
    return this.#reads(
      await sse(request, source, {
        log: this.log,
        onClose: (report) => void this.reports.push(report),
        onError: () => {},
        ...options,
      }),
    );
  }

  /** A generation's answer, recorded or not, for who reads it in another way. */
  answer(source: Source<undefined>, isLogged: boolean): Promise<Response> {
    const request = new Request("http://localhost/streaming", { method: "POST" });
    return sse(request, source, isLogged ? { log: this.log } : {});
  }

  /** A reader that comes to a stream, with the last event that it has. */
  async join(
    streamId: string,
    after?: number | string,
    options: Partial<ResumeOptions> = {},
    method = "GET",
  ): Promise<Reading> {
    const headers: HeadersInit = after === undefined
      ? {}
      : { "last-event-id": typeof after === "string" ? after : `${streamId}.${after}` };
    const request = new Request("http://localhost/streaming", { method, headers });
    return this.#reads(await resume(request, { log: this.log, streamId, ...options }));
  }

  /** A reader of a stream that has begun on another machine just now. */
  async meet(stream: string | Reading, after?: number, method = "GET"): Promise<Reading> {
    const streamId = typeof stream === "string" ? stream : stream.streamId;
    const deadline = performance.now() + 5000;
    while (await this.knows(streamId) === "not" && performance.now() < deadline) await sleep(1);
    return this.join(streamId, after, {}, method);
  }

  #reads(response: Response): Reading {
    const reading = new Reading(response);
    this.#readings.push(reading);
    return reading;
  }

  stop(streamId: string, reason?: string): Promise<boolean> {
    return stop({ log: this.log, streamId, ...reason === undefined ? {} : { reason } });
  }

  /** Whether it finds the stream, and its end. */
  async knows(streamId: string): Promise<"live" | "ended" | "not"> {
    const found = await this.log.find(streamId);
    return found === undefined ? "not" : found.endEvent === undefined ? "live" : "ended";
  }

  /** Its readers leave. */
  async leave(): Promise<void> {
    for (const reading of this.#readings.splice(0)) await reading.leave();
  }

  async close(): Promise<void> {
    await this.log.close();
    await this.#close();
  }
}

/** What a test of machines has. */
export interface Site {
  readonly redis: RedisServer;
  readonly prefix: string;
  /** One more machine, which hears what is said to it. */
  machine(options?: MachineOptions): Promise<Machine>;
  machines(options?: MachineOptions): Promise<[Machine, Machine]>;
  /** Closed when the test is over. */
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
  const all: Machine[] = [];
  const closables: { close(): unknown }[] = [];
  const site: Site = {
    redis,
    prefix,
    add(closable) {
      closables.push(closable);
      return closable;
    },
    async machine(options = {}) {
      const machine = new Machine({ url: redis.url, prefix, ...options });
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
    for (const closable of closables) closable.close();
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

/** A source of numbered tokens, at a pace. */
export class Paced {
  starts = 0;
  made = 0;
  signal: AbortSignal | undefined;
  readonly #count: number;
  readonly #everyMs: number;
  readonly #pad: number;

  constructor(count: number, everyMs: number, pad = 0) {
    this.#count = count;
    this.#everyMs = everyMs;
    this.#pad = pad;
  }

  readonly source: Source<undefined> = ({ signal }) => {
    this.starts++;
    this.signal = signal;
    return this.#make(signal);
  };

  async *#make(signal: AbortSignal): AsyncGenerator<string, void, undefined> {
    while (this.made < this.#count && !signal.aborted) {
      yield this.token(this.made++);
      await sleep(this.#everyMs);
    }
  }

  token(number: number): string {
    return `${number} `.padEnd(this.#pad, "é");
  }

  /** The text of the first `count` tokens. */
  text(count: number = this.#count): string {
    return Array.from({ length: count }, (_, i) => this.token(i)).join("");
  }
}

/** The problem in a `failed` event. */
export function problemIn({ event, data }: { event: string; data: string }): {
  code: string;
  resume?: boolean;
} {
  assert.equal(event, "failed");
  return JSON.parse(data);
}
