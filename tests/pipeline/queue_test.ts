/** `AsyncQueue`: its state table, in every order and inside itself, and its two limits. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import {
  AsyncQueue as BareQueue,
  type AsyncQueueOptions,
  type Item,
  StreamError,
} from "../../mod.ts";
import { active } from "../../lib/counters.ts";
import { int, pick, random } from "../support/random.ts";

/** Every queue of a test is cancelled after it: what it had to settle must then be settled. */
const made: BareQueue<never>[] = [];
class AsyncQueue<T = Item> extends BareQueue<T> {
  constructor(options: AsyncQueueOptions = {}) {
    super(options);
    made.push(this as unknown as BareQueue<never>);
  }
}
afterEach(() => {
  for (const queue of made.splice(0)) queue.cancel(undefined);
  assert.equal(active.waiters, 0);
});

type State = AsyncQueue["state"];

/** Lets everything that is settled be heard. */
const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

/** What a promise says by now. */
async function answerOf(promise: Promise<boolean>): Promise<boolean | "waits"> {
  const waits = tick().then(() => "waits" as const);
  return await Promise.race([promise, waits]);
}

/** Counts the promises that wait since now: a test that broke before must not break the next. */
function counting(): () => number {
  const before = active.waiters;
  return () => active.waiters - before;
}

/** What a value counts while it waits. */
const sizeOf = (value: unknown): number =>
  (typeof value === "string" ? value : JSON.stringify(value)).length * 2 + 32;

interface Reader {
  /** All that was written and not taken. */
  waiting: unknown[];
  wakes: number;
  lates: number;
  /** Takes all that waits, as a stream does that flushes. */
  take(): unknown[];
}

/** Reads `queue` as a stream does; `onCall` is run inside the first call that the queue makes. */
function attach(queue: AsyncQueue, onCall: (queue: AsyncQueue) => unknown = () => {}): Reader {
  const reader: Reader = {
    waiting: [],
    wakes: 0,
    lates: 0,
    take() {
      const values = reader.waiting;
      reader.waiting = [];
      queue.drained();
      return values;
    },
  };
  let calls = 0;
  const called = () => {
    if (calls++ === 0) onCall(queue);
  };
  queue.attach({
    bounded: true,
    write(value) {
      reader.waiting.push(value);
      called();
      return reader.waiting.reduce((size: number, waits) => size + sizeOf(waits), 0);
    },
    wake() {
      reader.wakes++;
      called();
      if (queue.state === "cancelled") reader.waiting = [];
    },
    sentAfterEnd() {
      reader.lates++;
    },
  });
  return reader;
}

const BROKEN = new Error("broken");
const LEFT = new StreamError("disconnected");
const operations: Record<string, (queue: AsyncQueue) => unknown> = {
  send: (queue) => queue.send("inner"),
  close: (queue) => queue.close(),
  fail: (queue) => queue.fail(BROKEN),
  cancel: (queue) => queue.cancel(LEFT),
};

/** The state table of the class comment. */
function next(state: State, operation: string): State {
  if (operation === "cancel") return "cancelled";
  if (state !== "open" || operation === "send") return state;
  return operation === "close" ? "closed" : "failed";
}

test("AsyncQueue keeps its state table in every order of calls, read and not yet read", () => {
  const names = Object.keys(operations);
  let sequences: string[][] = [[]];
  for (let length = 1; length <= 5; length++) {
    sequences = sequences.flatMap((sequence) => names.map((name) => [...sequence, name]));
    for (const sequence of sequences) {
      for (const early of [true, false]) {
        const queue = new AsyncQueue();
        const reader = early ? attach(queue) : undefined;
        let aborts = 0;
        if (early) queue.signal.addEventListener("abort", () => aborts++);
        let state: State = "open";
        let error: unknown;
        let items = 0;
        for (const name of sequence) {
          operations[name]!(queue);
          if (name === "send" && state === "open") items++;
          const before: State = state;
          state = next(state, name);
          if (state === "cancelled") items = 0;
          if (state !== before && error === undefined) {
            error = { failed: BROKEN, cancelled: LEFT, closed: undefined, open: undefined }[state];
          }
          const where = `${sequence.join(", ")} at ${name}`;
          assert.equal(queue.state, state, where);
          assert.equal(queue.closed, state !== "open", where);
          assert.equal(queue.error, error, where);
        }
        const ended = state === "failed" || state === "cancelled";
        assert.equal(queue.signal.aborted, ended, sequence.join(", "));
        if (ended) assert.equal(queue.signal.reason, error, sequence.join(", "));
        if (early) assert.equal(aborts, ended ? 1 : 0, sequence.join(", "));
        assert.equal((reader ?? attach(queue)).take().length, items, sequence.join(", "));
      }
    }
  }
});

test("AsyncQueue keeps its state table for calls inside those that it makes to its reader", () => {
  for (const outer of Object.keys(operations)) {
    for (const [inner, run] of Object.entries(operations)) {
      const queue = new AsyncQueue();
      const reader = attach(queue, run);
      operations[outer]!(queue);
      const where = `${inner} inside ${outer}`;
      assert.equal(queue.state, next(next("open", outer), inner), where);
      const sent = outer !== "send" || inner === "cancel" ? 0 : inner === "send" ? 2 : 1;
      assert.equal(reader.waiting.length, sent, where);
      const failed = outer === "fail" || (outer === "send" && inner === "fail");
      const left = !failed && (outer === "cancel" || inner === "cancel");
      assert.equal(queue.error, failed ? BROKEN : left ? LEFT : undefined, where);
    }
  }
});

test("AsyncQueue keeps its state table for calls inside an abort listener", async () => {
  for (const outer of ["fail", "cancel"]) {
    for (const [inner, run] of Object.entries(operations)) {
      const queue = new AsyncQueue();
      const reader = attach(queue);
      queue.send("before");
      let answer: unknown;
      queue.signal.addEventListener("abort", () => answer = run(queue));
      operations[outer]!(queue);
      const where = `${inner} inside the abort of ${outer}`;
      assert.equal(queue.state, next(next("open", outer), inner), where);
      assert.equal(queue.error, outer === "fail" ? BROKEN : LEFT, where);
      assert.equal(reader.waiting.length, queue.state === "failed" ? 1 : 0, where);
      if (inner === "send") assert.equal(await answer, false, where);
    }
  }
});

test("AsyncQueue keeps its state table for calls inside the toJSON of a value", async () => {
  const waiters = counting();
  for (const [inner, run] of Object.entries(operations)) {
    for (const read of [true, false]) {
      const queue = new AsyncQueue();
      if (read) attach(queue);
      let calls = 0;
      const data = { toJSON: () => void (calls++ === 0 && run(queue)) };
      const answer = await queue.send({ data });
      assert.equal(queue.state, next("open", inner), inner);
      if (inner === "cancel") assert.equal(answer, false);
      queue.cancel(LEFT);
      assert.equal(waiters(), 0);
      if (!read) assert.deepEqual(attach(queue).take(), [], inner);
    }
  }
});

test("AsyncQueue.close() and fail() deliver what is queued, cancel() drops it", () => {
  for (const [end, left] of [["close", 2], ["fail", 2], ["cancel", 0]] as const) {
    const queue = new AsyncQueue();
    queue.send("a");
    queue.send("b");
    operations[end]!(queue);
    assert.deepEqual(attach(queue).take(), ["a", "b"].slice(0, left), end);
  }
});

test("AsyncQueue.close(), fail() and cancel() wake the reader", () => {
  for (const end of ["close", "fail", "cancel"]) {
    const queue = new AsyncQueue();
    const reader = attach(queue);
    operations[end]!(queue);
    assert.equal(reader.wakes, 1, end);
    operations[end]!(queue);
    assert.equal(reader.wakes, 1, `${end} twice`);
  }
});

test("AsyncQueue.send() answers with one shared promise while there is room", async () => {
  const waiters = counting();
  const queue = new AsyncQueue({ highWaterMark: 1000 });
  const answers = [queue.send("a"), queue.send("b"), new AsyncQueue().send("c"), queue.send("")];
  attach(queue);
  answers.push(queue.send("d"));
  assert.equal(new Set(answers).size, 1);
  assert.equal(await answerOf(answers[0]!), true);
  assert.equal(waiters(), 0);
});

test("AsyncQueue.send() waits from highWaterMark on and answers true when the items are taken", async () => {
  const waiters = counting();
  // An item counts two bytes a unit and 32.
  const queue = new AsyncQueue({ highWaterMark: 68 });
  const reader = attach(queue);
  assert.equal(await answerOf(queue.send("a")), true);
  const waiting = [queue.send("b"), queue.send("c"), queue.send("d")];
  for (const answer of waiting) assert.equal(await answerOf(answer), "waits");
  assert.ok(waiters() > 0);
  assert.deepEqual(reader.take(), ["a", "b", "c", "d"]);
  for (const answer of waiting) assert.equal(await answerOf(answer), true);
  assert.equal(waiters(), 0);
  assert.equal(await answerOf(queue.send("e")), true);
});

test("AsyncQueue.send() that waits answers false on cancel, true when taken after close or fail", async () => {
  const waiters = counting();
  for (const [end, expected] of [["close", true], ["fail", true], ["cancel", false]] as const) {
    const queue = new AsyncQueue({ highWaterMark: 1 });
    const reader = attach(queue);
    const waiting = [queue.send("a"), queue.send("b")];
    operations[end]!(queue);
    if (end !== "cancel") {
      for (const answer of waiting) assert.equal(await answerOf(answer), "waits", end);
      assert.deepEqual(reader.take(), ["a", "b"]);
    }
    for (const answer of waiting) assert.equal(await answerOf(answer), expected, end);
    assert.equal(waiters(), 0, end);
  }
});

test("AsyncQueue.send() answers false to what waits when the queue fails and is then cancelled", async () => {
  const waiters = counting();
  const queue = new AsyncQueue({ highWaterMark: 1 });
  attach(queue);
  const waiting = queue.send("a");
  queue.fail(BROKEN);
  queue.cancel(LEFT);
  assert.equal(await answerOf(waiting), false);
  assert.deepEqual([queue.state, queue.error, queue.signal.reason], ["cancelled", BROKEN, BROKEN]);
  assert.equal(waiters(), 0);
});

test("AsyncQueue.send() answers false once the queue has ended, also inside the call it caused", async () => {
  const waiters = counting();
  for (const end of ["close", "fail", "cancel"]) {
    const queue = new AsyncQueue();
    operations[end]!(queue);
    assert.equal(await answerOf(queue.send("a")), false, end);
    assert.deepEqual(attach(queue).take(), []);
  }
  for (const highWaterMark of [1, 1000]) {
    // The value was dropped before `send` could answer.
    const queue = new AsyncQueue({ highWaterMark });
    attach(queue, operations.cancel);
    assert.equal(await answerOf(queue.send("a")), false, `highWaterMark ${highWaterMark}`);
    assert.equal(waiters(), 0);
  }
});

test("AsyncQueue.send() tells the reader of every value after close, and only then", () => {
  for (const [end, lates] of [["close", 2], ["fail", 0], ["cancel", 0]] as const) {
    const queue = new AsyncQueue();
    const reader = attach(queue);
    queue.send("a");
    operations[end]!(queue);
    assert.equal(reader.lates, 0);
    queue.send("late");
    queue.send({ data: "late" });
    assert.equal(reader.lates, lates, end);
  }
  const queue = new AsyncQueue();
  const reader = attach(queue);
  queue.close();
  queue.cancel(LEFT);
  queue.send("late");
  assert.equal(reader.lates, 0);
});

test("AsyncQueue.send() fails the queue with overflow at maxBufferedBytes and not before", async () => {
  const waiters = counting();
  // Each item counts 34: two fill the 68, the third finds them waiting.
  const queue = new AsyncQueue({ highWaterMark: 68, maxBufferedBytes: 68 });
  const reader = attach(queue);
  queue.send("a");
  const waiting = queue.send("b");
  assert.equal(queue.state, "open");
  assert.equal(await answerOf(queue.send("c")), false);
  assert.equal(queue.state, "failed");
  assert.ok(queue.error instanceof StreamError && queue.error.code === "overflow");
  assert.ok(queue.signal.aborted && queue.signal.reason === queue.error);
  assert.equal(queue.signal.reason.code, "overflow");
  assert.deepEqual(reader.take(), ["a", "b"]);
  assert.equal(await answerOf(waiting), true);
  assert.equal(waiters(), 0);
});

test("AsyncQueue.send() aborts the signal with overflow for one who has listened before", () => {
  const queue = new AsyncQueue({ highWaterMark: 1, maxBufferedBytes: 1 });
  attach(queue);
  const reasons: string[] = [];
  queue.signal.addEventListener("abort", () => reasons.push(queue.signal.reason.code));
  for (let i = 0; i < 3; i++) queue.send("a");
  assert.deepEqual(reasons, ["overflow"]);
});

test("AsyncQueue.send() takes one item of any size while less than maxBufferedBytes waits", () => {
  const queue = new AsyncQueue({ highWaterMark: 10, maxBufferedBytes: 35 });
  const reader = attach(queue);
  queue.send("a");
  queue.send("x".repeat(10_000));
  assert.equal(queue.state, "open");
  reader.take();
  queue.send({ data: "x".repeat(10_000) });
  assert.equal(queue.state, "open");
  queue.send("b");
  assert.equal(queue.state, "failed");
});

test("AsyncQueue by default waits from 64 KiB and overflows at 1 MiB", async () => {
  const queue = new AsyncQueue();
  const half = "x".repeat(16 * 1024 - 17);
  assert.equal(await answerOf(queue.send(half)), true);
  assert.equal(await answerOf(queue.send(half)), true);
  assert.equal(await answerOf(queue.send("x")), "waits");
  const size = 1024 * 1024 - 2 * (32 * 1024 - 2) - 34;
  queue.send("x".repeat(size / 2 - 16 - 1));
  assert.equal(queue.state, "open");
  queue.send("x");
  assert.equal(queue.state, "open");
  queue.send("x");
  assert.equal(queue.state, "failed");
  queue.cancel(LEFT);
});

test("AsyncQueue.send() counts structured data by its JSON", async () => {
  const queue = new AsyncQueue();
  assert.equal(await answerOf(queue.send({ data: "x".repeat(10_000) })), true);
  assert.equal(await answerOf(queue.send({ data: ["x".repeat(40_000)] })), "waits");
  queue.cancel(LEFT);
});

test("AsyncQueue.send() fails the queue with what its reader throws, after what came before", async () => {
  const queue = new AsyncQueue();
  const taken: unknown[] = [];
  queue.attach({
    bounded: true,
    write(value) {
      if (value === "bad") throw BROKEN;
      return taken.push(value);
    },
    wake() {},
    sentAfterEnd() {},
  });
  assert.equal(await queue.send("good"), true);
  assert.equal(await queue.send("bad"), false);
  assert.deepEqual([queue.state, queue.error, taken], ["failed", BROKEN, ["good"]]);
});

test("AsyncQueue.send() skips the empty string, null and undefined", async () => {
  const queue = new AsyncQueue();
  for (const value of ["", null, undefined] as string[]) {
    assert.equal(await queue.send(value), true);
  }
  const reader = attach(queue);
  for (const value of ["", null, undefined] as string[]) {
    assert.equal(await queue.send(value), true);
  }
  assert.deepEqual(reader.take(), []);
  assert.equal(queue.state, "open");
});

test("AsyncQueue.send() never throws and never rejects, whatever it is given", async () => {
  const circular: { data?: unknown } = {};
  circular.data = circular;
  const broken = () => {
    throw BROKEN;
  };
  const hostile: unknown[] = [
    circular,
    { data: 1n },
    1n,
    Symbol("a"),
    () => {},
    { data: undefined },
    { data: Symbol("a") },
    { data: { toJSON: () => undefined } },
    { data: { toJSON: broken } },
    Object.defineProperty({}, "data", { get: broken, enumerable: true }),
    new Proxy({}, { get: broken, has: broken, ownKeys: broken }),
  ];
  for (const [index, value] of hostile.entries()) {
    const queue = new AsyncQueue<unknown>();
    queue.send("before");
    const sent = await queue.send(value);
    assert.equal(queue.state, sent ? "open" : "failed", `value ${index}`);
    if (!sent) assert.ok(queue.error === BROKEN || queue.error instanceof TypeError);
    queue.close();
    assert.equal((await queue[Symbol.asyncIterator]().next()).value, "before", `value ${index}`);
  }
  const queue = new AsyncQueue<unknown>();
  assert.equal(await queue.send(circular), false);
  assert.ok(queue.error instanceof TypeError);
});

test("AsyncQueue.room() settles when nothing waits any more, with false once the queue has ended", async () => {
  const waiters = counting();
  const queue = new AsyncQueue({ highWaterMark: 1000 });
  const reader = attach(queue);
  assert.equal(await answerOf(queue.room()), true);
  queue.send("a");
  assert.equal(queue.bytes, 34);
  const room = queue.room();
  assert.equal(await answerOf(room), "waits");
  reader.take();
  assert.equal(await answerOf(room), true);
  queue.send("b");
  const dropped = queue.room();
  queue.cancel(LEFT);
  assert.equal(await answerOf(dropped), false);
  assert.equal(await answerOf(queue.room()), false);
  assert.equal(waiters(), 0);
});

test("AsyncQueue.close() keeps the summary that it was given first", () => {
  const queue = new AsyncQueue();
  queue.close({ finishReason: "stop" });
  queue.close({ finishReason: "length" });
  assert.deepEqual(queue.summary, { finishReason: "stop" });
});

test("AsyncQueue.signal that is first asked for after cancel or fail is aborted with the reason", () => {
  const cancelled = new AsyncQueue();
  cancelled.cancel(LEFT);
  assert.ok(cancelled.signal.aborted);
  assert.equal(cancelled.signal.reason, LEFT);
  const failed = new AsyncQueue();
  failed.fail(BROKEN);
  assert.equal(failed.signal.reason, BROKEN);
  failed.cancel(LEFT);
  assert.equal(failed.signal.reason, BROKEN);
});

test("AsyncQueue.signal is one signal and does not abort on close", () => {
  const queue = new AsyncQueue();
  const { signal } = queue;
  queue.close();
  assert.equal(queue.signal, signal);
  assert.equal(signal.aborted, false);
  queue.cancel(LEFT);
  assert.equal(signal.reason, LEFT);
});

test("AsyncQueue has one reader only", async () => {
  const queue = new AsyncQueue();
  attach(queue);
  assert.throws(() => attach(queue), TypeError);
  await assert.rejects(queue[Symbol.asyncIterator]().next(), TypeError);
  const iterated = new AsyncQueue<string>();
  iterated.send("a");
  iterated.send("b");
  iterated.close();
  const values: string[] = [];
  for await (const value of iterated) {
    values.push(value);
    // A second reader is turned away and takes nothing from the first.
    await assert.rejects(iterated[Symbol.asyncIterator]().next(), TypeError);
  }
  assert.deepEqual(values, ["a", "b"]);
});

test("AsyncQueue refuses limits out of their bounds", () => {
  const bad: AsyncQueueOptions[] = [
    { highWaterMark: 0 },
    { highWaterMark: -1 },
    { highWaterMark: NaN },
    { maxBufferedBytes: 0 },
    { maxBufferedBytes: NaN },
    { maxBufferedBytes: 64 * 1024 - 1 },
    { highWaterMark: 100, maxBufferedBytes: 99 },
  ];
  for (const options of bad) {
    assert.throws(() => new AsyncQueue(options), RangeError, JSON.stringify(options));
  }
  for (const options of [{ highWaterMark: 1, maxBufferedBytes: 1 }, { highWaterMark: 2 ** 22 }]) {
    assert.equal(new AsyncQueue(options).state, "open");
  }
});

test("AsyncQueue iterates over what is sent before and while it is read, until close", async () => {
  const waiters = counting();
  const queue = new AsyncQueue<unknown>({ highWaterMark: 1 });
  queue.send("a");
  const produced = (async () => {
    for (const value of ["b", { data: 1 }, "", "c", null, "d"]) {
      await tick();
      assert.equal(await queue.send(value), true);
    }
    queue.close();
  })();
  assert.deepEqual(await Array.fromAsync(queue), ["a", "b", { data: 1 }, "c", "d"]);
  await produced;
  assert.equal(waiters(), 0);
});

test("AsyncQueue iteration throws the failure after the values that came before it", async () => {
  for (const wait of [false, true]) {
    const queue = new AsyncQueue<string>();
    const send = async () => {
      if (wait) await tick();
      queue.send("a");
      queue.send("b");
      queue.fail(BROKEN);
    };
    const sent = send();
    const values: string[] = [];
    await assert.rejects(async () => {
      for await (const value of queue) values.push(value);
    }, (error) => error === BROKEN);
    assert.deepEqual(values, ["a", "b"]);
    await sent;
  }
});

test("AsyncQueue iteration ends when somebody else cancels the queue, and drops what waits", async () => {
  for (const at of ["at once", "later"]) {
    const queue = new AsyncQueue<string>();
    queue.send("a");
    if (at === "at once") queue.send("dropped");
    const values: string[] = [];
    for await (const value of queue) {
      values.push(value);
      if (at === "at once") queue.cancel(LEFT);
      else setTimeout(() => queue.cancel(LEFT), 0);
    }
    assert.deepEqual(values, ["a"], at);
  }
});

test("AsyncQueue iteration that is left cancels the queue", async () => {
  const waiters = counting();
  for (const how of ["break", "throw"]) {
    const queue = new AsyncQueue<string>({ highWaterMark: 1 });
    const answers = [queue.send("a"), queue.send("b")];
    const leave = async () => {
      for await (const value of queue) {
        assert.equal(value, "a");
        answers.push(queue.send("c"));
        if (how === "break") break;
        throw BROKEN;
      }
    };
    if (how === "break") await leave();
    else await assert.rejects(leave(), (error) => error === BROKEN);
    assert.equal(queue.state, "cancelled", how);
    assert.equal(queue.signal.reason.code, "disconnected", how);
    // The first batch had been taken when the loop was left, the third value had not.
    assert.deepEqual(await Promise.all(answers), [true, true, false], how);
    assert.equal(await queue.send("d"), false, how);
    assert.equal(waiters(), 0, how);
  }
});

/** The queue as plainly as it can be said; what `send` answers is settled when the model knows it. */
class Model {
  state: State = "open";
  items: string[] = [];
  error: unknown;
  readonly answers: { expected: boolean | "waits"; answer: Promise<boolean> }[] = [];
  readonly highWaterMark: number;
  readonly maxBufferedBytes: number;

  constructor(highWaterMark: number, maxBufferedBytes: number) {
    this.highWaterMark = highWaterMark;
    this.maxBufferedBytes = maxBufferedBytes;
  }

  get bytes(): number {
    return this.items.reduce((size, item) => size + item.length * 2 + 32, 0);
  }

  send(item: string, answer: Promise<boolean>): void {
    let expected: boolean | "waits" = false;
    if (this.state === "open" && this.bytes >= this.maxBufferedBytes) {
      this.state = "failed";
      this.error = "overflow";
    } else if (this.state === "open") {
      this.items.push(item);
      expected = this.bytes < this.highWaterMark ? true : "waits";
    }
    this.answers.push({ expected, answer });
  }

  take(): string[] {
    const { items } = this;
    this.items = [];
    this.#settle(true);
    return items;
  }

  end(state: State, error?: unknown): void {
    if (this.state === "cancelled" || (this.state !== "open" && state !== "cancelled")) return;
    if (this.state !== "failed") this.error = error;
    this.state = state;
    if (state !== "cancelled") return;
    this.items = [];
    this.#settle(false);
  }

  #settle(room: boolean): void {
    for (const one of this.answers) if (one.expected === "waits") one.expected = room;
  }
}

test("AsyncQueue agrees with its model for any interleaving of calls", async () => {
  const waiters = counting();
  for (let seed = 0; seed < 400; seed++) {
    const chance = random(seed);
    const highWaterMark = 1 + int(chance, 200);
    const maxBufferedBytes = highWaterMark + int(chance, 200);
    const model = new Model(highWaterMark, maxBufferedBytes);
    const queue = new AsyncQueue({ highWaterMark, maxBufferedBytes });
    let reader: Reader | undefined;
    if (int(chance, 2) === 0) assert.equal(queue.signal.aborted, false);
    const calls = ["send", "send", "send", "send", "send", "take", "take", "tick", "end"];
    for (let step = 0; step < 30; step++) {
      const where = `seed ${seed}, step ${step}`;
      const call = pick(chance, calls);
      if (call === "send") {
        const item = "x".repeat(1 + int(chance, 30));
        model.send(item, queue.send(item));
      } else if (call === "take") {
        reader ??= attach(queue);
        assert.deepEqual(reader.take(), model.take(), where);
      } else if (call === "tick") {
        await Promise.resolve();
      } else if (int(chance, 3) === 0) {
        const end = pick(chance, ["close", "fail", "cancel"]);
        operations[end]!(queue);
        model.end(next("open", end), { close: undefined, fail: BROKEN, cancel: LEFT }[end]);
      }
      assert.equal(queue.state, model.state, where);
      const { error } = queue;
      const told = error instanceof StreamError && error.code === "overflow" ? "overflow" : error;
      assert.equal(told, model.error, where);
    }
    const waits = model.answers.some(({ expected }) => expected === "waits");
    assert.equal(waiters(), waits ? 1 : 0, `seed ${seed}`);
    queue.cancel(LEFT);
    model.end("cancelled", LEFT);
    assert.equal(queue.signal.aborted, true);
    assert.equal(waiters(), 0, `seed ${seed}`);
    const answers = await Promise.all(model.answers.map(({ answer }) => answer));
    assert.deepEqual(answers, model.answers.map(({ expected }) => expected), `seed ${seed}`);
  }
});
