/** Clients that disconnect: what becomes of a generation that nobody reads. */
import assert from "node:assert/strict";
import { until } from "../../support/serve.ts";
import { Counter, PATIENCE_MS, type Rule, sleep, Tap } from "./rule.ts";

export function departuresRules(rule: Rule): void {
  rule("disconnect cancel: the last reader that leaves ends the generation", async (scene) => {
    const tap = new Tap();
    const first = await scene.start(tap.source, { disconnect: "cancel", commitAfterMs: 0 });
    tap.send("a");
    await first.events(1);
    const second = await (await scene.join(first, { after: 1 })).until(() => true);
    await first.leave();
    await sleep(20);
    assert.equal(tap.signal.aborted, false);
    tap.send("b");
    await second.events(1);
    await second.leave();
    await until(() => tap.signal.aborted, PATIENCE_MS, "the source is let go");
    assert.equal(tap.signal.reason.code, "disconnected");
    assert.deepEqual(await scene.closed(), ["cancelled disconnected"]);
    assert.deepEqual(scene.errors, []);
    // Who comes back finds the text, and that it goes on no further.
    await scene.ended(first);
    const back = await (await scene.join(first)).rest();
    assert.equal(back.text, "ab");
    assert.equal(back.last.event, "failed");
    assert.equal(back.last.number, 3);
  });

  rule("disconnect continue: the generation goes on to its end", async (scene) => {
    const tap = new Tap();
    const first = await scene.start(tap.source, { disconnect: "continue", commitAfterMs: 0 });
    tap.send("a");
    await first.events(1);
    await first.leave();
    await sleep(30);
    assert.equal(tap.signal.aborted, false);
    tap.send("b", "c");
    tap.queue.close();
    assert.deepEqual(await scene.closed(), ["completed"]);
    await scene.ended(first);
    assert.equal((await (await scene.join(first, { after: 1 })).rest()).text, "bc");
  });

  rule(
    "disconnect continueForMs: no shorter and not much longer, and who comes back saves it",
    async (scene) => {
      const disconnect = { continueForMs: 200 };
      const leaving = async () => {
        const tap = new Tap();
        const first = await scene.start(tap.source, { disconnect, commitAfterMs: 0 });
        tap.send("a");
        await first.events(1);
        return { tap, first };
      };
      const gone = await leaving();
      const saved = await leaving();
      const leftMs = performance.now();
      await gone.first.leave();
      await saved.first.leave();
      await sleep(100);
      assert.equal(gone.tap.signal.aborted, false, "within the grace");
      const back = await scene.join(saved.first, { after: 1 });
      await back.step();
      await until(() => gone.tap.signal.aborted, PATIENCE_MS, "the end of the grace");
      const tookMs = performance.now() - leftMs;
      assert(tookMs >= 195 && tookMs < 1000, `${tookMs} ms`);
      await sleep(150);
      assert.equal(saved.tap.signal.aborted, false, "somebody reads");
      saved.tap.send("b");
      await back.events(1);
      // A second departure has a grace of its own.
      const againMs = performance.now();
      await back.leave();
      await until(() => saved.tap.signal.aborted, PATIENCE_MS, "the end of the second grace");
      assert(performance.now() - againMs >= 195);
      assert.deepEqual(await scene.closed(2), ["cancelled disconnected", "cancelled disconnected"]);
      assert.deepEqual(scene.errors, []);
      await scene.ended(saved.first);
      assert.equal((await (await scene.join(saved.first)).rest()).text, "ab");
    },
    { isTimed: true },
  );

  rule("a reader that had left before it asked leaves nothing behind", async (scene) => {
    const signal = AbortSignal.abort();
    const names = { streamId: "absent", chatId: "absent" };
    for (const [i, options] of [{}, { disconnect: "continue" } as const, names].entries()) {
      const tap = new Tap();
      await (await scene.start(tap.source, options, { signal })).problem(499, "disconnected");
      // It is noticed in the first turn.
      assert.equal(tap.signal.reason.code, "disconnected");
      assert.deepEqual(await scene.closed(i + 1), Array(i + 1).fill("cancelled disconnected"));
    }
    const isGone = async () =>
      await scene.elsewhere.find("absent") === undefined &&
      await scene.elsewhere.latest(undefined, "absent") === undefined;
    await scene.eventually(isGone, "a log without it");
    assert.deepEqual(scene.errors, []);
  });

  rule(
    "a second reader that had left before it asked takes nothing from the first",
    async (scene) => {
      const tap = new Tap();
      const abort = new AbortController();
      const options = {
        commitAfterMs: 5000,
        streamId: "shared",
        disconnect: { continueForMs: 100 },
      };
      const starting = scene.start(tap.source, options, { signal: abort.signal });
      const isKnown = async () => await scene.elsewhere.find("shared") !== undefined;
      await scene.eventually(isKnown, "its name");
      await scene.join("shared", { signal: AbortSignal.abort() });
      await sleep(5);
      assert.equal(tap.signal.aborted, false);
      const leftMs = performance.now();
      abort.abort();
      await (await starting).problem(499, "disconnected");
      await until(() => tap.signal.aborted, PATIENCE_MS, "the source is let go");
      assert(performance.now() - leftMs >= 95);
      assert.deepEqual(scene.errors, []);
    },
    { isTimed: true },
  );

  rule("a reader that leaves before the head leaves the generation its grace", async (scene) => {
    const abort = new AbortController();
    for (const [i, disconnect] of (["cancel", { continueForMs: 100 }] as const).entries()) {
      const tap = new Tap();
      const early = i === 0 ? new AbortController() : abort;
      const starting = scene.start(
        tap.source,
        { disconnect, commitAfterMs: 5000, streamId: `early-${i}` },
        { signal: early.signal },
      );
      await until(() => tap.starts === 1, PATIENCE_MS, "it has begun");
      // In its first turn it would count as one who had left before.
      await sleep(5);
      const leftMs = performance.now();
      early.abort();
      await (await starting).problem(499, "disconnected");
      if (i === 1) assert.equal(tap.signal.aborted, false);
      await until(() => tap.signal.aborted, PATIENCE_MS, "the source is let go");
      if (i === 1) assert(performance.now() - leftMs >= 95);
    }
    assert.deepEqual(await scene.closed(2), ["cancelled disconnected", "cancelled disconnected"]);
    assert.deepEqual(scene.errors, []);
  }, { isTimed: true });

  rule("a generation that ends within the grace is complete", async (scene) => {
    const counter = new Counter(20, 100);
    const first = await scene.start(counter.source, { disconnect: { continueForMs: 60_000 } });
    await first.leave();
    assert.deepEqual(await scene.closed(), ["completed"]);
    await scene.ended(first);
    assert.equal((await (await scene.join(first)).rest()).text, counter.text(100));
  });
}
