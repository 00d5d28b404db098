/** The rules of the house, read from the files themselves: who may import whom, and who does what. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import test from "node:test";
import { root } from "./support/child.ts";

/** The ground: what everybody shares. */
const GROUND = [
  "error.ts",
  "counters.ts",
  "stream_id.ts",
  "item.ts",
  "chat.ts",
  "values.ts",
  "option_names.ts",
  "totals.ts",
  "diagnostics.ts",
  "printable.ts",
];
/** From below to above: a file imports what is in its own layer or in one before it. An entry is of the layer of its folder. */
const LAYERS = [
  "ground",
  "sse",
  "formats",
  "pipeline",
  "client",
  "sources",
  "http",
  "replay",
  "redis",
  "sqlite",
  "handler",
  "full_handler",
  "node",
  "doctor",
  "server",
  "cli",
  "testing",
];
/** Folders of peers behind one interface: what a file of theirs may import of its own folder. */
const FAMILIES: Readonly<Record<string, readonly string[]>> = {
  formats: [
    "formats/codes.ts",
    "formats/format.ts",
    "formats/parts.ts",
    "formats/finish.ts",
    "formats/transcript.ts",
    "formats/completion_chunk.ts",
    "formats/delta.ts",
    "formats/tool_calls.ts",
    "formats/openai_error.ts",
    "formats/responses_framer.ts",
    "formats/responses_items.ts",
    "formats/responses_object.ts",
    "formats/openai_document.ts",
    "formats/openai_members.ts",
  ],
  sources: [
    "sources/upstream.ts",
    "sources/upstream_request.ts",
    "sources/upstream_failure.ts",
    "sources/upstream_counts.ts",
    "sources/traceparent.ts",
    "sources/deadline.ts",
    "sources/dialect.ts",
    "sources/chat_parts.ts",
    "sources/event_fields.ts",
    "sources/anthropic_body.ts",
    "sources/anthropic_reader.ts",
    "sources/responses_body.ts",
    "sources/responses_reader.ts",
    "sources/relay_reader.ts",
    "sources/model_options.ts",
    "sources/model_source.ts",
    "sources/codes.ts",
  ],
};
interface File {
  path: string;
  /** Without its comments. */
  code: string;
  imports: string[];
}

async function filesIn(folder: string): Promise<File[]> {
  const entries = await readdir(join(root, folder), { recursive: true });
  const paths = entries.filter((entry) => entry.endsWith(".ts")).sort();
  return Promise.all(paths.map(async (path) => {
    const text = await readFile(join(root, folder, path), "utf8");
    const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
    const imports = [...code.matchAll(/^(?:import|export)\b[^;]*?from "([^"]+)"/gm)]
      .concat([...code.matchAll(/\bimport\(?\s*"([^"]+)"/g)])
      .map((match) => match[1]!);
    return { path: path.replaceAll("\\", "/"), code, imports };
  }));
}

/** Programs of the pages: they run in a browser. */
const PAGES = "handler/pages/src/";
/** What builds the pages is run by hand, and what it writes is judged by its sources. */
const BUILD = [`${PAGES}build.ts`, "handler/pages/generated.ts"];

const lib = (await filesIn("lib")).filter(({ path }) => !BUILD.includes(path));

function layerOf(path: string): number {
  if (GROUND.includes(path)) return 0;
  const [folder] = /^\w+/.exec(path)!;
  return LAYERS.indexOf(folder);
}

/** An import as a path in lib. */
function target(file: File, specifier: string): string {
  return relative("lib", join("lib", dirname(file.path), specifier)).replaceAll("\\", "/");
}

const where = (holds: (file: File) => boolean) => lib.filter(holds).map(({ path }) => path);

test("every file has a layer", () => {
  assert(lib.length > 10);
  assert.deepEqual(where(({ path }) => layerOf(path) < 0), []);
});

test("imports point one way", () => {
  const upwards = lib.flatMap((file) =>
    file.imports.filter((specifier) => specifier.startsWith("."))
      .map((specifier) => target(file, specifier))
      .filter((path) => layerOf(path) > layerOf(file.path) || layerOf(path) < 0)
      .map((path) => `${file.path} imports ${path}`)
  );
  assert.deepEqual(upwards, []);
});

test("no import comes back to its file", () => {
  const edges = new Map(
    lib.map((file) => [
      file.path,
      file.imports.filter((specifier) => specifier.startsWith("."))
        .map((specifier) => target(file, specifier)),
    ]),
  );
  const circles: string[] = [];
  const walk = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) circles.push([...trail, path].join(" -> "));
    else for (const next of edges.get(path) ?? []) walk(next, [...trail, path]);
  };
  for (const path of edges.keys()) walk(path, []);
  assert.deepEqual(circles, []);
});

test("members of a family never import each other", () => {
  const peers = Object.entries(FAMILIES).flatMap(([family, shared]) =>
    lib.filter(({ path }) => path.startsWith(`${family}/`)).flatMap((file) =>
      file.imports.map((specifier) => target(file, specifier))
        .filter((path) => path.startsWith(`${family}/`) && !shared.includes(path))
        .map((path) => `${file.path} imports ${path}`)
    )
  );
  assert.deepEqual(peers, []);
});

/** What needs neither a browser nor a server, so that a page may import it. */
const ANYWHERE = ["values.ts"];

test("what runs in a browser and what runs in a server do not import each other", () => {
  const inPages = (path: string) => path.startsWith(PAGES);
  assert(lib.some(({ path }) => inPages(path)));
  const crossing = lib.flatMap((file) =>
    file.imports.filter((specifier) => specifier.startsWith("."))
      .map((specifier) => target(file, specifier))
      .filter((path) => inPages(path) !== inPages(file.path) && !ANYWHERE.includes(path))
      .map((path) => `${file.path} imports ${path}`)
  );
  assert.deepEqual(crossing, []);
});

/** The adapter of Node waits for what is due in Node's own order. */
const NEXT_TICK = 'import { nextTick } from "node:process"';

test("nothing comes from a package, and of Node only the commands and the adapter take anything", () => {
  const foreign = lib.flatMap((file) =>
    file.imports.filter((specifier) => !specifier.startsWith("."))
      // What the reference page shows as an example.
      .filter(() => file.path !== `${PAGES}docs/snippets.ts`)
      .map((specifier) => `${file.path} imports ${specifier}`)
  );
  assert.deepEqual(foreign, [
    "doctor/examination.ts imports node:tls",
    "doctor/inquiry.ts imports node:util",
    "doctor/request.ts imports node:http",
    "doctor/request.ts imports node:https",
    "doctor/request.ts imports node:stream",
    "doctor/request.ts imports node:zlib",
    "node/exchange.ts imports node:process",
    "server/descriptors.ts imports node:fs",
    "server/failures.ts imports node:net",
    "server/listen.ts imports node:http",
    "server/log.ts imports node:fs",
    "server/log.ts imports node:os",
    "server/log.ts imports node:path",
    "server/output.ts imports node:fs",
    "server/output.ts imports node:process",
    "server/processes.ts imports node:process",
    "server/processes.ts imports node:cluster",
    "server/processes.ts imports node:child_process",
    "server/processes.ts imports node:cluster",
    "server/program.ts imports node:fs",
    "server/program.ts imports node:process",
    "server/program.ts imports node:util",
    "server/signals.ts imports node:process",
    "server/upstreams.ts imports node:fs",
    "server/workers.ts imports node:os",
  ]);
});

test("the field data is spelled in lib/sse/ alone", () => {
  const spelled = where(({ code }) => /["'`](?:[^"'`\n]*\\n)?data:/.test(code));
  assert(spelled.length > 0);
  assert.deepEqual(spelled.filter((path) => !path.startsWith("sse/")), []);
});

test("one file makes streams and holds their controllers", () => {
  assert.deepEqual(where(({ code }) => /new ReadableStream\b/.test(code)), ["pipeline/stream.ts"]);
  assert.deepEqual(where(({ code }) => /\.enqueue\(/.test(code)), ["pipeline/stream.ts"]);
  assert.deepEqual(where(({ code }) => /ReadableStreamDefaultController/.test(code)), [
    "pipeline/stream.ts",
  ]);
});

test("the environment is read by the entry alone", () => {
  const reads = /process\.env|Deno\.env|Bun\.env/;
  assert.deepEqual(where(({ code }) => reads.test(code)), ["server/program.ts"]);
  // Whoever takes signals and prints knows the process, and nobody else.
  const knows = where(({ code }) => code.replace(NEXT_TICK, "").includes("node:process"));
  const server = ["output", "processes", "program", "signals"].map((name) => `server/${name}.ts`);
  assert.deepEqual(knows, server);
});

test("the runtime is asked for by the entry, the client, the scheduler, the fetch of an upstream and the events at most", () => {
  const asking = where(({ code }) => /globalThis|\bBun\b\.|\bDeno\b\./.test(code));
  assert.deepEqual(
    asking.filter((path) =>
      ![
        "client.ts",
        "server/listen.ts",
        "pipeline/scheduler.ts",
        "sources/upstream_request.ts",
        "diagnostics.ts",
        "replay/sqlite/database.ts",
      ].includes(path)
    ),
    [],
  );
});

test("there are no dependencies, and the public surface fits a screen", async () => {
  const manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  for (const kind of ["dependencies", "peerDependencies", "optionalDependencies"]) {
    assert.equal(manifest[kind], undefined, kind);
  }
  const mod = await readFile(join(root, "mod.ts"), "utf8");
  assert.doesNotMatch(mod, /export \*/);
  const names = [...mod.matchAll(/^export (?:type )?\{([^}]*)\}/gm)]
    .flatMap(([, list]) => list!.split(",")).filter((name) => name.trim() !== "");
  assert(names.length > 30 && names.length <= 45, `${names.length} names`);
  // A checkout runs the source of what npm gets built.
  const { imports } = JSON.parse(await readFile(join(root, "deno.json"), "utf8"));
  const entries = Object.entries(imports as Record<string, string>);
  const built = entries.map(([name, file]) => {
    const path = file.replace(/^\.(.*)\.ts$/, "./dist$1");
    return [name.replace("spillway", "."), { types: `${path}.d.ts`, default: `${path}.js` }];
  });
  const { "./package.json": itself, ...exported } = manifest.exports;
  assert.equal(itself, "./package.json");
  assert.deepEqual(exported, Object.fromEntries(built));
});
