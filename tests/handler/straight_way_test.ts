/** The way of a request through the handler is straight: each decision is made in one place. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { root } from "../support/child.ts";

/** The handler's files without comments, and without what runs in a browser. */
const files = ["handler.ts", "full_handler.ts"]
  .concat(
    readdirSync(join(root, "lib/handler"), { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".ts") && !/^pages\/(src\/|generated)/.test(path))
      .map((path) => `handler/${path}`),
  ).map((path) => {
    const text = readFileSync(join(root, "lib", path), "utf8");
    return { path, text, code: text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "") };
  });

/** The files in which a pattern stands, once for each time. */
function placesOf(pattern: RegExp): string[] {
  return files.flatMap(({ path, code }) => (code.match(pattern) ?? []).map(() => path));
}

test("one function turns an error into a response", () => {
  assert(files.length > 20);
  assert.deepEqual(placesOf(/\berrorResponse\(/g), ["handler.ts"]);
  assert.deepEqual(placesOf(/\berrorBodyOf\(path\)/g), ["handler.ts"]);
});

test("one place decides whether a request resumes a stream", () => {
  assert.deepEqual(placesOf(/\.(?:has|get)\(\s*["'`]last-event-id/gi), ["handler/streams.ts"]);
  assert.deepEqual(placesOf(/\blog\.resume\(/g), ["handler/streams.ts"]);
});

test("options are checked once, when the handler is made", () => {
  assert.deepEqual(placesOf(/(?<!function )\bcheckHandlerOptions\(/g), ["handler.ts"]);
  assert.deepEqual(placesOf(/\bcheckOptions\(/g), ["handler/options.ts"]);
});

test("options, router and admission do not know the handler", () => {
  const importers = files.filter(({ code }) =>
    /from "(?:\.\.?\/)+(?:full_)?handler\.ts"/.test(code)
  );
  assert.deepEqual(importers.map(({ path }) => path), ["full_handler.ts"]);
});

test("no file of the handler has over 400 lines", () => {
  assert.deepEqual(files.filter(({ text }) => text.split("\n").length > 401), []);
});
