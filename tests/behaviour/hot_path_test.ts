/**
 * What a token and a flush cost, counted: the table in bench/README.md ("What a token costs") is this
 * test. It stands apart because it replaces globals.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { AsyncQueue, type Item, MemoryLog, type Source, sse, type SseOptions } from "../../mod.ts";

/** How often each of these was called or made. */
type Counts = Record<
  "promises" | "encodes" | "timers" | "hops" | "microtasks" | "chunks" | "listeners",
  number
>;

interface Globals {
  Promise: PromiseConstructor;
  setTimeout: typeof setTimeout;
  setInterval: typeof setInterval;
  setImmediate: (callback: () => void) => unknown;
  queueMicrotask: typeof queueMicrotask;
}

/** Counts what `run` does. */
async function count(run: () => Promise<number>): Promise<Counts> {
  const counts: Counts = {
    promises: 0,
    encodes: 0,
    timers: 0,
    hops: 0,
    microtasks: 0,
    chunks: 0,
    listeners: 0,
  };
  const undo: (() => void)[] = [];
  function replace<T extends object, K extends keyof T>(holder: T, key: K, counted: keyof Counts) {
    const real = holder[key] as unknown as (...args: unknown[]) => unknown;
    if (typeof real !== "function") return;
    holder[key] = function (this: unknown, ...args: unknown[]): unknown {
      counts[counted]++;
      return Reflect.apply(real, this, args);
    } as unknown as T[K];
    undo.push(() => holder[key] = real as unknown as T[K]);
  }
  const globals = globalThis as unknown as Globals;
  replace(TextEncoder.prototype, "encode", "encodes");
  replace(TextEncoder.prototype, "encodeInto", "encodes");
  replace(globals, "setTimeout", "timers");
  replace(globals, "setInterval", "timers");
  replace(globals, "queueMicrotask", "microtasks");
  replace(MessagePort.prototype, "postMessage", "hops");
  replace(AbortSignal.prototype, "addEventListener", "listeners");
  const Real = globals.Promise;
  globals.Promise = class<T> extends Real<T> {
    constructor(executor: ConstructorParameters<typeof Real<T>>[0]) {
      super(executor);
      counts.promises++;
    }
    static override get [Symbol.species](): PromiseConstructor {
      return Real;
    }
  } as PromiseConstructor;
  undo.push(() => globals.Promise = Real);
  try {
    counts.chunks = await run();
  } finally {
    for (const put of undo) put();
  }
  return counts;
}

/** Reads a stream to its end and answers in how many chunks it came. */
async function read(source: Source<undefined>, options: SseOptions = {}): Promise<number> {
  const response = await sse(new Request("http://localhost/"), source, options);
  const reader = response.body!.getReader();
  let chunks = 0;
  while (!(await reader.read()).done) chunks++;
  return chunks;
}

const word = (i: number) => ` token${i % 7}`;
const KINDS: Record<string, (count: number) => Source<undefined>> = {
  "an async generator": (count) =>
    async function* () {
      for (let i = 0; i < count; i++) yield word(i);
    },
  "a sync iterable": (count) =>
    function* () {
      for (let i = 0; i < count; i++) yield word(i);
    },
  "callbacks": (count) => ({ queue }) => {
    for (let i = 0; i < count; i++) queue.send(word(i));
    queue.close();
  },
};

/** What a stream may cost beside its tokens: to open it, to end it, and for each chunk. */
const PER_STREAM = 12;
const PER_CHUNK = 6;

for (const [kind, source] of Object.entries(KINDS)) {
  for (const log of [undefined, new MemoryLog()]) {
    test(`${kind}${log ? ", logged," : ""} costs nothing of a token but its bytes`, async () => {
      const options: SseOptions = { format: "json", ...log ? { log } : {} };
      await read(source(10), options);
      for (const tokens of [100, 20_000]) {
        const counts = await count(() => read(source(tokens), options));
        const most = PER_STREAM + PER_CHUNK * (counts.chunks + 1);
        assert(counts.chunks <= 2 + tokens / 100, `${counts.chunks} chunks for ${tokens} tokens`);
        assert(counts.encodes <= 8, `${counts.encodes} encodes`);
        for (const [what, value] of Object.entries(counts)) {
          assert(value <= most, `${value} ${what} for ${tokens} tokens in ${counts.chunks} chunks`);
        }
      }
    });
  }
}

test("send() makes no promise while there is room, and one for all who wait", () => {
  const queue = new AsyncQueue<Item>({ highWaterMark: 1000 });
  const first = queue.send("a");
  for (let i = 0; i < 5; i++) assert.equal(queue.send("b"), first);
  const waits = queue.send("x".repeat(2000));
  assert.notEqual(waits, first);
  assert.equal(queue.send("c"), waits);
  queue.cancel(new Error("over"));
});
