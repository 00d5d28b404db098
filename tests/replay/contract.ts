/**
 * The rules of a replay log, written once and run against each implementation: through the interface,
 * `sse`, `resume` and `stop` alone, and with patience, for a log may be at the other end of a wire.
 */
import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { jsonFormat, textFormat } from "../../lib/formats/events.ts";
import { active } from "../../lib/counters.ts";
import { respond, type StreamExtras } from "../../lib/http/sse.ts";
import {
  type AsyncQueue,
  type Format,
  type Item,
  type ReplayLog,
  resume,
  type ResumeOptions,
  type Source,
  type SourceContext,
  sse,
  type SseOptions,
  stop,
  StreamError,
  type StreamReport,
} from "../../mod.ts";
import { total } from "../support/child.ts";
import { hostile, int, random } from "../support/random.ts";
import { until } from "../support/serve.ts";
import { Reading, same } from "../support/reading.ts";

/** The limits that a rule may set; a log ignores those that it has not. */
export interface Limits {
  maxStreamBytes?: number;
  maxStreamEvents?: number;
  maxBytes?: number;
  keepMs?: number;
}

/** A log under test. */
export interface Made {
  /** Where generations are recorded. */
  readonly log: ReplayLog;
  /** The same streams as seen from another machine; the same object where there is but one. */
  readonly elsewhere: ReplayLog;
  close(): void | Promise<void>;
}

/** What not every log can do. */
export interface Abilities {
  /** Whether it has a limit in all (`maxBytes`). */
  readonly limitedInAll: boolean;
  /** Whether a reader who is there when a stream expires still gets all of it. */
  readonly outlastsExpiry?: boolean;
}

const PATIENCE_MS = 10_000;
const STREAMING = "http://localhost/streaming";
const KIB = 1024;
/** The smallest limit per stream that logs take. */
const SMALL: Limits = { maxStreamBytes: 128 * KIB };

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** How a reader asks. */
interface Asking {
  method?: string;
  /** `Last-Event-ID`, or the number in it. */
  after?: string | number;
  query?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

function asking({ method = "GET", after, query = "", headers = {}, signal }: Asking): Request {
  const all = after === undefined ? headers : { ...headers, "last-event-id": String(after) };
  return new Request(STREAMING + query, { method, headers: all, ...signal && { signal } });
}

/** A source that gives what the test tells it to. */
class Tap {
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
class Counter {
  made = 0;
  starts = 0;
  signal: AbortSignal | undefined;
  readonly #count: number;
  readonly #length: number;

  constructor(length: number, count = Infinity) {
    this.#count = count;
    this.#length = length;
  }

  readonly source = async function* (this: Counter, { signal }: SourceContext) {
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
class Scene {
  readonly log: ReplayLog;
  readonly elsewhere: ReplayLog;
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
    const reading = new Reading(response);
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
function assertContiguous({ blocks }: Reading): void {
  const wrong = blocks.findIndex(({ number }, i) => number !== i + 1);
  assert(wrong < 0, `event ${wrong + 1} is number ${blocks[wrong]?.number}`);
}

/** Runs every rule against the logs that `makeLog` makes. */
export function contract(
  name: string,
  makeLog: (limits: Limits) => Made | Promise<Made>,
  { limitedInAll, outlastsExpiry = true }: Abilities,
): void {
  function rule(
    title: string,
    run: (scene: Scene) => Promise<void>,
    limits: Limits = {},
    skip = false,
  ): void {
    test(`${name}: ${title}`, { skip, timeout: 6 * PATIENCE_MS }, async () => {
      const unhandled: unknown[] = [];
      const note = (error: unknown) => void unhandled.push(error);
      process.on("unhandledRejection", note);
      const made = await makeLog(limits);
      const scene = new Scene(made);
      try {
        await run(scene);
        await scene.close();
        await turn();
        assert.deepEqual(unhandled, []);
      } finally {
        scene.leave();
        await made.close();
        process.off("unhandledRejection", note);
      }
    });
  }

  // What is written

  for (const format of ["json", "text"] as const) {
    rule(
      `${format}: every event has the next id, and the first block says retry`,
      async (scene) => {
        const reading = await scene.finished(
          ["Hel", "lo", { event: "note", data: { a: 1 } }, "\n\n", "", "\r", "end"],
          { format },
        );
        const { streamId, blocks } = reading;
        assert.match(streamId, /^[\w-]{22}$/);
        assert.deepEqual(blocks.map(({ id }) => id), blocks.map((_, i) => `${streamId}.${i + 1}`));
        assert.deepEqual(blocks.map(({ retry }) => retry), [
          "1000",
          ...blocks.slice(1).map(() => undefined),
        ]);
        assert.equal(reading.last.event, "done");
        assert.equal(blocks.length, 7);
        assert.match(reading.body, /^:\nid: \S+\.1\nretry: 1000\ndata: /);
        assert.deepEqual(await scene.closed(), ["completed"]);
      },
    );
  }

  rule("a format that names no retryMs has ids and no retry", async (scene) => {
    const { retryMs: _, ...quiet } = jsonFormat;
    const reading = await scene.finished(["a", "b"], { format: { ...quiet, name: "quiet" } });
    assert.deepEqual(reading.blocks.map(({ number, retry }) => [number, retry]), [
      [1, undefined],
      [2, undefined],
      [3, undefined],
    ]);
  });

  rule("the name that the embedder chose is the stream's", async (scene) => {
    const seen: string[] = [];
    const reading = await scene.finished(
      ["a"],
      { streamId: "answer_7-b" },
    );
    seen.push(reading.streamId, reading.blocks[0]!.id!);
    assert.deepEqual(seen, ["answer_7-b", "answer_7-b.1"]);
    const again = await scene.start("b", { streamId: "answer_7-b" });
    await again.problem(409, "stream_exists");
    assert.deepEqual(scene.outcomes, ["completed"]);
  });

  rule(
    "what is not an event stream has no ids, no name, and ends with its reader",
    async (scene) => {
      for (const format of ["plain", "ndjson"] as const) {
        const counter = new Counter(100);
        const reading = await scene.start(counter.source, { format });
        assert.equal(reading.response.headers.get("x-stream-id"), null);
        await reading.step();
        assert(!reading.body.includes("id:"));
        await reading.leave();
        await until(() => counter.signal?.aborted === true, PATIENCE_MS, "the source is let go");
      }
      assert.deepEqual(await scene.closed(2), ["cancelled disconnected", "cancelled disconnected"]);
    },
  );

  // Reading again

  for (const format of ["json", "text"] as const) {
    rule(`${format}: from each position comes what came after it, byte for byte`, async (scene) => {
      const chance = random(7);
      const items: Item[] = Array.from(
        { length: 60 },
        (_, i) =>
          i % 9 === 4 ? { event: "note", data: hostile(chance, 9) } : `${hostile(chance, 9)}${i}`,
      );
      const whole = await scene.finished(items, { format });
      const { blocks } = whole;
      same(whole.written, blocks.map(({ text }) => text).join(""));
      for (let after = 0; after < blocks.length; after++) {
        const again = await (await scene.join(whole, { after })).rest();
        assert.equal(again.status, 200);
        assert.equal(again.end, "whole");
        same(again.written, blocks.slice(after).map(({ text }) => text).join(""));
      }
      const joined = await (await scene.join(whole)).rest();
      same(joined.written, whole.written);
    });
  }

  rule(
    "a long stream is the same from each position, in whatever pieces it was made",
    async (scene) => {
      const chance = random(11);
      const lengths = [0, 1, 30, 700, 5000, 16_300, 70_000];
      const whole = await scene.start(async function* () {
        for (let i = 0; i < 120; i++) {
          yield `${i} `.padEnd(lengths[int(chance, lengths.length)]!, "é");
          if (chance() < 0.3) await turn();
        }
      });
      await whole.rest();
      await scene.ended(whole);
      const { blocks } = whole;
      assert(whole.written.length > 500 * KIB);
      for (let i = 0; i < 60; i++) {
        const after = int(chance, blocks.length);
        const again = await (await scene.join(whole, { after })).rest();
        assert.equal(again.status, 200);
        same(again.written, blocks.slice(after).map(({ text }) => text).join(""), `after ${after}`);
      }
    },
    { maxStreamBytes: 8 * 1024 * KIB },
  );

  rule("a reader who joins late gets all of it, and goes on with the others", async (scene) => {
    const tap = new Tap();
    const first = await scene.start(async (context) => {
      tap.source(context);
      tap.send("one ");
      await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
    });
    await first.events(1);
    tap.send("two ", "three ");
    await first.events(3);
    const late = await (await scene.join(first)).events(3);
    assert.equal(late.text, "one two three ");
    const later = await scene.join(first, { after: 2 });
    await later.events(1);
    tap.send("four");
    for (const reading of [late, first]) assert.equal((await reading.events(4)).last.number, 4);
    assert.equal((await later.events(2)).text, "three four");
    tap.queue.close();
    for (const reading of [first, late, later]) {
      await reading.rest();
      assert.equal(reading.last.event, "done");
    }
    same(late.written, first.written);
    assert.deepEqual(await scene.closed(), ["completed"]);
  });

  rule("forty readers who come and go as they like all have the same", async (scene) => {
    const chance = random(3);
    const counter = new Counter(300, 2000);
    const first = await scene.start(counter.source, { disconnect: "continue" });
    await first.events(1);
    const readers = await Promise.all(Array.from({ length: 40 }, async (_, i) => {
      const mine: string[] = [];
      let after = 0;
      for (let visit = 0;; visit++) {
        const reading = await scene.join(first, { after, method: i % 2 ? "GET" : "POST" });
        if (reading.status === 204) return mine;
        assert.equal(reading.status, 200);
        const wanted = visit > 5 ? Infinity : int(chance, 400);
        await reading.until(() => reading.blocks.length >= wanted);
        mine.push(...reading.blocks.map(({ text }) => text));
        after += reading.blocks.length;
        if (reading.blocks.at(-1)?.event === "done") return mine;
        await reading.leave();
      }
    }));
    await first.rest();
    same(first.text, counter.text(2000));
    const whole = first.blocks.map(({ text }) => text).join("");
    for (const [i, mine] of readers.entries()) same(mine.join(""), whole, `reader ${i}`);
    assert.equal(counter.starts, 1);
  }, { maxStreamBytes: 8 * 1024 * KIB });

  rule("each token is encoded once, however many read", async (scene) => {
    let encoded = 0;
    const counting: Format = {
      ...jsonFormat,
      name: "counting",
      open(context) {
        const framer = jsonFormat.open(context);
        return {
          token(out, text) {
            encoded++;
            framer.token(out, text);
          },
          structured: (...item) => framer.structured(...item),
          relayed: (...item) => framer.relayed(...item),
          end: (...end) => framer.end(...end),
          fail: (...failure) => framer.fail!(...failure),
        };
      },
    };
    const counter = new Counter(40, 1000);
    const first = await scene.start(counter.source, { format: counting });
    const others = await Promise.all(
      Array.from({ length: 99 }, () => scene.join(first, {}, { format: "counting" })),
    );
    await Promise.all([first, ...others].map((reading) => reading.rest()));
    for (const reading of others) same(reading.written, first.written);
    same(first.text, counter.text(1000));
    assert.equal(encoded, 1000);
  });

  rule(
    "heartbeats are a reader's own: they come in silence and are not in the log",
    async (scene) => {
      const tap = new Tap();
      const first = await scene.start(tap.source, { heartbeatMs: 100, commitAfterMs: 0 });
      await first.until(() => first.body.length >= 6);
      assert.equal(first.body, ":\n:\n:\n");
      tap.send("a");
      await first.events(1);
      await first.until(() => first.body.endsWith("\n\n:\n"));
      const late = await (await scene.join(first, {}, { heartbeatMs: 100 })).events(1);
      await late.until(() => late.body.endsWith("\n\n:\n"));
      assert.match(late.body, /^:\nid: [^:]+: 1000\ndata: \{"token":"a"\}\n\n(:\n)+$/);
      tap.queue.close();
      await Promise.all([first.rest(), late.rest()]);
      same(first.written, late.written);
    },
  );

  rule("a resumed answer has the stream's headers, the embedder's, and its name", async (scene) => {
    const format: Format = { ...textFormat, name: "own", headers: { "x-format": "own" } };
    const whole = await scene.finished(["a"], { format, headers: { "x-mine": "1" } });
    for (const method of ["GET", "POST", "HEAD"]) {
      const again = await scene.join(whole, { method }, { headers: { "x-mine": "2" } });
      assert.equal(again.status, 200);
      const { headers } = again.response;
      assert.equal(headers.get("content-type"), "text/event-stream; charset=utf-8");
      assert.equal(headers.get("cache-control"), "no-cache, no-transform");
      assert.equal(headers.get("x-accel-buffering"), "no");
      assert.equal(headers.get("x-content-type-options"), "nosniff");
      assert.equal(headers.get("x-format"), "own");
      assert.equal(headers.get("x-mine"), "2");
      assert.equal(headers.get("x-stream-id"), whole.streamId);
      await again.rest();
      assert.equal(again.body === "", method === "HEAD");
    }
  });

  rule(
    "sse() with a Last-Event-ID goes on by itself and never starts its source",
    async (scene) => {
      const options = { owner: "ann", chatId: "chat" };
      const whole = await scene.finished(["a", "b", "c"], options);
      // The latest of the chat is another one by now.
      const other = new Tap();
      const latest = await scene.start(other.source, { ...options, commitAfterMs: 0 });
      const released: string[] = [];
      const sources: Source<undefined>[] = [
        () => assert.fail("it was started"),
        // deno-lint-ignore require-yield
        (async function* () {
          await assert.fail("it was started");
        })(),
        new ReadableStream({ cancel: () => void released.push("stream") }, { highWaterMark: 0 }),
      ];
      for (const source of sources) {
        for (const streamId of [undefined, "a-name-of-its-own"]) {
          for (const method of ["GET", "POST"]) {
            const again = await scene.start(
              source,
              { ...options, ...streamId === undefined ? {} : { streamId } },
              { method, after: `${whole.streamId}.1` },
            );
            await again.rest();
            assert.equal(again.status, 200, again.body);
            same(again.written, whole.blocks.slice(1).map(({ text }) => text).join(""));
          }
        }
      }
      assert.equal(released[0], "stream");
      await (await scene.start(sources[0]!, options, { after: "AAAAAAAAAAAAAAAAAAAAAA.1" }))
        .problem(404, "not_found");
      other.queue.close();
      await latest.rest();
      assert.deepEqual(scene.outcomes, ["completed", "completed"]);
      assert.deepEqual(scene.errors, []);
    },
  );

  rule("a resumed answer of sse() varies by Accept as its first one does", async (scene) => {
    const whole = await scene.finished(["a", "b"]);
    const again = await scene.start("x", {}, { after: `${whole.streamId}.1` });
    assert.equal(whole.response.headers.get("vary"), "Accept");
    assert.equal(again.response.headers.get("vary"), "Accept");
    await again.rest();
  });

  // Positions

  rule("read to its end: 204 on GET, and on POST the end once more", async (scene) => {
    const whole = await scene.finished(["a", "b"]);
    const get = await scene.join(whole, { after: 3 });
    assert.deepEqual([get.status, get.body], [204, ""]);
    const post = await (await scene.join(whole, { after: 3, method: "POST" })).rest();
    assert.equal(post.status, 200);
    assert.equal(post.body, `:\n${whole.last.text}`);
    const fresh = await scene.start(() => assert.fail("started"), {}, {
      after: `${whole.streamId}.3`,
    });
    await fresh.rest();
    assert.equal(fresh.body, `:\n${whole.last.text}`);
    assert.equal(fresh.last.event, "done");
  });

  rule(
    "the end once more is the end alone, also where half a pair came before it",
    async (scene) => {
      for (const format of ["json", "text"] as const) {
        const whole = await scene.finished(["a", "\ud83d"], { format });
        assert.equal(whole.blocks.length, 3);
        const post = await (await scene.join(whole, { after: 3, method: "POST" })).rest();
        same(post.written, whole.last.text);
        const get = await (await scene.join(whole, { after: 2 })).rest();
        same(get.written, whole.last.text);
      }
    },
  );

  rule("a stream with no token has an end all the same", async (scene) => {
    const whole = await scene.finished([]);
    assert.deepEqual(whole.blocks.map(({ event, number }) => [event, number]), [["done", 1]]);
    const joined = await (await scene.join(whole)).rest();
    same(joined.written, whole.written);
    assert.equal((await scene.join(whole, { after: 1 })).status, 204);
  });

  rule("a position that is malformed, or another stream's, is a 400", async (scene) => {
    const whole = await scene.finished(["a"]);
    const { streamId } = whole;
    const other = await scene.finished(["b"]);
    const malformed = [
      "",
      "x",
      ".",
      ".1",
      streamId,
      `${streamId}.`,
      `${streamId}.x`,
      `${streamId}.-1`,
      `${streamId}.1.1`,
      `${streamId}.1e1`,
      `${streamId}.0x1`,
      `${streamId}.1234567890123456`,
      `${streamId}.end`,
      `${streamId} .1`,
      `${"a".repeat(129)}.1`,
      `ä.1`,
      `../${streamId}.1`,
    ];
    for (const after of malformed) {
      if (!after.includes("ä")) {
        await (await scene.join(whole, { after })).problem(400, "bad_request");
      }
      const query = `?lastEventId=${encodeURIComponent(after)}`;
      await (await scene.join(whole, { query })).problem(400, "bad_request");
    }
    await (await scene.join(whole, { after: `${other.streamId}.1` })).problem(400, "bad_request");
    // Without a name the position has to say it.
    await (await scene.join(undefined, {})).problem(400, "bad_request");
    const found = await scene.join(undefined, { after: `${streamId}.1` });
    assert.equal((await found.rest()).last.event, "done");
  });

  rule("Last-Event-ID beats ?lastEventId=, which will do where there is none", async (scene) => {
    const whole = await scene.finished(["a", "b", "c"]);
    const query = `?a=1&lastEventId=${whole.streamId}.2`;
    const byQuery = await (await scene.join(whole, { query })).rest();
    assert.deepEqual(byQuery.blocks.map(({ number }) => number), [3, 4]);
    const byHeader = await (await scene.join(whole, { query, after: 3 })).rest();
    assert.deepEqual(byHeader.blocks.map(({ number }) => number), [4]);
  });

  rule("a position past the end of a finished stream is a 400", async (scene) => {
    const whole = await scene.finished(["a"]);
    for (const after of [3, 4, 999_999_999_999_999]) {
      for (const method of ["GET", "POST"]) {
        await (await scene.join(whole, { after, method })).problem(400, "bad_request");
      }
    }
  });

  rule(
    "a position ahead of a live stream waits, and is told if the end comes first",
    async (scene) => {
      const tap = new Tap();
      const first = await scene.start(tap.source, { commitAfterMs: 0 });
      const [three, four, far] = await Promise.all(
        [3, 4, 50].map((after) => scene.join(first, { after })),
      );
      tap.send("a", "b", "c", "d");
      await first.events(4);
      await three!.events(1);
      tap.send("e");
      assert.deepEqual((await three!.events(2)).blocks.map(({ number }) => number), [4, 5]);
      assert.deepEqual((await four!.events(1)).blocks.map(({ number }) => number), [5]);
      tap.queue.close();
      for (const reading of [first, three!, four!]) {
        assert.equal((await reading.rest()).last.event, "done");
      }
      await far!.rest();
      // Neither text nor a good end: it has not read what it says it has.
      assert.deepEqual(far!.blocks.map(({ event, id }) => [event, id]), [["failed", undefined]]);
      const { code, resume } = JSON.parse(far!.last.data);
      assert.deepEqual([code, resume], ["bad_request", true]);
    },
  );

  rule("another format than the recorded one is a 406", async (scene) => {
    const whole = await scene.finished(["a"], { format: "text", owner: "ann" });
    const as = { owner: "ann" };
    const refused: [Asking, Partial<ResumeOptions>][] = [
      [{}, { format: "json" }],
      [{ query: "?format=json" }, {}],
      [{ query: "?format=nonsense" }, {}],
      [{ headers: { accept: "application/json" } }, {}],
      [{ headers: { accept: "text/plain" } }, {}],
      [{ headers: { accept: "text/event-stream;q=0, */*" } }, {}],
    ];
    for (const [how, options] of refused) {
      for (const after of [undefined, 1, 2]) {
        const again = await scene.join(
          whole,
          after === undefined ? how : { ...how, after },
          { ...as, ...options },
        );
        await again.problem(406, "not_acceptable");
      }
    }
    const fitting: [Asking, Partial<ResumeOptions>][] = [
      [{}, {}],
      [{}, { format: "text" }],
      [{ query: "?format=text" }, {}],
      [{ headers: { accept: "*/*" } }, {}],
      [{ headers: { accept: "text/event-stream" } }, {}],
      [{ headers: { accept: "application/json, text/plain, */*" } }, {}],
    ];
    for (const [how, options] of fitting) {
      const again = await (await scene.join(whole, how, { ...as, ...options })).rest();
      same(again.written, whole.written);
    }
    // Whose it is comes first.
    await (await scene.join(whole, {}, { format: "json" })).problem(404, "not_found");
    const fresh = await scene.start("x", { format: "json", owner: "ann" }, {
      after: `${whole.streamId}.1`,
    });
    await fresh.problem(406, "not_acceptable");
  });

  // Owners

  rule(
    "another owner, a forgotten and a made-up id are answered alike, byte for byte",
    async (scene) => {
      const forgotten = await scene.finished(["a", "b"], { owner: "ann" });
      await scene.eventually(
        async () => await scene.elsewhere.find(forgotten.streamId) === undefined,
        "forgotten",
      );
      const tap = new Tap();
      const live = await scene.start(tap.source, { owner: "ann", commitAfterMs: 0 });
      tap.send("secret");
      await live.events(1);
      const nobodys = new Tap();
      const open = await scene.start(nobodys.source, { commitAfterMs: 0 });
      nobodys.send("secret");
      await open.events(1);
      const guesses: [streamId: string, owner: string | undefined][] = [
        [forgotten.streamId, "ann"],
        [forgotten.streamId, undefined],
        [live.streamId, "bob"],
        [live.streamId, undefined],
        [live.streamId, ""],
        [open.streamId, "bob"],
        ["AAAAAAAAAAAAAAAAAAAAAA", "ann"],
        ["AAAAAAAAAAAAAAAAAAAAAA", undefined],
        ["__proto__", undefined],
      ];
      const asked: ((streamId: string) => Asking)[] = [
        () => ({}),
        () => ({ after: 0 }),
        () => ({ after: 1 }),
        () => ({ after: 77 }),
        () => ({ after: 1, method: "POST" }),
        () => ({ query: "?format=text" }),
        (streamId) => ({ query: `?lastEventId=${streamId}.1` }),
        () => ({ headers: { accept: "application/json" } }),
      ];
      for (const [at, how] of asked.entries()) {
        const answers = new Set<string>();
        for (const [streamId, owner] of guesses) {
          const options = owner === undefined ? {} : { owner };
          const reading = await (await scene.join(streamId, how(streamId), options)).rest();
          const head = JSON.stringify([reading.status, [...reading.response.headers]]);
          answers.add(`${head} ${reading.body}`);
        }
        assert.equal(answers.size, 1, `${at}: ${[...answers]}`);
        assert([...answers].every((answer) => answer.startsWith("[404,")), `${[...answers]}`);
      }
      for (const [streamId, owner] of guesses) {
        assert.equal(await scene.stop(streamId, owner), false);
      }
      assert.equal(tap.signal.aborted, false);
      assert.equal((await (await scene.join(live, {}, { owner: "ann" })).events(1)).text, "secret");
      assert.equal(await scene.stop(live, "ann"), true);
      assert.equal(await scene.stop(open), true);
      assert.equal((await live.rest()).text, "secret");
    },
    { keepMs: 50 },
  );

  rule("a chat's latest stream is found while it goes on, by its owner", async (scene) => {
    const find = (owner: string | undefined, chatId: string) =>
      scene.join(undefined, {}, owner === undefined ? { chatId } : { owner, chatId });
    assert.equal((await find("ann", "1")).status, 204);
    const old = await scene.finished(["old"], { owner: "ann", chatId: "1" });
    assert.equal((await find("ann", "1")).status, 204);
    const tap = new Tap();
    const live = await scene.start(tap.source, { owner: "ann", chatId: "1", commitAfterMs: 0 });
    tap.send("new");
    await live.events(1);
    // Its name may still be on its way to the other machine.
    const isLatest = async () =>
      (await scene.elsewhere.latest("ann", "1"))?.info.streamId === live.streamId;
    await scene.eventually(isLatest, "its name");
    const found = await (await find("ann", "1")).events(1);
    assert.equal(found.streamId, live.streamId);
    assert.equal(found.text, "new");
    const others = [["bob", "1"], [undefined, "1"], ["ann", "2"], ["ann", ""]] as const;
    for (const [owner, chatId] of others) {
      const answer = await find(owner, chatId);
      assert.deepEqual([answer.status, answer.body], [204, ""], `${owner} ${chatId}`);
    }
    // From the start, whatever the client says it has.
    const again = await scene.join(undefined, { after: `${old.streamId}.1` }, {
      owner: "ann",
      chatId: "1",
    });
    assert.equal((await again.events(1)).text, "new");
    tap.queue.close();
    await Promise.all([live.rest(), found.rest(), again.rest()]);
    same(found.written, live.written);
    await scene.ended(live);
    assert.equal((await find("ann", "1")).status, 204);
  });

  // Stopping

  rule(
    "a stop delivers what is queued, then every reader's normal end, within 100 ms",
    async (scene) => {
      const tookMs: number[] = [];
      // The machine may have been busy with something else, once or twice.
      for (let tries = 0; tries < 3 && !(tookMs.at(-1)! <= 100); tries++) {
        scene.reports.length = 0;
        const tap = new Tap();
        const first = await scene.start(tap.source, { commitAfterMs: 0 });
        tap.send("a", "b");
        await first.events(2);
        const readers = [first, await scene.join(first), await scene.join(first, { after: 1 })];
        await Promise.all(readers.map((reading) => reading.events(1)));
        tap.send("c");
        const fromMs = performance.now();
        assert.equal(await scene.stop(first, undefined, "enough"), true);
        await Promise.all(readers.map((reading) => reading.rest()));
        tookMs.push(performance.now() - fromMs);
        assert.deepEqual(readers.map(({ text }) => text), ["abc", "abc", "bc"]);
        for (const { last, end } of readers) {
          assert.equal(end, "whole");
          assert.equal(last.event, "done");
          assert.equal(last.number, 4);
          assert.deepEqual(JSON.parse(last.data), { reason: "cancelled", tokens: 3 });
        }
        assert.equal(tap.signal.aborted, true);
        assert(tap.signal.reason instanceof StreamError);
        assert.equal(tap.signal.reason.code, "stopped");
        assert.equal(tap.signal.reason.detail, "enough");
        assert.equal(await tap.queue.send("late"), false);
        // Once more, and once more, and after the end.
        for (let i = 0; i < 3; i++) assert.equal(await scene.stop(first), true);
        await scene.ended(first);
        assert.equal(await scene.stop(first), true);
        assert.deepEqual(await scene.closed(), ["cancelled stopped"]);
        assert.deepEqual(scene.errors, []);
        const later = await (await scene.join(first)).rest();
        same(later.written, first.written);
        assert.equal((await scene.join(first, { after: 4 })).status, 204);
      }
      assert(tookMs.at(-1)! <= 100, `${tookMs.map(Math.round)} ms`);
      assert.equal(await scene.stop("AAAAAAAAAAAAAAAAAAAAAA"), false);
    },
  );

  rule("a stop before the first token is a normal end", async (scene) => {
    for (const commitAfterMs of [0, 5000]) {
      const tap = new Tap();
      const streamId = `silent-${commitAfterMs}`;
      const starting = scene.start(tap.source, { streamId, commitAfterMs });
      await until(() => tap.starts === 1, PATIENCE_MS, "it has begun");
      await turn();
      assert.equal(await scene.stop(streamId), true);
      const reading = await (await starting).rest();
      assert.equal(reading.status, 200, reading.body);
      assert.deepEqual(reading.blocks.map(({ event, data }) => [event, JSON.parse(data).reason]), [
        ["done", "cancelled"],
      ]);
      same((await (await scene.join(streamId)).rest()).written, reading.written);
    }
    assert.deepEqual(await scene.closed(2), ["cancelled stopped", "cancelled stopped"]);
    assert.deepEqual(scene.errors, []);
  });

  rule(
    "a stop ends a generation that nobody reads, and who comes back is told so",
    async (scene) => {
      const tap = new Tap();
      const first = await scene.start(tap.source, { disconnect: "continue", commitAfterMs: 0 });
      tap.send("a");
      await first.events(1);
      await first.leave();
      tap.send("b");
      assert.equal(await scene.stop(first), true);
      assert.deepEqual(await scene.closed(), ["cancelled stopped"]);
      await scene.ended(first);
      const back = await (await scene.join(first, { after: 1 })).rest();
      assert.equal(back.text, "b");
      assert.equal(JSON.parse(back.last.data).reason, "cancelled");
    },
  );

  rule(
    "a stop ends a source that is held back, stuck or deaf, and loses nothing",
    async (scene) => {
      const held = new Counter(1000);
      const stuck = async function* () {
        yield "a";
        await new Promise(() => {});
      };
      const sources: Source<undefined>[] = [held.source, stuck];
      for (const [i, source] of sources.entries()) {
        const first = await scene.start(source);
        await first.events(1);
        if (i === 0) await held.waits();
        const made = held.made;
        assert.equal(await scene.stop(first), true);
        await scene.closed(i + 1);
        await first.rest();
        assert.equal(JSON.parse(first.last.data).reason, "cancelled");
        if (i === 0) {
          // The one that it waits with was never taken.
          same(first.text, held.text(first.blocks.length - 1));
          assert(made - first.blocks.length <= 1 && held.made === made, `${made}`);
        } else assert.equal(first.text, "a");
        assert.deepEqual(
          first.blocks.map(({ number }) => number),
          first.blocks.map((_, i) => i + 1),
        );
      }
      assert.deepEqual(scene.outcomes, ["cancelled stopped", "cancelled stopped"]);
    },
  );

  rule(
    "a stop keeps half a surrogate pair and the order of a source's own queue",
    async (scene) => {
      const tap = new Tap();
      const first = await scene.start(tap.source, { commitAfterMs: 0 });
      tap.send("a", "\ud83d");
      assert.equal(await scene.stop(first), true);
      await first.rest();
      assert.equal(first.text, "a\ud83d");
    },
  );

  // Failures

  rule("a failure is logged, final, and has an id", async (scene) => {
    const whole = await scene.start(async function* () {
      yield "a";
      yield "b";
      throw new StreamError("quota", { title: "Come back tomorrow", cause: new Error("secret") });
    });
    await whole.rest();
    assert.equal(whole.end, "whole");
    assert.equal(whole.text, "ab");
    assert.deepEqual(whole.blocks.map(({ event, number }) => [event, number]), [
      ["message", 1],
      ["message", 2],
      ["failed", 3],
    ]);
    const problem = JSON.parse(whole.last.data);
    assert.deepEqual([problem.code, problem.title, problem.resume], [
      "quota",
      "Come back tomorrow",
      undefined,
    ]);
    assert(!whole.body.includes("secret"));
    await scene.ended(whole);
    const again = await (await scene.join(whole, { after: 1 })).rest();
    same(again.written, whole.blocks.slice(1).map(({ text }) => text).join(""));
    assert.equal((await scene.join(whole, { after: 3 })).status, 204);
    const post = await (await scene.join(whole, { after: 3, method: "POST" })).rest();
    same(post.written, whole.last.text);
    assert.equal(await scene.stop(whole), true);
    assert.deepEqual(await scene.closed(), ["failed quota"]);
    assert.equal(scene.errors.length, 1);
  });

  rule("a failure before the head is a status, and nothing of it is kept", async (scene) => {
    for (const [i, code] of ["quota", "internal"].entries()) {
      const streamId = `refused-${i}`;
      const reading = await scene.start(
        () => {
          throw i === 0
            ? new StreamError("quota", { status: 429, retryAfter: 3 })
            : new Error("no");
        },
        { streamId, chatId: "chat" },
      );
      await reading.problem(i === 0 ? 429 : 500, code);
      assert.equal(reading.response.headers.get("retry-after"), i === 0 ? "3" : null);
      assert.equal(reading.response.headers.get("x-stream-id"), null);
      await scene.eventually(
        async () => await scene.elsewhere.find(streamId) === undefined,
        "forgotten",
      );
      await (await scene.join(streamId)).problem(404, "not_found");
      assert.equal((await scene.join(undefined, {}, { chatId: "chat" })).status, 204);
      // The name may be used again.
      const next = await scene.finished(["a"], { streamId: `${streamId}` });
      assert.equal(next.text, "a");
    }
    assert.deepEqual(scene.outcomes, ["failed quota", "completed", "failed internal", "completed"]);
    assert.equal(scene.errors.length, 2);
  });

  rule("a failure after the head and before a token is told in the stream", async (scene) => {
    const tap = new Tap();
    const reading = await scene.start(tap.source, { commitAfterMs: 0 });
    await reading.step();
    tap.queue.fail(new StreamError("quota"));
    await reading.rest();
    assert.deepEqual(reading.blocks.map(({ event, number }) => [event, number]), [["failed", 1]]);
    await scene.ended(reading);
    assert.equal((await scene.join(reading, { after: 1 })).status, 204);
    assert.deepEqual(await scene.closed(), ["failed quota"]);
  });

  rule("what waits before a failure is delivered, to all who read", async (scene) => {
    const tap = new Tap();
    const first = await scene.start(tap.source, { commitAfterMs: 0 });
    await first.step();
    const second = await scene.join(first);
    tap.send("a", { event: "note", data: 1 }, "\ud83d");
    tap.queue.fail(new Error("broken"));
    for (const reading of [first, second]) {
      await reading.rest();
      assert.deepEqual(reading.blocks.map(({ event }) => event), [
        "message",
        "note",
        "message",
        "failed",
      ]);
      assert.equal(reading.text, "a\ud83d");
    }
  });

  rule("a shutdown of its own is a failure that is logged", async (scene) => {
    for (const early of [true, false]) {
      const lives: { shutDown(error: StreamError): void }[] = [];
      const ended: unknown[] = [];
      const tap = new Tap();
      const starting = scene.start(tap.source, { commitAfterMs: 0, streamId: `s${early}` }, {}, {
        onOpen: (live) => void lives.push(live),
        onEnd: (live) => void ended.push(live),
      });
      let first: Reading | undefined;
      if (!early) {
        first = await starting;
        tap.send("a");
        await first.events(1);
        tap.send("b");
      }
      assert.equal(lives.length, 1);
      lives[0]!.shutDown(new StreamError("shutting_down"));
      first = await starting;
      if (early) await first.problem(503, "shutting_down");
      else {
        await first.rest();
        assert.equal(first.text, "ab");
        assert.deepEqual([first.last.event, first.last.number], ["failed", 3]);
        assert.equal(JSON.parse(first.last.data).code, "shutting_down");
        await scene.ended(first);
        same((await (await scene.join(first)).rest()).written, first.written);
      }
      await until(() => ended.length === 1, PATIENCE_MS, "onEnd");
      assert.deepEqual(ended, lives);
      // Again, after the end: nothing.
      lives[0]!.shutDown(new StreamError("shutting_down"));
    }
    assert.deepEqual(await scene.closed(2), ["failed shutting_down", "failed shutting_down"]);
    assert.deepEqual(scene.errors, []);
  });

  // When readers leave

  rule("disconnect cancel: the last reader that leaves ends the generation", async (scene) => {
    const tap = new Tap();
    const first = await scene.start(tap.source, { disconnect: "cancel", commitAfterMs: 0 });
    tap.send("a");
    await first.events(1);
    const second = await (await scene.join(first, { after: 1 })).until(() => true);
    await first.leave();
    await sleep(20);
    assert.equal(tap.signal.aborted, false);
    tap.send("b");
    await second.events(1);
    await second.leave();
    await until(() => tap.signal.aborted, PATIENCE_MS, "the source is let go");
    assert.equal(tap.signal.reason.code, "disconnected");
    assert.deepEqual(await scene.closed(), ["cancelled disconnected"]);
    assert.deepEqual(scene.errors, []);
    // Who comes back finds the text, and that it goes on no further.
    await scene.ended(first);
    const back = await (await scene.join(first)).rest();
    assert.equal(back.text, "ab");
    assert.equal(back.last.event, "failed");
    assert.equal(back.last.number, 3);
  });

  rule("disconnect continue: the generation goes on to its end", async (scene) => {
    const tap = new Tap();
    const first = await scene.start(tap.source, { disconnect: "continue", commitAfterMs: 0 });
    tap.send("a");
    await first.events(1);
    await first.leave();
    await sleep(30);
    assert.equal(tap.signal.aborted, false);
    tap.send("b", "c");
    tap.queue.close();
    assert.deepEqual(await scene.closed(), ["completed"]);
    await scene.ended(first);
    assert.equal((await (await scene.join(first, { after: 1 })).rest()).text, "bc");
  });

  rule(
    "disconnect continueForMs: no shorter and not much longer, and who comes back saves it",
    async (scene) => {
      const disconnect = { continueForMs: 200 };
      const leaving = async () => {
        const tap = new Tap();
        const first = await scene.start(tap.source, { disconnect, commitAfterMs: 0 });
        tap.send("a");
        await first.events(1);
        return { tap, first };
      };
      const gone = await leaving();
      const saved = await leaving();
      const leftMs = performance.now();
      await gone.first.leave();
      await saved.first.leave();
      await sleep(100);
      assert.equal(gone.tap.signal.aborted, false, "within the grace");
      const back = await scene.join(saved.first, { after: 1 });
      await back.step();
      await until(() => gone.tap.signal.aborted, PATIENCE_MS, "the end of the grace");
      const tookMs = performance.now() - leftMs;
      assert(tookMs >= 195 && tookMs < 1000, `${tookMs} ms`);
      await sleep(150);
      assert.equal(saved.tap.signal.aborted, false, "somebody reads");
      saved.tap.send("b");
      await back.events(1);
      // A second departure has a grace of its own.
      const againMs = performance.now();
      await back.leave();
      await until(() => saved.tap.signal.aborted, PATIENCE_MS, "the end of the second grace");
      assert(performance.now() - againMs >= 195);
      assert.deepEqual(await scene.closed(2), ["cancelled disconnected", "cancelled disconnected"]);
      assert.deepEqual(scene.errors, []);
      await scene.ended(saved.first);
      assert.equal((await (await scene.join(saved.first)).rest()).text, "ab");
    },
  );

  rule("a reader that had left before it asked leaves nothing behind", async (scene) => {
    const signal = AbortSignal.abort();
    const names = { streamId: "absent", chatId: "absent" };
    for (const [i, options] of [{}, { disconnect: "continue" } as const, names].entries()) {
      const tap = new Tap();
      await (await scene.start(tap.source, options, { signal })).problem(499, "disconnected");
      // It is noticed in the first turn.
      assert.equal(tap.signal.reason.code, "disconnected");
      assert.deepEqual(await scene.closed(i + 1), Array(i + 1).fill("cancelled disconnected"));
    }
    const isGone = async () =>
      await scene.elsewhere.find("absent") === undefined &&
      await scene.elsewhere.latest(undefined, "absent") === undefined;
    await scene.eventually(isGone, "a log without it");
    assert.deepEqual(scene.errors, []);
  });

  rule(
    "a second reader that had left before it asked takes nothing from the first",
    async (scene) => {
      const tap = new Tap();
      const abort = new AbortController();
      const options = {
        commitAfterMs: 5000,
        streamId: "shared",
        disconnect: { continueForMs: 100 },
      };
      const starting = scene.start(tap.source, options, { signal: abort.signal });
      const isKnown = async () => await scene.elsewhere.find("shared") !== undefined;
      await scene.eventually(isKnown, "its name");
      await scene.join("shared", { signal: AbortSignal.abort() });
      await sleep(5);
      assert.equal(tap.signal.aborted, false);
      const leftMs = performance.now();
      abort.abort();
      await (await starting).problem(499, "disconnected");
      await until(() => tap.signal.aborted, PATIENCE_MS, "the source is let go");
      assert(performance.now() - leftMs >= 95);
      assert.deepEqual(scene.errors, []);
    },
  );

  rule("a reader that leaves before the head leaves the generation its grace", async (scene) => {
    const abort = new AbortController();
    for (const [i, disconnect] of (["cancel", { continueForMs: 100 }] as const).entries()) {
      const tap = new Tap();
      const early = i === 0 ? new AbortController() : abort;
      const starting = scene.start(
        tap.source,
        { disconnect, commitAfterMs: 5000, streamId: `early-${i}` },
        { signal: early.signal },
      );
      await until(() => tap.starts === 1, PATIENCE_MS, "it has begun");
      // In its first turn it would count as one who had left before.
      await sleep(5);
      const leftMs = performance.now();
      early.abort();
      await (await starting).problem(499, "disconnected");
      if (i === 1) assert.equal(tap.signal.aborted, false);
      await until(() => tap.signal.aborted, PATIENCE_MS, "the source is let go");
      if (i === 1) assert(performance.now() - leftMs >= 95);
    }
    assert.deepEqual(await scene.closed(2), ["cancelled disconnected", "cancelled disconnected"]);
    assert.deepEqual(scene.errors, []);
  });

  rule("a generation that ends within the grace is complete", async (scene) => {
    const counter = new Counter(20, 100);
    const first = await scene.start(counter.source, { disconnect: { continueForMs: 60_000 } });
    await first.leave();
    assert.deepEqual(await scene.closed(), ["completed"]);
    await scene.ended(first);
    assert.equal((await (await scene.join(first)).rest()).text, counter.text(100));
  });

  // The pace

  rule(
    "the source waits for its readers, a high-water mark ahead of the fastest",
    async (scene) => {
      const counter = new Counter(1000);
      const highWaterMark = 16 * KIB;
      const first = await scene.start(counter.source, { highWaterMark });
      await counter.waits();
      const most = 2 * highWaterMark + 64 * KIB;
      assert(counter.bytes > 8 * KIB && counter.bytes <= most, `${counter.bytes} bytes`);
      const slow = await scene.join(first);
      await slow.events(1);
      await counter.waits();
      const had = counter.bytes;
      assert(had <= most + 64 * KIB, `${had} bytes with one chunk read`);
      // One reads on: the other holds nobody up.
      await first.until(() => first.blocks.length >= 400);
      await counter.waits();
      assert(
        counter.made >= 400 && counter.bytes <= 400 * 1000 + most + 64 * KIB,
        `${counter.made}`,
      );
      // The fastest leaves: the slow one sets the pace, which is far behind.
      await first.leave();
      const { made } = counter;
      await sleep(50);
      assert(counter.made - made <= 2, `${counter.made - made} more`);
      await slow.until(() => slow.blocks.length >= made + 10);
      same(slow.text, counter.text(slow.blocks.length));
      assert(counter.made > made);
      assert.equal(await scene.stop(first), true);
      await slow.rest();
      same(slow.text, counter.text(slow.blocks.length - 1));
    },
  );

  rule("without a reader the source runs until the log is full, and then waits", async (scene) => {
    const counter = new Counter(1000, 1000);
    const first = await scene.start(counter.source, { disconnect: "continue" });
    await first.events(1);
    await first.leave();
    await counter.waits();
    assert(counter.bytes >= 32 * KIB && counter.bytes <= 128 * KIB, `${counter.bytes} bytes`);
    const waiting = counter.made;
    await sleep(50);
    assert.equal(counter.made, waiting);
    assert.deepEqual(scene.outcomes, []);
    // Nothing was given up: all of it is there for who comes back.
    const back = await (await scene.join(first)).rest();
    same(back.text, counter.text(1000));
    assert.equal(back.last.event, "done");
    assert.deepEqual(await scene.closed(), ["completed"]);
  }, SMALL);

  rule("many small events fill a log as well as large ones", async (scene) => {
    const counter = new Counter(4, 20_000);
    const first = await scene.start(counter.source, {
      disconnect: "continue",
      format: "text",
      streamId: "s",
    });
    await first.step();
    await first.leave();
    await counter.waits();
    assert(counter.made <= 10_000, `${counter.made} events`);
    const back = await (await scene.join(first)).rest();
    assert.equal(back.last.number, 20_001);
    assertContiguous(back);
  }, { maxStreamEvents: 10_000 });

  const tight = [
    ["a high-water mark above the log's size", SMALL, { highWaterMark: 1024 * KIB }],
    ["few events in the log", { maxStreamEvents: 10_000 }, {}],
  ] as const;
  for (const [what, limits, options] of tight) {
    rule(
      `a source that can wait leaves its only reader nothing to miss: ${what}`,
      async (scene) => {
        const all = { ...options, format: "text", disconnect: "continue" } as const;
        const counter = new Counter(2, 60_000);
        const first = await scene.start(counter.source, { ...all, streamId: "s" });
        for (let i = 0; i < 6; i++) {
          await counter.waits();
          await first.step();
        }
        const halfway = first.blocks.length;
        assert(halfway > 2000 && halfway < 50_000, `${halfway}`);
        // Stopped while it is held back, by a reader that takes nothing and by a log that is full.
        const held = await Promise.all(["t", "u"].map(async (streamId) => {
          const endless = new Counter(2);
          const reading = await scene.start(endless.source, { ...all, streamId });
          await reading.step();
          if (streamId === "u") await reading.leave();
          await endless.waits();
          await scene.stop(reading);
          await scene.ended(reading);
          return streamId === "u" ? scene.join(reading) : reading;
        }));
        for (const reading of [first, ...held]) {
          await reading.rest();
          assert.equal(reading.last.event, "done", reading.last.text);
          assertContiguous(reading);
        }
        assert.equal(first.blocks.length, 60_001);
      },
      limits,
    );
  }

  rule(
    "a flood that does not wait trims the log: who is behind is told, and no text is wrong",
    async (scene) => {
      const tap = new Tap();
      const first = await scene.start(tap.source, { commitAfterMs: 0 });
      const slow = await scene.join(first);
      await Promise.all([first.step(), slow.step()]);
      const tokens = Array.from({ length: 3000 }, (_, i) => `${i} `.padEnd(100 + i % 300, "y"));
      let fast = Promise.resolve();
      for (let i = 0; i < tokens.length; i += 100) {
        tap.send(...tokens.slice(i, i + 100));
        fast = fast.then(() => first.events(i + 100)).then(() => {});
        await fast;
        if (i === 300) await slow.step();
      }
      same(first.text, tokens.join(""));
      // It had a chunk of whole events, and then a failure of its own.
      const had = slow.blocks.length;
      assert(had > 0 && had < 1000, `${had} events`);
      await slow.rest();
      assert.equal(slow.end, "whole");
      const { blocks } = slow;
      assert.equal(slow.last.event, "failed");
      assert.equal(slow.last.id, undefined);
      const problem = JSON.parse(slow.last.data);
      assert.deepEqual([problem.code, problem.resume, problem.status], ["lagged", true, 503]);
      assert.deepEqual(blocks.slice(0, -1), first.blocks.slice(0, blocks.length - 1));
      // Its position is gone, and the start as well; what is held is exact.
      await (await scene.join(first, { after: slow.lastId! })).problem(410, "gone");
      await (await scene.join(first)).problem(410, "gone");
      await (await scene.join(first, { after: 0, method: "POST" })).problem(410, "gone");
      const { firstEvent } = (await scene.elsewhere.find(first.streamId))!;
      assert(firstEvent > had);
      await (await scene.join(first, { after: firstEvent - 2 })).problem(410, "gone");
      const back = await scene.join(first, { after: firstEvent - 1 });
      tap.queue.close();
      await Promise.all([first.rest(), back.rest()]);
      same(
        back.written,
        first.blocks.slice(firstEvent - 1).map(({ text }) => text).join(""),
      );
      await scene.ended(first);
      await (await scene.join(first)).problem(410, "gone");
      assert.deepEqual(await scene.closed(), ["completed"]);
      assert.deepEqual(scene.errors, []);
    },
    SMALL,
  );

  for (const length of [90, 1500, 40_000, 300_000]) {
    rule(
      `a reader that is left behind by tokens of ${length} bytes has whole events, then lagged`,
      async (scene) => {
        const tap = new Tap();
        const first = await scene.start(tap.source, { format: "text", commitAfterMs: 0 });
        const count = Math.max(4, Math.ceil(200_000 / length));
        const tokens = (from: number) =>
          Array.from({ length: count }, (_, i) => `${from + i} `.padEnd(length, "z"));
        await first.step();
        tap.send(...tokens(0));
        await turn();
        await first.step();
        await first.step();
        const { body } = first;
        for (let i = 1; i < 4; i++) {
          tap.send(...tokens(i * count));
          await turn();
        }
        tap.queue.close();
        await first.rest();
        assert.equal(body, first.body.slice(0, body.length));
        if (first.last.event === "done") assert.equal(first.blocks.length, 4 * count + 1);
        else assert.equal(JSON.parse(first.last.data).code, "lagged");
        for (const [i, { event, data, number }] of first.blocks.slice(0, -1).entries()) {
          assert.equal(event, "message");
          assert.equal(number, i + 1);
          assert.equal(data, `${i} `.padEnd(length, "z"));
        }
        assert(first.body.endsWith("\n\n"));
      },
      SMALL,
    );
  }

  rule(
    "a reader that stalls is dropped, and the generation and its others are not",
    async (scene) => {
      const tap = new Tap();
      const first = await scene.start(tap.source, { commitAfterMs: 0, stallMs: 200 });
      tap.send("a");
      await first.events(1);
      const steady = await scene.join(first, {}, { stallMs: 200 });
      await steady.events(1);
      // The first takes nothing more; the second reads on.
      const readers = active.readers;
      const reading = (async () => {
        for (let i = 0; active.readers === readers; i++) {
          tap.send(`${i} `);
          await steady.events(i + 2);
          await sleep(5);
        }
      })();
      await until(() => active.readers < readers, PATIENCE_MS, "the first is dropped");
      await reading;
      assert.equal(tap.signal.aborted, false);
      assert.deepEqual(scene.outcomes, []);
      tap.send("b");
      tap.queue.close();
      await steady.rest();
      assert.equal(steady.last.event, "done");
      // What it was given before is exact, and it can come back for the rest.
      await first.rest();
      const had = first.blocks.length;
      assert(had >= 1 && had < steady.blocks.length);
      const back = await (await scene.join(first, { after: first.lastId! })).rest();
      assert.equal(first.text + back.text, steady.text);
      assert.deepEqual(await scene.closed(), ["completed"]);
    },
  );

  rule("the last reader that stalls begins the grace", async (scene) => {
    const counter = new Counter(1000);
    await scene.start(counter.source, { stallMs: 100, disconnect: { continueForMs: 100 } });
    await until(() => counter.signal?.aborted === true, PATIENCE_MS, "the source is let go");
    assert.equal(counter.signal!.reason.code, "disconnected");
    assert.deepEqual(await scene.closed(), ["cancelled disconnected"]);
  });

  rule("readers at every pace beside a flood: each exact, or told", async (scene) => {
    const chance = random(5);
    const first = await scene.start(async ({ queue }) => {
      for (let i = 0; i < 400; i++) {
        for (let j = 0; j < 10; j++) queue.send(`${i * 10 + j} `.padEnd(20 + int(chance, 200)));
        await turn();
      }
    }, { disconnect: "continue" });
    const readers = await Promise.all(Array.from({ length: 12 }, () => scene.join(first)));
    const ends = await Promise.all([first, ...readers].map(async (reading, i) => {
      while (reading.end === undefined) {
        await reading.step();
        for (let pause = i * 2; pause > 0 && chance() < 0.8; pause--) await turn();
      }
      const told = reading.last.event === "done"
        ? "done"
        : JSON.parse(reading.last.data).code as string;
      const { blocks } = reading;
      assert(["done", "lagged"].includes(told), told);
      assert.deepEqual(
        blocks.slice(0, -1).map(({ number }) => number),
        blocks.slice(1).map((_, at) => at + 1),
      );
      assert.deepEqual(
        (reading.text.match(/\d+/g) ?? []).map(Number),
        blocks.slice(1).map((_, at) => at),
      );
      return told;
    }));
    assert(ends.includes("done"), `${ends}`);
    assert.deepEqual(await scene.closed(), ["completed"]);
  }, SMALL);

  // Bounds

  rule("a stream is forgotten keepMs after its end, and not before", async (scene) => {
    const whole = await scene.finished(["a"]);
    const fromMs = performance.now();
    same((await (await scene.join(whole)).rest()).written, whole.written);
    await scene.eventually(
      async () => await scene.elsewhere.find(whole.streamId) === undefined,
      "forgotten",
    );
    const tookMs = performance.now() - fromMs;
    assert(tookMs > 200 && tookMs < 2000, `${tookMs} ms`);
    await (await scene.join(whole)).problem(404, "not_found");
    assert.equal(await scene.stop(whole), false);
    // One that goes on is kept for as long as it does, and that long again.
    const tap = new Tap();
    const live = await scene.start(tap.source, { commitAfterMs: 0 });
    tap.send("b");
    await live.events(1);
    await sleep(400);
    assert.equal((await (await scene.join(live)).events(1)).text, "b");
    tap.queue.close();
    await live.rest();
    await scene.ended(live);
    same((await (await scene.join(live)).rest()).written, live.written);
  }, { keepMs: 300 });

  rule(
    "a reader who is there when a stream is forgotten has it to its end",
    async (scene) => {
      const counter = new Counter(1000, 500);
      const first = await scene.start(counter.source, { disconnect: "continue" });
      const slow = await scene.join(first);
      await slow.events(1);
      await first.rest();
      await scene.eventually(
        async () => await scene.elsewhere.find(first.streamId) === undefined,
        "forgotten",
      );
      await slow.rest();
      same(slow.written, first.written);
      await (await scene.join(first)).problem(404, "not_found");
    },
    { keepMs: 0 },
    !outlastsExpiry,
  );

  rule(
    "in all no more than maxBytes: the oldest finished goes, then new ones get 503",
    async (scene) => {
      const text = "x".repeat(99 * KIB);
      const taps = [new Tap(), new Tap()];
      const lives: Reading[] = [];
      for (const tap of taps) {
        const live = await scene.start(tap.source, { disconnect: "continue", commitAfterMs: 0 });
        tap.send(text);
        lives.push(await live.events(1));
      }
      const finished: Reading[] = [];
      for (let i = 0; i < 12; i++) finished.push(await scene.finished([`${i}`, text]));
      const held = await Promise.all(
        finished.map(async ({ streamId }) => await scene.elsewhere.find(streamId) !== undefined),
      );
      const kept = held.filter(Boolean).length;
      assert(kept >= 2 && kept <= 8, `${kept} of 12 are held`);
      assert.deepEqual(held, held.map((_, i) => i >= 12 - kept), "the oldest went");
      await (await scene.join(finished[0])).problem(404, "not_found");
      same((await (await scene.join(finished[11])).rest()).written, finished[11]!.written);
      for (const live of lives) assert.equal((await (await scene.join(live)).events(1)).text, text);
      // Live ones are never given up.
      let refused: Reading | undefined;
      while (refused === undefined) {
        assert(taps.length < 20, "it is never full");
        const tap = new Tap();
        const live = await scene.start(tap.source, { disconnect: "continue", commitAfterMs: 0 });
        if (live.status !== 200) refused = live;
        else {
          taps.push(tap);
          tap.send(text);
          lives.push(await live.events(1));
        }
      }
      await refused.problem(503, "log_full");
      assert.match(refused.response.headers.get("retry-after") ?? "", /^\d+$/);
      assert(taps.length >= 6, `${taps.length} go on`);
      for (const live of lives) assert.equal((await (await scene.join(live)).events(1)).text, text);
      // One of them ends: there is room for the next.
      taps[0]!.queue.close();
      await lives[0]!.rest();
      const next = await scene.finished(["next"]);
      assert.equal(next.text, "next");
      for (const tap of taps) tap.queue.close();
      for (const live of lives) assert.equal((await live.rest()).last.event, "done");
    },
    { maxStreamBytes: 128 * KIB, maxBytes: 900 * KIB },
    !limitedInAll,
  );
}
