/** `POST /v1/messages`: what reaches the source, what comes back, and how it refuses. */
import assert from "node:assert/strict";
import test from "node:test";
import { createHandler } from "../../../lib/handler.ts";
import {
  ask,
  assertLeaves,
  eventsOf,
  FAILURES,
  HOSTILE,
  keeper,
  nothingLeft,
  post,
  quiet,
  SMALL,
  UNREADABLE,
} from "../../support/handler_requests.ts";

const PATH = "/v1/messages";
const messages = [{ role: "user", content: "Hi" }];
const body = { model: "any", max_tokens: 100, messages, stream: true };

async function refusal(response: Response) {
  assert.equal(response.headers.get("content-type"), "application/json");
  const { type, error } = await response.json();
  assert.equal(type, "error");
  assert.equal(typeof error.message, "string");
  return { status: response.status, ...error };
}

async function read(response: Response) {
  assert.equal(response.status, 200);
  const events = (await eventsOf(response)).map(({ event, data }) => ({
    event,
    value: JSON.parse(data),
  }));
  const text = events.map(({ value }) => value.delta?.text ?? "").join("");
  return { events, text };
}

test("messages stream, under the name that was asked for", async () => {
  const { handler } = keeper();
  const { events, text } = await read(await post(handler, PATH, body));
  assert.equal(text, "Hello 世界");
  assert.equal(events[0]?.event, "message_start");
  assert.equal(events[0]?.value.message.model, "any");
  assert.equal(events.at(-1)?.event, "message_stop");
  await nothingLeft();
});

test("messages are one document without stream", async () => {
  const { handler } = keeper();
  for (const stream of [false, undefined]) {
    const response = await post(handler, PATH, { ...body, stream });
    assert.match(response.headers.get("content-type") ?? "", /^application\/json/);
    const document = await response.json();
    assert.equal(document.type, "message");
    assert.equal(document.model, "any");
    assert.deepEqual(document.content, [{ type: "text", text: "Hello 世界" }]);
    assert.equal(document.stop_reason, "end_turn");
  }
  await nothingLeft();
});

test("messages keep hostile text, streamed and whole", async () => {
  const handler = createHandler({ source: ({ input }) => input.query });
  const asked = { ...body, messages: [{ role: "user", content: HOSTILE }] };
  assert.equal((await read(await post(handler, PATH, asked))).text, HOSTILE);
  const whole = await (await post(handler, PATH, { ...asked, stream: false })).json();
  assert.equal(whole.content[0].text, HOSTILE);
});

test("messages reach the source in the words of chat completions", async () => {
  const { handler, inputs } = keeper();
  const pdf = { type: "document", source: { type: "url", url: "https://a.example/b.pdf" } };
  const asked = {
    ...body,
    system: [{ type: "text", text: "Be brief.", cache_control: {} }, {
      type: "text",
      text: "Be kind.",
    }],
    messages: [
      { role: "user", content: [{ type: "text", text: "What time is it?" }] },
      {
        role: "assistant",
        content: [
          { type: "thinking", thinking: "hm", signature: "x" },
          { type: "text", text: "I look." },
          { type: "tool_use", id: "t1", name: "now", input: { zone: "UTC" } },
        ],
      },
      {
        role: "user",
        content: [
          { type: "text", text: "And " },
          { type: "tool_result", tool_use_id: "t1", content: [{ type: "text", text: "12:00" }] },
          { type: "text", text: "this?" },
          { type: "image", source: { type: "base64", media_type: "image/png", data: "AAAA" } },
          { type: "image", source: { type: "url", url: "https://a.example/b.png" } },
          pdf,
        ],
      },
    ],
    temperature: 0.5,
    stop_sequences: ["END"],
    tools: [{ name: "now", description: "The time", input_schema: { type: "object" } }],
    tool_choice: { type: "tool", name: "now", disable_parallel_tool_use: true },
    thinking: { type: "enabled", budget_tokens: 1024 },
  };
  await (await post(handler, PATH, asked)).text();
  const [input] = inputs;
  assert(input?.api === "anthropic");
  assert.equal(input.query, "And this?");
  assert.deepEqual(input.messages, [
    { role: "system", content: "Be brief.\nBe kind." },
    { role: "user", content: "What time is it?" },
    {
      role: "assistant",
      content: "I look.",
      reasoning_content: "hm",
      tool_calls: [
        { id: "t1", type: "function", function: { name: "now", arguments: '{"zone":"UTC"}' } },
      ],
    },
    { role: "tool", tool_call_id: "t1", content: "12:00" },
    {
      role: "user",
      content: [
        { type: "text", text: "And " },
        { type: "text", text: "this?" },
        { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } },
        { type: "image_url", image_url: { url: "https://a.example/b.png" } },
        { type: "file", file: { file_data: "https://a.example/b.pdf" } },
      ],
    },
  ]);
  assert.deepEqual(input.tools, [
    {
      type: "function",
      function: {
        name: "now",
        description: "The time",
        parameters: { type: "object", properties: {} },
      },
    },
  ]);
  assert.deepEqual(input.tool_choice, { type: "function", function: { name: "now" } });
  assert.equal(input.parallel_tool_calls, false);
  assert.deepEqual([input.temperature, input.max_tokens, input.stop], [0.5, 100, ["END"]]);
  assert.deepEqual([input.thinking, input.reasoning_effort], [asked.thinking, "low"]);
  assert.deepEqual(input.body, asked);
});

test("messages: what a tool answered alone, and every choice of tools", async () => {
  const { handler, inputs } = keeper();
  const choices = { auto: "auto", any: "required", none: "none" };
  for (const [type, choice] of Object.entries(choices)) {
    const call = { type: "tool_use", id: "t1", name: "ask", input: {} };
    const result = { type: "tool_result", tool_use_id: "t1", content: "42" };
    const asked = {
      ...body,
      tool_choice: { type },
      messages: [{ role: "assistant", content: [call] }, { role: "user", content: [result] }],
    };
    await (await post(handler, PATH, asked)).text();
    assert.equal(inputs.at(-1)?.tool_choice, choice);
    const answered = { role: "tool", tool_call_id: "t1", content: "42" };
    assert.deepEqual(inputs.at(-1)?.messages?.slice(1), [answered]);
  }
});

test("messages: blocks that lack what they should have harm nobody", async () => {
  const { handler } = keeper();
  const blocks = [
    { type: "tool_result", content: [null, 5, { type: "text" }] },
    { type: "image" },
    { type: "tool_use" },
  ];
  for (const role of ["user", "assistant"]) {
    const asked = { ...body, messages: [{ role, content: blocks }] };
    assert.equal((await read(await post(handler, PATH, asked))).text, "Hello 世界");
  }
  assert.equal(
    (await post(handler, PATH, { ...body, messages: [{ role: "user", content: [] }] })).status,
    200,
  );
});

const FAULTS: [fields: Record<string, unknown>, path: string][] = [
  [{ model: undefined }, "model"],
  [{ max_tokens: undefined }, "max_tokens"],
  [{ max_tokens: 0 }, "max_tokens"],
  [{ max_tokens: null }, "max_tokens"],
  [{ messages: undefined }, "messages"],
  [{ messages: [] }, "messages"],
  [{ messages: [{ role: "tool", content: "x" }] }, "messages[0].role"],
  [{ messages: [{ role: "user" }] }, "messages[0].content"],
  [{ messages: [{ role: "user", content: [5] }] }, "messages[0].content[0]"],
  [{ messages: [{ role: "user", content: [{ type: "text" }] }] }, "messages[0].content[0].text"],
  [{ system: 5 }, "system"],
  [{ stream: 1 }, "stream"],
  [{ temperature: 1.1 }, "temperature"],
  [{ stop_sequences: "END" }, "stop_sequences"],
  [{ tools: [{}] }, "tools[0].name"],
  [{ tool_choice: { type: "must" } }, "tool_choice.type"],
  [{ stop: 5 }, "stop"],
];

for (const [fields, path] of FAULTS) {
  test(`messages refuse ${JSON.stringify(fields)} with 400 and name ${path}`, async () => {
    const { handler, inputs } = keeper();
    const error = await refusal(await post(handler, PATH, { ...body, ...fields }));
    assert.deepEqual([error.status, error.type], [400, "invalid_request_error"]);
    assert(error.message.includes(`: ${path}: `), error.message);
    assert.equal(inputs.length, 0);
    await nothingLeft();
  });
}

for (const [name, status, asked] of UNREADABLE) {
  test(`messages refuse ${name} with ${status}, in Anthropic's shape`, async () => {
    const { handler } = keeper(SMALL);
    const headers = { "content-type": "application/json", ...asked.headers };
    const response = await ask(handler, PATH, { method: "POST", body: "{}", ...asked, headers });
    const error = await refusal(response);
    assert.equal(error.status, status);
    assert.equal(error.type, status === 413 ? "request_too_large" : "invalid_request_error");
  });
}

for (const stream of [true, false]) {
  test(`messages with stream: ${stream} tell an early failure by its status`, async () => {
    for (const [failure, status] of [["early", 502], ["bug", 500]] as const) {
      const handler = createHandler({ source: FAILURES[failure], ...quiet });
      const error = await refusal(await post(handler, PATH, { ...body, stream }));
      assert.deepEqual([error.status, error.type], [status, "api_error"]);
      assert(!JSON.stringify(error).includes("secret"));
    }
    const handler = createHandler({ source: FAILURES.limited, ...quiet });
    const limited = await post(handler, PATH, { ...body, stream });
    assert.equal(limited.headers.get("retry-after"), "7");
    const error = await refusal(limited);
    assert.deepEqual([error.status, error.type], [429, "rate_limit_error"]);
    await nothingLeft();
  });

  test(`messages with stream: ${stream} end when their reader leaves`, async () => {
    await assertLeaves(PATH, { ...body, stream });
  });
}

test("messages tell a late failure in the stream", async () => {
  const handler = createHandler({ source: FAILURES.late, ...quiet });
  const { events, text } = await read(await post(handler, PATH, body));
  assert.equal(text, "half");
  assert.equal(events.at(-1)?.event, "error");
  assert(!events.some(({ event }) => event === "message_stop"));
});

test("messages that are one document are none when their source fails midway", async () => {
  const handler = createHandler({ source: FAILURES.late, ...quiet });
  const error = await refusal(await post(handler, PATH, { ...body, stream: false }));
  assert.deepEqual([error.status, error.type], [502, "api_error"]);
  await nothingLeft();
});
