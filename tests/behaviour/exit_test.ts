/** A script whose stream has ended exits by itself: nothing of ours keeps a process alive. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { DENO_RUN, PATIENCE_MS, startChild } from "../support/child.ts";
import { until } from "../support/serve.ts";

const SCRIPT = "tests/support/child/exit.ts";
/** Before that, something of a stream or of its log would end by itself. */
const WITHIN_MS = 4000;

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "spillway-"));
  const build = startChild("bun", [
    "build",
    "--target=node",
    SCRIPT,
    `--outfile=${join(folder, "exit.mjs")}`,
  ]);
  await until(() => build.exit !== undefined, PATIENCE_MS, "the build for Node");
  assert.equal(build.exit, 0, build.errors);
});
after(() => rm(folder, { recursive: true }));

const commands = {
  bun: () => [SCRIPT],
  deno: () => [...DENO_RUN, SCRIPT],
  node: () => [join(folder, "exit.mjs")],
};

for (const [runtime, args] of Object.entries(commands)) {
  for (const way of ["read", "fail", "cancel", "unread", "many", "replay", "file", "gone"]) {
    test(`a script exits by itself after one sse() on ${runtime}: ${way}`, async () => {
      const child = startChild(runtime as keyof typeof commands, [...args(), way]);
      try {
        // The start of a runtime on a busy machine is no business of ours.
        await until(() => /last line/.test(child.output), PATIENCE_MS, `an end: ${child.errors}`);
        await until(() => child.exit !== undefined, WITHIN_MS, `${runtime} exited by itself`);
        assert.equal(child.exit, 0, child.errors);
        if (["read", "fail", "replay", "file"].includes(way)) {
          assert.match(child.output, /^whole$/m);
        }
      } finally {
        await child.stop();
      }
    });
  }
}
