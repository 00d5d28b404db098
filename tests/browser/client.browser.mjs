/**
 * `connect()` in Chromium: what web-platform-tests have of `EventSource`, and a page that is loaded
 * again, hidden and shown, without a network for a while, and joined by a second tab.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import test, { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { toNodeListener } from "../../lib/node.ts";
import { createHandler, MemoryLog } from "../../mod.ts";
import { faultsOf, WptServer } from "../support/wpt.ts";
import { chromiumIsMissing, launch, profile, until, wireTo } from "./harness.mjs";

const QUERY = "Water takes its time over the crest, 世界, and falls 😀 as a sheet.";
const third = Math.ceil(QUERY.length / 3);
const PARTS = [0, 1, 2].map((part) => QUERY.slice(part * third, (part + 1) * third));
const path = new URL("../vectors/wpt_eventsource.json", import.meta.url);
const vectors = JSON.parse(readFileSync(path, "utf8"));

let browser, code;
before(async () => {
  if (chromiumIsMissing) return;
  const entry = fileURLToPath(new URL("client_page.ts", import.meta.url));
  const built = build({ entryPoints: [entry], bundle: true, format: "iife", write: false });
  [browser, { outputFiles: [{ text: code }] }] = await Promise.all([launch(), built]);
});
after(() => browser?.close());

/** Serves the page beside what `respond` has. */
async function servePage(respond) {
  const html = { "content-type": "text/html" };
  const listener = toNodeListener((request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/") return new Response(`<script>${code}</script>`, { headers: html });
    return respond(request);
  });
  const server = createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

const skip = chromiumIsMissing;
const timeout = 60_000;

test("connect() passes the vectors and the scenarios of web-platform-tests in Chromium", {
  skip,
  timeout,
}, async () => {
  const wpt = new WptServer(vectors);
  const server = await servePage((request) =>
    wpt.respond(request) ?? new Response(null, { status: 404 })
  );
  const other = await servePage((request) => wpt.respond(request));
  const { open, close, faults } = await profile(browser, { failing: true });
  try {
    const page = await open();
    await page.goto(server.url);
    const outcomes = await page.evaluate(
      (file) => readAll(connect, location.origin, file),
      vectors,
    );
    assert.deepEqual(faultsOf(vectors, outcomes, wpt), []);

    const ask = (base, name, init) => {
      const at = vectors.scenarios.findIndex((scenario) => scenario.name === name);
      const url = `${base}/wpt/scenario/${at}/alone`;
      return page.evaluate(([url, init]) => read(connect, url, init), [url, init]);
    };
    // Of origins, which only a browser has.
    const cors = vectors.scenarios.filter(({ kind }) => kind === "client-cors");
    assert.equal(cors.length, 4);
    for (const { name } of cors) {
      const outcome = await ask(other.url, name, { credentials: "include", maxRetries: 0 });
      const isAllowed = name.endsWith("/reflected-origin");
      assert.deepEqual(
        [outcome.events, outcome.error],
        isAllowed ? [[["message", "data", ""]], "gave-up, cut"] : [[], "gave-up, unreachable"],
        name,
      );
    }
    await ask(server.url, "request-cache-control", { cache: "no-store" });
    const [, [headers]] = [...wpt.seen].find(([path]) =>
      path.endsWith("/alone") &&
      path.includes(
        `/${vectors.scenarios.findIndex(({ name }) => name === "request-cache-control")}/`,
      )
    );
    assert.equal(headers.get("cache-control"), "no-cache");

    // A browser does not show which redirect it is.
    for (const status of [302, 307]) {
      const refused = await ask(server.url, `request-redirect/${status}`, { method: "POST" });
      assert.deepEqual([refused.events, refused.error], [[], "refused, redirected"]);
    }
    const blocked = faults.filter((fault) => fault.includes("blocked by CORS policy"));
    assert.deepEqual(faults, blocked);
    assert.equal(blocked.length, cors.length - 1);
  } finally {
    await close();
    server.close();
    other.close();
  }
});

test(
  "a page is loaded again, hidden, cut off and joined by a second tab: exact text, one generation",
  {
    skip,
    timeout,
  },
  async () => {
    let starts = 0;
    /** Lets the source go on. */
    let release;
    const handler = createHandler({
      log: new MemoryLog(),
      source: async function* ({ input }) {
        starts++;
        assert.equal(input.query, QUERY);
        for (const part of PARTS) {
          const gate = new Promise((resolve) => release = resolve);
          yield* part.split("");
          await gate;
        }
      },
    });
    const server = await servePage(handler.fetch);
    const wire = await wireTo(server);
    const { context, open, close, faults } = await profile(browser, { failing: true });
    try {
      const page = await open();
      const tab = await open();
      const show = (page) => void page.evaluate((query) => show(query), QUERY).catch(() => {});
      const see = (page) => page.evaluate(() => shown);
      const shows = (page, count, what) =>
        until(async () => {
          const { text } = await see(page);
          const expected = PARTS.slice(0, count).join("");
          assert(expected.startsWith(text), `${what}: ${text}`);
          return text === expected;
        }, what);
      const waits = (page) =>
        until(async () => (await see(page)).states.at(-1)?.status === "waiting", "it waits");
      /** Runs what should end a wait, and returns how long the wait then was, of how long it might be. */
      const wait = async (page, act) => {
        await waits(page);
        const { states } = await see(page);
        const fromMs = Date.now();
        await act();
        await until(async () => (await see(page)).states.length > states.length, "it is woken");
        return [Date.now() - fromMs, states.at(-1).inMs];
      };
      const turn = (page, to) =>
        page.evaluate((value) => {
          Object.defineProperty(document, "visibilityState", { value, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }, to);

      await page.goto(wire.url);
      show(page);
      await shows(page, 1, "the first part");
      await page.reload();
      show(page);
      await shows(page, 1, "the first part after a reload");
      const id = await page.evaluate(() => sessionStorage.getItem("stream"));
      await tab.goto(`${wire.url}/?stream=${id}`);
      show(tab);
      await shows(tab, 1, "the first part in the second tab");

      await turn(page, "hidden");
      const before = (await see(page)).states.length;
      release();
      for (const it of [page, tab]) await shows(it, 2, "the second part, hidden or not");
      assert.equal((await see(page)).states.length, before, "a hidden page stays connected");

      wire.cut();
      const [shownMs, mightMs] = await wait(page, () => turn(page, "visible"));
      assert(mightMs >= 1000 && shownMs < 700, `${shownMs} of ${mightMs} ms`);

      await until(async () => (await see(tab)).states.at(-1).status === "open", "the tab is back");
      wire.down = true;
      wire.cut();
      await Promise.all([waits(page), waits(tab)]);
      release();
      await context.setOffline(true);
      wire.down = false;
      for (const it of [page, tab]) {
        const { reason } = (await see(it)).states.at(-1);
        assert.match(reason, /cut|unreachable/);
      }
      await context.setOffline(false);
      release();
      for (const it of [page, tab]) {
        await until(async () => (await see(it)).end !== "", "the end");
        const { text, end, states } = await see(it);
        assert.equal(text, QUERY);
        assert.equal(end, "completed");
        assert(states.some(({ reason }) => reason === "cut"));
      }
      assert.equal(starts, 1);
      assert.deepEqual(faults, []);
    } finally {
      await close();
      wire.close();
      server.close();
    }
  },
);
