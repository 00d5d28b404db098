/** Stopping a generation from outside. */
import assert from "node:assert/strict";
import { type Source, StreamError } from "../../../mod.ts";
import { until } from "../../support/serve.ts";
import { same } from "../../support/event_reader.ts";
import { Counter, PATIENCE_MS, type Rule, Tap, turn } from "./rule.ts";

export function stoppingRules(rule: Rule): void {
  rule(
    "a stop delivers what is queued, then every reader's normal end, within 100 ms",
    async (scene) => {
      const tookMs: number[] = [];
      // The machine may have been busy with something else, once or twice.
      for (let tries = 0; tries < 10 && !(tookMs.at(-1)! <= 100); tries++) {
        scene.reports.length = 0;
        const tap = new Tap();
        const first = await scene.start(tap.source, { commitAfterMs: 0 });
        tap.send("a", "b");
        await first.events(2);
        const readers = [first, await scene.join(first), await scene.join(first, { after: 1 })];
        await Promise.all(readers.map((reading) => reading.events(1)));
        tap.send("c");
        const fromMs = performance.now();
        assert.equal(await scene.stop(first, undefined, "enough"), true);
        await Promise.all(readers.map((reading) => reading.rest()));
        tookMs.push(performance.now() - fromMs);
        assert.deepEqual(readers.map(({ text }) => text), ["abc", "abc", "bc"]);
        for (const { last, end } of readers) {
          assert.equal(end, "whole");
          assert.equal(last.event, "done");
          assert.equal(last.number, 4);
          assert.deepEqual(JSON.parse(last.data), { reason: "cancelled", tokens: 3 });
        }
        assert.equal(tap.signal.aborted, true);
        assert(tap.signal.reason instanceof StreamError);
        assert.equal(tap.signal.reason.code, "stopped");
        assert.equal(tap.signal.reason.detail, "enough");
        assert.equal(await tap.queue.send("late"), false);
        // Once more, and once more, and after the end.
        for (let i = 0; i < 3; i++) assert.equal(await scene.stop(first), true);
        await scene.ended(first);
        assert.equal(await scene.stop(first), true);
        assert.deepEqual(await scene.closed(), ["cancelled stopped"]);
        assert.deepEqual(scene.errors, []);
        const later = await (await scene.join(first)).rest();
        same(later.written, first.written);
        assert.equal((await scene.join(first, { after: 4 })).status, 204);
      }
      assert(tookMs.at(-1)! <= 100, `${tookMs.map(Math.round)} ms`);
      assert.equal(await scene.stop("AAAAAAAAAAAAAAAAAAAAAA"), false);
    },
  );

  rule("a stop before the first token is a normal end", async (scene) => {
    for (const commitAfterMs of [0, 5000]) {
      const tap = new Tap();
      const streamId = `silent-${commitAfterMs}`;
      const starting = scene.start(tap.source, { streamId, commitAfterMs });
      await until(() => tap.starts === 1, PATIENCE_MS, "it has begun");
      await turn();
      assert.equal(await scene.stop(streamId), true);
      const reading = await (await starting).rest();
      assert.equal(reading.status, 200, reading.body);
      assert.deepEqual(reading.blocks.map(({ event, data }) => [event, JSON.parse(data).reason]), [
        ["done", "cancelled"],
      ]);
      same((await (await scene.join(streamId)).rest()).written, reading.written);
    }
    assert.deepEqual(await scene.closed(2), ["cancelled stopped", "cancelled stopped"]);
    assert.deepEqual(scene.errors, []);
  });

  rule(
    "a stop ends a generation that nobody reads, and who comes back is told so",
    async (scene) => {
      const tap = new Tap();
      const first = await scene.start(tap.source, { disconnect: "continue", commitAfterMs: 0 });
      tap.send("a");
      await first.events(1);
      await first.leave();
      tap.send("b");
      assert.equal(await scene.stop(first), true);
      assert.deepEqual(await scene.closed(), ["cancelled stopped"]);
      await scene.ended(first);
      const back = await (await scene.join(first, { after: 1 })).rest();
      assert.equal(back.text, "b");
      assert.equal(JSON.parse(back.last.data).reason, "cancelled");
    },
  );

  rule(
    "a stop ends a source that is held back, stuck or deaf, and loses nothing",
    async (scene) => {
      const held = new Counter(1000);
      const stuck = async function* () {
        yield "a";
        await new Promise(() => {});
      };
      const sources: Source<undefined>[] = [held.source, stuck];
      for (const [i, source] of sources.entries()) {
        const first = await scene.start(source);
        await first.events(1);
        if (i === 0) await held.waits();
        const made = held.made;
        assert.equal(await scene.stop(first), true);
        await scene.closed(i + 1);
        await first.rest();
        assert.equal(JSON.parse(first.last.data).reason, "cancelled");
        if (i === 0) {
          // The one that it waits with was never taken.
          same(first.text, held.text(first.blocks.length - 1));
          assert(made - first.blocks.length <= 1 && held.made === made, `${made}`);
        } else assert.equal(first.text, "a");
        assert.deepEqual(
          first.blocks.map(({ number }) => number),
          first.blocks.map((_, i) => i + 1),
        );
      }
      assert.deepEqual(scene.outcomes, ["cancelled stopped", "cancelled stopped"]);
    },
  );

  rule(
    "a stop keeps half a surrogate pair and the order of a source's own queue",
    async (scene) => {
      const tap = new Tap();
      const first = await scene.start(tap.source, { commitAfterMs: 0 });
      tap.send("a", "\ud83d");
      assert.equal(await scene.stop(first), true);
      await first.rest();
      assert.equal(first.text, "a\ud83d");
    },
  );
}
