/** `SharedLog`: the rules of every log, one process recording and another one reading. */
import assert from "node:assert/strict";
import test from "node:test";
import { MemoryLog, SharedLog, type SharedLogOptions } from "../../../mod.ts";
import { FakeServer, FakeStore } from "../../support/fake_store.ts";
import { until } from "../../support/serve.ts";
import { contract } from "../contract.ts";

contract("SharedLog", (limits) => {
  const server = new FakeServer();
  const [one, other] = [0, 1].map(() => new SharedLog(new FakeStore(server), limits));
  return {
    log: one!,
    elsewhere: other!,
    close: async () => {
      await one!.close();
      await other!.close();
    },
  };
}, { limitedInAll: false, outlastsExpiry: false });

test("SharedLog has the limits of MemoryLog, and refuses what that refuses", () => {
  const server = new FakeServer();
  const refused: SharedLogOptions[] = [{ maxStreamBytes: 1 }, { keepMs: -1 }, { keepMs: NaN }];
  for (const options of refused) {
    assert.throws(() => new MemoryLog(options), RangeError);
    assert.throws(() => new SharedLog(new FakeStore(server), options), RangeError);
  }
  assert.equal(server.listeners.size, 0);
});

test("SharedLog.close() leaves nothing of it in the store, and closes the store", async () => {
  const server = new FakeServer();
  const store = new FakeStore(server);
  let closed = 0;
  store.close = () => void closed++;
  const log = new SharedLog(store, { keepMs: Infinity });
  await until(() => server.leases.size === 1, 1000, "its lease");
  assert.deepEqual([server.listeners.size, server.leases.size], [1, 1]);
  await log.close();
  assert.deepEqual([server.leases.size, closed], [0, 1]);
});
