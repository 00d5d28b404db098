/** What a rule of the contract is given: the log under test, sources, and clients that ask. */
import assert from "node:assert/strict";
import { active } from "../../../lib/counters.ts";
import { respond, type StreamExtras } from "../../../lib/http/sse.ts";
import {
  type AsyncQueue,
  type Item,
  resume,
  type ResumeOptions,
  type Source,
  type SourceContext,
  sse,
  type SseOptions,
  stop,
  type StreamReport,
} from "../../../mod.ts";
import { total } from "../../support/child.ts";
import { until } from "../../support/serve.ts";
import { Reading } from "../../support/event_reader.ts";
import type { BaseLog } from "../../../lib/replay/base_log.ts";

/** The limits that a rule may set; a log ignores those that it has not. */
export interface Limits {
  maxStreamBytes?: number;
  maxStreamEvents?: number;
  maxBytes?: number;
  keepMs?: number;
}

/** Limits, and whether the rule is about what happens in time. */
export interface RuleOptions extends Limits {
  isTimed?: boolean;
}

/** A log under test. */
export interface Made {
  /** Where generations are recorded. */
  readonly log: BaseLog;
  /** The same streams as seen from another machine; the same object where there is but one. */
  readonly elsewhere: BaseLog;
  close(): void | Promise<void>;
}

/** What not every log can do. */
export interface Abilities {
  /** Whether it has a limit in all (`maxBytes`). */
  readonly limitedInAll: boolean;
  /** Whether a reader who is there when a stream expires still gets all of it. */
  readonly outlastsExpiry?: boolean;
}

export const PATIENCE_MS = 10_000;
export const STREAMING = "http://localhost/streaming";
export const KIB = 1024;
/** The smallest limit per stream that logs take. */
export const SMALL: Limits = { maxStreamBytes: 128 * KIB };

export const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));
export const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms));

/** How a reader asks. */
export interface Asking {
  method?: string;
  /** `Last-Event-ID`, or the number in it. */
  after?: string | number;
  query?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export function asking(
  { method = "GET", after, query = "", headers = {}, signal }: Asking,
): Request {
  const all = after === undefined ? headers : { ...headers, "last-event-id": String(after) };
  return new Request(STREAMING + query, { method, headers: all, ...signal && { signal } });
}

/** A source that gives what the test tells it to. */
export class Tap {
  queue!: AsyncQueue<Item>;
  signal!: AbortSignal;
  starts = 0;

  readonly source = ({ queue, signal }: SourceContext): void => {
    this.starts++;
    this.queue = queue;
    this.signal = signal;
  };

  send(...items: Item[]): void {
    for (const item of items) this.queue.send(item);
  }
}

/** A source that goes on for ever, or to `count`, as fast as it may, and counts what it was asked for. */
export class Counter {
  made = 0;
  starts = 0;
  signal: AbortSignal | undefined;
  readonly #count: number;
  readonly #length: number;

  constructor(length: number, count?: number) {
    this.#count = count ?? Infinity;
    this.#length = length;
  }

  readonly source: (context: SourceContext) => AsyncGenerator<string> = async function* (
    this: Counter,
    { signal }: SourceContext,
  ) {
    this.starts++;
    this.signal = signal;
    while (this.made < this.#count) yield this.token(this.made++);
  }.bind(this);

  token(number: number): string {
    return `${number} `.padEnd(this.#length, "x");
  }

  /** The text of the first `count` tokens. */
  text(count: number): string {
    return Array.from({ length: count }, (_, i) => this.token(i)).join("");
  }

  get bytes(): number {
    return this.made * this.#length;
  }

  /** Waits until it is held back: a while goes by without a token. */
  async waits(): Promise<void> {
    for (let made = -1; made !== this.made;) {
      made = this.made;
      await sleep(30);
    }
  }
}

/** A log, and what was told of the generations in it. */
export class Scene {
  readonly log: BaseLog;
  readonly elsewhere: BaseLog;
  readonly reports: StreamReport[] = [];
  readonly errors: unknown[] = [];
  readonly #readings: Reading[] = [];
  readonly #before = total(active);

  constructor({ log, elsewhere }: Made) {
    this.log = log;
    this.elsewhere = elsewhere;
  }

  get options(): SseOptions {
    return {
      log: this.log,
      onClose: (report) => void this.reports.push(report),
      onError: (error) => void this.errors.push(error),
    };
  }

  /** Starts a generation, with its first reader. */
  async start(
    source: Source<undefined>,
    options: SseOptions = {},
    how: Asking = {},
    extras?: StreamExtras,
  ): Promise<Reading> {
    const request = asking({ method: "POST", ...how });
    const all = { ...this.options, ...options };
    return this.#reads(
      await (extras ? respond(request, source, all, extras) : sse(request, source, all)),
    );
  }

  /** A reader that comes to a stream, or comes back to it. */
  async join(
    stream: string | Reading | undefined,
    how: Asking = {},
    options: Partial<ResumeOptions> = {},
  ): Promise<Reading> {
    const streamId = stream instanceof Reading ? stream.streamId : stream;
    const after = typeof how.after === "number" ? `${streamId}.${how.after}` : how.after;
    const asked = asking(after === undefined ? how : { ...how, after });
    const named = streamId === undefined ? options : { streamId, ...options };
    return this.#reads(await resume(asked, { log: this.elsewhere, ...named }));
  }

  #reads(response: Response): Reading {
    return this.reads(new Reading(response));
  }

  /** Remembers a reading, which leaves at the end of the rule. */
  reads(reading: Reading): Reading {
    this.#readings.push(reading);
    return reading;
  }

  stop(stream: string | Reading, owner?: string, reason?: string): Promise<boolean> {
    const streamId = stream instanceof Reading ? stream.streamId : stream;
    return stop({
      log: this.elsewhere,
      streamId,
      ...owner === undefined ? {} : { owner },
      ...reason === undefined ? {} : { reason },
    });
  }

  /** A generation of `items` that was read to its end. */
  async finished(
    items: Iterable<Item>,
    options: SseOptions = {},
    how: Asking = {},
  ): Promise<Reading> {
    const reading = await (await this.start(items, options, how)).rest();
    assert.equal(reading.end, "whole");
    await this.ended(reading);
    return reading;
  }

  /** The end is known wherever it is asked for. */
  async ended(stream: string | Reading): Promise<void> {
    const streamId = stream instanceof Reading ? stream.streamId : stream;
    await this.eventually(
      async () => (await this.elsewhere.find(streamId))?.endEvent !== undefined,
      "its end",
    );
  }

  async eventually(holds: () => Promise<boolean>, what: string): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!await holds()) {
      assert(performance.now() < deadline, `Not within ${PATIENCE_MS} ms: ${what}`);
      await sleep(2);
    }
  }

  /** How the generations ended so far. */
  get outcomes(): string[] {
    return this.reports.map(({ outcome, code }) =>
      code === undefined ? outcome : `${outcome} ${code}`
    );
  }

  /** Waits for the end of so many generations. */
  async closed(count = 1): Promise<string[]> {
    await until(() => this.reports.length >= count, PATIENCE_MS, `${count} ends`);
    return this.outcomes;
  }

  /** All readers leave. */
  leave(): void {
    for (const reading of this.#readings) void reading.leave();
  }

  async close(): Promise<void> {
    this.leave();
    // What a rule that broke has left must not break the next.
    await until(() => total(active) <= this.#before, PATIENCE_MS, "nothing left").catch((error) => {
      throw new Error(`${error.message}: ${JSON.stringify(active)}`);
    });
  }
}

/** Every event has come, each in its place. */
export function assertContiguous({ blocks }: Reading): void {
  const wrong = blocks.findIndex(({ number }, i) => number !== i + 1);
  assert(wrong < 0, `event ${wrong + 1} is number ${blocks[wrong]?.number}`);
}

/** Registers one rule: a test of a log with these limits. */
export type Rule = (
  title: string,
  run: (scene: Scene) => Promise<void>,
  limits?: RuleOptions,
  skip?: boolean,
) => void;
