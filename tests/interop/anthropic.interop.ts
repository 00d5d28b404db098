/** What is special to the `@anthropic-ai/sdk` package: its events, its ways to leave, thinking and tools. */
import assert from "node:assert/strict";
import test, { after, before, beforeEach } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
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
      parameters: { type: "object" },
    },
  }]);
});
