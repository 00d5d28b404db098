/** `sse()`: options out of their bounds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sse, type SseOptions } from "../../../mod.ts";
import { collect } from "../../../lib/testing.ts";
import { counting, forbidden, get } from "./setup.ts";

test("sse() rejects with a RangeError for an option out of its bounds, before the source is called", async () => {
  const opened = counting();
  const bad: SseOptions[] = [
    { heartbeatMs: 99 },
    { heartbeatMs: 60_001 },
    { heartbeatMs: -1 },
    { heartbeatMs: NaN },
    { commitAfterMs: -1 },
    { commitAfterMs: 5001 },
    { commitAfterMs: NaN },
    { stallMs: 99 },
    { stallMs: -1 },
    { stallMs: NaN },
    { stallMs: Infinity },
    { highWaterMark: 0 },
    { highWaterMark: NaN },
    { maxBufferedBytes: 1 },
    { highWaterMark: 100, maxBufferedBytes: 99 },
  ];
  const { source, calls } = forbidden();
  for (const options of bad) {
    await assert.rejects(sse(get(), source, options), RangeError, JSON.stringify(options));
  }
  assert.equal(calls(), 0);
  const good: SseOptions[] = [
    { heartbeatMs: 0, commitAfterMs: 0, stallMs: 0 },
    { heartbeatMs: 100, commitAfterMs: 5000, stallMs: 100 },
    { heartbeatMs: 60_000, highWaterMark: 1, maxBufferedBytes: 1 },
  ];
  for (const options of good) {
    assert.equal((await collect(sse(get(), "a", options))).text, "a");
  }
  assert.deepEqual(opened(), {});
});
