/**
 * The entry as an operator's tools treat it, on Bun, Deno and Node, whichever runtime runs the test: a stop
 * that is several signals, a balancer that lags behind, a log that nobody reads, too few open files.
 */
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import test from "node:test";
import {
  type Child,
  type Entry,
  fileOf,
  listening,
  PATIENCE_MS,
  RUNTIMES,
  startChild,
  startEntry,
} from "../support/child.ts";
import { freePort } from "../support/free_port.ts";
import { newFolder } from "../support/replay_file.ts";
import { until } from "../support/serve.ts";

const JSON_TYPE = { "content-type": "application/json" };
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const post = (url: string, query: string) =>
  fetch(`${url}/streaming`, {
    method: "POST",
    headers: JSON_TYPE,
    body: JSON.stringify({ query }),
  });

/** The entry's command in a shell. */
function shellCommand(runtime: (typeof RUNTIMES)[number], port: number): string {
  const file = fileOf(runtime);
  return runtime === "deno"
    ? `${file} serve -A --no-check --host 127.0.0.1 --port ${port} lib/server.ts`
    : `${file} lib/server.ts`;
}

/** Waits until the entry that a shell has started serves. */
async function serves(url: string, child: Child): Promise<void> {
  for (let i = 0; i < 600; i++) {
    const isUp = await fetch(`${url}/health`).then((response) => response.ok, () => false);
    if (isUp) return;
    await sleep(50);
  }
  assert.fail(`${url} does not serve: ${child.errors}`);
}

async function exits(child: Child): Promise<void> {
  await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
  assert.equal(child.exit, 0, child.errors);
}

for (const runtime of RUNTIMES) {
  const started = async (
    environment: Record<string, string>,
    use: (entry: Entry) => Promise<void>,
  ) => {
    const entry = await listening(startEntry(runtime, environment));
    try {
      await use(entry);
    } finally {
      await entry.child.stop();
    }
  };

  test(`${runtime}: a SIGTERM that comes three times at once is one, and the stream ends as it should`, async () => {
    await started({ TOKEN_DELAY_MS: "50" }, async ({ url, child }) => {
      const response = await post(url, "drained to the end");
      for (const pause of [1, 100, 0]) {
        child.kill("SIGTERM");
        await sleep(pause);
      }
      const text = await response.text();
      assert.match(text, /event: done\n/);
      assert.equal(text.match(/"token"/g)?.length, 18);
      await exits(child);
    });
  });

  test(`${runtime}: a SIGTERM 2 s after the first, and a SIGINT at once, wait no longer`, async () => {
    for (const [signal, waitMs] of [["SIGTERM", 2050], ["SIGINT", 50]] as const) {
      await started({}, async ({ url, child }) => {
        const response = await post(url, "x".repeat(1000));
        child.kill("SIGTERM");
        await sleep(waitMs);
        assert.equal(child.exit, undefined, "the first one waits");
        child.kill(signal);
        assert.match(await response.text(), /shutting_down/);
        await exits(child);
      });
    }
  });

  test(`${runtime}: DRAIN_DELAY_MS takes streams for a balancer that lags behind`, async () => {
    await started({ DRAIN_DELAY_MS: "2000", TOKEN_DELAY_MS: "0" }, async ({ url, child }) => {
      // A balancer keeps its connection; `deno serve` takes no other one after a signal.
      const first = await fetch(`${url}/health`);
      assert.equal((await first.json()).status, "ok");
      const open = runtime === "deno" ? undefined : await post(url, "ab");
      child.kill("SIGTERM");
      if (open !== undefined) {
        const health = async () => (await fetch(`${url}/health`)).status;
        while (await health() !== 503) await sleep(10);
        assert.match(await (await post(url, "ab")).text(), /event: done\n/);
        await open.text();
      }
      await exits(child);
    });
  });

  test(
    `${runtime}: a log that nobody reads stops nothing`,
    { skip: !existsSync("/proc/self/fd") },
    async () => {
      const port = await freePort();
      const url = `http://127.0.0.1:${port}`;
      // Both outputs are a pipe that is full before the server starts, and that is read when a file is there.
      const server = `echo $$ >&2; head -c 65536 /dev/zero; exec ${
        shellCommand(runtime, port)
      } 2>&1`;
      const file = join(newFolder(), "read");
      const command = `sh -c '${server}' | { until [ -e ${file} ]; do sleep 0.1; done; cat; }`;
      const environment = { PORT: String(port), TOKEN_DELAY_MS: "0", LOG: "json" };
      const child = startChild("sh", ["-c", command], environment);
      try {
        await serves(url, child);
        assert.equal(child.output, "", "nothing was read yet");
        const texts = await Promise.all(
          Array.from({ length: 20 }, async () => (await post(url, "ab")).text()),
        );
        for (const text of texts) assert.match(text, /event: done\n/);
        assert.equal((await fetch(`${url}/health`)).status, 200);
        assert.equal(child.output, "", "nothing was read yet");
        // Then somebody reads, and finds all of it.
        writeFileSync(file, "");
        await until(() => child.output.split("\n").length > 21, PATIENCE_MS, "the log");
        const events = child.output.replaceAll("\0", "").trim().split("\n").map((line) =>
          JSON.parse(line).event
        );
        assert.deepEqual(events, ["listening", ...Array.from({ length: 20 }, () => "closed")]);
      } finally {
        process.kill(Number(child.errors), "SIGTERM");
        await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
      }
    },
  );

  test(
    `${runtime}: MAX_STREAMS follows the open files, in one line, and running out of them ends no stream`,
    {
      skip: !existsSync("/proc/self/limits"),
    },
    async () => {
      const port = await freePort();
      const url = `http://127.0.0.1:${port}`;
      const command = `ulimit -n 200; exec ${shellCommand(runtime, port)}`;
      const environment = { PORT: String(port), TOKEN_DELAY_MS: "60" };
      const child = startChild("sh", ["-c", command], environment);
      const idle: Socket[] = [];
      try {
        await serves(url, child);
        const lines = child.output.match(
          /^MAX_STREAMS is 10000, but 200 .* for 68; ulimit -n 20064 .*$/gm,
        );
        assert.equal(lines?.length, 1, child.output);
        const open = await post(url, "x".repeat(40));
        for (let i = 0; i < 250; i++) {
          const socket = connect(port, "127.0.0.1");
          socket.on("error", () => {});
          idle.push(socket);
        }
        await sleep(500);
        const text = await open.text();
        assert.match(text, /event: done\n/);
        assert.equal(text.match(/"token"/g)?.length, 40);
        for (const socket of idle) socket.destroy();
        await serves(url, child);
        assert.equal(child.exit, undefined, child.errors);
      } finally {
        for (const socket of idle) socket.destroy();
        await child.stop();
      }
    },
  );
}
