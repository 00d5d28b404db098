/** The source that measures the path: its pace, its bounds, and that it is asked for by name alone. */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import { createHandler } from "../../lib/handler.ts";
import { paced } from "../../lib/sources/paced.ts";
import { total } from "../support/child.ts";

const { fetch } = createHandler({
  source: paced(["the ", "model"]),
  log: false,
  onError: () => {},
});

async function ask(body: object): Promise<{ status: number; text: string }> {
  const response = await fetch(
    new Request("http://localhost/streaming?format=plain", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query: "Hello", ...body }),
    }),
  );
  return { status: response.status, text: await response.text() };
}

test("paced() leaves the source alone where nobody asks for a pace", async () => {
  assert.deepEqual(await ask({}), { status: 200, text: "the model" });
});

test("paced() sends the tokens of the pace, each with the ms since the first", async () => {
  const { text } = await ask({ paced: { tokens: 4, intervalMs: 20, silentMs: 60 } });
  assert.match(text, /^0 \d+ \d+ \d+ $/);
  const [, second, third, last] = text.trim().split(" ").map(Number) as [0, number, number, number];
  // A timer may fire a millisecond early.
  assert.ok(second >= 18 && third - second >= 18 && last - third >= 78, text);
  assert.equal((await ask({ paced: { intervalMs: 1 } })).text.trim().split(" ").length, 30);
});

test("paced() rejects what is out of its bounds, before the response headers", async () => {
  for (
    const [pace, named] of [
      [{ tokens: 0 }, "paced.tokens"],
      [{ tokens: 1001 }, "paced.tokens"],
      [{ intervalMs: 0 }, "paced.intervalMs"],
      [{ intervalMs: 1.5 }, "paced.intervalMs"],
      [{ silentMs: 120_001 }, "paced.silentMs"],
      [{ tokens: "5" }, "paced.tokens"],
      [{ tokens: 1000, intervalMs: 1000 }, "180000 ms"],
    ] as const
  ) {
    const { status, text } = await ask({ paced: pace });
    assert.equal(status, 400, text);
    assert.equal(JSON.parse(text).code, "bad_request");
    assert.ok(JSON.parse(text).detail.includes(named), text);
  }
});

test("paced() ends at once when the client disconnects, and leaves no timer", async () => {
  const abort = new AbortController();
  const source = paced("unused");
  const context = { input: { paced: { tokens: 2, intervalMs: 10_000 } }, signal: abort.signal };
  const tokens = source(context as never) as AsyncGenerator<string, void>;
  await tokens.next();
  const next = tokens.next();
  assert.equal(active.timers, 1);
  abort.abort();
  assert.deepEqual(await next, { done: true, value: undefined });
  assert.equal(total(active), 0);
});
