/** How a generation fails, and what its clients are told. */
import assert from "node:assert/strict";
import { StreamError } from "../../../mod.ts";
import { until } from "../../support/serve.ts";
import { Reading, same } from "../../support/event_reader.ts";
import { PATIENCE_MS, type Rule, Tap } from "./rule.ts";

export function failuresRules(rule: Rule): void {
  rule("a failure is logged, final, and has an id", async (scene) => {
    const whole = await scene.start(async function* () {
      yield "a";
      yield "b";
      throw new StreamError("quota", { title: "Come back tomorrow", cause: new Error("secret") });
    });
    await whole.rest();
    assert.equal(whole.end, "whole");
    assert.equal(whole.text, "ab");
    assert.deepEqual(whole.blocks.map(({ event, number }) => [event, number]), [
      ["message", 1],
      ["message", 2],
      ["failed", 3],
    ]);
    const problem = JSON.parse(whole.last.data);
    assert.deepEqual([problem.code, problem.title, problem.resume], [
      "quota",
      "Come back tomorrow",
      undefined,
    ]);
    assert(!whole.body.includes("secret"));
    await scene.ended(whole);
    const again = await (await scene.join(whole, { after: 1 })).rest();
    same(again.written, whole.blocks.slice(1).map(({ text }) => text).join(""));
    assert.equal((await scene.join(whole, { after: 3 })).status, 204);
    const post = await (await scene.join(whole, { after: 3, method: "POST" })).rest();
    same(post.written, whole.last.text);
    assert.equal(await scene.stop(whole), true);
    assert.deepEqual(await scene.closed(), ["failed quota"]);
    assert.equal(scene.errors.length, 1);
  });

  rule("a failure before the head is a status, and nothing of it is kept", async (scene) => {
    for (const [i, code] of ["quota", "internal"].entries()) {
      const streamId = `refused-${i}`;
      const reading = await scene.start(
        () => {
          throw i === 0
            ? new StreamError("quota", { status: 429, retryAfter: 3 })
            : new Error("no");
        },
        { streamId, chatId: "chat" },
      );
      await reading.problem(i === 0 ? 429 : 500, code);
      assert.equal(reading.response.headers.get("retry-after"), i === 0 ? "3" : null);
      assert.equal(reading.response.headers.get("x-stream-id"), null);
      await scene.eventually(
        async () => await scene.elsewhere.find(streamId) === undefined,
        "forgotten",
      );
      await (await scene.join(streamId)).problem(404, "not_found");
      assert.equal((await scene.join(undefined, {}, { chatId: "chat" })).status, 204);
      // The name may be used again.
      const next = await scene.finished(["a"], { streamId: `${streamId}` });
      assert.equal(next.text, "a");
    }
    assert.deepEqual(scene.outcomes, ["failed quota", "completed", "failed internal", "completed"]);
    assert.equal(scene.errors.length, 2);
  });

  rule("a failure after the head and before a token is told in the stream", async (scene) => {
    const tap = new Tap();
    const reading = await scene.start(tap.source, { commitAfterMs: 0 });
    await reading.step();
    tap.queue.fail(new StreamError("quota"));
    await reading.rest();
    assert.deepEqual(reading.blocks.map(({ event, number }) => [event, number]), [["failed", 1]]);
    await scene.ended(reading);
    assert.equal((await scene.join(reading, { after: 1 })).status, 204);
    assert.deepEqual(await scene.closed(), ["failed quota"]);
  });

  rule("what waits before a failure is delivered, to all who read", async (scene) => {
    const tap = new Tap();
    const first = await scene.start(tap.source, { commitAfterMs: 0 });
    await first.step();
    const second = await scene.join(first);
    tap.send("a", { event: "note", data: 1 }, "\ud83d");
    tap.queue.fail(new Error("broken"));
    for (const reading of [first, second]) {
      await reading.rest();
      assert.deepEqual(reading.blocks.map(({ event }) => event), [
        "message",
        "note",
        "message",
        "failed",
      ]);
      assert.equal(reading.text, "a\ud83d");
    }
  });

  rule("a shutdown of its own is a failure that is logged", async (scene) => {
    for (const early of [true, false]) {
      const lives: { shutDown(error: StreamError): void }[] = [];
      const ended: unknown[] = [];
      const tap = new Tap();
      const starting = scene.start(tap.source, { commitAfterMs: 0, streamId: `s${early}` }, {}, {
        observer: {
          onOpen: (live) => void lives.push(live),
          onEnd: (live) => void ended.push(live),
        },
      });
      let first: Reading | undefined;
      if (!early) {
        first = await starting;
        tap.send("a");
        await first.events(1);
        tap.send("b");
      }
      assert.equal(lives.length, 1);
      lives[0]!.shutDown(new StreamError("shutting_down"));
      first = await starting;
      if (early) await first.problem(503, "shutting_down");
      else {
        await first.rest();
        assert.equal(first.text, "ab");
        assert.deepEqual([first.last.event, first.last.number], ["failed", 3]);
        assert.equal(JSON.parse(first.last.data).code, "shutting_down");
        await scene.ended(first);
        same((await (await scene.join(first)).rest()).written, first.written);
      }
      await until(() => ended.length === 1, PATIENCE_MS, "onEnd");
      assert.deepEqual(ended, lives);
      // Again, after the end: nothing.
      lives[0]!.shutDown(new StreamError("shutting_down"));
    }
    assert.deepEqual(await scene.closed(2), ["failed shutting_down", "failed shutting_down"]);
    assert.deepEqual(scene.errors, []);
  });
}
