/** Names that clients choose: one name is one generation, on whichever machine its request arrives. */
import assert from "node:assert/strict";
import type { ChatInput, HandlerOptions } from "../../../lib/handler.ts";
import { createHandler, type Source, StreamError } from "../../../mod.ts";
import { Reading, same } from "../../support/event_reader.ts";
import { until } from "../../support/serve.ts";
import { PATIENCE_MS, type Rule, type Scene, sleep, Tap } from "./rule.ts";

type Ask = (
  name: string,
  asked?: { query?: string; owner?: string; signal?: AbortSignal; method?: string; path?: string },
) => Promise<Reading>;

/** Two handlers, on the log and on what another machine sees of it, and requests to either. */
function machines(
  scene: Scene,
  source: Source<ChatInput>,
  options: Partial<HandlerOptions> = {},
): readonly [Ask, Ask] {
  const ask = (log: Scene["log"]): Ask => {
    const authorize = ({ headers }: Request) => headers.get("x-owner");
    const { fetch } = createHandler({ source, log, authorize, onError: () => {}, ...options });
    return async (name, { query = "Hi", owner = "ann", signal, method = "POST", path } = {}) => {
      const headers = new Headers({ "content-type": "application/json", "x-owner": owner });
      if (method === "POST") headers.set("x-run-id", name);
      const request = new Request(`http://localhost/streaming${path ?? ""}`, {
        method,
        headers,
        ...method === "POST" && { body: JSON.stringify({ query }) },
        ...signal && { signal },
      });
      return scene.reads(new Reading(await fetch(request)));
    };
  };
  return [ask(scene.log), ask(scene.elsewhere)];
}

export function namesRules(rule: Rule): void {
  rule("the same request under one name is one generation, from its start", async (scene) => {
    const tap = new Tap();
    const [here, there] = machines(scene, tap.source);
    const first = here("a");
    await until(() => tap.starts === 1, PATIENCE_MS, "the generation");
    tap.send("one");
    const others = await Promise.all([there("a"), here("a"), there("a")]);
    tap.send("two");
    tap.queue.close();
    const all = [await first, ...others];
    for (const reading of all) assert.equal((await reading.rest()).status, 200, reading.body);
    await scene.ended(all[0]!.streamId);
    all.push(await here("a"), await there("a"));
    const named = { method: "GET", path: "?runId=a" };
    all.push(await here("a", named), await there("a", named));
    for (const reading of all) same((await reading.rest()).written, all[0]!.written);
    assert.equal(all[0]!.text, "onetwo");
    assert.equal(tap.starts, 1);
    const tail = await there("a", { method: "GET", path: "?runId=a&tail=1" });
    assert.equal((await tail.rest()).text, "two");
  });

  rule("of many that take a name at once, one begins a generation", async (scene) => {
    let starts = 0;
    const [here, there] = machines(scene, async function* () {
      starts++;
      await sleep(1);
      yield* "abc";
    });
    for (let i = 1; i <= 5; i++) {
      const all = await Promise.all([here, there, there, here].map((ask) => ask(`name-${i}`)));
      for (const reading of all) assert.equal((await reading.rest()).text, "abc", reading.body);
      assert.equal(new Set(all.map(({ streamId }) => streamId)).size, 1);
      assert.equal(starts, i);
    }
  });

  rule(
    "another request under the same name is a 409, and another owner's is its own",
    async (scene) => {
      let starts = 0;
      const [here, there] = machines(scene, ({ input }) => `${++starts} ${input.query}`);
      assert.equal((await (await here("a")).rest()).text, "1 Hi");
      for (const ask of [here, there]) {
        // The bytes count, and not what they mean.
        for (const query of ["Hello", "Hi "]) {
          await (await ask("a", { query })).problem(409, "stream_exists");
        }
        await (await ask("b", { method: "GET", path: "?runId=b" })).problem(404, "not_found");
        const bobs = { owner: "bob", method: "GET", path: "?runId=a" };
        if (ask === here) await (await ask("a", bobs)).problem(404, "not_found");
      }
      assert.equal(
        (await (await there("a", { owner: "bob", query: "Hello" })).rest()).text,
        "2 Hello",
      );
      assert.equal((await (await there("a")).rest()).text, "1 Hi");
      assert.equal(
        (await (await there("a", { owner: "bob" })).problem(409, "stream_exists")).status,
        409,
      );
    },
  );

  rule("a name whose generation failed with a status is free again", async (scene) => {
    let starts = 0;
    const [here, there] = machines(scene, ({ input }) => {
      if (input.query === "Hi") return `${++starts}`;
      throw new StreamError("rate_limited");
    });
    for (const ask of [here, there, here]) {
      await (await ask("a", { query: "No" })).problem(429, "rate_limited");
    }
    await (await here("a", { method: "GET", path: "?runId=a" })).problem(404, "not_found");
    assert.equal((await (await there("a")).rest()).text, "1");
    assert.equal((await (await here("a")).rest()).text, "1");
  });

  rule(
    "who joins before the response headers gets the status of a failure as well",
    async (scene) => {
      const tap = new Tap();
      const [here, there] = machines(scene, tap.source, { commitAfterMs: 5000 });
      const first = here("a");
      await until(() => tap.starts === 1, PATIENCE_MS, "the generation");
      const second = here("a");
      await sleep(20);
      tap.queue.fail(new StreamError("rate_limited"));
      for (const reading of [first, second]) await (await reading).problem(429, "rate_limited");
      const third = there("a");
      await until(() => tap.starts === 2, PATIENCE_MS, "another generation");
      tap.send("now");
      tap.queue.close();
      assert.equal((await (await third).rest()).text, "now");
    },
  );

  rule("a request that is lost before the response headers finds its generation", async (scene) => {
    const tap = new Tap();
    const [here, there] = machines(scene, tap.source, { commitAfterMs: 5000 });
    const abort = new AbortController();
    const lost = here("a", { signal: abort.signal });
    await until(() => tap.starts === 1, PATIENCE_MS, "the generation");
    await sleep(20);
    abort.abort();
    await (await lost).rest();
    tap.send("still");
    const again = await (await there("a")).events(1);
    tap.send(" here");
    tap.queue.close();
    assert.equal((await again.rest()).text, "still here");
    assert.equal(tap.starts, 1);
  });

  rule(
    "a generation that nobody has seen is let go after its grace, and its name with it",
    async (scene) => {
      const tap = new Tap();
      const options: Partial<HandlerOptions> = {
        commitAfterMs: 5000,
        disconnect: { continueForMs: 30 },
      };
      const [here, there] = machines(scene, tap.source, options);
      const abort = new AbortController();
      const lost = here("a", { signal: abort.signal });
      await until(() => tap.starts === 1, PATIENCE_MS, "the generation");
      await sleep(20);
      abort.abort();
      await (await lost).rest();
      tap.send("unseen");
      await until(() => tap.signal.aborted, PATIENCE_MS, "the end of its grace");
      const isFree = async () =>
        (await there("a", { method: "GET", path: "?runId=a" })).status === 404;
      await scene.eventually(isFree, "its name is free");
      const again = there("a");
      await until(() => tap.starts === 2, PATIENCE_MS, "another generation");
      tap.send("again");
      tap.queue.close();
      assert.equal((await (await again).rest()).text, "again");
    },
  );

  rule("a name is forgotten with its stream", async (scene) => {
    let starts = 0;
    const [here, there] = machines(scene, () => `${++starts}`);
    const first = await (await here("a")).rest();
    assert.equal(first.text, "1");
    await scene.eventually(
      async () => await scene.elsewhere.find(first.streamId) === undefined,
      "forgotten",
    );
    await (await there("a", { method: "GET", path: "?runId=a" })).problem(404, "not_found");
    assert.equal((await (await there("a", { query: "Hello" })).rest()).text, "2");
  }, { keepMs: 50 });
}
