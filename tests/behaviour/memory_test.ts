/**
 * Memory and time that others decide: an upstream, or a client, that sends small pieces, or pieces of
 * something large. Each rule was found by an attack.
 */
import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { ToolCallAssembler } from "../../lib/formats/tool_calls.ts";
import { openaiFormat } from "../../lib/formats/openai.ts";
import { responsesFormat } from "../../lib/formats/responses.ts";
import { createHandler } from "../../lib/handler.ts";
import { sse } from "../../lib/http/sse.ts";
import { openai } from "../../lib/sources/openai.ts";
import { EventDecoder } from "../../lib/sse/decode.ts";
import { post } from "../support/handler_requests.ts";
import { processorTime } from "../support/timing.ts";

const MIB = 2 ** 20;
const bytesOf = (text: string) => new TextEncoder().encode(text);

const { Bun } = globalThis as { Bun?: { gc(force: boolean): void } };

/** Bun collects late while its machine is busy, so that what is left would be told too high. */
function collect(): void {
  Bun?.gc(true);
}

/** How far the resident size grows, in MiB. */
async function growthOf(run: () => unknown): Promise<number> {
  const before = process.memoryUsage().rss;
  await run();
  return (process.memoryUsage().rss - before) / MIB;
}

test("EventDecoder keeps nothing of the comments within an unfinished block", async () => {
  const decoder = new EventDecoder();
  const chunk = bytesOf(`: ${"c".repeat(64 * 1024)}\ndata: 0123456789012345678\n`);
  const growth = await growthOf(() => {
    for (let i = 0; i < 5000; i++) {
      assert.deepEqual(decoder.feed(chunk.slice()), []);
      if (i % 250 === 0) collect();
    }
  });
  const [event] = decoder.feed(bytesOf("\n"));
  assert.equal(event?.data, Array(5000).fill("0123456789012345678").join("\n"));
  assert(growth < 160, `${growth} MiB of 312`);
});

test("EventDecoder takes linear time for a block of small lines, a line a chunk", () => {
  const decoder = new EventDecoder();
  const line = bytesOf("data: テスト\n");
  const usedMs = processorTime();
  for (let i = 0; i < 50_000; i++) decoder.feed(line);
  const [event] = decoder.feed(bytesOf("\n"));
  assert.equal(event?.data, Array(50_000).fill("テスト").join("\n"));
  assert(usedMs() < 3000, "quadratic");
});

test("openai() keeps nothing of the buffers in which an error comes, byte by byte", async () => {
  const { fetch } = globalThis;
  let left = 4000;
  // As Deno makes them: each byte in a buffer of 64 KiB.
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      if (left-- === 0) return controller.close();
      if (left % 500 === 0) collect();
      controller.enqueue(new Uint8Array(64 * 1024).fill(97).subarray(0, 1));
    },
  }, { highWaterMark: 0 });
  const respond = () => Promise.resolve(new Response(body, { status: 500 }));
  globalThis.fetch = respond as unknown as typeof fetch;
  const told: unknown[] = [];
  try {
    const growth = await growthOf(async () => {
      const source = openai({ baseURL: "http://127.0.0.1:1/v1", model: "a", messages: () => [] });
      const onError = (error: unknown) => void told.push(error);
      const response = await sse(new Request("http://localhost/"), source, { onError });
      assert.equal(response.status, 502);
    });
    const [{ cause }] = told as [{ cause: { body: string } }];
    assert.match(cause.body, /^a{500}$/);
    assert(growth < 125, `${growth} MiB of 250`);
  } finally {
    globalThis.fetch = fetch;
  }
});

test("a buffered response keeps nothing of the chunks that its tokens are slices of", async () => {
  async function* tokens() {
    for (let i = 0; i < 30_000; i++) {
      yield `${"c".repeat(16 * 1024)}${i}`.slice(16 * 1024 - 20);
      if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
      if (i % 2500 === 0) collect();
    }
  }
  let length = 0;
  const growth = await growthOf(async () => {
    const format = openaiFormat.with({ buffered: true });
    const response = await sse(new Request("http://localhost/"), tokens, { format });
    length = (await response.json()).choices[0].message.content.length;
  });
  assert.equal(length, 30_000 * 20 + 138_890);
  assert(growth < 160, `${growth} MiB of 468`);
});

test("ToolCallAssembler takes linear time for arguments in small fragments", () => {
  const assembler = new ToolCallAssembler({ fault: (what) => new Error(what), keep() {} });
  const usedMs = processorTime();
  assembler.take([{ index: 0, id: "a", name: "f", arguments: '{"a":"' }]);
  let text = "";
  for (let i = 0; i < 40_000; i++) {
    for (const { fragment } of assembler.take([{ index: 0, arguments: "0123456789" }])) {
      text += fragment;
    }
  }
  assert.equal(text, "0123456789".repeat(40_000));
  assert.equal(assembler.calls[0]?.arguments, `{"a":"${text}`);
  assert(usedMs() < 2000, "quadratic");
});

test("responsesFormat takes linear time for calls that never end", async () => {
  const COUNT = 40_000;
  function* items() {
    for (let index = 0; index < COUNT; index++) {
      yield { event: "tool_call", data: { index, id: `call_${index}`, name: "f", arguments: "{" } };
    }
  }
  const begun = process.cpuUsage();
  const format = responsesFormat.with({ buffered: true });
  const response = await sse(new Request("http://localhost/"), items, { format });
  const { output } = await response.json();
  assert.equal(output.length, COUNT);
  assert(process.cpuUsage(begun).user < 2_000_000, "quadratic");
});

test("a buffered response takes linear time for deltas in small pieces", async () => {
  const COUNT = 60_000;
  function* items() {
    for (let i = 0; i < COUNT; i++) {
      yield { event: "delta", data: { list: [i], text: "ab"[i % 2] } };
    }
  }
  const usedMs = processorTime();
  const format = openaiFormat.with({ buffered: true });
  const response = await sse(new Request("http://localhost/"), items, { format });
  const { message } = (await response.json()).choices[0];
  assert.equal(message.list.length, COUNT);
  assert.equal(message.text, "ab".repeat(COUNT / 2));
  assert(usedMs() < 2500, "quadratic");
});

test("a buffered response leaves the data of its deltas, and every object's prototype, alone", async () => {
  const data = JSON.parse('{"a":[1],"__proto__":{"spoilt":1}}');
  const format = openaiFormat.with({ buffered: true });
  const items = [{ event: "delta", data }, { event: "delta", data }];
  const response = await sse(new Request("http://localhost/"), items, { format });
  const { message } = (await response.json()).choices[0];
  assert.deepEqual(message.a, [1, 1]);
  assert.deepEqual(data.a, [1]);
  assert.equal(({} as { spoilt?: unknown }).spoilt, undefined);
});

test("a body has 262,144 values at most", async () => {
  const handler = createHandler({ source: "Hello", limits: { maxBodyBytes: 4 * MIB } });
  const ask = (values: string) => post(handler, "/streaming", `{"query":"","x":[${values}]}`);
  const good = await ask(Array(200_000).fill("[]").join());
  assert.equal(good.status, 413, "lists count as well as what divides them");
  assert.match((await good.json()).detail, /262144 values/);
  // What looks like values within a text is none.
  for (const values of [Array(262_000).fill("1").join(), `"${",[{".repeat(300_000)}"`]) {
    const response = await ask(values);
    assert.equal(response.status, 200);
    await response.text();
  }
});

for (
  const [path, name, status] of [
    ["/v1/chat/completions", "model", 400],
    ["/v1/messages", "model", 400],
    ["/streaming", "model", 422],
    ["/api/chat", "id", 422],
    ["/api/chat", "messageId", 422],
    ["/ag-ui", "threadId", 422],
    ["/ag-ui", "runId", 422],
    ["/ag-ui", "parentRunId", 422],
  ] as const
) {
  test(`${name} of ${path} has 1000 characters at most`, async () => {
    const handler = createHandler({ source: "Hello" });
    const ask = (length: number) => {
      const messages = path === "/api/chat"
        ? [{ role: "user", parts: [{ type: "text", text: "a" }] }]
        : [{ role: "user", content: "a" }];
      const given = { query: "", model: "a", max_tokens: 1, threadId: "t", runId: "r", messages };
      const body = { ...given, [name]: "n".repeat(length) };
      return post(handler, path, body);
    };
    const longest = await ask(1000);
    assert.equal(longest.status, 200);
    await longest.text();
    const response = await ask(1001);
    assert.equal(response.status, status);
    assert.match(await response.text(), /1000 characters or fewer/);
  });
}

const NOT_HERE = Bun === undefined && "elsewhere the signal needs its request";
test("an open stream holds no request on Bun", { skip: NOT_HERE }, async () => {
  const requests: WeakRef<Request>[] = [];
  async function* model(signal: AbortSignal) {
    yield "begun";
    await new Promise((resolve) => signal.onabort = resolve);
  }
  const open = async () => {
    const request = new Request("http://localhost/");
    requests.push(new WeakRef(request));
    const { body } = await sse(request, ({ signal }) => model(signal));
    const reader = body!.getReader();
    await reader.read();
    return reader;
  };
  const readers = [];
  for (let i = 0; i < 50; i++) readers.push(await open());
  // A few may still be on the stack. What is looked at is held until the task is over.
  const held = () => requests.filter((request) => request.deref() !== undefined).length;
  for (let tries = 0; held() > 5 && tries < 50; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert(held() <= 5, `${held()} of 50 are held`);
  await Promise.all(readers.map((reader) => reader.cancel()));
});
