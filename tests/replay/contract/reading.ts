/** Reading a stream again: from any position, early or late, alone or with others. */
import assert from "node:assert/strict";
import { jsonFormat, textFormat } from "../../../lib/formats/events.ts";
import type { Format, Item, Source } from "../../../mod.ts";
import { hostile, int, random } from "../../support/random.ts";
import { same } from "../../support/event_reader.ts";
import { Counter, KIB, type Rule, Tap, turn } from "./rule.ts";

export function readingRules(rule: Rule): void {
  for (const format of ["json", "text"] as const) {
    rule(`${format}: from each position comes what came after it, byte for byte`, async (scene) => {
      const chance = random(7);
      const items: Item[] = Array.from(
        { length: 60 },
        (_, i) =>
          i % 9 === 4 ? { event: "note", data: hostile(chance, 9) } : `${hostile(chance, 9)}${i}`,
      );
      const whole = await scene.finished(items, { format });
      const { blocks } = whole;
      same(whole.written, blocks.map(({ text }) => text).join(""));
      for (let after = 0; after < blocks.length; after++) {
        const again = await (await scene.join(whole, { after })).rest();
        assert.equal(again.status, 200);
        assert.equal(again.end, "whole");
        same(again.written, blocks.slice(after).map(({ text }) => text).join(""));
      }
      const joined = await (await scene.join(whole)).rest();
      same(joined.written, whole.written);
    });
  }

  rule(
    "a long stream is the same from each position, in whatever pieces it was made",
    async (scene) => {
      const chance = random(11);
      const lengths = [0, 1, 30, 700, 5000, 16_300, 70_000];
      const whole = await scene.start(async function* () {
        for (let i = 0; i < 120; i++) {
          yield `${i} `.padEnd(lengths[int(chance, lengths.length)]!, "é");
          if (chance() < 0.3) await turn();
        }
      });
      await whole.rest();
      await scene.ended(whole);
      const { blocks } = whole;
      assert(whole.written.length > 500 * KIB);
      for (let i = 0; i < 60; i++) {
        const after = int(chance, blocks.length);
        const again = await (await scene.join(whole, { after })).rest();
        assert.equal(again.status, 200);
        same(again.written, blocks.slice(after).map(({ text }) => text).join(""), `after ${after}`);
      }
    },
    { maxStreamBytes: 8 * 1024 * KIB },
  );

  rule("a reader who joins late gets all of it, and goes on with the others", async (scene) => {
    const tap = new Tap();
    const first = await scene.start(async (context) => {
      tap.source(context);
      tap.send("one ");
      await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
    });
    await first.events(1);
    tap.send("two ", "three ");
    await first.events(3);
    const late = await (await scene.join(first)).events(3);
    assert.equal(late.text, "one two three ");
    const later = await scene.join(first, { after: 2 });
    await later.events(1);
    tap.send("four");
    for (const reading of [late, first]) assert.equal((await reading.events(4)).last.number, 4);
    assert.equal((await later.events(2)).text, "three four");
    tap.queue.close();
    for (const reading of [first, late, later]) {
      await reading.rest();
      assert.equal(reading.last.event, "done");
    }
    same(late.written, first.written);
    assert.deepEqual(await scene.closed(), ["completed"]);
  });

  rule("forty readers who come and go as they like all have the same", async (scene) => {
    const chance = random(3);
    const counter = new Counter(300, 2000);
    const first = await scene.start(counter.source, { disconnect: "continue" });
    await first.events(1);
    const readers = await Promise.all(Array.from({ length: 40 }, async (_, i) => {
      const mine: string[] = [];
      let after = 0;
      for (let visit = 0;; visit++) {
        const reading = await scene.join(first, { after, method: i % 2 ? "GET" : "POST" });
        if (reading.status === 204) return mine;
        assert.equal(reading.status, 200);
        const wanted = visit > 5 ? Infinity : int(chance, 400);
        await reading.until(() => reading.blocks.length >= wanted);
        mine.push(...reading.blocks.map(({ text }) => text));
        after += reading.blocks.length;
        if (reading.blocks.at(-1)?.event === "done") return mine;
        await reading.leave();
      }
    }));
    await first.rest();
    same(first.text, counter.text(2000));
    const whole = first.blocks.map(({ text }) => text).join("");
    for (const [i, mine] of readers.entries()) same(mine.join(""), whole, `reader ${i}`);
    assert.equal(counter.starts, 1);
  }, { maxStreamBytes: 8 * 1024 * KIB });

  rule("each token is encoded once, however many read", async (scene) => {
    let encoded = 0;
    const counting: Format = {
      ...jsonFormat,
      name: "counting",
      open(context) {
        const framer = jsonFormat.open(context);
        return {
          token(out, text) {
            encoded++;
            framer.token(out, text);
          },
          structured: (...item) => framer.structured!(...item),
          relayed: (...item) => framer.relayed!(...item),
          end: (...end) => framer.end(...end),
          fail: (...failure) => framer.fail!(...failure),
        };
      },
    };
    const counter = new Counter(40, 1000);
    const first = await scene.start(counter.source, { format: counting });
    const others = await Promise.all(
      Array.from(
        { length: 99 },
        () => scene.join(first, {}, { format: "counting", formats: [counting] }),
      ),
    );
    await Promise.all([first, ...others].map((reading) => reading.rest()));
    for (const reading of others) same(reading.written, first.written);
    same(first.text, counter.text(1000));
    assert.equal(encoded, 1000);
  });

  rule(
    "heartbeats are a reader's own: they come in silence and are not in the log",
    async (scene) => {
      const tap = new Tap();
      const first = await scene.start(tap.source, { heartbeatMs: 100, commitAfterMs: 0 });
      await first.until(() => first.body.length >= 6);
      assert.equal(first.body, ":\n:\n:\n");
      tap.send("a");
      await first.events(1);
      await first.until(() => first.body.endsWith("\n\n:\n"));
      const late = await (await scene.join(first, {}, { heartbeatMs: 100 })).events(1);
      await late.until(() => late.body.endsWith("\n\n:\n"));
      assert.match(late.body, /^:\nid: [^:]+: 1000\ndata: \{"token":"a"\}\n\n(:\n)+$/);
      tap.queue.close();
      await Promise.all([first.rest(), late.rest()]);
      same(first.written, late.written);
    },
  );

  rule("a resumed answer has the stream's headers, the embedder's, and its name", async (scene) => {
    const format: Format = { ...textFormat, name: "own", headers: { "x-format": "own" } };
    const whole = await scene.finished(["a"], { format, headers: { "x-mine": "1" } });
    for (const method of ["GET", "POST", "HEAD"]) {
      const options = { headers: { "x-mine": "2" }, formats: [format] };
      const again = await scene.join(whole, { method }, options);
      assert.equal(again.status, 200);
      const { headers } = again.response;
      assert.equal(headers.get("content-type"), "text/event-stream; charset=utf-8");
      assert.equal(headers.get("cache-control"), "no-cache, no-transform");
      assert.equal(headers.get("x-accel-buffering"), "no");
      assert.equal(headers.get("incremental"), "?1");
      assert.equal(headers.get("x-content-type-options"), "nosniff");
      assert.equal(headers.get("x-format"), "own");
      assert.equal(headers.get("x-mine"), "2");
      assert.equal(headers.get("x-stream-id"), whole.streamId);
      await again.rest();
      assert.equal(again.body === "", method === "HEAD");
    }
  });

  rule(
    "sse() with a Last-Event-ID goes on by itself and never starts its source",
    async (scene) => {
      const options = { owner: "ann", chatId: "chat" };
      const whole = await scene.finished(["a", "b", "c"], options);
      // The latest of the chat is another one by now.
      const other = new Tap();
      const latest = await scene.start(other.source, { ...options, commitAfterMs: 0 });
      const released: string[] = [];
      const sources: Source<undefined>[] = [
        () => assert.fail("it was started"),
        // deno-lint-ignore require-yield
        (async function* () {
          await assert.fail("it was started");
        })(),
        new ReadableStream({ cancel: () => void released.push("stream") }, { highWaterMark: 0 }),
      ];
      for (const source of sources) {
        for (const streamId of [undefined, "a-name-of-its-own"]) {
          for (const method of ["GET", "POST"]) {
            const again = await scene.start(
              source,
              { ...options, ...streamId === undefined ? {} : { streamId } },
              { method, after: `${whole.streamId}.1` },
            );
            await again.rest();
            assert.equal(again.status, 200, again.body);
            same(again.written, whole.blocks.slice(1).map(({ text }) => text).join(""));
          }
        }
      }
      assert.equal(released[0], "stream");
      await (await scene.start(sources[0]!, options, { after: "AAAAAAAAAAAAAAAAAAAAAA.1" }))
        .problem(404, "not_found");
      other.queue.close();
      await latest.rest();
      assert.deepEqual(scene.outcomes, ["completed", "completed"]);
      assert.deepEqual(scene.errors, []);
    },
  );

  rule("a resumed answer of sse() varies by Accept as its first one does", async (scene) => {
    const whole = await scene.finished(["a", "b"]);
    const again = await scene.start("x", {}, { after: `${whole.streamId}.1` });
    assert.equal(whole.response.headers.get("vary"), "Accept");
    assert.equal(again.response.headers.get("vary"), "Accept");
    await again.rest();
  });
}
