/**
 * Everything that can happen to a stream, in seeded random orders: whatever the order, it ends
 * exactly once, delivers an exact beginning of what was sent, and leaves nothing behind.
 */
import assert from "node:assert/strict";
import process from "node:process";
import test, { after, before } from "node:test";
import { active } from "../../lib/counters.ts";
import { StreamError } from "../../lib/error.ts";
import { sse } from "../../lib/http/sse.ts";
import type { Item } from "../../lib/item.ts";
import { AsyncQueue } from "../../lib/pipeline/queue.ts";
import type { Source, SourceContext } from "../../lib/pipeline/pump.ts";
import { EventDecoder } from "../../lib/sse/decode.ts";
import type { ServerSentEvent } from "../../lib/sse/event.ts";
import type { StreamReport } from "../../lib/pipeline/generation.ts";
import { FakeClock, longTurn } from "../support/fake_clock.ts";
import { total } from "../support/child.ts";
import { int, pick, random } from "../support/random.ts";

const RUNS = 600;
const BATCH = 20;

const OPERATIONS = [
  "send",
  "send",
  "send",
  "send much",
  "push much",
  "structured",
  "close",
  "fail",
  "read",
  "read",
  "read",
  "cancel",
  "abort",
  "cancel queue",
  "heartbeat",
  "stall",
  "turn",
  "turn",
  "in one turn",
] as const;
const KINDS = ["producer", "plain producer", "generator", "own queue", "stuck generator"] as const;

const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);
const clock = new FakeClock();
before(() => process.on("unhandledRejection", note));
after(() => process.off("unhandledRejection", note));

/** A few turns of the event loop, with all that waits in them. */
async function turn(count = 1): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** What `promises` come to; none of them may wait for ever. */
function settled<T>(promises: Promise<T>[]): Promise<T[]> {
  const never = async () => {
    await turn(20);
    // Deno's scheduler may hop through a timer.
    for (let i = 0; i < 5; i++) await longTurn();
    throw new Error("a promise was left waiting");
  };
  return Promise.race([Promise.all(promises), never()]);
}

/** One stream and everything that is done to it. */
class Run {
  readonly done: string[] = [];
  readonly sent: string[] = [];
  readonly answers: Promise<boolean>[] = [];
  readonly reports: StreamReport[] = [];
  readonly reads: Promise<unknown>[] = [];
  readonly #chance: () => number;
  readonly #abort = new AbortController();
  readonly #decoder = new EventDecoder();
  readonly events: ServerSentEvent[] = [];
  readonly #queue: AsyncQueue<Item> = new AsyncQueue<Item>();
  #target: AsyncQueue<Item> | undefined;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #opened: Promise<void>;
  #finish: () => void = () => {};
  /** Nobody but the source itself can end the queue that it keeps to itself. */
  #own = false;
  #dropped = false;
  signal: AbortSignal | undefined;

  constructor(seed: number) {
    this.#chance = random(seed);
    const chance = this.#chance;
    const kind = pick(chance, KINDS);
    const request = new Request("http://localhost/", { signal: this.#abort.signal });
    const options = {
      commitAfterMs: pick(chance, [0, 100, 250]),
      heartbeatMs: pick(chance, [0, 100]),
      stallMs: pick(chance, [0, 300]),
      onClose: (report: StreamReport) => void this.reports.push(report),
      onError: () => {},
    };
    this.done.push(kind, JSON.stringify(options));
    if (chance() < 0.05) this.#abort.abort();
    this.#opened = sse(request, this.#source(kind), { ...options, clock }).then((response) => {
      if (response.status === 200) {
        this.#reader = response.body!.getReader() as ReadableStreamDefaultReader<Uint8Array>;
      }
    });
  }

  #source(kind: typeof KINDS[number]): Source<undefined> {
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve;
    });
    const begin = ({ queue, signal }: SourceContext) => {
      this.#target = queue;
      this.signal = signal;
    };
    switch (kind) {
      case "producer":
        return async (context) => {
          begin(context);
          await finished;
        };
      case "plain producer":
        return begin;
      case "own queue":
        this.#target = this.#queue;
        this.#own = true;
        return () => {
          this.#own = false;
          return this.#queue;
        };
      case "generator": {
        // What is sent to the queue is yielded, so that the pump pulls in between.
        const queue = this.#queue;
        this.#target = queue;
        this.#own = true;
        return async function* () {
          yield* queue;
        };
      }
      case "stuck generator":
        return async function* (this: Run, context: SourceContext) {
          begin(context);
          yield "";
          await new Promise(() => {});
        }.bind(this);
    }
  }

  async step(): Promise<void> {
    const operation = pick(this.#chance, OPERATIONS);
    this.done.push(operation);
    if (operation === "in one turn") {
      for (let i = int(this.#chance, 5); i > 0; i--) {
        const inner = pick(this.#chance, OPERATIONS);
        this.done.push(`  ${inner}`);
        if (inner !== "turn" && inner !== "in one turn") this.#do(inner);
      }
    } else if (operation === "turn") await turn();
    else this.#do(operation);
    if (this.#chance() < 0.5) await turn();
  }

  #do(operation: Exclude<typeof OPERATIONS[number], "turn" | "in one turn">): void {
    switch (operation) {
      case "send":
        return this.#send(`${this.sent.length} `);
      case "send much":
        return this.#send(`${this.sent.length} ${"x".repeat(70_000)} `);
      case "push much":
        for (let i = 0; i < 12; i++) this.#send(`${this.sent.length} ${"y".repeat(60_000)} `);
        return;
      case "structured":
        void this.#target?.send({ event: "note", data: this.sent.length });
        return;
      case "close":
        this.#finish();
        return this.#target?.close();
      case "fail":
        return this.#target?.fail(pick(this.#chance, [new Error("broken"), "broken", undefined]));
      case "read":
        return this.#read();
      case "cancel":
        return this.#cancel();
      case "abort":
        return this.#abort.abort();
      case "cancel queue":
        this.#dropped = true;
        return this.#target?.cancel(new StreamError("stopped"));
      case "heartbeat":
        return clock.tick(100);
      case "stall":
        return clock.tick(350);
    }
  }

  #send(token: string): void {
    if (this.#target === undefined) return;
    this.answers.push(this.#target.send(token));
    this.sent.push(token);
  }

  #read(): void {
    this.reads.push(
      this.#reader?.read().then(
        ({ value }) => void this.#decoder.feed(value ?? new Uint8Array(), this.events),
        () => "broken off",
      ) ?? Promise.resolve(),
    );
  }

  #cancel(): void {
    // It rejects where the body had been broken off.
    this.reads.push(this.#reader?.cancel().catch(() => {}) ?? Promise.resolve());
  }

  /** Brings the stream to its end, one way or another. */
  async end(): Promise<void> {
    const way = pick(this.#chance, ["read", "cancel", "abort"] as const);
    this.done.push(`end: ${way}`);
    this.#finish();
    if (this.#chance() < 0.5) this.#target?.close();
    clock.tick(250);
    await turn(3);
    if (way === "read") {
      this.#target?.close();
      this.#finish();
      for (let i = 0; i < 40 && this.reports.length === 0; i++) {
        this.#read();
        await turn();
      }
    }
    if (way === "cancel") this.#cancel();
    await turn(2);
    // A source that is stuck for ever ends with its reader at the latest.
    this.#abort.abort();
    await turn(3);
    await settled([this.#opened]);
    for (let i = 0; i < 50; i++) this.#read();
    this.#finish();
    if (this.#own) this.#queue.cancel(new StreamError("stopped"));
    await settled(this.reads);
  }

  /** What must hold after the end, whatever came before it. */
  async check(): Promise<void> {
    assert.equal(this.reports.length, 1, "onClose exactly once");
    const { outcome, tokens } = this.reports[0]!;
    const answers = await settled(this.answers);
    if (outcome !== "completed" && this.signal !== undefined) assert(this.signal.aborted);
    const last = answers.lastIndexOf(true);
    const names = this.events.map(({ event }) => event);
    const texts = this.events.filter(({ event }) => event === "message")
      .map(({ data }) => JSON.parse(data).token as string);
    texts.forEach((text, i) => assert(text === this.sent[i], `token ${i} is in its place`));
    const ends = names.filter((name) => name === "done" || name === "failed");
    assert(ends.length <= 1, `one end: ${names}`);
    if (ends.length === 1) assert.equal(names.at(-1), ends[0], "nothing follows the end");
    if (ends[0] === "done") {
      assert.equal(outcome, "completed");
      assert.equal(texts.length, tokens);
      // A queue that its own reader's side cancelled has dropped what it held, and that is no end of ours.
      if (!(this.#own && this.#dropped)) {
        assert(last < texts.length, "what was accepted before a good end was delivered");
      }
    }
    if (ends[0] === "failed") assert.notEqual(outcome, "completed");
  }
}

for (let from = 0; from < RUNS; from += BATCH) {
  test(`sse() leaves zero behind: seeds ${from + 1} to ${from + BATCH}`, async () => {
    for (let seed = from + 1; seed <= from + BATCH; seed++) {
      const run = new Run(seed);
      try {
        // Some ask before the source has begun.
        if (seed % 3 > 0) await turn(2);
        for (let i = 4 + (seed % 20); i > 0; i--) await run.step();
        await run.end();
        await run.check();
        await turn(3);
        assert.deepEqual(unhandled, []);
        assert.equal(total(active), 0, JSON.stringify(active));
      } catch (error) {
        throw new Error(`seed ${seed}: ${run.done.join(", ")}`, { cause: error });
      }
    }
  });
}

test("streams that run at once end as alone: 300 seeds, 50 at a time", async () => {
  for (let from = 10_000; from < 10_300; from += 50) {
    const runs = Array.from({ length: 50 }, (_, i) => new Run(from + i));
    await turn(2);
    for (let i = 0; i < 15; i++) await Promise.all(runs.map((run) => run.step()));
    await Promise.all(runs.map((run) => run.end()));
    for (const [i, run] of runs.entries()) {
      await run.check().catch((error) => {
        throw new Error(`seed ${from + i}: ${run.done.join(", ")}`, { cause: error });
      });
    }
    await turn(3);
    assert.deepEqual(unhandled, []);
    assert.equal(total(active), 0, `seeds from ${from}: ${JSON.stringify(active)}`);
  }
});
