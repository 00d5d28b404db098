/** The pages that are served are those whose sources stand in `src/`. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { PATIENCE_MS, root, startChild } from "../../support/child.ts";
import { until } from "../../support/serve.ts";

test("the pages' generated module is current", async () => {
  const child = startChild("bun", ["lib/handler/pages/src/build.ts", "--print"]);
  await until(() => child.exit !== undefined, PATIENCE_MS, "the build ended");
  assert.equal(child.exit, 0, child.errors);
  const module = await readFile(join(root, "lib/handler/pages/generated.ts"), "utf8");
  assert(module.includes("export const CHAT"));
  // Like `assert.equal`, but does not print both pages.
  assert(module === child.output, "it is not: npm run build:pages");
});
