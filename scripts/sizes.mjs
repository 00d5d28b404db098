/**
 * `npm run sizes`: what a user's bundle holds, in bytes, minified by esbuild and compressed by gzip.
 * Builds `dist/` first, because that is what a user bundles. `README.md` has the table, and a test
 * that it is the one that this prints.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const root = fileURLToPath(new URL("..", import.meta.url));
const { exports } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));
const { build } = createRequire(`${root}tests/package.json`)("esbuild");

/** What is imported, and from which entry. */
const ROWS = [
  [["sse"], "."],
  [["sse", "resume", "stop", "MemoryLog"], "."],
  [["createHandler"], "./handler"],
  [["createHandler"], "."],
  [["decodeEvents"], "./sse"],
];

async function sizeOf(names, entry) {
  const file = `${root}${exports[entry].default}`;
  const { outputFiles } = await build({
    stdin: {
      contents: `export { ${names.join(", ")} } from ${JSON.stringify(file)};`,
      resolveDir: root,
    },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "neutral",
    external: ["node:*"],
    write: false,
  });
  const [{ contents }] = outputFiles;
  return [contents.length, gzipSync(contents, { level: 9 }).length];
}

/** The table's rows: what is imported, from where, and the two sizes in bytes. */
export function measure() {
  return Promise.all(ROWS.map(async ([names, entry]) => {
    const [minified, gzipped] = await sizeOf(names, entry);
    return { names, from: `spillway${entry.slice(1)}`, minified, gzipped };
  }));
}

/** A size as people read it. */
export function kilobytes(bytes) {
  return `${(bytes / 1000).toFixed(1)} KB`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const { names, from, minified, gzipped } of await measure()) {
    const row = [`${names.join(", ")} from ${from}`.padEnd(50), minified, gzipped];
    console.log(...row, `${kilobytes(minified)}, ${kilobytes(gzipped)} gzipped`);
  }
}
