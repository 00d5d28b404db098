/** `POST /ag-ui`: what reaches the source, what comes back, and how it refuses. */
import assert from "node:assert/strict";
import test from "node:test";
import type { AgUiInput } from "../../../lib/handler.ts";
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
import { MemoryLog } from "../../../lib/replay.ts";

const PATH = "/ag-ui";
const user = (content: unknown) => ({ id: "u1", role: "user", content });
const body = { threadId: "t1", runId: "r1", messages: [user("Hi")] };
const NAME = { "x-run-id": "a".repeat(22) };

async function problem(response: Response) {
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  const value = await response.json();
  assert.equal(value.status, response.status);
  return value;
}

async function read(response: Response) {
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const events = await eventsOf(response);
  const parts = events.map(({ data }) => JSON.parse(data));
  const text = parts.map(({ type, delta }) => type === "TEXT_MESSAGE_CONTENT" ? delta : "").join(
    "",
  );
  return { events, parts, text };
}

/** What the source is given. */
async function given(asked: object): Promise<AgUiInput> {
  const { handler, inputs } = keeper();
  await read(await post(handler, PATH, { ...body, ...asked }));
  return inputs[0] as AgUiInput;
}

test("a run streams AG-UI's events, with the client's ids", async () => {
  const { handler } = keeper();
  const asked = { ...body, parentRunId: "r0", forwardedProps: { model: "m" } };
  const { parts, text } = await read(await post(handler, PATH, asked));
  assert.equal(text, "Hello 世界");
  const ids = { threadId: "t1", runId: "r1" };
  assert.deepEqual(parts[0], {
    type: "RUN_STARTED",
    ...ids,
    protocolVersion: "1.0",
    parentRunId: "r0",
  });
  assert.deepEqual(parts.at(-1), {
    type: "RUN_FINISHED",
    ...ids,
    outcome: { type: "success" },
    usage: [{ model: "m", inputTokens: 3, outputTokens: 2, totalTokens: 5 }],
    metadata: { tanstack: { finishReason: "stop", model: "m" } },
  });
  await nothingLeft();
});

test("a run keeps hostile text", async () => {
  const handler = createHandler({ source: ({ input }) => input.query });
  const asked = { ...body, messages: [user(HOSTILE)] };
  assert.equal((await read(await post(handler, PATH, asked))).text, HOSTILE);
});

test("a run reaches the source in the words of chat completions", async () => {
  const messages = [
    { id: "s", role: "system", content: "Be brief." },
    user("What time is it?"),
    { id: "x", role: "reasoning", content: "hm" },
    { id: "y", role: "assistant" },
    {
      id: "a",
      role: "assistant",
      content: "I look.",
      toolCalls: [
        {
          id: "c1",
          type: "function",
          function: { name: "now", arguments: '{"n":12345678901234567890}' },
          metadata: { spillway: { sig: 1 } },
        },
        { id: "c2", type: "function", function: { name: "now" } },
      ],
    },
    { id: "p", role: "activity", activityType: "plan", content: { steps: [] } },
    { id: "w", role: "tool", toolCallId: "c1", content: [{ type: "text", text: "12:00" }] },
    { id: "d", role: "developer", content: "Go on." },
  ];
  const tools = [{ name: "now", description: "The time", parameters: { type: "object" } }];
  const context = [{ description: "Where", value: "here" }, { description: "Who", value: "you" }];
  const forwardedProps = { temperature: 0.5, theme: "dark", tools: [1], messages: [2], stop: "x" };
  const asked = { messages, tools, context, forwardedProps, state: { a: 1 } };
  const { body: whole, ...input } = await given(asked);
  assert.deepEqual(whole, { ...body, ...asked });
  assert.deepEqual(input, {
    temperature: 0.5,
    theme: "dark",
    stop: ["x"],
    tools: [{
      type: "function",
      function: { name: "now", description: "The time", parameters: { type: "object" } },
    }],
    messages: [
      { role: "system", content: "Be brief.\n\nWhere:\nhere\n\nWho:\nyou" },
      { role: "user", content: "What time is it?" },
      {
        role: "assistant",
        content: "I look.",
        reasoning_content: "hm",
        tool_calls: [
          {
            sig: 1,
            id: "c1",
            type: "function",
            function: { name: "now", arguments: '{"n":12345678901234567890}' },
          },
          { id: "c2", type: "function", function: { name: "now", arguments: "{}" } },
        ],
      },
      { role: "tool", tool_call_id: "c1", content: "12:00" },
      { role: "tool", tool_call_id: "c2", content: "No result: the call was interrupted." },
      { role: "developer", content: "Go on." },
    ],
    query: "What time is it?",
    threadId: "t1",
    runId: "r1",
    api: "ag-ui",
  });
});

test("a run's pictures and documents are parts, and what nobody knows is text", async () => {
  const source = (type: string, value: string, mimeType?: string) => ({ type, value, mimeType });
  const { messages, query } = await given({
    messages: [user([
      { type: "text", text: "Look: " },
      { type: "text", text: "" },
      { type: "image", source: source("data", "AA==", "image/png") },
      { type: "image", source: source("url", "https://a.example/b.png") },
      { type: "document", source: source("data", "BB==", "application/pdf"), filename: "a.pdf" },
      { type: "audio", source: source("file", "file-1") },
      { type: "binary", mimeType: "image/jpeg", data: "CC==" },
      { type: "binary", mimeType: "text/plain", url: "https://a.example/c.txt" },
      { type: "document", source: source("url", "https://a.example/d"), mimeType: { toString: 1 } },
      { type: "note", title: "A", url: "https://a.example/" },
      "and this",
      { type: "binary", x: 1 },
      null,
    ])],
  });
  assert.equal(query.startsWith("Look: "), true);
  assert.deepEqual(messages[0]!.content, [
    { type: "text", text: "Look: " },
    { type: "image_url", image_url: { url: "data:image/png;base64,AA==" } },
    { type: "image_url", image_url: { url: "https://a.example/b.png" } },
    { type: "file", file: { filename: "a.pdf", file_data: "data:application/pdf;base64,BB==" } },
    { type: "file", file: { file_id: "file-1" } },
    { type: "image_url", image_url: { url: "data:image/jpeg;base64,CC==" } },
    { type: "file", file: { file_data: "https://a.example/c.txt" } },
    { type: "file", file: { file_data: "https://a.example/d" } },
    { type: "text", text: "A\nhttps://a.example/" },
    { type: "text", text: "and this" },
    { type: "text", text: '{"type":"binary","x":1}' },
    { type: "text", text: "null" },
  ]);
});

test("a run's context is a message of the system where there is none", async () => {
  const context = [{ description: "Where", value: "here" }];
  const { messages } = await given({ context });
  assert.deepEqual(messages[0], { role: "system", content: "Where:\nhere" });
  assert.equal((await given({ context: [] })).messages.length, 1);
  const empty = await given({ messages: [{ role: "system" }], context });
  assert.deepEqual(empty.messages, [{ role: "system", content: "Where:\nhere" }]);
  assert.deepEqual((await given({ messages: [] })).query, "");
});

test("a run's reasoning belongs to what the assistant says next, and to nothing else", async () => {
  const think = { role: "reasoning", content: "hm" };
  const { messages } = await given({
    messages: [think, user("a"), { role: "assistant", content: "b" }, think, think, {
      role: "assistant",
      content: "c",
    }],
  });
  assert.deepEqual(messages.map((message) => message.reasoning_content), [
    undefined,
    undefined,
    "hmhm",
  ]);
});

test("a run that does not fit is 422, and each fault is named", async () => {
  const { handler } = keeper();
  const faults: [object, string][] = [
    [{ threadId: undefined }, "/threadId"],
    [{ runId: 5 }, "/runId"],
    [{ messages: {} }, "/messages"],
    [{ messages: [{ role: "nobody" }] }, "/messages/0/role"],
    [{ messages: [{ role: "tool", content: "x" }] }, "/messages/0/toolCallId"],
    [
      { messages: [{ role: "assistant", toolCalls: [{ id: "c", function: {} }] }] },
      "/messages/0/toolCalls/0/function/name",
    ],
    [{ tools: [{ description: "x" }] }, "/tools/0/name"],
    [{ context: [{ description: "x" }] }, "/context/0/value"],
    [{ forwardedProps: { temperature: 9 } }, "/forwardedProps/temperature"],
  ];
  for (const [asked, pointer] of faults) {
    const response = await post(handler, PATH, { ...body, ...asked });
    assert.equal(response.status, 422, pointer);
    const { errors } = await problem(response);
    assert.deepEqual(errors.map((fault: { pointer: string }) => fault.pointer), [pointer]);
  }
});

test("a run cannot forge what the route says of it", async () => {
  const forged = { api: "openai", query: "x", threadId: "x", runId: "x", body: "x" };
  const { api, query, threadId, runId, body: whole } = await given({ forwardedProps: forged });
  assert.deepEqual([api, query, threadId, runId], ["ag-ui", "Hi", "t1", "r1"]);
  assert.equal(whole.runId, "r1");
  for (const forwardedProps of [null, 5, "text", [1]]) await given({ forwardedProps });
});

test("GET joins a run by its name, and says what is wrong with a request", async () => {
  let starts = 0;
  const handler = createHandler({
    source: () => ["run ", String(++starts)],
    log: new MemoryLog(),
    ...quiet,
  });
  const first = await read(await post(handler, PATH, body, NAME));
  const joined = await read(await ask(handler, `${PATH}?offset=-1&runId=${NAME["x-run-id"]}`));
  assert.deepEqual(joined.events, first.events);
  const ids = first.events.map(({ lastEventId }) => lastEventId);
  assert.equal(new Set(ids).size, ids.length, "each event has an id of its own");
  const headers = { "last-event-id": ids.at(-3)! };
  const rest = await read(
    await ask(handler, `${PATH}?offset=-1&runId=${NAME["x-run-id"]}`, { headers }),
  );
  assert.deepEqual(rest.events, first.events.slice(-2));
  const again = await read(await post(handler, PATH, body, { ...NAME, ...headers }));
  assert.deepEqual(again.events, first.events.slice(-2));
  // A POST behind the end is given the end: the client would take a 204 for an error.
  const last = { ...NAME, "last-event-id": ids.at(-1)! };
  assert.deepEqual(
    (await read(await post(handler, PATH, body, last))).events,
    first.events.slice(-2),
  );
  assert.equal(starts, 1);
  const wrong: [query: string, status: number][] = [
    ["", 400],
    ["?offset=-1", 400],
    ["?offset=5&runId=" + NAME["x-run-id"], 400],
    ["?offset=-1&runId=short", 400],
    ["?offset=-1&runId=" + "b".repeat(22), 404],
  ];
  for (const [query, status] of wrong) {
    assert.equal((await problem(await ask(handler, PATH + query))).status, status, query);
  }
  // A stream of another format is not this route's.
  const other = { "x-run-id": "c".repeat(22) };
  await (await post(handler, "/streaming", { query: "x" }, other)).text();
  const response = await ask(handler, `${PATH}?offset=-1&runId=${other["x-run-id"]}`);
  assert.equal((await problem(response)).code, "not_acceptable");
});

test("without a log a run's name means nothing here", async () => {
  const handler = createHandler({ source: "Hi", log: false });
  for (const name of ["a".repeat(22), "short", "?"]) {
    const { text, events } = await read(await post(handler, PATH, body, { "x-run-id": name }));
    assert.deepEqual([text, events.at(-1)!.lastEventId], ["Hi", ""]);
  }
  assert.equal((await ask(handler, `${PATH}?offset=-1&runId=${NAME["x-run-id"]}`)).status, 404);
});

for (const [name, status, asked] of UNREADABLE) {
  test(`a run refuses ${name} with ${status}, as a problem`, async () => {
    const { handler } = keeper(SMALL);
    const headers = { "content-type": "application/json", ...asked.headers };
    const response = await ask(handler, PATH, { method: "POST", body: "{}", ...asked, headers });
    assert.equal((await problem(response)).status, status);
  });
}

test("a run tells an early failure by its status, and a late one in the stream", async () => {
  const early = createHandler({ source: FAILURES.bug, ...quiet });
  const { status, code, ...rest } = await problem(await post(early, PATH, body));
  assert.deepEqual([status, code], [500, "internal"]);
  assert(!JSON.stringify(rest).includes("secret"));
  const late = createHandler({ source: FAILURES.late, ...quiet });
  const { parts, text } = await read(await post(late, PATH, body));
  assert.equal(text, "half");
  assert.deepEqual([parts.at(-1).type, parts.at(-1).code], ["RUN_ERROR", "truncated"]);
  await nothingLeft();
});

test("a run ends when its reader leaves", async () => {
  await assertLeaves(PATH, body);
});
