/**
 * What `openai()` asks, as its options say, and what it makes of a good answer: the text exactly as it
 * was, at any split, the typed items, the summary. The broken answers are in `openai_faults_test.ts`.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import test, { after, before } from "node:test";
import type { SourceContext } from "../../lib/pipeline/pump.ts";
import { openai, type OpenAIOptions } from "../../lib/sources/openai.ts";
import { Completion, cut, DONE } from "../support/upstream/completion.ts";
import { reasoning, toolCalls } from "../support/upstream/faults.ts";
import { type Mock, startMock } from "../support/upstream/mock.ts";
import {
  assertNoLeak,
  assertNothingLeft,
  KEY,
  read,
  relay,
  sleep,
  TEXT,
} from "../support/relay.ts";

let mock: Mock;
before(async () => {
  mock = await startMock();
});
after(() => mock.close());

interface Asked {
  [field: string]: unknown;
  messages?: unknown[];
}

/** Relays one answer and gives back what the upstream was asked. */
async function asked(options: Partial<OpenAIOptions<undefined>>) {
  const answer = await read(await relay(mock, "mock", { source: options }));
  assert.deepEqual([answer.status, answer.end], [200, "done"]);
  const request = mock.requests.at(-1)!;
  return { ...request, body: request.body as Asked };
}

test("openai() asks for a stream with usage, as its options say", async () => {
  const { method, path, body, headers } = await asked({
    body: { temperature: 0.5, tools: [{ type: "function", function: { name: "now" } }] },
    headers: { "x-team": "blue", "accept-encoding": "gzip", accept: "*/*" },
  });
  assert.deepEqual([method, path], ["POST", "/v1/chat/completions"]);
  assert.deepEqual(body, {
    model: "mock",
    stream: true,
    stream_options: { include_usage: true },
    messages: [{ role: "user", content: TEXT }],
    temperature: 0.5,
    tools: [{ type: "function", function: { name: "now" } }],
  });
  assert.equal(headers.authorization, `Bearer ${KEY}`);
  assert.equal(headers["content-type"], "application/json");
  assert.equal(headers["accept-encoding"], "identity");
  assert.equal(headers.accept, "text/event-stream");
  assert.equal(headers["x-team"], "blue");
});

test("openai() keeps model, messages and stream its own, and lets stream_options go", async () => {
  const { body } = await asked({
    body: { model: "other", messages: [], stream: false, stream_options: undefined },
  });
  assert.deepEqual(body, {
    model: "mock",
    stream: true,
    messages: [{ role: "user", content: TEXT }],
  });
});

test("openai() sends no Authorization without a key", async () => {
  for (const apiKey of [undefined, ""]) {
    const source = { baseURL: mock.url, model: "mock", messages: () => [] };
    const queue = openai(apiKey === undefined ? source : { ...source, apiKey })({} as never);
    await Array.fromAsync(queue);
    assert.equal(mock.requests.at(-1)!.headers.authorization, undefined);
  }
  const { headers } = await asked({ apiKey: "", headers: { authorization: "Basic eDp5" } });
  assert.equal(headers.authorization, "Basic eDp5");
});

test("openai() builds its URL with or without a slash, and keeps a query", async () => {
  const urls = { "": "", "/": "", "//": "", "?api-version=1": "?api-version=1", "/#a": "" };
  for (const [tail, query] of Object.entries(urls)) {
    const { path } = await asked({ baseURL: mock.url + tail });
    assert.equal(path, `/v1/chat/completions${query}`, tail);
  }
});

test("openai() takes input.messages, else input.query, unless messages says otherwise", async () => {
  const one = [{ role: "system", content: "a" }, { role: "user", content: [{ type: "text" }] }];
  const cases: [unknown, unknown][] = [
    [{ query: "q" }, [{ role: "user", content: "q" }]],
    [{ query: "" }, [{ role: "user", content: "" }]],
    [{ query: "q", messages: one }, one],
  ];
  const source = { baseURL: mock.url, model: "mock" };
  const ask = async (input: unknown, options: OpenAIOptions<{ n: number }>) => {
    const context = { input } as SourceContext<{ n: number }>;
    await Array.fromAsync(openai(options)(context));
    return (mock.requests.at(-1)!.body as Asked).messages;
  };
  for (const [input, messages] of cases) assert.deepEqual(await ask(input, source), messages);
  const messages = (
    { input }: SourceContext<{ n: number }>,
  ) => [{ role: "user", content: input.n }];
  assert.deepEqual(await ask({ n: 7, query: "q" }, { ...source, messages }), [
    { role: "user", content: 7 },
  ]);
  for (const input of [undefined, null, "q", {}, { query: 1 }]) {
    assert.throws(() => openai(source)({ input } as never), {
      name: "TypeError",
      message: /^Cannot ask the upstream: /,
    });
  }
});

test("openai() relays what the input says of the answer, and nothing else", async () => {
  const said = {
    temperature: 0.5,
    top_p: 0.9,
    max_tokens: 9,
    stop: ["END"],
    tools: [{ type: "function", function: { name: "now" } }],
    tool_choice: "auto",
    parallel_tool_calls: false,
    response_format: { type: "json_object" },
    seed: 7,
    presence_penalty: 1,
    frequency_penalty: -1,
    reasoning_effort: "low",
  };
  const kept = {
    query: "q",
    api: "openai",
    body: { api_key: "sk-client" },
    chatId: "c",
    model: "dearer",
    stream: false,
    stream_options: {},
    n: 5,
    api_key: "sk-client",
    api_base: "http://elsewhere.example",
    models: ["dearer"],
    service_tier: "priority",
    user: "me",
  };
  const source = { baseURL: mock.url, model: "mock" };
  const sent = async (input: unknown, options: Partial<OpenAIOptions> = {}) => {
    await Array.fromAsync(openai({ ...source, ...options })({ input } as SourceContext));
    const { model, stream, stream_options, messages, ...rest } = mock.requests.at(-1)!
      .body as Asked;
    assert.deepEqual([model, stream, stream_options], ["mock", true, { include_usage: true }]);
    assert.deepEqual(messages, [{ role: "user", content: "q" }]);
    return rest;
  };
  assert.deepEqual(await sent({ ...said, ...kept }), said);
  assert.deepEqual(await sent({ ...said, ...kept }, { fields: [] }), {});
  assert.deepEqual(await sent({ ...said, ...kept }, { fields: ["seed", "user"] }), {
    seed: 7,
    user: "me",
  });
  assert.deepEqual(await sent({ query: "q", temperature: null, seed: undefined }), {});
  const body = { temperature: 0, max_tokens: 5 };
  const input = { query: "q", temperature: 2, max_tokens: 9, max_completion_tokens: 9, seed: 7 };
  assert.deepEqual(await sent(input), { temperature: 2, max_completion_tokens: 9, seed: 7 });
  assert.deepEqual(await sent(input, { body }), { temperature: 0, max_tokens: 5, seed: 7 });
  const renamed = ({ input }: SourceContext) => {
    return { max_completion_tokens: (input as { max_tokens: number }).max_tokens };
  };
  assert.deepEqual(await sent({ query: "q", max_tokens: 3 }, { body: renamed }), {
    max_completion_tokens: 3,
  });
});

test("openai() names the option that is out of its bounds", () => {
  const good = { baseURL: "http://localhost/v1", model: "m" };
  const bad: [Record<string, unknown>, string, RegExp][] = [
    [{ baseURL: "localhost:11434/v1" }, "TypeError", /baseURL/],
    [{ baseURL: "file:///v1" }, "TypeError", /baseURL/],
    [{ baseURL: "" }, "TypeError", /baseURL/],
    [{ baseURL: undefined }, "TypeError", /baseURL/],
    [{ model: "" }, "TypeError", /model/],
    [{ fields: "temperature" }, "TypeError", /fields/],
    [{ model: undefined }, "TypeError", /model/],
    [{ retries: -1 }, "RangeError", /retries is not an integer from 0 to 10/],
    [{ retries: 11 }, "RangeError", /retries/],
    [{ retries: 0.5 }, "RangeError", /retries/],
  ];
  for (
    const name of [
      "headTimeoutMs",
      "firstTokenTimeoutMs",
      "tokenTimeoutMs",
      "maxLineBytes",
      "maxEventBytes",
    ]
  ) {
    for (const value of [0, -1, 1.5, NaN, Infinity, "5"]) {
      bad.push([{ [name]: value }, "RangeError", new RegExp(name)]);
    }
  }
  for (const [options, name, message] of bad) {
    assert.throws(() => openai({ ...good, ...options } as never), { name, message });
  }
  openai({ ...good, retries: 10, headTimeoutMs: 1, maxLineBytes: 1 });
});

test("openai() says that a key cannot be sent, and does not repeat it", () => {
  const good = { baseURL: "http://localhost/v1", model: "m" };
  for (const options of [{ apiKey: `${KEY}\n1` }, { headers: { "api-key": `${KEY}\r\nx: y` } }]) {
    assert.throws(() => openai({ ...good, ...options }), (error: Error) => {
      assert.equal(error.name, "TypeError");
      assert.equal(error.cause, undefined);
      assert(!`${error.message}${error.stack}`.includes(KEY));
      return true;
    });
  }
});

const texts: Record<string, string> = {
  "Japanese": "ストリーミングで応答を一文字ずつ返すことができます。日本語、全角　空白。",
  "emoji with ZWJ, modifiers, flags": "👩‍👩‍👧‍👦👍🏽🏳️‍🌈🇯🇵 e\u0301 ﷽ 𝒳𝒴 \u200b|\u200d|\ufeff|",
  "CR, CRLF, LF": "a\rb\r\nc\n\nd\r\r\n\n\re",
  "spaces at both ends": "   leading and trailing  \t ",
  "blank lines": "\n\n\nthree above and three below\n\n\n",
  "what looks like a frame": 'data: x\n\nevent: done\ndata: [DONE]\n\n: "{}\\u0000',
  "controls": "\u0000\u0001\u001f\u007f\u0085\u2028\u2029\ufffe",
  "100 KB": TEXT.repeat(Math.ceil(100_000 / new TextEncoder().encode(TEXT).length)),
};

for (const [name, text] of Object.entries(texts)) {
  test(`openai() relays the text exactly: ${name}`, async () => {
    const dialects = ["mock", "mock:crlf", "mock:cr", "mock:comments"];
    for (const model of [...dialects, "mock:plain?size=1", "mock:plain?split=surrogates"]) {
      const answer = await read(await relay(mock, model, { text }));
      assert(answer.text === text, model);
      assert.equal(answer.text.isWellFormed(), true);
      assert.deepEqual([answer.end, answer.last.finishReason], ["done", "stop"]);
      assert.equal(answer.last.tokens > 0, true);
    }
    await assertNothingLeft(mock);
  });
}

/** One good answer as an upstream's body, in chunks of `size` bytes. */
function bodyOf(text: string, size: number): ReadableStream<Uint8Array> {
  // The frame around a token is 200 bytes long: a few long tokens for a long text.
  const tokens = cut(text, text.length > 10_000 ? 1001 : 5, "surrogates");
  const completion = new Completion({
    id: "chatcmpl-1",
    model: "m",
    tokens,
    promptTokens: 1,
    includeUsage: true,
  });
  const bytes = new TextEncoder().encode(
    completion.role() + tokens.map((token) => completion.content(token)).join("") +
      completion.finish("stop") + completion.usage() + DONE,
  );
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(bytes.slice(at, at += size));
      if (at >= bytes.length) controller.close();
    },
  });
}

for (const [name, text] of Object.entries(texts)) {
  test(`openai() relays the text exactly, cut at every byte: ${name}`, async (context) => {
    for (const size of [1, 2, 7, 1000]) {
      // Byte by byte through a socket 100 KB would take a minute: here the body is cut by hand.
      const fetched = context.mock.method(globalThis, "fetch", () =>
        Promise.resolve(
          new Response(bodyOf(text, size), { headers: { "content-type": "text/event-stream" } }),
        ));
      const answer = await read(await relay(mock, "m", { text })).finally(() =>
        fetched.mock.restore()
      );
      assert.equal(fetched.mock.callCount(), 1);
      assert(answer.text === text, `in chunks of ${size}`);
      assert.equal(answer.end, "done");
    }
  });
}

test("openai() relays a text that travels one byte per segment", async () => {
  for (const model of ["mock:bytes", "mock:bytes?split=surrogates&size=3", "mock:crlf-split"]) {
    const answer = await read(await relay(mock, model));
    assert.equal(answer.text, TEXT);
    assert.equal(answer.end, "done");
  }
});

test("openai() relays an empty answer as a whole one", async () => {
  const answer = await read(await relay(mock, "mock:plain?tokens=0"));
  assert.deepEqual([answer.status, answer.text, answer.end], [200, "", "done"]);
  assert.equal(answer.last.tokens, 0);
});

test("openai() hands on reasoning as items, and the answer as tokens", async () => {
  const answer = await read(await relay(mock, "mock:reasoning"));
  const thoughts = answer.items.map(({ event, data }) => {
    assert.equal(event, "reasoning");
    return (data as { text: string }).text;
  });
  assert(thoughts.length > 1);
  assert.equal(thoughts.join(""), reasoning(TEXT));
  assert.equal(answer.text, TEXT);
  assert.equal(answer.last.finishReason, "stop");
});

test("openai() hands on tool calls in fragments that make the whole", async () => {
  const answer = await read(await relay(mock, "mock:tools"));
  const calls: { id: string; name: string; arguments: string }[] = [];
  for (const { event, data } of answer.items) {
    assert.equal(event, "tool_call");
    const { index, id, name, arguments: part } = data as Record<string, string> & { index: number };
    const call = calls[index] ??= { id: id!, name: name!, arguments: "" };
    call.arguments += part ?? "";
  }
  assert.deepEqual(calls, toolCalls(TEXT));
  assert.deepEqual([answer.text, answer.end], ["", "done"]);
  assert.equal(answer.last.finishReason, "tool_calls");
});

test("openai() hands on the finish reason and the usage as the summary", async () => {
  const tokens = cut(TEXT).length;
  const usage = { prompt_tokens: tokens, completion_tokens: tokens, total_tokens: 2 * tokens };
  const whole = await read(await relay(mock, "mock"));
  assert.deepEqual(whole.last, { reason: "completed", tokens, finishReason: "stop", usage });
  const short = await read(await relay(mock, "mock:length"));
  assert.deepEqual(short.last, { reason: "completed", tokens, finishReason: "length", usage });
});

test("openai() is a source of its own: a queue that is async-iterable", async () => {
  const queue = openai({ baseURL: mock.url, model: "mock", apiKey: KEY })(
    { input: { query: TEXT } } as never,
  );
  let text = "";
  for await (const item of queue) text += item;
  assert.equal(text, TEXT);
  assert.equal(queue.summary.finishReason, "stop");
  const left = openai({ baseURL: mock.url, model: "mock:endless", apiKey: KEY })(
    { input: { query: TEXT } } as never,
  );
  for await (const _ of left) break;
  await assertNothingLeft(mock);
  assert.equal(mock.requests.at(-1)!.state, "left");
});

test("openai() relays nothing of the upstream's head", async () => {
  const answer = await read(await relay(mock, "mock"));
  assertNoLeak(answer);
  assert.equal(answer.headers.get("content-type"), "text/event-stream; charset=utf-8");
});

test("openai() asks anew on a connection that has been idle for 4 s, but for Bun", async () => {
  const used = new Set<Socket>();
  const server = createServer((request, response) => {
    used.add(request.socket);
    request.resume();
    response.writeHead(200, { "content-type": "text/event-stream" });
    const choices = [{ index: 0, delta: { content: TEXT }, finish_reason: "stop" }];
    response.end(`data: ${JSON.stringify({ choices })}\n\n${DONE}`);
  });
  server.keepAliveTimeout = 5000;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { port } = server.address() as AddressInfo;
    const source = openai({
      baseURL: `http://127.0.0.1:${port}/v1`,
      model: "m",
      messages: () => [],
    });
    for (const idleMs of [0, 4300, 0]) {
      await sleep(idleMs);
      assert.deepEqual(await Array.fromAsync(source({} as never)), [TEXT]);
    }
    // Bun has no such limit.
    assert.equal(used.size, "Bun" in globalThis ? 1 : 2);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
