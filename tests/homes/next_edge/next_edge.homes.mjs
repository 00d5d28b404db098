/**
 * Next's edge runtime, built and started: the recipe of `docs/workers.md`, and the cases of the
 * workers, each twice in the same process. It belongs to the long set, because a build takes a while.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { CASES, overlaps, pause } from "../workers/cases.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
/** Below the packages of the long set, where Next finds itself. */
const folder = here("../built/.work/next_edge");
const next = here("../built/node_modules/next/dist/bin/next");
const env = {
  ...process.env,
  NEXT_TELEMETRY_DISABLED: "1",
  CI: "1",
  NO_COLOR: "1",
};
let server;
let url;

/** Lays out the smallest application, with the module as a package of its own. */
async function layOut() {
  rmSync(folder, { recursive: true, force: true });
  const route = join(folder, "app/ask");
  mkdirSync(route, { recursive: true });
  cpSync(here("../recipes/next_edge.js"), join(route, "route.js"));
  for (const file of ["model.js", "hostile.js"]) {
    cpSync(here(`../workers/${file}`), join(route, file));
  }
  const layout = "export default ({ children }) => <html><body>{children}</body></html>;\n";
  writeFileSync(join(folder, "app/layout.jsx"), layout);
  writeFileSync(
    join(folder, "package.json"),
    '{ "private": true, "type": "module" }\n',
  );
  const turbopack = JSON.stringify({ root: here("../built") });
  writeFileSync(
    join(folder, "next.config.js"),
    `export default { turbopack: ${turbopack} };\n`,
  );
  const spillway = join(folder, "node_modules/spillway");
  await build({
    entryPoints: [here("../../../mod.ts")],
    bundle: true,
    format: "esm",
    target: "es2022",
    outfile: join(spillway, "mod.js"),
  });
  const manifest = { name: "spillway", type: "module", exports: "./mod.js" };
  writeFileSync(join(spillway, "package.json"), JSON.stringify(manifest));
}

function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

function statusOf(address) {
  return new Promise((resolve) => {
    http.get(address, { agent: false }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
    }).on("error", () => resolve(0));
  });
}

before(async () => {
  await layOut();
  execFileSync(process.execPath, [next, "build"], {
    cwd: folder,
    env,
    stdio: "pipe",
  });
  const port = await freePort();
  const args = [next, "start", "-H", "127.0.0.1", "-p", String(port)];
  server = spawn(process.execPath, args, {
    cwd: folder,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [server.stdout, server.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => output += text);
  }
  url = `http://127.0.0.1:${port}/ask`;
  for (let tries = 0; await statusOf(`${url}?case=breaking`) !== 200; tries++) {
    assert.ok(
      tries < 300 && server.exitCode === null,
      `it does not serve: ${output}`,
    );
    await pause(100);
  }
});

after(async () => {
  if (server?.exitCode === null) {
    server.kill("SIGKILL");
    await new Promise((resolve) => server.on("exit", resolve));
  }
  rmSync(folder, { recursive: true, force: true });
});

for (const [name, check] of Object.entries(CASES)) {
  test(name, () => check(url));
  test(`${name}: the next stream as well`, () => check(url));
}

test("a hundred overlapping streams are exact, and the next one comes token by token", () => {
  return overlaps(url);
});
