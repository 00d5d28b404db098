/** How failures of upstreams are counted, and the time between their chunks. */
import assert from "node:assert/strict";
import test from "node:test";
import { StreamError } from "../../lib/error.ts";
import { createHandler } from "../../lib/handler.ts";
import { openai } from "../../lib/sources/openai.ts";
import { relay } from "../../lib/sources/relay.ts";
import { ChunkTimes, kindOf } from "../../lib/sources/upstream_counts.ts";
import { UpstreamError } from "../../lib/sources/upstream_failure.ts";
import { times, totals } from "../../lib/totals.ts";
import { serve } from "../support/serve.ts";

test("a failure has one kind; an end of our own has none", () => {
  const upstream = (code: string, status?: number) =>
    kindOf(new StreamError(code, { cause: new UpstreamError("words", status) }));
  assert.deepEqual(
    [undefined, 200, 302, 401, 403, 404, 500, 529].map((status) =>
      upstream("bad_upstream", status)
    ),
    [
      "unreachable",
      ...["bad_response", "bad_response", "unauthorized", "unauthorized", "not_found"],
      ...["server_error", "server_error"],
    ],
  );
  assert.equal(upstream("upstream_failed"), "failed");
  assert.equal(upstream("upstream_failed", 500), "failed");
  assert.equal(upstream("upstream_failed", 401), "unauthorized");
  const of = (code: string) => kindOf(new StreamError(code));
  assert.deepEqual(
    ["rate_limited", "upstream_timeout", "truncated", "upstream_bad_request", "line_too_large"]
      .map(of),
    ["rate_limited", "timeout", "truncated", "rejected", "too_large"],
  );
  assert.deepEqual(
    ["disconnected", "stopped", "shutting_down", "stalled", "overflow"].map(of),
    Array(5).fill(undefined),
  );
  assert.deepEqual(
    [of("mine"), kindOf(new Error("broken")), of("constructor")],
    Array(3).fill("other"),
  );
});

/** How the totals of upstreams grow while `run` runs. */
async function growth(run: () => Promise<unknown>) {
  const copy = () => ({ ...totals, errors: { ...totals.upstreamErrors } });
  const before = copy();
  await run();
  const after = copy();
  const kinds = Object.keys(after.errors) as (keyof typeof after.errors)[];
  const grown = kinds.map((kind) => [kind, after.errors[kind] - before.errors[kind]] as const);
  return {
    requests: after.upstreamRequests - before.upstreamRequests,
    retries: after.upstreamRetries - before.upstreamRetries,
    fallbacks: after.upstreamFallbacks - before.upstreamFallbacks,
    errors: Object.fromEntries(grown.filter(([, count]) => count > 0)),
  };
}

async function ask(source: unknown): Promise<number> {
  const handler = createHandler({ source: source as never, onError: () => {} });
  const response = await handler.fetch(
    new Request("http://localhost/streaming", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"query":"Hello"}',
    }),
  );
  await response.text();
  return response.status;
}

const ANSWER = 'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n';
const EVENT_STREAM = { headers: { "content-type": "text/event-stream" } };

test("openai() counts each request, retry and fallback, and each failure on the way", async () => {
  const broken = serve(() => new Response("{}", { status: 500 }));
  const good = serve(() => new Response(ANSWER, EVENT_STREAM));
  try {
    const source = openai({
      baseURL: `${broken.url}/v1`,
      model: "m",
      retries: 1,
      fallback: [{ baseURL: `${good.url}/v1`, model: "m" }],
    });
    const first = times.upstreamFirstChunk.counts.reduce((sum, count) => sum + count);
    const grown = await growth(async () => assert.equal(await ask(source), 200));
    assert.deepEqual(grown, {
      requests: 3,
      retries: 1,
      fallbacks: 1,
      errors: { server_error: 2 },
    });
    assert.equal(times.upstreamFirstChunk.counts.reduce((sum, count) => sum + count), first + 1);
  } finally {
    await broken.close();
    await good.close();
  }
});

test("relay() counts a failure in the stream", async () => {
  const cut = () => relay(new Response('data: {"token":"a"}\n\n', EVENT_STREAM));
  const grown = await growth(() => ask(cut));
  assert.deepEqual(grown.errors, { truncated: 1 });
});

test("ChunkTimes counts chunks that hold items, and not our own waiting", () => {
  const counted = (run: (chunks: ChunkTimes) => void) => {
    const { upstreamFirstChunk: first, upstreamChunk: between } = times;
    const sums = [first.sum, between.sum];
    const counts = [...between.counts];
    const chunks = new ChunkTimes(1000);
    run(chunks);
    chunks.end();
    return {
      first: Math.round((first.sum - sums[0]!) * 1000),
      between: Math.round((between.sum - sums[1]!) * 1000),
      count: between.counts.reduce((sum, count, i) => sum + count - counts[i]!, 0),
    };
  };
  const withComments = counted((chunks) => {
    chunks.chunk(1100); // a comment
    chunks.chunk(1400);
    chunks.item();
    chunks.item();
    chunks.chunk(1450); // a comment
    chunks.chunk(1500);
    chunks.item();
  });
  assert.deepEqual(withComments, { first: 400, between: 100, count: 1 });
  const held = counted((chunks) => {
    chunks.chunk(1400);
    chunks.item();
    chunks.held();
    chunks.item(); // the rest of the chunk, after the wait
    chunks.chunk(9000);
    chunks.item();
    chunks.chunk(9050);
    chunks.item();
  });
  assert.deepEqual(held, { first: 400, between: 50, count: 1 });
  assert.deepEqual(counted(() => {}), { first: 0, between: 0, count: 0 });
});
