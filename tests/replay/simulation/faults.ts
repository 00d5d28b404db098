/** What can befall the processes, the network and the store of a simulation. Each lasts a while, and is over with the storm. */
import { int, pick } from "../../support/random.ts";
import type { Cut, Weather } from "./network.ts";
import type { Process } from "./process.ts";
import type { Run } from "./run.ts";
import { spread } from "./world.ts";

type Fault = (run: Run, chance: () => number) => Promise<void> | void;

/** The faults, by their names. A run has about half of them. */
export const FAULTS: Readonly<Record<string, Fault>> = {
  kill(run, chance) {
    const victim = onePicked(run, chance);
    if (victim === undefined) return;
    victim.kill();
    return restart(run, chance);
  },
  drain(run, chance) {
    const victim = onePicked(run, chance);
    if (victim === undefined) return;
    run.world.spawn(victim.name, victim.drain(chance() < 0.2 ? 0 : 5000));
    return restart(run, chance);
  },
  async freeze(run, chance) {
    const victim = onePicked(run, chance);
    if (victim === undefined) return;
    victim.freeze();
    await run.sleep(lasting(chance));
    victim.thaw();
  },
  async cut(run, chance) {
    const victim = onePicked(run, chance);
    if (victim === undefined || victim.network.cut !== undefined) return;
    const cut: Cut = pick(chance, ["refused", "requests", "responses", "messages"]);
    run.world.tell(victim.name, `is cut off: ${cut}`);
    victim.network.cut = cut;
    await run.sleep(lasting(chance));
    victim.network.cut = undefined;
    run.world.tell(victim.name, "is no longer cut off");
  },
  async slow(run, chance) {
    const victim = onePicked(run, chance);
    if (victim === undefined) return;
    victim.network.slowMs = spread(chance, 20, 5000);
    run.world.tell(victim.name, `is ${victim.network.slowMs.toFixed(0)} ms from the store`);
    await run.sleep(spread(chance, 500, 15_000));
    victim.network.slowMs = 0;
  },
  drift(run, chance) {
    const victim = onePicked(run, chance);
    if (victim === undefined) return;
    victim.clock.rate = 0.97 + 0.06 * chance();
    run.world.tell(victim.name, `its clock runs at ${victim.clock.rate.toFixed(3)}`);
  },
  /** It stops to hear messages, and is not told. */
  deafen(run, chance) {
    const victim = onePicked(run, chance);
    if (victim === undefined) return;
    run.world.tell(victim.name, "has lost its subscription");
    run.server.listeners.delete(victim.network.producerId!);
  },
  async outage(run, chance) {
    await outage(run, chance, () => {
      run.world.tell("store", "is back");
      run.server.isDown = false;
    });
  },
  /** Its leases are gone, and its listeners. */
  async restart(run, chance) {
    await outage(run, chance, () => {
      run.world.tell("store", "is restarted");
      run.server.start(true);
    });
  },
  async wipe(run, chance) {
    await outage(run, chance, () => {
      run.lost();
      run.world.tell("store", "is restarted without its data");
      run.server.start(false);
    });
  },
  flush(run) {
    run.lost();
    run.world.tell("store", "is flushed");
    run.server.flush();
  },
  /** A hole, or the last second of a stream. */
  hole(run, chance) {
    const kept = run.streams.filter((stream) =>
      (run.server.kept(stream.id)?.pieces.length ?? 0) > 0
    );
    if (kept.length === 0) return;
    const stream = pick(chance, kept);
    stream.lose();
    const { pieces } = run.server.kept(stream.id)!;
    if (chance() < 0.5) {
      const at = int(chance, pieces.length);
      run.world.tell("store", `loses ${stream.id}.${pieces[at]!.first} to ${pieces[at]!.last}`);
      pieces.splice(at, 1);
      stream.isHoled = true;
    } else {
      const count = 1 + int(chance, pieces.length);
      run.world.tell("store", `loses the last ${count} pieces of ${stream.id}`);
      run.server.loseLast(stream.id, count);
    }
  },
  async full(run, chance) {
    run.world.tell("store", "is full");
    run.server.full = "The store is out of memory";
    await run.sleep(spread(chance, 100, 20_000));
    run.server.full = undefined;
  },
  async reject(run, chance) {
    if (run.streams.length === 0) return;
    const { id } = pick(chance, run.streams);
    run.world.tell("store", `rejects ${id}`);
    run.server.rejected.add(id);
    await run.sleep(spread(chance, 100, 10_000));
    run.server.rejected.delete(id);
  },
};

function onePicked(run: Run, chance: () => number): Process | undefined {
  const up = run.processes.filter(({ isUp }) => isUp);
  return up.length === 0 ? undefined : pick(chance, up);
}

/** A moment, or longer than a lease. */
function lasting(chance: () => number): number {
  return chance() < 0.5 ? spread(chance, 50, 4000) : 9000 + 36_000 * chance() ** 2;
}

async function restart(run: Run, chance: () => number): Promise<void> {
  await run.sleep(spread(chance, 10, 15_000));
  run.boot();
}

async function outage(run: Run, chance: () => number, end: () => void): Promise<void> {
  const { server, world } = run;
  if (server.isDown) return;
  world.tell("store", "is away");
  server.isDown = true;
  if (chance() < 0.5) server.listeners.clear();
  await run.sleep(lasting(chance));
  end();
}

/** How bad the network of a run is: mostly fine in most ways. */
export function weatherOf(chance: () => number): Weather {
  const some = (most: number) => chance() < 0.4 ? most * chance() : 0;
  return {
    late: some(0.1),
    lost: some(0.05),
    twice: some(0.3),
    messageLost: some(0.7),
    messageTwice: some(0.5),
    messageLate: some(0.5),
  };
}
