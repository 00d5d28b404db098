/**
 * A reader that stalls: its source is held or ended, memory stays flat, and a reader that comes back
 * finds either everything or an exact beginning and the reason. Sizes are measured in processes of
 * their own, one a scene.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import { sse } from "../../lib/http/sse.ts";
import { resume } from "../../lib/http/resume.ts";
import type { Item } from "../../lib/item.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import type { AsyncQueue } from "../../lib/pipeline/queue.ts";
import { EventDecoder } from "../../lib/sse/decode.ts";
import type { ServerSentEvent } from "../../lib/sse/event.ts";
import type { StreamReport } from "../../lib/pipeline/generation.ts";
import { type Report, type SceneServer, startScenes, total } from "../support/child.ts";
import { numbered } from "../support/child/departure_sources.ts";
import { bodyOf, type RawRequest, rawRequest, serve, until } from "../support/serve.ts";

const MIB = 2 ** 20;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Runs `scene` against a fresh process and answers how far its resident memory rose, in MiB. */
async function growth(
  scene: (server: SceneServer, watch: () => Promise<Report>) => Promise<void>,
): Promise<number> {
  const server = await startScenes();
  try {
    await server.text("/collect");
    const { rssBytes } = await server.report();
    let highest = rssBytes;
    await scene(server, async () => {
      const report = await server.report();
      highest = Math.max(highest, report.rssBytes);
      return report;
    });
    return (highest - rssBytes) / MIB;
  } finally {
    await server.child.stop();
  }
}

/** Reads an event stream that has ended: its tokens, and its last event. */
function read(raw: RawRequest): { tokens: string[]; last: ServerSentEvent | undefined } {
  const { text, whole } = bodyOf(raw);
  assert(whole, "the body has its end");
  const events = new EventDecoder().feed(new TextEncoder().encode(text));
  const last = events.pop();
  return { tokens: events.map(({ data }) => JSON.parse(data).token as string), last };
}

/** Asserts that `tokens` are the first ones, each in its place. */
function assertPrefix(tokens: string[]): void {
  tokens.forEach((token, i) => {
    if (token !== numbered(i)) assert.fail(`token ${i} is ${JSON.stringify(token)}`);
  });
}

for (const path of ["/million", "/million-at-once"]) {
  test(`a stalled reader holds a generator of 1,000,000 tokens: ${path}`, async () => {
    const grown = await growth(async (server, watch) => {
      const raw = await rawRequest(server.port, { path, paused: true });
      let report = await watch();
      for (let pulled = -1; report.pulled !== pulled || pulled === 0;) {
        pulled = report.pulled;
        await sleep(150);
        report = await watch();
      }
      const { pulled } = report;
      assert(pulled > 0 && pulled < 200_000, `${pulled} tokens were pulled`);
      await sleep(300);
      report = await watch();
      assert.equal(report.pulled, pulled);
      assert.equal(report.active.streams, 1);
      assert.deepEqual(report.closes, { completed: 20 });
      // Still alive: it goes on as soon as it is read.
      raw.read();
      await until(() => raw.received.length > 8 * MIB, 20_000, "it goes on");
      raw.socket.destroy();
      assert.equal(total((await server.emptied()).active), 0);
    });
    assert(grown < 24, `resident memory grew by ${grown.toFixed(1)} MiB`);
  });
}

for (const path of ["/push", "/push-by-turns"]) {
  test(`a callback producer that pushes 1,000,000 tokens overflows: ${path}`, async () => {
    const grown = await growth(async (server, watch) => {
      const headers = { connection: "close" };
      const raw = await rawRequest(server.port, { path, headers, paused: true });
      let report = await watch();
      for (let i = 0; i < 1000 && report.aborted === 0; i++) {
        await sleep(20);
        report = await watch();
      }
      // The generation ends at once, whether or not its reader takes what it is still owed.
      assert.deepEqual(report.closes, { completed: 20, "failed overflow": 1 });
      assert.equal(report.aborted, 1);
      assert.equal(report.active.sources, 0);
      for (let i = 0; i < 10; i++) {
        await sleep(20);
        report = await watch();
      }
      if (path === "/push") assert.deepEqual(report.answers, { true: 0, false: 1 });
      raw.read();
      await until(() => raw.ended, 20_000, "the end");
      const { tokens, last } = read(raw);
      assert(tokens.length > 1000 && tokens.length < 200_000, `${tokens.length} tokens`);
      assertPrefix(tokens);
      assert.equal(last?.event, "failed");
      assert.equal(JSON.parse(last.data).code, "overflow");
      report = await server.emptied();
      assert.equal(total(report.active), 0);
      assert.deepEqual(report.closes, { completed: 20, "failed overflow": 1 });
      assert.equal(report.reported.length, 1);
    });
    assert(grown < 24, `resident memory grew by ${grown.toFixed(1)} MiB`);
  });
}

async function* endless(): AsyncGenerator<string, void, undefined> {
  for (;;) yield "x".repeat(1000);
}

const pushing = async ({ queue }: { queue: AsyncQueue<Item> }) => {
  while (await queue.send("x".repeat(1000)));
};

for (const [name, source] of Object.entries({ generator: endless, producer: pushing })) {
  test(`stallMs drops a reader that does not read its socket: a ${name}`, async () => {
    const reports: StreamReport[] = [];
    const onClose = (report: StreamReport) => void reports.push(report);
    const server = serve((request) => sse(request, source, { stallMs: 300, onClose }));
    try {
      const raw = await rawRequest(server.port, { paused: true });
      raw.socket.on("error", () => {}); // dropped means reset, on some
      await until(() => reports.length > 0, 3000, "it was dropped");
      assert.equal(reports[0]?.outcome, "cancelled");
      assert.equal(reports[0]?.code, "stalled");
      assert(reports[0]?.durationMs! >= 290, `after ${reports[0]?.durationMs} ms`);
      await until(() => total(active) === 0, 2000, "nothing left");
      await sleep(20);
      assert.equal(reports.length, 1);
      raw.socket.destroy();
    } finally {
      await server.close();
    }
  });
}

test("stallMs drops a reader that never reads the body, whatever waits", async () => {
  const waiting = async function* () {
    yield "one";
    await new Promise(() => {});
  };
  const silent = () => new Promise<void>(() => {});
  const took = await Promise.all([endless, pushing, waiting, silent, "one"].map(async (source) => {
    const reports: StreamReport[] = [];
    const response = await sse(new Request("http://localhost/"), source, {
      stallMs: 300,
      heartbeatMs: 0,
      onClose: (report) => reports.push(report),
    });
    assert.equal(response.status, 200);
    await until(() => reports.length > 0, 2000, `${source} was dropped`);
    return reports;
  }));
  await until(() => total(active) === 0, 2000, "nothing left");
  await sleep(20);
  for (const reports of took.slice(0, 4)) {
    assert.deepEqual(reports.map(({ outcome, code }) => [outcome, code]), [
      ["cancelled", "stalled"],
    ]);
  }
  // All of it was handed over before anybody could have read it.
  assert.deepEqual(took[4]?.map(({ outcome }) => outcome), ["completed"]);
});

test("a reader that pauses for less than stallMs gets everything exactly", async () => {
  const COUNT = 80_000;
  const reports: StreamReport[] = [];
  const server = serve((request) =>
    sse(request, async function* () {
      for (let i = 0; i < COUNT; i++) yield numbered(i);
    }, { stallMs: 20_000, onClose: (report) => reports.push(report) })
  );
  try {
    const raw = await rawRequest(server.port, { paused: true, headers: { connection: "close" } });
    await sleep(700);
    assert.equal(active.streams, 1, "it waits for its reader");
    raw.read();
    await until(() => raw.ended, 20_000, "the end");
    const { tokens, last } = read(raw);
    assert.equal(tokens.length, COUNT);
    assertPrefix(tokens);
    assert.equal(last?.event, "done");
    assert.equal(reports.length, 1);
    assert.equal(reports[0]?.outcome, "completed");
    assert.equal(reports[0]?.tokens, COUNT);
    raw.socket.destroy();
  } finally {
    await server.close();
  }
});

test("with a log too a client that stalls is `stalled`, at once or after the grace", async () => {
  for (const disconnect of ["cancel", { continueForMs: 100 }] as const) {
    const reports: StreamReport[] = [];
    const reasons: string[] = [];
    const response = await sse(
      new Request("http://localhost/"),
      async ({ signal }) => {
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        reasons.push(signal.reason.code);
      },
      {
        log: new MemoryLog(),
        stallMs: 200,
        heartbeatMs: 0,
        commitAfterMs: 0,
        disconnect,
        onClose: (report) => reports.push(report),
      },
    );
    assert.equal(response.status, 200);
    await until(() => reports.length > 0, 3000, "it was dropped");
    assert.deepEqual(reports.map(({ outcome, code }) => [outcome, code]), [
      ["cancelled", "stalled"],
    ]);
    await until(() => reasons.length > 0, 100, "the source was told");
    assert.deepEqual(reasons, ["stalled"]);
  }
  await until(() => total(active) === 0, 1000, "nothing left");
});

test("a client that disconnects after another has stalled is why the generation ends", async () => {
  const log = new MemoryLog();
  const reports: StreamReport[] = [];
  const source = async ({ signal }: { signal: AbortSignal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  };
  const options = { log, heartbeatMs: 0, commitAfterMs: 0, disconnect: "cancel" } as const;
  const onClose = (report: StreamReport) => void reports.push(report);
  const first = await sse(new Request("http://localhost/"), source, {
    ...options,
    stallMs: 200,
    onClose,
  });
  const streamId = first.headers.get("x-stream-id")!;
  const second = await resume(new Request("http://localhost/"), { log, streamId });
  const reader = second.body!.getReader();
  await reader.read();
  await until(() => active.readers === 1, 3000, "the first is dropped");
  await reader.cancel();
  await until(() => reports.length > 0, 1000, "the end");
  assert.equal(reports[0]?.code, "disconnected");
});
