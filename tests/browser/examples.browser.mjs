/**
 * The React hook and the page of docs/client.md in Chromium: what a person sees of a reload, a lost
 * connection and a stop, and how many generations it took.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import test, { after, before, describe } from "node:test";
import { fileURLToPath } from "node:url";
import {
  chromiumIsMissing,
  launch,
  profile,
  startModel,
  startServer,
  statsOf,
  until,
  wireTo,
} from "./harness.mjs";

const { build } = createRequire(import.meta.url)("esbuild");
const client = fileURLToPath(new URL("../../lib/client.ts", import.meta.url));
const QUERY = "Water takes its time over the crest, 世界, and falls 😀 as a sheet.";
/** Where the model waits. */
const HALF = [...QUERY].slice(0, [...QUERY].length >> 1).join("");

/** A page that uses the hook as its example does, and shows the same as the page of plain JavaScript. */
const APP = `
import { createElement as h, StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { useStream } from "./recipes/use_stream.ts";

function App() {
  const { text, state, ask, stop } = useStream("/streaming");
  const onSubmit = (event) => {
    event.preventDefault();
    ask(new FormData(event.currentTarget).get("query"));
  };
  return [
    h("form", { key: 1, onSubmit }, h("input", { name: "query" }), h("button", null, "Ask")),
    h("button", { key: 2, id: "stop", onClick: stop }, "Stop"),
    h("pre", { key: 3 }, text),
    h("p", { key: 4, role: "status" }, state?.status, " ", state?.reason),
  ];
}
createRoot(document.body).render(h(StrictMode, null, h(App)));
`;

/** Bundles a module for a browser. */
async function bundle(options) {
  const { outputFiles } = await build({
    bundle: true,
    format: "esm",
    write: false,
    alias: { "spillway/client": client },
    define: { "process.env.NODE_ENV": '"development"' },
    ...options,
  });
  return outputFiles[0].text;
}

/** The files of each page, by their paths. */
async function pages() {
  const folder = fileURLToPath(new URL("../interop", import.meta.url));
  const app = await bundle({ stdin: { contents: APP, resolveDir: folder } });
  return {
    "the hook": {
      "/app": `<!DOCTYPE html><title>A stream</title><body><script type="module">${
        app.replaceAll("</script", "<\\/script")
      }</script>`,
    },
    "the page": {
      "/app": readFileSync(new URL("../interop/recipes/plain_page.html", import.meta.url), "utf8"),
      "/spillway_client.js": await bundle({ entryPoints: [client] }),
    },
  };
}

describe("examples of connect()", { skip: chromiumIsMissing }, () => {
  let browser, files, model, server;
  before(async () => {
    model = await startModel();
    [browser, files, server] = await Promise.all([
      launch(),
      pages(),
      startServer("bun", model.environment),
    ]);
  });
  after(async () => {
    model?.stop();
    await Promise.all([browser?.close(), server?.stop()]);
  });

  for (const name of ["the hook", "the page"]) {
    /** Opens the example in a profile of its own, over a wire that can be cut. */
    const scene = (title, act) =>
      test(`${name}: ${title}`, { timeout: 60_000 }, async () => {
        const wire = await wireTo(server);
        const someone = await profile(browser, { failing: true });
        for (const [path, body] of Object.entries(files[name])) {
          const contentType = path.endsWith(".js") ? "text/javascript" : "text/html; charset=utf-8";
          await someone.context.route(`${wire.url}${path}`, (route) =>
            route.fulfill({ contentType, body }));
        }
        try {
          const page = await someone.open();
          await page.goto(`${wire.url}/app`);
          const asked = model.asked.length;
          await act({
            page,
            wire,
            ask: async (query) => {
              await page.fill("input", query);
              await page.press("input", "Enter");
            },
            shows: (text) =>
              page.waitForFunction(
                (text) =>
                  document.querySelector("pre").textContent === text,
                text,
                { polling: 20 },
              ),
            says: (text) =>
              page.waitForFunction(
                (text) => document.querySelector("p").textContent === text,
                text,
                { polling: 20 },
              ),
            /** How many generations there have been. */
            generations: () => model.asked.length - asked,
          });
          assert.deepEqual(someone.faults, []);
        } finally {
          await someone.close();
          wire.close();
        }
      });

    scene("loaded again in mid-stream and cut, it ends exact, of one generation", async (it) => {
      await it.ask(QUERY);
      await it.shows(HALF);
      await it.says("open ");
      await it.page.reload();
      await it.shows(HALF);
      it.wire.cut();
      await it.says("waiting cut");
      await it.says("open ");
      await model.release();
      await it.shows(QUERY);
      await it.says("done completed");
      assert.equal(it.generations(), 1);
      await it.page.reload();
      await it.shows(QUERY);
      assert.equal(it.generations(), 1);
    });

    scene("a stop ends the model, and what is asked next takes its place", async (it) => {
      const { abandoned } = model;
      await it.ask(QUERY);
      await it.shows(HALF);
      await it.page.click("#stop");
      await it.says("done completed");
      await it.shows(HALF);
      await until(() => model.abandoned === abandoned + 1, "the model is let go");
      model.holds = false;
      await it.ask("Next?");
      await it.shows("Next?");
      await it.says("done completed");
      model.holds = true;
      assert.equal(it.generations(), 2);
      await until(async () => (await statsOf(server)).active.readers === 0, "nobody reads");
    });
  }
});
