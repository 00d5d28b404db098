/**
 * The recipes of docs/migrating.md: what is read with another client, and what is read with `connect` in
 * its place, is the same, and takes no more lines.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test, { after, before } from "node:test";
import { createHandler, sse } from "../../mod.ts";
import { serve, type Served, until } from "../support/serve.ts";
import { closeRecipes, openRecipes, recipeOf, run } from "./reload.ts";
import { assertNothingLeft } from "./server.ts";

const MIGRATED = readdirSync(new URL("recipes", import.meta.url))
  .flatMap((file) => /^migrate_(\w+)_after/.exec(file)?.[1] ?? []);
const TOKENS = ["You asked: ", "Hello?", " 世界", "\n"];

let server: Served;
let started = 0;
before(() => {
  openRecipes();
  const source = (query: string | null) => {
    started++;
    return TOKENS.map((token) => token === "Hello?" ? String(query) : token);
  };
  const handler = createHandler({ source: ({ input }) => source(input.query) });
  server = serve((request, info) => {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname !== "/") return handler.fetch(request, info);
    return sse(request, () => source(searchParams.get("query")));
  });
});
after(async () => {
  closeRecipes();
  await server.close();
});

for (const client of MIGRATED) {
  for (const side of ["before", "after"]) {
    const name = `migrate_${client}_${side}`;
    test(`${name} prints each token and the end, of one generation`, async () => {
      started = 0;
      const { prints } = await run(name, server.url);
      // An EventSource goes on by itself.
      await until(() => prints.at(-1)?.[0] === "done", 2000, "the end");
      const tokens = prints.slice(0, -1);
      assert.deepEqual(tokens, TOKENS.map((token) => ["token", { token }]));
      assert.equal((prints.at(-1) as [string, { tokens: number }])[1].tokens, TOKENS.length);
      assert.equal(started, 1);
      await assertNothingLeft();
    });
  }

  test(`migrate_${client}: connect() takes ten lines at most, and no more than what it replaces`, () => {
    const [old, now] = ["before", "after"].map((side) =>
      readFileSync(recipeOf(`migrate_${client}_${side}`), "utf8").trim().split("\n").length
    );
    assert(now! <= 10 && now! <= old!, `${now} lines for ${old}`);
  });
}
