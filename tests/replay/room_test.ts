/** The room of a `MemoryLog`: who gives up what when it is full, and who is told what. */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import { MemoryLog, type MemoryLogOptions, resume, sse, type SseOptions } from "../../mod.ts";
import { total } from "../support/child.ts";
import { Reading, same } from "../support/event_reader.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { Counter, KIB, Tap } from "./contract/rule.ts";

const EVENT = "x".repeat(1000);

/** A log on a fake clock, and its streams. */
class Scene {
  readonly clock = new FakeClock();
  readonly log: MemoryLog;
  readonly #open: Reading[] = [];
  readonly #taps: Tap[] = [];

  constructor(options: MemoryLogOptions = {}) {
    this.log = new MemoryLog({ maxStreamBytes: 256 * KIB, ...options, clock: this.clock });
  }

  /** Starts a stream. It goes on without a reader, and no reader is dropped for being slow. */
  async start(source: Tap | Counter, options: SseOptions = {}): Promise<Reading> {
    if (source instanceof Tap) this.#taps.push(source);
    const request = new Request("http://localhost/", { method: "POST" });
    const { log, clock } = this;
    const reading = new Reading(
      await sse(request, source.source, {
        ...{ log, clock, disconnect: "continue", heartbeatMs: 0, stallMs: 0, commitAfterMs: 0 },
        ...options,
      }),
    );
    this.#open.push(reading);
    return reading;
  }

  /** A stream of a source that does not wait, with `count` KiB of events. */
  async long(count: number, options: SseOptions = {}): Promise<{ tap: Tap; reading: Reading }> {
    const tap = new Tap();
    const reading = await this.start(tap, options);
    await this.send(tap, count);
    return { tap, reading };
  }

  async send(tap: Tap, count: number): Promise<void> {
    for (let i = 0; i < count; i++) tap.send(EVENT);
    await this.clock.advance(1);
  }

  async join(streamId: string, after = 0, owner?: string): Promise<Reading> {
    const headers = { "last-event-id": `${streamId}.${after}` };
    const request = new Request("http://localhost/", { headers });
    const { log, clock } = this;
    const options = { log, clock, stallMs: 0, ...owner === undefined ? {} : { owner } };
    const reading = new Reading(await resume(request, options));
    this.#open.push(reading);
    return reading;
  }

  /** Number of the first event of a stream that is held. */
  async firstEvent({ streamId }: Reading): Promise<number | undefined> {
    return (await this.log.find(streamId))?.firstEvent;
  }

  async end(): Promise<void> {
    for (const { queue } of this.#taps) queue?.close();
    for (const reading of this.#open) await reading.leave();
    await this.clock.advance(1);
  }
}

function sceneTest(
  name: string,
  options: MemoryLogOptions,
  run: (scene: Scene) => Promise<void>,
): void {
  test(name, async () => {
    const before = total(active);
    const scene = new Scene(options);
    try {
      await run(scene);
    } finally {
      await scene.end();
    }
    assert.equal(total(active), before, JSON.stringify(active));
    // All that was held is given back when it is over.
    await scene.clock.advance(300_001);
    assert.deepEqual([scene.log.size, scene.log.bytes], [0, 0]);
  });
}

sceneTest(
  "300 stalled readers of long answers do not keep others out",
  { maxBytes: 48 * 1024 * KIB },
  async (scene) => {
    const stalled = await Promise.all(Array.from({ length: 300 }, () => scene.long(240)));
    assert(scene.log.bytes > 47 * 1024 * KIB, `${scene.log.bytes} bytes`);
    // Nobody has stalled before 5 s are over: the rest of the room is taken, and then it is full.
    let refused = await scene.start(new Tap());
    for (let i = 0; i < 1000 && refused.status === 200; i++) {
      refused = await scene.start(new Tap());
    }
    await refused.problem(503, "log_full");
    const before = await Promise.all(stalled.map(({ reading }) => scene.firstEvent(reading)));
    await scene.clock.advance(7000);
    const counter = new Counter(1000, 100);
    const next = await (await scene.start(counter)).rest();
    assert.equal(next.status, 200);
    same(next.text, counter.text(100));
    const firsts = await Promise.all(stalled.map(({ reading }) => scene.firstEvent(reading)));
    const gaveUp = firsts.filter((first, i) => first! > before[i]!).length;
    assert(gaveUp >= 1 && gaveUp < 4, `${gaveUp} gave up, and as few as that are needed`);
    // More of them come, and each stalled one keeps its part.
    for (let i = 0; i < 5; i++) {
      await Promise.all(Array.from({ length: 20 }, () => scene.long(120)));
    }
    assert(scene.log.bytes <= 48 * 1024 * KIB, `${scene.log.bytes} bytes`);
    for (const [i, { reading }] of stalled.entries()) {
      // Before any had stalled, the last ones had to give up their own.
      if (before[i]! > 1) continue;
      const held = (await scene.log.find(reading.streamId))!;
      const count = held.lastEvent - held.firstEvent + 1;
      assert(count >= 100, `${count} events are left`);
    }
  },
);

sceneTest(
  "a reader that comes to what was given up is told lagged, and who comes back 410",
  { maxBytes: 512 * KIB },
  async (scene) => {
    const { reading, tap } = await scene.long(200);
    await scene.clock.advance(7000);
    const fill = await scene.long(200);
    await fill.reading.events(200);
    await scene.send(fill.tap, 30);
    await fill.reading.events(230);
    assert.equal(await scene.firstEvent(reading), 1);
    const more = await scene.long(100);
    await more.reading.events(100);
    const first = (await scene.firstEvent(reading))!;
    assert(first > 70 && first < 140, `${first}`);
    await reading.rest();
    assert.equal(reading.last.event, "failed");
    const { code, resume, status } = JSON.parse(reading.last.data);
    assert.deepEqual([code, resume, status], ["lagged", true, 503]);
    assert.equal(reading.last.id, undefined);
    await (await scene.join(reading.streamId, first - 2)).problem(410, "gone");
    await (await scene.join(reading.streamId)).problem(410, "gone");
    const back = await scene.join(reading.streamId, first - 1);
    tap.queue.close();
    await back.rest();
    assert.deepEqual([back.blocks[0]!.number, back.last.event], [first, "done"]);
    assert.equal(back.blocks.length, 200 - first + 2);
  },
);

sceneTest(
  "the longest stalled gives up first, and nobody who takes something or waits for the source",
  { maxBytes: 1024 * KIB },
  async (scene) => {
    // It is up to date, and its source is silent.
    const waiting = await scene.long(200);
    await waiting.reading.events(200);
    const older = await scene.long(200);
    await scene.clock.advance(1500);
    const younger = await scene.long(200);
    // It takes a chunk now and then.
    const slow = await scene.long(200);
    for (let i = 0; i < 3; i++) {
      await scene.clock.advance(2500);
      await slow.reading.step();
    }
    const firsts = () =>
      Promise.all([older, younger, slow, waiting].map(({ reading }) => scene.firstEvent(reading)));
    const fill = await scene.long(100);
    await fill.reading.events(100);
    assert.deepEqual(await firsts(), [1, 1, 1, 1]);
    await scene.send(fill.tap, 90);
    await fill.reading.events(190);
    const [first, ...others] = await firsts();
    assert(first! > 1, "the older one gives up");
    assert.deepEqual(others, [1, 1, 1]);
    const more = await scene.long(130);
    await more.reading.events(130);
    const [, second, ...taking] = await firsts();
    assert(second! > 1, "then the younger one");
    assert.deepEqual(taking, [1, 1]);
  },
);

sceneTest(
  "a stream without a reader gives up at once, and its source waits until somebody reads",
  { maxBytes: 560 * KIB },
  async (scene) => {
    const counter = new Counter(1000, 1000);
    const first = await scene.start(counter, { highWaterMark: 16 * KIB });
    await first.events(1);
    await first.leave();
    await counter.waits();
    const { made } = counter;
    assert(made > 140 && made < 256, `${made} tokens`);
    const other = await scene.long(200);
    await other.reading.events(200);
    assert.equal(await scene.firstEvent(first), 1);
    const third = await scene.long(200);
    await third.reading.events(200);
    const held = (await scene.firstEvent(first))!;
    assert(held > 1 && held <= made - 90, `${held} of ${made}`);
    assert.equal(await scene.firstEvent(other.reading), 1);
    // It does not run on to give up more.
    await scene.clock.advance(20_000);
    assert.equal(counter.made, made);
    assert.equal(await scene.firstEvent(first), held);
    // Nor does it for a reader that takes nothing.
    await (await scene.join(first.streamId, held - 1)).leave();
    await counter.waits();
    assert.equal(counter.made, made);
    const back = await (await scene.join(first.streamId, held - 1)).rest();
    assert.equal(back.last.event, "done");
    same(back.text, counter.text(1000).slice((held - 1) * 1000));
  },
);

sceneTest(
  "a reader that goes on gives its stream its whole room back",
  { maxBytes: 512 * KIB },
  async (scene) => {
    const { reading, tap } = await scene.long(200);
    await scene.clock.advance(7000);
    const fill = [await scene.long(150), await scene.long(150)];
    const first = (await scene.firstEvent(reading))!;
    assert(first > 1);
    for (const { tap, reading } of fill) {
      tap.queue.close();
      await reading.rest();
    }
    const back = await scene.join(reading.streamId, first - 1);
    await back.until(() => back.blocks.at(-1)?.number === 200);
    await scene.clock.advance(2000);
    await scene.send(tap, 60);
    await back.until(() => back.blocks.at(-1)?.number === 260);
    assert.equal(await scene.firstEvent(reading), first);
  },
);

sceneTest(
  "one owner holds a quarter of the log at most: others are served meanwhile",
  { maxBytes: 1024 * KIB },
  async (scene) => {
    const owned = (owner: string): SseOptions => ({ owner });
    const done = new Counter(1000, 60);
    const finished = await (await scene.start(done, owned("bob"))).rest();
    const early = await (await scene.start(new Counter(1000, 60), owned("ann"))).rest();
    const lives = [];
    for (let i = 0; i < 3; i++) {
      const live = await scene.long(70, owned("ann"));
      await live.reading.events(70);
      lives.push(live);
    }
    // Her own finished stream went, and nobody else's.
    assert.equal(await scene.firstEvent(early), undefined);
    same((await (await scene.join(finished.streamId, 0, "bob")).rest()).text, done.text(60));
    // Her live ones have the quarter: they are short, and have nothing to give up.
    const more = await scene.long(50, owned("ann"));
    await more.reading.events(1);
    const refused = await scene.start(new Counter(1, 1), owned("ann"));
    await refused.problem(429, "log_full");
    assert.match(refused.response.headers.get("retry-after") ?? "", /^\d+$/);
    assert(scene.log.bytes < 400 * KIB, `${scene.log.bytes} bytes`);
    for (const owner of ["bob", undefined]) {
      const served = await scene.start(new Counter(1000, 200), owner ? owned(owner) : {});
      same((await served.rest()).text, new Counter(1000).text(200));
    }
    // One of hers ends: there is room for the next.
    lives[0]!.tap.queue.close();
    await lives[0]!.reading.rest();
    assert.equal((await (await scene.start(new Counter(1, 1), owned("ann"))).rest()).status, 200);
  },
);
