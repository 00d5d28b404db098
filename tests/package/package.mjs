/**
 * The package as a user gets it: packed once, installed in an empty project, and used there on every
 * runtime, under every way to check and to bundle it.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { declarations, recorded } from "../../scripts/declarations.mjs";
import { kilobytes, measure } from "../../scripts/sizes.mjs";
import { endsWithNpm, firstAnswer, whileServing } from "./server.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const require = createRequire(`${root}tests/package.json`);
const run = promisify(execFile);
const manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
const readme = await readFile(join(root, "README.md"), "utf8");
/** The Nodes that `engines` allows: the oldest, and the lines that are maintained. */
const NODES = ["node20", "node22"].map((name) =>
  join(root, "tests/node_modules", name, "bin/node")
);
const BIN = join(root, "node_modules/.bin");
const env = { ...process.env, PATH: `${BIN}${delimiter}${process.env.PATH}`, NO_COLOR: "1" };

let project = "";
let tarball = "";
/** Paths in the tarball. */
let packed = [];

/** A program's standard output; what went wrong if it fails. */
async function output(program, args, options = {}) {
  try {
    return (await run(program, args, { cwd: project, env, ...options })).stdout;
  } catch (error) {
    throw new Error(`${program} ${args.join(" ")}: ${error.stdout}${error.stderr}`);
  }
}

before(async () => {
  project = await mkdtemp(join(tmpdir(), "spillway-package-"));
  const args = ["pack", "--json", "--pack-destination", project];
  const printed = await output("npm", args, { cwd: root });
  // What `prepack` prints comes first.
  const [{ filename, files }] = Object.values(
    JSON.parse(printed.slice(printed.search(/^[[{]\s*$/m))),
  );
  tarball = join(project, filename);
  packed = files.map(({ path }) => path);
  await writeFile(join(project, "package.json"), '{ "private": true, "type": "module" }\n');
  await output("npm", ["install", "--no-audit", "--no-fund", "--offline", tarball]);
});

after(() => rm(project, { recursive: true, force: true }));

/** A block of the README whose code holds a text. */
function example(text) {
  const blocks = [...readme.matchAll(/^```(?:ts|js)\n([^]*?)^```/gm)].map(([, code]) => code);
  const found = blocks.find((code) => code.includes(text));
  assert(found, `README has an example with ${text}`);
  return found;
}

test("the package holds what it needs, and no TypeScript but declarations", () => {
  const sources = packed.filter((path) => /\.[cm]?tsx?$/.test(path) && !path.endsWith(".d.ts"));
  assert.deepEqual(sources, []);
  const needed = ["README.md", "LICENSE", "CHANGELOG.md", "package.json"];
  for (const { types, default: code } of targets()) needed.push(types.slice(2), code.slice(2));
  assert.deepEqual(needed.filter((path) => !packed.includes(path)), []);
  assert.deepEqual(packed.filter((path) => /^(tests|bench|scripts|lib)\//.test(path)), []);
  assert.deepEqual(manifest.dependencies ?? {}, {});
});

function targets() {
  return Object.values(manifest.exports).filter((target) => typeof target === "object");
}

test("a source map leads back to the source, which it holds", async () => {
  const path = join(project, "node_modules/spillway/dist/mod.js.map");
  const { sources, sourcesContent } = JSON.parse(await readFile(path, "utf8"));
  assert.deepEqual(sources, ["../mod.ts"]);
  assert.equal(sourcesContent[0], await readFile(join(root, "mod.ts"), "utf8"));
});

test("publint has nothing to say", async () => {
  const { publint } = await import(require.resolve("publint").replace(/^/, "file://"));
  const { messages } = await publint({ pkgDir: join(project, "node_modules/spillway") });
  // The licence's holder and the addresses are placeholders until the first release.
  assert.deepEqual(messages.filter(({ type }) => type !== "suggestion"), []);
});

test("attw finds the types of every entry, for ESM", async () => {
  const attw = join(root, "tests/node_modules/.bin/attw");
  await output(attw, ["--profile", "esm-only", "--no-emoji", tarball]);
});

/** Starts a file with a runtime's command, and returns what its server answers. */
const PORT = "8471";
const RUNTIMES = {
  Bun: ["bun", (file) => [file]],
  Deno: ["deno", (file) => ["serve", "-A", "--host", "127.0.0.1", "--port", PORT, file]],
};
for (const [runtime, [program, args]] of Object.entries(RUNTIMES)) {
  test(`README's first example streams on ${runtime}`, async () => {
    await writeFile(join(project, "example.ts"), example("async function* model"));
    const answer = await firstAnswer(program, args("example.ts"), {
      cwd: project,
      env,
      port: PORT,
    });
    assert.equal(answer.text, "You asked: Hello");
    assert.equal(answer.isDone, true);
  });
}

const ON_NODE = `import { createServer } from "node:http";
import { sse } from "spillway";
import { toNodeListener } from "spillway/node";

const fetch = (request) => {
  const query = new URL(request.url).searchParams.get("query") ?? "nothing";
  return sse(request, ["You ", "asked: ", query]);
};
createServer(toNodeListener(fetch)).listen(process.env.PORT, "127.0.0.1");
`;
for (const node of [...NODES, process.execPath]) {
  const { stdout: version } = await run(node, ["--version"]);
  test(`a fetch function serves on Node ${version.trim()}`, async () => {
    await writeFile(join(project, "example.mjs"), ON_NODE);
    const answer = await firstAnswer(node, ["example.mjs"], { cwd: project, env, port: PORT });
    assert.equal(answer.text, "You asked: Hello");
    assert.equal(answer.isDone, true);
  });

  test(`every entry is imported and required on Node ${version.trim()}`, async () => {
    const names = Object.keys(manifest.exports).filter((entry) => manifest.exports[entry].types);
    const specifiers = names.map((entry) => `spillway${entry.slice(1)}`);
    await writeFile(
      join(project, "every.cjs"),
      `(async () => { for (const name of ${JSON.stringify(specifiers)}) {
        const [required, imported] = [require(name), await import(name)];
        if (Object.keys(required).length === 0) throw new Error(name + " exports nothing");
        for (const key of Object.keys(imported)) {
          if (required[key] !== imported[key]) throw new Error(name + " is there twice: " + key);
        }
      } })();`,
    );
    await output(node, ["every.cjs"]);
  });
}

const MAPS = { Deno: "deno.json", Bun: "tsconfig.json", Node: "package.json" };
for (const [i, [runtime, file]] of Object.entries(MAPS).entries()) {
  test(`the sources run without npm on ${runtime}, as the documents say`, async () => {
    const page = await readFile(join(root, "docs/runtimes.md"), "utf8");
    const map = [...page.matchAll(/^```json\n([^]*?)^```/gm)][i][1];
    const folder = await mkdtemp(join(tmpdir(), "spillway-sources-"));
    try {
      await cp(join(root, "mod.ts"), join(folder, "spillway/mod.ts"));
      await cp(join(root, "lib"), join(folder, "spillway/lib"), { recursive: true });
      await writeFile(join(folder, file), map);
      const code = runtime === "Node" ? ON_NODE.replaceAll('"spillway', '"#spillway') : example(
        "async function* model",
      );
      await writeFile(join(folder, "example.ts"), code);
      const [program, args] = RUNTIMES[runtime] ?? [process.execPath, (path) => [path]];
      const answer = await firstAnswer(program, args("example.ts"), {
        cwd: folder,
        env,
        port: PORT,
      });
      assert.deepEqual(answer, { text: "You asked: Hello", isDone: true });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
}

for (const args of [["exec", "spillway"], ["exec", "-c", "true && LOG=off spillway"]]) {
  test(`npm ${args.join(" ")} ends with npm`, async () => {
    assert(await endsWithNpm(args, { cwd: project, env, port: PORT }));
  });
}

test("npx spillway doctor judges a server from the package", async () => {
  const command = join(project, "node_modules/spillway/dist/lib/cli.js");
  const printed = await whileServing(process.execPath, [command], {
    cwd: project,
    env,
    port: PORT,
    ask: async (url, response) => {
      await response.body.cancel();
      const flags = ["--paced", "--silence-ms=0", "--connections=2"];
      return await output("npx", ["spillway", "doctor", url, ...flags]);
    },
  });
  assert.match(printed, /^tokens +[·▁▂▃▄▅▆▇█]{40} 30 in /m);
  assert.match(printed, /^Good: tokens arrive one by one\.$/m);
});

test("the entries are there on Bun and Deno", async () => {
  const names = Object.keys(manifest.exports).filter((entry) => manifest.exports[entry].types);
  const lines = names.map((entry) => `await import("spillway${entry.slice(1)}");`);
  await writeFile(join(project, "every.ts"), lines.join("\n"));
  await output("bun", ["every.ts"]);
  await output("deno", ["run", "-A", "every.ts"]);
});

const COMPILERS = { "TypeScript 7": root, "TypeScript 5": join(root, "tests/") };
const RESOLUTIONS = {
  bundler: { module: "esnext", moduleResolution: "bundler" },
  nodenext: { module: "nodenext", moduleResolution: "nodenext" },
};
const LIBS = {
  "with the DOM": { lib: ["es2022", "dom", "dom.iterable", "dom.asynciterable"], types: [] },
  "without the DOM": { lib: ["es2022"], types: ["node"] },
};
for (const [compiler, where] of Object.entries(COMPILERS)) {
  for (const [name, resolution] of Object.entries(RESOLUTIONS)) {
    for (const [libs, lib] of Object.entries(LIBS)) {
      test(`the declarations are clean under ${compiler}, ${name}, ${libs}`, async () => {
        const folder = await mkdtemp(join(project, "types-"));
        const names = Object.keys(manifest.exports).filter((entry) =>
          manifest.exports[entry].types
        );
        const every = names.map((entry, i) =>
          `import * as e${i} from "spillway${entry.slice(1)}";`
        );
        const used = `export default [${names.map((_, i) => `e${i}`).join(", ")}];\n`;
        await writeFile(join(folder, "every.ts"), `${every.join("\n")}\n${used}`);
        await writeFile(join(folder, "example.ts"), example("async function* model"));
        const compilerOptions = {
          target: "es2022",
          strict: true,
          exactOptionalPropertyTypes: true,
          noEmit: true,
          skipLibCheck: false,
          typeRoots: [join(root, "node_modules/@types")],
          ...resolution,
          ...lib,
        };
        await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions }));
        const tsc = join(where, "node_modules/typescript/bin/tsc");
        await output(process.execPath, [tsc, "-p", folder]);
      });
    }
  }
}

test("a bundle by esbuild streams", async () => {
  const { build } = require("esbuild");
  const contents = `import { sse } from "spillway";
const response = await sse(new Request("http://localhost/"), ["Hel", "lo"], { format: "plain" });
console.log(await response.text());`;
  const outfile = join(project, "bundle.mjs");
  await build({
    stdin: { contents, resolveDir: project },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "neutral",
    outfile,
  });
  for (const program of ["bun", process.execPath]) {
    assert.equal(await output(program, [outfile]), "Hello\n");
  }
});

test("the public declarations are those that are checked in", () => {
  assert.equal(declarations(), recorded(), "after a change on purpose: npm run declarations");
});

test("README's sizes are those of npm run sizes, and sse() alone stays small", async () => {
  const rows = await measure();
  for (const { names, from, minified, gzipped } of rows) {
    const named = names.map((name) => `\`${name}\``).join(", ");
    const cells = [`${named} from \`${from}\``, kilobytes(minified), kilobytes(gzipped)];
    const row = new RegExp(`^\\| ${cells.map(quoted).join(" +\\| +")} +\\|$`, "m");
    assert.match(readme, row, cells.join(" | "));
  }
  // Little more than today's, so that a growth is seen. Nothing of a log is in it.
  const [{ minified, gzipped }] = rows;
  assert(minified <= 30 * 1024 && gzipped <= 11.5 * 1024, `${minified} and ${gzipped} bytes`);
});

function quoted(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
