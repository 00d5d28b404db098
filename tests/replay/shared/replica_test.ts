/** The copies of a followed stream by themselves: how many there are, and what is read for them. */
import assert from "node:assert/strict";
import test from "node:test";
import type { StreamPart, StreamRead } from "../../../lib/replay/shared/event_store.ts";
import { FollowedStream } from "../../../lib/replay/shared/replica.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { same } from "../../support/event_reader.ts";

const SIZE = 1000;
const event = (number: number) => `id: s.${number}\ndata: ${number}`.padEnd(SIZE - 2, "x") + "\n\n";
const text = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => event(from + i)).join("");

/** A stream of `last` events so far, each in a piece of its own, and its readers here. */
function follow() {
  const clock = new FakeClock();
  const state = { last: 0, reads: 0, removed: 0 };
  const read = ({ after }: StreamRead): Promise<StreamPart> => {
    state.reads++;
    const count = Math.max(0, Math.min(state.last - after, 65));
    const pieces = Array.from({ length: count }, (_, i) => {
      const number = after + i + 1;
      return { first: number, last: number, text: event(number) };
    });
    return Promise.resolve({
      last: state.last,
      end: undefined,
      isLost: false,
      isAlive: true,
      pieces,
    });
  };
  const stream = new FollowedStream({ streamId: "s", producerId: "p", isOver: false }, {
    clock,
    leaseMs: 10_000,
    read,
    messageMs: 0,
    ask: () => {},
    foundGap: () => {},
    reportPosition: () => {},
    reportSoon: () => {},
    markProducerLost: () => Promise.resolve(false),
    remove: () => void state.removed++,
  });
  const frames = { heartbeat: () => new Uint8Array(), fail: () => new Uint8Array() };
  const decoder = new TextDecoder();
  const reader = (after = 0) => {
    const followed = stream.follow(after, { run: () => {} }, frames);
    let taken = "";
    return {
      get taken() {
        return taken.replace(/^:\n/, "");
      },
      /** Takes all that there is; `once` takes one chunk of it. */
      async take(once = false): Promise<void> {
        do {
          await clock.advance(0);
          taken += decoder.decode(followed.take());
          followed.drained();
          await clock.advance(0);
        } while (!once && followed.waiting > 0);
      },
      leave: () => followed.end("cancelled"),
    };
  };
  const grow = async (count: number) => {
    state.last += count;
    stream.wake();
    await clock.advance(0);
  };
  return { state, stream, reader, grow };
}

test("readers at one place have one copy, and each event is read once", async () => {
  const { state, reader, grow } = follow();
  const readers = Array.from({ length: 10 }, () => reader());
  await grow(50);
  const { reads } = state;
  assert(reads <= 2, `${reads} reads`);
  for (const one of readers) await one.take();
  for (let i = 0; i < 20; i++) {
    await grow(1);
    for (const one of readers) await one.take();
  }
  assert.equal(state.reads - reads, 20);
  for (const { taken } of readers) same(taken, text(1, 70));
  for (const one of readers) one.leave();
  assert.equal(state.removed, 1);
});

test("a reader that joins where a copy is goes on from it", async () => {
  const { state, reader, grow } = follow();
  const first = reader();
  await grow(30);
  await first.take();
  const { reads } = state;
  const [second, third] = [reader(10), reader(30)];
  await second.take();
  assert.equal(state.reads, reads, "nothing is read for them");
  await grow(1);
  for (const one of [first, second, third]) await one.take();
  assert.equal(state.reads, reads + 1);
  same(second.taken, text(11, 31));
  same(third.taken, text(31, 31));
});

test("a reader that is behind has a copy of its own until it has caught up", async () => {
  const { state, reader, grow } = follow();
  const [fast, slow] = [reader(), reader()];
  for (let i = 0; i < 100; i++) {
    await grow(10);
    await fast.take();
  }
  const { reads } = state;
  await slow.take();
  assert(state.reads > reads + 5, "it reads again");
  same(slow.taken, text(1, 1000));
  const caughtUp = state.reads;
  for (let i = 0; i < 20; i++) {
    await grow(1);
    for (const one of [slow, fast]) await one.take();
  }
  assert(state.reads - caughtUp <= 22, `${state.reads - caughtUp} reads for 20 events`);
  for (const { taken } of [fast, slow]) same(taken, text(1, 1020));
  slow.leave();
  assert.equal(state.removed, 0);
  fast.leave();
  assert.equal(state.removed, 1);
});

test("readers ahead of the stream wait, and get what comes after their events", async () => {
  const { reader, grow } = follow();
  const readers = [0, 3, 4, 9].map((after) => ({ after, ...{ one: reader(after) } }));
  for (let i = 0; i < 12; i++) {
    await grow(1);
    for (const { one } of readers) await one.take();
  }
  for (const { after, one } of readers) same(one.taken, text(after + 1, 12));
});

test("a reader that takes nothing is read 64 KiB ahead, and a piece", async () => {
  const { state, reader, grow } = follow();
  const idle = reader();
  for (let i = 0; i < 100; i++) await grow(10);
  assert(state.reads <= 12, `${state.reads} reads`);
  await idle.take();
  same(idle.taken, text(1, 1000));
});
