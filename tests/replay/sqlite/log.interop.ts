/** `SqliteLog` at length: the rules of every log, two processes of one machine, and the recipe. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";
import { SqliteLog } from "../../../lib/sqlite.ts";
import type { Handler } from "../../../mod.ts";
import { DENO_RUN, root, RUNTIMES, startChild } from "../../support/child.ts";
import { same } from "../../support/event_reader.ts";
import { cutAtRandom, Machine, Paced, problemIn } from "../../support/machines.ts";
import { newFile, newFolder } from "../../support/replay_file.ts";
import { until } from "../../support/serve.ts";
import { contract, type Limits, type Made } from "../contract.ts";

function make(limits: Limits): Made {
  const path = newFile();
  const [log, elsewhere] = [0, 1].map(() => new SqliteLog(path, limits)) as [SqliteLog, SqliteLog];
  return {
    log,
    elsewhere,
    close: async () => {
      await log.close();
      await elsewhere.close();
    },
  };
}

contract("SqliteLog", make, { limitedInAll: false, outlastsExpiry: false });

function machine(path: string): Machine {
  const outages: unknown[] = [];
  const log = new SqliteLog(path, { onError: (error) => void outages.push(error) });
  return new Machine({ log, outages });
}

const patient = { timeout: 120_000 };

test(
  "SqliteLog: 500 random cuts, resumed in any process: exact, and started once",
  patient,
  async () => {
    const path = newFile();
    const machines = [machine(path), machine(path)] as const;
    try {
      await cutAtRandom([...machines], 500);
    } finally {
      for (const machine of machines) {
        await machine.leave();
        await machine.close();
      }
    }
  },
);

test(
  "SqliteLog: a stop in one process ends the generation in the other within 200 ms",
  patient,
  async () => {
    const path = newFile();
    const [one, other] = [machine(path), machine(path)];
    const tokens = new Paced(10_000, 10);
    const first = await one.start(tokens.source);
    const second = await (await other.meet(first)).events(3);
    const startMs = performance.now();
    const stopping = other.stop(first.streamId);
    await until(() => tokens.signal!.aborted, 2000, "the source is told");
    const tookMs = performance.now() - startMs;
    assert(tookMs < 200, `${tookMs} ms`);
    assert.equal(await stopping, true);
    await Promise.all([first.rest(), second.rest()]);
    same(second.written, first.written);
    await one.close();
    await other.close();
  },
);

for (const runtime of RUNTIMES) {
  test(
    `SqliteLog: after a SIGKILL of ${runtime}, ended streams are whole, and cut ones lost`,
    patient,
    async () => {
      const path = newFile();
      const script = "tests/support/child/replay_file.ts";
      const args = runtime === "deno" ? [...DENO_RUN, script] : [script];
      const child = startChild(runtime, [...args, path]);
      await until(() => /^ready .*$/m.test(child.output), 30_000, `its streams: ${child.errors}`);
      const [ended, live] = JSON.parse(/^ready (.*)$/m.exec(child.output)![1]!) as string[];
      await child.stop();
      // Nothing warns of what Node 22 and 24 call experimental.
      assert.equal(child.errors, "");
      const killedMs = performance.now();
      const after = machine(path);
      const whole = await (await after.join(ended!)).rest();
      same(whole.text, new Paced(200, 0).text());
      assert.equal(whole.last.event, "done");
      const cut = await (await after.join(live!)).rest();
      const tookMs = performance.now() - killedMs;
      assert(tookMs < 13_000, `${tookMs} ms`);
      assert.equal(problemIn(cut.last).code, "producer_lost");
      assert.match(cut.last.id!, /\.lost$/);
      const events = cut.blocks.length - 1;
      same(cut.text, new Paced(events, 0).text());
      assert(events > 20, `${events} events`);
      await after.close();
    },
  );
}

test(
  "the recipe for one machine serves a stream of one process from another",
  patient,
  async () => {
    const folder = newFolder();
    const code = readFileSync(join(root, "tests/interop/recipes/one_machine.ts"), "utf8")
      .replace("/var/lib/chat/replay.db", join(folder, "replay.db"))
      .replace('"spillway"', JSON.stringify(pathToFileURL(join(root, "mod.ts")).href))
      .replace(
        '"spillway/sqlite"',
        JSON.stringify(pathToFileURL(join(root, "lib/sqlite.ts")).href),
      );
    const [one, other] = await Promise.all(["one", "other"].map(async (name) => {
      const file = join(folder, `${name}.ts`);
      writeFileSync(file, code);
      return (await import(pathToFileURL(file).href) as { default: Handler }).default;
    }));
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ query: "Hello" });
    const first = await one!.fetch(
      new Request("http://localhost/streaming", { method: "POST", headers, body }),
    );
    const text = await first.text();
    const streamId = first.headers.get("x-stream-id")!;
    const again = await other!.fetch(new Request(`http://localhost/streaming/${streamId}`));
    assert.equal(await again.text(), text);
  },
);
