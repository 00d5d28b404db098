/**
 * The producers that every JavaScript subject shares: the five burst shapes, the paced and the idle one, and the
 * query that chooses among them. A subject's own file then holds nothing but what its documentation recommends.
 *
 * `generator` and `sync` are iterables, to be handed to whatever the subject iterates; `queue`, `micro` and `macro`
 * are callbacks that `feed` makes: all tokens in one go, or groups of ten with a microtask or a macrotask between.
 */
import process from "node:process";
import { setImmediate } from "node:timers";
import { Corpus, SEED } from "./inputs.ts";

export type Shape = "generator" | "sync" | "queue" | "micro" | "macro" | "paced" | "idle";
export type FormatName = "text" | "json" | "openai" | "anthropic" | "ui-message";
export type Query = { shape: Shape; n: number; format: FormatName };

/** Token boundaries repeat after this many; a longer stream begins again, with fresh strings. */
const CORPUS_TOKENS = 1000;
const GROUP = 10;
/** The tokens of every producer. */
export const corpus: Corpus = new Corpus(CORPUS_TOKENS, SEED);

let lastUrl = "";
let lastQuery: Query = { shape: "generator", n: 0, format: "text" };

/** The query of a request's URL; the last answer is kept, for the load generator sends one URL over and over. */
export function query(url: string): Query {
  if (url === lastUrl) return lastQuery;
  const parameters = new URL(url, "http://localhost").searchParams;
  lastUrl = url;
  return lastQuery = {
    shape: (parameters.get("shape") ?? "generator") as Shape,
    n: Number(parameters.get("n") ?? 1000),
    format: (parameters.get("format") ?? "text") as FormatName,
  };
}

/** Whether the shape is one to iterate asynchronously; the others are `sync` or come through `feed`. */
export function iterates(shape: Shape): boolean {
  return shape === "generator" || shape === "paced" || shape === "idle";
}

/** The tokens of the shape as an async generator: as fast as they are asked for, 50 a second, or one and then silence. */
export function generate({ shape, n }: Query): AsyncGenerator<string, void> {
  return shape === "paced" ? paced(n) : shape === "idle" ? idle() : burst(n);
}

async function* burst(n: number): AsyncGenerator<string, void> {
  for (let i = 0; i < n; i++) yield corpus.token(i);
}

/** The tokens as a synchronous iterable. */
export function* iterate(n: number): Generator<string, void> {
  for (let i = 0; i < n; i++) yield corpus.token(i);
}

/** Calls `send` with every token, as a library's callbacks would, in the manner of the shape. Waits for no `send`. */
export async function feed({ shape, n }: Query, send: (token: string) => unknown): Promise<void> {
  for (let i = 0; i < n; i++) {
    send(corpus.token(i));
    if (shape !== "queue" && i % GROUP === GROUP - 1) await pause(shape);
  }
}

/** The same for libraries whose documentation awaits each send. */
export async function feedWaiting(
  { shape, n }: Query,
  send: (token: string) => Promise<unknown>,
): Promise<void> {
  for (let i = 0; i < n; i++) {
    await send(corpus.token(i));
    if (shape !== "queue" && i % GROUP === GROUP - 1) await pause(shape);
  }
}

/** The moment between two groups: a turn of the event loop for `macro`, else one microtask. */
export function pause(shape: Shape): Promise<void> {
  return shape === "macro" ? new Promise((resolve) => setImmediate(resolve)) : Promise.resolve();
}

async function* idle(): AsyncGenerator<string, void> {
  yield corpus.token(0);
  await new Promise(() => {});
}

// --- paced -----------------------------------------------------------------------------------------------------------

/** Tokens of one paced stream per second, and the wheel's slots in that time: a stream owns one slot. */
const PERIOD_MS = 20;

/**
 * Wall-clock milliseconds at `performance.now() === 0`, found by watching `Date.now()` tick over:
 * `performance.timeOrigin` is up to 1.5 ms off on Deno, which is more than what is measured.
 */
function calibrate(): number {
  let latest = -Infinity; // every disturbance makes a reading too early, none too late
  for (let tries = 0; tries < 8; tries++) {
    const before = Date.now();
    let now = before;
    while (now === before) now = Date.now();
    latest = Math.max(latest, now - performance.now());
  }
  return latest;
}

let origin = 0;

/** Wall-clock milliseconds with microseconds behind the point, the same in every process of the machine. */
export function wallClock(): number {
  origin ||= calibrate();
  return origin + performance.now();
}

/** A token that carries its scheduled time: `@` and the microseconds of the last 1,000 seconds, nine digits. */
export function stamp(scheduledMs: number): string {
  return `@${String(Math.floor(scheduledMs * 1000) % 1e9).padStart(9, "0")}`;
}

/** A timer fires up to a millisecond late for reasons of its own, the same for every subject: that much is forgiven. */
const TIMER_MS = 1;

type Slot = ((scheduled: number) => void)[];

/** One timer for all streams: a tick every millisecond, at which a twentieth of them gets its token. */
class Wheel {
  #slots: Slot[] = Array.from({ length: PERIOD_MS }, () => []);
  #streams = 0;
  #tick = Math.ceil(wallClock());

  constructor() {
    this.#wait();
  }

  /** Streams take the slots in turn, so that every tick has as many. */
  nextSlot(): number {
    return this.#streams++ % PERIOD_MS;
  }

  /** The first moment of a slot that lies ahead. */
  firstDue(slot: number): number {
    return Math.ceil((this.#tick + 1 - slot) / PERIOD_MS) * PERIOD_MS + slot;
  }

  /** Whether the wheel has passed `due`: the token is late already and must not wait. */
  passed(due: number): boolean {
    return due < this.#tick;
  }

  /** Calls back at the next moment of the slot. */
  at(slot: number, callback: (scheduled: number) => void): void {
    this.#slots[slot]!.push(callback);
  }

  #wait(): void {
    setTimeout(() => this.#turn(), Math.max(0, this.#tick - wallClock()));
  }

  #turn(): void {
    for (const now = wallClock(); this.#tick <= now; this.#tick++) {
      const slot = this.#tick % PERIOD_MS;
      const due = this.#slots[slot]!;
      if (due.length === 0) continue;
      this.#slots[slot] = [];
      const scheduled = Math.min(now, this.#tick + TIMER_MS);
      for (const callback of due) callback(scheduled);
    }
    this.#wait();
  }
}

let wheel: Wheel | undefined;

/** A stream's tokens at their scheduled times; one that is late follows at once, and keeps its scheduled time. */
async function* paced(n: number): AsyncGenerator<string, void> {
  wheel ??= new Wheel();
  const shared = wheel;
  const slot = shared.nextSlot();
  let due = shared.firstDue(slot);
  for (let i = 0; i < n; i++, due += PERIOD_MS) {
    if (shared.passed(due)) yield stamp(due);
    else yield stamp(await new Promise<number>((resolve) => shared.at(slot, resolve)));
  }
}

/** The same schedule as a callback, for the native floor; `send` answers whether to go on. */
export function pace(send: (token: string) => boolean): void {
  wheel ??= new Wheel();
  const shared = wheel;
  const slot = shared.nextSlot();
  const turn = (scheduled: number) => {
    if (send(stamp(scheduled))) shared.at(slot, turn);
  };
  shared.at(slot, turn);
}

// --- the process -----------------------------------------------------------------------------------------------------

/** The port the runner chose. */
export const port: number = Number(process.env["PORT"] ?? 8000);

/** Tells the runner that the server listens; SIGUSR2 collects garbage, so that memory is compared after a collection. */
export function ready(): void {
  const { gc, Bun } = globalThis as { gc?: () => void; Bun?: { gc(sync: boolean): void } };
  process.on("SIGUSR2", () => Bun === undefined ? gc?.() : Bun.gc(true));
  console.log(`ready ${port}`);
}

/** Serves a fetch handler on the runtime's own server. */
export function serve(fetch: (request: Request) => Response | Promise<Response>): void {
  const { Bun, Deno } = globalThis as {
    Bun?: { serve(options: object): unknown };
    Deno?: { serve(options: object, handler: unknown): unknown };
  };
  if (Bun !== undefined) {
    Bun.serve({ port, hostname: "127.0.0.1", idleTimeout: 0, fetch });
  } else Deno!.serve({ port, hostname: "127.0.0.1", onListen: () => {} }, fetch);
  ready();
}

/** The headers of the subjects that set their own. */
export const EVENT_STREAM: Record<string, string> = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache",
};
