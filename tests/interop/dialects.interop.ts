/**
 * The real packages as judges of every dialect: what a family of upstreams writes ends in the same parsed
 * tool calls in each client, and a broken answer is an error in each of them.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import type Anthropic from "@anthropic-ai/sdk";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import {
  isStepCount,
  isToolUIPart,
  jsonSchema,
  readUIMessageStream,
  streamText,
  type UIMessage,
} from "ai";
import type OpenAI from "openai";
import { textOf as contentOf } from "../../lib/chat.ts";
import { createHandler, openai as upstream } from "../../mod.ts";
import { random } from "../support/random.ts";
import { serve, type Served } from "../support/serve.ts";
import { DIALECTS } from "../support/upstream/dialects/all.ts";
import {
  type Answer,
  call,
  type Dialect,
  reasoning,
  refusal,
  text,
} from "../support/upstream/dialects/answer.ts";
import { type Mock, startMock } from "../support/upstream/mock.ts";
import { model, said, transport } from "./clients/ai.ts";
import { anthropic, asked as askedOfClaude } from "./clients/anthropic.ts";
import { chat } from "./clients/langchain.ts";
import { asked, openai } from "./clients/openai.ts";

const usage = { input: 3, output: 5 };
const signature = { extra_content: { google: { thought_signature: "EjQKMg==" } } };
const CALLS: readonly [id: string, name: string, input: object][] = [
  ["call_a", "weather", { city: "東京" }],
  ["call_b", "weather", { city: 'Zürich "X"' }],
  ["call_c", "time", {}],
];
/** Text, three calls, and then what the tools have said. */
const ASKING: Answer = {
  parts: [
    text("Let me look."),
    ...CALLS.map(([id, name, input]) => call(id, name, JSON.stringify(input))),
  ],
  end: "tool_calls",
  usage,
};
const SAID = 'weather {"city":"東京"}, weather {"city":"Zürich \\"X\\""}, time {}';

let mock: Mock;
let server: Served;
/** What the upstream says next, and in which dialect. */
let scene: { dialect: Dialect; answer: Answer; seed: number };

type Told = { role: string; content: unknown };
/** What the tools have answered, as the upstream was told it. */
const resultsIn = (body: unknown): string[] =>
  (body as { messages: Told[] }).messages.filter(({ role }) => role === "tool")
    .map(({ content }) => contentOf(content));

before(async () => {
  mock = await startMock({
    respond: async ({ body }, reply) => {
      const results = resultsIn(body);
      const parts = [text(`The tools say: ${results.join(", ")}`)];
      const answer: Answer = results.length > 0 ? { parts, end: "stop", usage } : scene.answer;
      await reply.head(200, { "content-type": "text/event-stream" });
      // With an event a chunk, the first of them is out before it breaks.
      for (const event of scene.dialect.write(answer, random(scene.seed))) await reply.send(event);
      await reply.end();
    },
  });
  const source = upstream({ baseURL: mock.url, model: "m" });
  const handler = createHandler({ source, disconnect: "cancel", onError: () => {} });
  server = serve((request, info) => handler.fetch(request, info));
});
after(async () => {
  await server.close();
  await mock.close();
});

const parsed = (calls: { id: string; name: string; input: unknown }[]) =>
  calls.map(({ id, name, input }) => [id, name, input]);

const anything = jsonSchema<object>({ type: "object" });
const run = (name: string) => ({
  inputSchema: anything,
  execute: (input: object) => `${name} ${JSON.stringify(input)}`,
});

/** A client: the calls that it has parsed, and, where it runs tools itself, what came of them. */
interface Judge {
  readonly name: string;
  calls(): Promise<unknown[]>;
  loop?(): Promise<string>;
  /** Reads an answer, and rejects with what the client makes of a failure. */
  read(): Promise<unknown>;
}

const uiMessage = async (): Promise<UIMessage> => {
  const stream = await transport(server.url).sendMessages({
    trigger: "submit-message",
    chatId: "chat-1",
    messageId: undefined,
    messages: [said("Go")],
    abortSignal: undefined,
  });
  return (await Array.fromAsync(readUIMessageStream({ stream, terminateOnError: true }))).at(-1)!;
};
type OpenAICall = { id: string; type: string; function?: { name: string; arguments: string } };
const callsOf = (calls: OpenAICall[] | undefined) =>
  parsed((calls ?? []).map(({ id, function: named }) => {
    return { id, name: named!.name, input: JSON.parse(named!.arguments) };
  }));
const tool = (name: string) => ({
  type: "function" as const,
  function: {
    name,
    description: name,
    parameters: { type: "object" },
    parse: JSON.parse,
    function: (input: object) => `${name} ${JSON.stringify(input)}`,
  },
});
const completions = () => openai(server.url).chat.completions;
const tools = [tool("weather"), tool("time")];

const JUDGES: readonly Judge[] = [
  {
    name: "openai .stream() and runTools()",
    async calls() {
      const { choices: [choice] } = await completions().stream(asked("Go")).finalChatCompletion();
      assert.equal(choice?.finish_reason, "tool_calls");
      assert.equal(choice.message.content, "Let me look.");
      return callsOf(choice.message.tool_calls);
    },
    loop: async () =>
      (await completions().runTools({ ...asked("Go"), stream: true, tools }).finalContent())!,
    read: () => completions().stream(asked("Go")).finalChatCompletion(),
  },
  {
    name: "openai, buffered",
    async calls() {
      const { choices: [choice] } = await completions().create(asked("Go"));
      assert.equal(choice?.finish_reason, "tool_calls");
      assert.equal(choice.message.content, "Let me look.");
      return callsOf(choice.message.tool_calls);
    },
    loop: async () => (await completions().runTools({ ...asked("Go"), tools }).finalContent())!,
    read: () => completions().create(asked("Go")),
  },
  {
    name: "@anthropic-ai/sdk .stream()",
    async calls() {
      const message = await anthropic(server.url).messages.stream(askedOfClaude("Go"))
        .finalMessage();
      assert.equal(message.stop_reason, "tool_use");
      const said = message.content.map((block) => block.type === "text" ? block.text : "").join("");
      assert.equal(said, "Let me look.");
      return parsed(message.content.flatMap((block) => {
        return block.type === "tool_use" ? [{ ...block, input: block.input }] : [];
      }));
    },
    read: () => anthropic(server.url).messages.stream(askedOfClaude("Go")).finalMessage(),
  },
  {
    name: "@anthropic-ai/sdk, buffered",
    async calls() {
      const message = await anthropic(server.url).messages.create(askedOfClaude("Go"));
      assert.equal(message.stop_reason, "tool_use");
      return parsed(message.content.flatMap((block) => {
        return block.type === "tool_use" ? [{ ...block, input: block.input }] : [];
      }));
    },
    read: () => anthropic(server.url).messages.create(askedOfClaude("Go")),
  },
  {
    name: "streamText",
    async calls() {
      const result = streamText({
        model: model(server.url),
        prompt: "Go",
        maxRetries: 0,
        tools: { weather: { inputSchema: anything }, time: { inputSchema: anything } },
      });
      await result.consumeStream();
      assert.equal(await result.finishReason, "tool-calls");
      assert.equal(await result.text, "Let me look.");
      return (await result.toolCalls).map(({ toolCallId, toolName, input }) => {
        return [toolCallId, toolName, input];
      });
    },
    async loop() {
      const result = streamText({
        model: model(server.url),
        prompt: "Go",
        tools: { weather: run("weather"), time: run("time") },
        stopWhen: isStepCount(3),
      });
      await result.consumeStream();
      return await result.text;
    },
    async read() {
      const { stream } = streamText({
        model: model(server.url),
        prompt: "Go",
        maxRetries: 0,
        onError: () => {},
      });
      for await (const part of stream) if (part.type === "error") throw part.error;
    },
  },
  {
    name: "useChat's transport",
    async calls() {
      const { parts } = await uiMessage();
      return parts.filter(isToolUIPart).map((part) => {
        assert.equal(part.state, "input-available");
        return [part.toolCallId, part.type.slice("tool-".length), part.input];
      });
    },
    read: uiMessage,
  },
  {
    name: "@langchain/openai",
    async calls() {
      const chunks = await Array.fromAsync(await chat(server.url).stream("Go"));
      const message = chunks.reduce((all, chunk) => all.concat(chunk));
      assert.equal(message.response_metadata["finish_reason"], "tool_calls");
      assert.equal(message.text, "Let me look.");
      return message.tool_calls!.map(({ id, name, args }) => [id, name, args]);
    },
    async loop() {
      const human = new HumanMessage("Go");
      const asking = await chat(server.url).invoke([human]);
      const results = asking.tool_calls!.map(({ id, name, args }) =>
        new ToolMessage({ tool_call_id: id!, content: `${name} ${JSON.stringify(args)}` })
      );
      return (await chat(server.url).invoke([human, asking, ...results])).text;
    },
    async read() {
      await Array.fromAsync(await chat(server.url).stream("Go"));
    },
  },
];

for (const judge of JUDGES) {
  test(`${judge.name}: the calls of every dialect are the same calls`, async () => {
    for (const dialect of DIALECTS) {
      for (let seed = 1; seed <= 3; seed++) {
        await within(dialect, seed, async () => {
          scene = { dialect, answer: ASKING, seed };
          assert.deepEqual(await judge.calls(), CALLS);
          if (judge.loop) assert.equal(await judge.loop(), `The tools say: ${SAID}`);
        });
      }
    }
  });

  test(`${judge.name}: a broken answer of every dialect is an error`, async () => {
    for (const dialect of DIALECTS) {
      for (const end of dialect.can.failures) {
        await within(dialect, end, async () => {
          // With something said before it, and with nothing.
          for (const parts of [[text("Half an ans")], []]) {
            scene = { dialect, answer: { parts, end, usage }, seed: 1 };
            await assert.rejects(judge.read(), (error) => {
              assert(!(error instanceof assert.AssertionError), String(error));
              const words = error instanceof Error ? error.message : JSON.stringify(error);
              assert.match(words, /upstream/i);
              return true;
            });
          }
        });
      }
    }
  });
}

async function within(
  { name }: Dialect,
  where: unknown,
  check: () => Promise<void>,
): Promise<void> {
  try {
    await check();
  } catch (cause) {
    throw new Error(`${name}, ${where}: ${(cause as Error).message}`, { cause });
  }
}

const able = (kind: Dialect["can"]["parts"][number]) =>
  DIALECTS.filter(({ can }) => can.parts.includes(kind));

test("a refusal is a refusal in every client", async () => {
  assert(able("refusal").length >= 3);
  for (const dialect of able("refusal")) {
    scene = {
      dialect,
      answer: { parts: [refusal("I cannot help.")], end: "stop", usage },
      seed: 2,
    };
    for (
      const { choices: [choice] } of [
        await completions().stream(asked("Go")).finalChatCompletion(),
        await completions().create(asked("Go")),
      ]
    ) {
      assert.equal(choice?.message.refusal, "I cannot help.");
    }
    const message = await anthropic(server.url).messages.stream(askedOfClaude("Go")).finalMessage();
    assert.equal(message.stop_reason, "refusal");
    assert.deepEqual(message.content.map((block) => block.type === "text" && block.text), [
      "I cannot help.",
    ]);
    const { parts } = await uiMessage();
    const said = parts.flatMap((part) => part.type === "text" ? [part.text] : []);
    assert.deepEqual(said, ["I cannot help."]);
  }
});

test("reasoning is reasoning in every client", async () => {
  assert(able("reasoning").length >= 5);
  for (const dialect of able("reasoning")) {
    await within(dialect, "reasoning", async () => {
      const answer: Answer = { parts: [reasoning("hm, so"), text("Yes.")], end: "stop", usage };
      scene = { dialect, answer, seed: 3 };
      const result = streamText({ model: model(server.url), prompt: "Go", maxRetries: 0 });
      await result.consumeStream();
      assert.deepEqual([await result.reasoningText, await result.text], ["hm, so", "Yes."]);
      const message = await anthropic(server.url).messages.create(askedOfClaude("Go"));
      assert.deepEqual(
        message.content.map((block) => {
          return block.type === "thinking" ? block.thinking : block.type === "text" && block.text;
        }),
        ["hm, so", "Yes."],
      );
      const { parts } = await uiMessage();
      const told = parts.flatMap((part) => "text" in part ? [[part.type, part.text]] : []);
      assert.deepEqual(told, [["reasoning", "hm, so"], ["text", "Yes."]]);
    });
  }
});

test("a picture and a citation are parts of useChat's message", async () => {
  const base64 = "iVBORw0KGgo=";
  for (const dialect of able("file")) {
    const parts: Answer["parts"] = [{ kind: "file", mediaType: "image/png", base64 }];
    scene = { dialect, answer: { parts, end: "stop", usage }, seed: 4 };
    const message = await uiMessage();
    const files = message.parts.flatMap((part) => part.type === "file" ? [part] : []);
    assert.deepEqual(files.map(({ mediaType, url }) => [mediaType, url]), [
      ["image/png", `data:image/png;base64,${base64}`],
    ]);
  }
  for (const dialect of able("citation")) {
    const data = { url: "https://a.example/", title: "A" };
    scene = {
      dialect,
      answer: { parts: [{ kind: "citation", data }], end: "stop", usage },
      seed: 5,
    };
    const message = await uiMessage();
    const sources = message.parts.flatMap((part) => part.type === "source-url" ? [part.url] : []);
    assert.deepEqual(sources, ["https://a.example/"]);
  }
});

/** What brings a call, and then its result, back to the server with each client. */
const SENDING_BACK: Record<string, () => Promise<void>> = {
  // `runTools()` itself drops what it does not know.
  "openai, streamed": async () => sendBack(await completions().stream(asked("Go")).finalMessage()),
  "openai, buffered": async () =>
    sendBack((await completions().create(asked("Go"))).choices[0]!.message),
  "@anthropic-ai/sdk, streamed": async () =>
    sendBackToClaude(
      await anthropic(server.url).messages.stream(askedOfClaude("Go")).finalMessage(),
    ),
  "@anthropic-ai/sdk, buffered": async () =>
    sendBackToClaude(await anthropic(server.url).messages.create(askedOfClaude("Go"))),
  "useChat": async () => {
    const message = await uiMessage();
    const parts = message.parts.map((part) =>
      isToolUIPart(part) ? { ...part, state: "output-available", output: "sunny" } : part
    ) as UIMessage["parts"];
    const stream = await transport(server.url).sendMessages({
      trigger: "submit-message",
      chatId: "chat-1",
      messageId: undefined,
      messages: [said("Go"), { ...message, parts }],
      abortSignal: undefined,
    });
    for await (const _ of readUIMessageStream({ stream }));
  },
};

async function sendBack(message: OpenAI.ChatCompletionMessage): Promise<void> {
  const result = { role: "tool" as const, tool_call_id: "call_a", content: "sunny" };
  await completions().create({ ...asked("Go"), messages: [message, result] });
}

async function sendBackToClaude({ content }: Anthropic.Message): Promise<void> {
  const result = { type: "tool_result" as const, tool_use_id: "call_a", content: "sunny" };
  const { messages, ...rest } = askedOfClaude("Go");
  await anthropic(server.url).messages.create({
    ...rest,
    messages: [...messages, { role: "assistant", content }, { role: "user", content: [result] }],
  });
}

for (const [client, askAndSendBack] of Object.entries(SENDING_BACK)) {
  test(`${client}: the thought signature of a call goes back to the upstream`, async () => {
    const dialect = DIALECTS.find(({ can }) => can.extra)!;
    const parts = [call("call_a", "weather", '{"city":"東京"}', signature)];
    scene = { dialect, answer: { parts, end: "tool_calls", usage }, seed: 1 };
    await askAndSendBack();
    const sent = mock.requests.at(-1)!.body as { messages: { tool_calls?: object[] }[] };
    const [told] = sent.messages.flatMap(({ tool_calls }) => tool_calls ?? []);
    assert.deepEqual({ ...told, ...signature }, told);
  });
}
