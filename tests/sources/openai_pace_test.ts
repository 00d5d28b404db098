/**
 * The relay between two sockets: a reader that leaves closes the upstream's connection, one that stalls
 * holds it back, and whatever the upstream sends, the process in between stays small.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { active } from "../../lib/counters.ts";
import { sse } from "../../lib/http/sse.ts";
import { openai } from "../../lib/sources/openai.ts";
import type { StreamReport } from "../../lib/pipeline/generation.ts";
import { type Child, PATIENCE_MS, startScript, total } from "../support/child.ts";
import {
  DEPARTURES,
  type RawRequest,
  rawRequest,
  serve,
  type Served,
  until,
} from "../support/serve.ts";
import { type Mock, type MockRequest, startMock } from "../support/upstream/mock.ts";
import type { Report } from "../support/child/relay.ts";
import { assertNothingLeft, KEY, sleep, TEXT } from "../support/relay.ts";
import { timed } from "../support/timing.ts";

const MIB = 2 ** 20;
const WITHIN_MS = 100;

let mock: Mock;
let relaying: Served;
const errors: unknown[] = [];
const reports: StreamReport[] = [];
before(async () => {
  mock = await startMock();
  relaying = serve((request) => {
    const { searchParams } = new URL(request.url);
    const messages = () => [{ role: "user", content: TEXT.repeat(50) }];
    const model = searchParams.get("model")!;
    return sse(request, openai({ baseURL: mock.url, apiKey: KEY, model, messages }), {
      commitAfterMs: Number(searchParams.get("commit") ?? 250),
      onError: (error) => errors.push(error),
      onClose: (report) => reports.push(report),
    });
  });
});
after(async () => {
  await relaying.close();
  await mock.close();
});

const asking = (model: string, commitAfterMs = 250) =>
  `/?${new URLSearchParams({ model, commit: String(commitAfterMs) })}`;

/** Waits for the request that the mock has not seen yet. */
async function nextRequest(seen: number): Promise<MockRequest> {
  await until(() => mock.requests.length > seen, 2000, "the request reaches the upstream");
  return mock.requests.at(-1)!;
}

interface Phase {
  model: string;
  commitAfterMs: number;
  ready: (raw: RawRequest) => boolean;
}

const headRead = ({ received }: RawRequest) => received.includes("\r\n:\n");
const tokenRead = ({ received }: RawRequest) => received.includes('{"token":');
const phases: Record<string, Phase> = {
  "the upstream's head pends, and ours too": {
    model: "mock:hang-head",
    commitAfterMs: 5000,
    ready: () => true,
  },
  "the upstream's head pends": { model: "mock:hang-head", commitAfterMs: 0, ready: headRead },
  "no byte of the body came": { model: "mock:hang-body", commitAfterMs: 0, ready: headRead },
  "no token came": { model: "mock:hang-first", commitAfterMs: 0, ready: headRead },
  "tokens stopped coming": { model: "mock:hang-middle", commitAfterMs: 0, ready: tokenRead },
  "tokens come slowly": { model: "mock:slow?delayMs=20", commitAfterMs: 0, ready: tokenRead },
  "tokens come without end": { model: "mock:endless", commitAfterMs: 0, ready: tokenRead },
};

for (const [name, { model, commitAfterMs, ready }] of Object.entries(phases)) {
  for (const how of DEPARTURES) {
    timed(
      `openai() closes the upstream's connection when the reader leaves: ${name}, ${how}`,
      async () => {
        reports.length = errors.length = 0;
        const seen = mock.requests.length;
        const raw = await rawRequest(relaying.port, { path: asking(model, commitAfterMs) });
        const request = await nextRequest(seen);
        await until(() => ready(raw), 2000, "the moment came");
        await sleep(20);
        assert.deepEqual([request.state, active.streams], ["open", 1]);
        const leftMs = Date.now();
        raw.socket[how]();
        await until(() => request.state !== "open", 1000, "the upstream sees it");
        assert.equal(request.state, "left");
        const tookMs = request.closedByClientAt! - leftMs;
        assert(tookMs <= WITHIN_MS, `${tookMs} ms`);
        await assertNothingLeft(mock, 100);
        await until(() => reports.length > 0, 100, "onClose");
        const ends = reports.map(({ outcome, code }) => `${outcome} ${code}`);
        assert.deepEqual([ends, errors], [["cancelled disconnected"], []]);
        assert.equal(mock.requests.length, seen + 1);
        raw.socket.destroy();
      },
    );
  }
}

/** Waits until the upstream's socket takes nothing more for 300 ms. */
async function standstill(request: MockRequest): Promise<number> {
  for (let before = -1; request.bytesWritten !== before || before === 0;) {
    before = request.bytesWritten;
    await sleep(300);
  }
  return request.bytesWritten;
}

timed(
  "openai() holds the upstream back while its own reader stalls, and lets it go on after",
  async () => {
    const seen = mock.requests.length;
    // Longer tokens: of short ones the upstream sends ten bytes for one of ours, of these three.
    const path = asking("mock:endless?size=2001");
    const raw = await rawRequest(relaying.port, { path, paused: true });
    const request = await nextRequest(seen);
    try {
      const stood = await standstill(request);
      assert.deepEqual([request.state, request.paused], ["open", true]);
      // What the kernel's buffers of two connections take, and a few chunks of ours, the reader's
      // counted by what the upstream sends for them.
      assert(stood < 48 * MIB, `${stood} bytes were written`);
      await sleep(500);
      assert.equal(request.bytesWritten, stood);
      raw.read();
      await until(() => request.bytesWritten > stood + 4 * MIB, 20_000, "it goes on");
    } finally {
      raw.socket.destroy();
    }
    await assertNothingLeft(mock, 100);
  },
);

// --- memory ---

interface Relay {
  child: Child;
  ask(path: string): Promise<string>;
  report(): Promise<Report>;
  port: number;
}

async function startRelay(): Promise<Relay> {
  const child = startScript("tests/support/child/relay.ts", mock.url);
  await until(() => /^port \d+$/m.test(child.output), PATIENCE_MS, `a relay: ${child.errors}`);
  const port = Number(/^port (\d+)$/m.exec(child.output)?.[1]);
  const ask = async (path: string) => await (await fetch(`http://127.0.0.1:${port}${path}`)).text();
  const report = async () => JSON.parse(await ask("/report")) as Report;
  // Code, pools and heap have their size before memory is compared: what a bare `fetch` of so many
  // bytes takes, 18 MiB on Bun and 42 on Deno, is the runtime's own.
  for (let i = 0; i < 20; i++) await ask(asking("mock:plain?tokens=2000"));
  await ask(asking("mock:endless?bytes=20000000"));
  await report();
  return { child, port, ask, report };
}

/** Runs `scene` against a fresh process: how far its resident memory rose, and stays up, in MiB. */
async function growth(scene: (relay: Relay) => Promise<void>): Promise<[high: number, on: number]> {
  const relay = await startRelay();
  try {
    const before = (await relay.report()).nowBytes;
    await scene(relay);
    await until(() => mock.open === 0, 5000, "the connections closed");
    const { highestBytes, nowBytes, active } = await relay.report();
    assert.equal(total(active), 0);
    return [(highestBytes - before) / MIB, (nowBytes - before) / MIB];
  } finally {
    await relay.child.stop();
  }
}

for (
  const fault of [
    ..."big-line big-event big-comment big-field big-id".split(" "),
    ..."big-head gzip-bomb huge-503".split(" "),
  ]
) {
  test(`openai() stays small: ${fault}`, async () => {
    const [grown] = await growth(async ({ ask }) => {
      assert.match(await ask(asking(`mock:${fault}`)), /"code":/);
    });
    assert(grown < 24, `${grown} MiB`);
  });
}

test("openai() stays small: 100 MB of comments", async () => {
  const [grown] = await growth(async ({ ask }) => {
    assert.match(await ask(asking("mock:endless-comments?bytes=100000000")), /event: done/);
  });
  assert(grown < 24, `${grown} MiB`);
});

test("openai() stays small: endless, while its reader stalls and after it has read on", async () => {
  let stalled = 0;
  const [, after] = await growth(async ({ port, report }) => {
    const before = (await report()).nowBytes;
    const seen = mock.requests.length;
    const raw = await rawRequest(port, { path: asking("mock:endless"), paused: true });
    await standstill(await nextRequest(seen));
    // What is held: until the kernel's buffers are full 40 MB are parsed, and how much of what that
    // leaves behind lies around between two collections is the engine's affair.
    stalled = ((await report()).nowBytes - before) / MIB;
    raw.read();
    await until(() => raw.received.length > 8 * MIB, 10_000, "it goes on");
    raw.socket.destroy();
  });
  assert(stalled < 24, `${stalled} MiB against a stalled reader`);
  assert(after < 24, `${after} MiB in the end`);
});
