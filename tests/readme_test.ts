/** The README's promises: its examples run as they are printed, its tables are those of the code. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { CODES } from "../lib/error.ts";
import { help } from "../lib/server/settings.ts";
import { createHandler } from "../mod.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const readme = readFileSync(join(root, "README.md"), "utf8");
const examples = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1]!);
const moduleAt = (path: string) => JSON.stringify(pathToFileURL(join(root, path)).href);

interface Example {
  default: { fetch(request: Request): Promise<Response> };
}

/** What an example exports, when it has run. */
async function run(code: string): Promise<unknown> {
  const folder = mkdtempSync(join(tmpdir(), "spillway-"));
  try {
    const file = join(folder, "example.ts");
    const resolved = code.replaceAll('"spillway"', moduleAt("mod.ts"))
      .replaceAll('"spillway/testing"', moduleAt("lib/testing.ts"));
    writeFileSync(file, resolved);
    return await import(pathToFileURL(file).href);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function answerOf(code: string): Promise<string> {
  const { default: server } = await run(code) as Example;
  const request = new Request("http://localhost/", { headers: { accept: "text/plain" } });
  return await (await server.fetch(request)).text();
}

test("README: the generator example streams its answer", async () => {
  assert.equal(await answerOf(examples[0]!), "You asked: Hello?");
});

test("README: the callback example streams its answer", async () => {
  assert.equal(await answerOf(examples[1]!), "Hello callback world");
});

test("README: the test of a source passes, has five lines, and can fail", async () => {
  const example = examples.find((code) => code.includes("spillway/testing"))!;
  const lines = example.split("\n").filter((line) => line !== "" && !line.startsWith("import"));
  assert.ok(lines.length <= 5, `${lines.length} lines`);
  await run(example);
  await assert.rejects(run(example.replace('"world"', '"moon"')), assert.AssertionError);
});

test("README: both first examples have about ten lines", () => {
  for (const example of examples.slice(0, 2)) {
    const lines = example.split("\n").filter((line) => line.trim() !== "");
    assert.ok(lines.length <= 14, `${lines.length} lines`);
  }
});

test("README: the table of codes is the code's", () => {
  for (const [code, [status, title]] of Object.entries(CODES)) {
    const row = new RegExp(`\\| \`${code}\`\\s*\\| ${status}\\s*\\| ${title}\\s*\\|`);
    assert.match(readme, row);
  }
});

/** The options of the README's tables: where they are declared, and what stands before their names there. */
const DECLARED: readonly [path: string, type: string, prefix?: string][] = [
  ["lib/pipeline/stream.ts", "ReaderOptions"],
  ["lib/pipeline/queue.ts", "AsyncQueueOptions"],
  ["lib/pipeline/generation.ts", "GenerationOptions"],
  ["lib/http/sse.ts", "SseOptions"],
  ["lib/handler.ts", "HandlerOptions"],
  ["lib/handler/access.ts", "AccessOptions"],
  ["lib/handler/stream_limit.ts", "PlaceLimits", "limits."],
  ["lib/handler/body.ts", "BodyLimits", "limits."],
  ["lib/replay/memory.ts", "MemoryLogOptions"],
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

test("README: the tables of options have every option of the code, with its default", () => {
  const rows = readme.split("\n").map((line) => line.split("|")).filter(({ length }) => length > 3);
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

test("README: every variable of the server entry is told", () => {
  const rows = help("bun").matchAll(/^ {2}(?:--\S+ \S+|\(no flag\)) +([A-Z_]+)/gm);
  const variables = [...rows].map(([, variable]) => variable!);
  assert.ok(variables.length > 10 && variables.includes("API_KEYS"));
  for (const variable of variables) assert.ok(readme.includes(`\`${variable}\``), variable);
});

test("README: the table of routes has those of the document, and no other", async () => {
  const { fetch } = createHandler({ source: "" });
  const response = await fetch(new Request("http://localhost/openapi.json"));
  const { paths } = await response.json() as { paths: Record<string, object> };
  const nameless = (path: string) => path.replaceAll(/\{[^}]*\}/g, "{}");
  const described = Object.entries(paths).flatMap(([path, item]) =>
    Object.keys(item).filter((name) => /^(get|post|delete)$/.test(name))
      .map((method) => `${method.toUpperCase()} ${nameless(path)}`)
  );

  const table = readme.slice(readme.indexOf("\nIts routes:\n")).split("\n\n")[1]!;
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
