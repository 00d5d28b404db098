/** `SqliteLog` with a file in trouble: clients where a stream is made notice nothing, and no text is wrong. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import test from "node:test";
import { type Database, loadModules } from "../../../lib/replay/sqlite/database.ts";
import { SqliteStore } from "../../../lib/replay/sqlite/store.ts";
import { SharedLog } from "../../../lib/replay/shared/shared_log.ts";
import { SqliteLog } from "../../../lib/sqlite.ts";
import { same } from "../../support/event_reader.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { Machine, Paced } from "../../support/machines.ts";
import { newFile, newFolder } from "../../support/replay_file.ts";

const { sqlite: { DatabaseSync } } = loadModules();

/** Two processes that share a file. */
class Site {
  readonly clock = new FakeClock();
  readonly path: string;
  readonly one: Machine;
  readonly other: Machine;

  constructor(path: string, maxFileBytes: number) {
    this.path = path;
    [this.one, this.other] = [0, 1].map(() => {
      const { clock } = this;
      const outages: unknown[] = [];
      const onError = (error: unknown) => void outages.push(error);
      const store = new SqliteStore(path, { maxFileBytes, clock });
      return new Machine({
        log: new SharedLog(store, { clock, onError, keepMs: 60_000 }),
        clock,
        outages,
      });
    }) as [Machine, Machine];
  }

  async until(holds: () => boolean, ms: number, what: string): Promise<void> {
    for (const untilMs = this.clock.now() + ms; !holds(); await this.clock.sleep(10)) {
      assert(this.clock.now() < untilMs, what);
    }
  }

  async close(): Promise<void> {
    for (const machine of [this.one, this.other]) {
      await machine.leave();
      await closed(machine.log, this.clock);
    }
  }

  health(): string {
    return `${this.one.log.health()} ${this.other.log.health()}`;
  }

  /** The errors that were reported, once each. */
  faults(): string[] {
    const all = [...this.one.outages, ...this.other.outages];
    return [...new Set(all.map((error) => (error as Error).message.replace(this.path, "FILE")))];
  }
}

function trouble(
  name: string,
  run: (site: Site) => Promise<void>,
  { maxFileBytes = Infinity, path = newFile() } = {},
): void {
  test(`a replay file ${name}`, async () => {
    const site = new Site(path, maxFileBytes);
    try {
      await site.clock.during(run(site), 600_000);
    } finally {
      await site.close();
    }
  });
}

/** Closes a log, whose thread has the time of the machine. */
async function closed(log: SharedLog, clock: FakeClock): Promise<void> {
  const closing = log.close();
  await clock.advance(5000);
  await closing;
}

/** Another program that has the file open. */
function program(path: string): Database {
  return new DatabaseSync(path, { timeout: 0 });
}

trouble("that is locked by another program for 5 s: nothing is lost or doubled", async (site) => {
  const { one, other } = site;
  const tokens = new Paced(150, 80, 0, site.clock);
  const first = await one.start(tokens.source);
  const second = await (await other.meet(first)).events(5);
  const locking = program(site.path);
  locking.prepare("begin immediate").run();
  await site.until(() => one.log.health() === "degraded", 4000, "it is noticed");
  // It is read meanwhile, and what is not there may be what could not be written.
  await assert.rejects(other.log.find("unknown"), { code: "log_unavailable" });
  await site.clock.sleep(5000);
  locking.prepare("rollback").run();
  locking.close();
  await Promise.all([first.rest(), second.rest()]);
  same(first.text, tokens.text());
  same(second.written, first.written);
  assert.equal(await one.log.flush(), true);
  assert.equal(site.health(), "ok ok");
  const fault = "The replay file FILE cannot be used: another program holds it locked";
  assert.deepEqual(site.faults(), [fault]);
});

trouble("that is full: it takes more when what it has has expired", async (site) => {
  const { one, other } = site;
  const early = await (await one.start(["early"])).rest();
  await one.log.flush();
  for (let i = 0; i < 4; i++) {
    const tokens = new Paced(8, 20, 25_000, site.clock);
    same((await (await one.start(tokens.source)).rest()).text, tokens.text());
  }
  await site.until(() => one.log.health() === "degraded", 1000, "it is noticed");
  assert.match(site.faults()[0]!, /FILE cannot be used: its disk is full, or it has its greatest/);
  same((await (await other.join(early.streamId)).rest()).written, early.written);
  await site.clock.sleep(70_000);
  await site.until(() => one.log.health() === "ok", 10_000, "there is room");
  const late = await (await one.start(["late"])).rest();
  assert.equal(await one.log.flush(), true);
  same((await (await other.join(late.streamId)).rest()).written, late.written);
}, { maxFileBytes: 1024 * 1024 });

const BROKEN: Readonly<Record<string, (path: string) => void>> = {
  "cut off in the middle": (path) => {
    truncateSync(path, Math.floor(statSync(path).size / 2 / 16_384) * 16_384 + 100);
  },
  "overwritten in the middle": (path) => {
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.fill(0xa5, 16_384 * 2));
  },
};
for (const [name, damage] of Object.entries(BROKEN)) {
  trouble(`that is ${name}: no text is wrong, and another one takes its place`, async (site) => {
    const { one, other, path } = site;
    const ended = [];
    for (let i = 0; i < 20; i++) {
      const tokens = new Paced(50, 0, 400, site.clock);
      ended.push(await (await one.start(tokens.source)).rest());
    }
    await one.log.flush();
    // What is in the file, and not in its log.
    const copying = program(path);
    copying.prepare("pragma wal_checkpoint(truncate)").all();
    copying.close();
    const tokens = new Paced(400, 80, 0, site.clock);
    const first = await one.start(tokens.source);
    const second = await (await other.meet(first)).events(5);
    damage(path);
    for (const { streamId, written } of ended) {
      const found = await other.log.find(streamId).catch(() => undefined);
      if (found === undefined) continue;
      const reading = await (await other.join(streamId)).rest();
      if (reading.status !== 200) continue;
      const isExact = reading.written === written;
      assert(isExact || /"code":"(log_unavailable|lagged)"/.test(reading.written), reading.written);
    }
    await site.until(() => other.log.health() === "degraded", 20_000, "it is noticed");
    assert.match(site.faults().join(), /FILE cannot be used: it is (corrupt|no database)/);
    const isSteady = () => [1, 2, 3].map(() => other.log.health()).join();
    await site.clock.sleep(4000);
    assert.equal(isSteady(), "degraded,degraded,degraded");
    for (const part of ["", "-wal", "-shm"]) rmSync(path + part, { force: true });
    await site.until(() => site.health() === "ok ok", 20_000, "another one");
    await Promise.all([first.rest(), second.rest()]);
    same(first.text, tokens.text());
    same(second.written, first.written);
  });
}

trouble("that is deleted while it is open: a new one is begun", async (site) => {
  const { one, other, path } = site;
  const done = await (await one.start(["done"])).rest();
  await one.log.flush();
  const tokens = new Paced(150, 80, 0, site.clock);
  const first = await one.start(tokens.source);
  const second = await (await other.meet(first)).events(5);
  for (const part of ["", "-wal", "-shm"]) rmSync(path + part);
  await Promise.all([first.rest(), second.rest()]);
  same(first.text, tokens.text());
  same(second.written, first.written);
  const fault =
    "The replay file FILE cannot be used: it was deleted or replaced; a new one is begun";
  assert.deepEqual(site.faults(), [fault]);
  assert.equal(await one.log.flush(), true);
  assert.equal(site.health(), "ok ok");
  assert.equal((await other.join(done.streamId)).status, 404);
  same((await (await other.join(first.streamId)).rest()).written, first.written);
});

trouble("whose events are damaged: that stream alone cannot be read", async (site) => {
  const { one, other } = site;
  const [bad, good] = [await one.start(["bad"]), await one.start(["good"])];
  await Promise.all([bad.rest(), good.rest()]);
  await one.log.flush();
  const damaging = program(site.path);
  damaging.prepare(
    "update pieces set events = cast(replace(cast(events as text), 'bad', 'lie') as blob)",
  ).run();
  damaging.close();
  const reading = await other.join(bad.streamId);
  await reading.rest();
  assert.doesNotMatch(reading.body, /lie/);
  assert.match(reading.body, /log_unavailable/);
  same((await (await other.join(good.streamId)).rest()).written, good.written);
  assert.equal(site.health(), "ok ok");
  assert.match(site.faults().join(), /cannot be read: .*: its events were damaged$/);
});

test("a file of another program or version is left as it is", async () => {
  const others = {
    "it is the database of another program": "create table theirs (x)",
    "it is of version 2, and this is version 1":
      "create table later (x); pragma application_id = 0x5370776c; pragma user_version = 2",
  };
  for (const [fault, sql] of Object.entries(others)) {
    const path = newFile();
    const theirs = program(path);
    theirs.exec(sql);
    theirs.close();
    const before = readFileSync(path);
    const clock = new FakeClock();
    const errors: unknown[] = [];
    const log = new SqliteLog(path, { clock, onError: (error) => void errors.push(error) });
    await clock.advance(3000);
    assert.deepEqual(errors.map(String), [
      `Error: The replay file ${path} cannot be used: ${fault}`,
    ]);
    assert.equal(log.health(), "degraded");
    await closed(log, clock);
    assert.deepEqual(readFileSync(path), before);
  }
  const path = newFile();
  writeFileSync(path, "not a database ".repeat(1000));
  const clock = new FakeClock();
  const errors: unknown[] = [];
  const log = new SqliteLog(path, { clock, onError: (error) => void errors.push(error) });
  await clock.advance(3000);
  assert.match(String(errors), /it is no database of SQLite$/);
  // Its folder may come later.
  rmSync(path);
  await clock.advance(10_000);
  assert.equal(log.health(), "ok");
  await closed(log, clock);
});

const disk = newFolder();
const isMounted = process.platform === "linux" &&
  spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]).status === 0;
test("a disk that is full, and one that is read-only", { skip: !isMounted }, async () => {
  const path = join(disk, "replay.db");
  const site = new Site(path, Infinity);
  try {
    await site.clock.during((async () => {
      const { one, other } = site;
      const early = await (await one.start(["early"])).rest();
      await one.log.flush();
      const tokens = new Paced(30, 20, 12_500, site.clock);
      const first = await (await one.start(tokens.source)).rest();
      same(first.text, tokens.text());
      await site.until(() => one.log.health() === "degraded", 1000, "it is noticed");
      assert.match(site.faults()[0]!, /its disk is full/);
      same((await (await other.join(early.streamId)).rest()).written, early.written);
      spawnSync("mount", ["-o", "remount,size=16m", disk]);
      await site.until(() => one.log.health() === "ok", 10_000, "there is room");
      assert.equal(await one.log.flush(), true);
      same((await (await other.join(first.streamId)).rest()).written, first.written);
    })());
  } finally {
    await site.close();
    mkdirSync(join(disk, "empty"));
    spawnSync("mount", ["-o", "remount,ro", disk]);
    const clock = new FakeClock();
    const errors: unknown[] = [];
    const log = new SqliteLog(path, { clock, onError: (error) => void errors.push(error) });
    await clock.advance(3000);
    assert.match(String(errors), /cannot be used: (it is read-only|it cannot be opened)/);
    assert.equal(log.health(), "degraded");
    await closed(log, clock);
    spawnSync("umount", [disk]);
  }
});
