/** Machines on a fake store and a fake clock: minutes of outages and leases pass in a moment. */
import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import { SharedLog, type SharedLogOptions } from "../../lib/replay/shared/shared_log.ts";
import { total } from "./child.ts";
import { FakeClock } from "./fake_clock.ts";
import { FakeServer, FakeStore, type FakeStoreOptions } from "./fake_store.ts";
import { Machine, Paced } from "./machines.ts";

/** A machine whose process can be killed. */
export class FakeMachine extends Machine {
  readonly store: FakeStore;

  constructor(server: FakeServer, { onCall, ...options }: FakeMachineOptions) {
    const store = new FakeStore(server, onCall && { onCall });
    const { clock } = server;
    const outages: unknown[] = [];
    const onError = (error: unknown) => void outages.push(error);
    super({ log: new SharedLog(store, { clock, onError, ...options }), clock, outages });
    this.store = store;
  }

  /** It does nothing any more, as a process that was killed. */
  kill(): void {
    this.store.isCut = true;
  }
}

export type FakeMachineOptions = SharedLogOptions & FakeStoreOptions;

/** What a test of machines has. */
export interface FakeSite {
  readonly clock: FakeClock;
  readonly server: FakeServer;
  machine(options?: FakeMachineOptions): FakeMachine;
  machines(options?: FakeMachineOptions): [FakeMachine, FakeMachine];
  /** A source of numbered tokens, at a pace of the clock. */
  paced(count: number, everyMs: number, pad?: number): Paced;
  sleep(ms: number): Promise<void>;
  until(holds: () => boolean | Promise<boolean>, ms: number, what: string): Promise<void>;
}

const unhandled: unknown[] = [];
process.on("unhandledRejection", (error) => void unhandled.push(error));

/** A test of machines. Time passes whenever nothing else is left to do. */
export function fakeTest(name: string, run: (site: FakeSite) => Promise<void>): void {
  test(name, async () => {
    const before = total(active);
    const clock = new FakeClock();
    const server = new FakeServer(clock);
    const all: FakeMachine[] = [];
    const machine = (options: FakeMachineOptions = {}) => {
      all.push(new FakeMachine(server, options));
      return all.at(-1)!;
    };
    const site: FakeSite = {
      clock,
      server,
      machine,
      machines: (options) => [machine(options), machine(options)],
      paced: (count, everyMs, pad = 0) => new Paced(count, everyMs, pad, clock),
      sleep: (ms) => clock.sleep(ms),
      async until(holds, ms, what) {
        const deadline = clock.now() + ms;
        while (!await holds()) {
          if (clock.now() >= deadline) throw new Error(`Not within ${ms} ms: ${what}`);
          await clock.sleep(1);
        }
      },
    };
    const end = async () => {
      for (const machine of all) await machine.leave();
      for (const machine of all) await machine.close();
    };
    try {
      await clock.during(run(site), 600_000);
    } finally {
      await clock.during(end());
    }
    // The grace of those that nobody reads any more.
    await clock.advance(60_000);
    assert.equal(total(active), before, JSON.stringify(active));
    assert.deepEqual(unhandled.splice(0), []);
  });
}
