/**
 * `TokenStream` over a producer that the test holds in its hands: each way through its states, whoever
 * makes the bytes.
 */
import assert from "node:assert/strict";
import test, { afterEach } from "node:test";
import { active } from "../../lib/counters.ts";
import { StreamError } from "../../lib/error.ts";
import type {
  ByteProducer,
  ProducerPhase,
  ReaderOutcome,
} from "../../lib/pipeline/byte_producer.ts";
import { type ReaderOptions, TokenStream } from "../../lib/pipeline/stream.ts";
import type { Borrower } from "../../lib/sse/utf8.ts";
import { total } from "../support/child.ts";
import { until } from "../support/serve.ts";
import { timed } from "../support/timing.ts";

const encoder = new TextEncoder();
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A producer that says what the test tells it to, and notes what it is told. */
class Hand implements ByteProducer {
  phase: ProducerPhase = "starting";
  error: unknown;
  /** What `take` hands out, one after the other. */
  readonly pieces: string[] = [];
  /** What `conclude` adds. */
  last: string | undefined;
  readonly told: string[] = [];
  /** Why it was ended. */
  reason: unknown;
  broken: Error | undefined;

  get waiting(): number {
    return this.pieces.reduce((sum, piece) => sum + piece.length, 0);
  }

  conclude(): boolean {
    if (this.phase === "starting" || this.phase === "running") return false;
    if (this.last !== undefined) this.pieces.push(this.last);
    this.last = undefined;
    return true;
  }

  take(): Uint8Array<ArrayBuffer> {
    if (this.broken) throw this.broken;
    return encoder.encode(this.pieces.shift()) as Uint8Array<ArrayBuffer>;
  }

  lend(borrower: Borrower): void {
    const bytes = this.take();
    borrower.borrow(bytes, bytes.length);
  }

  heartbeat(): void {
    this.pieces.push(":\n");
  }

  drained(): void {
    this.told.push("drained");
  }

  end(outcome: ReaderOutcome, error?: unknown): void {
    this.told.push(outcome);
    this.reason = error;
  }

  /** How it was ended: once. */
  get ends(): string[] {
    return this.told.filter((what) => what !== "drained");
  }
}

interface Scene {
  readonly hand: Hand;
  readonly stream: TokenStream;
  /** The body, or the error that came before it. */
  readonly opened: Promise<unknown>;
  readonly abort: AbortController;
  /** How often its end was told. */
  ended: number;
  started: number;
}

interface SceneOptions extends ReaderOptions {
  isGone?: boolean;
  start?: (hand: Hand) => void;
}

function open(
  { isGone = false, start, ...options }: SceneOptions = {},
): Scene {
  const abort = new AbortController();
  if (isGone) abort.abort();
  const request = new Request("http://localhost/", { signal: abort.signal });
  const hand = new Hand();
  const stream = new TokenStream({
    request,
    options,
    owner: { onEnd: () => void scene.ended++ },
  });
  const scene = { hand, stream, abort, ended: 0, started: 0, opened: undefined as unknown };
  scene.opened = stream.open(hand, () => {
    scene.started++;
    start?.(hand);
  }, (body) => body).catch((error) => error);
  return scene as Scene;
}

/** Something is there to be sent. */
function give({ hand, stream }: Scene, ...pieces: string[]): void {
  if (hand.phase === "starting") hand.phase = "running";
  hand.pieces.push(...pieces);
  stream.wake();
}

/** There will be no more. */
function finish({ hand, stream }: Scene, last?: string, phase: ProducerPhase = "ended"): void {
  hand.phase = phase;
  hand.last = last;
  stream.wake();
}

/** The body's reader; the answer has to be a stream. */
async function readerOf({ opened }: Scene): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const body = await opened;
  assert(body instanceof ReadableStream, `it is ${body}`);
  return body.getReader();
}

async function textOf(
  reader: ReadableStreamDefaultReader<Uint8Array>,
): Promise<string | undefined> {
  const { value } = await reader.read();
  return value && new TextDecoder().decode(value);
}

afterEach(async () => {
  await until(() => total(active) === 0, 1000, "nothing left").catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(active)}`);
  });
});

// Before the head

test("what is all there before the head is one body, and no stream", async () => {
  const scene = open();
  give(scene, "all of it");
  finish(scene);
  const body = await scene.opened;
  assert(body instanceof Uint8Array);
  assert.equal(new TextDecoder().decode(body), "all of it");
  assert.deepEqual(scene.hand.ends, ["completed"]);
  assert.equal(scene.ended, 1);
});

test("what is more than 64 KiB is a stream, though all of it is there", async () => {
  const scene = open();
  give(scene, "x".repeat(64 * 1024));
  finish(scene, "end");
  const reader = await readerOf(scene);
  assert.equal((await textOf(reader))?.length, 64 * 1024);
  assert.equal(await textOf(reader), "end");
  assert.deepEqual(scene.hand.ends, ["completed"]);
  assert.equal(await textOf(reader), undefined);
});

test("the head leaves with the first item, and its timer goes", async () => {
  const scene = open({ commitAfterMs: 5000 });
  await turn();
  await turn();
  assert.equal(active.timers, 1);
  give(scene, "one");
  const reader = await readerOf(scene);
  assert.equal(await textOf(reader), "one");
  // Only the sweep of the heartbeats is left.
  assert.equal(active.timers, 1);
  finish(scene, "end");
  assert.equal(await textOf(reader), "end");
  assert.equal(active.timers, 0);
});

timed("the head leaves after commitAfterMs of silence, or at once where that is 0", async () => {
  for (const commitAfterMs of [0, 40]) {
    const fromMs = performance.now();
    const scene = open({ commitAfterMs });
    scene.hand.pieces.push(":\n");
    const reader = await readerOf(scene);
    const tookMs = performance.now() - fromMs;
    assert(commitAfterMs === 0 ? tookMs < 30 : tookMs >= 39, `${tookMs} ms`);
    assert.equal(await textOf(reader), ":\n");
    finish(scene);
    assert.equal(await textOf(reader), undefined);
  }
});

test("a document's head waits for its end: without a commitAfterMs it is open when its producer says so", async () => {
  const scene = open({ commitAfterMs: Infinity });
  scene.hand.pieces.push("half");
  scene.stream.wake();
  let isOpen = false;
  scene.opened.then(() => isOpen = true);
  await sleep(20);
  assert.equal(isOpen, false);
  assert.equal(active.timers, 0);
  finish(scene);
  assert((await scene.opened) instanceof Uint8Array);
});

test("a rejected producer's error is the answer, also where its end turns out not to be writable", async () => {
  for (const isLate of [false, true]) {
    const scene = open({ commitAfterMs: 0 });
    if (isLate) scene.hand.pieces.push("half a document");
    const error = scene.hand.error = new StreamError("quota");
    if (isLate) {
      scene.hand.conclude = () => {
        scene.hand.phase = "rejected";
        return true;
      };
    }
    finish(scene, undefined, isLate ? "ended" : "rejected");
    assert.equal(await scene.opened, error);
    assert.deepEqual(scene.hand.ends, ["failed"]);
    assert.equal(scene.hand.reason, error);
    assert.equal(scene.ended, 1);
  }
});

test("a failure after an item is the producer's to tell", async () => {
  const scene = open();
  scene.hand.error = new Error("broken");
  give(scene, "text");
  finish(scene);
  assert((await scene.opened) instanceof Uint8Array);
  assert.deepEqual(scene.hand.ends, ["completed"]);
});

test("a start that throws is the answer, and is told to the producer", async () => {
  const error = new Error("broken");
  const scene = open({
    start: () => {
      throw error;
    },
  });
  const opened = await scene.opened;
  assert(opened instanceof StreamError && opened.code === "internal" && opened.cause === error);
  assert.deepEqual(scene.hand.ends, ["failed"]);
  assert.equal(scene.hand.reason, error);
});

// Readers that leave

timed("a reader that has left before the start is noticed in the first turn", async () => {
  const scene = open({ isGone: true });
  const fromMs = performance.now();
  const opened = await scene.opened;
  assert(opened instanceof StreamError && opened.code === "disconnected");
  assert(performance.now() - fromMs < 50, "before commitAfterMs");
  assert.equal(scene.started, 1);
  assert.deepEqual(scene.hand.ends, ["unread"]);
  assert.equal(scene.ended, 1);
});

test("a stream that is committed in its first turn listens to the signal as well", async () => {
  const scene = open();
  give(scene, "x".repeat(64 * 1024));
  finish(scene, "end");
  await readerOf(scene);
  assert.equal(active.listeners, 1);
  scene.abort.abort();
  assert.deepEqual(scene.hand.ends, ["cancelled"]);
});

test("a reader that leaves before the head is told to the producer once", async () => {
  for (const isTimed of [false, true]) {
    const scene = open({ commitAfterMs: 1000 });
    if (isTimed) {
      await turn();
      await turn();
      assert.equal(active.timers, 1);
    }
    scene.abort.abort();
    const opened = await scene.opened;
    assert(opened instanceof StreamError && opened.code === "disconnected");
    give(scene, "late");
    finish(scene);
    await turn();
    assert.deepEqual(scene.hand.ends, [isTimed ? "cancelled" : "unread"]);
    assert.equal(scene.ended, 1);
  }
});

for (const how of ["abort", "cancel", "both"] as const) {
  for (const when of ["idle", "wanting", "ended"] as const) {
    test(`a reader that leaves by ${how} while the stream is ${when}`, async () => {
      const scene = open();
      give(scene, "one");
      const reader = await readerOf(scene);
      let read: Promise<unknown> | undefined;
      if (when !== "idle") await reader.read();
      if (when === "wanting") {
        read = reader.read();
        await turn();
      }
      if (when === "ended") {
        finish(scene, "end");
        await reader.read();
      }
      if (how !== "cancel") scene.abort.abort();
      if (how !== "abort") await reader.cancel("gone");
      await read;
      assert.deepEqual(scene.hand.ends, [when === "ended" ? "completed" : "cancelled"]);
      if (when !== "ended") {
        const { reason: error } = scene.hand;
        assert(error instanceof StreamError && error.code === "disconnected");
        assert.equal(error.cause, how === "cancel" ? "gone" : undefined);
      }
      assert.equal(scene.ended, 1);
      // What comes later is nobody's.
      give(scene, "late");
      scene.stream.shutDown();
      scene.stream.sweep(Infinity);
      await turn();
      assert.equal(scene.ended, 1);
    });
  }
}

// Demand

test("a chunk is written only where one is asked for", async () => {
  const scene = open();
  give(scene, "one");
  const reader = await readerOf(scene);
  give(scene, "two", "three");
  await turn();
  await turn();
  assert.deepEqual(scene.hand.pieces, ["two", "three"]);
  assert.equal(await textOf(reader), "one");
  assert.equal(await textOf(reader), "two");
  assert.equal(await textOf(reader), "three");
  const waits = textOf(reader);
  await turn();
  give(scene, "four");
  assert.equal(await waits, "four");
  assert.equal(scene.hand.told.filter((what) => what === "drained").length, 4);
  finish(scene, "end");
  assert.equal(await textOf(reader), "end");
  assert.equal(await textOf(reader), undefined);
});

test("an end without a last byte closes the body", async () => {
  for (const isWaiting of [true, false]) {
    const scene = open();
    give(scene, "one");
    const reader = await readerOf(scene);
    assert.equal(await textOf(reader), "one");
    const read = isWaiting ? textOf(reader) : undefined;
    await turn();
    finish(scene);
    await turn();
    assert.equal(await (read ?? textOf(reader)), undefined);
    assert.deepEqual(scene.hand.ends, ["completed"]);
  }
});

test("a supply that breaks ends the stream, and no exception leaves it", async () => {
  const scene = open();
  give(scene, "one");
  const reader = await readerOf(scene);
  await reader.read();
  scene.hand.broken = new Error("broken");
  give(scene, "two");
  await assert.rejects(reader.read(), StreamError);
  assert.deepEqual(scene.hand.ends, ["failed"]);
  assert.equal(scene.hand.reason, scene.hand.broken);
  assert.equal(scene.ended, 1);
});

// Breaking off

test("breaking off comes one read after the last text", async () => {
  const breakOff = new StreamError("internal");
  const failing = (scene: Scene, last?: string) => {
    scene.hand.error = breakOff;
    finish(scene, last, "broken");
  };
  const cases: Record<string, (scene: Scene) => void> = {
    "with the text": (scene) => {
      give(scene, "text");
      failing(scene);
    },
    "with its last": (scene) => failing(scene, "text"),
  };
  for (const [name, run] of Object.entries(cases)) {
    const scene = open({ heartbeatMs: 0 });
    run(scene);
    const reader = await readerOf(scene);
    assert.equal(await textOf(reader), "text", name);
    assert.deepEqual(scene.hand.ends, [], name);
    await assert.rejects(reader.read(), (error) => error === breakOff);
    assert.deepEqual(scene.hand.ends, ["completed"], name);
    assert.equal(scene.ended, 1);
  }
  // The text was read long ago: there is nothing to wait for.
  const late = open({ heartbeatMs: 0 });
  give(late, "text");
  const reader = await readerOf(late);
  assert.equal(await textOf(reader), "text");
  const read = reader.read();
  await turn();
  failing(late);
  await assert.rejects(read, (error) => error === breakOff);
  assert.deepEqual(late.hand.ends, ["completed"]);
});

// Silence and stalls

timed(
  "silence is broken by heartbeats, and only where the reader waits for something",
  async () => {
    const scene = open({ heartbeatMs: 100, stallMs: 0 });
    give(scene, "one");
    const reader = await readerOf(scene);
    // It has not taken the first chunk: nothing more is written.
    await sleep(250);
    assert.equal(await textOf(reader), "one");
    assert.equal(await textOf(reader), ":\n");
    assert.equal(await textOf(reader), ":\n");
    give(scene, "two");
    assert.equal(await textOf(reader), "two");
    finish(scene, "end");
    assert.equal(await textOf(reader), "end");
  },
);

test("a reader that takes nothing for stallMs is dropped, and its body is broken off", async () => {
  const scene = open({ heartbeatMs: 0, stallMs: 100 });
  give(scene, "one");
  const reader = await readerOf(scene);
  await until(() => scene.ended === 1, 2000, "it is dropped");
  assert.deepEqual(scene.hand.ends, ["cancelled"]);
  assert(scene.hand.reason instanceof StreamError && scene.hand.reason.code === "stalled");
  await assert.rejects(async () => {
    while (!(await reader.read()).done);
  }, (error) => error === scene.hand.reason);
});

timed("a reader that waits is never dropped, nor is any where stallMs is 0", async () => {
  const waiting = open({ heartbeatMs: 0, stallMs: 100 });
  const patient = open({ heartbeatMs: 0, stallMs: 0 });
  for (const scene of [waiting, patient]) give(scene, "one");
  const [reader, other] = [await readerOf(waiting), await readerOf(patient)];
  await reader.read();
  const read = textOf(reader);
  await sleep(300);
  assert.deepEqual([waiting.ended, patient.ended], [0, 0]);
  finish(waiting, "end");
  assert.equal(await read, "end");
  finish(patient, "end");
  assert.equal(await textOf(other), "one");
  assert.equal(await textOf(other), "end");
});

// Shutting down

for (const when of ["opening", "idle", "wanting"] as const) {
  test(`shutDown() sends all that waits and the end, asked for or not: ${when}`, async () => {
    const scene = open({ commitAfterMs: 5000 });
    let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
    let read: Promise<string | undefined> | undefined;
    if (when !== "opening") {
      give(scene, "one");
      reader = await readerOf(scene);
      if (when === "wanting") {
        assert.equal(await textOf(reader), "one");
        read = textOf(reader);
        await turn();
      }
    }
    scene.hand.pieces.push("x".repeat(70_000), "y".repeat(70_000));
    scene.hand.phase = "ended";
    scene.hand.last = "end";
    scene.stream.shutDown();
    assert.deepEqual(scene.hand.ends, ["completed"]);
    assert.equal(scene.ended, 1);
    reader ??= await readerOf(scene);
    let text = await read ?? "";
    for (let more = await textOf(reader); more !== undefined; more = await textOf(reader)) {
      text += more;
    }
    const all = "x".repeat(70_000) + "y".repeat(70_000) + "end";
    assert(text === (when === "idle" ? "one" + all : all), `${text.length} characters`);
    scene.stream.shutDown();
    assert.equal(scene.ended, 1);
  });
}

test("shutDown() of one whose supply goes on sends what waits, and leaves it to go on", async () => {
  const scene = open();
  give(scene, "one");
  const reader = await readerOf(scene);
  scene.hand.pieces.push("two");
  scene.stream.shutDown();
  assert.deepEqual(scene.hand.ends, []);
  assert.equal(await textOf(reader), "one");
  assert.equal(await textOf(reader), "two");
  finish(scene, "end");
  assert.equal(await textOf(reader), "end");
});
