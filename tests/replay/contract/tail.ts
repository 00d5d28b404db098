/** The tail: a client that wants the last events alone, and what comes then. */
import assert from "node:assert/strict";
import { uiMessageFormat } from "../../../mod.ts";
import { same } from "../../support/event_reader.ts";
import { assertContiguous, Counter, KIB, type Rule, SMALL, Tap } from "./rule.ts";

export function tailRules(rule: Rule): void {
  rule("?tail= is the last events of a finished stream, and its end", async (scene) => {
    for (const format of ["json", "text"] as const) {
      const whole = await scene.finished([..."abcde"], { format });
      for (const [tail, from] of [[1, 5], [3, 3], [5, 1], [6, 1], [10_000, 1]] as const) {
        const joined = await (await scene.join(whole, { query: `?tail=${tail}` })).rest();
        assert.deepEqual(joined.blocks, whole.blocks.slice(from - 1), `${format} ${tail}`);
      }
    }
    const empty = await scene.finished([]);
    const joined = await (await scene.join(empty, { query: "?tail=3" })).rest();
    assert.deepEqual(joined.blocks.map(({ event, number }) => [event, number]), [["done", 1]]);
  });

  rule("?tail= of a live stream goes on with what comes then", async (scene) => {
    const tap = new Tap();
    const first = await scene.start(tap.source, { commitAfterMs: 0 });
    const early = await scene.join(first, { query: "?tail=2" });
    tap.send(..."abcd");
    await first.events(4);
    await scene.eventually(
      async () => (await scene.elsewhere.find(first.streamId))?.lastEvent === 4,
      "four events",
    );
    const late = await (await scene.join(first, { query: "?tail=2" })).events(2);
    assert.equal(late.text, "cd");
    tap.send("e");
    tap.queue.close();
    await Promise.all([first.rest(), early.rest(), late.rest()]);
    assert.equal(late.text, "cde");
    assert.deepEqual(late.blocks, first.blocks.slice(2));
    // It has come back with the id that it got from the log.
    const again = await (await scene.join(first, { after: late.blocks[1]!.number! })).rest();
    assert.equal(again.text, "e");
    assertContiguous(early);
    same(early.text, "abcde");
  });

  rule("?tail= takes what is left where the log holds fewer", async (scene) => {
    const counter = new Counter(KIB, 400);
    const whole = await scene.start(({ queue }) => {
      for (let i = 0; i < 400; i++) queue.send(counter.token(i));
      queue.close();
    });
    await whole.rest();
    await scene.ended(whole);
    const { firstEvent } = (await scene.elsewhere.find(whole.streamId))!;
    assert(firstEvent > 1, "the log has trimmed nothing");
    await (await scene.join(whole)).problem(410, "gone");
    const joined = await (await scene.join(whole, { query: "?tail=10000" })).rest();
    assert.equal(joined.blocks[0]!.number, firstEvent);
    assert.deepEqual([joined.last.event, joined.last.number], ["done", 401]);
  }, SMALL);

  rule("?tail= that is nonsense, or beside a position, is a 400", async (scene) => {
    const whole = await scene.finished(["a", "b"]);
    for (const tail of ["", "0", "-1", "+1", "1.5", "1e3", "0x1", "01", "10001", "9".repeat(400)]) {
      const query = `?tail=${encodeURIComponent(tail)}`;
      await (await scene.join(whole, { query })).problem(400, "bad_request");
    }
    await (await scene.join(whole, { query: "?tail=1", after: 1 })).problem(400, "bad_request");
    const query = `?tail=1&lastEventId=${whole.streamId}.1`;
    await (await scene.join(whole, { query })).problem(400, "bad_request");
    // An event of this format says nothing without those before it.
    const other = await scene.finished(["a"], { format: uiMessageFormat, owner: "ann" });
    const tail = { query: "?tail=1" };
    await (await scene.join(other, tail, { owner: "ann" })).problem(400, "bad_request");
    // Whose it is comes first.
    await (await scene.join(other, tail)).problem(404, "not_found");
    // It is where a client begins by GET; one that sends its POST again goes on.
    const post = await scene.join(whole, { ...tail, after: 2, method: "POST" });
    assert.equal((await post.rest()).last.event, "done");
  });
}
