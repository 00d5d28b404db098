/** `POST /api/chat`: what reaches the source, what comes back, and how it refuses. */
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

const PATH = "/api/chat";
const user = (text: string) => ({ id: "u1", role: "user", parts: [{ type: "text", text }] });
const body = {
  id: "chat-1",
  messages: [user("Hi")],
  trigger: "submit-message",
  messageId: null,
};

async function problem(response: Response) {
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  const value = await response.json();
  assert.equal(value.status, response.status);
  return value;
}

async function read(response: Response) {
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  assert.equal(response.headers.get("x-vercel-ai-ui-message-stream"), "v1");
  const events = await eventsOf(response);
  assert.equal(events.pop()?.data, "[DONE]");
  const parts = events.map(({ data }) => JSON.parse(data));
  const text = parts.map(({ type, delta }) => type === "text-delta" ? delta : "").join("");
  return { parts, text };
}

test("a chat streams the AI SDK's parts", async () => {
  const { handler } = keeper();
  const { parts, text } = await read(await post(handler, PATH, body));
  assert.equal(text, "Hello 世界");
  assert.equal(parts[0].type, "start");
  assert.equal(parts.at(-1).type, "finish");
  await nothingLeft();
});

test("a chat keeps hostile text", async () => {
  const handler = createHandler({ source: ({ input }) => input.query });
  const asked = { ...body, messages: [user(HOSTILE)] };
  assert.equal((await read(await post(handler, PATH, asked))).text, HOSTILE);
});

test("a chat reaches the source in the words of chat completions", async () => {
  const { handler, inputs } = keeper();
  const asked = {
    ...body,
    temperature: 0.5,
    theme: { dark: true },
    messages: [
      { id: "s", role: "system", parts: [{ type: "text", text: "Be brief." }] },
      user("What time is it?"),
      {
        id: "a1",
        role: "assistant",
        parts: [
          { type: "step-start" },
          { type: "reasoning", text: "hm" },
          { type: "text", text: "I look." },
          {
            type: "tool-now",
            toolCallId: "t1",
            state: "output-available",
            input: { zone: "UTC" },
            output: { time: "12:00" },
          },
          {
            type: "dynamic-tool",
            toolName: "weather",
            toolCallId: "t2",
            state: "output-error",
            input: {},
            errorText: "no network",
          },
          { type: "tool-never", toolCallId: "t3", state: "input-available", input: {} },
          { type: "step-start" },
          { type: "data-chart", data: [] },
          { type: "text", text: "Noon." },
        ],
      },
      {
        id: "u2",
        role: "user",
        parts: [
          { type: "text", text: "And " },
          { type: "text", text: "this?" },
          { type: "file", mediaType: "image/png", url: "data:image/png;base64,AAAA" },
          { type: "file", mediaType: "application/pdf", filename: "a.pdf", url: "data:,x" },
        ],
      },
    ],
  };
  await (await post(handler, PATH, asked)).text();
  const [input] = inputs;
  assert(input?.api === "ui-message");
  assert.equal(input.query, "And this?");
  assert.equal(input.chatId, "chat-1");
  assert.equal(input.temperature, 0.5);
  assert.deepEqual(input.theme, { dark: true });
  assert.deepEqual(input.body, asked);
  assert.deepEqual(input.messages, [
    { role: "system", content: "Be brief." },
    { role: "user", content: "What time is it?" },
    {
      role: "assistant",
      content: "I look.",
      reasoning_content: "hm",
      tool_calls: [
        { id: "t1", type: "function", function: { name: "now", arguments: '{"zone":"UTC"}' } },
        { id: "t2", type: "function", function: { name: "weather", arguments: "{}" } },
        { id: "t3", type: "function", function: { name: "never", arguments: "{}" } },
      ],
    },
    { role: "tool", tool_call_id: "t1", content: '{"time":"12:00"}' },
    { role: "tool", tool_call_id: "t2", content: "no network" },
    { role: "tool", tool_call_id: "t3", content: "No result: the call was interrupted." },
    { role: "assistant", content: "Noon." },
    {
      role: "user",
      content: [
        { type: "text", text: "And " },
        { type: "text", text: "this?" },
        { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } },
        { type: "file", file: { filename: "a.pdf", file_data: "data:,x" } },
      ],
    },
  ]);
});

test("a chat goes on with the assistant's message, and else begins one", async () => {
  const { handler } = keeper();
  const last = { id: "a1", role: "assistant", parts: [{ type: "text", text: "Half" }] };
  const [start] =
    (await read(await post(handler, PATH, { ...body, messages: [user("Hi"), last] }))).parts;
  assert.equal(start.messageId, "a1");
  const [other] = (await read(await post(handler, PATH, body))).parts;
  assert.equal(typeof other.messageId, "string");
  assert.notEqual(other.messageId, "a1");
});

const FAULTS: [fields: Record<string, unknown>, pointer: string][] = [
  [{ messages: undefined }, "/messages"],
  [{ messages: [] }, "/messages"],
  [{ messages: [{ role: "user", content: "Hi" }] }, "/messages/0/parts"],
  [{ messages: [{ role: "tool", parts: [] }] }, "/messages/0/role"],
  [{ messages: [user("Hi"), { role: "user", parts: [{}] }] }, "/messages/1/parts/0/type"],
  [{ messages: [{ role: "user", parts: [{ type: "text" }] }] }, "/messages/0/parts/0/text"],
  [{ id: 5 }, "/id"],
  [{ trigger: "resume" }, "/trigger"],
  [{ messageId: 5 }, "/messageId"],
  [{ temperature: "hot" }, "/temperature"],
];

for (const [fields, pointer] of FAULTS) {
  test(`a chat refuses ${JSON.stringify(fields)} with 422 and points to ${pointer}`, async () => {
    const { handler, inputs } = keeper();
    const { status, code, errors } = await problem(
      await post(handler, PATH, { ...body, ...fields }),
    );
    assert.deepEqual([status, code], [422, "invalid_input"]);
    assert.deepEqual(errors.map((fault: { pointer: string }) => fault.pointer), [pointer]);
    assert.equal(inputs.length, 0);
    await nothingLeft();
  });
}

for (const [name, status, asked] of UNREADABLE) {
  test(`a chat refuses ${name} with ${status}, as a problem`, async () => {
    const { handler } = keeper(SMALL);
    const headers = { "content-type": "application/json", ...asked.headers };
    const response = await ask(handler, PATH, { method: "POST", body: "{}", ...asked, headers });
    assert.equal((await problem(response)).status, status);
  });
}

test("a chat tells an early failure by its status, and a late one in the stream", async () => {
  const early = createHandler({ source: FAILURES.bug, ...quiet });
  const refused = await post(early, PATH, body);
  const { status, code, ...rest } = await problem(refused);
  assert.deepEqual([status, code], [500, "internal"]);
  assert(!JSON.stringify(rest).includes("secret"));
  const late = createHandler({ source: FAILURES.late, ...quiet });
  const { parts, text } = await read(await post(late, PATH, body));
  assert.equal(text, "half");
  assert(parts.some(({ type }) => type === "error"));
  assert(!parts.some(({ type, finishReason }) => type === "finish" && finishReason === "stop"));
  await nothingLeft();
});

test("a chat ends when its reader leaves", async () => {
  await assertLeaves(PATH, body);
});
