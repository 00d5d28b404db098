/** `POST /v1/chat/completions`: what reaches the source, what comes back, and how it refuses. */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../../lib/counters.ts";
import { createHandler } from "../../../lib/handler.ts";
import { total } from "../../support/child.ts";
import {
  ask,
  assertLeaves,
  eventsOf,
  FAILURES,
  HOSTILE,
  keeper,
  post,
  quiet,
  SMALL,
  UNREADABLE,
} from "../../support/handler_requests.ts";

const PATH = "/v1/chat/completions";
const messages = [{ role: "user", content: "Hi" }];
const body = { model: "any", messages, stream: true };

async function refusal(response: Response) {
  assert.equal(response.headers.get("content-type"), "application/json");
  assert.equal(response.headers.get("cache-control"), "no-store");
  const { error, ...rest } = await response.json();
  assert.deepEqual(rest, {});
  assert.deepEqual(Object.keys(error).sort(), ["code", "message", "param", "type"]);
  assert.equal(typeof error.message, "string");
  return { status: response.status, ...error };
}

/** The text of the chunks, and what else they say. */
async function read(response: Response) {
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const events = await eventsOf(response);
  assert.equal(events.pop()?.data, "[DONE]");
  const chunks = events.map(({ data }) => JSON.parse(data));
  const text = chunks.map(({ choices }) => choices?.[0]?.delta.content ?? "").join("");
  return { chunks, text };
}

test("chat completions stream, under the name that was asked for", async () => {
  const { handler } = keeper();
  const { chunks, text } = await read(await post(handler, PATH, body));
  assert.equal(text, "Hello 世界");
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  for (const chunk of chunks) {
    assert.equal(chunk.object, "chat.completion.chunk");
    assert.equal(chunk.model, "any");
    assert(!("usage" in chunk));
  }
  assert.equal(total(active), 0);
});

test("chat completions tell the usage where it is asked for", async () => {
  const { handler } = keeper();
  const asked = { ...body, stream_options: { include_usage: true } };
  const { chunks } = await read(await post(handler, PATH, asked));
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, 2);
});

for (const stream of [false, undefined, null]) {
  test(`chat completions are one document with stream: ${stream}`, async () => {
    const { handler } = keeper();
    const response = await post(handler, PATH, { model: "any", messages, stream });
    assert.equal(response.status, 200);
    assert.match(response.headers.get("content-type") ?? "", /^application\/json/);
    const document = await response.json();
    assert.equal(document.object, "chat.completion");
    assert.equal(document.model, "any");
    assert.equal(document.choices[0].message.content, "Hello 世界");
    assert.equal(document.choices[0].finish_reason, "stop");
    assert.equal(document.usage.completion_tokens, 2);
    assert.equal(total(active), 0);
  });
}

test("chat completions keep hostile text, streamed and whole", async () => {
  const handler = createHandler({ source: ({ input }) => input.query });
  const asked = { ...body, messages: [{ role: "user", content: HOSTILE }] };
  assert.equal((await read(await post(handler, PATH, asked))).text, HOSTILE);
  const whole = await (await post(handler, PATH, { ...asked, stream: false })).json();
  assert.equal(whole.choices[0].message.content, HOSTILE);
});

test("chat completions give the source the whole request, typed", async () => {
  const { handler, inputs } = keeper();
  const asked = {
    ...body,
    messages: [
      { role: "system", content: "Be brief." },
      { role: "user", content: "First" },
      { role: "assistant", content: null, tool_calls: [{ id: "c", type: "function" }] },
      { role: "tool", tool_call_id: "c", content: "42" },
      {
        role: "user",
        content: [{ type: "text", text: "Se" }, { type: "image_url" }, {
          type: "text",
          text: "cond",
        }],
      },
      { role: "assistant", content: "Hm" },
    ],
    temperature: 0.5,
    top_p: null,
    max_completion_tokens: 9,
    stop: "END",
    tools: [{ type: "function", function: { name: "now", parameters: {} } }],
    tool_choice: "auto",
    seed: 7,
    user: "me",
    my_own: { field: null },
  };
  await (await post(handler, PATH, asked)).text();
  const [input] = inputs;
  assert(input?.api === "openai");
  assert.equal(input.query, "Second");
  assert.deepEqual(input.messages, asked.messages);
  assert.deepEqual([input.model, input.temperature, input.max_tokens], ["any", 0.5, 9]);
  assert.deepEqual(input.stop, ["END"]);
  assert.deepEqual(input.tools, asked.tools);
  assert.equal(input.tool_choice, "auto");
  assert.equal(input.seed, 7);
  assert(!("top_p" in input));
  assert.deepEqual(input.my_own, { field: null });
  assert.deepEqual(input.body, asked);
});

// https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/1829
// https://github.com/langchain-ai/langchain/issues/10822
test("chat completions: a limit of -1 is none", async () => {
  const { handler, inputs } = keeper();
  await (await post(handler, PATH, { ...body, max_tokens: -1, max_completion_tokens: -1 })).text();
  await (await post(handler, PATH, { ...body, max_tokens: -1, max_completion_tokens: 7 })).text();
  assert(!("max_tokens" in inputs[0]!) && !("max_completion_tokens" in inputs[0]!));
  assert.deepEqual([inputs[1]?.max_tokens, inputs[1]?.max_completion_tokens], [7, 7]);
});

// https://github.com/evalstate/fast-agent/issues/781, https://github.com/vllm-project/vllm/pull/39780
test("no tools are none on every chat route, with what belongs to them", async () => {
  const none = { tools: [], parallel_tool_calls: true };
  const parts = [{ type: "text", text: "Hi" }];
  for (
    const [path, asked] of [
      [PATH, { ...body, ...none, tool_choice: "auto" }],
      ["/v1/messages", { ...body, max_tokens: 9, ...none, tool_choice: { type: "auto" } }],
      ["/api/chat", { messages: [{ role: "user", parts }], ...none, tool_choice: "auto" }],
      ["/streaming", { query: "Hi", ...none, tool_choice: "none" }],
    ] as const
  ) {
    const { handler, inputs } = keeper();
    await (await post(handler, path, asked)).text();
    const names = Object.keys(inputs[0]!).filter((name) => /tool/.test(name));
    assert.deepEqual(names, [], path);
  }
  const { handler, inputs } = keeper();
  await (await post(handler, PATH, { ...body, tool_choice: "auto" })).text();
  assert.equal(inputs[0]?.tool_choice, "auto", "the server may have tools of its own");
});

// https://github.com/vllm-project/vllm/issues/12937, https://github.com/vllm-project/vllm/issues/44104
test("chat completions: an empty list of calls in a message is left out", async () => {
  const { handler, inputs } = keeper();
  const said = { role: "assistant", content: "Hm", tool_calls: [] };
  await (await post(handler, PATH, { ...body, messages: [...messages, said] })).text();
  assert.deepEqual(inputs[0]?.messages?.at(-1), { role: "assistant", content: "Hm" });
  assert.deepEqual((inputs[0]?.body as { messages: unknown[] }).messages.at(-1), said);
});

// https://github.com/securo-finance/securo/issues/884: Gemini wants its signature back.
test("chat completions: members beside a call, a message and a part go on unchanged", async () => {
  const extra_content = { google: { thought_signature: "s" } };
  const call = { id: "c", type: "function", function: { name: "f", arguments: "{}" } };
  const asked = [
    {
      role: "user",
      content: [{ type: "text", text: "Hi", cache_control: { type: "x" } }],
      name: "a",
    },
    {
      role: "assistant",
      content: null,
      reasoning_content: "hm",
      tool_calls: [{ ...call, extra_content }],
    },
    { role: "tool", tool_call_id: "c", content: "1", extra: null },
  ];
  const { handler, inputs } = keeper();
  await (await post(handler, PATH, { ...body, messages: asked })).text();
  assert.deepEqual(inputs[0]?.messages, asked);
});

test("chat completions without a user's message have an empty query", async () => {
  const { handler, inputs } = keeper();
  await (await post(handler, PATH, { ...body, messages: [{ role: "system", content: "x" }] }))
    .text();
  assert.equal(inputs[0]?.query, "");
});

test("chat completions: a client cannot say which api it is", async () => {
  const { handler, inputs } = keeper();
  await (await post(handler, PATH, { ...body, api: "anthropic", body: 1, query: 2 })).text();
  assert.deepEqual([inputs[0]?.api, inputs[0]?.query], ["openai", "Hi"]);
});

const FAULTS: [fields: Record<string, unknown>, param: string][] = [
  [{ model: undefined }, "model"],
  [{ model: "" }, "model"],
  [{ model: 5 }, "model"],
  [{ messages: undefined }, "messages"],
  [{ messages: [] }, "messages"],
  [{ messages: "Hi" }, "messages"],
  [{ messages: [null] }, "messages[0]"],
  [{ messages: [...messages, { content: "x" }] }, "messages[1].role"],
  [{ messages: [{ role: "alien", content: "x" }] }, "messages[0].role"],
  [{ messages: [{ role: "user" }] }, "messages[0].content"],
  [{ messages: [{ role: "user", content: 5 }] }, "messages[0].content"],
  [{ messages: [{ role: "user", content: [{ type: "text" }] }] }, "messages[0].content[0].text"],
  [{ stream: "yes" }, "stream"],
  [{ stream_options: { include_usage: 1 } }, "stream_options.include_usage"],
  [{ temperature: 3 }, "temperature"],
  [{ temperature: "0.5" }, "temperature"],
  [{ top_p: 2 }, "top_p"],
  [{ max_tokens: 0 }, "max_tokens"],
  [{ max_completion_tokens: 1.5 }, "max_completion_tokens"],
  [{ stop: [1] }, "stop[0]"],
  [{ n: 2 }, "n"],
  [{ max_tokens: -2 }, "max_tokens"],
  [{ max_completion_tokens: 0 }, "max_completion_tokens"],
  // Nobody is told null for what was asked.
  [{ logprobs: true }, "logprobs"],
  [{ logprobs: false, top_logprobs: 3 }, "top_logprobs"],
  [{ tools: [{ type: "function" }] }, "tools[0].function"],
  [{ tool_choice: 1 }, "tool_choice"],
  [{ response_format: {} }, "response_format.type"],
  [{ seed: "x" }, "seed"],
];

for (const [fields, param] of FAULTS) {
  test(`chat completions refuse ${JSON.stringify(fields)} with 400 and name ${param}`, async () => {
    const { handler, inputs } = keeper();
    const error = await refusal(await post(handler, PATH, { ...body, ...fields }));
    assert.deepEqual([error.status, error.type, error.param], [
      400,
      "invalid_request_error",
      param,
    ]);
    assert(error.message.includes(param), error.message);
    assert.equal(inputs.length, 0);
    assert.equal(total(active), 0);
  });
}

test("chat completions refuse what is no object, and no more than that", async () => {
  const { handler } = keeper();
  for (const value of ["[]", "null", '"x"', "5"]) {
    const error = await refusal(await post(handler, PATH, value));
    assert.deepEqual([error.status, error.param], [400, null], value);
  }
  const fine = {
    ...body,
    n: 1,
    stop: ["a", "b"],
    temperature: 2,
    functions: [],
    logprobs: false,
    top_logprobs: 0,
  };
  const response = await post(handler, PATH, fine);
  assert.equal(response.status, 200);
  // A response that nobody reads stays for a minute.
  await response.text();
});

for (const [name, status, asked] of UNREADABLE) {
  test(`chat completions refuse ${name} with ${status}, in OpenAI's shape`, async () => {
    const { handler } = keeper(SMALL);
    const headers = { "content-type": "application/json", ...asked.headers };
    const response = await ask(handler, PATH, { method: "POST", body: "{}", ...asked, headers });
    assert.equal((await refusal(response)).status, status);
  });
}

test("chat completions refuse a body that never comes with 408, in OpenAI's shape", async () => {
  const { handler } = keeper({ limits: { bodyTimeoutMs: 20 } });
  const init = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: new ReadableStream(),
    duplex: "half",
  } as RequestInit;
  const response = await handler.fetch(new Request(`http://localhost${PATH}`, init));
  assert.equal((await refusal(response)).status, 408);
  assert.equal(total(active), 0);
});

for (const stream of [true, false]) {
  test(`chat completions with stream: ${stream} tell an early failure by its status`, async () => {
    const cases = [["early", 502, "bad_upstream"], ["bug", 500, "internal"]] as const;
    for (const [failure, status, code] of cases) {
      const handler = createHandler({ source: FAILURES[failure], ...quiet });
      const error = await refusal(await post(handler, PATH, { ...body, stream }));
      assert.deepEqual([error.status, error.code], [status, code]);
      assert(!JSON.stringify(error).includes("secret"));
    }
    const handler = createHandler({ source: FAILURES.limited, ...quiet });
    const limited = await post(handler, PATH, { ...body, stream });
    assert.equal(limited.headers.get("retry-after"), "7");
    assert.equal((await refusal(limited)).status, 429);
    assert.equal(total(active), 0);
  });

  test(`chat completions with stream: ${stream} end when their reader leaves`, async () => {
    await assertLeaves(PATH, { ...body, stream });
  });
}

test("chat completions tell a late failure in the stream", async () => {
  const handler = createHandler({ source: FAILURES.late, ...quiet });
  const { chunks, text } = await read(await post(handler, PATH, body));
  assert.equal(text, "half");
  assert.equal(chunks.at(-1).error.code, "truncated");
  assert(chunks.every(({ choices }) => !choices?.[0]?.finish_reason));
});

test("chat completions that are one document are none when their source fails midway", async () => {
  const handler = createHandler({ source: FAILURES.late, ...quiet });
  const error = await refusal(await post(handler, PATH, { ...body, stream: false }));
  assert.deepEqual([error.status, error.code], [502, "truncated"]);
  assert.equal(total(active), 0);
});

test("chat completions ask no Accept header and no format", async () => {
  const { handler } = keeper();
  for (const accept of ["application/json", "text/plain", "image/png"]) {
    const response = await post(handler, `${PATH}?format=plain`, body, { accept });
    assert.equal((await read(response)).text, "Hello 世界");
    assert.equal(response.headers.get("vary"), null);
  }
});
