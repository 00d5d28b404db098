/**
 * Workers that cannot be started, on Bun and on Node, whichever runtime runs the test: each in a program
 * of its own, because it takes that program's files away.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { fileOf, PATIENCE_MS, startChild } from "../support/child.ts";
import { until } from "../support/serve.ts";

/** What takes away that a worker is started with. */
const HINDRANCES = {
  "the runtime's file is gone": "process.execPath = '/missing/runtime';",
  "no file can be opened": "try { for (;;) openSync('/dev/null', 'r'); } catch {}",
};

for (const runtime of ["bun", "node"] as const) {
  for (const [what, hinder] of Object.entries(HINDRANCES)) {
    test(`${runtime}: a worker has ended, and can be told what it will, where ${what}`, async () => {
      const program = `
        import { openSync } from "node:fs";
        import { workerStarter } from "./lib/server/processes.ts";
        process.argv[1] = "lib/server.ts";
        const start = await workerStarter(process.env);
        const faults = [];
        const ended = (fault) => {
          faults.push(fault);
          setTimeout(() => process.exit(), 200);
        };
        process.on("exit", () => process.stdout.write(JSON.stringify(faults)));
        process.stdout.write("");
        setTimeout(() => process.exit(), 20_000);
        ${hinder}
        const worker = start({ message() {}, ended });
        worker.send({ type: "health", health: "ok" });
        worker.kill();`;
      const flags = runtime === "node" ? ["--input-type=module", "-e"] : ["-e"];
      const command = `ulimit -n 200; exec "$0" "$@"`;
      const child = startChild("sh", ["-c", command, fileOf(runtime), ...flags, program]);
      await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
      assert.deepEqual([child.exit, child.errors], [0, ""]);
      const [fault, ...more] = JSON.parse(child.output) as unknown[];
      assert.match(String(fault), /ENOENT|EMFILE/);
      assert.deepEqual(more, []);
    });
  }
}
