/** The recipe of docs/runtimes.md, in a Node of its own, whichever runtime runs the test. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import test, { after, before } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type Child, root, startChild } from "../support/child.ts";
import { rawRequest, until } from "../support/serve.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const copies = `${here}.run/node/`;
const moduleAt = (path: string) => JSON.stringify(pathToFileURL(`${root}${path}`).href);

let server: Child;
let port = 0;
before(async () => {
  mkdirSync(copies, { recursive: true });
  const code = readFileSync(`${here}recipes/node_http.ts`, "utf8")
    .replace('"spillway"', moduleAt("mod.ts"))
    .replace('"spillway/node"', moduleAt("lib/node.ts"))
    .replace(
      '.listen(8000, "127.0.0.1")',
      '.listen(0, "127.0.0.1", function () { console.log("port", this.address().port); })',
    );
  writeFileSync(`${copies}node_http.ts`, code);
  server = startChild("node", [`${copies}node_http.ts`]);
  await until(() => /port \d+/.test(server.output), 30_000, `a server: ${server.errors}`);
  port = Number(/port (\d+)/.exec(server.output)![1]);
});
after(async () => {
  await server.stop();
  rmSync(copies, { recursive: true });
});

test("the recipe for Node streams the answer, and warns of nothing", async () => {
  const response = await fetch(`http://127.0.0.1:${port}/streaming?format=plain`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"query":"one two"}',
  });
  assert.equal(await response.text(), "one two ");
  assert.equal(server.errors, "");
});

test("the recipe for Node outlives a client that disconnects", async () => {
  const { socket } = await rawRequest(port, {
    method: "POST",
    path: "/streaming",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query: "a ".repeat(100_000) }),
  });
  socket.destroy();
  assert.equal((await fetch(`http://127.0.0.1:${port}/health`)).status, 200);
  assert.equal(server.exit, undefined);
  assert.equal(server.errors, "");
});
