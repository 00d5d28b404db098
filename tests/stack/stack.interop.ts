/**
 * Two processes behind nginx with one Redis, and everything that a deploy or an accident does to them. It
 * stands apart from the other tests because it needs nginx and redis-server; `npm run test:stack` makes
 * each of its troubles larger, with progress.
 */
import assert from "node:assert/strict";
import process from "node:process";
import test, { after, before } from "node:test";
import { random } from "../support/random.ts";
import { until } from "../support/serve.ts";
import { least } from "../support/timing.ts";
import { type Reading, readThrough } from "./reader.ts";
import { type Name, type Stack, startStack } from "./stack.ts";

const LONG = process.env["LONG"] === "1";
const STREAMS = LONG ? 100 : 30;
const CHARACTERS = LONG ? 500 : 150;
const CUTS = LONG ? 500 : 100;
const TOKEN_MS = 20;

let stack: Stack;
before(async () => {
  stack = await startStack({ TOKEN_DELAY_MS: String(TOKEN_MS), DISCONNECT_GRACE_MS: "30000" });
});
after(async () => await stack.stop());

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const direct = (name: "bun" | "deno") => `http://127.0.0.1:${stack.ports[name]}`;

function tell(text: string): void {
  if (LONG) console.log(text);
}

/** A text that no other reader has, so that a mixed-up answer shows. */
function textOf(i: number, length = CHARACTERS): string {
  return `${i}:${"スピルウェイ and 🌊 ".repeat(length)}`.slice(0, length);
}

/** How often each stream was made, by the log lines of both processes. */
function generations(): Map<string, number> {
  const made = new Map<string, number>();
  for (const name of ["bun", "deno"] as const) {
    for (
      const [, streamId] of stack.output(name).matchAll(/"event":"closed".*"streamId":"([^"]+)"/g)
    ) {
      made.set(streamId!, (made.get(streamId!) ?? 0) + 1);
    }
  }
  return made;
}

function assertExact(readings: readonly Reading[], length?: number): void {
  for (const [i, { text, end }] of readings.entries()) {
    assert.equal(end, "done", `stream ${i} after ${text.length} characters`);
    assert.equal(text, [...textOf(i, length)].join(""), `stream ${i}`);
  }
}

test("a rolling replacement costs no reader a character, and no source runs twice", async () => {
  for (const name of ["bun", "deno"] as const) {
    tell(`replacing ${name}`);
    const readings: Promise<Reading>[] = [];
    const replaced = sleep(STREAMS * 5).then(async () => {
      await stack.end(name, "SIGTERM");
      await stack.start(name);
    });
    // Half of them have begun when it is told to leave, the others come while it drains.
    while (readings.length < STREAMS) {
      readings.push(readThrough(stack.url, textOf(readings.length)));
      await sleep(10);
    }
    const done = await Promise.all(readings);
    await replaced;
    assertExact(done);
    // A line may come later than the end that it tells.
    await until(
      () => done.every(({ streamId }) => generations().has(streamId!)),
      5000,
      "the lines",
    );
    const made = generations();
    for (const { streamId } of done) assert.equal(made.get(streamId!), 1, "started once");
  }
});

test("readers that are cut off come back on the other process and miss nothing", async () => {
  const chance = random(7);
  let cuts = 0;
  for (let i = 0; cuts < CUTS; i++) {
    const [one, other] = i % 2 === 0
      ? [direct("bun"), direct("deno")]
      : [direct("deno"), direct("bun")];
    const few = await Promise.all(
      Array.from(
        { length: 20 },
        (_, k) => readThrough(one, textOf(k, 60), () => 1 + Math.floor(chance() * 40), other),
      ),
    );
    assertExact(few, 60);
    cuts += few.reduce((sum, { resumes }) => sum + resumes, 0);
    tell(`${cuts} of ${CUTS} cuts`);
  }
});

test("a stop on one process ends the generation on the other within 200 ms", async () => {
  for (const [here, there] of [["bun", "deno"], ["deno", "bun"]] as const) {
    const tookMs = await least(200, async () => {
      const response = await fetch(`${direct(here)}/streaming`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ query: textOf(0, 400) }),
      });
      const streamId = response.headers.get("x-stream-id");
      await sleep(300);
      const fromMs = performance.now();
      const stopped = await fetch(`${direct(there)}/streaming/${streamId}`, { method: "DELETE" });
      assert.equal(stopped.status, 204);
      const text = await response.text();
      assert.match(text, /event: done\ndata: \{"reason":"cancelled"/);
      return performance.now() - fromMs;
    });
    assert(tookMs < 200, `${tookMs.toFixed()} ms`);
  }
});

test("Redis away for a while: nothing is lost or doubled, and resumes are exact afterwards", async () => {
  const readings = Array.from({ length: 10 }, (_, i) => readThrough(stack.url, textOf(i, 250)));
  await sleep(1000);
  await stack.end("redis", "SIGKILL");
  await sleep(LONG ? 8000 : 1500);
  await stack.start("redis");
  const done = await Promise.all(readings);
  assertExact(done, 250);
  assert(done.every(({ resumes }) => resumes === 0), "connected readers noticed nothing");
  const again = await readThrough(direct("bun"), textOf(3, 60), () => 7, direct("deno"));
  assert.equal(again.text, textOf(3, 60));
});

test("a killed process: its readers get what the log has, then producer_lost, the others all", async () => {
  const victim: Name = "bun";
  const readings = Array.from(
    { length: STREAMS },
    (_, i) => readThrough(stack.url, textOf(i, 200)),
  );
  await sleep(1500);
  const fromMs = performance.now();
  await stack.end(victim, "SIGKILL");
  const restarted = stack.start(victim);
  const done = await Promise.all(readings);
  const tookMs = performance.now() - fromMs;
  await restarted;
  const ends = new Set(done.map(({ end }) => end));
  assert.deepEqual([...ends].sort(), ["done", "producer_lost"]);
  for (const [i, { text, end }] of done.entries()) {
    const whole = textOf(i, 200);
    if (end === "done") assert.equal(text, whole);
    else {assert(
        text.length > 20 && text !== whole && whole.startsWith(text),
        `stream ${i}: ${text}`,
      );}
  }
  // The lease of its producer is 10 s.
  assert(tookMs < 20_000, `${tookMs.toFixed()} ms`);
});
