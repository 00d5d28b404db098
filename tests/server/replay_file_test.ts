/**
 * The entry with `REPLAY_FILE`, on Bun, Deno and Node, whichever runtime runs the test: a restart forgets
 * nothing, and the threads of `deno serve --parallel` serve each other's streams.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join as pathOf } from "node:path";
import test from "node:test";
import { listening, PATIENCE_MS, RUNTIMES, startEntry } from "../support/child.ts";
import {
  eventsIn,
  HEADERS,
  idIn,
  join,
  post,
  resume,
  stop,
  tokensIn,
} from "../support/entry_streams.ts";
import { startParallel } from "../stack/one_machine.ts";
import { newFile, newFolder } from "../support/replay_file.ts";
import { until } from "../support/serve.ts";

for (const runtime of RUNTIMES) {
  test(`${runtime}: a server that is started again has the streams of the one before`, async () => {
    const REPLAY_FILE = newFile();
    const environment = { REPLAY_FILE, TOKEN_DELAY_MS: "0", KEEP_MS: "60000" };
    const first = await listening(startEntry(runtime, environment));
    assert.match(first.child.output, new RegExp(`^Replay file: ${REPLAY_FILE}$`, "m"));
    const text = await (await post(first.url, "kept")).text();
    assert.equal(tokensIn(text), 4);
    first.child.kill("SIGTERM");
    await until(() => first.child.exit !== undefined, PATIENCE_MS, "an exit");
    assert.deepEqual([first.child.exit, first.child.errors], [0, ""]);
    // The log was closed: nothing stands beside its file.
    assert.deepEqual([existsSync(REPLAY_FILE), existsSync(`${REPLAY_FILE}-wal`)], [true, false]);
    const second = await listening(startEntry(runtime, environment));
    try {
      assert.equal(eventsIn(await join(second.url, idIn(text))), eventsIn(text));
    } finally {
      await second.child.stop();
    }
  });

  test(`${runtime}: a REPLAY_FILE that cannot be stops the start with one line`, async () => {
    const REPLAY_FILE = pathOf(newFolder(), "missing", "replay.db");
    const started = [
      [{ REPLAY_FILE }, /^spillway: REPLAY_FILE: cannot write to its folder \(ENOENT\)\n$/],
      [{ REPLAY_FILE: newFolder() }, /^spillway: REPLAY_FILE is a folder, not a file\n$/],
      [
        { REPLAY_FILE: newFile(), REDIS_URL: "redis://127.0.0.1:1" },
        /^spillway: REPLAY_FILE and REDIS_URL are both set, and one log is used\n$/,
      ],
    ] as const;
    await Promise.all(started.map(async ([environment, line]) => {
      const child = startEntry(runtime, environment);
      await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
      assert.deepEqual([child.exit, child.output], [1, ""]);
      assert.match(child.errors, line);
    }));
  });
}

test("deno serve --parallel: its threads resume and stop each other's streams", async () => {
  const { url, child } = await startParallel({ REPLAY_FILE: newFile(), TOKEN_DELAY_MS: "20" });
  try {
    const texts = await Promise.all(
      Array.from({ length: 9 }, async () => (await post(url, "abcd")).text()),
    );
    const counts = new Set<number>();
    // Each thread counts for itself, which shows that there are two: no halves of nine are alike.
    const headers = { ...HEADERS, accept: "application/json" };
    for (let i = 0; i < 400 && counts.size < 2; i++) {
      counts.add((await (await fetch(`${url}/metrics`, { headers })).json()).tokens);
    }
    assert.equal([...counts].reduce((sum, count) => sum + count), 36);
    for (const text of texts) assert.equal(eventsIn(await join(url, idIn(text))), eventsIn(text));
    await Promise.all(Array.from({ length: 6 }, () => resume(url)));
    for (let i = 0; i < 6; i++) {
      const ms = await stop(url);
      // By itself it would have taken more than twice as long.
      assert(ms < 4000, `stopped within ${ms} ms`);
    }
    assert.equal(child.errors, "");
  } finally {
    await child.stop();
  }
});
