/**
 * What the document and the pages cost a user's bundle: nothing, unless they are asked for. Prints the
 * size of each bundle.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { PATIENCE_MS, root, startChild } from "../../support/child.ts";
import { until } from "../../support/serve.ts";

const MAIN = "mod.ts";
const SUBPATH = "lib/handler.ts";

/** The bundle of a file that exports names of an entry. */
async function bundleOf(path: string, ...names: string[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "spillway-"));
  try {
    const entry = join(folder, "entry.ts");
    const out = join(folder, "out.js");
    const code = `export { ${names.join(", ")} } from ${JSON.stringify(root + path)};`;
    writeFileSync(entry, code);
    const child = startChild("bun", ["build", entry, "--minify", "--outfile", out]);
    await until(() => child.exit !== undefined, PATIENCE_MS, "the bundle");
    assert.equal(child.exit, 0, child.errors);
    const bundle = readFileSync(out, "utf8");
    console.log(`${(bundle.length / 1024).toFixed(1)} KB: ${names.join(", ")} of ${path}`);
    return bundle;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Words of each part that survive minification. */
const WORDS = {
  input: ["~standard"],
  // The reference page reads a document, and so has the words of one as well.
  document: ['"3.2.0"', "createChatCompletion", 'problem+json":{schema'],
  chat: ['aria-label="Conversation"'],
  reference: ["EventSource(", "snippet"],
  page: ["<!doctype html>"],
};
type Part = keyof typeof WORDS;

/** The parts that a bundle holds, each entirely or not at all. */
function partsIn(bundle: string): Part[] {
  return (Object.keys(WORDS) as Part[]).filter((part) => {
    const found = WORDS[part].filter((word) => bundle.includes(word));
    assert(found.length === 0 || found.length === WORDS[part].length, `${part}: only ${found}`);
    return found.length > 0;
  });
}

test("a bundle of sse holds neither the document, nor a page, nor the check of an input", async () => {
  const bundle = await bundleOf(MAIN, "sse");
  assert(bundle.includes("text/event-stream"));
  assert.deepEqual(partsIn(bundle), []);
});

test("a bundle of createHandler of the main entry holds them all", async () => {
  assert.deepEqual(partsIn(await bundleOf(MAIN, "createHandler")), Object.keys(WORDS));
});

test("a bundle of spillway/handler holds the values that are asked for, and no other", async () => {
  const table: [names: string[], parts: Part[]][] = [
    [["openApi"], ["input", "document"]],
    [["chatPage"], ["input", "chat", "page"]],
    [["referencePage"], ["input", "reference", "page"]],
  ];
  const bare = await bundleOf(SUBPATH, "createHandler");
  assert.deepEqual(partsIn(bare), ["input"]);
  for (const word of ["openapi", "itemSchema", "operationId", "<!doctype html>"]) {
    assert(!bare.includes(word), word);
  }
  for (const [names, parts] of table) {
    assert.deepEqual(partsIn(await bundleOf(SUBPATH, "createHandler", ...names)), parts);
  }
});
