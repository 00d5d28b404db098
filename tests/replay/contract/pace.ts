/** Who holds back whom: the source, the log and clients at every pace. */
import assert from "node:assert/strict";
import { active } from "../../../lib/counters.ts";
import { int, random } from "../../support/random.ts";
import { until } from "../../support/serve.ts";
import { same } from "../../support/event_reader.ts";
import {
  assertContiguous,
  Counter,
  KIB,
  PATIENCE_MS,
  type Rule,
  sleep,
  SMALL,
  Tap,
  turn,
} from "./rule.ts";

export function paceRules(rule: Rule): void {
  rule(
    "the source waits for its readers, a high-water mark ahead of the fastest",
    async (scene) => {
      const counter = new Counter(1000);
      const highWaterMark = 16 * KIB;
      const first = await scene.start(counter.source, { highWaterMark });
      await counter.waits();
      const most = 2 * highWaterMark + 64 * KIB;
      assert(counter.bytes > 8 * KIB && counter.bytes <= most, `${counter.bytes} bytes`);
      const slow = await scene.join(first);
      await slow.events(1);
      await counter.waits();
      const had = counter.bytes;
      assert(had <= most + 64 * KIB, `${had} bytes with one chunk read`);
      // One reads on: the other holds nobody up.
      await first.until(() => first.blocks.length >= 400);
      await counter.waits();
      assert(
        counter.made >= 400 && counter.bytes <= 400 * 1000 + most + 64 * KIB,
        `${counter.made}`,
      );
      // The fastest leaves: the slow one sets the pace, which is far behind.
      await first.leave();
      const { made } = counter;
      await sleep(50);
      assert(counter.made - made <= 2, `${counter.made - made} more`);
      await slow.until(() => slow.blocks.length >= made + 10);
      same(slow.text, counter.text(slow.blocks.length));
      assert(counter.made > made);
      assert.equal(await scene.stop(first), true);
      await slow.rest();
      same(slow.text, counter.text(slow.blocks.length - 1));
    },
  );

  rule("without a reader the source runs until the log is full, and then waits", async (scene) => {
    const counter = new Counter(1000, 1000);
    const first = await scene.start(counter.source, { disconnect: "continue" });
    await first.events(1);
    await first.leave();
    await counter.waits();
    assert(counter.bytes >= 32 * KIB && counter.bytes <= 128 * KIB, `${counter.bytes} bytes`);
    const waiting = counter.made;
    await sleep(50);
    assert.equal(counter.made, waiting);
    assert.deepEqual(scene.outcomes, []);
    // Nothing was given up: all of it is there for who comes back.
    const back = await (await scene.join(first)).rest();
    same(back.text, counter.text(1000));
    assert.equal(back.last.event, "done");
    assert.deepEqual(await scene.closed(), ["completed"]);
  }, SMALL);

  rule("many small events fill a log as well as large ones", async (scene) => {
    const counter = new Counter(4, 20_000);
    const first = await scene.start(counter.source, {
      disconnect: "continue",
      format: "text",
      streamId: "s",
    });
    await first.step();
    await first.leave();
    await counter.waits();
    assert(counter.made <= 10_000, `${counter.made} events`);
    const back = await (await scene.join(first)).rest();
    assert.equal(back.last.number, 20_001);
    assertContiguous(back);
  }, { maxStreamEvents: 10_000 });

  const tight = [
    ["a high-water mark above the log's size", SMALL, { highWaterMark: 1024 * KIB }],
    ["few events in the log", { maxStreamEvents: 10_000 }, {}],
  ] as const;
  for (const [what, limits, options] of tight) {
    rule(
      `a source that can wait leaves its only reader nothing to miss: ${what}`,
      async (scene) => {
        const all = { ...options, format: "text", disconnect: "continue" } as const;
        const counter = new Counter(2, 60_000);
        const first = await scene.start(counter.source, { ...all, streamId: "s" });
        for (let i = 0; i < 6; i++) {
          await counter.waits();
          await first.step();
        }
        const halfway = first.blocks.length;
        assert(halfway > 2000 && halfway < 50_000, `${halfway}`);
        // Stopped while it is held back, by a reader that takes nothing and by a log that is full.
        const held = await Promise.all(["t", "u"].map(async (streamId) => {
          const endless = new Counter(2);
          const reading = await scene.start(endless.source, { ...all, streamId });
          await reading.step();
          if (streamId === "u") await reading.leave();
          await endless.waits();
          await scene.stop(reading);
          await scene.ended(reading);
          return streamId === "u" ? scene.join(reading) : reading;
        }));
        for (const reading of [first, ...held]) {
          await reading.rest();
          assert.equal(reading.last.event, "done", reading.last.text);
          assertContiguous(reading);
        }
        assert.equal(first.blocks.length, 60_001);
      },
      limits,
    );
  }

  rule(
    "a flood that does not wait trims the log: who is behind is told, and no text is wrong",
    async (scene) => {
      const tap = new Tap();
      const first = await scene.start(tap.source, { commitAfterMs: 0 });
      const slow = await scene.join(first);
      await Promise.all([first.step(), slow.step()]);
      const tokens = Array.from({ length: 3000 }, (_, i) => `${i} `.padEnd(100 + i % 300, "y"));
      let fast = Promise.resolve();
      for (let i = 0; i < tokens.length; i += 100) {
        tap.send(...tokens.slice(i, i + 100));
        fast = fast.then(() => first.events(i + 100)).then(() => {});
        await fast;
        if (i === 300) await slow.step();
      }
      same(first.text, tokens.join(""));
      // It had a chunk of whole events, and then a failure of its own.
      const had = slow.blocks.length;
      assert(had > 0 && had < 1000, `${had} events`);
      await slow.rest();
      assert.equal(slow.end, "whole");
      const { blocks } = slow;
      assert.equal(slow.last.event, "failed");
      assert.equal(slow.last.id, undefined);
      const problem = JSON.parse(slow.last.data);
      assert.deepEqual([problem.code, problem.resume, problem.status], ["lagged", true, 503]);
      assert.deepEqual(blocks.slice(0, -1), first.blocks.slice(0, blocks.length - 1));
      // Its position is gone, and the start as well; what is held is exact.
      await (await scene.join(first, { after: slow.lastId! })).problem(410, "gone");
      await (await scene.join(first)).problem(410, "gone");
      await (await scene.join(first, { after: 0, method: "POST" })).problem(410, "gone");
      // A shared log trims with each batch that it is sent: the last one has to be there.
      const held = async () => (await scene.elsewhere.find(first.streamId))!;
      await scene.eventually(
        async () => (await held()).lastEvent === tokens.length,
        "all events",
      );
      const { firstEvent } = await held();
      assert(firstEvent > had);
      await (await scene.join(first, { after: firstEvent - 2 })).problem(410, "gone");
      const back = await scene.join(first, { after: firstEvent - 1 });
      tap.queue.close();
      await Promise.all([first.rest(), back.rest()]);
      same(
        back.written,
        first.blocks.slice(firstEvent - 1).map(({ text }) => text).join(""),
      );
      await scene.ended(first);
      await (await scene.join(first)).problem(410, "gone");
      assert.deepEqual(await scene.closed(), ["completed"]);
      assert.deepEqual(scene.errors, []);
    },
    SMALL,
  );

  for (const length of [90, 1500, 40_000, 300_000]) {
    rule(
      `a reader that is left behind by tokens of ${length} bytes has whole events, then lagged`,
      async (scene) => {
        const tap = new Tap();
        const first = await scene.start(tap.source, { format: "text", commitAfterMs: 0 });
        const count = Math.max(4, Math.ceil(200_000 / length));
        const tokens = (from: number) =>
          Array.from({ length: count }, (_, i) => `${from + i} `.padEnd(length, "z"));
        await first.step();
        tap.send(...tokens(0));
        await turn();
        await first.step();
        await first.step();
        const { body } = first;
        for (let i = 1; i < 4; i++) {
          tap.send(...tokens(i * count));
          await turn();
        }
        tap.queue.close();
        await first.rest();
        assert.equal(body, first.body.slice(0, body.length));
        if (first.last.event === "done") assert.equal(first.blocks.length, 4 * count + 1);
        else assert.equal(JSON.parse(first.last.data).code, "lagged");
        for (const [i, { event, data, number }] of first.blocks.slice(0, -1).entries()) {
          assert.equal(event, "message");
          assert.equal(number, i + 1);
          assert.equal(data, `${i} `.padEnd(length, "z"));
        }
        assert(first.body.endsWith("\n\n"));
      },
      SMALL,
    );
  }

  rule(
    "a reader that stalls is dropped, and the generation and its others are not",
    async (scene) => {
      const tap = new Tap();
      const first = await scene.start(tap.source, { commitAfterMs: 0, stallMs: 200 });
      tap.send("a");
      await first.events(1);
      const steady = await scene.join(first, {}, { stallMs: 200 });
      await steady.events(1);
      // The first takes nothing more; the second reads on.
      const readers = active.readers;
      const reading = (async () => {
        for (let i = 0; active.readers === readers; i++) {
          tap.send(`${i} `);
          await steady.events(i + 2);
          await sleep(5);
        }
      })();
      await until(() => active.readers < readers, PATIENCE_MS, "the first is dropped");
      await reading;
      assert.equal(tap.signal.aborted, false);
      assert.deepEqual(scene.outcomes, []);
      tap.send("b");
      tap.queue.close();
      await steady.rest();
      assert.equal(steady.last.event, "done");
      // What it was given before is exact, and it can come back for the rest.
      await first.rest();
      const had = first.blocks.length;
      assert(had >= 1 && had < steady.blocks.length);
      const back = await (await scene.join(first, { after: first.lastId! })).rest();
      assert.equal(first.text + back.text, steady.text);
      assert.deepEqual(await scene.closed(), ["completed"]);
    },
  );

  rule("the last reader that stalls begins the grace", async (scene) => {
    const counter = new Counter(1000);
    await scene.start(counter.source, { stallMs: 100, disconnect: { continueForMs: 100 } });
    await until(() => counter.signal?.aborted === true, PATIENCE_MS, "the source is let go");
    assert.equal(counter.signal!.reason.code, "stalled");
    assert.deepEqual(await scene.closed(), ["cancelled stalled"]);
  });

  rule("a reader that fell behind and then takes nothing has stalled", async (scene) => {
    const tap = new Tap();
    const options = { commitAfterMs: 0, stallMs: 300, disconnect: "cancel" as const };
    await scene.start(tap.source, options);
    // The log trims its oldest, which this reader has not taken.
    for (let i = 0; i < 300; i++) tap.send("x".repeat(1000));
    await until(() => tap.signal.aborted, PATIENCE_MS, "the source is let go");
    assert.equal(tap.signal.reason.code, "stalled");
    assert.deepEqual(await scene.closed(), ["cancelled stalled"]);
  }, SMALL);

  rule("readers at every pace beside a flood: each exact, or told", async (scene) => {
    const chance = random(5);
    const first = await scene.start(async ({ queue }) => {
      for (let i = 0; i < 400; i++) {
        for (let j = 0; j < 10; j++) queue.send(`${i * 10 + j} `.padEnd(20 + int(chance, 200)));
        await turn();
      }
    }, { disconnect: "continue" });
    const readers = await Promise.all(Array.from({ length: 12 }, () => scene.join(first)));
    const ends = await Promise.all([first, ...readers].map(async (reading, i) => {
      while (reading.end === undefined) {
        await reading.step();
        for (let pause = i * 2; pause > 0 && chance() < 0.8; pause--) await turn();
      }
      const told = reading.last.event === "done"
        ? "done"
        : JSON.parse(reading.last.data).code as string;
      const { blocks } = reading;
      assert(["done", "lagged"].includes(told), told);
      assert.deepEqual(
        blocks.slice(0, -1).map(({ number }) => number),
        blocks.slice(1).map((_, at) => at + 1),
      );
      assert.deepEqual(
        (reading.text.match(/\d+/g) ?? []).map(Number),
        blocks.slice(1).map((_, at) => at),
      );
      return told;
    }));
    assert(ends.includes("done"), `${ends}`);
    assert.deepEqual(await scene.closed(), ["completed"]);
  }, SMALL);
}
