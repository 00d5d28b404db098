/** The way of a request through the handler is straight: each decision is made in one place. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { root } from "../support/child.ts";

/** All files without comments, and without what runs in a browser. */
const files = readdirSync(join(root, "lib"), { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts") && !/\bpages\/(src\/|generated)/.test(path))
  .sort()
  .map((path) => {
    const text = readFileSync(join(root, "lib", path), "utf8");
    return { path, text, code: text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "") };
  });
const ofHandler = files.filter(({ path }) => /^(handler\/|(full_)?handler\.ts)/.test(path));

/** The files in which a pattern stands, once for each time. */
function placesOf(pattern: RegExp, among = ofHandler): string[] {
  return among.flatMap(({ path, code }) => (code.match(pattern) ?? []).map(() => path));
}

test("one function turns an error into a response, and each entry calls it in one place", () => {
  assert(ofHandler.length > 20);
  const calls = /(?<!function )\berrorResponse\(/g;
  assert.deepEqual(placesOf(calls, files), [
    "handler.ts",
    "http/resume.ts",
    "http/sse.ts",
    "node/exchange.ts",
  ]);
  assert.deepEqual(placesOf(/\berrorFormatOf\(path\)/g), ["handler.ts"]);
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
  const importers = ofHandler.filter(({ code }) =>
    /from "(?:\.\.?\/)+(?:full_)?handler\.ts"/.test(code)
  );
  assert.deepEqual(importers.map(({ path }) => path), ["full_handler.ts"]);
});

test("no file has over 400 lines", () => {
  const long = files.filter(({ text }) => text.split("\n").length > 401);
  assert.deepEqual(long.map(({ path }) => path), []);
});
