/**
 * What `anthropic()` and `responses()` send and read beyond what every API has: the request in the
 * words of each, what is sent back as it came, ends that are none, and failures.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { createHandler, type Item, sse } from "../../mod.ts";
import { anthropic, type ModelOptions, responses } from "../../lib/sources.ts";
import { MessageReader } from "../../lib/sources/anthropic_reader.ts";
import type { AnswerReader } from "../../lib/sources/dialect.ts";
import { ResponseReader } from "../../lib/sources/responses_reader.ts";
import { KEY, read } from "../support/relay.ts";
import { assertQuiet, type Scripted, startScripted } from "../support/upstream/dialects/server.ts";
import type { Mock } from "../support/upstream/mock.ts";
import { reply, startScripted as startReplies } from "../support/upstream/scripted.ts";

type Input = Record<string, unknown>;

const scripts = new Map<string, Scripted>();
let mock: Mock;
before(async () => {
  mock = await startScripted(scripts);
});
after(() => mock.close());

const event = (type: string, fields: object = {}): string =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
const start = (index: number, content_block: object): string =>
  event("content_block_start", { index, content_block });
const delta = (index: number, delta: object): string =>
  event("content_block_delta", { index, delta });
const stop = (index: number): string => event("content_block_stop", { index });
const ended = (stop_reason: string | null, more: object = {}): string =>
  event("message_delta", { delta: { stop_reason, ...more }, usage: { output_tokens: 5 } }) +
  event("message_stop");
const hello = start(0, { type: "text", text: "" }) + delta(0, { type: "text_delta", text: "Hi" }) +
  stop(0);

const SOURCES = {
  anthropic: { source: anthropic<Input>, whole: hello + ended("end_turn") },
  responses: {
    source: responses<Input>,
    whole: event("response.output_text.delta", { output_index: 0, delta: "Hi" }) +
      event("response.completed", { response: { output: [] } }),
  },
};
type Name = keyof typeof SOURCES;

/** Reads what a source makes of a body. */
async function told(name: Name, body: string, options: Partial<ModelOptions<Input>> = {}) {
  scripts.set(name, { pieces: [body] });
  const errors: Error[] = [];
  const messages = () => [{ role: "user", content: "Hello" }];
  const set = { baseURL: mock.url, model: name, apiKey: KEY, messages, ...options };
  const source = SOURCES[name].source(set);
  const response = await sse(
    new Request("http://localhost/"),
    (context) => source(context as never),
    {
      commitAfterMs: 5000,
      onError: (error) => errors.push(error as Error),
    },
  );
  return { ...await read(response), errors };
}

/** What the upstream was sent for an input. */
async function sent(name: Name, input: Input, options: Partial<ModelOptions<Input>> = {}) {
  scripts.set(name, { pieces: [SOURCES[name].whole] });
  const source = SOURCES[name].source({ baseURL: mock.url, model: name, apiKey: KEY, ...options });
  const items = await Array.fromAsync(source({ input } as never));
  assert.deepEqual(items, ["Hi"]);
  const { path, headers, body } = mock.requests.at(-1)!;
  return { path, headers, body: body as Input };
}

const picture = { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } };
const far = { type: "image_url", image_url: { url: "https://example.com/a.png" } };
const paper = {
  type: "file",
  file: { filename: "a.pdf", file_data: "data:application/pdf;base64,BBBB" },
};
const note = {
  type: "file",
  file: { filename: "a.txt", file_data: "data:text/plain;base64,aGk=" },
};
const call = { id: "c.1", type: "function", function: { name: "f", arguments: '{"a":1}' } };
const signed = { type: "reasoning.text", text: "hm", signature: "sig" };
const conversation = [
  { role: "system", content: "Be brief." },
  { role: "user", content: [{ type: "text", text: "Look" }, picture, far, paper, note] },
  {
    role: "assistant",
    content: "I look.",
    reasoning_content: "hm",
    reasoning_details: [signed, { type: "reasoning.encrypted", data: "enc" }],
    tool_calls: [call],
  },
  { role: "tool", tool_call_id: "c.1", content: "sunny" },
  { role: "user", content: "And now?" },
];
const asked = {
  api: "openai",
  messages: conversation,
  temperature: 1.5,
  top_p: 0.9,
  max_completion_tokens: 4096,
  stop: ["END"],
  seed: 7,
  tools: [{
    type: "function",
    function: { name: "f", description: "F", parameters: { type: "object" } },
  }],
  tool_choice: { type: "function", function: { name: "f" } },
  parallel_tool_calls: false,
  response_format: { type: "json_schema", json_schema: { name: "n", schema: { type: "object" } } },
  reasoning_effort: "low",
  model: "the client's",
  user: "u",
};

test("anthropic() writes a request in the words of its API", async () => {
  const { path, headers, body } = await sent("anthropic", asked);
  assert.equal(path, "/v1/messages");
  assert.equal(headers["x-api-key"], KEY);
  assert.equal(headers["authorization"], undefined);
  assert.equal(headers["anthropic-version"], "2023-06-01");
  assert.equal(headers["accept-encoding"], "identity");
  assert.deepEqual(body, {
    model: "anthropic",
    stream: true,
    max_tokens: 4096,
    top_p: 0.9,
    stop_sequences: ["END"],
    system: "Be brief.",
    tools: [{ name: "f", description: "F", input_schema: { type: "object" } }],
    tool_choice: { type: "tool", name: "f", disable_parallel_tool_use: true },
    output_config: { format: { type: "json_schema", schema: { type: "object" } } },
    temperature: 1,
    messages: [
      {
        role: "user",
        content: [
          { type: "text", text: "Look" },
          { type: "image", source: { type: "base64", media_type: "image/png", data: "AAAA" } },
          { type: "image", source: { type: "url", url: "https://example.com/a.png" } },
          {
            type: "document",
            source: { type: "base64", media_type: "application/pdf", data: "BBBB" },
            title: "a.pdf",
          },
          {
            type: "document",
            source: { type: "text", media_type: "text/plain", data: "hi" },
            title: "a.txt",
          },
        ],
      },
      {
        role: "assistant",
        content: [
          { type: "thinking", thinking: "hm", signature: "sig" },
          { type: "redacted_thinking", data: "enc" },
          { type: "text", text: "I look." },
          { type: "tool_use", id: "c_1", name: "f", input: { a: 1 } },
        ],
      },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "c_1", content: [{ type: "text", text: "sunny" }] },
          { type: "text", text: "And now?" },
        ],
      },
    ],
  });
});

test("anthropic() makes a budget of an effort, where the API allows one", async () => {
  const thinkingOf = async (more: object) => {
    const { body } = await sent("anthropic", { query: "Hello", reasoning_effort: "high", ...more });
    return [body["thinking"], body["temperature"], body["max_tokens"]];
  };
  const enabled = (budget_tokens: number) => ({ type: "enabled", budget_tokens });
  assert.deepEqual(await thinkingOf({ temperature: 0 }), [enabled(8191), undefined, 8192]);
  assert.deepEqual(await thinkingOf({ max_tokens: 50_000 }), [enabled(16_384), undefined, 50_000]);
  assert.deepEqual(await thinkingOf({ max_tokens: 100 }), [undefined, undefined, 100]);
  assert.deepEqual(await thinkingOf({ reasoning_effort: "none" }), [undefined, undefined, 8192]);
  // A tool that must be called, and a turn that began without a signed thought, allow none.
  const tools = asked.tools;
  assert.deepEqual((await thinkingOf({ tools, tool_choice: "required" }))[0], undefined);
  const unsigned = [
    { role: "user", content: "a" },
    { role: "assistant", content: null, tool_calls: [call] },
    { role: "tool", tool_call_id: "c.1", content: "b" },
  ];
  assert.deepEqual((await thinkingOf({ messages: unsigned }))[0], undefined);
  assert.deepEqual((await thinkingOf({ messages: [...unsigned, unsigned[0]] }))[0], enabled(8191));
});

test("anthropic() takes the base URL of either SDK, and the server's limit and version", async () => {
  const fixed = { body: { max_tokens: 7 }, headers: { "anthropic-version": "2099-01-01" } };
  const origin = mock.url.replace(/\/v1$/, "");
  for (const baseURL of [mock.url, origin, `${origin}/`]) {
    const { path, headers, body } = await sent("anthropic", { query: "q", max_tokens: 9 }, {
      baseURL,
      ...fixed,
    });
    assert.deepEqual([path, body["max_tokens"]], ["/v1/messages", 7]);
    assert.equal(headers["anthropic-version"], "2099-01-01");
  }
});

test("responses() writes a request in the words of its API", async () => {
  const custom = { id: "c2", type: "custom", custom: { name: "sh", input: "ls" } };
  const tool = {
    type: "custom",
    custom: {
      name: "sh",
      format: { type: "grammar", grammar: { syntax: "lark", definition: "d" } },
    },
  };
  const { path, headers, body } = await sent("responses", {
    ...asked,
    tools: [...asked.tools, tool],
    messages: [
      ...conversation,
      { role: "assistant", content: null, tool_calls: [custom] },
      { role: "tool", tool_call_id: "c2", content: [{ type: "text", text: "a" }, picture] },
    ],
  });
  assert.equal(path, "/v1/responses");
  assert.equal(headers["authorization"], `Bearer ${KEY}`);
  assert.deepEqual(body, {
    model: "responses",
    stream: true,
    store: false,
    temperature: 1.5,
    top_p: 0.9,
    max_output_tokens: 4096,
    parallel_tool_calls: false,
    tools: [
      {
        type: "function",
        name: "f",
        description: "F",
        parameters: { type: "object" },
        strict: false,
      },
      { type: "custom", name: "sh", format: { type: "grammar", syntax: "lark", definition: "d" } },
    ],
    tool_choice: { type: "function", name: "f" },
    text: { format: { type: "json_schema", name: "n", schema: { type: "object" } } },
    reasoning: { effort: "low" },
    input: [
      { role: "system", content: "Be brief." },
      {
        role: "user",
        content: [
          { type: "input_text", text: "Look" },
          { type: "input_image", image_url: "data:image/png;base64,AAAA", detail: "auto" },
          { type: "input_image", image_url: "https://example.com/a.png", detail: "auto" },
          { type: "input_file", filename: "a.pdf", file_data: paper.file.file_data },
          { type: "input_file", filename: "a.txt", file_data: note.file.file_data },
        ],
      },
      {
        type: "reasoning",
        summary: [{ type: "summary_text", text: "hm" }],
        encrypted_content: "sig",
      },
      { type: "reasoning", summary: [], encrypted_content: "enc" },
      { role: "assistant", content: "I look." },
      { type: "function_call", call_id: "c.1", name: "f", arguments: '{"a":1}' },
      { type: "function_call_output", call_id: "c.1", output: "sunny" },
      { role: "user", content: "And now?" },
      { type: "custom_tool_call", call_id: "c2", name: "sh", input: "ls" },
      {
        type: "custom_tool_call_output",
        call_id: "c2",
        output: [
          { type: "input_text", text: "a" },
          { type: "input_image", image_url: "data:image/png;base64,AAAA", detail: "auto" },
        ],
      },
    ],
  });
});

test("a part that an API has no place for is refused by its name, and never sent", async () => {
  for (const name of ["anthropic", "responses"] as const) {
    const count = mock.requests.length;
    const messages = () => [{ role: "user", content: [{ type: "input_audio", input_audio: {} }] }];
    const { status, last } = await told(name, "", { messages });
    assert.deepEqual([status, last.code], [422, "upstream_unprocessable"]);
    assert.match(last.detail, /input_audio/);
    assert.equal(mock.requests.length, count);
    // What nothing makes text.
    const odd = [{ role: "user", content: [{ type: { toString: 1 } }] }];
    assert.equal((await told(name, "", { messages: () => odd })).status, 422);
  }
  const file = { filename: "a.txt", file_data: "data:text/plain;base64,*" };
  const messages = () => [{ role: "user", content: [{ type: "file", file }] }];
  const { status, last } = await told("anthropic", "", { messages });
  assert.deepEqual([status, last.code], [422, "upstream_unprocessable"]);
});

test("POST /v1/messages reaches anthropic() as the client sent it, unless it was changed", async () => {
  const cache_control = { type: "ephemeral" };
  const thinking = { type: "thinking", thinking: "hm", signature: "sig" };
  const tool = { name: "f", input_schema: { type: "object" }, cache_control };
  const said = {
    model: "m",
    max_tokens: 99,
    top_k: 3,
    thinking: { type: "adaptive" },
    system: [{ type: "text", text: "Be brief.", cache_control }],
    tools: [tool],
    messages: [
      { role: "user", content: [{ type: "text", text: "Hello", cache_control }] },
      {
        role: "assistant",
        content: [{ ...thinking, signature: "" }, thinking, { type: "text", text: "Hi" }],
      },
      { role: "user", content: "Go on" },
    ],
  };
  scripts.set("anthropic", { pieces: [hello + ended("end_turn")] });
  const source = anthropic<Input>({ baseURL: mock.url, model: "anthropic" });
  const ask = async (wrap: (input: Input) => Input) => {
    const handler = createHandler({
      source: (context) => source({ ...context, input: wrap(context.input as never) }),
    });
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(said),
    };
    const response = await handler.fetch(new Request("http://localhost/v1/messages", init));
    assert.equal((await response.json()).content[0].text, "Hi");
    return mock.requests.at(-1)!.body as Input;
  };
  const [first, second, third] = said.messages;
  assert.deepEqual(await ask((input) => input), {
    ...said,
    model: "anthropic",
    stream: true,
    messages: [first, { ...second, content: (second!.content as object[]).slice(1) }, third],
  });
  const system = { role: "system", content: "Mine." };
  const changes: ((messages: Input[]) => Input[])[] = [
    (messages) => [system, ...messages],
    (messages) => (messages.unshift(system), messages),
    (messages) => (messages[0]!["content"] = "Mine.", messages),
  ];
  for (const change of changes) {
    const body = await ask((input) => ({
      ...input,
      messages: change(input["messages"] as Input[]),
    }));
    assert.match(String(body["system"]), /Mine\./);
    assert(!JSON.stringify(body["messages"]).includes("cache_control"));
  }
});

/** A client's conversation in the Responses API, with what only that API knows. */
const inputItems = [
  { type: "message", role: "developer", content: "Be brief.", id: "msg_0" },
  { role: "user", content: [{ type: "input_text", text: "Hello" }] },
  { type: "reasoning", id: "rs_1", summary: [{ type: "summary_text", text: "unsigned" }] },
  { type: "reasoning", id: "rs_2", summary: [], encrypted_content: "sig", status: "completed" },
  { type: "reasoning", id: "rs_3", summary: [], encrypted_content: "redacted:enc" },
  { type: "web_search_call", id: "ws_1", status: "completed", action: { type: "search" } },
  { type: "function_call", id: "fc_1", call_id: "c", name: "f", arguments: "{}" },
  { type: "function_call_output", call_id: "c", output: "1" },
  { type: "message", role: "assistant", content: [{ type: "output_text", text: "Hi" }] },
  { role: "user", content: "Go on" },
];

/** What an upstream is sent for a request of the Responses API. */
async function sentForResponse(name: Name, body: object): Promise<Record<string, unknown>> {
  scripts.set(name, { pieces: [SOURCES[name].whole] });
  const source = SOURCES[name].source({ baseURL: mock.url, model: name }) as never;
  const init = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  const request = new Request("http://localhost/v1/responses", init);
  const response = await createHandler({ source }).fetch(request);
  assert.equal((await response.json()).output[0].content[0].text, "Hi");
  return mock.requests.at(-1)!.body as Record<string, unknown>;
}

test("POST /v1/responses reaches responses() as the client sent it", async () => {
  const tools = [{ type: "function", name: "f", parameters: { type: "object" }, defer: true }];
  const include = ["reasoning.encrypted_content"];
  const asked = { model: "m", instructions: "Mine.", input: inputItems, tools, include };
  const body = await sentForResponse("responses", asked);
  const withoutOwn = ({ id, status: _, ...item }: Input) =>
    item["type"] === "web_search_call" ? { id, ...item } : item;
  assert.deepEqual(body, {
    store: false,
    include,
    instructions: "Mine.",
    tools,
    input: (inputItems as Input[]).filter(({ id }) => id !== "rs_1" && id !== "rs_3")
      .map(withoutOwn),
    model: "responses",
    stream: true,
  });
  const plain = await sentForResponse("responses", { model: "m", input: "Hello" });
  assert.equal(plain["input"], "Hello");
});

test("what a client of the Responses API returns of a thought reaches the API that has signed it", async () => {
  const thought = (encrypted_content: string, text: string) => ({
    type: "reasoning",
    summary: text === "" ? [] : [{ type: "summary_text", text }],
    encrypted_content,
  });
  const input = [
    { role: "user", content: "Hello" },
    thought("sig", "hm"),
    thought("redacted:enc", ""),
    { role: "assistant", content: "Hi" },
    { role: "user", content: "Go on" },
  ];
  const { messages } = await sentForResponse("anthropic", { model: "m", input });
  assert.deepEqual((messages as { content: unknown }[])[1]!.content, [
    { type: "thinking", thinking: "hm", signature: "sig" },
    { type: "redacted_thinking", data: "enc" },
    { type: "text", text: "Hi" },
  ]);
});

test("a signed thought that a client returns reaches the API that has signed it, and no other", async () => {
  const ui = {
    id: "c",
    messages: [{ id: "u", role: "user", parts: [{ type: "text", text: "Hello" }] }, {
      id: "a",
      role: "assistant",
      parts: [
        { type: "reasoning", text: "hm", providerMetadata: { spillway: { signature: "sig" } } },
        { type: "text", text: "Hi" },
      ],
    }, { id: "v", role: "user", parts: [{ type: "text", text: "Go on" }] }],
  };
  for (const name of ["anthropic", "responses"] as const) {
    scripts.set(name, { pieces: [SOURCES[name].whole] });
    const source = SOURCES[name].source({ baseURL: mock.url, model: name }) as never;
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(ui),
    };
    const request = new Request("http://localhost/api/chat", init);
    await (await createHandler({ source }).fetch(request)).text();
    const { messages, input } = mock.requests.at(-1)!.body as Record<string, Input[]>;
    const thought = name === "anthropic" ? (messages![1]!["content"] as unknown[])[0] : input![1];
    assert.deepEqual(
      thought,
      name === "anthropic" ? { type: "thinking", thinking: "hm", signature: "sig" } : {
        type: "reasoning",
        summary: [{ type: "summary_text", text: "hm" }],
        encrypted_content: "sig",
      },
    );
  }
});

test("anthropic() reads what only its API has, and keeps it in its place", async () => {
  const cited = { type: "char_location", cited_text: "a", document_index: 0 };
  const search = { type: "server_tool_use", id: "s1", name: "web_search", input: {} };
  const found = { type: "web_search_tool_result", tool_use_id: "s1", content: [{ url: "u" }] };
  const { items, text, last } = await told(
    "anthropic",
    event("message_start", {
      message: { usage: { input_tokens: 3, cache_read_input_tokens: 2 } },
    }) +
      start(0, { type: "thinking", thinking: "" }) +
      delta(0, { type: "thinking_delta", thinking: "hm" }) +
      delta(0, { type: "signature_delta", signature: "sig" }) + stop(0) +
      start(1, { type: "redacted_thinking", data: "enc" }) + stop(1) +
      start(2, search) + delta(2, { type: "input_json_delta", partial_json: '{"q":' }) +
      delta(2, { type: "input_json_delta", partial_json: '"x"}' }) + stop(2) +
      start(3, found) + stop(3) + event("ping") + event("news") +
      start(4, { type: "text", text: "" }) +
      delta(4, { type: "citations_delta", citation: cited }) +
      delta(4, { type: "text_delta", text: "Hi" }) + stop(4) +
      start(5, { type: "tool_use", id: "c", name: "f", input: { a: 1 } }) + stop(5) +
      ended("stop_sequence", { stop_sequence: "END" }),
  );
  assert.equal(text, "Hi");
  assert.deepEqual(items.filter((item: Item) => typeof item !== "string"), [
    { event: "reasoning", data: { text: "hm" } },
    { event: "reasoning", data: { text: "", signature: "sig" } },
    { event: "reasoning", data: { text: "", redacted: "enc" } },
    { event: "delta", data: { content_block: { ...search, input: { q: "x" } } } },
    { event: "delta", data: { content_block: found } },
    { event: "citation", data: cited },
    { event: "tool_call", data: { index: 0, id: "c", name: "f" } },
    { event: "tool_call", data: { index: 0, arguments: '{"a":1}' } },
    { event: "metadata", data: { stop_sequence: "END" } },
  ]);
  // A call was made, and its client has to know.
  assert.equal(last.finishReason, "tool_calls");
  assert.deepEqual(last.usage, { input_tokens: 3, cache_read_input_tokens: 2, output_tokens: 5 });
});

test("responses() reads what only its API has", async () => {
  const at = { output_index: 0 };
  const cited = { type: "url_citation", url: "u", title: "t", start_index: 0, end_index: 1 };
  const search = { type: "web_search_call", id: "ws", status: "completed" };
  const image = { type: "image_generation_call", result: "AAAA", output_format: "webp" };
  const sh = { type: "custom_tool_call", call_id: "c2", name: "sh" };
  const { items, text } = await told(
    "responses",
    event("response.reasoning_summary_part.added", { ...at, summary_index: 0 }) +
      event("response.reasoning_summary_text.delta", { ...at, delta: "a" }) +
      event("response.reasoning_text.delta", { ...at, delta: "twice" }) +
      event("response.reasoning_summary_part.added", { ...at, summary_index: 1 }) +
      event("response.reasoning_summary_text.delta", { ...at, delta: "b" }) +
      event("response.output_item.done", {
        ...at,
        item: {
          type: "reasoning",
          summary: [{ text: "a" }, { text: "b" }],
          encrypted_content: "e",
        },
      }) +
      event("response.output_item.done", { output_index: 1, item: search }) +
      event("response.output_item.done", { output_index: 2, item: image }) +
      event("response.output_text.delta", { output_index: 3, delta: "Hi" }) +
      event("response.output_text.annotation.added", { output_index: 3, annotation: cited }) +
      event("response.output_item.added", { output_index: 4, item: sh }) +
      event("response.custom_tool_call_input.delta", { output_index: 4, delta: "ls" }) +
      event("response.completed", { response: { output: [] } }),
  );
  assert.equal(text, "Hi");
  const { type, ...url_citation } = cited;
  assert.deepEqual(items, [
    { event: "reasoning", data: { text: "a" } },
    { event: "reasoning", data: { text: "\n\n" } },
    { event: "reasoning", data: { text: "b" } },
    { event: "reasoning", data: { text: "", signature: "e" } },
    { event: "delta", data: { output_item: search } },
    { event: "file", data: { mediaType: "image/webp", base64: "AAAA" } },
    { event: "citation", data: { type, url_citation } },
    { event: "tool_call", data: { index: 0, id: "c2", type: "custom", name: "sh" } },
    { event: "tool_call", data: { index: 0, arguments: "ls" } },
  ]);
});

const call1 = [
  { event: "tool_call", data: { index: 0, id: "c", name: "f" } },
  { event: "tool_call", data: { index: 0, arguments: '{"a":1}' } },
];

test("anthropic() reads a call whole, and a block of its own, from a server that ends no block", async () => {
  const made = start(0, { type: "tool_use", id: "c", name: "f", input: { a: 1 } });
  assert.deepEqual((await told("anthropic", made + ended("tool_use"))).items, call1);
  const own = { type: "web_search_tool_result", content: [] };
  const again = start(0, own) + made + ended("tool_use");
  assert.deepEqual((await told("anthropic", again)).items, [
    { event: "delta", data: { content_block: own } },
    ...call1,
  ]);
});

test("responses() reads each item once, however a server counts", async () => {
  const say = (output_index: number | undefined) =>
    event("response.output_text.delta", { output_index, item_id: "m", delta: "Hi" });
  const message = { type: "message", content: [{ type: "output_text", text: "Hi" }] };
  const made = { type: "function_call", call_id: "c", name: "f", arguments: '{"a":1}' };
  const other = { ...made, call_id: "d" };
  const added = (output_index: number, item: object) =>
    event("response.output_item.added", { output_index, item: { ...item, arguments: "" } });
  const done = (output_index: number, item: object) =>
    event("response.output_item.done", { output_index, item });
  const completed = (...output: object[]) => event("response.completed", { response: { output } });
  const think = event("response.reasoning_text.delta", { output_index: 0, delta: "hm" });
  const thought = { event: "reasoning", data: { text: "hm" } };
  const call2 = [
    { event: "tool_call", data: { index: 1, id: "d", name: "f" } },
    { event: "tool_call", data: { index: 1, arguments: '{"a":1}' } },
  ];
  const cases: Record<string, [body: string, items: object[]]> = {
    "reasoning that is not in the output": [
      think + say(1) + done(2, made) + completed(message, made),
      [thought, ...call1],
    ],
    "all items are the first": [
      think + say(0) + done(0, message) + added(0, made) + done(0, made) + added(0, other) +
      done(0, other) + completed(message, made, other),
      [thought, ...call1, ...call2],
    ],
    "all items are the first, and come whole": [
      say(0) + done(0, message) + done(0, made) + done(0, other) + completed(message, made, other),
      [...call1, ...call2],
    ],
    "no places": [say(undefined) + completed(message, made), call1],
    "another id in each event": [
      added(0, { ...message, id: "m1" }) + say(0) + done(0, { ...message, id: "m2" }) +
      added(1, { ...made, id: "f1" }) + done(1, { ...made, id: "f2" }) +
      completed({ ...message, id: "m3" }, { ...made, id: "f3" }),
      call1,
    ],
    "an item that only begins before the end": [
      say(0) + added(1, made) + completed(message, made),
      call1,
    ],
    "an item twice": [say(0) + done(1, made) + done(1, made) + completed(message, made), call1],
    "all at the end": [completed(message, made, other), [...call1, ...call2]],
  };
  for (const [name, [body, items]] of Object.entries(cases)) {
    const read = await told("responses", body);
    assert.deepEqual([read.text, read.end, read.items], ["Hi", "done", items], name);
  }
});

test("responses() believes what the response says of its status at its end", async () => {
  const completed = (response: object) =>
    event("response.output_text.delta", { output_index: 0, delta: "Hi" }) +
    event("response.completed", { response: { output: [], ...response } });
  const details = { incomplete_details: { reason: "max_output_tokens" } };
  const cut = await told("responses", completed({ status: "incomplete", ...details }));
  assert.equal(cut.last.finishReason, "max_output_tokens");
  assert.equal(
    (await told("responses", completed({ status: "failed" }))).last.code,
    "upstream_failed",
  );
  assert.equal(
    (await told("responses", completed({ status: "cancelled" }))).last.code,
    "truncated",
  );
});

test("a reader of either API bounds what it keeps of items that do not end", () => {
  const long = "x".repeat(500_000);
  const readers: [() => AnswerReader, (at: number) => object][] = [
    [() => new MessageReader(), (index) => ({
      type: "content_block_start",
      index,
      content_block: { type: "own", long },
    })],
    [
      () => new MessageReader(),
      (index) => ({ type: "message_delta", usage: { [`${index}`]: long } }),
    ],
    [() => new ResponseReader(), (index) => ({
      type: "response.output_item.added",
      output_index: index,
      item: { type: "message", id: `${index}${long}` },
    })],
    [() => new ResponseReader(), (index) => ({
      type: "response.output_item.added",
      item: { type: `${index}${long}` },
    })],
  ];
  for (const [create, made] of readers) {
    const reader = create();
    const readAll = () => {
      for (let at = 0; at < 100; at++) {
        reader.read({ event: "message", data: JSON.stringify(made(at)), lastEventId: "" });
      }
    };
    assert.throws(readAll, { code: "answer_too_large" });
  }
  // What was passed on is not kept.
  const passing = new MessageReader();
  for (let index = 0; index < 100; index++) {
    const content_block = { type: "text", text: long };
    const data = JSON.stringify({ type: "content_block_start", index, content_block });
    passing.read({ event: "message", data, lastEventId: "" });
  }
});

/** Bodies that are no whole answer, with the code that the client is told. */
const BROKEN: Record<Name, Record<string, [body: string, code: string]>> = {
  anthropic: {
    "no message_stop": [hello + ended("end_turn").split("event: message_stop")[0]!, "truncated"],
    "no stop reason": [hello + ended(null), "truncated"],
    "another API's end": [`${hello}data: [DONE]\n\n`, "truncated"],
    "an error": [
      hello + event("error", { error: { type: "api_error", message: KEY } }),
      "upstream_failed",
    ],
    "a reason that is a failure": [
      hello + ended("model_error_abort").replace("model_error_abort", "abort"),
      "upstream_failed",
    ],
    "no JSON": [`${hello}event: x\ndata: {"type":\n\n`, "upstream_failed"],
    "no type": [`${hello}data: {"choices":[]}\n\n`, "upstream_failed"],
    "a call without a name": [hello + start(1, { type: "tool_use", id: "c" }), "upstream_failed"],
    "too deep": [
      hello + `event: x\ndata: {"type":"x","a":${"[".repeat(600)}${"]".repeat(600)}}\n\n`,
      "upstream_failed",
    ],
  },
  responses: {
    "no response.completed": [
      SOURCES.responses.whole.split("event: response.completed")[0]!,
      "truncated",
    ],
    "incomplete without a reason": [
      SOURCES.responses.whole.replaceAll("response.completed", "response.incomplete"),
      "truncated",
    ],
    "an error": [
      event("response.output_text.delta", { output_index: 0, delta: "Hi" }) +
      event("error", { message: KEY }),
      "upstream_failed",
    ],
    "an item of a type that nothing makes text, and an error": [
      event("response.output_item.done", { output_index: 0, item: { type: { toString: 1 } } }) +
      event("error", { message: KEY }),
      "upstream_failed",
    ],
    "a failed response": [
      event("response.output_text.delta", { output_index: 0, delta: "Hi" }) +
      event("response.failed", { response: { error: { code: "server_error", message: KEY } } }),
      "upstream_failed",
    ],
    "arguments of no call": [
      event("response.function_call_arguments.delta", { output_index: 0, delta: "{}" }),
      "upstream_failed",
    ],
  },
};

for (const [name, cases] of Object.entries(BROKEN) as [Name, typeof BROKEN[Name]][]) {
  for (const [what, [body, code]] of Object.entries(cases)) {
    test(`${name}(): ${what} is ${code}, and never a good end`, async () => {
      const { end, last, errors, body: all } = await told(name, body);
      assert.equal(end ?? "failed", "failed");
      assert.equal(last.code, code);
      assert.equal(errors.length, 1);
      assert(!all.includes(KEY) && !String(errors[0]!.cause).includes(KEY), "the key is masked");
      await assertQuiet(mock);
    });
  }
}

test("a failure before the first item is the status that it stands for, and is asked again", async () => {
  const failed = { type: "overloaded_error", message: "Busy" };
  const busy: Record<Name, string> = {
    anthropic: event("error", { error: failed }),
    responses: event("response.failed", { response: { error: { code: "server_is_overloaded" } } }),
  };
  const limited: Record<Name, string> = {
    anthropic: event("error", { error: { type: "rate_limit_error" } }),
    responses: event("response.failed", { response: { error: { code: "rate_limit_exceeded" } } }),
  };
  for (const name of ["anthropic", "responses"] as const) {
    const { status, last } = await told(name, limited[name]);
    assert.deepEqual([status, last.code], [429, "rate_limited"]);
    const stream =
      "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    const upstream = await startReplies(
      reply(529, { type: "error", error: failed }, { "retry-after-ms": "5" }),
      stream + busy[name],
      stream + SOURCES[name].whole,
    );
    const answer = await told(name, "", { baseURL: upstream.url, retries: 2 });
    assert.deepEqual([answer.end, answer.text, upstream.requests.length], ["done", "Hi", 3]);
    await upstream.close();
  }
});

test("a rejection by either API keeps its status, and its words reach the operator alone", async () => {
  const cases: [number, object, number, string][] = [
    [
      400,
      { type: "invalid_request_error", message: "prompt is too long: 9 tokens > 8 maximum" },
      400,
      "context_length_exceeded",
    ],
    [401, { type: "authentication_error", message: `bad ${KEY}` }, 502, "bad_upstream"],
    [413, { type: "request_too_large", message: "" }, 413, "upstream_too_large"],
    [429, { type: "rate_limit_error", message: "" }, 429, "rate_limited"],
  ];
  for (const name of ["anthropic", "responses"] as const) {
    for (const [given, error, status, code] of cases) {
      const upstream = await startReplies(reply(given, { type: "error", error }));
      const answer = await told(name, "", { baseURL: upstream.url });
      assert.deepEqual([answer.status, answer.last.code], [status, code], `${name} ${given}`);
      assert(!answer.body.includes(KEY) && !String(answer.errors[0]!.cause).includes(KEY));
      await upstream.close();
    }
  }
});
