/**
 * Chromium, the server it looks at, a model whose pace the test sets, and a wire that can be cut. It
 * stands apart from the tests so that these read as what a person does, and is plain JavaScript so
 * that Node runs it.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";

/** Why the tests are skipped; `false` if they run, or if it is a failure that they cannot. */
export const chromiumIsMissing = !existsSync(executablePath) && !process.env.CI &&
  `there is no ${executablePath} (CHROMIUM names another), and the pages were not looked at`;

/** Starts the browser. */
export function launch() {
  const args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
  return chromium.launch({ executablePath, args: [...args, "--no-first-run"] });
}

/**
 * Starts a file of the project as a server on a free port: the entry, or one of these tests' own.
 *
 * @param {"bun" | "deno"} runtime
 * @param {Record<string, string>} environment
 */
export async function startServer(runtime, environment = {}, file = "lib/server.ts") {
  const args = runtime === "bun"
    ? [file]
    : [..."serve -A --no-check --host 127.0.0.1 --port 0".split(" "), file];
  const child = spawn(join(root, "node_modules/.bin", runtime), args, {
    cwd: root,
    env: { ...process.env, NO_COLOR: "1", PORT: "0", LOG: "off", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => output += text);
  }
  const ended = once(child, "close");
  const stop = () => {
    child.kill("SIGKILL");
    return ended;
  };
  const port = () => /http:\/\/[\w.]+:(\d+)/.exec(output)?.[1];
  try {
    await until(() => port() !== undefined || child.exitCode !== null, "a server");
    assert(port() !== undefined);
  } catch {
    await stop();
    throw new Error(`${runtime} ${file} did not start: ${output}`);
  }
  return { url: `http://127.0.0.1:${port()}`, port: Number(port()), stop };
}

/**
 * An OpenAI-compatible upstream whose model repeats what it was last asked, a character at a time. In
 * the middle it waits until `release()`, or goes on at once if `holds` is false. `answer` takes its place
 * for one request.
 */
export async function startModel() {
  const waiting = new Set();
  const chunk = (delta, finish_reason = null) =>
    `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason }] })}\n\n`;
  const model = {
    holds: true,
    answer: undefined,
    /** The conversations that it was sent, and how many answers nobody waited for. */
    asked: [],
    abandoned: 0,
    chunk,
    /** Takes the place of the next request's answer, which is then said piece by piece. */
    next(status = 200, headers = {}) {
      const begun = new Promise((resolve) => {
        model.answer = (response) => {
          response.writeHead(status, { "content-type": "text/event-stream", ...headers });
          if (status === 200) resolve(response);
          else response.end();
        };
      });
      const send = async (...deltas) =>
        (await begun).write(deltas.map((delta) => chunk(delta)).join(""));
      return {
        say: (text) => send(...[...text].map((content) => ({ content }))),
        think: (text) => send({ reasoning_content: text }),
        end: async () => (await begun).end(`${chunk({}, "stop")}data: [DONE]\n\n`),
        /** Breaks off in the middle. */
        fail: async () => (await begun).end(),
      };
    },
    /** Lets the answer go on that waits in its middle, or the next one that will. */
    release: () =>
      until(() => waiting.size > 0, "an answer waits").then(() => waiting.forEach((go) => go())),
    environment: {},
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  const server = createHttpServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const { messages } = JSON.parse(body);
    model.asked.push(messages);
    const { answer } = model;
    model.answer = undefined;
    if (answer) return void answer(response);
    const characters = [...messages.at(-1).content];
    const middle = characters.length >> 1;
    response.writeHead(200, { "content-type": "text/event-stream" });
    const say = (some) => response.write(some.map((content) => chunk({ content })).join(""));
    say(characters.slice(0, middle));
    if (model.holds) {
      let go;
      await new Promise((resolve) => {
        go = resolve;
        waiting.add(go);
        response.once("close", go);
      });
      waiting.delete(go);
    }
    if (response.destroyed) return void model.abandoned++;
    say(characters.slice(middle));
    response.end(`${chunk({}, "stop")}data: [DONE]\n\n`);
  });
  // A request after a pause would cross the close of an idle connection.
  server.keepAliveTimeout = 0;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  model.environment = {
    OPENAI_BASE_URL: `http://127.0.0.1:${server.address().port}/v1`,
    OPENAI_MODEL: "repeater",
  };
  return model;
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
      wire.down = true;
      wire.cut();
      server.close();
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
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  wire.url = `http://127.0.0.1:${server.address().port}`;
  return wire;
}

/** What a server counts. */
export async function statsOf({ url }) {
  const response = await fetch(`${url}/metrics`, { headers: { accept: "application/json" } });
  return await response.json();
}

/** Waits until `holds` does, for 15 s. */
export async function until(holds, what) {
  const deadline = Date.now() + 15_000;
  while (!(await holds())) {
    assert(Date.now() < deadline, `not within 15 s: ${what}`);
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
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
      console.error(`against the policy: ${violatedDirective} ${blockedURI}`);
    });
  });
  context.on("console", (message) => {
    if (!["error", "warning", "assert"].includes(message.type())) return;
    if (!(failing && EXPECTED.test(message.text()))) faults.push(message.text());
  });
  context.on("weberror", (error) => faults.push(String(error.error().stack)));
  context.on("dialog", (dialog) => {
    faults.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  context.on("request", (request) => {
    const { hostname, protocol } = new URL(request.url());
    if (hostname !== "127.0.0.1" && protocol !== "data:") faults.push(`asked ${request.url()}`);
  });
  return {
    context,
    faults,
    open: () => context.newPage(),
    /** What its pages show, for whoever has to find out why a test has failed. */
    async seen() {
      const texts = await Promise.all(
        context.pages().map((page) =>
          page.evaluate(() => document.body.innerText.slice(0, 4_000)).catch(String)
        ),
      );
      return `\nfaults: ${faults.join("\n")}\nits pages:\n${texts.join("\n---\n")}`;
    },
    close: () => context.close(),
  };
}
