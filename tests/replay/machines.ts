/**
 * Machines that share a Redis: each a `RedisLog` with a client of its own, all in the test's process.
 * What a machine has in common with another one is what is in Redis, and no more.
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
import { total } from "../child.ts";
import { until } from "../serve.ts";
import { Reading } from "./reading.ts";
import { type Connect, connectClient, noRedis, RedisServer } from "./redis_server.ts";

/** Whether the long set is run: `LONG=1`. */
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

  /** A reader that comes to a stream, with the last event that it has. */
  async join(
    streamId: string,
    after?: number,
    options: Partial<ResumeOptions> = {},
    method = "GET",
  ): Promise<Reading> {
    const headers: HeadersInit = after === undefined
      ? {}
      : { "last-event-id": `${streamId}.${after}` };
    const request = new Request("http://localhost/streaming", { method, headers });
    return this.#reads(await resume(request, { log: this.log, streamId, ...options }));
  }

  /** A reader of a stream that has begun on another machine just now. */
  async meet(first: Reading, options: Partial<ResumeOptions> = {}): Promise<Reading> {
    const deadline = performance.now() + 5000;
    while (await this.knows(first.streamId) === "not" && performance.now() < deadline) {
      await sleep(1);
    }
    return this.join(first.streamId, undefined, options);
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

/** What Redis a test wants. */
export interface SiteOptions {
  /** One of its own, that it may kill. */
  own?: boolean;
  /** One that finds its data again when it is started again. */
  persistent?: boolean;
  skip?: string | boolean;
}

/**
 * A test with a Redis that is there, or with one of its own (`own`) that may be killed, and with
 * `persistent` finds its data again. At the end nothing may be left behind.
 */
export function siteTest(
  name: string,
  run: (site: Site) => Promise<void>,
  { own = false, persistent = false, skip = false }: SiteOptions = {},
): void {
  test(name, { skip: noRedis || skip, timeout: 120_000 }, async () => {
    const redis = own ? await RedisServer.start(persistent) : await sharedRedis();
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
    const unhandled: unknown[] = [];
    const note = (error: unknown) => void unhandled.push(error);
    process.on("unhandledRejection", note);
    try {
      await run(site);
      for (const machine of all) await machine.leave();
      await until(() => total(active) === 0, 10_000, "nothing left").catch((error) => {
        throw new Error(`${error.message}: ${JSON.stringify(active)}`);
      });
      assert.deepEqual(unhandled, []);
    } finally {
      for (const machine of all) await machine.leave().catch(() => {});
      for (const machine of all) await machine.close();
      for (const closable of closables) closable.close();
      process.off("unhandledRejection", note);
      if (own) await redis.remove();
    }
  });
}

let shared: Promise<RedisServer> | undefined;

/** The Redis of all tests of a file that leave it alone. */
export function sharedRedis(): Promise<RedisServer> {
  return shared ??= RedisServer.start();
}

/** Ends it; a file calls this when its tests are over. */
export async function removeSharedRedis(): Promise<void> {
  await (await shared)?.remove();
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
