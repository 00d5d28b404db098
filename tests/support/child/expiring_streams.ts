/**
 * A process with thousands of streams in one log, finished or abandoned, that says what is left when the
 * log has forgotten them.
 */
import process from "node:process";
import { active } from "../../../lib/counters.ts";
import { MemoryLog, resume, sse } from "../../../mod.ts";
import type { Round } from "../../behaviour/expiry_test.ts";

const COUNT = 500;
const AT_ONCE = 50;
const runtime = globalThis as { Bun?: { gc(force: boolean): void }; gc?(): void };
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function* tokens(): AsyncGenerator<string, void, undefined> {
  for (let i = 0; i < 100; i++) {
    yield `token ${i} `;
    if (i % 20 === 19) await sleep(1);
  }
}

/** One that never ends of itself, and pushes what nobody takes. */
async function* endless(): AsyncGenerator<string, void, undefined> {
  for (;;) {
    yield "x".repeat(100);
    await sleep(1);
  }
}

/** Read to the end, then joined once more by half of the readers. */
async function finished(at: number): Promise<void> {
  const response = await sse(request(at), tokens, { log, owner: `${at % 10}`, chatId: `${at}` });
  const streamId = response.headers.get("x-stream-id")!;
  const text = await response.text();
  if (at % 2 > 0) return;
  const again = await resume(request(at), { log, streamId, owner: `${at % 10}` });
  if (await again.text() !== text) throw new Error("it is not the same");
}

/** Left by its reader, before or after the first chunk; a few come back and leave again. */
async function abandoned(at: number): Promise<void> {
  const abort = new AbortController();
  const options = { log, disconnect: { continueForMs: 20 }, onError: () => {} };
  const response = await sse(request(at, abort.signal), endless, options);
  const reader = response.body!.getReader();
  if (at % 3 > 0) await reader.read();
  if (at % 2 > 0) abort.abort();
  await reader.cancel();
  if (at % 5 > 0) return;
  const streamId = response.headers.get("x-stream-id")!;
  const again = await resume(request(at), { log, streamId });
  await again.body!.cancel();
}

function request(at: number, signal?: AbortSignal): Request {
  const init = signal === undefined ? {} : { signal };
  return new Request(`http://localhost/?at=${at}`, {
    method: "POST",
    body: JSON.stringify({ query: "x".repeat(2000) }),
    ...init,
  });
}

function collect(): number {
  runtime.Bun?.gc(true);
  runtime.gc?.();
  return process.memoryUsage().heapUsed;
}

/** Some streams at once, from the one of that number on. */
async function batch(one: (at: number) => Promise<void>, at: number): Promise<void> {
  await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => one(at + i)));
}

async function round(one: (at: number) => Promise<void>): Promise<Round> {
  for (let at = 0; at < COUNT; at += AT_ONCE) await batch(one, at);
  while (Object.values(active).some((count) => count > 0)) await sleep(5);
  const held = { heapBytes: collect(), bytes: log.bytes, size: log.size };
  const fromMs = performance.now();
  while (log.size > 0 && performance.now() - fromMs < keepMs + 5000) await sleep(5);
  await sleep(20);
  collect();
  return { held, left: { heapBytes: collect(), bytes: log.bytes, size: log.size }, active };
}

let log = new MemoryLog();
await batch(finished, 0);
const fromMs = performance.now();
await batch(finished, 0);
// On a busy machine too, some batches are still held when the last one has ended.
const keepMs = Math.max(200, 8 * (performance.now() - fromMs));
log = new MemoryLog({ keepMs });
for (let i = 0; i < 5; i++) {
  for (const one of [finished, abandoned]) console.log(JSON.stringify(await round(one)));
}
