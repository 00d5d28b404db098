/** Positions: where a client says it is, and what a log makes of it. */
import assert from "node:assert/strict";
import type { ResumeOptions } from "../../../mod.ts";
import { same } from "../../support/event_reader.ts";
import { type Asking, type Rule, Tap } from "./rule.ts";

export function positionsRules(rule: Rule): void {
  rule("read to its end: 204 on GET, and on POST the end once more", async (scene) => {
    const whole = await scene.finished(["a", "b"]);
    const get = await scene.join(whole, { after: 3 });
    assert.deepEqual([get.status, get.body], [204, ""]);
    const post = await (await scene.join(whole, { after: 3, method: "POST" })).rest();
    assert.equal(post.status, 200);
    assert.equal(post.body, `:\n${whole.last.text}`);
    const fresh = await scene.start(() => assert.fail("started"), {}, {
      after: `${whole.streamId}.3`,
    });
    await fresh.rest();
    assert.equal(fresh.body, `:\n${whole.last.text}`);
    assert.equal(fresh.last.event, "done");
  });

  rule(
    "the end once more is the end alone, also where half a pair came before it",
    async (scene) => {
      for (const format of ["json", "text"] as const) {
        const whole = await scene.finished(["a", "\ud83d"], { format });
        assert.equal(whole.blocks.length, 3);
        const post = await (await scene.join(whole, { after: 3, method: "POST" })).rest();
        same(post.written, whole.last.text);
        const get = await (await scene.join(whole, { after: 2 })).rest();
        same(get.written, whole.last.text);
      }
    },
  );

  rule("a stream with no token has an end all the same", async (scene) => {
    const whole = await scene.finished([]);
    assert.deepEqual(whole.blocks.map(({ event, number }) => [event, number]), [["done", 1]]);
    const joined = await (await scene.join(whole)).rest();
    same(joined.written, whole.written);
    assert.equal((await scene.join(whole, { after: 1 })).status, 204);
  });

  rule("a position that is malformed, or another stream's, is a 400", async (scene) => {
    const whole = await scene.finished(["a"]);
    const { streamId } = whole;
    const other = await scene.finished(["b"]);
    const malformed = [
      "",
      "x",
      ".",
      ".1",
      streamId,
      `${streamId}.`,
      `${streamId}.x`,
      `${streamId}.-1`,
      `${streamId}.1.1`,
      `${streamId}.1e1`,
      `${streamId}.0x1`,
      `${streamId}.1234567890123456`,
      `${streamId}.end`,
      `${streamId} .1`,
      `${"a".repeat(129)}.1`,
      `ä.1`,
      `../${streamId}.1`,
    ];
    for (const after of malformed) {
      if (!after.includes("ä")) {
        await (await scene.join(whole, { after })).problem(400, "bad_request");
      }
      const query = `?lastEventId=${encodeURIComponent(after)}`;
      await (await scene.join(whole, { query })).problem(400, "bad_request");
    }
    await (await scene.join(whole, { after: `${other.streamId}.1` })).problem(400, "bad_request");
    // Without a name the position has to say it.
    await (await scene.join(undefined, {})).problem(400, "bad_request");
    const found = await scene.join(undefined, { after: `${streamId}.1` });
    assert.equal((await found.rest()).last.event, "done");
  });

  rule("Last-Event-ID beats ?lastEventId=, which will do where there is none", async (scene) => {
    const whole = await scene.finished(["a", "b", "c"]);
    const query = `?a=1&lastEventId=${whole.streamId}.2`;
    const byQuery = await (await scene.join(whole, { query })).rest();
    assert.deepEqual(byQuery.blocks.map(({ number }) => number), [3, 4]);
    const byHeader = await (await scene.join(whole, { query, after: 3 })).rest();
    assert.deepEqual(byHeader.blocks.map(({ number }) => number), [4]);
  });

  rule("a position past the end of a finished stream is a 400", async (scene) => {
    const whole = await scene.finished(["a"]);
    for (const after of [3, 4, 999_999_999_999_999]) {
      for (const method of ["GET", "POST"]) {
        await (await scene.join(whole, { after, method })).problem(400, "bad_request");
      }
    }
  });

  rule(
    "a position ahead of a live stream waits, and is told if the end comes first",
    async (scene) => {
      const tap = new Tap();
      const first = await scene.start(tap.source, { commitAfterMs: 0 });
      const [three, four, far] = await Promise.all(
        [3, 4, 50].map((after) => scene.join(first, { after })),
      );
      tap.send("a", "b", "c", "d");
      await first.events(4);
      await three!.events(1);
      tap.send("e");
      assert.deepEqual((await three!.events(2)).blocks.map(({ number }) => number), [4, 5]);
      assert.deepEqual((await four!.events(1)).blocks.map(({ number }) => number), [5]);
      tap.queue.close();
      for (const reading of [first, three!, four!]) {
        assert.equal((await reading.rest()).last.event, "done");
      }
      await far!.rest();
      // Neither text nor a good end: it has not read what it says it has.
      assert.deepEqual(far!.blocks.map(({ event, id }) => [event, id]), [["failed", undefined]]);
      const { code, resume } = JSON.parse(far!.last.data);
      assert.deepEqual([code, resume], ["bad_request", true]);
    },
  );

  rule("another format than the recorded one is a 406", async (scene) => {
    const whole = await scene.finished(["a"], { format: "text", owner: "ann" });
    const as = { owner: "ann" };
    const refused: [Asking, Partial<ResumeOptions>][] = [
      [{}, { format: "json" }],
      [{ query: "?format=json" }, {}],
      [{ query: "?format=nonsense" }, {}],
      [{ headers: { accept: "application/json" } }, {}],
      [{ headers: { accept: "text/plain" } }, {}],
      [{ headers: { accept: "text/event-stream;q=0, */*" } }, {}],
    ];
    for (const [how, options] of refused) {
      for (const after of [undefined, 1, 2]) {
        const again = await scene.join(
          whole,
          after === undefined ? how : { ...how, after },
          { ...as, ...options },
        );
        await again.problem(406, "not_acceptable");
      }
    }
    const fitting: [Asking, Partial<ResumeOptions>][] = [
      [{}, {}],
      [{}, { format: "text" }],
      [{ query: "?format=text" }, {}],
      [{ headers: { accept: "*/*" } }, {}],
      [{ headers: { accept: "text/event-stream" } }, {}],
      [{ headers: { accept: "application/json, text/plain, */*" } }, {}],
    ];
    for (const [how, options] of fitting) {
      const again = await (await scene.join(whole, how, { ...as, ...options })).rest();
      same(again.written, whole.written);
    }
    // Whose it is comes first.
    await (await scene.join(whole, {}, { format: "json" })).problem(404, "not_found");
    const fresh = await scene.start("x", { format: "json", owner: "ann" }, {
      after: `${whole.streamId}.1`,
    });
    await fresh.problem(406, "not_acceptable");
  });
}
