/** The demo source: code points at a pace, and no timer left behind. */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import type { SourceContext } from "../../lib/pipeline/pump.ts";
import { echo } from "../../lib/sources/echo.ts";
import { FakeClock } from "../../lib/testing/fake_clock.ts";
import { total } from "../support/child.ts";
import { TEXT } from "../support/relay.ts";

function contextOf(query: string, signal = new AbortController().signal) {
  return { input: { query }, signal } as SourceContext<{ query: string }>;
}

test("echo() answers the query, one code point at a time", async () => {
  const tokens = await Array.fromAsync(echo({ delayMs: 0 })(contextOf(TEXT)));
  assert.deepEqual(tokens, [...TEXT]);
  assert(tokens.every((token) => token.isWellFormed()));
  assert.deepEqual(await Array.fromAsync(echo({ delayMs: 0 })(contextOf(""))), []);
});

test("echo() waits before each character but the first", async () => {
  const clock = new FakeClock();
  const tokens = echo({ delayMs: 30, clock })(contextOf("abc"));
  await tokens.next();
  for (const character of ["b", "c"]) {
    let isGiven = false;
    const next = tokens.next().finally(() => isGiven = true);
    await clock.advance(29);
    assert.equal(isGiven, false);
    await clock.advance(1);
    assert.equal((await next).value, character);
  }
  assert.equal((await tokens.next()).done, true);
  assert.equal(total(active), 0);
});

test("echo() ends at once when the signal aborts, and leaves no timer", async () => {
  const clock = new FakeClock();
  const abort = new AbortController();
  const tokens = echo({ delayMs: 60_000, clock })(contextOf("abc", abort.signal));
  await tokens.next();
  const next = tokens.next();
  assert.equal(active.timers, 1);
  abort.abort();
  assert.deepEqual(await next, { done: true, value: undefined });
  assert.equal(clock.armed, 0);
  assert.equal(total(active), 0);
});

test("echo() names a bad delay", () => {
  for (const delayMs of [-1, NaN, Infinity, 2 ** 31]) {
    assert.throws(() => echo({ delayMs }), { name: "RangeError", message: /delayMs/ });
  }
});
