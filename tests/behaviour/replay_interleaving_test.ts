/**
 * Everything that can happen to a log, in seeded random orders, against a model that knows what was
 * sent: whatever the order, each reader gets the text from its position without a gap or a repetition,
 * or is told why not; and in the end nothing is left.
 */
import assert from "node:assert/strict";
import process from "node:process";
import test, { after, before } from "node:test";
import { active } from "../../lib/counters.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import {
  AsyncQueue,
  type Item,
  resume,
  type Source,
  sse,
  stop,
  StreamError,
  type StreamReport,
} from "../../mod.ts";
import { type Disconnect } from "../../lib/replay.ts";
import { total } from "../support/child.ts";
import { int, pick, random } from "../support/random.ts";
import { Reading } from "../support/event_reader.ts";
import { FakeClock, longTurn, turn as oneTurn } from "../support/fake_clock.ts";

const RUNS = Number(process.env.SEEDS ?? 600);
const BATCH = 25;
const KIB = 1024;
const KEEP_MS = 1000;
const GRACE = { continueForMs: 500 };
/** What a stream of 128 KiB may be ahead of its limit: a page, and the largest item. */
const SURELY_HELD = 32 * KIB;

const OPERATIONS = [
  ...Array(4).fill("send"),
  ...Array(2).fill("send much"),
  "flood",
  "structured",
  ...Array(6).fill("read"),
  ...Array(3).fill("read on"),
  ...Array(3).fill("join"),
  ...Array(3).fill("come back"),
  "join ahead",
  "join as another",
  ...Array(2).fill("cut"),
  "abort",
  "close",
  "fail",
  "cancel queue",
  "stop",
  "heartbeat",
  "stall",
  "grace",
  "expire",
  "begin",
  "turn",
] as const;
type Operation =
  | "send"
  | "send much"
  | "flood"
  | "structured"
  | "read"
  | "read on"
  | "join"
  | "come back"
  | "join ahead"
  | "join as another"
  | "cut"
  | "abort"
  | "close"
  | "fail"
  | "cancel queue"
  | "stop"
  | "heartbeat"
  | "stall"
  | "grace"
  | "expire"
  | "begin"
  | "turn";
const KINDS = [
  "callbacks",
  "plain callbacks",
  "generator",
  "own queue",
] as const;

const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);
const clock = new FakeClock();
before(() => void process.on("unhandledRejection", note));
after(() => void process.off("unhandledRejection", note));

/** What readers got, and how often: chance has to come to all of it. */
const seen = new Map<string, number>();
function saw(what: string | number): void {
  seen.set(`${what}`, (seen.get(`${what}`) ?? 0) + 1);
}

let turns = 0;

/** A few turns of the event loop, with all that waits in them; each takes a millisecond. */
async function turn(count = 1): Promise<void> {
  for (let i = 0; i < count; i++) {
    await oneTurn();
    turns++;
    clock.tick(1);
  }
}

/** What a promise comes to, in as many turns as it takes; it may not take for ever. */
async function settled<T>(promise: Promise<T>): Promise<T> {
  let isSettled = false;
  const settle = () => void (isSettled = true);
  promise.then(settle, settle);
  for (let i = 0; i < 50 && !isSettled; i++) {
    await turn();
    if (i % 10 === 9) await longTurn();
  }
  if (!isSettled) throw new Error("a promise was left waiting");
  return await promise;
}

/** A generation, and what it was given. */
class Told {
  readonly streamId: string;
  readonly owner: string | undefined;
  /** What each event says, from number 1. */
  readonly items: string[] = [];
  readonly reports: StreamReport[] = [];
  bytes = 0;
  endedMs = 0;
  queue: AsyncQueue<Item> | undefined;
  finish: () => void = () => {};
  /** Whether its first reader left before it was served: then it may be forgotten at once. */
  isUnread = false;
  readonly begunAt: number = turns;

  constructor(streamId: string, owner: string | undefined) {
    this.streamId = streamId;
    this.owner = owner;
  }

  get ended(): boolean {
    return this.reports.length > 0;
  }

  send(item: Item): void {
    const { queue } = this;
    if (queue === undefined || queue.closed) return;
    const data = JSON.stringify(
      typeof item === "string" ? { token: item } : item.data,
    );
    this.items.push(data);
    this.bytes += data.length;
    void queue.send(item);
  }
}

/** A reader, and where it began. */
interface Reader {
  readonly stream: Told;
  readonly after: number;
  readonly asked: { abort: AbortController; method: string };
  reading: Reading | undefined;
  /** Whether it said that it has more than there was. */
  readonly isAhead: boolean;
}

/** One log, and everything that is done to it. */
class Run {
  readonly done: string[] = [];
  readonly #chance: () => number;
  readonly #log: MemoryLog;
  readonly #isTight: boolean;
  readonly #streams: Told[] = [];
  readonly #readers: Reader[] = [];
  readonly #pending: Promise<unknown>[] = [];

  constructor(seed: number) {
    this.#chance = random(seed);
    this.#isTight = this.#chance() < 0.4;
    this.#log = new MemoryLog({
      maxStreamBytes: 128 * KIB,
      keepMs: KEEP_MS,
      clock,
      ...this.#isTight ? { maxBytes: pick(this.#chance, [130, 300]) * KIB } : {},
    });
    this.done.push(this.#isTight ? "tight" : "roomy");
    this.#begin();
  }

  #begin(): void {
    if (this.#streams.length === 4) return;
    const chance = this.#chance;
    const told = new Told(
      `stream-${this.#streams.length}`,
      pick(chance, [undefined, "ann"]),
    );
    this.#streams.push(told);
    const kind = pick(chance, KINDS);
    const options = {
      commitAfterMs: pick(chance, [0, 100]),
      heartbeatMs: pick(chance, [0, 100]),
      stallMs: pick(chance, [0, 0, 300]),
      highWaterMark: pick(chance, [1, 16 * KIB, 64 * KIB]),
      disconnect: pick<Disconnect>(chance, [
        "cancel",
        "continue",
        GRACE,
        GRACE,
      ]),
    };
    this.done.push(kind, JSON.stringify(options));
    const reader = this.#reader(told, 0, "POST");
    const answer = sse(
      new Request("http://localhost/", {
        method: "POST",
        signal: reader.asked.abort.signal,
      }),
      this.#source(kind, told),
      {
        ...options,
        log: this.#log,
        clock,
        streamId: told.streamId,
        ...told.owner === undefined ? {} : { owner: told.owner },
        onClose: (report) => {
          told.reports.push(report);
          told.endedMs = clock.now();
        },
        onError: () => {},
      },
    );
    this.#pending.push(answer.then((response) => {
      reader.reading = new Reading(response);
      saw(`first ${response.status}`);
      // For want of room there is no stream.
      if (response.status === 503) {
        this.#streams.splice(this.#streams.indexOf(told), 1);
      }
    }));
  }

  #source(kind: typeof KINDS[number], told: Told): Source<undefined> {
    const finished = new Promise<void>((resolve) => {
      told.finish = resolve;
    });
    switch (kind) {
      case "callbacks":
        return async ({ queue }) => {
          told.queue = queue;
          await finished;
        };
      case "plain callbacks":
        return ({ queue }) => void (told.queue = queue);
      case "own queue":
        told.queue = new AsyncQueue<Item>();
        return () => told.queue;
      case "generator": {
        // What is sent waits here until the pump pulls it.
        const queue = told.queue = new AsyncQueue<Item>({
          maxBufferedBytes: 2 ** 30,
        });
        return async function* () {
          yield* queue;
        };
      }
    }
  }

  #reader(
    stream: Told,
    after: number,
    method: string,
    isAhead = false,
  ): Reader {
    const asked = { abort: new AbortController(), method };
    const reader: Reader = {
      stream,
      after,
      asked,
      reading: undefined,
      isAhead,
    };
    this.#readers.push(reader);
    return reader;
  }

  async step(): Promise<void> {
    const operation = pick(this.#chance, OPERATIONS) as Operation;
    this.done.push(operation);
    await this.#do(operation);
    if (this.#chance() < 0.6) await turn();
  }

  async #do(operation: Operation): Promise<void> {
    const chance = this.#chance;
    if (operation === "begin") return this.#begin();
    if (operation === "turn") return await turn();
    if (operation === "heartbeat") return clock.tick(100);
    if (operation === "stall") return clock.tick(350);
    if (operation === "grace") return clock.tick(500);
    if (operation === "expire") return clock.tick(KEEP_MS + 100);
    const stream = this.#streams.length > 0 ? pick(chance, this.#streams) : undefined;
    const open = this.#readers.filter(({ reading }) => reading?.end === undefined);
    const reader = open.length > 0 ? pick(chance, open) : undefined;
    switch (operation) {
      case "read":
        return reader && this.#read(reader);
      case "read on":
        for (let i = 0; reader && i < 8; i++) this.#read(reader);
        return;
      case "cut":
        return void reader?.reading?.leave();
      case "abort":
        if (reader?.stream.begunAt === turns) reader.stream.isUnread = true;
        reader?.asked.abort.abort();
        // What it has not read by now, it will not.
        if (reader?.reading !== undefined) await reader.reading.leave();
        return;
    }
    if (stream === undefined) return;
    switch (operation) {
      case "send":
        return stream.send(`${stream.items.length} `);
      case "send much":
        return stream.send(
          `${stream.items.length} ${"x".repeat(int(chance, 30_000))} `,
        );
      case "flood":
        for (let i = 0; i < 300; i++) {
          stream.send(`${stream.items.length} ${"y".repeat(900)} `);
        }
        return;
      case "structured":
        return stream.send({ event: "note", data: stream.items.length });
      case "close":
        stream.finish();
        return stream.queue?.close();
      case "fail":
        return stream.queue?.fail(new Error("broken"));
      case "cancel queue":
        return stream.queue?.cancel(new StreamError("quota"));
      case "stop":
        return await this.#stop(stream);
      case "join":
        return await this.#join(
          stream,
          int(chance, stream.items.length + 1),
          stream.owner,
        );
      case "join ahead":
        return await this.#join(
          stream,
          stream.items.length + 2 + int(chance, 3),
          stream.owner,
        );
      case "join as another":
        return await this.#join(stream, int(chance, 3), "bob");
      case "come back": {
        const gone = this.#readers.filter(({ reading }) => reading?.end === "left");
        if (gone.length === 0) return;
        const { stream, reading, after } = pick(chance, gone);
        return await this.#join(
          stream,
          reading!.blocks.at(-1)?.number ?? after,
          stream.owner,
        );
      }
    }
  }

  #read({ reading }: Reader): void {
    if (reading !== undefined) this.#pending.push(reading.step());
  }

  async #stop(stream: Told): Promise<void> {
    const known = await this.#log.find(stream.streamId) !== undefined;
    const as = stream.owner === undefined ? {} : { owner: stream.owner };
    const { streamId } = stream;
    assert.equal(await stop({ log: this.#log, streamId, owner: "bob" }), false);
    assert.equal(await stop({ log: this.#log, streamId, ...as }), known);
    if (known) assert(stream.ended, "stopped at once");
  }

  /** Asks for what comes after an event; the model says what the answer must be. */
  async #join(
    stream: Told,
    after: number,
    owner: string | undefined,
  ): Promise<void> {
    const chance = this.#chance;
    const method = pick(chance, ["GET", "POST"]);
    const { streamId } = stream;
    const logged = await this.#log.find(streamId);
    this.#checkHeld(stream, logged?.firstEvent);
    const expected = owner !== stream.owner || logged === undefined
      ? 404
      : logged.endEvent !== undefined && after > logged.lastEvent
      ? 400
      : logged.endEvent !== undefined && after === logged.lastEvent &&
          method === "GET"
      ? 204
      : after + 1 < logged.firstEvent &&
          !(logged.endEvent !== undefined && after === logged.lastEvent)
      ? 410
      : 200;
    const isAhead = logged !== undefined && after > logged.lastEvent;
    const again = logged?.endEvent !== undefined && after === logged.lastEvent;
    const from = again ? logged.endEvent! - 1 : after;
    const reader = this.#reader(stream, from, method, isAhead);
    const request = new Request("http://localhost/", {
      method,
      headers: after === 0 && chance() < 0.5 ? {} : { "last-event-id": `${streamId}.${after}` },
      signal: reader.asked.abort.signal,
    });
    const options = {
      log: this.#log,
      clock,
      streamId,
      heartbeatMs: pick(chance, [0, 100]),
      stallMs: pick(chance, [0, 0, 300]),
      ...owner === undefined ? {} : { owner },
    };
    const response = await settled(resume(request, options));
    this.done.push(`  ${method} after ${after}: ${response.status}`);
    // It may fail before the answer: then it is one, if nobody was answered before.
    const refused = expected === 200 && stream.ended &&
      stream.reports[0]!.ttftMs === undefined;
    if (!refused) {
      assert.equal(response.status, expected, `${method} after ${after}`);
    }
    saw(refused ? "refused" : response.status);
    reader.reading = new Reading(response);
  }

  /** Nothing is forgotten or given up before its time. */
  #checkHeld(stream: Told, firstEvent: number | undefined): void {
    const isRefused = stream.reports[0]?.ttftMs === undefined;
    if (firstEvent === undefined) {
      if (isRefused || stream.isUnread || this.#isTight) return;
      assert(stream.ended, "a live stream is known");
      assert(
        clock.now() - stream.endedMs >= KEEP_MS,
        "a finished stream is kept",
      );
    } else if (firstEvent > 1 && !this.#isTight) {
      assert(
        stream.bytes > SURELY_HELD,
        `event ${firstEvent} is the first of ${stream.bytes} bytes`,
      );
    }
  }

  /** Brings everything to its end, one way or another. */
  async end(): Promise<void> {
    const way = pick(this.#chance, ["close", "stop", "leave", "read on"]);
    this.done.push(`end: ${way}`);
    clock.tick(100);
    await turn(3);
    await longTurn();
    if (way === "leave") {
      for (const { asked, reading } of this.#readers) {
        asked.abort.abort();
        await reading?.leave();
      }
      clock.tick(500);
      await turn(3);
      await longTurn();
    }
    for (const stream of this.#streams) {
      // With `read on`, all that was sent is delivered before the end.
      if (way === "close" || way === "read on") {
        stream.finish();
        stream.queue?.close();
      } else await this.#stop(stream);
      stream.finish();
    }
    for (
      let i = 0;
      i < 120 && this.#readers.some(({ reading }) => !reading?.end);
      i++
    ) {
      for (const reader of this.#readers) this.#read(reader);
      await turn();
      if (i % 10 === 9) await longTurn();
    }
    // A source that waits for readers that are gone is let go by a stop at the latest.
    for (const stream of this.#streams) {
      if (!stream.ended) await this.#stop(stream);
      stream.queue?.cancel(new StreamError("stopped"));
    }
    for (
      let i = 0;
      i < 60 && this.#readers.some(({ reading }) => !reading?.end);
      i++
    ) {
      for (const reader of this.#readers) this.#read(reader);
      await turn();
      if (i % 10 === 9) await longTurn();
    }
    await settled(Promise.all(this.#pending));
  }

  /** What must hold after the end, whatever came before it. */
  async check(): Promise<void> {
    for (const { reports, streamId } of this.#streams) {
      assert.equal(reports.length, 1, `${streamId}: onClose exactly once`);
    }
    for (const reader of this.#readers) {
      try {
        this.#checkReader(reader);
      } catch (error) {
        const { stream, after, asked } = reader;
        throw new Error(`${asked.method} ${stream.streamId} after ${after}`, {
          cause: error,
        });
      }
    }
    clock.tick(KEEP_MS + 100);
    await turn(2);
    assert.deepEqual(
      [this.#log.size, this.#log.bytes],
      [0, 0],
      "the log is empty",
    );
  }

  #checkReader({ stream, after, asked, reading, isAhead }: Reader): void {
    assert(reading?.end !== undefined, "it was answered, and has an end");
    if (reading.status !== 200 || reading.response.body === null) return;
    const { blocks, end } = reading;
    const last = blocks.at(-1);
    let expected = after;
    for (const block of blocks) {
      const { event, data, number } = block;
      if (number === undefined) {
        // A failure of the reader's own, which says that it may come back.
        assert.equal(block, last, "nothing follows the failure");
        assert.equal(event, "failed");
        const { code, resume } = JSON.parse(data);
        assert.equal(resume, true);
        assert(
          isAhead ? code === "bad_request" || code === "lagged" : code === "lagged",
          code,
        );
        return saw(code);
      }
      assert.equal(number, ++expected, "no gap and no repetition");
      if (event === "done" || event === "failed") {
        assert.equal(block, last, "nothing follows the end");
        const { outcome } = stream.reports[0]!;
        if (event === "failed") assert.notEqual(outcome, "completed");
        else {
          const { reason } = JSON.parse(data);
          assert.equal(reason, outcome, "the end says how it ended");
        }
        return saw(`${event} ${outcome}`);
      }
      assert(
        data === stream.items[number - 1],
        `event ${number} is what was sent`,
      );
    }
    if (isAhead && end === "whole" && blocks.length === 0) return;
    // Without an end it was cut, by us or for its stall: never a body that looks whole.
    const left = end === "left" || asked.abort.signal.aborted;
    assert(left || end === "broken", `its body is ${end} and has no end`);
    saw(left ? "left" : end);
  }
}

for (let from = 0; from < RUNS; from += BATCH) {
  test(`a log keeps its promise: seeds ${from + 1} to ${from + BATCH}`, async () => {
    // What a seed that broke has left must not break the next.
    const before = total(active);
    for (let seed = from + 1; seed <= from + BATCH; seed++) {
      const run = new Run(seed);
      try {
        if (seed % 3 > 0) await turn(2);
        for (let i = 10 + (seed % 40); i > 0; i--) await run.step();
        await run.end();
        await run.check();
        assert.deepEqual(unhandled, []);
        assert.equal(total(active), before, JSON.stringify(active));
      } catch (error) {
        throw new Error(`seed ${seed}: ${run.done.join(", ")}`, {
          cause: error,
        });
      }
    }
  });
}

test("the seeds came to every answer and every end", () => {
  const wanted = [
    ...["200", "204", "400", "404", "410", "first 200", "first 499"],
    ...[
      "done completed",
      "done cancelled",
      "failed failed",
      "failed cancelled",
    ],
    ...["lagged", "bad_request", "left", "broken"],
  ];
  if (process.env.SEEDS !== undefined) console.log(Object.fromEntries(seen));
  assert.deepEqual(wanted.filter((what) => !((seen.get(what) ?? 0) >= 5)), []);
});
