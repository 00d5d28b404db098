/** `SqliteStore`: the contract of a store, and what is a file's own. */
import assert from "node:assert/strict";
import { existsSync, rmSync, statSync } from "node:fs";
import process from "node:process";
import test from "node:test";
import { loadModules } from "../../../lib/replay/sqlite/database.ts";
import { SqliteStore } from "../../../lib/replay/sqlite/store.ts";
import type { Producer, StreamAppend } from "../../../lib/replay/shared/event_store.ts";
import { SqliteLog } from "../../../lib/sqlite.ts";
import { eventStoreContract } from "../../../lib/testing.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { newFile } from "../../support/replay_file.ts";
import { until } from "../../support/serve.ts";

const shared = newFile();
const makeStore = () => new SqliteStore(shared, { maxFileBytes: Infinity, clock: undefined });
for (const { name, run } of eventStoreContract(makeStore)) test(`a file: ${name}`, run);

const producer: Producer = { id: "one", leaseMs: 10_000, liveMs: 60_000, keepMs: 1000 };

/** One event of a stream, which is its end as well. */
function ended(streamId: string, text: string): StreamAppend {
  const pieces = [{ first: 1, last: 1, text }];
  return { streamId, chat: `of ${streamId}`, info: "info", first: 1, last: 1, end: 1, pieces };
}

/** Runs `run` while the runtime has another way to its modules. */
function withModules(getBuiltinModule: (name: string) => unknown, run: () => void): void {
  const runtime = process as unknown as Record<"getBuiltinModule", unknown>;
  const own = runtime.getBuiltinModule;
  runtime.getBuiltinModule = getBuiltinModule;
  try {
    run();
  } finally {
    runtime.getBuiltinModule = own;
  }
}

test("SqliteLog needs a runtime with node:sqlite, and the path of a file", () => {
  withModules(() => undefined, () => {
    assert.throws(() => new SqliteLog(newFile()), { name: "TypeError", message: /no node:sqlite/ });
  });
  for (const path of ["", ":memory:", 1 as unknown as string]) {
    assert.throws(() => new SqliteLog(path), { name: "TypeError", message: /not a file's$/ });
  }
  assert.throws(() => new SqliteLog(newFile(), { maxFileBytes: 1000 }), RangeError);
});

test("what Node warns of as experimental does not reach the user, and all else does", () => {
  const { emitWarning } = process;
  const warnings: unknown[] = [];
  const note = (warning: unknown) => void warnings.push(warning);
  process.emitWarning = note as typeof emitWarning;
  try {
    withModules((name) => {
      process.emitWarning(
        `SQLite is an experimental feature and might change`,
        "ExperimentalWarning",
      );
      process.emitWarning(`${name} is old`);
      return {};
    }, () => void loadModules());
    assert.equal(process.emitWarning, note);
  } finally {
    process.emitWarning = emitWarning;
  }
  assert.deepEqual(warnings.slice(0, 1), ["node:sqlite is old"]);
});

test("a message is heard within 50 ms, and nobody looks where nobody waits", async () => {
  const clock = new FakeClock();
  const path = newFile();
  const [one, other] = [0, 1].map(() => new SqliteStore(path, { maxFileBytes: Infinity, clock }));
  const heard: string[] = [];
  await clock.during(one!.subscribe("one", (message) => void heard.push(message)));
  await clock.during(other!.publish("one", "first"));
  await clock.advance(30);
  assert.deepEqual(heard, ["first"]);
  assert.equal(clock.armed, 1);
  await clock.advance(6000);
  assert.equal(clock.armed, 0);
  // A process sends itself a message each second: then it hears what others have sent.
  await clock.during(other!.publish("one", "second"));
  await clock.during(one!.publish("one", "its own"));
  assert.deepEqual(heard, ["first", "second", "its own"]);
  await Promise.all([one!.close(), other!.close()]);
});

test("what has expired is deleted from the file, and makes room", async () => {
  const clock = new FakeClock();
  const path = newFile();
  const store = new SqliteStore(path, { maxFileBytes: 4 * 1024 * 1024, clock });
  const text = "x".repeat(64 * 1024);
  // Twice as much as there is room for.
  for (let i = 0; i < 128; i++) {
    const [result] = await clock.during(store.append(producer, [ended(`s${i}`, text)]));
    assert.deepEqual(result, { state: "ok", last: 1 });
    await clock.advance(500);
  }
  await clock.advance(2000);
  for (let i = 0; i < 3; i++) {
    await clock.during(store.append(producer, []));
    await clock.advance(1100);
  }
  await store.close();
  const { DatabaseSync } = loadModules().sqlite;
  const database = new DatabaseSync(path, {});
  const rows = ["streams", "infos", "pieces", "chats"].map((table) =>
    database.prepare(`select count(*) as rows from ${table}`).get()!.rows
  );
  database.close();
  assert.deepEqual(rows, [0, 0, 0, 0]);
  assert(statSync(path).size <= 4 * 1024 * 1024);
  if (process.platform !== "win32") assert.equal(statSync(path).mode & 0o777, 0o600);
});

test("a thread writes a new file to the disk at once, also one that takes another's place", async () => {
  const path = newFile();
  const store = new SqliteStore(path, { maxFileBytes: Infinity, clock: undefined });
  // Without a checkpoint the tables stand beside the file, in its WAL.
  const hasTables = () => statSync(path).size > 64 * 1024;
  await store.append(producer, [ended("one", "text")]);
  await until(hasTables, 5000, "the first file");
  rmSync(path);
  await until(
    () => {
      store.append(producer, [ended("two", "text")]).catch(() => {}); // It tells of the deletion once.
      return existsSync(path) && hasTables();
    },
    5000,
    "the second file",
  );
  await store.close();
  assert.deepEqual([`${path}-wal`, `${path}-shm`].map((part) => existsSync(part)), [false, false]);
});

test("a call that is long is done in turns, and other calls come between", async () => {
  const clock = new FakeClock();
  const store = new SqliteStore(newFile(), { maxFileBytes: Infinity, clock });
  const order: string[] = [];
  const text = "x".repeat(100 * 1024);
  const writes = ["a", "b", "c"].map((id) =>
    store.append(producer, [ended(id, text)]).then(() => void order.push(id))
  );
  clock.setTimer(() => void order.push("timer"), 1);
  await clock.during(Promise.all(writes));
  assert.deepEqual(order, ["a", "b", "timer", "c"]);
  // The streams of one call as well, also where there are many of them with little text.
  clock.setTimer(() => void order.push("timer"), 1);
  const many = Array.from({ length: 100 }, (_, i) => ended(`s${i}`, "x"));
  const writing = store.append(producer, many).then((results) => {
    order.push("many");
    assert.equal(results.length, 100);
  });
  await clock.during(writing);
  assert.deepEqual(order.slice(4), ["timer", "many"]);
  await store.close();
});
