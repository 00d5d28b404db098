/**
 * `collect()`: what a reader knows of an answer, in every format and however the answer ends; and that
 * it lets go of what it leaves. The scripted source is in `script_test.ts`.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test, { afterEach } from "node:test";
import {
  anthropicFormat,
  createHandler,
  type Item,
  openaiFormat,
  sse,
  StreamError,
  uiMessageFormat,
} from "../mod.ts";
import { active } from "../lib/counters.ts";
import { collect, type CollectOptions, fail, pause, script, stall } from "../lib/testing.ts";
import { root, total } from "./support/child.ts";
import { serve, until } from "./support/serve.ts";
import { relay } from "../lib/sources/relay.ts";

const request = (): Request => new Request("http://localhost/", { method: "POST" });
const quiet = { onError: () => {} };
const OWN = ["json", "text", "ndjson", "plain"] as const;

/** Spaces, a blank line, what looks like a frame, an emoji with ZWJ; of what SSE itself can carry. */
const TOKENS = [" Streaming", "のテスト 👩‍👩‍👧", "\n\n  data: x", "\n\nevent: done\n", ' {"token":1} '];
const TEXT = TOKENS.join("");

afterEach(async () => {
  await until(() => total(active) === 0, 1000, `nothing is left: ${JSON.stringify(active)}`);
});

// Spillway's own formats

for (const format of OWN) {
  test(`collect() tells the text, the status and the good end of ${format}`, async () => {
    const answer = await collect(sse(request(), TOKENS, { format }));
    assert.equal(answer.status, 200);
    assert.equal(answer.text, TEXT);
    assert.equal(answer.end, "completed");
    assert.equal("problem" in answer, false);
    assert.deepEqual(answer.items, format === "plain" ? [TEXT] : TOKENS);
    assert.deepEqual(answer.summary, format === "plain" ? {} : { tokens: 5 });
    assert.equal(answer.headers.get("cache-control"), "no-cache, no-transform");
    assert.equal(answer.events.length, format === "json" || format === "text" ? 6 : 0);
  });

  test(`collect() tells a failure of ${format} after its text, as far as the reader knows`, async () => {
    const error = new StreamError("quota_exceeded", { status: 429, title: "Later" });
    const answer = await collect(sse(request(), script(["a", fail(error)]), { format, ...quiet }));
    assert.deepEqual([answer.status, answer.text], [200, "a"]);
    if (format === "plain") {
      assert.equal(answer.end, "truncated");
      assert.equal("problem" in answer, false);
      return;
    }
    assert.equal(answer.end, "failed");
    const problem = { type: "about:blank", title: "Later", status: 429, code: "quota_exceeded" };
    assert.deepEqual(answer.problem, problem);
    assert.deepEqual(answer.summary, {});
  });

  test(`collect() tells a failure of ${format} before the first token by its status`, async () => {
    const answer = await collect(sse(request(), script([fail()]), { format, ...quiet }));
    assert.deepEqual([answer.status, answer.end, answer.text], [500, "failed", ""]);
    assert.deepEqual([answer.items, answer.events], [[], []]);
    assert.equal(answer.problem?.code, "internal");
    assert.equal(answer.problem.status, 500);
    assert.match(answer.body, /^\{"type":"about:blank"/);
  });

  test(`collect() tells that ${format} has lost its end`, async () => {
    const whole = await sse(request(), TOKENS, { format });
    const { headers } = whole;
    const bytes = new Uint8Array(await whole.arrayBuffer());
    // At a place where an event, a line or a character ends, and inside of one.
    for (const cut of [0, 2, 10, bytes.length - 3, bytes.length - 1]) {
      const answer = await collect(new Response(bytes.slice(0, cut), { headers }));
      // Of plain text nobody can know.
      assert.equal(answer.end, format === "plain" ? "completed" : "truncated", `cut at ${cut}`);
      if (format !== "plain") assert(TEXT.startsWith(answer.text));
    }
  });
}

const structured: Item[] = [
  "a",
  { event: "note", data: { n: [1, null] } },
  { data: { x: "b" } },
  { event: "note", data: "text" },
  { event: "note", data: null },
  "c",
];

test("collect() tells structured items in their places, as far as the format carries them", async () => {
  for (const format of ["json", "ndjson"] as const) {
    const answer = await collect(sse(request(), structured, { format }));
    assert.deepEqual(answer.items, structured, format);
    assert.equal(answer.text, "ac");
  }
  const named = structured.filter((item) => typeof item === "string" || item.event);
  const text = await collect(sse(request(), structured, { format: "text" }));
  assert.deepEqual(text.items, named);
  const plain = await collect(sse(request(), structured, { format: "plain" }));
  assert.deepEqual(plain.items, ["ac"]);
});

test("collect() tells the summary of the source", async () => {
  const summary = { finishReason: "length", usage: { total_tokens: 5 } };
  for (const format of ["json", "text", "ndjson"] as const) {
    const answer = await collect(sse(request(), script(["a"], { summary }), { format }));
    assert.deepEqual(answer.summary, { tokens: 1, ...summary }, format);
  }
});

test("collect() tells text from json, whatever the model says", async () => {
  const texts: [string[], CollectOptions][] = [
    [["Hel", "lo"], {}],
    [["1", "2", "3"], {}],
    [["true", ' "a"'], {}],
    [['{"token":"x"}', "and so on"], {}],
    [['{"a":1}'], { format: "text" }],
    [['{"token":"x"}'], { format: "text" }],
  ];
  for (const [items, options] of texts) {
    const answer = await collect(sse(request(), items, { format: "text" }), options);
    assert.deepEqual(answer.items, items);
  }
  const data: [Item[], CollectOptions][] = [
    [["1", "2"], {}],
    [[{ data: { a: 1 } }, { data: [] }], {}],
    [["a", { data: 1 }], {}],
    [[{ data: { token: 1 } }, { data: { token: "x", logprob: 0 } }], {}],
    [[{ data: 1 }], { format: "json" }],
  ];
  for (const [items, options] of data) {
    const answer = await collect(sse(request(), items, { format: "json" }), options);
    assert.deepEqual(answer.items, items);
  }
});

test("collect() reads what was stopped as cancelled", async () => {
  const done = '{"reason":"cancelled","tokens":1}';
  for (
    const [type, body] of [
      ["text/event-stream", `:\ndata: {"token":"a"}\n\nevent: done\ndata: ${done}\n\n`],
      ["application/x-ndjson", `{"token":"a"}\n{"event":"done","data":${done}}\n`],
    ] as const
  ) {
    const answer = await collect(new Response(body, { headers: { "content-type": type } }));
    assert.deepEqual([answer.text, answer.end, answer.summary], ["a", "cancelled", { tokens: 1 }]);
  }
});

test("collect() leaves what follows the end out of the answer, and keeps it in events", async () => {
  const body = 'data: {"token":"a"}\n\nevent: done\ndata: {"reason":"completed","tokens":1}\n\n' +
    "event: failed\ndata: {}\n\n";
  const answer = await collect(stream(body));
  assert.deepEqual([answer.text, answer.end], ["a", "completed"]);
  assert.deepEqual(answer.events.map(({ event }) => event), ["message", "done", "failed"]);
});

test("collect() reads relayed events of another API as the stream that they are in", async () => {
  const chunk = {
    object: "chat.completion.chunk",
    choices: [{ delta: { content: "a" }, finish_reason: "stop" }],
  };
  const upstream = stream(`data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`);
  const answer = await collect(sse(request(), relay(upstream), { format: "json" }));
  assert.equal(answer.end, "completed");
});

test("collect() reads megabytes, and a single event of ten", async () => {
  const large = "テスト😀\r\n".repeat(30_000);
  const many = await collect(sse(request(), Array.from({ length: 30 }, () => large)));
  assert(many.text === large.repeat(30));
  const one = JSON.stringify({ token: large.repeat(20) });
  assert((await collect(stream(`data: ${one}\n\n`))).text === large.repeat(20));
});

test("collect() reads the handler's responses, errors as well", async () => {
  const handler = createHandler({ source: ({ input }) => [...input.query] });
  const ask = (body: string) =>
    handler.fetch(
      new Request("http://localhost/streaming", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      }),
    );
  assert.equal((await collect(ask('{"query":"テスト"}'))).text, "テスト");
  const refused = await collect(ask('{"query":5}'));
  assert.deepEqual([refused.status, refused.end], [422, "failed"]);
  assert.equal(refused.problem?.code, "invalid_input");
  assert.equal(refused.problem.errors?.[0]?.pointer, "/query");
});

// The formats of other APIs, as they are in the contract

function stream(body: string, headers: Record<string, string> = {}): Response {
  return new Response(body, { headers: { "content-type": "text/event-stream", ...headers } });
}

const wire = (values: unknown[]): string =>
  values.map((value) => `data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`)
    .join("");

const named = (values: { type: string }[]): string =>
  values.map((value) => `event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`).join("");

function chunk(delta: unknown, finish: string | null = null): unknown {
  return {
    id: "chatcmpl-1",
    object: "chat.completion.chunk",
    created: 1,
    model: "m",
    choices: [{ index: 0, delta, finish_reason: finish }],
    usage: null,
  };
}

const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
const CHUNKS = [
  chunk({ role: "assistant", content: "" }),
  chunk({ reasoning_content: "Hm" }),
  chunk({ content: "Hel" }),
  chunk({ content: "lo" }),
  chunk({ tool_calls: [{ index: 0, id: "c1", type: "function", function: { name: "now" } }] }),
  chunk({ tool_calls: [{ index: 0, function: { arguments: "{}" } }] }),
  chunk({}, "stop"),
  { ...chunk({}) as object, choices: [], usage },
];

const PARTS = [
  { type: "start", messageId: "m1" },
  { type: "start-step" },
  { type: "reasoning-start", id: "r" },
  { type: "reasoning-delta", id: "r", delta: "Hm" },
  { type: "reasoning-end", id: "r" },
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: "Hel" },
  { type: "text-delta", id: "t", delta: "lo" },
  { type: "text-end", id: "t" },
  { type: "tool-input-start", toolCallId: "c1", toolName: "now" },
  { type: "tool-input-delta", toolCallId: "c1", inputTextDelta: "{}" },
  { type: "data-note", data: { n: 1 } },
  { type: "finish-step" },
];

const MESSAGE_EVENTS = [
  {
    type: "message_start",
    message: { id: "msg_1", role: "assistant", content: [], usage: { input_tokens: 3 } },
  },
  { type: "content_block_start", index: 0, content_block: { type: "thinking", thinking: "" } },
  { type: "content_block_delta", index: 0, delta: { type: "thinking_delta", thinking: "Hm" } },
  { type: "content_block_stop", index: 0 },
  { type: "ping" },
  { type: "content_block_start", index: 1, content_block: { type: "text", text: "" } },
  { type: "content_block_delta", index: 1, delta: { type: "text_delta", text: "Hel" } },
  { type: "content_block_delta", index: 1, delta: { type: "text_delta", text: "lo" } },
  { type: "content_block_stop", index: 1 },
  {
    type: "content_block_start",
    index: 2,
    content_block: { type: "tool_use", id: "c1", name: "now", input: {} },
  },
  {
    type: "content_block_delta",
    index: 2,
    delta: { type: "input_json_delta", partial_json: "{}" },
  },
  { type: "content_block_stop", index: 2 },
  { type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: 5 } },
];

const UI = { "x-vercel-ai-ui-message-stream": "v1" };

test("collect() reads chat completion chunks: text, items, finish reason and usage", async () => {
  const answer = await collect(stream(`:\n${wire([...CHUNKS, "[DONE]"])}`));
  assert.deepEqual([answer.text, answer.end], ["Hello", "completed"]);
  assert.deepEqual(answer.items, [
    { event: "reasoning", data: { text: "Hm" } },
    "Hel",
    "lo",
    { event: "tool_call", data: { index: 0, id: "c1", name: "now" } },
    { event: "tool_call", data: { index: 0, arguments: "{}" } },
  ]);
  assert.deepEqual(answer.summary, { finishReason: "stop", usage });
  assert.equal(answer.events.length, CHUNKS.length + 1);
});

test("collect() reads Anthropic's message events: text, items, stop reason and usage", async () => {
  const answer = await collect(stream(named([...MESSAGE_EVENTS, { type: "message_stop" }])));
  assert.deepEqual([answer.text, answer.end], ["Hello", "completed"]);
  assert.deepEqual(answer.items, [
    { event: "reasoning", data: { text: "Hm" } },
    "Hel",
    "lo",
    { event: "tool_call", data: { index: 2, id: "c1", name: "now" } },
    { event: "tool_call", data: { index: 2, arguments: "{}" } },
  ]);
  assert.deepEqual(answer.summary, {
    finishReason: "end_turn",
    usage: { input_tokens: 3, output_tokens: 5 },
  });
});

test("collect() reads the AI SDK's parts: text, items and finish reason", async () => {
  const body = wire([...PARTS, { type: "finish", finishReason: "stop" }, "[DONE]"]);
  for (
    const answer of [
      await collect(stream(body, UI)),
      await collect(stream(body), { format: "ui-message" }),
    ]
  ) {
    assert.deepEqual([answer.text, answer.end], ["Hello", "completed"]);
    assert.deepEqual(answer.items, [
      { event: "reasoning", data: { text: "Hm" } },
      "Hel",
      "lo",
      { event: "tool_call", data: { id: "c1", name: "now" } },
      { event: "tool_call", data: { id: "c1", arguments: "{}" } },
      { event: "note", data: { n: 1 } },
    ]);
    assert.deepEqual(answer.summary, { finishReason: "stop" });
  }
  const aborted = await collect(stream(wire([...PARTS, { type: "abort" }, "[DONE]"]), UI));
  assert.deepEqual([aborted.text, aborted.end], ["Hello", "cancelled"]);
});

test("collect() tells an error of another API by its message and its code", async () => {
  const error = { message: "Later", type: "server_error", param: null, code: "quota_exceeded" };
  const openai = stream(wire([...CHUNKS.slice(0, 3), { error }, "[DONE]"]));
  const anthropic = stream(named([
    ...MESSAGE_EVENTS.slice(0, 7),
    { type: "error", error: { type: "overloaded_error", message: "Later" } } as { type: string },
  ]));
  const parts = wire([...PARTS.slice(0, 7), { type: "error", errorText: "Later" }, "[DONE]"]);
  const cases: [Response, object][] = [
    [openai, { title: "Later", code: "quota_exceeded" }],
    [anthropic, { title: "Later", code: "overloaded_error" }],
    [stream(parts, UI), { title: "Later" }],
  ];
  for (const [response, problem] of cases) {
    const answer = await collect(response);
    assert.deepEqual([answer.text, answer.end], ["Hel", "failed"]);
    assert.deepEqual(answer.problem, problem);
  }
});

test("collect() tells that an answer of another API has lost its end", async () => {
  // With its finish reason a completion is whole.
  assert.equal((await collect(stream(wire(CHUNKS)))).end, "completed");
  const cut = [
    stream(wire([...CHUNKS.slice(0, 4), "[DONE]"])), // no finish reason
    stream(named(MESSAGE_EVENTS)),
    stream(wire(PARTS), UI),
    stream(wire([...PARTS, "[DONE]"]), UI),
  ];
  for (const response of cut) {
    const answer = await collect(response);
    assert.deepEqual([answer.text, answer.end], ["Hello", "truncated"]);
  }
});

test("collect() reads whole documents of other APIs", async () => {
  const json = (value: unknown, status = 200) => Response.json(value, { status });
  const call = { id: "c1", type: "function", function: { name: "now", arguments: "{}" } };
  const completion = await collect(json({
    object: "chat.completion",
    choices: [{
      index: 0,
      message: { role: "assistant", content: "Hello", tool_calls: [call] },
      finish_reason: "stop",
    }],
    usage,
  }));
  assert.deepEqual([completion.text, completion.end], ["Hello", "completed"]);
  assert.deepEqual(completion.items, [
    "Hello",
    { event: "tool_call", data: { index: 0, id: "c1", name: "now", arguments: "{}" } },
  ]);
  assert.deepEqual(completion.summary, { finishReason: "stop", usage });
  const message = await collect(json({
    type: "message",
    content: [
      { type: "thinking", thinking: "Hm" },
      { type: "text", text: "Hello" },
      { type: "tool_use", id: "c1", name: "now", input: { a: 1 } },
      { type: "tool_use", id: "c2", name: "now", input: {} },
      { type: "tool_use", id: "c3", name: "now", input: "{broken" },
    ],
    stop_reason: "end_turn",
    usage: { input_tokens: 3, output_tokens: 5 },
  }));
  assert.deepEqual([message.text, message.end], ["Hello", "completed"]);
  assert.deepEqual(message.items, [
    { event: "reasoning", data: { text: "Hm" } },
    "Hello",
    { event: "tool_call", data: { index: 2, id: "c1", name: "now", arguments: '{"a":1}' } },
    { event: "tool_call", data: { index: 3, id: "c2", name: "now", arguments: "{}" } },
    { event: "tool_call", data: { index: 4, id: "c3", name: "now", arguments: "{broken" } },
  ]);
  assert.deepEqual(message.summary, {
    finishReason: "end_turn",
    usage: { input_tokens: 3, output_tokens: 5 },
  });
  const failed = await collect(json({ error: { message: "Later", type: "server_error" } }));
  assert.deepEqual([failed.status, failed.end], [200, "failed"]);
  assert.deepEqual(failed.problem, { title: "Later", code: "server_error" });
  const type = { headers: { "content-type": "application/json" } };
  assert.equal((await collect(new Response('{"choices":[{"mess', type))).end, "truncated");
  const other = await collect(json({ status: "ok" }));
  assert.deepEqual([other.items, other.end], [[{ data: { status: "ok" } }], "completed"]);
});

test("collect() tells a refusal in each API's shape by its status, its message and its code", async () => {
  const error = { message: "No such model", type: "invalid_request_error", code: "not_found" };
  const type = "not_found_error";
  const cases: [Response, object][] = [
    [Response.json({ error }, { status: 404 }), { title: "No such model", code: "not_found" }],
    [
      Response.json({ type: "error", error: { type, message: "No" } }, { status: 404 }),
      { title: "No", code: type },
    ],
    [Response.json({ error: "No" }, { status: 404 }), { title: "No" }],
    [
      Response.json({ error: "No", code: "not_found" }, { status: 404 }),
      { title: "No", code: "not_found" },
    ],
    [new Response("<h1>Bad Gateway</h1>", { status: 404 }), { title: "HTTP 404" }],
    [new Response(null, { status: 404 }), { title: "HTTP 404" }],
  ];
  for (const [response, problem] of cases) {
    const answer = await collect(response);
    assert.deepEqual([answer.status, answer.end, answer.text], [404, "failed", ""]);
    assert.deepEqual(answer.problem, { status: 404, ...problem });
  }
});

test("collect() survives whatever another server sends", async () => {
  const bodies = [
    "data: null\n\n",
    "data: [null]\n\nevent: done\ndata: null\n\n",
    "event: failed\ndata: broken\n\n",
    wire([chunk(null), { ...chunk({}) as object, choices: [null] }, null, "5", "[DONE]"]),
    wire([chunk({ content: 5, tool_calls: [null, 5, {}], reasoning_content: [] }, "stop"), "{"]),
    named([{ type: "message_start" }, { type: "content_block_start" }, { type: "other" }]),
    named([{ type: "message_start" }, { type: "content_block_delta" }, { type: "error" }]),
    "\xff\xfe\n\n",
    "",
  ];
  for (const body of bodies) {
    for (
      const format of ["json", "text", "openai", "anthropic", "ui-message", undefined] as const
    ) {
      const answer = await collect(stream(body), format === undefined ? {} : { format });
      assert.equal(typeof answer.text, "string");
    }
    for (const type of ["application/x-ndjson", "application/json", "text/html"]) {
      for (const status of [200, 500]) {
        const headers = { "content-type": type };
        assert.equal((await collect(new Response(body, { headers, status }))).status, status);
      }
    }
  }
});

// The same from our own formats for those APIs

const reasoned: Item[] = [
  { event: "reasoning", data: { text: "Hm" } },
  ...TOKENS,
  { event: "tool_call", data: { index: 0, id: "c1", name: "now", arguments: '{"a":1}' } },
  "and so on",
];
const APIS = {
  openai: openaiFormat.with({ includeUsage: true }),
  "openai, whole": openaiFormat.with({ buffered: true }),
  anthropic: anthropicFormat,
  "anthropic, whole": anthropicFormat.with({ buffered: true }),
  "ui-message": uiMessageFormat,
};

/** The items with neighbouring tokens, and fragments of calls, put together, and without indices. */
function parts(items: Item[]): unknown[] {
  const parts: unknown[] = [];
  let call: Record<string, unknown> | undefined;
  for (const item of items) {
    if (typeof item !== "string" && item.event === "tool_call") {
      const { index: _, arguments: json = "", ...names } = item.data as Record<string, unknown>;
      if ("name" in names) parts.push(call = { ...names, json });
      else call!.json = `${call!.json}${json}`;
    } else if (typeof item === "string" && typeof parts.at(-1) === "string") {
      parts.push(parts.pop() + item);
    } else parts.push(item);
  }
  return parts;
}

for (const [name, format] of Object.entries(APIS)) {
  test(`collect() reads what the format writes: ${name}`, async () => {
    const source = script(reasoned, { summary: { finishReason: "stop" } });
    const answer = await collect(sse(request(), source, { format }));
    assert.equal(answer.text, `${TEXT}and so on`);
    assert.equal(answer.end, "completed");
    assert.match(answer.summary.finishReason!, /^tool(_use|[_-]calls)$/);
    assert.equal("usage" in answer.summary, name !== "ui-message");
    const order = (parts: unknown[]) =>
      // The whole of a completion has all its text in one place.
      name === "openai, whole" ? parts.filter((part) => typeof part !== "string") : parts;
    assert.deepEqual(order(parts(answer.items)), order(parts(reasoned)));
    const empty = await collect(sse(request(), [], { format }));
    assert.deepEqual([empty.text, empty.items, empty.end], ["", [], "completed"]);
  });

  test(`collect() reads the failures that the format writes: ${name}`, async () => {
    const error = new StreamError("quota_exceeded", { status: 429, title: "Later" });
    const options = { format, ...quiet };
    const early = await collect(sse(request(), script([fail(error)]), options));
    assert.deepEqual([early.status, early.end, early.text], [429, "failed", ""]);
    assert.deepEqual([early.problem?.title, early.problem?.status], ["Later", 429]);
    if (name.endsWith("whole")) return;
    const late = await collect(sse(request(), script(["a", fail(error)]), options));
    assert.deepEqual([late.status, late.end, late.text], [200, "failed", "a"]);
    assert.equal(late.problem?.title, "Later");
    // Its head had left, and nothing else.
    const silent = script([pause(150), fail(error)]);
    const between = await collect(sse(request(), silent, { ...options, commitAfterMs: 1 }));
    assert.deepEqual([between.status, between.end, between.text], [200, "failed", ""]);
    assert.equal(between.problem?.title, "Later");
    const left = await collect(sse(request(), script(["a", stall()]), options), {
      until: ({ text }) => text === "a",
    });
    assert.equal(left.end, "cancelled");
  });
}

// Leaving, and bodies that break off

test("collect() leaves when it has enough, and the source is let go", async () => {
  for (const kind of ["generator", "callbacks"] as const) {
    const source = script(["Hel", "lo", stall()], { kind });
    const answer = await collect(sse(request(), source), { until: ({ text }) => text === "Hello" });
    assert.deepEqual([answer.text, answer.end], ["Hello", "cancelled"]);
    assert.equal(source.runs[0]?.state, "cancelled");
    assert.equal((source.runs[0].reason as StreamError).code, "disconnected");
  }
});

test("collect() leaves when its signal aborts, with what came until then", async (context) => {
  const source = script(["Hel", "lo", stall()]);
  const response = await sse(request(), source);
  const late = await collect(response, { signal: AbortSignal.timeout(100) });
  assert.deepEqual([late.text, late.end], ["Hello", "cancelled"]);
  assert.equal(source.runs[0]?.state, "cancelled");
  const { signal } = new AbortController();
  const added = context.mock.method(signal, "addEventListener");
  const removed = context.mock.method(signal, "removeEventListener");
  await collect(new Response("a"), { signal });
  assert.deepEqual([added.mock.callCount(), removed.mock.callCount()], [1, 1]);
  const early = await collect(sse(request(), source), { signal: AbortSignal.abort() });
  assert.deepEqual([early.text, early.end], ["", "cancelled"]);
  assert.equal(source.runs[1]?.state, "cancelled");
});

test("collect() tells what a reader knows whose request was aborted, and rejects for no abort", async () => {
  const abort = new AbortController();
  const asked = () => new Request("http://localhost/", { signal: abort.signal });
  const source = script(["a", stall()]);
  const until = ({ text }: { text: string }) => {
    if (text === "a") abort.abort();
    return false;
  };
  const late = await collect(sse(asked(), source, quiet), { until });
  assert.deepEqual([late.status, late.text, late.end], [200, "a", "truncated"]);
  assert.equal(source.runs[0]?.state, "cancelled");
  const early = await collect(sse(asked(), source, quiet));
  assert.deepEqual([early.text, early.end, early.problem?.code], ["", "failed", "disconnected"]);
});

test("collect() tells that a response is complete if it is when collect() leaves", async () => {
  const answer = await collect(sse(request(), "a"), { until: ({ end }) => end === "completed" });
  assert.deepEqual([answer.text, answer.end], ["a", "completed"]);
  const plain = await collect(sse(request(), ["a", "b"], { format: "plain" }), {
    until: () => true,
  });
  assert.equal(plain.end, "cancelled");
});

test("collect() rejects with what until throws, and lets the source go", async () => {
  const source = script(["a", stall()]);
  const broken = new Error("broken");
  const until = () => {
    throw broken;
  };
  await assert.rejects(collect(sse(request(), source), { until }), broken);
  assert.equal(source.runs[0]?.state, "cancelled");
});

test("collect() tells that a body broke off, after the text that came before", async () => {
  const frames = ['data: {"token":"a"}\n\n', 'data: {"token":"b'];
  const response = () => {
    const left = [...frames];
    return new Response(
      new ReadableStream<Uint8Array>({
        pull(controller) {
          const frame = left.shift();
          if (frame === undefined) controller.error(new Error("reset"));
          else controller.enqueue(new TextEncoder().encode(frame));
        },
      }, { highWaterMark: 0 }),
      { headers: { "content-type": "text/event-stream" } },
    );
  };
  const answer = await collect(response());
  assert.deepEqual([answer.status, answer.text, answer.end], [200, "a", "truncated"]);
  assert.equal(answer.body, frames.join(""));
  frames.push('"}\n\nevent: done\ndata: {"reason":"completed","tokens":2}\n\n');
  const told = await collect(response());
  assert.deepEqual([told.text, told.end], ["ab", "completed"], "the end had been told");
});

test("collect() reads an answer over a socket, and leaving closes it", async () => {
  const source = script(["Hel", "lo", stall()]);
  const server = serve((request) => sse(request, request.url.endsWith("/whole") ? TOKENS : source));
  try {
    const whole = await collect(fetch(`${server.url}/whole`));
    assert.deepEqual([whole.text, whole.end], [TEXT, "completed"]);
    const left = await collect(fetch(server.url), { until: ({ text }) => text === "Hello" });
    assert.deepEqual([left.text, left.end], ["Hello", "cancelled"]);
    await source.runs[0]!.ended;
    assert.equal(source.runs[0]!.state, "cancelled");
  } finally {
    await server.close();
  }
});

// Misuse

test("collect() rejects for a body that is too large, and lets the source go", async () => {
  const endless = script(Array.from({ length: 100_000 }, () => "0123456789"));
  await assert.rejects(collect(sse(request(), endless), { maxBytes: 10_000 }), {
    name: "RangeError",
    message: "Cannot collect the answer: its body has more than 10000 bytes",
  });
  assert.equal(endless.runs[0]?.state, "cancelled");
  const body = new Uint8Array(10_000).fill(0x61);
  assert.equal((await collect(new Response(body), { maxBytes: 10_000 })).text.length, 10_000);
});

test("collect() rejects for nonsense, and for a body that somebody has read", async () => {
  for (const maxBytes of [0, -1, 1.5, NaN, Infinity]) {
    await assert.rejects(collect(new Response("a"), { maxBytes }), RangeError);
  }
  for (const format of ["xml", "plain", "constructor"]) {
    await assert.rejects(collect(new Response("a"), { format: format as "json" }), TypeError);
  }
  const read = new Response("a");
  await read.text();
  await assert.rejects(collect(read), TypeError);
  const taken = new Response("a");
  const reader = taken.body!.getReader();
  while (!(await reader.read()).done);
  reader.releaseLock();
  await assert.rejects(collect(taken), TypeError);
  const locked = new Response("a");
  locked.body!.getReader();
  await assert.rejects(collect(locked), TypeError);
  const broken = new Error("no connection");
  await assert.rejects(collect(Promise.reject(broken)), broken);
});

test("spillway/testing is an entry of its own, and mod.ts knows nothing of it", async () => {
  const text = async (path: string) => await readFile(join(root, path), "utf8");
  assert("./testing" in JSON.parse(await text("package.json")).exports);
  assert.equal(JSON.parse(await text("deno.json")).imports["spillway/testing"], "./lib/testing.ts");
  assert.doesNotMatch(await text("mod.ts"), /testing|script|answer/);
});
