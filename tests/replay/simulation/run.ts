/** One run of the simulation: a seed makes a site, a storm of faults, and the calm in which all has to end well. */
import { active } from "../../../lib/counters.ts";
import { total } from "../../support/child.ts";
import { FakeServer } from "../../support/fake_store.ts";
import { int, pick } from "../../support/random.ts";
import { Client, stopStream } from "./client.ts";
import { FAULTS, weatherOf } from "./faults.ts";
import { CALM, type Weather } from "./network.ts";
import { LEASE_MS, Process, type Site } from "./process.ts";
import { SimStream } from "./stream.ts";
import { spread, Violation, World } from "./world.ts";

/** How long the calm may take, in ms: the longest wait of the log is that of a lost store. */
const CALM_MS = 150_000;
/** How long a process remembers a stream, and more. */
const END_MS = 700_000;
/** How long readers elsewhere count after their process has fallen silent in an outage, and more, in ms. */
const SILENCE_MS = 80_000;

/** What a run has come to. */
export interface Outcome {
  readonly seed: number;
  readonly steps: number;
  /** Two runs with the same one have taken the same steps. */
  readonly digest: string;
  /** How the clients ended, and how often. */
  readonly ends: ReadonlyMap<string, number>;
}

/** A run that has failed: it names its seed and step. */
export class FailedRun extends Error {
  override readonly name = "FailedRun";
  readonly seed: number;
  readonly step: number;

  constructor({ seed, step, nowMs }: World, cause: unknown) {
    const what = cause instanceof Violation
      ? cause.message
      : cause instanceof Error
      ? cause.stack
      : cause;
    super(`seed ${seed}, step ${step}, ${nowMs.toFixed(3)} ms: ${what}`, { cause });
    this.seed = seed;
    this.step = step;
  }
}

/**
 * Runs one seed to its end.
 *
 * @param print Called with each line of its trace.
 * @throws {FailedRun} If a rule does not hold.
 */
export async function simulate(seed: number, print?: (line: string) => void): Promise<Outcome> {
  const run = new Run(new World(seed, print));
  try {
    await run.play();
  } catch (error) {
    throw new FailedRun(run.world, error);
  }
  const { world: { step, digest }, clients } = run;
  const ends = new Map<string, number>();
  for (const { outcome } of clients) ends.set(outcome!, (ends.get(outcome!) ?? 0) + 1);
  return { seed, steps: step, digest, ends };
}

/** A run. */
export class Run implements Site {
  readonly world: World;
  readonly server: FakeServer;
  readonly keepMs: number;
  readonly stallMs: number;
  readonly processes: Process[] = [];
  readonly streams: SimStream[] = [];
  readonly clients: Client[] = [];
  /** Whether the storm is over: no more faults, and no client leaves without need. */
  isCalm = false;
  readonly #chance: () => number;
  readonly #stormMs: number;
  readonly #weather: Weather;
  #booted = 0;

  constructor(world: World) {
    this.world = world;
    const chance = this.#chance = world.chance("run");
    this.server = new FakeServer(world.clock);
    this.keepMs = pick(chance, [20_000, 300_000]);
    this.stallMs = pick(chance, [5000, 60_000]);
    this.#stormMs = pick(chance, [5000, 15_000, 30_000, 60_000]);
    this.#weather = chance() < 0.3 ? CALM : weatherOf(chance);
  }

  async play(): Promise<void> {
    const { world } = this;
    const before = total(active);
    const chance = this.#chance;
    for (let i = 2 + int(chance, 3); i > 0; i--) this.boot();
    for (let i = 1 + int(chance, 5); i > 0; i--) world.spawn("stream", this.#stream(i));
    world.spawn("storm", this.#storm());
    await world.until(
      () => world.nowMs >= this.#stormMs,
      this.#stormMs + 1000,
      "the storm is over",
    );
    this.#calm();
    await this.#finish();
    await this.#audit();
    await this.#close();
    const left = total(active) - before;
    if (left !== 0) throw new Violation(`left behind: ${JSON.stringify(active)}`);
    const { size } = this.server.listeners;
    if (size !== 0) throw new Violation(`left behind: ${size} subscriptions`);
    for (const { id, starts, isKnown } of this.streams) {
      if (isKnown && starts !== 1) throw new Violation(`${id} was started ${starts} times`);
    }
  }

  /** Starts a process. */
  boot(): void {
    const process = new Process(`p${++this.#booted}`, this);
    if (!this.isCalm) process.network.weather = this.#weather;
    this.processes.push(process);
  }

  /** Waits, but not beyond the storm. */
  sleep(ms: number): Promise<void> {
    const leftMs = this.#stormMs - this.world.nowMs;
    // A little before its end, so that nothing is broken in the calm.
    return this.world.clock.sleep(Math.max(0, Math.min(ms, leftMs - 1 - this.#chance())));
  }

  /** The store has lost everything. */
  lost(): void {
    for (const stream of this.streams) stream.lose();
  }

  /** A process that a balancer may send a client to. */
  anyProcess(chance: () => number): Process | undefined {
    const there = this.processes.filter(({ isGone }) => !isGone);
    return there.length === 0 ? undefined : pick(chance, there);
  }

  isStored({ id }: SimStream): boolean {
    return this.server.kept(id) !== undefined;
  }

  /** Whether a stream was kept for as long as it had to be. */
  isForgotten({ overMs, lostMs }: SimStream): boolean {
    return this.world.nowMs - Math.min(overMs, lostMs) > this.keepMs * 0.95;
  }

  get losesMessages(): boolean {
    return this.#weather.messageLost > 0 || this.#weather.messageLate > 0;
  }

  /** Whether a process may believe that a stream has no reader for as long as it goes on without. */
  mayBeAbandoned(stream: SimStream): boolean {
    const { continueForMs, longestAloneMs } = stream;
    if (continueForMs === Infinity) return false;
    const sinceMs = this.world.nowMs - SILENCE_MS;
    return longestAloneMs + 500 >= continueForMs || this.losesMessages ||
      this.processes.some(({ isGone, troubleMs }) => !isGone && troubleMs >= sinceMs);
  }

  /** The shortest time, in ms, that a process may take for a stall: its clock may run fast. */
  get leastStallMs(): number {
    return this.stallMs * 0.85;
  }

  /** Whether a client of a stream may have stalled, or a process that stood still believes so. */
  mayBeStalled({ longestPauseMs }: SimStream): boolean {
    const freezes = this.processes.map(({ longestFreezeMs }) => longestFreezeMs);
    return Math.max(longestPauseMs, ...freezes) >= this.leastStallMs;
  }

  isLost(streamId: string): boolean {
    return this.streams.some(({ id, isLost }) => id === streamId && isLost);
  }

  /** A stream was marked as lost: was it? */
  marked(
    by: Process,
    { streamId, producerId }: { streamId: string; producerId: string },
    sentMs: number,
  ): void {
    const { world } = this;
    const stream = this.streams.find(({ id }) => id === streamId)!;
    const producer = this.processes.find(({ network }) => network.producerId === producerId)!;
    world.tell(by.name, `marks ${streamId} of ${producer.name} as lost`);
    stream.isLost = true;
    stream.lostMs = world.nowMs;
    const quietMs = world.nowMs - producer.troubleMs;
    if (stream.isLossy) return;
    if (by === producer) {
      if (quietMs > this.keepMs + LEASE_MS) {
        world.fail(by.name, `it gives up ${streamId} of its own`);
      }
      return;
    }
    if (producer.state !== "up") return;
    if (quietMs > LEASE_MS * 1.05) {
      world.fail(by.name, `it calls ${producer.name} lost, with which nothing was wrong`);
    }
    if (sentMs - by.network.failedBefore(sentMs) < LEASE_MS * 0.95) {
      world.fail(by.name, `it calls ${producer.name} lost, and had lost the store itself`);
    }
  }

  /** One stream and all that happens to it. */
  async #stream(number: number): Promise<void> {
    const { world } = this;
    const chance = world.chance(`plan ${number}`);
    await this.sleep(chance() * this.#stormMs * 0.8);
    const process = this.anyProcess(chance);
    if (process === undefined) return;
    const stream = new SimStream(world, number);
    this.streams.push(stream);
    const first = this.#client(`${stream.id} first`, stream);
    world.spawn(first.name, first.start(process));
    for (let i = 1 + int(chance, 3); i > 0; i--) {
      await this.sleep(spread(chance, 0, 8000));
      if (!stream.isKnown) continue;
      const after = chance() < 0.3 ? int(chance, stream.seenEvents) : 0;
      const client = this.#client(`${stream.id} ${i}`, stream, after);
      world.spawn(client.name, client.join());
    }
    if (chance() < 0.3) {
      await this.sleep(spread(chance, 0, 5000));
      if (stream.isKnown) await stopStream(`stop ${stream.id}`, this, stream);
    }
  }

  #client(name: string, stream: SimStream, after = 0): Client {
    const client = new Client(name, this, stream, after);
    this.clients.push(client);
    return client;
  }

  async #storm(): Promise<void> {
    const { world } = this;
    const chance = world.chance("storm");
    const faults = Object.keys(FAULTS).filter(() => chance() < 0.4);
    if (faults.length === 0) return;
    const meanMs = pick(chance, [500, 2000, 8000]);
    for (;;) {
      await this.sleep(meanMs * (0.2 + 1.6 * chance()));
      if (world.nowMs >= this.#stormMs - 5) return;
      const name = pick(chance, faults);
      const lasting = FAULTS[name]!(this, chance);
      if (lasting !== undefined) world.spawn(name, lasting);
    }
  }

  #calm(): void {
    const { server, world } = this;
    world.tell("run", "calm");
    this.isCalm = true;
    server.isDown = false;
    server.full = undefined;
    server.rejected.clear();
    for (const process of this.processes) {
      process.thaw();
      process.network.cut = undefined;
      process.network.slowMs = 0;
      process.network.weather = CALM;
    }
    this.boot();
    this.boot();
  }

  /** All clients come to their end. */
  async #finish(): Promise<void> {
    const { world } = this;
    world.spawn("run", this.#stopEndless());
    const waiting = () => this.clients.filter(({ outcome }) => outcome === undefined);
    try {
      await world.until(() => waiting().length === 0 && this.#isOver, CALM_MS, "");
    } catch (error) {
      const what = waiting().map(({ name }) => name).join(", ") || "streams go on";
      if (error instanceof Violation && error === world.violation) throw error;
      throw new Violation(`${(error as Error).message} all clients end: ${what}`, { cause: error });
    }
  }

  /** Whether no process that runs has a generation that goes on. */
  get #isOver(): boolean {
    return this.streams.every(({ isOver, starts, producer }) =>
      isOver || starts === 0 || producer!.isGone
    );
  }

  async #stopEndless(): Promise<void> {
    for (let i = 0; !this.#isOver; i++) {
      await this.world.clock.sleep(3000 + this.#chance());
      for (const stream of this.streams) {
        const { count, starts, isOver, producer } = stream;
        if (count < Infinity || starts === 0 || isOver || producer!.isGone) continue;
        await stopStream(`end ${i} ${stream.id}`, this, stream);
      }
    }
  }

  /** What has ended well is there for who comes now. */
  async #audit(): Promise<void> {
    const { world } = this;
    const flushed = Promise.all(
      this.processes.filter(({ isUp }) => isUp).map(({ log }) => log.flush({ timeoutMs: 20_000 })),
    );
    let isFlushed: boolean[] | undefined;
    world.spawn("run", flushed.then((all) => isFlushed = all));
    await world.until(() => isFlushed !== undefined, 30_000, "all is written");
    if (isFlushed!.includes(false)) {
      throw new Violation("the store is up, and something is not written");
    }
    const auditors = this.streams.filter((stream) => this.#isThere(stream)).map((stream) => {
      const client = this.#client(`${stream.id} audit`, stream);
      world.spawn(client.name, client.join());
      return client;
    });
    await world.until(
      () => auditors.every(({ outcome }) => outcome !== undefined),
      60_000,
      "audit",
    );
    for (const { name, outcome } of auditors) {
      if (!/^(done|failed)/.test(outcome!)) throw new Violation(`${name} gets ${outcome}`);
    }
  }

  /** Whether all of a stream has to be there: it ended where it was made, not long ago. */
  #isThere({ isKnown, isHoled, isLost, producer, overMs, lossMs }: SimStream): boolean {
    return isKnown && !isHoled && overMs > lossMs && !isLost && producer!.isUp &&
      this.world.nowMs - overMs < this.keepMs / 2;
  }

  async #close(): Promise<void> {
    const { world, processes } = this;
    const ended = (async () => {
      for (const process of processes) await process.drain(1000);
      for (const process of processes) await process.bury();
    })();
    let isClosed = false;
    world.spawn("run", ended.then(() => isClosed = true));
    await world.until(() => isClosed && world.isStill, END_MS, "all is closed");
  }
}
