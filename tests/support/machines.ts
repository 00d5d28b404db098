/** Machines that share a store, and nothing else: each has a `SharedLog` of its own, all in the test's process. */
import assert from "node:assert/strict";
import { type Clock, systemClock } from "../../lib/pipeline/scheduler.ts";
import type { SharedLog } from "../../lib/replay/shared/shared_log.ts";
import {
  resume,
  type ResumeOptions,
  type Source,
  sse,
  type SseOptions,
  stop,
  type StreamReport,
} from "../../mod.ts";
import { Reading, same } from "./event_reader.ts";
import { int, random } from "./random.ts";

/** Resolves after `ms` of a clock. */
export function sleep(ms: number, clock: Clock = systemClock): Promise<void> {
  return new Promise((resolve) => void clock.setTimer(resolve, ms));
}

/** What a machine is made of. */
export interface MachineInit<Log extends SharedLog = SharedLog> {
  readonly log: Log;
  readonly clock?: Clock;
  /** What was reported of its store. */
  readonly outages: unknown[];
  close?(): unknown;
}

/** One of them. */
export class Machine<Log extends SharedLog = SharedLog> {
  readonly log: Log;
  readonly reports: StreamReport[] = [];
  readonly outages: unknown[];
  readonly #clock: Clock;
  readonly #close: (() => unknown) | undefined;
  readonly #readings: Reading[] = [];

  constructor({ log, clock = systemClock, outages, close }: MachineInit<Log>) {
    this.log = log;
    this.outages = outages;
    this.#clock = clock;
    this.#close = close;
  }

  /** Starts a generation, with its first reader. */
  async start(source: Source<undefined>, options: SseOptions = {}): Promise<Reading> {
    const request = new Request("http://localhost/streaming", { method: "POST" });
    return this.#reads(
      await sse(request, source, {
        log: this.log,
        clock: this.#clock,
        onClose: (report) => void this.reports.push(report),
        onError: () => {},
        ...options,
      }),
    );
  }

  /** A generation's answer, recorded or not, for who reads it in another way. */
  answer(source: Source<undefined>, isLogged: boolean): Promise<Response> {
    const request = new Request("http://localhost/streaming", { method: "POST" });
    return sse(request, source, { clock: this.#clock, ...isLogged ? { log: this.log } : {} });
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
    const all = { log: this.log, clock: this.#clock, streamId, ...options };
    return this.#reads(await resume(request, all));
  }

  /** A reader of a stream that has begun on another machine just now. */
  async meet(stream: string | Reading, after?: number, method = "GET"): Promise<Reading> {
    const streamId = typeof stream === "string" ? stream : stream.streamId;
    const deadline = this.#clock.now() + 5000;
    while (await this.knows(streamId) === "not" && this.#clock.now() < deadline) {
      await sleep(1, this.#clock);
    }
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
    if (found === undefined) return "not";
    return found.endEvent === undefined && !found.isLost ? "live" : "ended";
  }

  /** Its readers leave. */
  async leave(): Promise<void> {
    for (const reading of this.#readings.splice(0)) await reading.leave();
  }

  async close(): Promise<void> {
    await this.log.close();
    await this.#close?.();
  }
}

/** A source of numbered tokens, at a pace. */
export class Paced {
  starts = 0;
  made = 0;
  signal: AbortSignal | undefined;
  readonly #count: number;
  readonly #everyMs: number;
  readonly #pad: number;
  readonly #clock: Clock;

  constructor(count: number, everyMs: number, pad = 0, clock: Clock = systemClock) {
    this.#count = count;
    this.#everyMs = everyMs;
    this.#pad = pad;
    this.#clock = clock;
  }

  readonly source: Source<undefined> = ({ signal }) => {
    this.starts++;
    this.signal = signal;
    return this.#make(signal);
  };

  async *#make(signal: AbortSignal): AsyncGenerator<string, void, undefined> {
    while (this.made < this.#count && !signal.aborted) {
      yield this.token(this.made++);
      await sleep(this.#everyMs, this.#clock);
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

/**
 * Cuts the readers of streams on two machines at random, so often, and lets each come back to any
 * machine: what they get is exact, and each source was started once.
 */
export async function cutAtRandom(
  machines: readonly [Machine, Machine],
  count: number,
  clock: Clock = systemClock,
): Promise<void> {
  const chance = random(17);
  const counts = { cuts: 0 };
  while (counts.cuts < count) {
    const sources: Paced[] = [];
    await Promise.all(Array.from({ length: 25 }, async (_, i) => {
      const tokens = new Paced(60, int(chance, 12), i % 3 === 0 ? 40 : 0, clock);
      sources.push(tokens);
      const format = i % 5 === 4 ? "text" : "json";
      const first = await machines[i % 2]!.start(tokens.source, { format });
      const uncut = machines[(i + 1) % 2]!.meet(first);
      const written = await readThroughCuts(machines, first, chance, counts);
      same(written, (await (await uncut).rest()).written, `stream ${i}`);
      if (format === "json") {
        const text = written.matchAll(/^data: \{"token":(.*)\}$/gm);
        same([...text].map(([, token]) => JSON.parse(token!)).join(""), tokens.text());
      }
    }));
    assert(sources.every(({ starts }) => starts === 1));
  }
  assert.deepEqual(machines.map(({ outages }) => outages), [[], []]);
}

/** Reads a stream as clients do that are cut off time and again, and come back to any machine. */
async function readThroughCuts(
  machines: readonly Machine[],
  first: Reading,
  chance: () => number,
  counts: { cuts: number },
): Promise<string> {
  const { streamId } = first;
  let written = "";
  let last = 0;
  for (let reading = first;;) {
    const most = chance() < 0.3 ? 60 : 2500;
    const atByte = int(chance, most);
    await reading.until(() => reading.body.length >= atByte);
    // What a client has of an event that was cut in two is nothing.
    for (const block of reading.blocks) {
      written += block.text;
      last = block.number!;
    }
    if (written.includes("event: done")) return written;
    await reading.leave();
    counts.cuts++;
    const machine = machines[int(chance, machines.length)]!;
    const method = chance() < 0.5 ? "GET" : "POST";
    // With a position from the first event on, as a client has it.
    reading = await machine.meet(streamId, last === 0 ? undefined : last, method);
    if (reading.status === 204) return written;
    assert.equal(reading.status, 200, reading.body);
  }
}
