/** The contract of a store: a store that keeps it passes, and one that breaks a rule of it does not. */
import assert from "node:assert/strict";
import test from "node:test";
import { eventStoreContract } from "../../lib/testing.ts";
import { FakeServer, FakeStore } from "../support/fake_store.ts";

const server = new FakeServer();
for (const { name, run } of eventStoreContract(() => new FakeStore(server))) {
  test(`the fake store keeps the contract: ${name}`, run);
}

/** Each breaks one rule. */
const broken: Readonly<
  Record<string, (store: FakeStore, server: FakeServer) => Partial<FakeStore>>
> = {
  "it takes appends that do not follow": (store) => ({
    append: (producer, appends) =>
      store.append(
        producer,
        appends.map((append) => ({ ...append, first: append.pieces[0]?.first ?? append.first })),
      ),
  }),
  "it keeps what is appended twice twice": (store, server) => ({
    append: async (producer, appends) => {
      const results = await store.append(producer, appends);
      for (const { streamId, pieces } of appends) {
        server.streams.get(streamId)?.pieces.push(...pieces);
      }
      return results;
    },
  }),
  "it takes streams of others": (store, server) => ({
    append: (producer, appends) => {
      for (const { streamId } of appends) {
        const kept = server.streams.get(streamId);
        if (kept) kept.producerId = producer.id;
      }
      return store.append(producer, appends);
    },
  }),
  "it lets go of a stream without events": (store, server) => ({
    append: (producer, appends) => {
      for (const { streamId } of appends) {
        if (server.streams.get(streamId)?.last === 0) server.streams.delete(streamId);
      }
      return store.append(producer, appends);
    },
  }),
  "it lets others be forgotten": (store, server) => ({
    forget: (producerId, streamId, chat) =>
      store.forget(server.streams.get(streamId)?.producerId ?? producerId, streamId, chat),
  }),
  "its results are in another order": (store) => ({
    append: async (...append) => (await store.append(...append)).toReversed(),
  }),
  "it returns more than is wanted": (store) => ({ read: (reads) => store.read(reads, 10 ** 9) }),
  "it ends streams that are not complete": (store, server) => ({
    append: async (producer, appends) => {
      const results = await store.append(producer, appends);
      for (const { streamId, end } of appends) {
        const kept = server.streams.get(streamId);
        if (kept) kept.end ??= end;
      }
      return results;
    },
  }),
  "it returns null for undefined": (store) => ({
    find: async (streamId) => {
      const found = await store.find(streamId);
      return found && { ...found, end: found.end ?? null as never };
    },
  }),
  "it never drops a stream": (store) => ({
    append: (producer, appends) =>
      store.append({ ...producer, liveMs: 60_000, keepMs: 60_000 }, appends),
  }),
  "it keeps a stream that has ended as long as one that goes on": (store) => ({
    append: (producer, appends) => store.append({ ...producer, keepMs: producer.liveMs }, appends),
  }),
  "it ignores leases": (store, server) => ({
    markLost: (...lost) => {
      server.leases.clear();
      return store.markLost(...lost);
    },
  }),
  "its leases have no end": (store) => ({
    renew: (producer) => store.renew({ ...producer, leaseMs: 10 ** 9 }),
    append: (producer, appends) => store.append({ ...producer, leaseMs: 10 ** 9 }, appends),
  }),
  "it marks what has moved": (store, server) => ({
    markLost: (caller, lost) =>
      store.markLost(caller, { ...lost, last: server.streams.get(lost.streamId)?.last ?? 0 }),
  }),
  "it sends messages twice": (store) => ({
    publish: async (...message) => {
      await store.publish(...message);
      await store.publish(...message);
    },
  }),
  "it trims texts": (store) => ({
    append: (producer, appends) =>
      store.append(
        producer,
        appends.map((append) => ({
          ...append,
          pieces: append.pieces.map((piece) => ({ ...piece, text: piece.text.trim() })),
        })),
      ),
  }),
};

/** The checks of a store that breaks a rule, all at once. */
async function checkBroken(breaks: (typeof broken)[string]) {
  const server = new FakeServer();
  const checks = eventStoreContract(() => {
    const store = new FakeStore(server);
    return new Proxy(store, {
      get(target, member) {
        const own = Reflect.get(breaks(target, server), member);
        const value = own ?? Reflect.get(target, member);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  });
  return await Promise.allSettled(checks.map(({ run }) => run()));
}

// They wait for leases, so all are under way at once.
const underWay = Object.entries(broken).map(([name, breaks]) =>
  [name, checkBroken(breaks)] as const
);
for (const [name, results] of underWay) {
  test(`a store does not pass if ${name}`, async () => {
    const failed = (await results).filter(({ status }) => status === "rejected");
    assert(failed.length > 0, "all checks have passed");
    assert(failed.length < (await results).length, "no check has passed");
  });
}
