/** What is special to the `@anthropic-ai/sdk` package: its events, its ways to leave, thinking and tools. */
import assert from "node:assert/strict";
import test, { after, before, beforeEach } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import type { ChatInput, HandlerOptions } from "../../lib/handler.ts";
import { createHandler } from "../../mod.ts";
import { serve } from "../support/serve.ts";
import { anthropic, asked } from "./clients/anthropic.ts";
import { assertNoticed, MODEL, type Scenes, startScenes } from "./server.ts";

let server: Scenes;
let client: Anthropic;
before(() => {
  server = startScenes();
  client = anthropic(server.url);
});
beforeEach(() => {
  server.errors.length = 0;
});
after(() => server.close());

const events = async (scene: string) =>
  await Array.fromAsync(
    await client.messages.create({ ...asked(scene), stream: true }),
  );

test("anthropic: the events are those of the API, in its order", async () => {
  const all = await events("items");
  const types = all.map(({ type }) => type);
  assert.deepEqual(types.filter((type, at) => type !== types[at - 1]), [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
  ]);
  const [start] = all;
  assert(start?.type === "message_start");
  assert.match(start.message.id, /^msg_/);
  assert.deepEqual([
    start.message.role,
    start.message.model,
    start.message.content,
  ], [
    "assistant",
    MODEL,
    [],
  ]);
  const delta = all.at(-2);
  assert(delta?.type === "message_delta");
  assert.deepEqual([delta.delta.stop_reason, delta.usage.output_tokens], [
    "max_tokens",
    2,
  ]);
});

/** Thinking, text and two tool calls, as the API has them in one message. */
function assertRich({ content, stop_reason }: Anthropic.Message): void {
  const told = content.map((block) => {
    if (block.type === "thinking") return ["thinking", block.thinking];
    if (block.type === "text") return ["text", block.text];
    assert(block.type === "tool_use");
    return [block.id, block.name, block.input];
  });
  assert.deepEqual(told, [
    ["thinking", "The weather, so a tool."],
    ["text", "I ask."],
    ["call_a", "weather", { city: "東京" }],
    ["call_b", "time", {}],
  ]);
  assert.equal(stop_reason, "tool_use");
}

test("anthropic: thinking and tool calls are blocks of their own", async () => {
  assertRich(await client.messages.stream(asked("rich")).finalMessage());
  assertRich(await client.messages.create(asked("rich")));
  const starts = (await events("rich")).filter(({ type }) => type === "content_block_start");
  const stops = (await events("rich")).filter(({ type }) => type === "content_block_stop");
  const indexes = [0, 1, 2, 3];
  for (const blocks of [starts, stops]) {
    assert.deepEqual(
      blocks.map((event) => "index" in event && event.index),
      indexes,
    );
  }
});

test("anthropic: the usage is the source's", async () => {
  const { usage } = await client.messages.create(asked("items"));
  assert.deepEqual([usage.input_tokens, usage.output_tokens], [3, 2]);
  const streamed = await client.messages.stream(asked("items")).finalMessage();
  assert.equal(streamed.usage.output_tokens, 2);
});

test("anthropic: the tool runner goes round the loop, and the results reach the source", async () => {
  const tool = (name: string, answer: string) => ({
    name,
    description: name,
    input_schema: { type: "object" as const },
    parse: (input: unknown) => input as object,
    run: (input: object) => `${answer} ${JSON.stringify(input)}`,
  });
  const tools = [tool("weather", "sunny"), tool("time", "noon")];
  for (const stream of [false, true]) {
    const runner = client.beta.messages.toolRunner({ ...asked("rich"), tools, stream });
    const { content } = await runner.runUntilDone();
    const text = content.map((block) => block.type === "text" ? block.text : "").join("");
    assert.equal(text, 'The tools say: sunny {"city":"東京"}, noon {}');
    // The runner asks for a thread first, and sends the whole conversation when there is none.
    const { messages } = server.runs.at(-1)!.input as { messages: { role: string }[] };
    assert.deepEqual(messages.map(({ role }) => role), ["user", "assistant", "tool", "tool"]);
  }
});

const DEPARTURES: Record<string, () => Promise<number>> = {
  "a break out of the loop": async () => {
    let leftMs = 0;
    let count = 0;
    for await (
      const _ of await client.messages.create({
        ...asked("endless"),
        stream: true,
      })
    ) {
      leftMs = performance.now();
      if (++count > 5) break;
    }
    return leftMs;
  },
  "controller.abort()": async () => {
    const stream = await client.messages.create({
      ...asked("endless"),
      stream: true,
    });
    let leftMs = 0;
    let count = 0;
    for await (const _ of stream) {
      if (++count < 5 || leftMs > 0) continue;
      leftMs = performance.now();
      stream.controller.abort();
    }
    return leftMs;
  },
  "the helper's abort()": async () => {
    const stream = client.messages.stream(asked("endless"));
    let leftMs = 0;
    stream.on("text", (_, text) => {
      if (text.length < 20 || leftMs > 0) return;
      leftMs = performance.now();
      stream.abort();
    });
    await assert.rejects(stream.done(), Anthropic.APIUserAbortError);
    return leftMs;
  },
};
for (const [name, leave] of Object.entries(DEPARTURES)) {
  test(`anthropic: ${name} reaches the source within 100 ms`, async () => {
    await assertNoticed(server, leave);
  });
}

test("anthropic: an unknown model is a NotFoundError, a wrong field a BadRequestError", async () => {
  const seen = server.runs.length;
  await assert.rejects(
    client.messages.create({ ...asked("hostile"), model: "nobody" }),
    (error) =>
      error instanceof Anthropic.NotFoundError &&
      error.type === "not_found_error",
  );
  const wrong = {
    ...asked("hostile"),
    temperature: "hot",
  } as unknown as ReturnType<typeof asked>;
  await assert.rejects(
    client.messages.create(wrong),
    (error) =>
      error instanceof Anthropic.APIError &&
      [400, 422].includes(error.status!) &&
      error.type === "invalid_request_error" &&
      /temperature/.test(error.message),
  );
  assert.equal(server.runs.length, seen);
});

test("anthropic: a failure in mid-stream has the API's type", async () => {
  await assert.rejects(
    events("broken"),
    (error) => error instanceof Anthropic.APIError && error.type === "api_error",
  );
});

test("anthropic: the whole request reaches the source, in the words of chat completions", async () => {
  // What the newest models no longer take, and the package no longer types, others do.
  const sampling = { temperature: 0.5, top_p: 0.9 };
  await client.messages.create({
    ...sampling,
    model: MODEL,
    max_tokens: 64,
    system: "Be brief.",
    stop_sequences: ["\n"],
    messages: [
      { role: "user", content: "What?" },
      { role: "assistant", content: [{ type: "text", text: "That." }] },
      { role: "user", content: [{ type: "text", text: "Say it" }] },
    ],
    tools: [{
      name: "weather",
      description: "Of today",
      input_schema: { type: "object" },
    }],
    tool_choice: { type: "any" },
  });
  const input = server.runs.at(-1)!.input as Record<string, unknown>;
  assert.equal(input.query, "Say it");
  assert.equal(input.model, MODEL);
  const messages = input.messages as { role: string }[];
  assert.deepEqual(messages.map(({ role }) => role), [
    "system",
    "user",
    "assistant",
    "user",
  ]);
  assert.deepEqual([input.max_tokens, input.temperature, input.top_p], [
    64,
    0.5,
    0.9,
  ]);
  assert.deepEqual([input.stop, input.tool_choice], [["\n"], "required"]);
  assert.deepEqual(input.tools, [{
    type: "function",
    function: {
      name: "weather",
      description: "Of today",
      parameters: { type: "object", properties: {} },
    },
  }]);
});

/** A source that answers with what it was given, behind a real socket. */
function startKeeper(options: Partial<HandlerOptions> = {}) {
  const inputs: ChatInput[] = [];
  const handler = createHandler({
    source: ({ input }) => {
      inputs.push(input);
      return "ok";
    },
    log: false,
    ...options,
  });
  const served = serve(handler.fetch);
  return { inputs, client: anthropic(served.url), close: () => served.close() };
}

const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
const ask = { model: MODEL, max_tokens: 64 };
const weather = {
  name: "weather",
  description: "Of today",
  input_schema: { type: "object" as const },
};

test("anthropic: thinking, a call, its result with a picture and a document reach the source", async () => {
  const { client, inputs, close } = startKeeper();
  try {
    const image = { type: "base64" as const, media_type: "image/png" as const, data: PNG };
    const pdf = { type: "base64" as const, media_type: "application/pdf" as const, data: "JVBE" };
    const message = await client.messages.create({
      ...ask,
      tools: [weather],
      thinking: { type: "enabled", budget_tokens: 10_000 },
      messages: [
        { role: "user", content: "Weather?" },
        {
          role: "assistant",
          content: [
            { type: "thinking", thinking: "A tool.", signature: "s" },
            { type: "tool_use", id: "t1", name: "weather", input: { city: "東京" } },
          ],
        },
        {
          role: "user",
          content: [
            {
              type: "tool_result",
              tool_use_id: "t1",
              content: [{ type: "text", text: "Sunny:" }, { type: "image", source: image }],
            },
            { type: "document", source: pdf, title: "map.pdf" },
            { type: "text", text: "So?", cache_control: { type: "ephemeral" } },
          ],
        },
      ],
    });
    assert.deepEqual(message.content, [{ type: "text", text: "ok" }]);
    const [input] = inputs;
    assert.equal(input?.reasoning_effort, "medium");
    const [, said, told, asked] = input?.messages ?? [];
    assert.equal(said?.reasoning_content, "A tool.");
    assert.equal((said?.tool_calls as { id: string }[])[0]?.id, "t1");
    assert.deepEqual([told?.role, told?.tool_call_id], ["tool", "t1"]);
    assert.match(String(told?.content), /^Sunny:/);
    const kinds = (asked?.content as { type: string }[]).map(({ type }) => type);
    assert.deepEqual(kinds, ["text", "image_url", "file", "text"]);
  } finally {
    await close();
  }
});

test("anthropic: 5 MB of pictures are a fine request", async () => {
  const { client, inputs, close } = startKeeper();
  try {
    const data = PNG.repeat(60_000).replaceAll("=", "A");
    const source = { type: "base64" as const, media_type: "image/png" as const, data };
    const content = [{ type: "image" as const, source }];
    await client.messages.create({ ...ask, messages: [{ role: "user", content }] });
    assert.equal(JSON.stringify(inputs[0]?.messages).length > 5_000_000, true);
  } finally {
    await close();
  }
});

test("anthropic: countTokens() is an estimate, or what the application counts", async () => {
  const messages = [{ role: "user" as const, content: "x".repeat(4000) }];
  const estimating = startKeeper();
  const counting = startKeeper({ countTokens: ({ messages }) => messages.length });
  try {
    const { input_tokens } = await estimating.client.messages.countTokens({
      model: MODEL,
      messages,
      tools: [weather],
    });
    assert(input_tokens > 1000 && input_tokens < 1100, `${input_tokens}`);
    const counted = await counting.client.messages.countTokens({ model: MODEL, messages });
    assert.equal(counted.input_tokens, 1);
    assert.equal(estimating.inputs.length + counting.inputs.length, 0);
    await assert.rejects(
      estimating.client.messages.countTokens({ model: MODEL, messages: [] }),
      Anthropic.BadRequestError,
    );
  } finally {
    await estimating.close();
    await counting.close();
  }
});

test("anthropic: a tool of Anthropic's own is a BadRequestError that names it", async () => {
  const rejecting = startKeeper();
  const dropping = startKeeper({ builtInTools: "drop" });
  const asked = {
    ...ask,
    messages: [{ role: "user" as const, content: "Hi" }],
    tools: [{ type: "web_search_20250305" as const, name: "web_search" as const }],
  };
  try {
    await assert.rejects(
      rejecting.client.messages.create(asked),
      (error) =>
        error instanceof Anthropic.BadRequestError && error.type === "invalid_request_error" &&
        /web_search/.test(error.message),
    );
    assert.equal(rejecting.inputs.length, 0);
    await dropping.client.messages.create(asked);
    assert(dropping.inputs.length === 1 && !("tools" in dropping.inputs[0]!));
  } finally {
    await rejecting.close();
    await dropping.close();
  }
});

test("anthropic: a base URL that ends in a slash is the same server", async () => {
  const served = serve(createHandler({ source: "ok", log: false }).fetch);
  try {
    const client = anthropic(`${served.url}/`);
    const messages = [{ role: "user" as const, content: "Hi" }];
    assert.equal((await client.messages.create({ ...ask, messages })).content.length, 1);
  } finally {
    await served.close();
  }
});
