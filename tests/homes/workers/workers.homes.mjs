/**
 * Cloudflare's runtime, as miniflare runs it: the recipes of `docs/workers.md`, bundled. Every case is
 * asked for twice in the same isolate, because what the first stream leaves behind is what the next
 * one meets.
 */
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { Miniflare } from "miniflare";
import { CASES, overlaps, resumes } from "./cases.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
/** A recipe, bundled with the model of these tests. */
async function bundled(recipe) {
  const { outputFiles: [{ text }] } = await build({
    entryPoints: [here(`../recipes/${recipe}.js`)],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    external: ["cloudflare:*"],
    alias: { spillway: here("../../../mod.ts") },
    plugins: [{
      name: "model",
      setup: ({ onResolve }) =>
        onResolve(
          { filter: /^\.\/model\.js$/ },
          () => ({ path: here("model.js") }),
        ),
    }],
  });
  return text;
}

/** Serves a recipe. */
async function serve(recipe, flags = [], options = {}) {
  const workers = new Miniflare({
    modules: true,
    script: await bundled(recipe),
    compatibilityDate: "2026-06-01",
    compatibilityFlags: ["enable_request_signal", ...flags],
    // A home without a network.
    cf: false,
    ...options,
  });
  return { workers, url: await workers.ready };
}

// They wait more than they work.
describe("workers", { concurrency: true }, () => {
  for (const flags of [[], ["nodejs_compat"]]) {
    describe(`a worker ${flags.length === 0 ? "as it is" : `with ${flags}`}`, {
      concurrency: 1,
    }, () => {
      let home;
      before(async () => home = await serve("workers_module", flags));
      after(() => home.workers.dispose());

      for (const [name, check] of Object.entries(CASES)) {
        test(name, () => check(home.url));
        test(`${name}: the next stream as well`, () => check(home.url));
      }

      test("a hundred overlapping streams are exact, and the next one comes token by token", () => {
        return overlaps(home.url);
      });
    });
  }

  test("a Durable Object resumes exactly: live, and when the stream has ended", async () => {
    const home = await serve("workers_durable_object", [], {
      durableObjects: { CHATS: "Chat" },
    });
    try {
      await Promise.all(
        [0, 300, 1500].map((waitMs) => resumes(home.url, { at: `chat${waitMs}`, waitMs })),
      );
      await resumes(home.url, { at: "chat0", waitMs: 0 });
      await CASES["paced tokens come one by one, when they are sent"](home.url);
      await CASES["silence has heartbeats, and the text goes on"](home.url);
    } finally {
      await home.workers.dispose();
    }
  });

  test("an isolate resumes what ctx.waitUntil keeps going: live, and when the stream has ended", async () => {
    const home = await serve("workers_continue");
    try {
      await Promise.all(
        [0, 300, 1500].map((waitMs) => resumes(home.url, { waitMs, at: "" })),
      );
      await CASES["paced tokens come one by one, when they are sent"](home.url);
    } finally {
      await home.workers.dispose();
    }
  });
});
