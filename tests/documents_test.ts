/** What the documents promise: their examples run as they are printed, their tables are those of the code. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { CODES } from "../lib/error.ts";
import { ALL_CODES } from "../lib/handler/openapi/all_codes.ts";
import { help } from "../lib/server/settings.ts";
import { createHandler, type Format, MemoryLog, resume, sse } from "../mod.ts";
import { root } from "./support/child.ts";
import {
  allGuides,
  blocksOf,
  type Document,
  documents,
  guides,
  index,
  proseOf,
  skill,
} from "./support/documents.ts";

/** What is run: the code of the guides, and of the skill after it. */
const tried = [...guides, skill];
const blocks = blocksOf(tried);
const examples = blocks.filter(({ language }) => language === "ts").map(({ code }) => code);
/** Every entry of the module, by the name that a program imports. */
const { imports: entries } = JSON.parse(readFileSync(join(root, "deno.json"), "utf8")) as {
  imports: Record<string, string>;
};
const moduleAt = (path: string) => JSON.stringify(pathToFileURL(join(root, path)).href);

interface Example {
  default: { fetch(request: Request): Promise<Response> };
}

/** What an example exports, when it has run. */
async function run(code: string): Promise<unknown> {
  const folder = mkdtempSync(join(tmpdir(), "spillway-"));
  try {
    const file = join(folder, "example.ts");
    const resolved = Object.entries(entries).reduce(
      (text, [name, path]) => text.replaceAll(`"${name}"`, moduleAt(path)),
      code,
    );
    writeFileSync(file, resolved);
    return await import(pathToFileURL(file).href);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The server that an example exports. */
async function serverOf(code: string): Promise<Example["default"]> {
  return (await run(code) as Example).default;
}

async function answerOf(code: string): Promise<string> {
  const server = await serverOf(code);
  const request = new Request("http://localhost/?query=Hello%20you", {
    headers: { accept: "text/plain" },
  });
  return await (await server.fetch(request)).text();
}

test("README: the generator example answers what the request asks", async () => {
  assert.equal(await answerOf(examples[0]!), "You asked: Hello you");
});

test("README: the callback example answers what the request asks", async () => {
  assert.equal(await answerOf(examples[1]!), "Hello you");
});

test("README: the example of resume serves the same text again, and the rest of it", async () => {
  const server = await serverOf(examples[2]!);
  const url = "http://localhost/";
  const posted = await server.fetch(new Request(url, { method: "POST", body: "Hello" }));
  const text = await posted.text();
  assert.match(text, /Hello[\s\S]*event: done/);
  const id = posted.headers.get("x-stream-id")!;
  assert.equal(await (await server.fetch(new Request(url + id))).text(), text);
  const headers = { "last-event-id": `${id}.2` };
  const rest = await (await server.fetch(new Request(url + id, { headers }))).text();
  // Both begin with a heartbeat.
  assert.ok(rest.includes("Hello") && !rest.includes("asked") && text.endsWith(rest.slice(2)));
});

test("the example of authorize lets in whom it knows", async () => {
  const server = await serverOf(examples.find((code) => code.includes("authorize:"))!);
  const ask = (headers: Record<string, string>) =>
    server.fetch(
      new Request("http://localhost/streaming", {
        method: "POST",
        headers: { ...headers, "content-type": "application/json", accept: "text/plain" },
        body: JSON.stringify({ query: "Hello" }),
      }),
    );
  assert.equal(await (await ask({ authorization: "Bearer s3cret" })).text(), "Hello");
  assert.equal((await ask({})).status, 401);
});

test("the example of a format of one's own is what a client reads, and can be resumed", async () => {
  const example = examples.find((code) => code.includes("eventStreamFormat"))!;
  const lines = example.split("\n").filter((line) => line.trim() !== "");
  assert.ok(lines.length <= 20, `${lines.length} lines`);
  const { default: server, sayFormat } = await run(example) as Example & { sayFormat: Format };
  const said = 'event: say\ndata: {"text":"Hel"}\n\nevent: say\ndata: {"text":"lo"}\n\n';
  const end = "event: completed\ndata: 2 tokens\n\n";
  const plain = await server.fetch(new Request("http://localhost/"));
  const text = await plain.text();
  assert.equal(text.replace(/^id: [\w-]{22}\.end\n/m, ""), `:\n${said}${end}`);
  assert.notEqual(text, `:\n${said}${end}`);

  const log = new MemoryLog();
  const request = new Request("http://localhost/");
  const first = await sse(request, ["Hel", "lo"], { format: sayFormat, log });
  await first.text();
  const id = first.headers.get("x-stream-id");
  const again = new Request("http://localhost/", { headers: { "last-event-id": `${id}.1` } });
  const rest = await (await resume(again, { log })).text();
  assert.equal(
    rest.replaceAll(/^id: .*\n/gm, ""),
    `:\n${said.slice(said.indexOf("\n\n") + 2)}${end}`,
  );
  const failed = await sse(request, async function* () {
    yield "Hel";
    throw new Error("secret");
  }, { format: sayFormat, onError: () => {} });
  assert.match(await failed.text(), /event: broken\ndata: internal\n\n$/);
});

test("the example of a test passes, has five lines, and can fail", async () => {
  const example = examples.find((code) => code.includes("spillway/testing"))!;
  const lines = example.split("\n").filter((line) => line !== "" && !line.startsWith("import"));
  assert.ok(lines.length <= 5, `${lines.length} lines`);
  await run(example);
  await assert.rejects(run(example.replace('"world"', '"moon"')), assert.AssertionError);
});

test("README: the first examples have about ten lines", () => {
  for (const example of examples.slice(0, 3)) {
    const lines = example.split("\n").filter((line) => line.trim() !== "");
    assert.ok(lines.length <= 14, `${lines.length} lines`);
  }
});

test("no example shows Bun's page, with source code, to who sends a Host that makes no URL", () => {
  const shown = blocks.filter(({ path, code }) =>
    path !== "docs/workers.md" && /export default/.test(code) &&
    /new URL\(request\.url\)/.test(code) &&
    !/development: false/.test(code)
  );
  assert.deepEqual(shown.map(({ path, code }) => `${path}: ${code}`), []);
});

test("the table of codes is the code's", () => {
  for (const [code, [status, title]] of Object.entries(ALL_CODES)) {
    const row = new RegExp(`\\| \`${code}\`\\s*\\| ${status}\\s*\\| ${title}\\s*\\|`);
    assert.match(allGuides, row);
  }
});

test("every table of codes is among all codes, and docs say which an error knows by itself", async () => {
  const lib = join(root, "lib");
  const tables = readdirSync(lib, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith("codes.ts") && !path.endsWith("all_codes.ts"));
  assert.ok(tables.length >= 4, tables.join());
  for (const path of tables) {
    const exported: Record<string, unknown> = await import(pathToFileURL(join(lib, path)).href);
    const codes = Object.entries(exported).filter(([name]) => name.endsWith("_CODES"));
    assert.equal(codes.length, 1, path);
    for (const [code, row] of Object.entries(codes[0]![1] as object)) {
      assert.deepEqual(ALL_CODES[code], row, `${path}: ${code}`);
    }
  }
  const [, sentence = ""] =
    /takes status and title from this table for ([^.]*)\./.exec(allGuides) ?? [];
  const told = [...sentence.matchAll(/`(\w+)`/g)].map(([, code]) => code);
  assert.deepEqual(told.sort(), Object.keys(CODES).sort());
});

/** The options of the documents' tables: where they are declared, and what stands before their names there. */
const DECLARED: readonly [path: string, type: string, prefix?: string][] = [
  ["lib/pipeline/stream.ts", "ReaderOptions"],
  ["lib/pipeline/queue.ts", "AsyncQueueOptions"],
  ["lib/pipeline/generation.ts", "GenerationOptions"],
  ["lib/http/options.ts", "SseOptions"],
  ["lib/http/replay_log.ts", "LoggedOptions"],
  ["lib/handler/options.ts", "HandlerOptions"],
  ["lib/full_handler.ts", "FullHandlerOptions"],
  ["lib/handler/access.ts", "AccessOptions"],
  ["lib/handler/stream_limit.ts", "StreamLimits", "limits."],
  ["lib/handler/body.ts", "BodyLimits", "limits."],
  ["lib/replay/memory.ts", "MemoryLogOptions"],
  ["lib/sources/model_options.ts", "ModelUpstream"],
  ["lib/sources/model_options.ts", "ModelOptions"],
  ["lib/client/options.ts", "ConnectInit"],
  ["lib/formats/openai.ts", "OpenAIFormatOptions"],
  ["lib/formats/anthropic.ts", "AnthropicFormatOptions"],
  ["lib/formats/responses.ts", "ResponsesFormatOptions"],
  ["lib/formats/ui_message.ts", "UIMessageFormatOptions"],
  ["lib/formats/ag_ui.ts", "AgUiFormatOptions"],
];

/** The options of a type with the default in their comment, as they stand in its file. */
function optionsIn(path: string, type: string): { name: string; preset: string | undefined }[] {
  const code = readFileSync(join(root, path), "utf8");
  const from = code.search(new RegExp(`^export interface ${type}\\b`, "m"));
  const body = code.slice(code.indexOf("{\n", from), code.indexOf("\n}", from));
  return [...body.matchAll(/\/\*\*((?:(?!\*\/)[^])*)\*\/\s*(\w+)\??:/g)].map((
    [, comment, name],
  ) => ({
    name: name!,
    preset: /@default \{([\d ]+(?: MiB)?)\}/.exec(comment!)?.[1],
  }));
}

test("the tables of options have every option of the code, with its default", () => {
  const rows = allGuides.split("\n").map((line) => line.split("|"))
    .filter(({ length }) => length > 3);
  for (const [path, type, prefix = ""] of DECLARED) {
    const options = optionsIn(path, type);
    assert.ok(options.length > 0, type);
    for (const { name, preset } of options) {
      if (name === "limits") continue; // it has a row for each of them
      const row = rows.find(([, names]) =>
        names!.trim().split(", ").includes(`\`${prefix}${name}\``)
      );
      assert.ok(row, `${type}.${name}`);
      if (preset === undefined) continue;
      const number = parseInt(preset.replaceAll(" ", "")) * (preset.endsWith("MiB") ? 2 ** 20 : 1);
      assert.equal(parseInt(row[3]!.replaceAll(" ", "")), number, `${type}.${name}`);
    }
  }
});

test("sse() knows every option that is declared for it", async () => {
  const types = ["ReaderOptions", "AsyncQueueOptions", "GenerationOptions", "SseOptions"];
  const declared = DECLARED.filter(([, type]) => [...types, "LoggedOptions"].includes(type))
    .flatMap(([path, type]) => optionsIn(path, type));
  assert.ok(declared.length >= 15);
  for (const { name } of declared) {
    const response = await sse(new Request("http://localhost/"), "a", { [name]: undefined });
    assert.match(await response.text(), /event: done/);
  }
});

test("every variable of the server entry is told", () => {
  const rows = help("bun").matchAll(/^ {2}(?:--\S+ \S+|\(no flag\)) +([A-Z_]+)/gm);
  const variables = [...rows].map(([, variable]) => variable!);
  assert.ok(variables.length > 10 && variables.includes("API_KEYS"));
  for (const variable of variables) assert.ok(allGuides.includes(`\`${variable}\``), variable);
});

test("the table of routes has those of the document, and no other", async () => {
  const { fetch } = createHandler({ source: "" });
  const response = await fetch(new Request("http://localhost/openapi.json"));
  const { paths } = await response.json() as { paths: Record<string, object> };
  const nameless = (path: string) => path.replaceAll(/\{[^}]*\}/g, "{}");
  const described = Object.entries(paths).flatMap(([path, item]) =>
    Object.keys(item).filter((name) => /^(get|post|delete)$/.test(name))
      .map((method) => `${method.toUpperCase()} ${nameless(path)}`)
  );

  const { text } = guides.find(({ path }) => path === "docs/handler.md")!;
  const table = text.slice(text.indexOf("\n## Routes\n")).split("\n\n")[1]!;
  const told: string[] = [];
  let methods: string[] = [];
  for (const row of table.split("\n")) {
    for (const [, word] of row.split("|")[1]!.matchAll(/`([^`]+)`/g)) {
      const [method, path] = word!.split(/ (.*)/);
      methods.push(method!);
      if (path === undefined) continue;
      told.push(...methods.map((name) => `${name} ${nameless(path)}`));
      methods = [];
    }
  }
  assert.deepEqual(told.sort(), described.sort());
});

test("README has 220 lines at most", () => {
  const lines = guides[0]!.text.trimEnd().split("\n").length;
  assert.ok(lines <= 220, `${lines} lines`);
});

/** A heading as GitHub names it in an address. */
function anchorOf(heading: string): string {
  const words = heading.replaceAll("`", "").replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").trim();
  return words.toLowerCase().replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, "").replaceAll(" ", "-");
}

function anchorsOf({ text }: Document): string[] {
  const headings = text.replaceAll(/^```[\s\S]*?^```$/gm, "").matchAll(/^#+ (.*)$/gm);
  return [...headings].map(([, heading]) => anchorOf(heading!));
}

test("every link and every anchor of the documents leads somewhere", () => {
  let count = 0;
  const broken = documents.flatMap((document) =>
    [...proseOf(document).matchAll(/\]\(([^)\s]*)\)/g)].map(([, link]) => link!).filter((link) => {
      if (/^https?:/.test(link)) return false;
      count++;
      const [path, anchor] = link.split("#");
      const file = path === ""
        ? document.path
        : relative(root, resolve(root, dirname(document.path), path!));
      if (!existsSync(join(root, file))) return true;
      if (anchor === undefined) return false;
      const target = documents.find(({ path }) => path === file);
      return target === undefined || !anchorsOf(target).includes(anchor);
    }).map((link) => `${document.path}: ${link}`)
  );
  assert.ok(count > 30);
  assert.deepEqual(broken, []);
});

test("no table has a second line below its head, as a merge may leave it", () => {
  const broken = documents.filter(({ text }) => /^\| -{3}.*\n\| -{3}/m.test(text));
  assert.deepEqual(broken.map(({ path }) => path), []);
});

test("README links to every page of docs", () => {
  const { text } = guides[0]!;
  const unlinked = guides.slice(1).map(({ path }) => path)
    .filter((path) => !text.includes(`(${path})`));
  assert.deepEqual(unlinked, []);
});

test("llms.txt links to every page of docs, and is what the proposal of that name says", () => {
  const unlinked = guides.map(({ path }) => path)
    .filter((path) => !index.text.includes(`](${path}): `));
  assert.deepEqual(unlinked, []);
  assert.match(index.text, /^# Spillway\n\n> [^\n]+\n\n/);
  const [, ...sections] = index.text.split(/^## /m);
  for (const section of sections) {
    assert.match(section, /^[^\n]+\n\n(- \[[^\]]+\]\([^)]+\): [^\n]+\n)+\n?$/);
  }
});

test("skill and llms.txt name every entry of the module, and no other", () => {
  for (const { path, text } of [skill, index]) {
    const named = new Set([...text.matchAll(/`(spillway(?:\/\w+)?)`/g)].map(([, name]) => name!));
    assert.deepEqual([...named].sort(), Object.keys(entries).sort(), path);
  }
});

test("the skill says by its front matter what it is for", () => {
  const [, head = ""] = /^---\n([\s\S]*?)\n---\n/.exec(skill.text) ?? [];
  const fields = Object.fromEntries(head.split("\n").map((line) => line.split(/: (.*)/)));
  assert.deepEqual(Object.keys(fields), ["name", "description"]);
  assert.equal(fields.name, "spillway");
  assert.equal(dirname(skill.path), `skills/${fields.name}`);
  // Longer ones are cut off.
  assert.ok(fields.description.length > 100 && fields.description.length <= 1024);
});

test("the servers of the skill stream an answer to its end", async () => {
  const servers = blocksOf([skill]).filter(({ code }) => code.includes("export default"));
  assert.equal(servers.length, 4);
  for (const { code } of servers) {
    const server = await serverOf(code);
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"query":"Hello"}',
    };
    const response = await server.fetch(new Request("http://localhost/streaming", init));
    assert.equal(response.status, 200, code);
    assert.match(await response.text(), /data: \{"token":[\s\S]*event: done/, code);
  }
});

test("package.json publishes what is for models", () => {
  const { files } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const path of ["skills", "llms.txt", "AGENTS.md"]) assert.ok(files.includes(path), path);
});

/** Where recipes stand that need packages, and what runs them there. */
const HOMES = "tests/homes";
const RECIPES = ["tests/interop", "tests/schemas", HOMES];
/** Recipes that are an entire hook or page, and their lines. */
const LONGER: Record<string, number> = { "use_stream.ts": 28, "plain_page.html": 32 };
const recipes = RECIPES.flatMap((folder) =>
  readdirSync(join(root, folder, "recipes")).sort().map((file) => ({
    file,
    code: readFileSync(join(root, folder, "recipes", file), "utf8"),
  }))
);

test("the documents print every recipe as it is run", () => {
  const printed = new Set(blocks.map(({ code }) => code));
  assert.deepEqual(recipes.filter(({ code }) => !printed.has(code)).map(({ file }) => file), []);
  for (const { file, code } of recipes) {
    const lines = code.split("\n").filter((line) => line.trim() !== "");
    assert.ok(lines.length <= (LONGER[file] ?? 22), `${file}: ${lines.length} lines`);
  }
});

/** The files of tests below a folder; packages and what a home builds are none. */
function testFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (!entry.isDirectory()) return path;
    return /^(node_modules|\..*)$/.test(entry.name) ? [] : testFiles(path);
  });
}

test("every recipe is run by name", () => {
  const runners = [...RECIPES, "tests/browser", "tests/replay"].flatMap(testFiles)
    .filter((path) =>
      /\.(interop\.ts|(?:browser|homes)\.mjs)$|homes\/support\/\w+\.mjs$/.test(path)
    )
    .map((path) => readFileSync(join(root, path), "utf8"))
    .join("\n");
  const idle = recipes.filter(({ file }) => {
    const name = file.replace(/\.\w+$/, "");
    // Those of clients, and of what is read with another one, are run all, whatever they are called.
    return !/^(client|migrate)_/.test(name) && !runners.includes(`"${name}"`) &&
      !["ts", "js", "html"].some((end) => runners.includes(`recipes/${name}.${end}`)) &&
      !runners.includes(`recipe: "${file}"`);
  }).map(({ file }) => file);
  assert.deepEqual(idle, []);
});

test("no code of the documents escapes being run", () => {
  const RECIPE_LANGUAGES = [
    "ts ignore",
    "js ignore",
    "html",
    "nginx",
    "caddyfile",
    "haproxy",
    "apache",
  ];
  // `tests/package/` takes what is `json` from the page: it maps names to the sources.
  // `tests/metrics/` runs what Prometheus reads.
  const LANGUAGES = ["ts", "sh", "console", "json", "promql", "yaml", ...RECIPE_LANGUAGES];
  const run = new Set(recipes.map(({ code }) => code));
  const escaped = blocks.filter(({ language, code }) =>
    !LANGUAGES.includes(language) || RECIPE_LANGUAGES.includes(language) && !run.has(code)
  );
  assert.deepEqual(escaped, []);
  const maps = blocks.filter(({ language }) => language === "json");
  assert.deepEqual(maps.map(({ path }) => path), Array(3).fill("docs/runtimes.md"));
  // `deno test --doc` runs what is `ts`, in the files that it is told of.
  const checks = readFileSync(join(root, "tests/run.mjs"), "utf8");
  assert.match(checks, /"--doc", "mod\.ts", "lib", "README\.md", "docs", "skills"\]/);
  const guided = new Set(tried.map(({ path }) => path));
  const others = blocksOf(documents.filter(({ path }) => !guided.has(path)));
  assert.deepEqual(others.filter(({ language }) => language !== "sh"), []);
});

test("every file that a document names is there", () => {
  const missing = documents.filter(({ path }) => path !== "CHANGELOG.md")
    .flatMap(({ path, text }) =>
      [...text.matchAll(/`((?:lib|tests|bench)\/[\w./-]*)`/g)].map(([, file]) => file!)
        // What the benchmark writes is not kept.
        .filter((file) => file !== "bench/results/latest.json" && !existsSync(join(root, file)))
        .map((file) => `${path}: ${file}`)
    );
  assert.deepEqual(missing, []);
});
