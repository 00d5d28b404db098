/** What a log keeps, for how long, and what it does when it is full. */
import assert from "node:assert/strict";
import { Reading, same } from "../../support/event_reader.ts";
import { type Abilities, Counter, KIB, type Rule, sleep, Tap } from "./rule.ts";

export function boundsRules(rule: Rule, { limitedInAll, outlastsExpiry = true }: Abilities): void {
  rule("a stream is forgotten keepMs after its end, and not before", async (scene) => {
    const whole = await scene.finished(["a"]);
    const fromMs = performance.now();
    same((await (await scene.join(whole)).rest()).written, whole.written);
    await scene.eventually(
      async () => await scene.elsewhere.find(whole.streamId) === undefined,
      "forgotten",
    );
    const tookMs = performance.now() - fromMs;
    assert(tookMs > 200 && tookMs < 2000, `${tookMs} ms`);
    await (await scene.join(whole)).problem(404, "not_found");
    assert.equal(await scene.stop(whole), false);
    // One that goes on is kept for as long as it does, and that long again.
    const tap = new Tap();
    const live = await scene.start(tap.source, { commitAfterMs: 0 });
    tap.send("b");
    await live.events(1);
    await sleep(400);
    assert.equal((await (await scene.join(live)).events(1)).text, "b");
    tap.queue.close();
    await live.rest();
    await scene.ended(live);
    same((await (await scene.join(live)).rest()).written, live.written);
  }, { keepMs: 300, isTimed: true });

  rule(
    "a reader who is there when a stream is forgotten has it to its end",
    async (scene) => {
      const counter = new Counter(1000, 500);
      const first = await scene.start(counter.source, { disconnect: "continue" });
      const slow = await scene.join(first);
      await slow.events(1);
      await first.rest();
      await scene.eventually(
        async () => await scene.elsewhere.find(first.streamId) === undefined,
        "forgotten",
      );
      await slow.rest();
      same(slow.written, first.written);
      await (await scene.join(first)).problem(404, "not_found");
    },
    { keepMs: 0 },
    !outlastsExpiry,
  );

  rule(
    "in all no more than maxBytes: the oldest finished goes, then new ones get 503",
    async (scene) => {
      const text = "x".repeat(99 * KIB);
      const taps = [new Tap(), new Tap()];
      const lives: Reading[] = [];
      for (const tap of taps) {
        const live = await scene.start(tap.source, { disconnect: "continue", commitAfterMs: 0 });
        tap.send(text);
        lives.push(await live.events(1));
      }
      const finished: Reading[] = [];
      for (let i = 0; i < 12; i++) finished.push(await scene.finished([`${i}`, text]));
      const held = await Promise.all(
        finished.map(async ({ streamId }) => await scene.elsewhere.find(streamId) !== undefined),
      );
      const kept = held.filter(Boolean).length;
      assert(kept >= 2 && kept <= 8, `${kept} of 12 are held`);
      assert.deepEqual(held, held.map((_, i) => i >= 12 - kept), "the oldest went");
      await (await scene.join(finished[0])).problem(404, "not_found");
      same((await (await scene.join(finished[11])).rest()).written, finished[11]!.written);
      for (const live of lives) assert.equal((await (await scene.join(live)).events(1)).text, text);
      // Live ones are never given up.
      let refused: Reading | undefined;
      while (refused === undefined) {
        assert(taps.length < 20, "it is never full");
        const tap = new Tap();
        const live = await scene.start(tap.source, { disconnect: "continue", commitAfterMs: 0 });
        if (live.status !== 200) refused = live;
        else {
          taps.push(tap);
          tap.send(text);
          lives.push(await live.events(1));
        }
      }
      await refused.problem(503, "log_full");
      assert.match(refused.response.headers.get("retry-after") ?? "", /^\d+$/);
      assert(taps.length >= 6, `${taps.length} go on`);
      for (const live of lives) assert.equal((await (await scene.join(live)).events(1)).text, text);
      // One of them ends: there is room for the next.
      taps[0]!.queue.close();
      await lives[0]!.rest();
      const next = await scene.finished(["next"]);
      assert.equal(next.text, "next");
      for (const tap of taps) tap.queue.close();
      for (const live of lives) assert.equal((await live.rest()).last.event, "done");
    },
    { maxStreamBytes: 128 * KIB, maxBytes: 900 * KIB },
    !limitedInAll,
  );
}
