/**
 * `Generation` without a reader: how it ends, whoever ends it and when, and what its outlet is given.
 * What a reader sees of it is in the tests of `sse()` and of the logs.
 */
import assert from "node:assert/strict";
import test, { afterEach } from "node:test";
import { active } from "../../lib/counters.ts";
import { EventIds } from "../../lib/sse/event_ids.ts";
import { StreamError } from "../../lib/error.ts";
import type { Format } from "../../lib/formats/format.ts";
import { jsonFormat } from "../../lib/formats/events.ts";
import { plainFormat } from "../../lib/formats/plain.ts";
import { Generation, type StreamReport } from "../../lib/pipeline/generation.ts";
import type { Sink } from "../../lib/pipeline/byte_producer.ts";
import type { Source, SourceContext } from "../../lib/pipeline/pump.ts";
import type { Item } from "../../lib/item.ts";
import { AsyncQueue, type AsyncQueueOptions } from "../../lib/pipeline/queue.ts";
import { total } from "../support/child.ts";
import { blocksOf, textOf } from "../support/event_reader.ts";
import { until } from "../support/serve.ts";

const decoder = new TextDecoder();
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

/** A sink that takes what the test takes. */
class Tray implements Sink {
  bounded = true;
  pressure = (bytes: number) => bytes;
  wakes = 0;
  flushes = 0;
  onFlush = () => {};

  wake(): void {
    this.wakes++;
  }

  flush(): void {
    this.flushes++;
    this.onFlush();
  }
}

interface SceneOptions extends AsyncQueueOptions {
  format?: Format;
  resumable?: boolean;
}

/** A generation, the queue that it gives its source, and what was told of it. */
class Scene {
  readonly tray = new Tray();
  readonly reports: StreamReport[] = [];
  readonly errors: unknown[] = [];
  readonly generation: Generation;
  context!: SourceContext;
  written = "";

  constructor(
    source?: Source<undefined>,
    { format = jsonFormat, resumable = false, ...limits }: SceneOptions = {},
  ) {
    const keep = (context: SourceContext) => void (this.context = context);
    this.generation = new Generation(
      {
        request: new Request("http://localhost/"),
        source: (source ?? keep) as Source<never>,
        format,
        options: {
          ...limits,
          onClose: (report) => void this.reports.push(report),
          onError: (error) => void this.errors.push(error),
        },
        input: undefined,
        lastEventId: undefined,
        streamId: "s",
      },
      this.tray,
      resumable ? new EventIds("s", format.retryMs, false) : undefined,
    );
  }

  get queue(): AsyncQueue<Item> {
    return this.generation.queue;
  }

  /** Takes what waits, as an outlet does. */
  take(): string {
    let taken = "";
    this.generation.lend({
      borrow: (bytes, length) => void (taken = decoder.decode(bytes.subarray(0, length))),
    });
    this.generation.drained();
    this.written += taken;
    return taken;
  }

  /** Ends it as an outlet does once its source has ended. */
  conclude(): void {
    assert(this.generation.conclude());
    this.take();
    this.generation.end("completed");
  }

  /** The events that were taken. */
  get events(): [event: string, number: number | undefined][] {
    return blocksOf(this.written).blocks.map(({ event, number }) => [event, number]);
  }

  get text(): string {
    return textOf(blocksOf(this.written).blocks);
  }

  /** How it ended: once, or not at all. */
  get end(): string | undefined {
    assert(this.reports.length <= 1, "onClose more than once");
    const [report] = this.reports;
    return report && [report.outcome, report.code].filter(Boolean).join(" ");
  }
}

afterEach(async () => {
  await until(() => total(active) === 0, 1000, "nothing left").catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(active)}`);
  });
});

/** Each way to an end: what the source or somebody else does, and what comes of it. */
interface Way {
  do: (scene: Scene) => void;
  /** As told to `onClose`. */
  end: string;
  /** Whether it is no fault of anybody's, and so no refusal before the first item. */
  normal?: true;
  /** The last event in the `json` format. */
  event: "done" | "failed";
  reported: number;
}
const WAYS: Record<string, Way> = {
  "its source closes": {
    do: ({ queue }) => queue.close(),
    end: "completed",
    normal: true,
    event: "done",
    reported: 0,
  },
  "its source fails": {
    do: ({ queue }) => queue.fail(new StreamError("quota")),
    end: "failed quota",
    event: "failed",
    reported: 1,
  },
  "its source fails with anything else": {
    do: ({ queue }) => queue.fail("broken"),
    end: "failed internal",
    event: "failed",
    reported: 1,
  },
  "somebody cancels its queue": {
    do: ({ queue }) => queue.cancel(new StreamError("quota")),
    end: "failed quota",
    event: "failed",
    reported: 1,
  },
  "somebody stops it": {
    do: ({ generation }) => generation.stop("enough"),
    end: "cancelled stopped",
    normal: true,
    event: "done",
    reported: 0,
  },
  "nobody reads on": {
    do: ({ generation }) => generation.abandon("disconnected"),
    end: "cancelled disconnected",
    event: "failed",
    reported: 0,
  },
  "the server leaves": {
    do: ({ generation }) => generation.fail(new StreamError("shutting_down")),
    end: "failed shutting_down",
    event: "failed",
    reported: 0,
  },
};

for (const [name, way] of Object.entries(WAYS)) {
  for (const resumable of [false, true]) {
    const kind = resumable ? "recorded" : "its reader's own";
    test(`a generation ends when ${name}, before and after its first item: ${kind}`, async () => {
      for (const tokens of [0, 1, 3]) {
        const scene = new Scene(undefined, { resumable });
        scene.generation.start();
        await turn();
        assert.deepEqual([active.streams, active.sources], [1, 1]);
        for (let i = 0; i < tokens; i++) scene.queue.send(`${i}`);
        scene.take();
        assert.equal(scene.generation.conclude(), false);
        assert.equal(scene.generation.over, false);
        const { wakes } = scene.tray;
        way.do(scene);
        assert(scene.tray.wakes > wakes, "the outlet is woken");
        assert.equal(scene.generation.over, true);
        const phase = tokens === 0 && !way.normal ? "rejected" : "ended";
        assert.equal(scene.generation.phase, phase);
        assert.equal(scene.end, undefined, "it ends when its last byte was taken");
        assert.equal(scene.generation.conclude(), true);
        const { waiting } = scene.generation;
        assert(waiting > 0);
        // A second time, nothing is added.
        assert.equal(scene.generation.conclude(), true);
        assert.equal(scene.generation.waiting, waiting);
        scene.conclude();
        assert.equal(scene.end, way.end);
        assert.equal(scene.errors.length, way.reported);
        assert.equal(scene.events.at(-1)?.[0], way.event);
        assert.equal(scene.text, "012".slice(0, tokens));
        if (resumable) {
          const numbers = scene.events.map(([, number]) => number);
          assert.deepEqual(numbers, numbers.map((_, i) => i + 1));
          assert.equal(scene.generation.endEvent, tokens + 1);
        }
        assert.equal(scene.written.includes(":\n"), !resumable, "heartbeats are not in a log");
        assert.equal(scene.reports[0]!.tokens, tokens);
        assert.equal(scene.reports[0]!.bytes, new TextEncoder().encode(scene.written).length);
        const signal = scene.context.signal;
        assert.equal(signal.aborted, way.end !== "completed");
        assert.deepEqual([active.streams, active.sources], [0, 0]);
        // Whatever comes now is too late.
        for (const late of Object.values(WAYS)) late.do(scene);
        scene.generation.end("failed", new Error("late"));
        assert.equal(await scene.queue.send("late"), false);
        assert.equal(scene.end, way.end);
      }
    });
  }
}

test("whatever comes first is the end, in any order of any two", async () => {
  for (const [first, one] of Object.entries(WAYS)) {
    for (const [second, other] of Object.entries(WAYS)) {
      const scene = new Scene(undefined, { resumable: true });
      scene.generation.start();
      await turn();
      scene.queue.send("text");
      one.do(scene);
      other.do(scene);
      scene.conclude();
      const where = `${first}, then ${second}`;
      // A cancel of the queue is the one that may come after: it drops what waits.
      if (second !== "somebody cancels its queue") {
        assert.equal(scene.end, one.end, where);
        assert.equal(scene.events.at(-1)?.[0], one.event, where);
      }
      const numbers = scene.events.map(([, number]) => number);
      assert.deepEqual(numbers, numbers.map((_, i) => i + 1), where);
    }
  }
});

test("a queue that is cancelled drops what waits, and no number with it", async () => {
  const own = new AsyncQueue<Item>();
  for (const isOwn of [false, true]) {
    const scene = new Scene(isOwn ? own : undefined, { resumable: true });
    scene.generation.start();
    await turn();
    const queue = isOwn ? own : scene.queue;
    queue.send("one");
    scene.take();
    queue.send("two");
    queue.send("three");
    queue.cancel(new StreamError("quota"));
    scene.conclude();
    assert.deepEqual(scene.events, [["message", 1], ["failed", 2]]);
    assert.equal(scene.generation.endEvent, 2);
  }
});

test("an item that cannot be sent leaves no number behind", async () => {
  for (const broken of [{ event: "a\nb", data: 1 }, { event: "done", data: 1 }, 5, { data: 1n }]) {
    const scene = new Scene(undefined, { resumable: true });
    scene.generation.start();
    await turn();
    scene.queue.send("one");
    scene.queue.send(broken as Item);
    scene.conclude();
    assert.deepEqual(scene.events, [["message", 1], ["failed", 2]]);
    assert.equal(scene.errors.length, 1);
  }
});

test("a summary that cannot be sent is a failure in the end's place", async () => {
  const scene = new Scene(undefined, { resumable: true });
  scene.generation.start();
  await turn();
  scene.queue.send("one");
  scene.queue.close({ usage: { tokens: 1n } });
  scene.conclude();
  assert.deepEqual(scene.events, [["message", 1], ["failed", 2]]);
  assert.equal(scene.generation.endEvent, 2);
  assert.equal(scene.end, "failed internal");
});

test("half a pair that waits is text, and the end begins after it", async () => {
  const scene = new Scene(undefined, { resumable: true });
  scene.generation.start();
  await turn();
  scene.queue.send("a\ud83d");
  scene.queue.close();
  scene.conclude();
  assert.deepEqual(scene.events, [["message", 1], ["message", 2], ["done", 3]]);
  assert.equal(scene.text, "a\ud83d");
  assert.equal(scene.generation.endEvent, 3);
});

test("a generation that never starts lets its source go, and says why", async () => {
  let returned = 0;
  const iterable = {
    next: () => assert.fail("it was started"),
    return: () => ({ done: true as const, value: returned++ }),
    [Symbol.iterator]() {
      return this;
    },
  };
  const scene = new Scene(iterable as unknown as Iterable<string>);
  scene.generation.end("cancelled", new StreamError("disconnected"));
  assert.equal(scene.end, "cancelled disconnected");
  assert.equal(returned, 1);
  scene.generation.end("failed", new Error("late"));
  assert.equal(scene.end, "cancelled disconnected");
  await turn();
});

test("an end from outside drops what waits and lets the source go", async () => {
  let finished = false;
  const scene = new Scene(async function* () {
    try {
      for (;;) yield "x";
    } finally {
      finished = true;
    }
  });
  scene.generation.start();
  await until(() => scene.generation.waiting > 1000, 1000, "some text");
  scene.generation.end("failed", new Error("the sink broke"));
  assert.equal(scene.generation.waiting, 0);
  assert.equal(scene.end, "failed internal");
  assert.equal(scene.errors.length, 1);
  await until(() => finished, 1000, "its finally");
});

test("a queue of the source's own ends as the context's does", async () => {
  for (const [name, { do: act, end }] of Object.entries(WAYS)) {
    if (name.startsWith("its source") || name.includes("queue")) continue;
    const own = new AsyncQueue<Item>();
    const scene = new Scene(() => own, { resumable: true });
    scene.generation.start();
    await turn();
    own.send("one");
    act(scene);
    assert.equal(own.closed, true, name);
    scene.conclude();
    assert.equal(scene.end, end, name);
    assert.equal(own.signal.aborted, true, name);
    assert.equal(scene.text, "one");
  }
});

// The pace

test("an outlet is woken by the first item, and then only where nothing waited", async () => {
  const scene = new Scene();
  scene.generation.start();
  await turn();
  scene.take();
  const { tray } = scene;
  const { wakes } = tray;
  for (let i = 0; i < 5; i++) scene.queue.send("x");
  assert.equal(tray.wakes, wakes + 1);
  scene.take();
  for (let i = 0; i < 5; i++) scene.queue.send("x");
  assert.equal(tray.wakes, wakes + 2);
  scene.queue.close();
  scene.conclude();
});

test("a sink without bounds is told to take at 64 KiB, and holds back by its pressure", async () => {
  const scene = new Scene(undefined, { resumable: true });
  const { tray } = scene;
  tray.bounded = false;
  tray.onFlush = () => scene.take();
  scene.generation.start();
  await turn();
  for (let i = 0; i < 5000; i++) void scene.queue.send("x".repeat(1000));
  assert(tray.flushes > 70 && tray.flushes < 90, `${tray.flushes} times`);
  assert(scene.generation.waiting < 66 * 1024);
  assert.equal(scene.generation.over, false, "it is no overflow");
  scene.take();
  tray.pressure = () => Infinity;
  let isSent = false;
  const sent = scene.queue.send("held").then((answer) => isSent = answer);
  await turn();
  assert.equal(isSent, false);
  assert.equal(active.waiters, 1);
  scene.take();
  assert.equal(await sent, true);
  scene.queue.close();
  scene.conclude();
  assert.equal(scene.events.length, 5002);
});

test("an outlet with bounds overflows, and is still given what waits", async () => {
  const scene = new Scene(undefined, { highWaterMark: 1000, maxBufferedBytes: 10_000 });
  scene.generation.start();
  await turn();
  for (let i = 0; i < 100; i++) void scene.queue.send("x".repeat(1000));
  assert.equal(scene.end, "failed overflow", "the producer is told at once");
  scene.conclude();
  assert.equal(scene.events.at(-1)?.[0], "failed");
  assert.equal(scene.events.length, 11);
  assert.equal(scene.end, "failed overflow");
  assert.equal(scene.errors.length, 1);
});

test("the pressure of a sink makes a source's turn longer, and no more than that", async () => {
  for (const [less, most] of [[1, 1100], [4, 4400]] as const) {
    let made = 0;
    const scene = new Scene(
      function* () {
        for (;; made++) yield "x".repeat(100);
      },
      { highWaterMark: 1000, resumable: true },
    );
    scene.tray.pressure = (bytes) => bytes / less;
    scene.generation.start();
    await turn();
    const { waiting } = scene.generation;
    assert(waiting >= most - 400 && waiting <= most, `${waiting} bytes`);
    scene.generation.stop();
    scene.conclude();
  }
});

// What a format cannot tell

test("what a format cannot tell is for the outlet to break off with", async () => {
  const scene = new Scene(undefined, { format: plainFormat });
  scene.generation.start();
  await turn();
  scene.queue.send("text");
  assert.equal(scene.generation.phase, "running");
  const error = new Error("secret");
  scene.queue.fail(error);
  assert.equal(scene.generation.phase, "broken");
  assert.equal(scene.generation.error, error);
  scene.conclude();
  assert.equal(scene.written, "text");
  const told = new Scene();
  told.generation.start();
  told.queue.send("text");
  told.queue.fail(new Error("secret"));
  assert.equal(told.generation.phase, "ended");
  told.conclude();
});

test("a format that breaks in start() is no unhandled matter", () => {
  const error = new Error("broken");
  const format: Format = {
    ...jsonFormat,
    open: (context) => {
      const framer = jsonFormat.open(context);
      return {
        start: () => {
          throw error;
        },
        token: (...token) => framer.token(...token),
        structured: (...item) => framer.structured!(...item),
        relayed: (...event) => framer.relayed!(...event),
        end: (...end) => framer.end(...end),
        fail: (...failure) => framer.fail!(...failure),
      };
    },
  };
  const scene = new Scene(undefined, { format });
  assert.throws(() => scene.generation.start(), error);
  scene.generation.end("failed", error);
  assert.equal(scene.end, "failed internal");
  assert.deepEqual(scene.errors, [error]);
});

test("a value that is sent after the normal end is reported once", async () => {
  const scene = new Scene();
  scene.generation.start();
  await turn();
  scene.queue.close();
  for (let i = 0; i < 3; i++) assert.equal(await scene.queue.send("late"), false);
  scene.conclude();
  assert.equal(scene.errors.length, 1);
  assert.match(String(scene.errors[0]), /await your work/);
  assert.equal(scene.end, "completed");
});
