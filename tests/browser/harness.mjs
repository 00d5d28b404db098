/**
 * Chromium, the server it looks at, and a wire between them that can be cut. It stands apart from the
 * tests so that these read as what a person does, and it is plain JavaScript so that Node runs it.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";

/** Why the tests cannot run here; `false` if they can, or if it is to be a failure that they cannot. */
export const chromiumIsMissing = !existsSync(executablePath) &&
  !process.env.CI &&
  `there is no ${executablePath} (CHROMIUM names another); the pages were not looked at`;

/** Starts the browser. */
export function launch() {
  const args = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
  ];
  return chromium.launch({ executablePath, args });
}

/**
 * Starts a file of the project as a server on a free port: the entry, or one of these tests' own.
 *
 * @param {"bun" | "deno"} runtime
 * @param {Record<string, string>} environment
 */
export async function startServer(
  runtime,
  environment = {},
  file = "lib/server.ts",
) {
  const [command, args] = runtime === "bun" ? ["bun", [file]] : ["deno", [
    ..."serve -A --no-check --host 127.0.0.1 --port 0".split(" "),
    file,
  ]];
  const child = spawn(join(root, "node_modules/.bin", command), args, {
    cwd: root,
    env: { ...process.env, NO_COLOR: "1", PORT: "0", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => output += text);
  }
  const ended = new Promise((resolve) => child.on("close", resolve));
  const stop = () => {
    child.kill("SIGKILL");
    return ended;
  };
  const deadline = Date.now() + 10_000;
  for (;;) {
    const [, port] = /http:\/\/(?:127\.0\.0\.1|localhost|0\.0\.0\.0):(\d+)/.exec(output) ?? [];
    if (port) {
      return { url: `http://127.0.0.1:${port}`, port: Number(port), stop };
    }
    if (child.exitCode !== null || Date.now() > deadline) {
      await stop();
      throw new Error(`${runtime} ${file} did not start: ${output}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/**
 * A wire to a server: `cut()` breaks what goes over it, `down` keeps what comes after away, and another
 * `port` leads it elsewhere.
 */
export async function wireTo({ port }) {
  const sockets = new Set();
  const wire = {
    url: "",
    port,
    down: false,
    cut: () => sockets.forEach((socket) => socket.destroy()),
    close: () => {
      wire.down = true; // who comes now would be waited for
      wire.cut();
      return new Promise((resolve) => server.close(resolve));
    },
  };
  const server = createServer((client) => {
    if (wire.down) return void client.destroy();
    const upstream = connect(wire.port, "127.0.0.1");
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      sockets.add(one);
      one.pipe(other);
      one.on("error", () => {}); // the close that follows tells the other side
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  wire.url = `http://127.0.0.1:${server.address().port}`;
  return wire;
}

/** What a server counts. */
export async function statsOf({ url }) {
  const response = await fetch(`${url}/metrics`, {
    headers: { accept: "application/json" },
  });
  return await response.json();
}

/** Waits until `holds` does, for 5 s. */
export async function until(holds, what) {
  const deadline = Date.now() + 5000;
  while (!(await holds())) {
    assert(Date.now() < deadline, `not within 5 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** What a browser says of a request that was meant to fail. */
const EXPECTED = /^Failed to load resource: |net::ERR_/;

/**
 * A profile of its own, whose pages are watched: whatever they ask of other machines, say on the
 * console, throw, or do against their policy is in `faults`.
 *
 * @param {{ failing?: boolean }} options `failing` is for tests in which requests are to fail.
 */
export async function profile(browser, { failing = false, ...options } = {}) {
  const context = await browser.newContext(options);
  const faults = [];
  await context.addInitScript(() => {
    addEventListener(
      "securitypolicyviolation",
      ({ violatedDirective, blockedURI }) => {
        console.error(`against the policy: ${violatedDirective} ${blockedURI}`);
      },
    );
  });
  context.on("console", (message) => {
    if (!["error", "warning", "assert"].includes(message.type())) return;
    if (!(failing && EXPECTED.test(message.text()))) {
      faults.push(message.text());
    }
  });
  context.on("weberror", (error) => faults.push(String(error.error().stack)));
  context.on("dialog", (dialog) => {
    faults.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  context.on("request", (request) => {
    const { hostname, protocol } = new URL(request.url());
    if (hostname !== "127.0.0.1" && protocol !== "data:") {
      faults.push(`asked ${request.url()}`);
    }
  });
  return {
    context,
    faults,
    open: () => context.newPage(),
    close: () => context.close(),
  };
}

/** Takes a picture if `SCREENSHOTS` names a folder for them. */
export async function picture(page, name) {
  const folder = process.env.SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}
