/**
 * The fuzzer of the store's fields on a fake store; `tests/replay/redis/garbage.interop.ts` has a real
 * Redis. `SEED=n` runs one seed, `COUNT=n` so many.
 */
import process from "node:process";
import { type FakeSite, fakeTest } from "../../support/fake_machines.ts";
import { attack, type Garbage, type GarbageSite } from "./garbage.ts";

type Kept = FakeSite["server"]["streams"] extends Map<string, infer Value> ? Value : never;

/** Numbers are numbers here, and words are what a store has made of other words. */
function numberOf(value: unknown): unknown {
  return /^-?[\d.]+(?:e\d+)?$/.test(String(value)) ? Number(value) : value;
}

function keptOf({ fields, entries }: Garbage): Kept {
  const { by, info, last, end, lost } = fields;
  return {
    producerId: by,
    info,
    last: numberOf(last),
    end: numberOf(end),
    isLost: lost !== undefined,
    untilMs: Infinity,
    pieces: entries.map(({ first, last, text }) => ({
      first: numberOf(first),
      last: numberOf(last),
      text,
    })),
  } as Kept;
}

function garbageSite(site: FakeSite): GarbageSite {
  const { server, clock } = site;
  return {
    machines: site.machines(),
    paced: (count, everyMs) => site.paced(count, everyMs),
    sleep: (ms) => site.sleep(ms),
    put: (garbage) => server.streams.set(garbage.streamId, keptOf(garbage)),
    chat: (key, value) => server.chats.set(key, value),
    lease: (processId, ms) => server.leases.set(processId, clock.now() + ms),
    processes: () => [...server.listeners.keys()],
    say: (processId, message) => server.listeners.get(processId)?.(message),
  };
}

const SEED = Number(process.env["SEED"] ?? 0);
const COUNT = SEED > 0 ? 1 : Number(process.env["COUNT"] ?? 120);
for (let first = SEED || 1; first < (SEED || 1) + COUNT; first += 60) {
  fakeTest(
    `garbage in a store, seeds from ${first}: a named failure, and nobody else notices`,
    (site) => attack(garbageSite(site), { first, count: Math.min(COUNT, 60), atOnce: 20 }),
  );
}
