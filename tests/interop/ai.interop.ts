/** What is special to the AI SDK: reasoning, tools and data through `streamText` and `useChat`. */
import assert from "node:assert/strict";
import test, { after, before, beforeEach } from "node:test";
import {
  convertToModelMessages,
  isStepCount,
  isToolUIPart,
  jsonSchema,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  lastAssistantMessageIsCompleteWithToolCalls,
  readUIMessageStream,
  streamText,
  type UIMessage,
  type UIMessageChunk,
} from "ai";
import { Chat, model, said, textOf, transport } from "./clients/ai.ts";
import { type ChatMessage, textOf as textIn } from "../../lib/chat.ts";
import type { ChatInput } from "../../lib/handler.ts";
import { createHandler } from "../../mod.ts";
import { int, pick, random } from "../support/random.ts";
import { NO_PARTS } from "../support/random_answers.ts";
import { serve, until } from "../support/serve.ts";
import { assertNoticed, FAILURE, HALF, type Scenes, startScenes } from "./server.ts";

let server: Scenes;
before(() => {
  server = startScenes();
});
beforeEach(() => {
  server.errors.length = 0;
});
after(() => server.close());

const TOOLS = [["call_a", "weather", { city: "東京" }], ["call_b", "time", {}]];
const anything = jsonSchema<object>({ type: "object" });
const tools = { weather: { inputSchema: anything }, time: { inputSchema: anything } };

const send = (text: string, body?: object) =>
  transport(server.url).sendMessages({
    trigger: "submit-message",
    chatId: "chat-1",
    messageId: undefined,
    messages: [said(text)],
    abortSignal: undefined,
    ...body ? { body } : {},
  });

async function messageOf(text: string): Promise<UIMessage> {
  const stream = readUIMessageStream({
    stream: await send(text),
    terminateOnError: true,
  });
  return (await Array.fromAsync(stream)).at(-1)!;
}

test("streamText: reasoning, tool calls, usage and the finish reason are the source's", async () => {
  const result = streamText({
    model: model(server.url),
    prompt: "rich",
    maxRetries: 0,
    tools,
  });
  const parts = await Array.fromAsync(result.stream);
  const joined = (type: string) =>
    parts.map((part) => part.type === type && "text" in part ? part.text : "")
      .join("");
  assert.equal(joined("reasoning-delta"), "The weather, so a tool.");
  assert.equal(joined("text-delta"), "I ask.");
  const calls = await result.toolCalls;
  assert.deepEqual(
    calls.map((
      { toolCallId, toolName, input },
    ) => [toolCallId, toolName, input]),
    TOOLS,
  );
  assert.equal(await result.finishReason, "tool-calls");
  const { inputTokens, outputTokens, totalTokens } = await result.usage;
  assert.deepEqual([inputTokens, outputTokens, totalTokens], [3, 5, 8]);
});

test("streamText: tools go round the loop, and the results reach the source", async () => {
  const run = (answer: string) => ({
    inputSchema: anything,
    execute: (input: object) => `${answer} ${JSON.stringify(input)}`,
  });
  const result = streamText({
    model: model(server.url),
    prompt: "rich",
    tools: { weather: run("sunny"), time: run("noon") },
    stopWhen: isStepCount(3),
  });
  await result.consumeStream();
  assert.equal(await result.text, 'The tools say: sunny {"city":"東京"}, noon {}');
});

test("streamText: a failure in mid-stream makes the finish reason an error", async () => {
  let told: unknown;
  const result = streamText({
    model: model(server.url),
    prompt: "broken",
    maxRetries: 0,
    onError: ({ error }) => void (told = error),
  });
  const parts = await Array.fromAsync(result.stream);
  assert(parts.some(({ type }) => type === "error"));
  assert.equal(await result.finishReason, "error");
  assert.equal((told as Error).message, FAILURE);
});

test("streamText: an abort is the stream's last part and reaches the source within 100 ms", async () => {
  await assertNoticed(server, async () => {
    const abort = new AbortController();
    const prompt = "endless";
    const { stream } = streamText({ model: model(server.url), prompt, abortSignal: abort.signal });
    let leftMs = 0;
    const types: string[] = [];
    for await (const { type } of stream) {
      types.push(type);
      if (types.length < 6 || leftMs > 0) continue;
      leftMs = performance.now();
      abort.abort();
    }
    assert.equal(types.at(-1), "abort");
    return leftMs;
  });
});

test("DefaultChatTransport: the parts are those of the stream protocol, in its order", async () => {
  const chunks: UIMessageChunk[] = await Array.fromAsync(await send("items"));
  const types = chunks.map(({ type }) => type);
  assert.deepEqual(types.slice(0, 2), ["start", "start-step"]);
  assert.deepEqual(types.slice(-2), ["finish-step", "finish"]);
  const [start] = chunks;
  assert(start?.type === "start" && start.messageId);
  const finish = chunks.at(-1);
  assert(finish?.type === "finish");
  assert.equal(finish.finishReason, "length");
});

test("readUIMessageStream: reasoning, text and tool calls are parts of one message", async () => {
  const { role, parts } = await messageOf("rich");
  assert.equal(role, "assistant");
  const reasoning = parts.flatMap((part) => part.type === "reasoning" ? [part] : []);
  assert.deepEqual(reasoning.map(({ text, state }) => [text, state]), [
    ["The weather, so a tool.", "done"],
  ]);
  const text = parts.flatMap((part) => part.type === "text" ? [part] : []);
  assert.deepEqual(text.map(({ text, state }) => [text, state]), [[
    "I ask.",
    "done",
  ]]);
  const calls = parts.filter(isToolUIPart);
  assert.deepEqual(
    calls.map(({ toolCallId, state, input }) => [toolCallId, state, input]),
    [
      ["call_a", "input-available", { city: "東京" }],
      ["call_b", "input-available", {}],
    ],
  );
});

test("readUIMessageStream: a structured item is a data part", async () => {
  const message = await messageOf("items");
  assert.deepEqual(textOf(message), { text: "Two parts", done: true });
  const data = message.parts.find(({ type }) => type === "data-sources");
  assert.deepEqual((data as { data?: unknown }).data, {
    urls: ["https://a.example/"],
  });
});

test("readUIMessageStream: data that is shaped like no part ends no stream", async () => {
  const begun = { index: 0, id: "c", name: "f", arguments: '{"a":' };
  const served = serve(
    createHandler({
      source: [
        { event: "tool_call", data: begun },
        { event: "tool_result", data: { id: "c", output: 1 } },
        { event: "tool_call", data: { index: 0, arguments: "1}" } },
        { event: "tool_call", data: { ...begun, index: 1, name: "g", arguments: "{}" } },
        ...NO_PARTS.map(([event, data]) => ({ event, data })),
        "Hi",
      ],
    }).fetch,
  );
  try {
    const stream = await transport(served.url).sendMessages({
      trigger: "submit-message",
      chatId: "chat-1",
      messageId: undefined,
      messages: [said("Hello")],
      abortSignal: undefined,
    });
    const all = await Array.fromAsync(readUIMessageStream({ stream, terminateOnError: true }));
    assert.deepEqual(textOf(all.at(-1)), { text: "Hi", done: true });
    const tools = all.at(-1)!.parts.filter(isToolUIPart).map(({ type, state }) => [type, state]);
    assert.deepEqual(tools, [["tool-f", "output-available"], ["tool-g", "input-available"]]);
  } finally {
    await served.close();
  }
});

test("useChat: stop() is an abort and reaches the source within 100 ms", async () => {
  await assertNoticed(server, async () => {
    let finish: { isAbort?: boolean; isError?: boolean } = {};
    const chat = new Chat({
      transport: transport(server.url),
      onFinish: (finished) => void (finish = finished),
    });
    const sent = chat.sendMessage({ text: "endless" });
    await until(() => textOf(chat.lastMessage).text.length > 20, 2000, "some text");
    const leftMs = performance.now();
    await chat.stop();
    await sent;
    assert.deepEqual([finish.isAbort, finish.isError, chat.status], [true, false, "ready"]);
    return leftMs;
  });
});

test("useChat: a failure in mid-stream is its error, and keeps the text that came", async () => {
  let finish: { isAbort?: boolean; isError?: boolean } = {};
  const chat = new Chat({
    transport: transport(server.url),
    onFinish: (finished) => void (finish = finished),
  });
  await chat.sendMessage({ text: "broken" });
  assert.deepEqual([finish.isAbort, finish.isError, chat.status], [
    false,
    true,
    "error",
  ]);
  assert.equal(chat.error?.message, FAILURE);
  assert.equal(textOf(chat.lastMessage).text, HALF);
});

test("useChat: tools that run in the page go round the loop", async () => {
  const chat: Chat = new Chat({
    transport: transport(server.url),
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
    onToolCall: ({ toolCall: { toolCallId, toolName, input } }) => {
      const output = `${toolName} ${JSON.stringify(input)}`;
      void chat.addToolOutput({ tool: toolName, toolCallId, output });
    },
  });
  await chat.sendMessage({ text: "rich" });
  await until(() => textOf(chat.lastMessage).text.includes("time"), 2000, "the second answer");
  await until(() => chat.status === "ready", 2000, "its end");
  const said = 'I ask.The tools say: weather {"city":"東京"}, time {}';
  assert.equal(textOf(chat.lastMessage).text, said);
});

test("useChat: a conversation goes on, and reaches the source as messages", async () => {
  const chat = new Chat({ transport: transport(server.url) });
  await chat.sendMessage({ text: "What?" });
  await chat.sendMessage({ text: "Say it" });
  assert.deepEqual(
    chat.messages.map((message) => [message.role, textOf(message).text]),
    [
      ["user", "What?"],
      ["assistant", "What?"],
      ["user", "Say it"],
      ["assistant", "Say it"],
    ],
  );
  const input = server.runs.at(-1)!.input as {
    query: string;
    messages: { role: string }[];
  };
  assert.equal(input.query, "Say it");
  assert.deepEqual(input.messages.map(({ role }) => role), [
    "user",
    "assistant",
    "user",
  ]);
});

test("DefaultChatTransport: what a page sends beside the messages reaches the source", async () => {
  await Array.fromAsync(
    await send("Hello", { temperature: 0.5, sessionId: "s-1" }),
  );
  const input = server.runs.at(-1)!.input as Record<string, unknown>;
  assert.deepEqual([input.query, input.temperature, input.sessionId], [
    "Hello",
    0.5,
    "s-1",
  ]);
});

/** What a user decides about a call that the model wants to make. */
async function decided(approved: boolean): Promise<{ error: Error | undefined; input: unknown }> {
  const inputs: unknown[] = [];
  const handler = createHandler({
    source: ({ input }) => {
      inputs.push(input);
      return "Then not.";
    },
    log: false,
  });
  const served = serve(handler.fetch);
  try {
    const chat: Chat = new Chat({
      transport: transport(served.url),
      messages: [said("Delete it"), {
        id: "message-2",
        role: "assistant",
        parts: [
          { type: "reasoning", text: "A tool.", state: "done" },
          {
            type: "dynamic-tool",
            toolName: "remove",
            toolCallId: "t1",
            state: "approval-requested",
            input: { file: "a" },
            approval: { id: "approval-1" },
          },
        ],
      }],
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
    });
    await chat.addToolApprovalResponse({ id: "approval-1", approved, reason: "I need it" });
    await until(() => chat.status === "error" || inputs.length > 0, 2000, "the request");
    await until(() => ["ready", "error"].includes(chat.status), 2000, "its end");
    if (!approved) assert.equal(textOf(chat.lastMessage).text, "Then not.");
    return { error: chat.error, input: inputs[0] };
  } finally {
    await served.close();
  }
}

test("useChat: a tool that the user denied reaches the source, with the reason", async () => {
  const { error, input } = await decided(false);
  assert.equal(error, undefined);
  const { messages } = input as { messages: Record<string, unknown>[] };
  assert.deepEqual(messages, [
    { role: "user", content: "Delete it" },
    {
      role: "assistant",
      content: null,
      reasoning_content: "A tool.",
      tool_calls: [{
        id: "t1",
        type: "function",
        function: { name: "remove", arguments: '{"file":"a"}' },
      }],
    },
    { role: "tool", tool_call_id: "t1", content: "The user denied this tool call: I need it" },
  ]);
});

test("useChat: a tool that the user approved, and nobody ran, is an error that names it", async () => {
  const { error, input } = await decided(true);
  assert.equal(input, undefined);
  assert.match(String(error?.message), /The call of remove was approved, and has no output/);
});

/** What a conversation holds, in order: texts, reasoning, calls and results. */
type Told = [kind: string, ...values: unknown[]][];

/** The same of the package's own translation. */
async function toldByPackage(messages: UIMessage[]): Promise<Told> {
  const translated = await convertToModelMessages(messages);
  return translated.flatMap(({ role, content }): Told => {
    if (typeof content === "string") return [[role, content]];
    const of = (type: string) => content.filter((part) => part.type === type);
    const joined = (type: string) =>
      of(type).map((part) => "text" in part ? part.text : "").join("");
    const calls: Told = of("tool-call").map((part) =>
      part.type === "tool-call" ? ["call", part.toolCallId, part.toolName, part.input] : ["none"]
    );
    const results: Told = of("tool-result").map((part) =>
      part.type === "tool-result" && "value" in part.output
        ? ["result", part.toolCallId, part.output.value]
        : ["none"]
    );
    const said: Told = role === "tool" ? [] : [[role, joined("text"), joined("reasoning")]];
    return [...said, ...calls, ...results];
  });
}

/** The same of ours. */
function toldByUs(messages: ChatMessage[]): Told {
  return messages.flatMap(
    ({ role, content, reasoning_content, tool_calls, tool_call_id }): Told => {
      if (role === "tool") return [["result", tool_call_id, content]];
      const calls = (tool_calls ?? []) as { id: string; function: Record<string, string> }[];
      return [
        role === "system" ? [role, content] : [role, textIn(content), reasoning_content ?? ""],
        ...calls.map(({ id, function: called }): Told[number] => {
          return ["call", id, called.name, JSON.parse(called.arguments!)];
        }),
      ];
    },
  );
}

test("useChat: whatever was said and called, the source gets it as the package itself translates it", async () => {
  const inputs: ChatInput[] = [];
  const handler = createHandler({
    source: ({ input }) => {
      inputs.push(input);
      return "ok";
    },
    log: false,
  });
  const served = serve(handler.fetch);
  const chance = random(2018);
  const word = () => `${pick(chance, ["a", "世界", "\n", " b "])}${int(chance, 1000)}`;
  const some = <T>(make: () => T) => Array.from({ length: int(chance, 3) }, make);
  try {
    for (let round = 0; round < 60; round++) {
      let ids = 0;
      const text = () => ({ type: "text" as const, text: word() });
      const data = () => ({ type: "data-note" as const, data: { a: word() } });
      const tool = () => {
        const part = { toolCallId: `c${ids++}`, toolName: "f", input: { a: word() } };
        return int(chance, 3) === 0
          ? { ...part, type: "dynamic-tool", state: "output-error", errorText: word() } as const
          : { ...part, type: "dynamic-tool", state: "output-available", output: word() } as const;
      };
      const step = () => [
        { type: "step-start" as const },
        ...some(() => ({ type: "reasoning" as const, text: word() })),
        text(),
        ...some(text),
        ...some(tool),
        ...some(data),
      ];
      const messages: UIMessage[] = Array.from(
        { length: 1 + int(chance, 5) },
        (_, at) =>
          at === 0 && int(chance, 2) === 0
            ? { id: `${at}`, role: "system", parts: [text()] }
            : int(chance, 2) === 0
            ? { id: `${at}`, role: "user", parts: [text(), ...some(text), ...some(data)] }
            : { id: `${at}`, role: "assistant", parts: [...step(), ...some(step).flat()] },
      );
      const stream = await transport(served.url).sendMessages({
        trigger: "submit-message",
        chatId: "chat-1",
        messageId: undefined,
        messages,
        abortSignal: undefined,
      });
      await Array.fromAsync(stream);
      assert.deepEqual(toldByUs(inputs.pop()!.messages!), await toldByPackage(messages));
    }
  } finally {
    await served.close();
  }
});
