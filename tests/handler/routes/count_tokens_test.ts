/** `POST /v1/messages/count_tokens`: the estimate, the application's own count, and the same refusals. */
import assert from "node:assert/strict";
import test from "node:test";
import { createHandler, type HandlerOptions, StreamError } from "../../../mod.ts";
import type { CountTokensContext } from "../../../lib/handler.ts";
import { estimateTokens } from "../../../lib/handler/routes/count_tokens.ts";
import { ask, nothingLeft, post, quiet, refusal } from "../../support/handler_requests.ts";

const PATH = "/v1/messages/count_tokens";
const messages = [{ role: "user", content: "Hello?" }];

function handlerOf(options: Partial<HandlerOptions> = {}) {
  let runs = 0;
  const handler = createHandler({ source: () => void runs++, ...quiet, ...options });
  return { handler, runs: () => runs };
}

// https://github.com/BerriAI/litellm/issues/13252
// https://github.com/QuantumNous/new-api/pull/4441 (404 here makes clients ask the model instead)
test("a request is counted without being sent, max_tokens or not", async () => {
  const { handler, runs } = handlerOf();
  for (const more of [{}, { max_tokens: 9 }]) {
    const response = await post(handler, `${PATH}?beta=true`, { model: "m", messages, ...more });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "application/json");
    assert.deepEqual(await response.json(), { input_tokens: 2 + 4 });
  }
  assert.equal(runs(), 0);
  await nothingLeft();
});

// https://github.com/router-for-me/CLIProxyAPI/issues/679
test("the estimate counts prompt, calls, results, thinking and tools as well", async () => {
  const { handler } = handlerOf();
  const count = async (body: object) => {
    const response = await post(handler, PATH, { model: "m", messages, ...body });
    return (await response.json()).input_tokens;
  };
  const bare = await count({});
  const long = "x".repeat(4000);
  const call = (more: object) => [
    ...messages,
    { role: "assistant", content: [{ type: "tool_use", id: "t", name: "f", input: {}, ...more }] },
    { role: "user", content: [{ type: "tool_result", tool_use_id: "t", content: "1" }] },
  ];
  const result = [{ type: "tool_result", tool_use_id: "t", content: long }];
  for (
    const body of [
      { system: long },
      { messages: call({ input: { a: long } }) },
      { messages: [...call({}).slice(0, 2), { role: "user", content: result }] },
      {
        messages: [...messages, {
          role: "assistant",
          content: [{ type: "thinking", thinking: long }, { type: "text", text: "a" }],
        }],
      },
      { tools: [{ name: "f", description: long, input_schema: { type: "object" } }] },
    ]
  ) {
    const more = await count(body) - bare;
    assert(more >= 1000 && more < 1060, `${more}`);
  }
});

test("estimateTokens() counts bytes of UTF-8, pictures and documents", () => {
  const of = (content: unknown) => estimateTokens({ messages: [{ role: "user", content }] }) - 4;
  assert.equal(of(""), 0);
  assert.equal(of("12345"), 2);
  assert.equal(of("世界世界"), 3);
  assert.equal(of([{ type: "image_url", image_url: { url: "x".repeat(2 ** 20) } }]), 1600);
  const file = (file_data: string) => of([{ type: "file", file: { file_data } }]);
  assert.equal(file("https://a.example/a.pdf"), 1600);
  assert.equal(file(["data", "application/pdf;base64,AAAA"].join(":")), 1600);
  assert.equal(file(["data", `a/b;base64,${"A".repeat(640_000)}`].join(":")), 10_001);
  assert.equal(of([{ type: "file", file: { file_id: "f" } }]), 1600);
  assert.equal(estimateTokens({}), 0);
});

test("countTokens() has the body, the translation and the owner", async () => {
  const seen: [unknown, CountTokensContext][] = [];
  const { handler, runs } = handlerOf({
    authorize: () => "ada",
    countTokens(body, context) {
      seen.push([body, context]);
      return Promise.resolve(42);
    },
  });
  const body = { model: "m", system: "Be brief.", messages };
  const response = await post(handler, PATH, body);
  assert.deepEqual(await response.json(), { input_tokens: 42 });
  const [[asked, { owner, input, request }]] = seen as [[unknown, CountTokensContext]];
  assert.deepEqual([asked, owner, input.query], [body, "ada", "Hello?"]);
  assert.deepEqual(input.messages, [{ role: "system", content: "Be brief." }, ...messages]);
  assert.equal(new URL(request.url).pathname, PATH);
  assert.equal(runs(), 0);
});

test("countTokens() may refuse, and what is no count is an error of the server's", async () => {
  const refusing = handlerOf({
    countTokens: () => {
      throw new StreamError("quota", { status: 402 });
    },
  });
  const response = await post(refusing.handler, PATH, { model: "m", messages });
  await refusal(response, 402, "anthropic");
  for (const count of [NaN, -1, 1.5, "5", null]) {
    const errors: unknown[] = [];
    const wrong = handlerOf({
      countTokens: () => count as number,
      onError: (error) => errors.push(error),
    });
    const response = await post(wrong.handler, PATH, { model: "m", messages });
    if (count === null) assert.deepEqual(await response.json(), { input_tokens: 6 });
    else await refusal(response, 500, "anthropic");
    assert.equal(errors.length, count === null ? 0 : 1);
  }
});

test("a request that POST /v1/messages refuses is not counted either", async () => {
  const { handler } = handlerOf({
    models: { m: "text" },
    limits: { maxChatBodyBytes: 2000 },
    authorize: (request) => request.headers.get("x-api-key"),
  });
  const tools = [{ type: "web_search_20250305", name: "web_search" }];
  for (
    const [status, body, key] of [
      [401, { model: "m", messages }, undefined],
      [404, { model: "other", messages }, "k"],
      [400, { model: "m" }, "k"],
      [400, { messages }, "k"],
      [400, { model: "m", messages: [] }, "k"],
      [400, { model: "m", messages, tools }, "k"],
      [413, { model: "m", messages, system: "x".repeat(2000) }, "k"],
    ] as const
  ) {
    const headers: Record<string, string> = key ? { "x-api-key": key } : {};
    const response = await post(handler, PATH, body, headers);
    await refusal(response, status, "anthropic");
  }
  const get = await ask(handler, PATH, { headers: { "x-api-key": "k" } });
  assert.equal(get.headers.get("allow"), "POST, OPTIONS");
  await refusal(get, 405, "anthropic");
  await nothingLeft();
});
