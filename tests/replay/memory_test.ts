/** `MemoryLog`: the rules of every log, and what is its own: its limits, and what it counts. */
import assert from "node:assert/strict";
import test from "node:test";
import { MemoryLog, type MemoryLogOptions, resume, sse, type SseOptions } from "../../mod.ts";
import type { Recording } from "../../lib/replay/recording.ts";
import { until } from "../support/serve.ts";
import { contract } from "./contract.ts";

const KIB = 1024;

contract("MemoryLog", (limits) => {
  const log = new MemoryLog(limits);
  return { log, elsewhere: log, close: () => {} };
}, { limitedInAll: true });

const ask = () => new Request("http://localhost/", { method: "POST" });

async function record(
  log: MemoryLog,
  tokens: string[],
  options: SseOptions = {},
): Promise<Response> {
  const response = await sse(ask(), tokens, { log, ...options });
  await response.text();
  return response;
}

test("MemoryLog refuses limits that are out of their bounds, and names them", () => {
  const refused: [MemoryLogOptions, RegExp][] = [
    [{ maxStreamBytes: 128 * KIB - 1 }, /maxStreamBytes/],
    [{ maxStreamBytes: NaN }, /maxStreamBytes/],
    [{ maxStreamBytes: "1" as never }, /maxStreamBytes/],
    [{ maxStreamEvents: 9999 }, /maxStreamEvents/],
    [{ maxBytes: 1024 * KIB - 1 }, /maxBytes/],
    [{ maxBytes: -1 }, /maxBytes/],
    [{ maxStreamBytes: 128 * KIB, maxBytes: 127 * KIB }, /maxBytes/],
    [{ keepMs: -1 }, /keepMs/],
    [{ keepMs: NaN }, /keepMs/],
  ];
  for (const [options, message] of refused) {
    assert.throws(() => new MemoryLog(options), (error: unknown) => {
      assert(error instanceof RangeError);
      assert.match(error.message, message);
      return true;
    });
  }
  const taken: MemoryLogOptions[] = [
    {},
    { maxStreamBytes: 128 * KIB, maxStreamEvents: 10_000, maxBytes: 128 * KIB, keepMs: 0 },
    { maxStreamBytes: 2 ** 30 },
    { maxStreamBytes: Infinity, maxStreamEvents: Infinity, maxBytes: Infinity, keepMs: Infinity },
  ];
  for (const options of taken) assert.equal(new MemoryLog(options).bytes, 0);
});

test("A log that builds on MemoryLog hears of events once, and again where it asks for it", async () => {
  let heard = 0;
  let recording: Recording | undefined;
  const log = new MemoryLog({}, {
    appended: (one) => {
      recording = one;
      heard++;
    },
  });
  async function* tokens() {
    for (let i = 0; i < 20; i++) {
      if (i === 10) {
        assert.equal(heard, 1);
        recording!.notifyAt = 0;
      }
      yield "x";
      // Each is written by itself.
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
  const response = await sse(ask(), tokens(), { log });
  await response.text();
  assert.equal(heard, 2);
});

test("MemoryLog.bytes counts what is held to the last byte, whatever was written how", async () => {
  const sizes = [0, 1, 500, 15_000, 17_000, 70_000];
  for (const first of sizes) {
    for (const second of sizes) {
      const log = new MemoryLog({ keepMs: 30 });
      const tokens = ["x".repeat(first), "y".repeat(second), "z"];
      const source = async function* () {
        for (const token of tokens) {
          yield token;
          await new Promise((resolve) => setTimeout(resolve, 0));
        }
      };
      const response = await sse(ask(), source, { log });
      const text = await response.text();
      assert.equal(log.size, 1);
      // No more than what was sent, a page that is not full, and the stream itself.
      assert(log.bytes >= text.length - 2, `${log.bytes} bytes for ${text.length}`);
      assert(log.bytes <= text.length + 2 * 16 * KIB + 2 * KIB, `${log.bytes} for ${text.length}`);
      await until(() => log.size === 0, 2000, "forgotten");
      assert.equal(log.bytes, 0, `after ${first} and ${second}`);
    }
  }
});

test("MemoryLog.bytes counts the names, which are strangers'", async () => {
  const log = new MemoryLog({ keepMs: 50 });
  await record(log, ["a"], { chatId: "c".repeat(100_000), owner: "o".repeat(50_000) });
  assert(log.bytes > 600_000, `${log.bytes} bytes`);
  await until(() => log.size === 0, 2000, "forgotten");
  assert.equal(log.bytes, 0);
});

test("MemoryLog holds no more than maxBytes, however many push into it at once", async () => {
  const maxBytes = 1024 * KIB;
  const log = new MemoryLog({ maxStreamBytes: 256 * KIB, maxBytes });
  const finish: (() => void)[] = [];
  let highest = 0;
  const responses = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      sse(ask(), async ({ queue }) => {
        for (let j = 0; j < 100; j++) {
          for (let k = 0; k < 10; k++) queue.send(`${i} ${j} ${k} `.padEnd(900, "x"));
          highest = Math.max(highest, log.bytes);
          await new Promise((resolve) => setTimeout(resolve, 0));
        }
        await new Promise<void>((resolve) => finish.push(resolve));
      }, { log, disconnect: "continue", heartbeatMs: 0, stallMs: 0 })),
  );
  await until(() => finish.length === 20, 20_000, "all have pushed");
  // Each live stream keeps the page that it writes on.
  assert(highest <= maxBytes + 20 * 32 * KIB, `${highest} bytes`);
  for (const end of finish) end();
  for (const response of responses) assert.match(await response.text(), /event: failed/);
});

test("MemoryLog forgets in the order in which streams ended, each in its time", async () => {
  const log = new MemoryLog({ keepMs: 150 });
  const first = (await record(log, ["a"])).headers.get("x-stream-id")!;
  await new Promise((resolve) => setTimeout(resolve, 75));
  const second = (await record(log, ["b"])).headers.get("x-stream-id")!;
  await until(() => log.size === 1, 2000, "the first is forgotten");
  assert.equal(await log.find(first), undefined);
  assert.notEqual(await log.find(second), undefined);
  await until(() => log.size === 0, 2000, "the second is forgotten");
});

test("MemoryLog keeps a stream that is named anew under its chat's last name only", async () => {
  const log = new MemoryLog({ keepMs: 100 });
  const ended: (() => void)[] = [];
  const source = () => new Promise<void>((resolve) => ended.push(resolve));
  const options: SseOptions = { log, chatId: "chat", commitAfterMs: 0, disconnect: "continue" };
  const old = await sse(ask(), source, options);
  const young = await sse(ask(), source, options);
  const latest = async () => (await log.latest(undefined, "chat"))?.info.streamId;
  assert.equal(await latest(), young.headers.get("x-stream-id"));
  // That the older one ends and goes does not take the chat's name with it.
  ended[0]!();
  await old.text();
  await until(() => log.size === 1, 2000, "the old one is forgotten");
  assert.equal(await latest(), young.headers.get("x-stream-id"));
  const joined = await resume(new Request("http://localhost/"), { log, chatId: "chat" });
  ended[1]!();
  assert.equal(await young.text(), await joined.text());
  await until(() => log.size === 0, 2000, "the young one is forgotten");
  assert.equal(await latest(), undefined);
});
