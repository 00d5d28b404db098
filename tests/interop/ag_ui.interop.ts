/**
 * What is special to AG-UI: messages, reasoning, tools, state and notes through its agent, each event
 * by the protocol's schemas; and TanStack AI's client, which comes back after a cut at any byte, joins
 * a run from elsewhere, and runs the page's tools.
 */
import assert from "node:assert/strict";
import test, { after, before, mock } from "node:test";
import { ChatClient, fetchServerSentEvents } from "@tanstack/ai-client";
import {
  createHandler,
  type Handler,
  type Item,
  MemoryLog,
  type SourceContext,
} from "../../mod.ts";
import { type ChatInput, createHandler as createBareHandler } from "../../lib/handler.ts";
import { CUTS } from "../support/cutting_proxy.ts";
import { HOSTILE, int, random } from "../support/random.ts";
import { serve, type Served } from "../support/serve.ts";
import { agentOf, route } from "./clients/ag_ui.ts";
import { assertNothingLeft } from "./server.ts";

const TEXT = HOSTILE.join("");
const tools = [{ name: "weather", description: "", parameters: { type: "object" } }];

/** Everything that a source can say, and what it has heard of a tool. */
async function* scene({ input }: SourceContext<ChatInput>): AsyncGenerator<Item, object | void> {
  const last = input.messages!.at(-1)!;
  if (last.role === "tool") return yield `It says ${last.content}, ${JSON.stringify(input.tools)}`;
  yield { event: "STATE_SNAPSHOT", data: { snapshot: { a: 1 } } };
  yield { event: "STEP_STARTED", data: { stepName: "think" } };
  yield { event: "reasoning", data: { text: "The weather, ", signature: "" } };
  yield { event: "reasoning", data: { text: "so a tool.", signature: "sig" } };
  yield { event: "STATE_DELTA", data: { delta: [{ op: "add", path: "/b", value: [2] }] } };
  yield* HOSTILE;
  yield { event: "sources", data: { urls: ["https://a.example/"] } };
  yield "I ask.";
  yield { event: "tool_call", data: { index: 0, id: "own", name: "time", arguments: "{}" } };
  yield { event: "tool_result", data: { id: "own", output: { time: "12:00" } } };
  yield "Noon.";
  const call = { index: 1, id: `call-${input.runId}`, name: "weather" };
  yield { event: "tool_call", data: { ...call, arguments: '{"city":', extra: { sig: 1 } } };
  yield { event: "tool_call", data: { index: 1, arguments: '"東京"}' } };
  return { finishReason: "tool_calls", usage: { prompt_tokens: 3, completion_tokens: 5 } };
}

let server: Served;
const warned: unknown[][] = [];
const heard: ChatInput[] = [];
before(() => {
  // The client strips what the protocol does not know, with a warning.
  mock.method(console, "warn", (...said: unknown[]) => warned.push(said));
  const handler = createHandler({
    source: (context: SourceContext<ChatInput>) => {
      heard.push(context.input);
      return scene(context);
    },
  });
  server = serve(handler.fetch);
});
after(async () => {
  mock.reset();
  await server.close();
});

test("HttpAgent: every kind of item has its place, and the tools go round the loop", async () => {
  const agent = agentOf(server.url, "Hello?");
  const notes: unknown[] = [];
  const ends: unknown[] = [];
  const run = () =>
    agent.runAgent({ tools, context: [{ description: "Where", value: "here" }] }, {
      onCustomEvent: ({ event: { name, value } }) => void notes.push([name, value]),
      onRunFinishedEvent: ({ event: { outcome, usage } }) => void ends.push([outcome, usage]),
    });
  const { newMessages } = await run();
  assert.deepEqual(notes, [["sources", { urls: ["https://a.example/"] }]]);
  assert.deepEqual(agent.state, { a: 1, b: [2] });
  const told = newMessages.map((message) => {
    const { id: _id, ...fields } = message;
    return fields;
  });
  const id = `call-${heard.at(-1)!.runId}`;
  const weather = { name: "weather", arguments: '{"city":"東京"}' };
  const metadata = { spillway: { sig: 1 } };
  assert.deepEqual(told, [
    { role: "reasoning", content: "The weather, so a tool.", encryptedValue: "sig" },
    {
      role: "assistant",
      content: `${TEXT}I ask.`,
      toolCalls: [{ id: "own", type: "function", function: { name: "time", arguments: "{}" } }],
    },
    { role: "tool", toolCallId: "own", content: '{"time":"12:00"}' },
    {
      role: "assistant",
      content: "Noon.",
      toolCalls: [{ id, type: "function", function: weather, metadata }],
    },
  ]);
  const usage = { inputTokens: 3, outputTokens: 5, totalTokens: 8 };
  assert.deepEqual(ends, [[{ type: "success", pendingToolCallIds: [id] }, [usage]]]);
  agent.addMessage({ id: "result", role: "tool", toolCallId: id, content: "sunny" });
  await run();
  assert.match(String(agent.messages.at(-1)?.content), /^It says sunny, .*"name":"weather"/);
  const { messages } = heard.at(-1)!;
  assert.deepEqual(messages!.map(({ role }) => role), [
    ...["system", "user", "assistant", "tool", "assistant", "tool"],
  ]);
  assert.equal(messages![2]!.reasoning_content, "The weather, so a tool.");
  assert.deepEqual(messages![4]!.tool_calls, [
    { sig: 1, id, type: "function", function: weather },
  ]);
  assert.deepEqual(warned, []);
  await assertNothingLeft();
});

test("ChatClient: the parts of a message, and the page's own tool is run", async () => {
  const inputs: unknown[] = [];
  const errors: Error[] = [];
  const tool = {
    name: "weather",
    description: "",
    __toolSide: "client" as const,
    execute: (input: unknown) => {
      inputs.push(input);
      return { sky: "clear" };
    },
  };
  const chat = new ChatClient({
    connection: fetchServerSentEvents(route(server.url)),
    tools: [tool],
    onError: (error) => errors.push(error),
  });
  await chat.sendMessage("Hello?");
  const last = () => chat.getMessages().at(-1)!.parts.map((part) => part.type);
  const startMs = performance.now();
  while (last().join() !== "text" && performance.now() - startMs < 5000) {
    await new Promise((go) => setTimeout(go, 10));
  }
  assert.deepEqual([inputs, errors], [[{ city: "東京" }], []]);
  const [, first, second, third] = chat.getMessages();
  const of = (message: typeof first) =>
    message!.parts.map((part) => [part.type, "content" in part ? part.content : part.type]);
  assert.deepEqual(of(first).slice(0, 2), [
    ["thinking", "The weather, so a tool."],
    ["text", `${TEXT}I ask.`],
  ]);
  assert.deepEqual(of(second)[0], ["text", "Noon."]);
  assert.match(String(of(third)[0]![1]), /^It says {"sky":"clear"}/);
  await assertNothingLeft();
});

test("ChatClient: where the server keeps no conversations, it begins empty", async () => {
  const asked: [string, number][] = [];
  const errors: Error[] = [];
  const chat = new ChatClient({
    threadId: "t",
    persistence: true,
    connection: fetchServerSentEvents(route(server.url), {
      fetchClient: (async (input: string, init?: RequestInit) => {
        const response = await fetch(input, init);
        asked.push([`${init?.method} ${new URL(input).search}`, response.status]);
        return response;
      }) as typeof fetch,
    }),
    onError: (error) => errors.push(error),
  });
  chat.attach();
  const startMs = performance.now();
  while (asked.length === 0 && performance.now() - startMs < 2000) {
    await new Promise((go) => setTimeout(go, 10));
  }
  assert.deepEqual(asked, [["GET ?threadId=t", 400]]);
  await chat.sendMessage("Hello?");
  assert.equal(chat.getMessages()[1]!.role, "assistant");
  assert.deepEqual([asked[1], errors], [["POST ", 200], []]);
  await assertNothingLeft();
});

/** A handler whose answers end after so many bytes: with an error, or as if that were all. */
function cutting(handler: Handler) {
  const next: { bytes: number; breaks: boolean }[] = [];
  const fetchClient = async (url: unknown, init?: RequestInit): Promise<Response> => {
    const response = await handler.fetch(new Request(String(url), init));
    const cut = next.shift();
    if (cut === undefined || response.body === null) return response;
    let left = cut.bytes;
    const body = response.body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, out) {
          out.enqueue(chunk.subarray(0, left));
          left -= chunk.length;
          if (left > 0) return;
          if (cut.breaks) out.error(new Error("cut"));
          else out.terminate();
        },
      }),
    );
    const { status, headers } = response;
    return new Response(body, { status, headers });
  };
  return { next, fetchClient: fetchClient as typeof fetch };
}

type Chunk = { type: string; delta?: unknown };

const textOf = (chunks: Chunk[]) =>
  chunks.map(({ type, delta }) => type === "TEXT_MESSAGE_CONTENT" ? delta : "").join("");

/** Reads to the end, or to the error. */
async function drained(chunks: AsyncIterable<Chunk>) {
  const all: Chunk[] = [];
  try {
    for await (const chunk of chunks) all.push(chunk);
  } catch (error) {
    return { all, error };
  }
  return { all, error: undefined };
}

/** What every test of cuts has: a server whose answers take a few turns, and a client of it. */
function cutScene(tokens: readonly string[]) {
  let starts = 0;
  const log = new MemoryLog();
  const handler = createBareHandler({
    log,
    source: async function* () {
      starts++;
      for (const [i, token] of tokens.entries()) {
        if (i % 3 === 1) await new Promise((go) => setTimeout(go, 0));
        yield token;
      }
    },
  });
  const { next, fetchClient } = cutting(handler);
  const reconnect = { delayMs: 0 };
  const client = fetchServerSentEvents("http://localhost/ag-ui", { fetchClient, reconnect });
  // A message without an id would be given another one each time, and the same name another body.
  const parts = [{ type: "text" as const, content: "Hi" }];
  const said = [{ id: "message-1", role: "user" as const, parts }];
  const connect = (runId: string) =>
    drained(client.connect(said, undefined, undefined, { threadId: "t", runId }));
  return {
    next,
    connect,
    join: (runId: string) => drained(client.joinRun(runId)),
    /** The bytes of an answer; each has as many, but for the digits of a time. */
    body: async () => {
      const init = { method: "POST", headers: { "content-type": "application/json" } };
      const body = JSON.stringify({ threadId: "t", runId: runIdOf(0), messages: [] });
      return await (await fetchClient("http://localhost/ag-ui", { ...init, body })).text();
    },
    get starts() {
      return starts;
    },
  };
}

const runIdOf = (number: number) => `run-1796000000000-${String(number).padStart(6, "0")}`;

test("TanStack AI: cut at every byte of a short answer, and joined by a second reader", async () => {
  const tokens = ["a\n", "世", "b"];
  const scene = cutScene(tokens);
  const body = new TextEncoder().encode(await scene.body());
  const first = new TextDecoder().decode(body).indexOf("\n\n") + 1;
  // Behind the last event there is a blank line: the client reads on after a break there, finds nothing,
  // and calls the run incomplete, whatever the server sends.
  const tail = body.length - 1;
  for (let at = 0; at <= body.length; at++) {
    const runId = runIdOf(at + 1);
    const breaks = at % 2 === 0;
    scene.next.push({ bytes: at, breaks });
    let { all, error } = await scene.connect(runId);
    const where = `cut at ${at} of ${body.length}`;
    if (at < first && all.length === 0) {
      // It has no id to come back with. What asks again under the same name joins.
      if (breaks) assert.match(String(error), /StreamReadError|read failed/, where);
      ({ all, error } = await scene.connect(runId));
    }
    if (breaks && at >= tail) assert.match(String(error), /could not resume/, where);
    else assert.equal(error, undefined, where);
    assert.equal(textOf(all), tokens.join(""), where);
    assert.equal(all.at(-1)!.type, "RUN_FINISHED", where);
    // The second reader is cut as well, each tenth time: it goes the same way.
    if (at % 10 === 0) scene.next.push({ bytes: at, breaks });
    let joined = await scene.join(runId);
    if (at < first && joined.all.length === 0) joined = await scene.join(runId);
    assert.deepEqual(joined.all, all, where);
    assert.equal(scene.starts, at + 2, where);
  }
  await assertNothingLeft();
});

test(`TanStack AI: ${CUTS} cuts anywhere, exact, and each answer is made once`, async () => {
  const chance = random(22);
  const scene = cutScene(HOSTILE);
  const length = new TextEncoder().encode(await scene.body()).length;
  let runs = 0;
  for (let cuts = 0; cuts < CUTS;) {
    const runId = runIdOf(++runs);
    // The first answer has its first event, with an id to come back with.
    const lengths = [
      200 + int(chance, length),
      ...[1, 2, 3].map(() => 1 + int(chance, length / 2)),
    ];
    for (const bytes of lengths) scene.next.push({ bytes, breaks: chance() < 0.5 });
    const { all, error } = await scene.connect(runId);
    cuts += 4 - scene.next.length;
    scene.next.length = 0;
    assert(error === undefined || /could not resume/.test(String(error)), String(error));
    assert.equal(textOf(all), TEXT);
    assert.deepEqual((await scene.join(runId)).all, all);
    assert.equal(scene.starts, runs + 1);
  }
  await assertNothingLeft();
});
