/**
 * Twelve seconds of silence over a real socket: longer than Bun keeps a silent connection by default,
 * and so the heartbeat is what keeps the stream alive. The cases wait at once.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import { createHandler } from "../../lib/handler.ts";
import { sse } from "../../lib/http/sse.ts";
import type { Source } from "../../lib/pipeline/pump.ts";
import { total } from "../support/child.ts";
import {
  bodyOf,
  type RawRequest,
  rawRequest,
  serve,
  type Served,
  until,
} from "../support/serve.ts";

const SILENCE_MS = 12_000;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

interface Case {
  raw: RawRequest;
  server: Served;
  /** When each heartbeat arrived, in ms since the first token. */
  beats: number[];
}

const generator = async function* () {
  yield "one";
  await sleep(SILENCE_MS);
  yield "two";
};

const sources: Record<string, Source<undefined>> = {
  "a generator": generator,
  "a callback producer": async ({ queue }) => {
    await queue.send("one");
    await sleep(SILENCE_MS);
    await queue.send("two");
  },
};

async function begin(server: Served, options: Parameters<typeof rawRequest>[1]): Promise<Case> {
  const raw = await rawRequest(server.port, options);
  await until(() => raw.received.includes('{"token":"one"}'), 2000, "the first token");
  const firstMs = performance.now();
  const beats: number[] = [];
  raw.socket.on("data", (data) => {
    if (String(data).includes("\r\n:\n\r\n")) beats.push(performance.now() - firstMs);
  });
  return { raw, server, beats };
}

test("12 s of silence: heartbeats every 5 s, and the text is whole", async () => {
  const handler = createHandler({ source: generator });
  const post = {
    method: "POST",
    path: "/streaming",
    headers: { "content-type": "application/json" },
    body: '{"query":""}',
  };
  const cases = await Promise.all([
    // Bun's own limit, 10 s, is left as it is.
    ...Object.values(sources).map((source) =>
      begin(serve((request) => sse(request, source), { idleTimeout: 10 }), {
        method: "POST",
      })
    ),
    begin(serve(handler.fetch, { idleTimeout: 10 }), post),
  ]);
  for (const { raw, server, beats } of cases) {
    await until(() => raw.received.endsWith("\r\n0\r\n\r\n"), SILENCE_MS + 3000, "the end");
    const { text } = bodyOf(raw);
    assert.equal(
      text.replace(/^(id|retry): .*\n/gm, ""),
      ':\ndata: {"token":"one"}\n\n:\n:\ndata: {"token":"two"}\n\n' +
        'event: done\ndata: {"reason":"completed","tokens":2}\n\n',
    );
    assert.equal(beats.length, 2);
    for (const [i, beatMs] of beats.entries()) {
      const expectedMs = (i + 1) * 5000;
      assert(Math.abs(beatMs - expectedMs) < 750, `heartbeat ${i} after ${beatMs.toFixed()} ms`);
    }
    raw.socket.destroy();
    await server.close();
  }
  assert.equal(total(active), 0);
});
