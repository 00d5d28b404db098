/**
 * What every `EventStore` has to do, as checks for any test runner. Separate from the other tools
 * because it tests a store, and they test a source.
 */
import type {
  AppendResult,
  EventStore,
  Producer,
  StoredPiece,
  StreamAppend,
} from "../replay/shared/event_store.ts";
import { createStreamId as randomId } from "../stream_id.ts";

/** One check of a store. */
export interface StoreCheck {
  /** What the store has to do. */
  readonly name: string;
  /** Runs the check. Rejects with an `Error` that tells what was expected. */
  readonly run: () => Promise<void>;
}

/**
 * Returns the checks that every store has to pass. Each takes less than three seconds, and at most
 * 15 s where the store has just been restarted.
 *
 * @example
 * ```ts ignore
 * for (const { name, run } of eventStoreContract(() => new MyStore("file.db"))) test(name, run);
 * ```
 *
 * @param makeStore Makes the store of one process. Called twice in each check: the two stand for two
 * processes, and have to share what they keep.
 */
export function eventStoreContract(
  makeStore: () => EventStore | Promise<EventStore>,
): StoreCheck[] {
  return CHECKS.map(([name, check]) => ({
    name: `EventStore: ${name}`,
    async run() {
      const stores = [await makeStore(), await makeStore()] as const;
      try {
        await check(new Scene(...stores));
      } finally {
        for (const store of stores) await store.close?.();
      }
    },
  }));
}

const LEASE_MS = 300;
/** A store that was just restarted marks nothing as lost for a while. */
const RESTART_MS = 12_000;
/** No part is that long. */
const ALL = 10 ** 9;
const HOSTILE = "id: x.1\nevent: \0\u2028\ufeff é世界😀 \\\"'`$%{{}}\r\n\n";

/** Two processes that share a store, and one stream of the first. */
class Scene {
  readonly one: EventStore;
  readonly other: EventStore;
  readonly producer: Producer = producerOf(randomId());
  readonly stranger: Producer = producerOf(randomId());
  readonly streamId: string = randomId();
  readonly chat: string = JSON.stringify([randomId(), "it's a \u0000 chat"]);

  constructor(one: EventStore, other: EventStore) {
    this.one = one;
    this.other = other;
  }

  /** An append of events `first` to `last`, in one piece. */
  events(first: number, last: number, more: Partial<StreamAppend> = {}): StreamAppend {
    const pieces = last < first ? [] : [piece(first, last)];
    const { streamId } = this;
    return {
      ...{ streamId, chat: undefined, info: undefined, first: 1, last, end: undefined, pieces },
      ...more,
    };
  }

  async append(...appends: StreamAppend[]): Promise<readonly AppendResult[]> {
    return await this.one.append(this.producer, appends);
  }

  /** Appends to the stream, which may be new. */
  async write(first: number, last: number, more: Partial<StreamAppend> = {}): Promise<void> {
    const append = this.events(first, last, { info: "info", ...more });
    same(await this.append(append), [{ state: "ok", last }], `append of ${first} to ${last}`);
  }

  /** What the other process reads after an event. */
  async read(after: number, maxLength = ALL) {
    const { streamId, producer } = this;
    const [part] = await this.other.read([{ streamId, producerId: producer.id, after }], maxLength);
    // What else is in a part or a piece is the store's own.
    const pieces = part?.pieces.map(({ first, last, text }) => ({ first, last, text }));
    return part && { ...part, pieces: pieces! };
  }

  async texts(after: number): Promise<string[] | undefined> {
    return (await this.read(after))?.pieces.map(({ text }) => text);
  }

  markLost(caller: Producer, last: number, producerId = this.producer.id): Promise<boolean> {
    return this.other.markLost(caller, { streamId: this.streamId, producerId, last });
  }
}

function producerOf(id: string): Producer {
  return { id, leaseMs: LEASE_MS, liveMs: 60_000, keepMs: 60_000 };
}

function piece(first: number, last: number): StoredPiece {
  return { first, last, text: `${first}-${last}` };
}

const CHECKS: readonly [name: string, check: (scene: Scene) => Promise<void>][] = [
  ["append() needs the info of a stream that is new, and find() returns it", async (scene) => {
    same(await scene.append(scene.events(1, 2)), [{ state: "missing" }], "append without info");
    const found = await scene.other.find(scene.streamId) ?? undefined;
    same(found, undefined, "find of what was not appended");
    await scene.write(1, 2, { info: HOSTILE });
    await scene.write(3, 3, { info: "is ignored" });
    const { producerId, info, first, last, end, isLost } = await scene.other.find(scene.streamId) ??
      {};
    same([producerId, info], [scene.producer.id, HOSTILE], "producer and info");
    same([first, last, end, isLost], [1, 3, undefined, false], "first, last, end and isLost");
    // It may be on its way, as that one was.
    same(
      await scene.other.find(randomId()),
      undefined,
      "find of an unknown stream after a new one",
    );
  }],
  ["a stream is dropped when its time is over, and not before", async (scene) => {
    const { one, other } = scene;
    const kinds = [[300, undefined], [60_000, undefined], [300, 1], [60_000, 1]] as const;
    for (const [ms, end] of kinds) {
      const streamId = randomId();
      const times = end === undefined ? { liveMs: ms, keepMs: 1 } : { liveMs: 1, keepMs: ms };
      const append = { ...scene.events(1, 1, { info: "info", end }), streamId };
      await one.append({ ...scene.producer, ...times }, [append]);
      const what = end === undefined ? "a stream that goes on" : "a stream that has ended";
      if (ms > 300) {
        await new Promise((resolve) => setTimeout(resolve, 300));
        same((await other.find(streamId))?.last, 1, `the last event of ${what}, within its time`);
      } else {
        const isGone = async () => (await other.find(streamId) ?? undefined) === undefined;
        await eventually(isGone, 1500, `${what} is dropped after ${ms} ms`);
      }
    }
  }],
  ["a stream may be kept before it has events", async (scene) => {
    await scene.write(1, 0);
    const { first, last } = await scene.other.find(scene.streamId) ?? {};
    same([first, last], [1, 0], "first and last event");
    same(await scene.texts(0), [], "texts");
    await scene.write(1, 1);
    same(await scene.texts(0), ["1-1"], "texts");
  }],
  ["of two that append a new stream at once, one has it, also without events", async (scene) => {
    const { one, other, producer, stranger, streamId } = scene;
    const append = (store: EventStore, by: Producer, end?: number) =>
      store.append(by, [scene.events(1, 0, { info: by.id, end })]);
    const states = (await Promise.all([append(one, producer), append(other, stranger)])).flat();
    const winner = states[0]?.state === "ok" ? producer : stranger;
    same(states.map(({ state }) => state).sort(), ["ok", "taken"], "states");
    same((await one.find(streamId))?.info, winner.id, "info");
    same(await append(one, winner, 1), [{ state: "ok", last: 0 }], "append of an end");
    const { last, end } = await other.find(streamId) ?? {};
    same([last, end], [0, 1], "last and end");
    const loser = winner === producer ? stranger : producer;
    same((await append(other, loser))[0]?.state, "taken", "state after the end");
    await other.forget(winner.id, streamId, undefined);
    same(await append(other, loser), [{ state: "ok", last: 0 }], "append after it was forgotten");
  }],
  ["append() twice is append() once", async (scene) => {
    for (let i = 0; i < 3; i++) await scene.write(1, 3);
    same(await scene.texts(0), ["1-3"], "texts");
    // Cut otherwise than the first time, it overlaps.
    await scene.write(2, 5);
    same(await scene.texts(0), ["1-3", "2-5"], "texts after an overlap");
    same(await scene.texts(4), ["2-5"], "texts after event 4");
  }],
  ["append() leaves out what does not follow, and returns how far the store is", async (scene) => {
    await scene.write(1, 3);
    const ahead = scene.events(6, 9, { pieces: [piece(6, 7), piece(8, 9)] });
    same(await scene.append(ahead), [{ state: "ok", last: 3 }], "append of 6 to 9");
    const partly = scene.events(4, 9, { pieces: [piece(4, 5), piece(8, 9)] });
    same(await scene.append(partly), [{ state: "ok", last: 5 }], "append of 4, 5, 8 and 9");
    same(await scene.append(scene.events(6, 5)), [{ state: "ok", last: 5 }], "append of nothing");
    same(await scene.texts(0), ["1-3", "4-5"], "texts");
  }],
  ["what the producer holds no longer is a gap, and goes from the store", async (scene) => {
    await scene.write(1, 3);
    await scene.write(8, 9, { first: 8 });
    same(await scene.texts(0), ["8-9"], "texts");
    same((await scene.other.find(scene.streamId))?.first, 8, "first event");
    await scene.write(10, 12, { first: 8 });
    // A piece goes when all of it is before.
    await scene.write(13, 14, { first: 9 });
    same(await scene.texts(0), ["8-9", "10-12", "13-14"], "texts after event 8 is gone");
    await scene.write(15, 15, { first: 13 });
    same(await scene.texts(0), ["13-14", "15-15"], "texts after event 12 is gone");
  }],
  ["a stream has ended when its last event is there", async (scene) => {
    await scene.write(1, 3);
    const early = scene.events(6, 7, { end: 7 });
    same(await scene.append(early), [{ state: "ok", last: 3 }], "append of 6 and 7");
    same((await scene.read(0))?.end, undefined, "end without events 4 and 5");
    await scene.write(4, 7, { end: 7 });
    const { last, end, isLost } = await scene.read(0) ?? {};
    same([last, end, isLost], [7, 7, false], "last, end and isLost");
    same((await scene.other.find(scene.streamId))?.end, 7, "end");
    // The reply may have got lost.
    await scene.write(4, 7, { end: 7 });
    same(await scene.texts(6), ["4-7"], "texts after event 6");
  }],
  ["a stream is its producer's alone", async (scene) => {
    await scene.write(1, 3);
    const append = scene.events(1, 5, { info: "another" });
    const results = await scene.other.append(scene.stranger, [append]);
    same(results, [{ state: "taken" }], "append of a stranger");
    await scene.other.forget(scene.stranger.id, scene.streamId, undefined);
    same(await scene.texts(0), ["1-3"], "texts");
  }],
  ["append() to several streams has a result for each, in their order", async (scene) => {
    await scene.write(1, 3);
    const [second, third] = [randomId(), randomId()];
    const results = await scene.append(
      scene.events(1, 1, { streamId: second }),
      scene.events(4, 4),
      scene.events(1, 2, { streamId: third, info: "third" }),
    );
    const expected = [{ state: "missing" }, { state: "ok", last: 4 }, { state: "ok", last: 2 }];
    same(results, expected, "results");
    const producerId = scene.producer.id;
    const reads = [third, second, scene.streamId, third]
      .map((streamId, i) => ({ streamId, producerId, after: i }));
    const parts = await scene.other.read(reads, ALL);
    const read = parts.map((part) => part?.pieces.map(({ text }) => text));
    same(read, [["1-2"], undefined, ["1-3", "4-4"], []], "texts of four reads");
    same(await scene.append(), [], "results of no append");
  }],
  ["read() returns whole pieces in order, and no more than is wanted and one", async (scene) => {
    const texts = Array.from({ length: 9 }, (_, i) => `${i + 1}`.repeat(1000));
    const pieces = texts.map((text, i) => ({ first: i + 1, last: i + 1, text }));
    await scene.write(1, 9, { pieces });
    same((await scene.read(2, 2500))?.pieces, pieces.slice(2, 5), "pieces after event 2");
    same((await scene.read(2, 1))?.pieces, pieces.slice(2, 3), "pieces of a small read");
    same((await scene.read(0))?.pieces, pieces, "all pieces");
    for (const after of [9, 10, 10 ** 9, 10 ** 15]) {
      const part = await scene.read(after);
      same([part?.last, part?.pieces], [9, []], `part after event ${after}`);
    }
  }],
  ["any text arrives as it was", async (scene) => {
    const texts = [HOSTILE, "", " ", "é".repeat(100_000), "x".repeat(256 * 1024)];
    const pieces = texts.map((text, i) => ({ first: i + 1, last: i + 1, text }));
    await scene.write(1, texts.length, { pieces });
    same(await scene.texts(0), texts, "texts");
  }],
  ["a chat has its latest stream, until that is forgotten", async (scene) => {
    const { chat, other, one, producer, streamId } = scene;
    same(await other.latest(chat), undefined, "latest of a new chat");
    await scene.write(1, 1, { chat });
    same(await other.latest(chat), streamId, "latest");
    same(await other.latest(`${chat} `), undefined, "latest of another chat");
    const second = randomId();
    await scene.write(1, 1, { chat, streamId: second });
    await scene.write(2, 2, { chat });
    same(await other.latest(chat), second, "latest after a second stream");
    await one.forget(producer.id, streamId, chat);
    same(await other.find(streamId) ?? undefined, undefined, "find of what was forgotten");
    same(await other.latest(chat), second, "latest after the first was forgotten");
    await one.forget(producer.id, second, chat);
    same(await other.latest(chat), undefined, "latest after both were forgotten");
    await one.forget(producer.id, second, undefined);
    // Its name may be used again.
    await scene.write(1, 1);
    same(await scene.texts(0), ["1-1"], "texts of a new stream");
  }],
  ["a lease holds after each renewal, each append, and no longer", async (scene) => {
    await scene.write(1, 1);
    const isAlive = async () => (await scene.read(0))?.isAlive;
    same(await isAlive(), true, "isAlive after an append");
    await eventually(async () => await isAlive() === false, 10 * LEASE_MS, "isAlive is false");
    await scene.one.renew(scene.producer);
    same(await isAlive(), true, "isAlive after a renewal");
    await scene.one.renew(scene.stranger);
    await scene.one.leave(scene.producer.id);
    same(await isAlive(), false, "isAlive after the producer has left");
    await scene.append();
    same(await isAlive(), true, "isAlive after an append of nothing");
  }],
  [
    "markLost() is for a stream that has not moved, of a producer without a lease",
    async (scene) => {
      const { producer, stranger } = scene;
      await scene.write(1, 3, { chat: scene.chat });
      await scene.one.renew({ ...producer, leaseMs: 60_000 });
      same(await scene.markLost(stranger, 3), false, "markLost while the lease holds");
      await scene.one.leave(producer.id);
      same(await scene.markLost(stranger, 2), false, "markLost after event 2");
      same(await scene.markLost(stranger, 3, stranger.id), false, "markLost of a stranger's");
      const unknown = { streamId: randomId(), producerId: producer.id, last: 0 };
      same(await scene.other.markLost(stranger, unknown), false, "markLost of an unknown stream");
      same((await scene.read(0))?.isLost, false, "isLost");
      await eventually(() => scene.markLost(stranger, 3), RESTART_MS, "markLost() is true");
      same(await scene.markLost(stranger, 3), true, "markLost once more");
      const { last, end, isLost } = await scene.other.find(scene.streamId) ?? {};
      same([last, end, isLost], [3, undefined, true], "last, end and isLost");
      same((await scene.read(3))?.isLost, true, "isLost of a read");
      same(await scene.texts(0), ["1-3"], "texts");
      const tooLate = scene.events(4, 5, { info: "info", end: 5 });
      same(await scene.append(tooLate), [{ state: "lost" }], "append to what is lost");
      same(await scene.texts(0), ["1-3"], "texts after a late append");
    },
  ],
  ["a producer needs no lease to mark its own stream as lost", async (scene) => {
    await scene.write(1, 3);
    same(await scene.markLost(scene.producer, 2), false, "markLost after event 2");
    same(await scene.markLost(scene.producer, 3), true, "markLost");
  }],
  ["markLost() leaves a stream that has ended as it is", async (scene) => {
    await scene.write(1, 3, { end: 3 });
    await scene.one.leave(scene.producer.id);
    same(await scene.markLost(scene.stranger, 3), false, "markLost of a stranger");
    same(await scene.markLost(scene.producer, 3), false, "markLost");
    same((await scene.read(0))?.isLost, false, "isLost");
  }],
  ["a message goes to its process, as it was, once", async (scene) => {
    const heard: string[] = [];
    const listener = (message: string) => void heard.push(message);
    const { one, other, producer, stranger } = scene;
    await one.subscribe(producer.id, listener);
    await other.subscribe(stranger.id, (message) => void heard.push(`stranger: ${message}`));
    // A listener that hears nothing subscribes again.
    for (let i = 0; i < 2; i++) await one.subscribe(producer.id, listener);
    const messages = [HOSTILE, "x".repeat(100_000), "last"];
    for (const message of messages) await other.publish(producer.id, message);
    await eventually(() => heard.includes("last"), 2000, "the last message is heard");
    same(heard, messages, "messages");
    await one.publish(producer.id, "of its own");
    await eventually(() => heard.includes("of its own"), 2000, "a message of its own is heard");
    await other.publish(randomId(), "to nobody");
  }],
];

/** Throws if two values differ. */
function same(actual: unknown, expected: unknown, what: string): void {
  const [is = "", be = ""] = [actual, expected].map((value) => JSON.stringify(sorted(value)));
  if (is === be) return;
  let at = 0;
  while (is[at] === be[at]) at++;
  const from = Math.max(0, at - BEFORE_DIFFERENCE);
  throw new Error(`${what} should be ${shortened(be, from)}, and is ${shortened(is, from)}`);
}

/** Number of characters of a value that are shown before the one that differs. */
const BEFORE_DIFFERENCE = 100;

/** The same value with its members in one order, and what is `undefined` told from `null`. */
function sorted(value: unknown): unknown {
  if (value === undefined) return "<undefined>";
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  members.sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(members.map(([name, member]) => [name, sorted(member)]));
}

function shortened(text: string, from: number): string {
  const shown = text.slice(from, from + 300);
  return `${from > 0 ? "…" : ""}${shown}${from + shown.length < text.length ? "…" : ""}`;
}

async function eventually(
  holds: () => boolean | Promise<boolean>,
  withinMs: number,
  what: string,
): Promise<void> {
  const startMs = performance.now();
  while (!await holds()) {
    if (performance.now() - startMs > withinMs) {
      throw new Error(`Not within ${withinMs} ms: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
