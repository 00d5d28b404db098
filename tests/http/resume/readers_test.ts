/** Many clients of one stream, over real sockets. */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../../lib/counters.ts";
import { MemoryLog } from "../../../lib/replay/memory.ts";
import { type Block, blocksOf, Reading, same, textOf } from "../../support/event_reader.ts";
import { bodyOf, rawRequest, serve, until } from "../../support/serve.ts";
import { assertNothingLeft } from "../../support/handler_requests.ts";
import { least } from "../../support/timing.ts";
import { stage } from "./setup.ts";

const MIB = 1024 * 1024;
/** More than the buffers of a connection hold, and than a log does by default. */
const TOKENS: readonly string[] = Array.from(
  { length: 16_000 },
  (_, i) => `${i} `.padEnd(1000, "é"),
);

/** Asserts that a reader has all, or is told that it has not; answers how it ended. */
function assertExact(blocks: readonly Block[]): string {
  same(textOf(blocks), TOKENS.slice(0, blocks.length - 1).join(""));
  const { event, data, id } = blocks.at(-1)!;
  const end = event === "failed" ? JSON.parse(data).code as string : event;
  if (end === "done") assert.equal(blocks.length, TOKENS.length + 1);
  else assert.deepEqual([end, id], ["lagged", undefined]);
  return end;
}

for (
  const [left, end, options] of [
    ["waits for it", "done", { maxStreamBytes: 64 * MIB }],
    ["was given up", "lagged", {}],
  ] as const
) {
  test(`others read on beside one whose socket is full, and what is left for it ${left}`, async () => {
    const { handler } = stage({
      log: new MemoryLog(options),
      source: async function* () {
        yield* TOKENS;
      },
    });
    const server = serve(handler.fetch);
    try {
      const headers = { "content-type": "application/json" };
      const first = new Reading(
        await fetch(`${server.url}/streaming`, { method: "POST", headers, body: '{"query":""}' }),
      );
      const path = `/streaming/${first.streamId}`;
      const full = await rawRequest(server.port, { path, paused: true });
      const tab = new Reading(await fetch(server.url + path));
      await first.events(100);
      const late = new Reading(await fetch(server.url + path));
      // From a small log the start may have been given up before the late one came.
      if (late.status !== 200) assert.deepEqual([end, late.status], ["lagged", 410]);
      const others = [first, tab, late].filter(({ status }) => status === 200);
      await Promise.all(others.map((reading) => reading.rest()));
      // Of these, too, one may be too far behind the fastest for a small log.
      const whole = others.filter(({ last }) => last.event === "done");
      assert(end === "done" ? whole.length === 3 : whole.length > 0, `${whole.length} have all`);
      for (const reading of others) assertExact(reading.blocks);
      if (end === "done") assert.equal(active.readers, 1, "it has not been served to its end");

      full.read();
      // Here, too, the start may have been given up before it came.
      const isGone = () => end === "lagged" && full.received.startsWith("HTTP/1.1 410 ");
      // A body that is over before its head has left may come with its length, and not in chunks.
      const isWhole = () => full.received.length < 4096 && bodyOf(full).whole;
      const isOver = () => isGone() || isWhole() || full.received.endsWith("\r\n0\r\n\r\n");
      await until(isOver, 20_000, "the end");
      if (!isGone()) assert.equal(assertExact(blocksOf(bodyOf(full).text).blocks), end);
      full.socket.destroy();
      await assertNothingLeft();
    } finally {
      await server.close();
    }
  });
}

test("a stop ends the generation and every reader of it within 100 ms, over real sockets", async () => {
  const set = stage();
  const server = serve(set.handler.fetch);
  try {
    const tookMs = await least(100, async () => {
      const headers = { "content-type": "application/json" };
      const ask = { method: "POST", headers, body: '{"query":""}' };
      const first = new Reading(await fetch(`${server.url}/streaming`, ask));
      const url = `${server.url}/streaming/${first.streamId}`;
      set.puppet.say("one ");
      const others = await Promise.all(Array.from({ length: 20 }, () => fetch(url)));
      const readers = [first, ...others.map((response) => new Reading(response))];
      await Promise.all(readers.map((reading) => reading.events(1)));
      set.puppet.say("two");
      const fromMs = performance.now();
      assert.equal((await fetch(url, { method: "DELETE" })).status, 204);
      await Promise.all(readers.map((reading) => reading.rest()));
      const tookMs = Math.max(performance.now(), set.puppet.abortedMs) - fromMs;
      assert.equal(set.puppet.reason, "stopped");
      for (const { text, end, last } of readers) {
        assert.deepEqual([text, end], ["one two", "whole"]);
        assert.deepEqual(JSON.parse(last.data), { reason: "cancelled", tokens: 2 });
      }
      return tookMs;
    });
    assert(tookMs <= 100, `${tookMs} ms`);
    await assertNothingLeft();
  } finally {
    await server.close();
  }
});
