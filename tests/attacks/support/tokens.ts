/** What the servers under attack stream: the tokens that a query's first word asks for. */
import { connect } from "node:net";
import process from "node:process";
import type { AttackSettings } from "./victim.ts";

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The words of a query, or `endless`, `flood`, `slow [count] [ms]`, `ticks`. */
export async function* tokensOf(
  query: string,
  signal: { readonly aborted: boolean },
): AsyncGenerator<string, void, undefined> {
  const [kind, ...rest] = query.split(" ");
  if (kind === "endless") {
    while (!signal.aborted) {
      yield "token ";
      await pause(10);
    }
  } else if (kind === "flood") {
    while (!signal.aborted) yield "x".repeat(1024);
  } else if (kind === "slow") {
    const [count = "20", ms = "20"] = rest;
    for (let at = 0; at < Number(count); at++) {
      yield `${at} `;
      await pause(Number(ms));
    }
  } else if (kind === "ticks") yield* ticks();
  else yield* query.split(/(?<= )/);
}

/** A stream has a token in each so many ticks: two a second. */
export const TICKS_APART = 500;
/** Characters of such a token: `@` and the number of its tick. */
export const TICK_LENGTH = 8;
/** What the load sends for a tick, and when the streams are to end with the last tick before it. */
export const TICK = ".";
export const LAST_TICK = "!";

type Waiting = (() => void)[];

/**
 * The source of all streams of `ticks`: a byte each millisecond, through a socket from the load, as a
 * model's tokens would come. So only the load's clock counts.
 */
class Ticks {
  /** How many have come. */
  count = 0;
  /** How many the streams take. */
  endCount = Infinity;
  readonly #waiting: Waiting[] = Array.from({ length: TICKS_APART }, () => []);
  #streams = 0;

  constructor(port: number) {
    connect(port, "127.0.0.1")
      .on("data", (bytes) => {
        for (const byte of bytes) {
          if (byte === LAST_TICK.charCodeAt(0)) this.endCount = this.count;
          else this.#turn();
        }
      })
      .on("error", () => {}); // The load has ended, and this process will.
  }

  /** The first tick of a further stream; streams take the ticks in turn. */
  first(): number {
    const slot = this.#streams++ % TICKS_APART;
    return Math.ceil((this.count - slot) / TICKS_APART) * TICKS_APART + slot;
  }

  /** Resolves when a tick that is at most `TICKS_APART` away has come. */
  wait(tick: number): Promise<void> {
    return new Promise((resolve) => this.#waiting[tick % TICKS_APART]!.push(resolve));
  }

  #turn(): void {
    const slot = this.count++ % TICKS_APART;
    const due = this.#waiting[slot]!;
    if (due.length === 0) return;
    this.#waiting[slot] = [];
    for (const go of due) go();
  }
}

let shared: Ticks | undefined;

async function* ticks(): AsyncGenerator<string, void, undefined> {
  const { ticksPort } = JSON.parse(process.env["ATTACK"] ?? "{}") as AttackSettings;
  shared ??= new Ticks(ticksPort!);
  for (let tick = shared.first();; tick += TICKS_APART) {
    if (tick >= shared.count) await shared.wait(tick);
    if (tick >= shared.endCount) return;
    yield `@${String(tick).padStart(TICK_LENGTH - 1, "0")}`;
  }
}
