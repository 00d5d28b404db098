/** The trace of a request reaches the upstream, if it is valid, and no other origin. */
import assert from "node:assert/strict";
import test from "node:test";
import { openai } from "../../lib/sources/openai.ts";
import { traceparentOf } from "../../lib/sources/traceparent.ts";
import { createHandler } from "../../lib/handler.ts";
import { serve } from "../support/serve.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const asked = (traceparent: string) =>
  traceparentOf(new Request("http://localhost/", { headers: { traceparent } }));

test("a valid traceparent is passed on, in version 00", () => {
  assert.equal(asked(`00-${TRACE}`), `00-${TRACE}`);
  assert.equal(asked(`00-${TRACE.slice(0, -2)}ff`), `00-${TRACE.slice(0, -2)}ff`);
  assert.equal(asked(`01-${TRACE}`), `00-${TRACE}`);
  assert.equal(asked(`cc-${TRACE}-what-is-to-come`), `00-${TRACE}`);
});

test("any other traceparent is left out", () => {
  const bad = [
    "",
    "00",
    `ff-${TRACE}`,
    `00-${TRACE}-01`,
    `00-${TRACE}-`,
    `01-${TRACE}01`,
    `00-${TRACE.toUpperCase()}`,
    `00-${"0".repeat(32)}-b7ad6b7169203331-01`,
    `00-0af7651916cd43dd8448eb211c80319c-${"0".repeat(16)}-01`,
    `00-${TRACE.slice(1)}`,
    `00-${TRACE}, 00-${TRACE}`,
    `0-${TRACE}`,
    `00_${TRACE}`,
    `00-${TRACE.replace("a", "g")}`,
  ];
  assert.deepEqual(bad.map(asked), bad.map(() => undefined));
  assert.equal(traceparentOf(new Request("http://localhost/")), undefined);
  assert.equal(traceparentOf(undefined), undefined);
});

/** An upstream that keeps what it was sent as `traceparent`, and redirects where `to` is set. */
async function upstreamOf(to?: string) {
  const got: (string | null)[] = [];
  const server = await serve((request) => {
    got.push(request.headers.get("traceparent"));
    if (to !== undefined) return new Response(null, { status: 307, headers: { location: to } });
    const chunk = { choices: [{ index: 0, delta: { content: "a" }, finish_reason: "stop" }] };
    const body = `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`;
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  });
  return { got, url: `http://127.0.0.1:${server.port}/v1`, close: () => server.close() };
}

async function post(source: ReturnType<typeof openai>, traceparent: string): Promise<number> {
  const handler = createHandler({ source: source as never, onError: () => {} });
  const response = await handler.fetch(
    new Request("http://localhost/streaming", {
      method: "POST",
      headers: { "content-type": "application/json", traceparent, tracestate: "a=b" },
      body: '{"query":"Hello"}',
    }),
  );
  await response.text();
  return response.status;
}

test("openai() sends the trace to its upstream; a header of the operator's own stays", async () => {
  const upstream = await upstreamOf();
  try {
    const options = { baseURL: upstream.url, model: "m" };
    // One source, for the headers of one request must not stay for the next.
    const source = openai(options);
    assert.equal(await post(source, `00-${TRACE}`), 200);
    assert.equal(await post(source, `00-${TRACE}-no`), 200);
    const own = openai({ ...options, headers: { traceparent: "mine" } });
    assert.equal(await post(own, `00-${TRACE}`), 200);
    assert.deepEqual(upstream.got, [`00-${TRACE}`, null, "mine"]);
  } finally {
    await upstream.close();
  }
});

test("openai() sends the trace nowhere that an upstream redirects to", async () => {
  const elsewhere = await upstreamOf();
  const upstream = await upstreamOf(`${elsewhere.url}/chat/completions`);
  try {
    assert.equal(await post(openai({ baseURL: upstream.url, model: "m" }), `00-${TRACE}`), 502);
    assert.deepEqual([upstream.got, elsewhere.got], [[`00-${TRACE}`], []]);
  } finally {
    await upstream.close();
    await elsewhere.close();
  }
});
