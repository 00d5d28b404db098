/**
 * The entry with `WORKERS`, on Bun and on Node, whichever runtime runs the test: two processes, one port,
 * one file or one Redis. One is killed, one leaves, all drain; and a start that fails in one line.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import test, { after, before } from "node:test";
import { listening, PATIENCE_MS, startEntry } from "../support/child.ts";
import { idIn, join, post, resume, stop, tokensIn } from "../support/entry_streams.ts";
import { metric, workersOf } from "../stack/one_machine.ts";
import { noRedis, RedisServer } from "../support/redis_server.ts";
import { newFile, newFolder } from "../support/replay_file.ts";
import { until } from "../support/serve.ts";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until a count of `/metrics` has a value. */
async function untilMetric(url: string, name: string, value: number): Promise<void> {
  let found = NaN;
  for (let i = 0; i < 400 && found !== value; i++) {
    found = await metric(url, name);
    if (found !== value) await sleep(50);
  }
  assert.equal(found, value, name);
}

let redis: RedisServer;
before(async () => {
  if (!noRedis) redis = await RedisServer.start();
});
after(() => redis?.remove());

for (const runtime of ["bun", "node"] as const) {
  const settings = (more: Record<string, string>) => ({ WORKERS: "2", LOG: "json", ...more });

  test(`${runtime}: a taken port is one line, and a temporary file ends with its server`, async () => {
    const TMPDIR = newFolder();
    const files = () => readdirSync(TMPDIR).filter((name) => name.startsWith("spillway-"));
    const { child, port } = await listening(startEntry(runtime, settings({ TMPDIR })));
    try {
      assert.equal(files().length, 1);
      const second = startEntry(runtime, settings({}), port);
      await until(() => second.exit !== undefined, PATIENCE_MS, "an exit");
      assert.deepEqual([second.exit, second.output], [1, ""]);
      assert.match(second.errors, /^spillway: cannot listen on .*: the port is taken; .*\n$/);
      child.kill("SIGTERM");
      await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
      assert.deepEqual([child.exit, child.errors, files()], [0, "", []]);
    } finally {
      await child.stop();
    }
  });

  test(`${runtime}: what all workers would fail at is said once`, async () => {
    const child = startEntry(runtime, settings({ REPLAY_FILE: ":memory:" }));
    await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
    assert.deepEqual([child.exit, child.output], [1, ""]);
    assert.match(child.errors, /^spillway: REPLAY_FILE: [^\n]*\n$/);
  });

  for (const log of ["REPLAY_FILE", "REDIS_URL"]) {
    test(
      `${runtime}: two workers with ${log} tell as one, resume and stop each other's streams, and drain`,
      {
        skip: log === "REDIS_URL" && noRedis,
      },
      async () => {
        const shared: Record<string, string> = log === "REPLAY_FILE"
          ? { REPLAY_FILE: newFile() }
          : { REDIS_URL: `redis://127.0.0.1:${redis.port}`, REDIS_PREFIX: `${runtime}:` };
        const started = startEntry(runtime, settings({ TOKEN_DELAY_MS: "10", ...shared }));
        const entry = await listening(started);
        const { url, child } = entry;
        try {
          assert.equal(workersOf(entry).length, 2);
          const texts = await Promise.all(
            Array.from({ length: 8 }, async () => (await post(url, "abcdefgh")).text()),
          );
          for (const text of texts) assert.equal(tokensIn(text), 8);
          // Whichever worker is asked.
          for (let i = 0; i < 4; i++) {
            await untilMetric(url, 'spillway_ended_total\\{outcome="completed"\\}', 8);
            await untilMetric(url, "spillway_workers", 2);
          }
          for (const text of texts) {
            assert.equal(tokensIn(await join(url, idIn(text))), 8);
          }
          await Promise.all(Array.from({ length: 6 }, () => resume(url)));
          for (let i = 0; i < 4; i++) {
            const ms = await stop(url);
            // By itself it would have taken more than twice as long.
            assert(ms < 4000, `stopped within ${ms} ms`);
          }
          const open = await Promise.all(Array.from({ length: 4 }, () => post(url, "drained")));
          child.kill("SIGTERM");
          for (const response of open) assert.match(await response.text(), /event: done\n/);
          await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
          assert.deepEqual([child.exit, child.errors], [0, ""]);
          assert.equal(child.output.match(/"event":"listening"/g)?.length, 1);
        } finally {
          await child.stop();
        }
      },
    );
  }

  test(`${runtime}: a worker that is killed or told to leave is replaced, and counts go on`, async () => {
    const environment = settings({ TOKEN_DELAY_MS: "0", TMPDIR: newFolder() });
    const entry = await listening(startEntry(runtime, environment));
    const { url, child } = entry;
    try {
      for (let i = 0; i < 4; i++) await (await post(url, "ab")).text();
      await untilMetric(url, 'spillway_ended_total\\{outcome="completed"\\}', 4);
      const [killed, leaving] = workersOf(entry) as [number, number];
      process.kill(killed, "SIGKILL");
      await until(() => !workersOf(entry).includes(killed), PATIENCE_MS, "the killed worker's end");
      await untilMetric(url, "spillway_worker_restarts_total", 1);
      process.kill(leaving, "SIGTERM");
      await until(() => !workersOf(entry).includes(leaving), PATIENCE_MS, "the other worker's end");
      await untilMetric(url, "spillway_worker_restarts_total", 2);
      await untilMetric(url, "spillway_workers", 2);
      assert.equal(await metric(url, 'spillway_ended_total\\{outcome="completed"\\}'), 4);
      assert.equal(child.exit, undefined);
      assert.equal(child.errors.match(/A worker has ended/g)?.length, 1, child.errors);
      // Without the parent nobody would start or stop them.
      const left = workersOf(entry);
      await child.stop();
      await until(() => left.every((pid) => !isRunning(pid)), PATIENCE_MS, "the workers' end");
    } finally {
      await child.stop();
    }
  });
}

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
