/** A process that serves those sources and others, and reports on itself. */
import { EventEmitter } from "node:events";
import process from "node:process";
import { active } from "../../../lib/counters.ts";
import type { SseOptions } from "../../../lib/http/options.ts";
import { sse } from "../../../lib/http/sse.ts";
import type { Item } from "../../../lib/item.ts";
import type { AsyncQueue } from "../../../lib/pipeline/queue.ts";
import type { Source, SourceFunction } from "../../../lib/pipeline/pump.ts";
import type { Report } from "../child.ts";
import { serve } from "../serve.ts";
import { numbered, Probe, scenes } from "./departure_sources.ts";

const report: Report = {
  active,
  rssBytes: 0,
  heapBytes: 0,
  closes: {},
  reported: [],
  pulled: 0,
  answers: { true: 0, false: 0 },
  aborted: 0,
  finished: 0,
};

const MILLION = 1_000_000;

async function* million(): AsyncGenerator<string, void, undefined> {
  try {
    for (let i = 0; i < MILLION; i++) {
      report.pulled++;
      yield numbered(i);
    }
  } finally {
    report.finished++;
  }
}

function* millionAtOnce(): Generator<string, void, undefined> {
  for (let i = 0; i < MILLION; i++) {
    report.pulled++;
    yield numbered(i);
  }
}

function push(queue: AsyncQueue<Item>, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    report.pulled++;
    queue.send(numbered(i));
  }
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

/** A callback library whose listener awaits `send`, long after the reader has left. */
const chatter: SourceFunction = ({ queue, signal }) => {
  const emitter = new EventEmitter();
  emitter.on("token", async (token: string) => {
    report.answers[`${await queue.send(token)}`]++;
  });
  emitter.on("token", async (token: string) => {
    for (let i = 0; i < 3; i++) report.answers[`${await queue.send(token)}`]++;
  });
  signal.addEventListener("abort", () => {
    report.aborted++;
    setTimeout(() => clearInterval(timer), 50);
    queue.close();
    queue.fail(new Error("late"));
    emitter.emit("token", "from the abort listener");
  });
  const timer = setInterval(() => emitter.emit("token", "token "), 1);
};

const routes: Record<string, Source<undefined>> = {
  "/hello": "hello",
  "/million": million,
  "/million-at-once": millionAtOnce,
  "/push": async ({ queue, signal }) => {
    signal.addEventListener("abort", () => report.aborted++);
    push(queue, 0, MILLION);
    await turn();
    report.answers[`${await queue.send("late")}`]++;
  },
  "/push-by-turns": async ({ queue, signal }) => {
    signal.addEventListener("abort", () => report.aborted++);
    for (let i = 0; i < MILLION; i += 1000) {
      push(queue, i, i + 1000);
      await turn();
    }
  },
  "/chatter": chatter,
};

function options(more: SseOptions = {}): SseOptions {
  return {
    ...more,
    onClose: ({ outcome, code }) => {
      const name = code === undefined ? outcome : `${outcome} ${code}`;
      report.closes[name] = (report.closes[name] ?? 0) + 1;
    },
    onError: (error) => void report.reported.push(String(error)),
  };
}

/** The scene of a departure: what waits for more than its signal is let go by that, a little later. */
function scene(request: Request, name: string): Promise<Response> | Response {
  const found = scenes[name];
  if (found === undefined) return new Response(null, { status: 404 });
  const probe = new Probe();
  const source: SourceFunction = (context) => {
    context.signal.addEventListener("abort", () => {
      report.aborted++;
      setTimeout(() => {
        probe.release();
        setTimeout(() => report.finished += Number(probe.finished), 5);
      }, 5);
    });
    return found.source(probe)(context);
  };
  return sse(request, source, options(found.options));
}

const runtime = globalThis as { Bun?: { gc(force: boolean): void }; gc?(): void };

const served = serve((request) => {
  const { pathname, searchParams } = new URL(request.url);
  if (pathname === "/report") {
    const { rss, heapUsed } = process.memoryUsage();
    return Response.json({ ...report, rssBytes: rss, heapBytes: heapUsed });
  }
  if (pathname === "/collect") {
    runtime.Bun?.gc(true);
    runtime.gc?.();
    return new Response("collected");
  }
  if (pathname === "/exit") {
    setTimeout(() => process.exit(0), 10);
    return new Response("bye");
  }
  if (pathname === "/scene") return scene(request, searchParams.get("name") ?? "");
  const source = routes[pathname];
  if (source === undefined) return new Response(null, { status: 404 });
  const stallMs = Number(searchParams.get("stallMs") ?? 60_000);
  return sse(request, source, options({ stallMs }));
});
console.log(`port ${served.port}`);
// The test that started us is gone, however it went.
process.stdin.on("end", () => process.exit(1)).resume();
