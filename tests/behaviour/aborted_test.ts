/**
 * A client that is only known by its `signal`, as in a program that calls `fetch` of its own: an abort
 * settles what the client reads, however long the source is stuck, and nobody has to call `cancel`.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { active } from "../../lib/counters.ts";
import { createHandler } from "../../lib/handler.ts";
import type { FormatName } from "../../lib/http/options.ts";
import { sse } from "../../lib/http/sse.ts";
import type { Source } from "../../lib/pipeline/pump.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import { relay } from "../../lib/sources/relay.ts";
import { total } from "../support/child.ts";
import { until } from "../support/serve.ts";

const sleep = (ms: number) => new Promise<undefined>((resolve) => setTimeout(resolve, ms));
const stuck = () => new Promise<never>(() => {});
/** Its first event comes, and nothing after it. */
const stalledUpstream = () =>
  new Response(
    new ReadableStream({
      start: (upstream) => upstream.enqueue(new TextEncoder().encode('data: {"token":"a"}\n\n')),
    }),
    { headers: { "content-type": "text/event-stream" } },
  );

const SOURCES: Record<string, () => Source<unknown>> = {
  "a generator that is stuck behind its first token": () =>
    async function* () {
      yield "a";
      await stuck();
    },
  "a generator that is stuck before it": () =>
    async function* () {
      await stuck();
      yield "a";
    },
  "a callback producer that never settles": () => ({ queue }) => {
    queue.send("a");
    return stuck();
  },
  "an upstream that stalls": () => () => relay(stalledUpstream()),
};
const FORMATS: FormatName[] = ["json", "text", "ndjson", "plain"];

let collector: (() => void) | undefined;

/** Collects what nobody holds: a signal may be held by its request alone. */
function collect(): void {
  const { Bun } = globalThis as { Bun?: { gc(force: boolean): void } };
  if (Bun !== undefined) return Bun.gc(true);
  if (collector === undefined) {
    setFlagsFromString("--expose-gc");
    collector = runInNewContext("gc") as () => void;
  }
  collector();
}

/** Reads until nothing more comes, then aborts: whether the read that waits is settled. */
async function settles(
  open: (signal: AbortSignal) => Promise<Response>,
  collects = true,
): Promise<boolean> {
  const client = new AbortController();
  const reader = (await open(client.signal)).body!.getReader();
  let chunks = 0;
  let isDone = false;
  const reading = (async () => {
    while (!(await reader.read()).done) chunks++;
  })().catch(() => {}).finally(() => isDone = true);
  for (let seen = -1; seen !== chunks;) {
    seen = chunks;
    await sleep(5);
  }
  assert(!isDone, "it waits");
  if (collects) collect();
  client.abort();
  await Promise.race([reading, sleep(1000)]);
  return isDone;
}

for (const [what, source] of Object.entries(SOURCES)) {
  test(`an abort without cancel() settles a pending read: ${what}`, async () => {
    for (const format of FORMATS) {
      for (const log of [undefined, new MemoryLog()]) {
        const logged = log === undefined ? {} : { log, disconnect: "cancel" as const };
        const options = { format, commitAfterMs: 0, ...logged };
        const isSettled = await settles(
          (signal) => sse(new Request("http://localhost/", { signal }), source() as never, options),
          // It takes a tenth of a second on Deno.
          format === "json",
        );
        assert(isSettled, `${format}, ${log === undefined ? "without" : "with"} a log`);
      }
    }
    await until(() => total(active) === 0, 2000, "nothing is left");
  });
}

test("an abort without cancel() settles a pending read of a handler, and of one that resumes", async () => {
  const source = SOURCES["an upstream that stalls"]!();
  const handler = createHandler({ source: source as never, disconnect: "cancel" });
  let id = "";
  const post = async (signal: AbortSignal) => {
    const headers = { "content-type": "application/json" };
    const init = { method: "POST", headers, body: '{"query":""}', signal };
    const response = await handler.fetch(new Request("http://localhost/streaming", init));
    id = response.headers.get("x-stream-id")!;
    return response;
  };
  const first = new AbortController();
  const held = await post(first.signal);
  const join = (signal: AbortSignal) =>
    handler.fetch(new Request(`http://localhost/streaming/${id}`, { signal }));
  assert(await settles(join));
  first.abort();
  assert(/"token":"a"/.test(await held.text()), "what had come is there");
  assert(await settles(post));
  await until(() => total(active) === 0, 2000, "nothing is left");
});

// Node's copies lose their way to the client when the original is collected: docs/runtimes.md.
test("an abort reaches the stream of a copied request, whose original is held", async () => {
  let held: Request | undefined;
  const isSettled = await settles((signal) => {
    held = new Request("http://localhost/", { signal });
    const source = SOURCES["an upstream that stalls"]!();
    return sse(new Request(held), source as never, { commitAfterMs: 0 });
  });
  assert(isSettled && held !== undefined);
  await until(() => total(active) === 0, 2000, "nothing is left");
});
