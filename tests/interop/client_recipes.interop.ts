/**
 * The recipes of docs/clients.md, against a server with no options but a source:
 * each must print the whole answer. Each client's bad days are in `clients.interop.ts`.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import test, { after, before, mock } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { createHandler, sse } from "../../mod.ts";
import { serve, type Served, until } from "../support/serve.ts";
import "./clients/fetch.ts"; // the little of a browser that fetch-event-source needs
import { assertNothingLeft } from "./server.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const mod = pathToFileURL(fileURLToPath(new URL("../../mod.ts", import.meta.url))).href;
const copies = `${here}.clients/`;
const ANSWER = ["You asked: ", "Hello?", " 世界", "\n"];

const curlIsMissing = spawnSync("curl", ["--version"]).status !== 0 && "curl is not installed";

let server: Served;
before(() => {
  mkdirSync(copies, { recursive: true });
  const handler = createHandler({
    source: ({ input }) => ANSWER.map((token) => token === "Hello?" ? input.query : token),
  });
  server = serve((request, info) =>
    new URL(request.url).pathname === "/" ? sse(request, ANSWER) : handler.fetch(request, info)
  );
});
after(async () => {
  rmSync(copies, { recursive: true });
  await server.close();
});

/** A recipe for this server, in a file beside the packages. */
function copy(name: string): string {
  const file = `${copies}${name}`;
  const code = readFileSync(`${here}recipes/${name}`, "utf8")
    .replaceAll("http://127.0.0.1:8000", server.url)
    .replace('"spillway";', `${JSON.stringify(mod)};`);
  writeFileSync(file, code);
  return file;
}

/** The text in what a recipe printed: tokens, events, or the parts of a message that grows. */
function textOf(printed: unknown[][]): string {
  let text = "";
  for (const [first, second] of printed) {
    if (typeof second === "object" && second !== null) {
      text += (second as { token?: string }).token ?? "";
    } else if (Array.isArray(first)) {
      text = first.map((part) => part.type === "text" ? part.text : "").join("");
    } else if (typeof first === "string") text += first;
  }
  return text;
}

const RECIPES = readdirSync(`${here}recipes`).filter((file) => file.startsWith("client_"));

for (const name of RECIPES.filter((file) => file.endsWith(".ts"))) {
  test(`${name} prints the answer`, async () => {
    const file = copy(name);
    const { mock: log } = mock.method(console, "log", () => {});
    const printed = () => textOf(log.calls.map((call) => call.arguments));
    try {
      await import(pathToFileURL(file).href);
      // An EventSource goes on by itself.
      await until(() => printed() === ANSWER.join(""), 2000, "the answer").catch(() => {});
      assert.equal(printed(), ANSWER.join(""));
    } finally {
      log.restore();
    }
    await assertNothingLeft();
  });

  test(`${name} has few lines below its imports`, () => {
    const code = readFileSync(`${here}recipes/${name}`, "utf8");
    const lines = code.split("\n")
      .filter((line) => !line.startsWith("import ") && /\w/.test(line));
    assert(lines.length <= 6, `${lines.length} lines`);
  });
}

test("client_curl.sh prints the answer", { skip: curlIsMissing }, async () => {
  const child = spawn("sh", [copy("client_curl.sh")], { stdio: ["ignore", "pipe", "ignore"] });
  let printed = "";
  let ended = false;
  child.stdout.setEncoding("utf8").on("data", (text) => printed += text);
  child.on("close", () => ended = true);
  await until(() => ended, 30_000, "curl ended");
  assert.equal(printed, ANSWER.join(""));
});
