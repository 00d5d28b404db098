/** What is special to the `openai` package: its ways to leave, usage, tools, models and refusals. */
import assert from "node:assert/strict";
import test, { after, before, beforeEach } from "node:test";
import OpenAI from "openai";
import { asked, openai } from "./clients/openai.ts";
import { assertNoticed, MODEL, type Scenes, startScenes } from "./server.ts";

let server: Scenes;
let client: OpenAI;
before(() => {
  server = startScenes();
  client = openai(server.url);
});
beforeEach(() => {
  server.errors.length = 0;
});
after(() => server.close());

const TOOLS = [
  {
    id: "call_a",
    type: "function",
    function: { name: "weather", arguments: '{"city":"東京"}' },
  },
  {
    id: "call_b",
    type: "function",
    function: { name: "time", arguments: "{}" },
  },
];
type Reasoned = { reasoning_content?: string };

test("openai: every chunk is of one completion, the first has the role, one has the reason", async () => {
  const stream = await client.chat.completions.create({
    ...asked("hostile"),
    stream: true,
  });
  const chunks = await Array.fromAsync(stream);
  const [{ id, created }] = chunks as [OpenAI.ChatCompletionChunk];
  assert.match(id, /^chatcmpl-/);
  assert(Math.abs(Date.now() / 1000 - created) < 60);
  for (const chunk of chunks) {
    assert.deepEqual([chunk.id, chunk.created, chunk.model], [
      id,
      created,
      MODEL,
    ]);
    assert.equal(chunk.object, "chat.completion.chunk");
    assert(!("usage" in chunk));
    assert.equal(chunk.choices[0]?.index, 0);
  }
  assert.equal(chunks[0]?.choices[0]?.delta.role, "assistant");
  const reasons = chunks.map(({ choices }) => choices[0]?.finish_reason).filter(
    Boolean,
  );
  assert.deepEqual(reasons, ["stop"]);
});

test("openai: the usage comes in a chunk of its own, and only if it is asked for", async () => {
  const stream = await client.chat.completions.create({
    ...asked("items"),
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await Array.fromAsync(stream);
  const last = chunks.pop()!;
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage?.prompt_tokens, 3);
  assert.equal(last.usage.completion_tokens, 2);
  assert.equal(last.usage.total_tokens, 5);
  assert(chunks.every(({ usage }) => usage === null));
  assert.equal(chunks.at(-1)?.choices[0]?.finish_reason, "length");
});

test("openai: a whole answer has its usage and its reason", async () => {
  const { id, object, choices, usage } = await client.chat.completions.create(
    asked("items"),
  );
  assert.match(id, /^chatcmpl-/);
  assert.equal(object, "chat.completion");
  assert.equal(choices[0]?.finish_reason, "length");
  assert.deepEqual([choices[0].message.role, choices[0].message.content], [
    "assistant",
    "Two parts",
  ]);
  assert.deepEqual([
    usage?.prompt_tokens,
    usage?.completion_tokens,
    usage?.total_tokens,
  ], [3, 2, 5]);
});

test("openai: reasoning and tool calls stream in fragments", async () => {
  const stream = await client.chat.completions.create({
    ...asked("rich"),
    stream: true,
  });
  let reasoning = "";
  let text = "";
  const calls: { id?: string; name?: string; arguments: string }[] = [];
  for await (const { choices: [choice] } of stream) {
    reasoning += (choice?.delta as Reasoned | undefined)?.reasoning_content ??
      "";
    text += choice?.delta.content ?? "";
    for (
      const { index, id, function: named } of choice?.delta.tool_calls ?? []
    ) {
      const call = calls[index] ??= { arguments: "" };
      if (id) call.id = id;
      if (named?.name) call.name = named.name;
      call.arguments += named?.arguments ?? "";
    }
  }
  assert.deepEqual([reasoning, text], ["The weather, so a tool.", "I ask."]);
  assert.deepEqual(
    calls,
    TOOLS.map(({ id, function: named }) => ({ id, ...named })),
  );
});

test("openai: the .stream() helper and a whole answer put the tool calls together", async () => {
  const whole = await client.chat.completions.create(asked("rich"));
  const reasoning = (whole.choices[0]?.message as Reasoned).reasoning_content;
  // Of a field that it does not know the helper keeps the last fragment.
  assert.equal(reasoning, "The weather, so a tool.");
  const streamed = await client.chat.completions.stream(asked("rich")).finalChatCompletion();
  for (const { choices: [choice] } of [streamed, whole]) {
    assert.equal(choice?.finish_reason, "tool_calls");
    assert.equal(choice.message.content, "I ask.");
    const calls = choice.message.tool_calls?.map((call) => {
      assert(call.type === "function");
      const { name, arguments: json } = call.function;
      return { id: call.id, type: call.type, function: { name, arguments: json } };
    });
    assert.deepEqual(calls, TOOLS);
  }
});

test("openai: runTools() goes round the loop, and the results reach the source", async () => {
  const tool = (name: string, answer: string) => ({
    type: "function" as const,
    function: {
      name,
      description: name,
      parameters: { type: "object" },
      parse: JSON.parse,
      function: (input: object) => `${answer} ${JSON.stringify(input)}`,
    },
  });
  const tools = [tool("weather", "sunny"), tool("time", "noon")];
  const said = 'The tools say: sunny {"city":"東京"}, noon {}';
  const streamed = client.chat.completions.runTools({ ...asked("rich"), stream: true, tools });
  assert.equal(await streamed.finalContent(), said);
  assert.equal(
    await client.chat.completions.runTools({ ...asked("rich"), tools }).finalContent(),
    said,
  );
});

const DEPARTURES: Record<string, () => Promise<number>> = {
  "a break out of the loop": async () => {
    let leftMs = 0;
    let chunks = 0;
    for await (
      const _ of await client.chat.completions.create({
        ...asked("endless"),
        stream: true,
      })
    ) {
      leftMs = performance.now();
      if (++chunks > 4) break;
    }
    return leftMs;
  },
  "controller.abort()": async () => {
    const stream = await client.chat.completions.create({
      ...asked("endless"),
      stream: true,
    });
    let leftMs = 0;
    let chunks = 0;
    for await (const _ of stream) {
      if (++chunks < 4 || leftMs > 0) continue;
      leftMs = performance.now();
      stream.controller.abort();
    }
    return leftMs;
  },
  "the helper's abort()": async () => {
    const stream = client.chat.completions.stream(asked("endless"));
    let leftMs = 0;
    stream.on("content", (_, text) => {
      if (text.length < 20 || leftMs > 0) return;
      leftMs = performance.now();
      stream.abort();
    });
    await assert.rejects(stream.done(), OpenAI.APIUserAbortError);
    return leftMs;
  },
};
for (const [name, leave] of Object.entries(DEPARTURES)) {
  test(`openai: ${name} reaches the source within 100 ms`, async () => {
    await assertNoticed(server, leave);
  });
}

test("openai: models.list() has the models, and an unknown one is a NotFoundError", async () => {
  const models = await Array.fromAsync(client.models.list());
  assert.deepEqual(models.map(({ id, object }) => [id, object]), [[
    MODEL,
    "model",
  ]]);
  const seen = server.runs.length;
  for (const stream of [true, false]) {
    await assert.rejects(
      client.chat.completions.create({
        ...asked("hostile"),
        model: "nobody",
        stream,
      }),
      (error) => {
        assert(error instanceof OpenAI.NotFoundError);
        assert.equal(error.code, "model_not_found");
        assert(error.message.includes("nobody"), error.message);
        return true;
      },
    );
  }
  assert.equal(server.runs.length, seen);
});

test("openai: a body that breaks the schema is a BadRequestError that names the field", async () => {
  const wrong = {
    ...asked("hostile"),
    temperature: "hot",
  } as unknown as ReturnType<typeof asked>;
  await assert.rejects(client.chat.completions.create(wrong), (error) => {
    assert(error instanceof OpenAI.APIError);
    assert([400, 422].includes(error.status!), String(error.status));
    assert.equal(error.type, "invalid_request_error");
    assert.equal(error.param, "temperature");
    return true;
  });
});

test("openai: a refusal has Retry-After, its type and its code", async () => {
  await assert.rejects(
    client.chat.completions.create(asked("refused")),
    (error) => {
      assert(error instanceof OpenAI.RateLimitError);
      assert.equal(error.headers?.get("retry-after"), "7");
      assert.equal(error.code, "rate_limited");
      assert(error.type);
      return true;
    },
  );
});

test("openai: the whole request reaches the source", async () => {
  const messages: OpenAI.ChatCompletionMessageParam[] = [
    { role: "system", content: "Be brief." },
    { role: "user", content: "What?" },
    { role: "assistant", content: "That." },
    { role: "user", content: [{ type: "text", text: "Say it" }] },
  ];
  const tool = {
    type: "function",
    function: { name: "weather", parameters: {} },
  } as const;
  const options = {
    temperature: 0.5,
    top_p: 0.9,
    max_completion_tokens: 64,
    seed: 7,
  };
  await client.chat.completions.create({
    model: MODEL,
    messages,
    ...options,
    stop: ["\n"],
    tools: [tool],
    tool_choice: "auto",
  });
  const input = server.runs.at(-1)!.input as Record<string, unknown>;
  assert.equal(input.query, "Say it");
  assert.equal(input.model, MODEL);
  assert.deepEqual(input.messages, messages);
  for (const [name, value] of Object.entries(options)) {
    assert.equal(input[name], value, name);
  }
  assert.deepEqual([input.stop, input.tools, input.tool_choice], [["\n"], [
    tool,
  ], "auto"]);
});
