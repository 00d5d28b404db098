/** What the process that starts workers does with them, with workers of the test's own and a fake clock. */
import assert from "node:assert/strict";
import test from "node:test";
import { createHandler } from "../../lib/handler.ts";
import { type Report, TOGETHER, type TogetherOptions } from "../../lib/handler/together.ts";
import type { ToWorker } from "../../lib/server/messages.ts";
import type { WorkerEvents } from "../../lib/server/processes.ts";
import { Supervisor } from "../../lib/server/supervisor.ts";
import { FakeClock } from "../../lib/testing/fake_clock.ts";

const ADDRESS = { hostname: "127.0.0.1", port: 8000 };

/** What a handler with nothing to do reports. */
function reportOfHandler(): Report {
  let own: (() => Report) | undefined;
  const options: TogetherOptions = {
    [TOGETHER]: {
      join: (report) => own = report,
      report: () => Promise.reject(new Error("nobody asks")),
      health: (health) => health,
    },
  };
  createHandler({ source: "", ...options });
  return own!();
}

/** A report with so many tokens and open streams. */
function report(tokens: number, streams: number, health: Report["health"] = "ok"): Report {
  const { stats, text } = reportOfHandler();
  return {
    health,
    stats: { ...stats, tokens, active: { ...stats.active, streams } },
    text: text.replace(/^(spillway_tokens_total) \d+$/m, `$1 ${tokens}`)
      .replace(/^(spillway_active\{kind="streams"\}) \d+$/m, `$1 ${streams}`)
      .replace(/^(spillway_log_up) \d+$/m, `$1 ${health === "degraded" ? 0 : 1}`)
      .replace(/^(spillway_draining) \d+$/m, `$1 ${health === "draining" ? 1 : 0}`),
  };
}

/** A worker as the supervisor sees it. */
interface Fake {
  readonly events: WorkerEvents;
  readonly received: ToWorker[];
  isKilled: boolean;
}

function supervised(count = 2) {
  const clock = new FakeClock();
  const started: Fake[] = [];
  const errors: string[] = [];
  const supervisor = new Supervisor({
    workers: count,
    clock,
    onError: ({ message }) => errors.push(message),
    start: (events) => {
      const fake: Fake = { events, received: [], isKilled: false };
      started.push(fake);
      return {
        send: (message) => void fake.received.push(message),
        kill: () => void (fake.isKilled = true),
      };
    },
  });
  return { clock, started, errors, supervisor };
}

const listens = ({ events }: Fake) => events.message({ type: "listening", address: ADDRESS });

/** Each listens, with those that are started meanwhile. */
function allListen(started: readonly Fake[]): void {
  for (const fake of started) listens(fake);
}

/** The sum that a worker gets when it asks for it and every worker reports. */
function sumFor(started: readonly Fake[], asking: Fake, reports: readonly Report[]): Report {
  asking.events.message({ type: "sum", asked: 7 });
  for (const [i, { events, received }] of started.entries()) {
    const message = received.at(-1);
    if (message?.type === "report") {
      events.message({ type: "report", asked: message.asked, report: reports[i]! });
    }
  }
  const sum = asking.received.at(-1);
  assert(sum?.type === "sum" && sum.asked === 7);
  return sum.report;
}

test("Supervisor starts the others once one worker listens, and says where when all do", async () => {
  const { supervisor, started } = supervised();
  const address = supervisor.start();
  let isSaid = false;
  address.then(() => isSaid = true);
  assert.equal(started.length, 1);
  listens(started[0]!);
  assert.equal(started.length, 2);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.equal(isSaid, false);
  listens(started[1]!);
  assert.deepEqual(await address, ADDRESS);
});

test("Supervisor ends the others if one of the first workers ends before it listens", async () => {
  const { supervisor, started, errors } = supervised();
  const address = supervisor.start();
  listens(started[0]!);
  started[1]!.events.ended();
  assert.equal(await address, undefined);
  assert.deepEqual(started[0]!.received.at(-1), { type: "drain", how: "now" });
  started[0]!.events.ended();
  await supervisor.over;
  assert.deepEqual([started.length, errors], [2, []]);
});

test("Supervisor says what has ended a worker that could not say so", async () => {
  const starting = supervised();
  const address = starting.supervisor.start();
  starting.started[0]!.events.ended("SIGKILL");
  assert.equal(await address, undefined);
  assert.deepEqual(starting.errors, ["A worker has ended (SIGKILL)"]);

  const { supervisor, started, errors, clock } = supervised();
  supervisor.start();
  allListen(started);
  started[0]!.events.message({ type: "leaving" });
  await clock.advance(100);
  started[0]!.events.ended("SIGKILL");
  started[1]!.events.ended();
  assert.deepEqual(errors, [
    "A worker has ended (SIGKILL), and is replaced",
    "A worker has ended, and is replaced",
  ]);
});

test("Supervisor replaces a worker that has ended, and waits longer each time", async () => {
  const { supervisor, started, errors, clock } = supervised();
  supervisor.start();
  allListen(started);
  const pauses: number[] = [];
  for (let i = 0; i < 9; i++) {
    const before = started.length;
    started.at(-1)!.events.ended();
    let waited = 0;
    for (let ms = 100; started.length === before; ms *= 2) {
      await clock.advance(Math.min(ms, 10_000) - waited);
      waited = Math.min(ms, 10_000);
    }
    pauses.push(waited);
    listens(started.at(-1)!);
  }
  assert.deepEqual(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
  assert.equal(errors.length, 9);
  // One that has served for a while starts over.
  await clock.advance(10_000);
  started.at(-1)!.events.ended();
  await clock.advance(100);
  assert.equal(started.length, 12);
});

test("Supervisor drains all, and is over with the last of them", async () => {
  const { supervisor, started, clock } = supervised();
  supervisor.start();
  allListen(started);
  let isOver = false;
  supervisor.over.then(() => isOver = true);
  supervisor.drain("all");
  for (const { received } of started) {
    assert.deepEqual(received.at(-1), { type: "drain", how: "all" });
  }
  started[0]!.events.ended();
  await clock.advance(20_000);
  assert.deepEqual([isOver, started.length], [false, 2]);
  supervisor.kill();
  assert.deepEqual(started.map(({ isKilled }) => isKilled), [false, true]);
  started[1]!.events.ended();
  await supervisor.over;
});

test("a worker that has SIGTERM for itself drains alone, and one that has it with all does not", async () => {
  const { supervisor, started, errors, clock } = supervised();
  supervisor.start();
  allListen(started);
  started[0]!.events.message({ type: "leaving" });
  await clock.advance(100);
  assert.deepEqual(started[0]!.received.at(-1), { type: "drain", how: "alone" });
  started[0]!.events.ended();
  await clock.advance(100);
  assert.deepEqual([started.length, errors], [3, []]);
  started[1]!.events.message({ type: "leaving" });
  supervisor.drain("all");
  await clock.advance(1000);
  assert.deepEqual(started[1]!.received.at(-1), { type: "drain", how: "all" });
});

test("the only worker that serves leaves when another one does", async () => {
  const { supervisor, started, clock } = supervised();
  supervisor.start();
  allListen(started);
  started[1]!.events.ended();
  started[0]!.events.message({ type: "leaving" });
  await clock.advance(500);
  assert.notEqual(started[0]!.received.at(-1)?.type, "drain");
  listens(started[2]!);
  await clock.advance(100);
  assert.deepEqual(started[0]!.received.at(-1), { type: "drain", how: "alone" });
});

test("Supervisor adds up what workers count, and what those had counted that have ended", async () => {
  const { supervisor, started, clock } = supervised();
  supervisor.start();
  allListen(started);
  const [first, second] = started as [Fake, Fake];
  const sum = sumFor(started, first, [report(5, 2), report(7, 1)]);
  assert.deepEqual([sum.stats.tokens, sum.stats.active.streams], [12, 3]);
  assert.match(sum.text, /^spillway_tokens_total 12$/m);
  assert.match(sum.text, /^spillway_active\{kind="streams"\} 3$/m);
  assert.match(sum.text, /^spillway_log_up 1$/m);
  assert.match(sum.text, /^spillway_workers 2$/m);
  assert.match(sum.text, /^spillway_worker_restarts_total 0$/m);
  assert.equal(sum.text.match(/^# TYPE spillway_tokens_total counter$/gm)?.length, 1);

  second.events.ended();
  await clock.advance(100);
  listens(started[2]!);
  const later = sumFor([first, started[2]!], first, [report(5, 2), report(1, 0)]);
  assert.deepEqual([later.stats.tokens, later.stats.active.streams], [13, 2]);
  assert.match(later.text, /^spillway_tokens_total 13$/m);
  assert.match(later.text, /^spillway_active\{kind="streams"\} 2$/m);
  assert.match(later.text, /^spillway_worker_restarts_total 1$/m);
});

test("a worker that does not report in time counts with its report before", async () => {
  const { supervisor, started, clock } = supervised();
  supervisor.start();
  allListen(started);
  const [first, second] = started as [Fake, Fake];
  second.events.message({ type: "report", report: report(7, 1) });
  first.events.message({ type: "sum", asked: 1 });
  const asked = first.received.at(-1);
  assert(asked?.type === "report");
  first.events.message({ type: "report", asked: asked.asked, report: report(5, 2) });
  assert.equal(first.received.at(-1)?.type, "report");
  await clock.advance(500);
  const sum = first.received.at(-1);
  assert(sum?.type === "sum");
  assert.equal(sum.report.stats.tokens, 12);
});

test("one degraded worker degrades all, and one that leaves alone does not", async () => {
  const { supervisor, started, clock } = supervised();
  supervisor.start();
  allListen(started);
  const [first, second] = started as [Fake, Fake];
  first.events.message({ type: "report", report: report(0, 0, "degraded") });
  assert.deepEqual(second.received.at(-1), { type: "health", health: "degraded" });
  first.events.message({ type: "report", report: report(0, 0) });
  assert.deepEqual(second.received.at(-1), { type: "health", health: "ok" });
  first.events.message({ type: "leaving" });
  await clock.advance(100);
  first.events.message({ type: "report", report: report(0, 0, "draining") });
  assert.deepEqual(second.received.at(-1), { type: "health", health: "ok" });
  const sum = sumFor(started, second, [report(0, 1, "draining"), report(0, 0)]);
  assert.equal(sum.health, "ok");
  assert.match(sum.text, /^spillway_draining 0$/m);
  const last = sumFor(started, second, [report(0, 1, "draining"), report(0, 0, "draining")]);
  assert.match(last.text, /^spillway_draining 1$/m);
});
