/**
 * A world that repeats itself: all that happens in it is a step, and the steps follow from one seed.
 * Time stands still while a step runs, and moves on to the next timer of any clock when all that it has
 * set going has come to rest.
 *
 * What a step settles runs as microtasks and hops of the runtime's event loop. Their order within one
 * step may differ between runtimes; what a step leads to may not, so each part of the world draws its
 * chance from a generator of its own, and no two timers are due at one time unless one part has set both.
 */
import { setImmediate } from "node:timers";
import { type Clock, enter, leave, schedule } from "../../../lib/pipeline/scheduler.ts";
import { random } from "../../support/random.ts";

/** A rule of the log that does not hold. */
export class Violation extends Error {
  override readonly name = "Violation";
}

/** Turns of the event loop without news after which a step has come to rest. */
const QUIET_TURNS = 1;
/** Turns of one step from which it will never come to rest. */
const MAX_TURNS = 100_000;

interface Timer {
  readonly dueMs: number;
  readonly run: () => void;
}

/** One clock of the world: it runs a little fast or slow, and stands still with its process. */
export class SimClock implements Clock {
  readonly #world: World;
  readonly #chance: () => number;
  /** Those that are armed, the next one first; due by this clock. */
  readonly #timers: Timer[] = [];
  #sinceMs = 0;
  #baseMs = 0;
  #rate = 1;
  /** The time at which the last timer was due: rounding never leads back behind it. */
  #leastMs = 0;
  /** Whether its timers wait. */
  isFrozen = false;

  constructor(world: World, name: string) {
    this.#world = world;
    this.#chance = world.chance(`clock ${name}`);
    this.#sinceMs = world.nowMs;
  }

  /** How fast it runs. */
  get rate(): number {
    return this.#rate;
  }

  set rate(rate: number) {
    this.#baseMs = this.now();
    this.#sinceMs = this.#world.nowMs;
    this.#rate = rate;
  }

  /** Number of timers that are armed. */
  get armed(): number {
    return this.#timers.length;
  }

  /** When its next timer is due, by the world's time. */
  get nextMs(): number {
    const next = this.#timers[0];
    if (next === undefined || this.isFrozen) return Infinity;
    return this.#sinceMs + (next.dueMs - this.#baseMs) / this.#rate;
  }

  now(): number {
    const ms = this.#baseMs + (this.#world.nowMs - this.#sinceMs) * this.#rate;
    return Math.max(ms, this.#leastMs);
  }

  setTimer(run: () => void, ms: number): unknown {
    this.#world.stir();
    const timer: Timer = { run, dueMs: this.now() + Math.max(0, ms) };
    let at = this.#timers.length;
    while (at > 0 && this.#timers[at - 1]!.dueMs > timer.dueMs) at--;
    this.#timers.splice(at, 0, timer);
    return timer;
  }

  clearTimer(timer: unknown): void {
    const at = this.#timers.indexOf(timer as Timer);
    if (at < 0) return;
    this.#world.stir();
    this.#timers.splice(at, 1);
  }

  /** What spreads retries. */
  random(): number {
    return this.#chance();
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.setTimer(resolve, ms));
  }

  /** Runs the next timer. */
  fire(): void {
    const { dueMs, run } = this.#timers.shift()!;
    this.#leastMs = Math.max(this.#leastMs, dueMs);
    run();
  }
}

/** Where all of it happens. */
export class World {
  readonly seed: number;
  /** The clock of what is no process: the store, the network, the clients. */
  readonly clock: SimClock;
  nowMs = 0;
  /** Number of timers that have run. */
  step = 0;
  /** The first rule that did not hold. */
  violation: Error | undefined;
  readonly #clocks: SimClock[] = [];
  readonly #print: ((line: string) => void) | undefined;
  #stirred = 0;
  #digest = 0;

  /** @param print Called with each line of the trace. */
  constructor(seed: number, print?: (line: string) => void) {
    this.seed = seed;
    this.#print = print;
    this.clock = this.newClock("world");
  }

  newClock(name: string): SimClock {
    const clock = new SimClock(this, name);
    this.#clocks.push(clock);
    return clock;
  }

  /** A generator of chance of its own, for a part that nothing else draws from. */
  chance(name: string): () => number {
    return random(hash(name, this.seed));
  }

  /** Called when anything happens: a step is at rest when nothing does any more. */
  stir(): void {
    this.#stirred++;
  }

  /** Writes a line of the trace. Its lines of one step count in any order. */
  tell(who: string, what: string): void {
    this.#stirred++;
    const line = `${this.step} ${this.nowMs.toFixed(3)} ${who} ${what}`;
    this.#digest = (this.#digest + hash(line, 7)) | 0;
    this.#print?.(line);
  }

  /** Writes a line that is no part of the digest: what a runtime may do in another way. */
  note(who: string, what: string): void {
    this.#stirred++;
    this.#print?.(`${this.step} ${this.nowMs.toFixed(3)} ${who} ${what}`);
  }

  /** A number for the trace so far: two runs with the same one have taken the same steps. */
  get digest(): string {
    return (this.#digest >>> 0).toString(16).padStart(8, "0");
  }

  /** Says that a rule does not hold. The run ends with the first one. */
  fail(who: string, what: string): void {
    this.tell(who, `VIOLATION ${what}`);
    this.violation ??= new Violation(`${who}: ${what}`);
  }

  /** Runs something beside all else; its failure is that of the run. */
  spawn(who: string, work: Promise<unknown>): void {
    work.catch((error) => {
      this.tell(who, `VIOLATION ${error}`);
      this.violation ??= error;
    });
  }

  /** Takes step after step until `holds` does. */
  async until(holds: () => boolean, limitMs: number, what: string): Promise<void> {
    const endMs = this.nowMs + limitMs;
    enter();
    try {
      for (await this.#rest(); !holds(); await this.#rest()) {
        const clock = this.#next();
        if (clock === undefined || clock.nextMs > endMs) {
          throw new Violation(`Not within ${limitMs} ms: ${what}`);
        }
        this.nowMs = Math.max(this.nowMs, clock.nextMs);
        this.step++;
        clock.fire();
      }
    } finally {
      leave();
    }
  }

  /** Whether no timer is armed on any clock. */
  get isStill(): boolean {
    return this.#clocks.every(({ armed }) => armed === 0);
  }

  #next(): SimClock | undefined {
    let next: SimClock | undefined;
    for (const clock of this.#clocks) {
      if (clock.nextMs < (next?.nextMs ?? Infinity)) next = clock;
    }
    return next;
  }

  /** Lets all that is under way come to rest. */
  async #rest(): Promise<void> {
    for (let quiet = 0, turns = 0; quiet < QUIET_TURNS; turns++) {
      const before = this.#stirred;
      // Through the hop of the streams themselves, so that theirs have been made. On Deno it may come
      // before the last microtasks.
      await new Promise<void>((resolve) => schedule({ due: false, run: resolve }));
      await new Promise<void>((resolve) => void setImmediate(resolve));
      quiet = this.#stirred === before ? quiet + 1 : 0;
      if (this.violation !== undefined) throw this.violation;
      if (turns > MAX_TURNS) throw new Violation("A step does not come to rest");
    }
  }
}

/** FNV-1a of the text's units, from a start. */
function hash(text: string, start: number): number {
  let value = Math.imul(start ^ 0x811c9dc5, 0x01000193);
  for (let i = 0; i < text.length; i++) {
    value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  }
  return value ^ (value >>> 15);
}

/** A number from `from` to `to`, more often small than large. */
export function spread(chance: () => number, from: number, to: number): number {
  return from + (to - from) * chance() ** 2;
}
