/**
 * A runtime in which turns and timers belong to the request that asked for them and are gone with
 * it, as on workerd: prints what its streams have come to. The hops of other runtimes throw.
 */
import { AsyncLocalStorage } from "node:async_hooks";

interface Visit {
  timers: Set<unknown>;
  isOver: boolean;
}

const visits = new AsyncLocalStorage<Visit>();
const { setTimeout: setTimer, clearTimeout: clearTimer } = globalThis;
const runtime = globalThis as unknown as Record<string, unknown>;
const none = () => {
  throw new Error("There is no such hop here");
};
Object.assign(runtime, {
  EdgeRuntime: "test",
  setImmediate: none,
  MessageChannel: none,
  setTimeout(run: () => void, ms: number) {
    const visit = visits.getStore();
    if (visit === undefined) throw new Error("A timer belongs to a request");
    const timer = setTimer(() => {
      visit.timers.delete(timer);
      run();
    }, ms);
    if (visit.isOver) clearTimer(timer);
    else visit.timers.add(timer);
    return timer;
  },
});
const { AsyncQueue, MemoryLog, sse } = await import("../../../mod.ts");
const { active } = await import("../../../lib/counters.ts");

const pause = (ms: number) => new Promise<void>((resolve) => void setTimer(resolve, ms));

/** Runs `body` as a request, whose timers end with it. */
async function visit<T>(body: () => Promise<T>): Promise<T> {
  const visit: Visit = { timers: new Set(), isOver: false };
  try {
    return await visits.run(visit, body);
  } finally {
    visit.isOver = true;
    for (const timer of visit.timers) clearTimer(timer as number);
  }
}

type Source = Parameters<typeof sse>[1];
type Options = Parameters<typeof sse>[2];
const ask = (source: Source, options: Options = {}) =>
  visit(async () => {
    const request = new Request("http://localhost/");
    return await (await sse(request, source, { format: "text", ...options })).text();
  });
const textOf = (body: string) =>
  body.split("\n\n").filter((event) => !event.includes("event: done"))
    .map((event) => /^data: (.*)$/m.exec(event)?.[1] ?? "").join("");

async function* paced() {
  for (const token of ["Hello ", "you"]) {
    yield token;
    await pause(5);
  }
}
async function* slow() {
  yield "a";
  await pause(1000);
  yield "b";
}

const alone = [textOf(await ask(paced)), textOf(await ask(paced))];
const all = await Promise.all(Array.from({ length: 50 }, async (_, i) => {
  await pause(i % 7);
  return textOf(await ask(paced));
}));
const overlapping = all.filter((text) => text === "Hello you").length;
// The first of two silent streams ends first, and with it its timers.
const [, ...silent] = await Promise.all([
  ask(paced, { heartbeatMs: 100 }),
  ask(slow, { heartbeatMs: 100 }),
  ask(slow, { heartbeatMs: 100 }),
]);

/**
 * What a stream has got, before it ends, of other requests: each sends a token and ends after so
 * many ms.
 */
async function sentBy(tokens: [string, number][], options: Options = {}): Promise<string> {
  const queue = new AsyncQueue<string>();
  let body = "";
  const done = visit(async () => {
    const request = new Request("http://localhost/");
    const init = { format: "text", heartbeatMs: 100, ...options } as const;
    const response = await sse(request, queue, init);
    const decoder = new TextDecoder();
    for await (const chunk of response.body!) body += decoder.decode(chunk);
  });
  for (const [token, ms] of tokens) {
    await pause(80);
    await visit(async () => {
      await queue.send(token);
      if (ms > 0) await pause(ms);
    });
  }
  await pause(400);
  const before = textOf(body);
  await visit(() => Promise.resolve(queue.close()));
  await done;
  return before;
}

const crossed = await sentBy([["one ", 20], ["two ", 20], ["three", 20]]);
// Each asks for a turn and is gone before it: a timer of the stream's own makes up for it, also in a
// recording.
const lost = await sentBy([["one ", 0], ["two", 0]]);
const recorded = await sentBy([["one ", 0], ["two", 0]], { log: new MemoryLog() });
console.log(JSON.stringify({
  alone,
  overlapping,
  silent: silent.map((body) => (body.match(/^:$/gm) ?? []).length > 5),
  crossed,
  lost,
  recorded,
  active: Object.values(active).reduce((sum, count) => sum + count, 0),
}));
