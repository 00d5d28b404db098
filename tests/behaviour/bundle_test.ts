/** What a user's bundle holds: of the formats only those that are imported. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { PATIENCE_MS, root, startChild } from "../support/child.ts";
import { until } from "../support/serve.ts";

/** What only this format's code holds. */
const MARKS: Readonly<Record<string, string>> = {
  openaiFormat: "chat.completion",
  anthropicFormat: "message_start",
  uiMessageFormat: "x-vercel-ai-ui-message-stream",
};
/** A bundle of the names, minified. */
function bundle(...names: string[]): Promise<Uint8Array> {
  return bundleFrom("mod.ts", names);
}

async function bundleFrom(file: string, names: string[]): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), "spillway-bundle-"));
  try {
    const entry = join(folder, "entry.ts");
    const outfile = join(folder, "bundle.js");
    const from = JSON.stringify(`${root}${file}`);
    await writeFile(entry, `export { ${names.join(", ")} } from ${from};\n`);
    const child = startChild("bun", ["build", "--minify", entry, "--outfile", outfile]);
    await until(() => child.exit !== undefined, PATIENCE_MS, "bun build ended");
    assert.equal(child.exit, 0, child.errors);
    return await readFile(outfile);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The formats whose marks a bundle holds. */
function formatsIn(bytes: Uint8Array): string[] {
  const code = new TextDecoder().decode(bytes);
  return Object.keys(MARKS).filter((name) => code.includes(MARKS[name]!));
}

test("a bundle of sse() holds no format that it does not know by name", async () => {
  const bytes = await bundle("sse");
  assert.deepEqual(formatsIn(bytes), []);
  assert.ok(bytes.length > 4096, "the bundle is not empty");
});

test("a bundle of sse() and a format holds that format and no other", async () => {
  for (const name of Object.keys(MARKS)) {
    assert.deepEqual(formatsIn(await bundle("sse", name)), [name]);
  }
});

test("a bundle of connect() has 5 KB at most, minified and gzipped, its decoder included", async () => {
  const bytes = await bundleFrom("lib/client.ts", ["connect", "ConnectError"]);
  const gzipped = gzipSync(bytes, { level: 9 }).length;
  console.log(`  connect(): ${bytes.length} bytes, ${gzipped} gzipped`);
  assert.match(new TextDecoder().decode(bytes), /last-event-id/);
  assert(gzipped <= 5120, `${gzipped} bytes`);
});
