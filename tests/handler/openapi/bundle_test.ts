/** What the document and the pages cost a user's bundle: nothing, for who imports `sse` alone. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { root, startChild } from "../../support/child.ts";
import { until } from "../../support/serve.ts";

/** The bundle of a file that exports `name` of the module. */
async function bundleOf(name: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "spillway-"));
  try {
    const entry = join(folder, "entry.ts");
    const out = join(folder, "out.js");
    writeFileSync(entry, `export { ${name} } from ${JSON.stringify(`${root}mod.ts`)};`);
    const child = startChild("bun", ["build", entry, "--minify", "--outfile", out]);
    await until(() => child.exit !== undefined, 10_000, "the bundle");
    assert.equal(child.exit, 0, child.errors);
    return readFileSync(out, "utf8");
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Words of the document, of the pages and of the check of an input that survive minification. */
const OF_THE_HANDLER = ["openapi", "itemSchema", "~standard", "operationId", "<!doctype html>"];

test("a bundle of sse holds neither the document, nor a page, nor the check of an input", async () => {
  const bundle = await bundleOf("sse");
  assert(bundle.includes("text/event-stream"));
  for (const word of OF_THE_HANDLER) assert(!bundle.includes(word), word);
});

test("a bundle of createHandler holds them all", async () => {
  const bundle = await bundleOf("createHandler");
  for (const word of OF_THE_HANDLER) assert(bundle.includes(word), word);
});
