/**
 * Writes `../generated.ts`, the pages as the handler serves them, from the sources in this folder:
 * `npm run build:pages`, after each change of one of them. `--print` writes to the standard output
 * instead. It runs on Bun, whose bundler makes one module of each page's program. Names are shortened and
 * lines stay: so a page fits its 40 KB, and a change can still be read in the result.
 */
import { readFile, writeFile } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";

const PAGES = ["chat", "docs"];
const HEADER = `\
/**
 * Generated from \`src/\` by \`npm run build:pages\`: change it there. The pages, line by line.
 */
import type { PageSource } from "./page.ts";
`;

const read = (url: URL) => readFile(url, "utf8");

/** The text without indentation and empty lines. */
function linesOf(text: string): string[] {
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
}

/** A style sheet, a rule a line. */
function compactStyle(style: string): string[] {
  const compact = style.replace(/\/\*[^]*?\*\//g, "").replace(/\s+/g, " ")
    .replace(/ ?([{},;]) ?/g, "$1").replaceAll(": ", ":").replaceAll(";}", "}");
  return linesOf(compact.replaceAll("}", "}\n"));
}

/** The program of a page and all that it imports, as one module. */
async function bundle(entry: URL): Promise<string[]> {
  const { outputs } = await Bun.build({
    entrypoints: [fileURLToPath(entry)],
    target: "browser",
    minify: { identifiers: true },
  });
  const code = await outputs[0]!.text();
  // Bun says where each part comes from.
  const lines = linesOf(code).filter((line) => !line.startsWith("//"));
  // Within a string of several lines that would have been no indentation, and no comment.
  const minifier = new Bun.Transpiler({ minifyWhitespace: true, trimUnusedImports: false });
  const [before, after] = [code, lines.join("\n")].map((each) => minifier.transformSync(each));
  if (before !== after) {
    throw new Error(`a string of several lines in ${entry.pathname} was changed`);
  }
  return lines;
}

/** The icon as a URL, and its drawing to stand in a page. */
async function readIcon(): Promise<{ url: string; drawing: string }> {
  const svg = linesOf(await read(new URL("icon.svg", import.meta.url))).join(" ");
  const drawing = /<path id="crest"[^>]*>/.exec(svg)![0].replace(' id="crest"', "");
  return { url: `data:image/svg+xml,${encodeURIComponent(svg)}`, drawing };
}

/** A page's document, with its style and its program apart. */
async function buildPage(name: string): Promise<Record<string, string[]>> {
  const { url, drawing } = await readIcon();
  const document = new URL(`${name}/${name}.html`, import.meta.url);
  const style: string[] = [];
  let script: string[] = [];
  let html = (await read(document)).replaceAll(/<use href="\.\.\/icon\.svg#crest" \/>/g, drawing)
    .replace('"../icon.svg"', `"${url}"`);
  for (const [link, path] of html.matchAll(/<link rel="stylesheet" href="(.*)">/g)) {
    html = html.replace(link, style.length === 0 ? "<style></style>" : "");
    style.push(...compactStyle(await read(new URL(path!, document))));
  }
  for (const [element, path] of html.matchAll(/<script type="module" src="(.*)"><\/script>/g)) {
    html = html.replace(element, '<script type="module"></script>');
    script = await bundle(new URL(path!, document));
  }
  return { html: linesOf(html), style, script };
}

/** A string as it is written: with the quotes that it has fewer of. */
function quote(text: string): string {
  const [double, single] = [/"/g, /'/g].map((mark) => text.match(mark)?.length ?? 0);
  const json = JSON.stringify(text);
  if (double! <= single!) return json;
  return `'${json.slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`;
}

let module = HEADER;
for (const name of PAGES) {
  module +=
    `\n/** What \`${name}.ts\` serves. */\nexport const ${name.toUpperCase()}: PageSource = {\n`;
  for (const [part, lines] of Object.entries(await buildPage(name))) {
    module += `  ${part}: [\n${lines.map((line) => `    ${quote(line)},\n`).join("")}  ],\n`;
  }
  module += "};\n";
}
if (process.argv.includes("--print")) process.stdout.write(module);
else await writeFile(new URL("../generated.ts", import.meta.url), module);
