/**
 * What reaches a source of what Anthropic's clients send: every kind of block, every field that the chat
 * completions API has a place for, and by name what it has none for.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { ChatInput, HandlerOptions } from "../../../lib/handler.ts";
import { keeper, post } from "../../support/handler_requests.ts";
import { int, pick, random } from "../../support/random.ts";
import { processorTime } from "../../support/timing.ts";

const PATH = "/v1/messages";
const base = { model: "m", max_tokens: 9, messages: [{ role: "user", content: "Hi" }] };

// deno-lint-ignore no-explicit-any -- blocks of every shape
type Json = any;

async function inputOf(body: Json, options: Partial<HandlerOptions> = {}): Promise<ChatInput> {
  const { handler, inputs } = keeper(options);
  const response = await post(handler, PATH, { ...base, ...body });
  assert.equal(response.status, 200, await response.text());
  return inputs[0]!;
}

const messagesOf = async (...messages: Json[]) => (await inputOf({ messages })).messages;
const user = (...content: Json[]) => ({ role: "user", content });
const assistant = (...content: Json[]) => ({ role: "assistant", content });
const use = (id: string, name = "f") => ({ type: "tool_use", id, name, input: {} });
const result = (id: string, content: Json, more = {}) => ({
  type: "tool_result",
  tool_use_id: id,
  content,
  ...more,
});
const callOf = (id: string, name = "f") => ({
  id,
  type: "function",
  function: { name, arguments: "{}" },
});
const text = (text: string) => ({ type: "text", text });
const png = { type: "base64", media_type: "image/png", data: "AAAA" };
const picture = {
  type: "image_url",
  image_url: { url: ["data", "image/png;base64,AAAA"].join(":") },
};

async function refusalOf(body: Json, options = {}): Promise<string> {
  const { handler, inputs } = keeper(options);
  const response = await post(handler, PATH, { ...base, ...body });
  const { error } = await response.json();
  assert.deepEqual([response.status, error.type], [400, "invalid_request_error"]);
  assert.equal(inputs.length, 0);
  return error.message;
}

// https://github.com/decolua/9router/issues/355
// https://github.com/bytedance/deer-flow/issues/3043
// https://github.com/openclaw/openclaw/issues/73417 (without a call as well)
test("thinking is reasoning_content on its message, beside a call and without one", async () => {
  const thinking = (text: string) => ({ type: "thinking", thinking: text, signature: "s" });
  const messages = await messagesOf(
    assistant(thinking("hm, "), thinking("so"), text("I look."), use("t1")),
    user(result("t1", "12")),
    assistant(thinking("done"), text("Noon.")),
    user(text("Thanks")),
  );
  assert.deepEqual(messages?.map(({ reasoning_content }) => reasoning_content), [
    "hm, so",
    undefined,
    "done",
    undefined,
  ]);
});

// https://github.com/liuw1535/antigravity2api-nodejs/issues/86
test("Gemini's signature beside a call goes back upstream", async () => {
  const extra_content = { google: { thought_signature: "s" } };
  const messages = await messagesOf(
    assistant({ ...use("t1"), extra_content }, { ...use("t2"), caller: { type: "direct" } }),
    user(result("t1", "1"), result("t2", "2")),
  );
  assert.deepEqual(messages?.[0]?.tool_calls, [{ ...callOf("t1"), extra_content }, callOf("t2")]);
});

// https://github.com/BerriAI/litellm/issues/9058: nobody but Anthropic can read it.
// https://github.com/dirge-code/dirge/pull/757: and a message of nothing else would be empty.
test("redacted thinking is left out, and a message that is nothing else as well", async () => {
  const redacted = { type: "redacted_thinking", data: "SECRET" };
  const messages = await messagesOf(
    assistant(redacted),
    assistant(redacted, text("Yes.")),
    assistant({ type: "thinking", thinking: "hm", signature: "s" }),
    assistant(text("")),
    user(text("Why?")),
  );
  assert.deepEqual(messages, [
    { role: "assistant", content: "Yes." },
    { role: "user", content: "Why?" },
  ]);
});

// https://github.com/aattaran/deepclaude/pull/19: Claude Code's Read returns a picture so.
test("pictures in tool results are in a message of the user's behind all tool messages", async () => {
  const messages = await messagesOf(
    assistant(use("t1"), use("t2")),
    user(
      result("t1", [text("a.png:"), { type: "image", source: png }]),
      text("And?"),
      result("t2", [{ type: "image", source: { type: "url", url: "https://a.example/b" } }]),
    ),
  );
  const behind = "(The rest of the result is in the user's next message.)";
  assert.deepEqual(messages?.slice(1), [
    { role: "tool", tool_call_id: "t1", content: `a.png:\n${behind}` },
    { role: "tool", tool_call_id: "t2", content: behind },
    {
      role: "user",
      content: [
        text("What the tool call t1 returned:"),
        picture,
        text("What the tool call t2 returned:"),
        { type: "image_url", image_url: { url: "https://a.example/b" } },
        text("And?"),
      ],
    },
  ]);
});

// https://github.com/router-for-me/CLIProxyAPI/issues/4765
// https://github.com/BerriAI/litellm/pull/38261 (in a tool result)
test("documents are file parts, or text where they are text", async () => {
  const pdf = { type: "base64", media_type: "application/pdf", data: "JVBE" };
  const data = ["data", "application/pdf;base64,JVBE"].join(":");
  const document = (source: Json, more = {}) => ({ type: "document", source, ...more });
  const plain = { type: "text", media_type: "text/plain", data: "Once" };
  const [message] = await messagesOf(user(
    document(pdf),
    document(pdf, { title: "a.pdf", context: "Of today", cache_control: {} }),
    document({ type: "url", url: "https://a.example/b.pdf" }),
    document({ type: "file", file_id: "f1" }),
    document(plain, { title: "Tale", context: "Old" }),
    document({ type: "content", content: [text("One"), { type: "image", source: png }] }),
    document({ type: "content", content: "Two" }),
    document({ type: "tape", reel: 7 }),
  )) ?? [];
  assert.deepEqual(message?.content, [
    { type: "file", file: { filename: "document.pdf", file_data: data } },
    text("Of today"),
    { type: "file", file: { filename: "a.pdf", file_data: data } },
    { type: "file", file: { file_data: "https://a.example/b.pdf" } },
    { type: "file", file: { file_id: "f1" } },
    text("Tale\nOld\nOnce"),
    text("One"),
    picture,
    text("Two"),
    text('{"type":"document","source":{"type":"tape","reel":7}}'),
  ]);
  const [, tool, behind] = await messagesOf(
    assistant(use("t1")),
    user(result("t1", [document(plain), document(pdf)])),
  ) ?? [];
  assert.match(String(tool?.content), /^Once\n\(The rest/);
  assert.equal((behind?.content as Json[])[1].file.file_data, data);
});

test("the query is what the user said last, whatever tools returned since", async () => {
  const shown = result("t1", [{ type: "image", source: png }]);
  const of = async (...messages: Json[]) => (await inputOf({ messages })).query;
  const asked = [user(text("What "), text("is it?")), assistant(use("t1"))];
  assert.equal(await of(...asked, user(shown)), "What is it?");
  assert.equal(await of(...asked, user(shown, text("And?"))), "And?");
  assert.equal(await of(...asked, user(result("lost", "L"))), "What is it?");
  assert.equal(await of(user({ type: "image", source: png })), "");
});

test("a failed tool says so in the text, once", async () => {
  const failed = { is_error: true };
  const messages = await messagesOf(
    assistant(...["a", "b", "c", "d"].map((id) => use(id))),
    user(
      result("a", "no network", failed),
      result("b", undefined, failed),
      result("c", "<tool_use_error>No such file</tool_use_error>", failed),
      result("d", [text("Error: exit code 1")], failed),
    ),
  );
  assert.deepEqual(messages?.slice(1).map(({ content }) => content), [
    "Error: no network",
    "Error: the tool failed.",
    "<tool_use_error>No such file</tool_use_error>",
    "Error: exit code 1",
  ]);
});

// https://github.com/caigee-cmd/cli2api/pull/152, https://github.com/BerriAI/litellm/issues/36540
test("Claude Code's tool_reference is said, and so is all else that a result may hold", async () => {
  const messages = await messagesOf(
    assistant(use("t1", "ToolSearch"), use("t2")),
    user(
      result("t1", [
        { type: "tool_reference", tool_name: "WebFetch" },
        { type: "tool_reference", tool_name: "TaskStop" },
      ]),
      result("t2", [
        {
          type: "search_result",
          title: "Rain",
          source: "https://a.example",
          content: [text("No.")],
        },
        { type: "browser_state", tab: 3, cache_control: {} },
      ]),
    ),
  );
  assert.deepEqual(messages?.slice(1).map(({ content }) => content), [
    "Tool available: WebFetch\nTool available: TaskStop",
    'Rain\nhttps://a.example\nNo.\n{"type":"browser_state","tab":3}',
  ]);
});

test("what a model had Anthropic's servers do stays in the conversation as text", async () => {
  const found = {
    type: "web_search_result",
    title: "Rain",
    url: "https://a.example",
    encrypted_content: "x",
  };
  const [search, mcp] = await messagesOf(
    assistant(
      text("I look."),
      { type: "server_tool_use", id: "s1", name: "web_search", input: { query: "rain" } },
      { type: "web_search_tool_result", tool_use_id: "s1", content: [found] },
      text("It rains."),
    ),
    // https://github.com/anthropics/anthropic-sdk-python/issues/1581
    assistant(
      { type: "mcp_tool_use", id: "m1", name: "add", server_name: "sums", input: { a: 1 } },
      { type: "mcp_tool_result", tool_use_id: "m1", content: [text("2")] },
      {
        type: "tool_search_tool_result",
        content: { type: "x", tool_references: [{ type: "tool_reference", tool_name: "g" }] },
      },
      { type: "code_execution_tool_result", content: { stdout: "3", content: [] } },
    ),
    user(text("So?"), { type: "container_upload", file_id: "f9" }),
  ) ?? [];
  assert.equal(
    search?.content,
    'I look.\n{"type":"server_tool_use","id":"s1","name":"web_search","input":{"query":"rain"}}\n' +
      "Rain\nhttps://a.example\nIt rains.",
  );
  assert.equal(
    mcp?.content,
    '{"type":"mcp_tool_use","id":"m1","name":"add","server_name":"sums","input":{"a":1}}\n2\n' +
      'Tool available: g\n{"type":"code_execution_tool_result","content":{"stdout":"3","content":[]}}',
  );
});

test("a block that nobody knows is text in a message of the user's", async () => {
  const [message] = await messagesOf(
    user(
      text("Look:"),
      { type: "container_upload", file_id: "f9" },
      { type: "image" },
      // What it says is all that it holds, and then not.
      { type: "page", title: "A", text: "b", citations: {}, hidden: false, next: null },
      { type: "page", title: "A", text: "b", score: 0.5 },
      { type: "page", title: "A", content: [{ type: "page", text: "b", source: { score: 1 } }] },
    ),
  ) ?? [];
  assert.deepEqual(message?.content, [
    text("Look:"),
    text('{"type":"container_upload","file_id":"f9"}'),
    text('{"type":"image"}'),
    text("A\nb"),
    text('{"type":"page","title":"A","text":"b","score":0.5}'),
    text('{"type":"page","title":"A","content":[{"type":"page","text":"b","source":{"score":1}}]}'),
  ]);
});

// https://github.com/ollama/ollama/issues/17774, https://github.com/vllm-project/vllm/pull/43959
test("messages of the system, wherever they stand, are one at the beginning", async () => {
  const { messages } = await inputOf({
    system: [
      { ...text("Be brief."), cache_control: { type: "ephemeral" } },
      text(""),
      text("Be kind."),
    ],
    messages: [
      user(text("Hi")),
      { role: "system", content: "Agents: none." },
      assistant(text("Yes?")),
      { role: "system", content: [text("In French."), { type: "tool_reference", tool_name: "g" }] },
    ],
  });
  assert.deepEqual(messages, [
    {
      role: "system",
      content: "Be brief.\nBe kind.\n\nAgents: none.\n\nIn French.\nTool available: g",
    },
    { role: "user", content: "Hi" },
    { role: "assistant", content: "Yes?" },
  ]);
});

// https://github.com/cline/cline/issues/261, https://github.com/anthropics/claude-code/issues/41966
test("cache_control goes no further, whatever it stands on", async () => {
  const cache_control = { type: "ephemeral", scope: "global" };
  const { messages, tools } = await inputOf({
    system: [{ ...text("s"), cache_control }],
    messages: [
      user({ ...text("a"), cache_control }, { type: "image", source: png, cache_control }),
      assistant({ ...use("t1"), cache_control }),
      user(result("t1", [{ ...text("b"), cache_control }], { cache_control }), {
        type: "search_box",
        cache_control,
      }),
    ],
    tools: [{ name: "f", input_schema: {}, cache_control }],
  });
  assert.doesNotMatch(JSON.stringify({ messages, tools }), /cache_control|ephemeral/);
});

// https://github.com/dirge-code/dirge/pull/757, https://github.com/strands-agents/harness-sdk/pull/3029
test("empty texts are left out, and an empty result says that it is", async () => {
  const messages = await messagesOf(
    user(text(""), text("Hi"), text("")),
    assistant(text(""), use("t1"), use("t2"), use("t3")),
    user(result("t1", ""), result("t2", [text("")]), result("t3", undefined)),
    user(),
  );
  assert.deepEqual(messages, [
    { role: "user", content: "Hi" },
    { role: "assistant", content: null, tool_calls: [callOf("t1"), callOf("t2"), callOf("t3")] },
    ...["t1", "t2", "t3"].map((id) => ({ role: "tool", tool_call_id: id, content: "(no output)" })),
    { role: "user", content: "" },
  ]);
});

// https://github.com/earendil-works/pi/pull/5884, https://github.com/agentforce314/clawcodex/pull/394,
// https://github.com/CopilotKit/CopilotKit/pull/7277
test("each result is behind its call, in the order of the calls, and neither is alone", async () => {
  const messages = await messagesOf(
    assistant(use("a"), use("b"), use("c")),
    user(text("Meanwhile"), result("c", "C")),
    user(result("a", "A"), result("lost", "L"), result("a", "A again")),
    assistant(use("a")),
    user(result("a", "new A")),
  );
  assert.deepEqual(messages, [
    { role: "assistant", content: null, tool_calls: [callOf("a"), callOf("b"), callOf("c")] },
    { role: "tool", tool_call_id: "a", content: "A" },
    { role: "tool", tool_call_id: "b", content: "No result: the call was interrupted." },
    { role: "tool", tool_call_id: "c", content: "C" },
    { role: "user", content: "Meanwhile" },
    { role: "user", content: "Result of the earlier tool call lost:\nL" },
    { role: "user", content: "Result of the earlier tool call a:\nA again" },
    { role: "assistant", content: null, tool_calls: [callOf("a")] },
    { role: "tool", tool_call_id: "a", content: "new A" },
  ]);
});

test("calls and results are put together in time that grows with them alone", async () => {
  const ids = Array.from({ length: 20_000 }, (_, i) => `t${i}`);
  const usedMs = processorTime();
  const messages = await messagesOf(
    assistant(...ids.map((id) => use(id))),
    user(...ids.toReversed().map((id) => result(id, id))),
  );
  assert(usedMs() < 5000);
  assert.deepEqual(messages?.slice(1).map(({ content }) => content), ids);
});

test("no text is lost and no rule of the chat completions API broken, whatever is sent", async () => {
  const chance = random(1818);
  const { handler, inputs } = keeper();
  for (let round = 0; round < 200; round++) {
    let marks = 0;
    const mark = () => `<${round}.${marks++}>`;
    const ids = Array.from({ length: 4 }, (_, i) => `c${i}`);
    const inner = (): Json =>
      pick<() => Json>(chance, [
        () => text(mark()),
        () => ({ type: "image", source: { type: "url", url: `https://a.example/${mark()}` } }),
        () => ({ type: "document", title: mark(), source: { type: "text", data: mark() } }),
        () => ({ type: "search_result", title: mark(), source: mark(), content: [text(mark())] }),
        () => ({ type: "tool_reference", tool_name: mark() }),
        () => ({ type: mark(), [mark()]: { deep: mark() } }),
      ])();
    const some = (make: () => Json) => Array.from({ length: int(chance, 4) }, make);
    const messages = Array.from({ length: 1 + int(chance, 6) }, (): Json => {
      const role = pick(chance, ["user", "user", "assistant", "assistant", "system"]);
      if (role === "system") return { role, content: mark() };
      if (role === "user") {
        const of = () => result(pick(chance, ids), some(inner), { is_error: int(chance, 2) === 0 });
        return user(...some(inner), ...some(of), ...some(inner));
      }
      return assistant(
        ...some(() => ({ type: "thinking", thinking: mark() })),
        text(mark()),
        ...some(inner),
        ...ids.slice(int(chance, 5)).map((id) => ({ ...use(id, mark()), input: { a: mark() } })),
      );
    });
    const response = await post(handler, PATH, { ...base, messages });
    assert.equal(response.status, 200, await response.text());
    const translated = inputs.pop()!.messages!;
    const all = JSON.stringify(translated);
    for (let at = 0; at < marks; at++) {
      assert(all.includes(`<${round}.${at}>`), `${round}.${at} in ${JSON.stringify(messages)}`);
    }
    let open: Json[] = [];
    translated.forEach(({ role, content, tool_calls, tool_call_id }, at) => {
      if (role === "tool") assert.equal(tool_call_id, open.shift()?.id);
      assert(role === "tool" || open.length === 0, "a call without its result");
      if (role === "system") assert.equal(at, 0);
      if (tool_calls) open = [...tool_calls as Json[]];
      for (const part of Array.isArray(content) ? content : [{ type: "text", text: content }]) {
        assert(["text", "image_url", "file"].includes(part.type), part.type);
        assert(role !== "tool" || part.type === "text");
      }
    });
    assert.equal(open.length, 0);
  }
});

test("tools of Anthropic's own are 400 that names each, or left out by option", async () => {
  const tools = [
    { name: "f", input_schema: { type: "object", properties: { a: {} } } },
    { type: "web_search_20250305", name: "web_search", max_uses: 8 },
    { type: "bash_20250124", name: "bash" },
    { type: "mcp_toolset", mcp_server_name: "sums" },
  ];
  const message = await refusalOf({ tools });
  assert.match(message, /tools\[1\]: web_search \(web_search_20250305\) is Anthropic's own/);
  const more = { mcp_servers: [{ name: "sums" }], container: "c1" };
  assert.match(await refusalOf(more), /mcp_servers: mcp_servers is Anthropic's own/);
  assert.match(await refusalOf({ container: {} }), /container: container is Anthropic's own/);
  await inputOf({ mcp_servers: [], container: null });
  const drop = { builtInTools: "drop" } as const;
  const input = await inputOf({ tools, ...more, tool_choice: { type: "auto" } }, drop);
  assert.deepEqual(input.tools?.map((tool) => tool.function?.name), ["f"]);
  assert.equal(input.tool_choice, "auto");
  assert(!("mcp_servers" in input) && !("container" in input));
  assert.deepEqual((input.body as Json).tools, tools, "the source may look at the body");
  // https://github.com/BerriAI/litellm/issues/25477: what is left has no tools, and chooses none.
  const alone = { tools: [tools[1]], tool_choice: { type: "tool", name: "web_search" } };
  const none = await inputOf(alone, drop);
  assert(!("tools" in none) && !("tool_choice" in none));
});

test("tools that the conversation adds and removes are there, or not", async () => {
  const reference = (name: string) => ({ type: "tool_reference", name });
  const define = (definition: Json) => ({
    type: "tool_addition",
    tool: { type: "tool_definition", definition },
  });
  const change = (type: string, name: string) => ({ type, tool: reference(name) });
  const toolset = {
    type: "tool_addition",
    tool: { type: "mcp_toolset_reference", server_name: "s" },
  };
  const system = (...content: Json[]) => ({ role: "system", content });
  const changes = [
    system(define({ name: "b", input_schema: {} }), change("tool_removal", "a")),
    user(text("Hi")),
    system(define({ name: "c", input_schema: {} }), change("tool_removal", "b"), toolset),
    system(change("tool_addition", "a"), change("tool_addition", "nobody"), text("So.")),
  ];
  const tools = ["a", "d"].map((name) => ({ name, input_schema: {} }));
  const input = await inputOf({ tools, messages: changes });
  assert.deepEqual(input.tools?.map((tool) => tool.function?.name), ["d", "c", "a"]);
  assert.deepEqual(input.messages, [
    { role: "system", content: `${JSON.stringify(toolset)}\n\nSo.` },
    { role: "user", content: "Hi" },
  ]);
  const all = [user(text("Hi")), system(change("tool_removal", "a"), change("tool_removal", "d"))];
  assert(!("tools" in await inputOf({ tools, messages: all })));
  const added = await inputOf({ messages: [user(text("Hi")), system(define({ name: "b" }))] });
  assert.deepEqual(added.tools?.map((tool) => tool.function?.name), ["b"]);
  const search = define({ type: "web_search_20250305", name: "web_search" });
  assert.match(
    await refusalOf({ messages: [user(text("Hi")), system(search)] }),
    /messages\[1\]\.content\[0\]\.tool\.definition: web_search/,
  );
});

test("a tool without a name is 400, and one of the client's needs nothing else", async () => {
  for (const tool of [{}, { name: "" }, { type: "custom" }, { input_schema: {} }]) {
    assert.match(await refusalOf({ tools: [tool] }), /tools\[0\]\.name/);
  }
  const { tools } = await inputOf({
    tools: [{ name: "f", type: null }, { name: "g", strict: true }],
  });
  assert.deepEqual(tools?.map((tool) => tool.function), [{ name: "f" }, {
    name: "g",
    strict: true,
  }]);
});

// https://github.com/maximhq/bifrost/issues/1752
test("the schema of a tool that takes nothing has properties", async () => {
  const { tools } = await inputOf({ tools: [{ name: "f", input_schema: { type: "object" } }] });
  assert.deepEqual(tools?.[0]?.function?.parameters, { type: "object", properties: {} });
});

test("a thread, whose later requests have the new messages alone, is 400 as clients know it", async () => {
  const { handler, inputs } = keeper();
  for (const thread of [{ type: "create" }, { type: "continue", previous_message_id: "msg_1" }]) {
    for (const path of [PATH, `${PATH}/count_tokens`]) {
      const response = await post(handler, path, { ...base, thread });
      assert.equal(response.status, 400);
      assert.deepEqual(await response.json(), {
        type: "error",
        error: {
          type: "invalid_request_error",
          message: "Message threads are not kept here",
          details: { error_code: "thread_unsupported_request", unsupported: ["thread"] },
        },
      });
    }
  }
  assert.equal(inputs.length, 0);
  await inputOf({ thread: null });
});

// https://github.com/agentgateway/agentgateway/pull/3518
test("thinking and effort are a reasoning_effort", async () => {
  const enabled = (budget_tokens: number) => ({ type: "enabled", budget_tokens });
  const table: [fields: Json, effort: string | undefined][] = [
    [{}, undefined],
    [{ thinking: enabled(1024) }, "low"],
    [{ thinking: enabled(4095) }, "low"],
    [{ thinking: enabled(4096) }, "medium"],
    [{ thinking: enabled(16_383) }, "medium"],
    [{ thinking: enabled(16_384) }, "high"],
    [{ thinking: enabled(31_999), output_config: { effort: "low" } }, "low"],
    [{ thinking: { type: "adaptive" } }, undefined],
    [{ thinking: { type: "adaptive" }, output_config: { effort: "xhigh" } }, "xhigh"],
    [{ output_config: { effort: "max" } }, "xhigh"],
    [{ thinking: { type: "disabled" }, output_config: { effort: "high" } }, undefined],
    [{ thinking: null, output_config: null }, undefined],
  ];
  for (const [fields, effort] of table) {
    const input = await inputOf(fields);
    assert.equal(input.reasoning_effort, effort, JSON.stringify(fields));
  }
  assert.match(await refusalOf({ thinking: { budget_tokens: 9 } }), /thinking\.type/);
});

// https://github.com/NVIDIA-NeMo/Switchyard/issues/452
// https://github.com/musistudio/claude-code-router/pull/1380
test("the shape of the output is a response_format, under both of its names", async () => {
  const schema = { type: "object", properties: {} };
  const format = { type: "json_schema", schema };
  for (const fields of [{ output_config: { format } }, { output_format: format }]) {
    const { response_format } = await inputOf(fields);
    const json_schema = { name: "output", schema, strict: true };
    assert.deepEqual(response_format, { type: "json_schema", json_schema });
  }
  assert(!("response_format" in await inputOf({ output_config: { format: null } })));
});

test("members of any type are text, or refused by name, and no failure of the server's", async () => {
  // It has no text of its own: `String` throws.
  const odd = { toString: 1, valueOf: 1 };
  const block = (type: string) => ({ type, source: { ...png, media_type: odd } });
  const messages = await messagesOf(user(block("image"), block("document")));
  assert.equal(JSON.stringify(messages).match(/AAAA/g)?.length, 2);
  const tool = { type: "tool_definition", definition: { name: odd, type: odd } };
  const added = { role: "system", content: [{ type: "tool_addition", tool }] };
  assert.match(await refusalOf({ messages: [...base.messages, added] }), /name/);
});

test("a document of very many blocks is joined in time in proportion to them", async () => {
  const content = Array.from({ length: 80_000 }, () => text("x"));
  const document = { type: "document", source: { type: "content", content } };
  const usedMs = processorTime();
  const [message] = await messagesOf(user(document)) ?? [];
  assert.equal(String(message?.content).length, 2 * content.length - 1);
  // Joined one by one, 200,000 of them were 10 s.
  assert(usedMs() < 1500, `${usedMs()} ms`);
});
