/** What reaches a source of what `useChat` sends: every kind of part, and by name what has no place. */
import assert from "node:assert/strict";
import test from "node:test";
import { keeper, post } from "../../support/handler_requests.ts";
import { int, pick, random } from "../../support/random.ts";

// deno-lint-ignore no-explicit-any -- parts of every shape
type Json = any;

async function messagesOf(...messages: Json[]) {
  const { handler, inputs } = keeper();
  const response = await post(handler, "/api/chat", { messages });
  assert.equal(response.status, 200, await response.text());
  return inputs[0]!.messages;
}

const user = (...parts: Json[]) => ({ id: "u", role: "user", parts });
const assistant = (...parts: Json[]) => ({ id: "a", role: "assistant", parts });
const text = (text: string) => ({ type: "text", text });
const call = (toolCallId: string, state: string, more = {}) => ({
  type: "tool-f",
  toolCallId,
  state,
  input: { a: 1 },
  ...more,
});
const denied = (reason?: string) => ({ approval: { id: "x", approved: false, reason } });
const resultsIn = (messages: Json[] | undefined) =>
  messages?.filter(({ role }) => role === "tool").map(({ content }) => content);

// https://github.com/vercel/ai/issues/17136, https://github.com/cloudflare/agents/issues/955,
// https://github.com/vercel/ai/issues/14428
test("a tool call that the user denied is in the conversation, with the reason", async () => {
  const messages = await messagesOf(
    user(text("Delete it")),
    assistant(
      call("t1", "approval-responded", denied("Not today")),
      call("t2", "approval-responded", denied()),
      call("t3", "output-denied", denied("Never")),
      { ...call("t4", "output-denied"), type: "dynamic-tool", toolName: "g" },
    ),
    user(text("And now?")),
  );
  const calls = (messages?.[1]?.tool_calls as Json[]).map((call) => call.function);
  assert.deepEqual(calls.map(({ name }) => name), ["f", "f", "f", "g"]);
  assert.equal(calls[0].arguments, '{"a":1}');
  assert.deepEqual(resultsIn(messages), [
    "The user denied this tool call: Not today",
    "The user denied this tool call.",
    "The user denied this tool call: Never",
    "The user denied this tool call.",
  ]);
});

// https://github.com/vercel/ai/issues/9968, https://github.com/vercel/ai/pull/13236
test("a tool call that was approved and has no output is 422 that names it", async () => {
  const { handler, inputs } = keeper();
  const approved = { approval: { id: "x", approved: true } };
  const messages = [
    user(text("Hi")),
    assistant(text("Well"), call("t1", "approval-responded", approved)),
  ];
  const response = await post(handler, "/api/chat", { messages });
  assert.equal(response.status, 422);
  const { errors } = await response.json();
  assert.deepEqual(errors, [{
    pointer: "/messages/1/parts/1",
    detail: "The call of f was approved, and has no output",
  }]);
  assert.equal(inputs.length, 0);
  const later = call("t1", "output-available", { ...approved, output: "gone" });
  assert.deepEqual(resultsIn(await messagesOf(assistant(later))), ["gone"]);
});

// https://github.com/vercel/ai/pull/12973, https://github.com/CopilotKit/CopilotKit/pull/7277
test("a tool call that was left open is in the conversation, and has a result that says so", async () => {
  const messages = await messagesOf(
    assistant(
      call("t1", "approval-requested", { approval: { id: "x" } }),
      call("t2", "input-available"),
      call("t3", "input-streaming", { input: undefined }),
      call("t4", "output-available", { output: "" }),
      call("t5", "output-error", { errorText: "" }),
    ),
    user(text("Never mind")),
  );
  assert.deepEqual(resultsIn(messages), [
    "No result: the user has not approved this tool call.",
    "No result: the call was interrupted.",
    "No result: the call was interrupted.",
    "(no output)",
    "Error: the tool failed.",
  ]);
});

// https://github.com/MoonshotAI/kimi-cli/issues/2141
test("reasoning is reasoning_content on the message of its step", async () => {
  const reasoning = (text: string) => ({ type: "reasoning", text, state: "done" });
  const messages = await messagesOf(assistant(
    { type: "step-start" },
    reasoning("I "),
    reasoning("look."),
    call("t1", "output-available", { output: 1 }),
    { type: "step-start" },
    reasoning("So."),
    text("One."),
    { type: "step-start" },
    reasoning("Nothing said."),
  ));
  assert.deepEqual(messages?.map(({ role, reasoning_content }) => [role, reasoning_content]), [
    ["assistant", "I look."],
    ["tool", undefined],
    ["assistant", "So."],
  ]);
});

test("Gemini's signature beside a call goes back upstream", async () => {
  const extra_content = { google: { thought_signature: "s" } };
  const done = { output: 1 };
  const messages = await messagesOf(assistant(
    call("t1", "output-available", {
      ...done,
      callProviderMetadata: { spillway: { extra_content, id: "no", type: "no" } },
    }),
    call("t2", "output-available", { ...done, callProviderMetadata: { other: { a: 1 } } }),
  ));
  const of = (id: string) => ({
    id,
    type: "function",
    function: { name: "f", arguments: '{"a":1}' },
  });
  assert.deepEqual(messages?.[0]?.tool_calls, [{ ...of("t1"), extra_content }, of("t2")]);
});

test("files of both sides arrive, those of the assistant in a message of the user's", async () => {
  const png = { type: "file", mediaType: "image/png", url: "https://a.example/a.png" };
  const pdf = { type: "file", mediaType: "application/pdf", url: "https://a.example/b.pdf" };
  const made = assistant(text("Here:"), png, call("t1", "output-available", { output: 1 }));
  const messages = await messagesOf(made, user(pdf));
  assert.deepEqual(messages?.slice(1), [
    { role: "tool", tool_call_id: "t1", content: "1" },
    {
      role: "user",
      content: [
        text("What the assistant made:"),
        { type: "image_url", image_url: { url: png.url } },
      ],
    },
    { role: "user", content: [{ type: "file", file: { file_data: pdf.url } }] },
  ]);
  const { handler, inputs } = keeper();
  await (await post(handler, "/api/chat", { messages: [user(text("Draw")), made] })).text();
  assert.equal(inputs[0]?.query, "Draw", "what the user said last");
});

// https://github.com/vercel/ai/pull/9720: an application translates its own data by itself.
test("what is for the page alone stays out, and what nobody knows is text", async () => {
  const data = { type: "data-chart", data: [1] };
  const source = { type: "source-url", sourceId: "s", url: "https://a.example", title: "Rain" };
  const custom = { type: "custom", kind: "a.b", cache_control: {} };
  const messages = await messagesOf(
    user(data, text(""), text("See"), { type: "source-document", title: "Tale", mediaType: "x" }),
    assistant(data, source, text("Well."), custom, text("So.")),
    user(data),
  );
  assert.deepEqual(messages, [
    {
      role: "user",
      content: [text("See"), text('{"type":"source-document","title":"Tale","mediaType":"x"}')],
    },
    { role: "assistant", content: 'Well.\n{"type":"custom","kind":"a.b"}\nSo.' },
    { role: "user", content: "" },
  ]);
});

test("what the user said in the midst of the assistant's work is a message of the user's", async () => {
  const messages = await messagesOf(assistant(
    text("One"),
    call("t1", "output-available", { output: 1 }),
    { type: "steering-message", parts: [text("Faster!")] },
    text("Two"),
  ));
  const said = messages?.map(({ role, content }) => [role, content]);
  assert.deepEqual(said, [
    ["assistant", "One"],
    ["tool", "1"],
    ["user", "Faster!"],
    ["assistant", "Two"],
  ]);
});

test("no text is lost and no rule of the chat completions API broken, whatever is sent", async () => {
  const chance = random(818);
  for (let round = 0; round < 150; round++) {
    let marks = 0;
    let ids = 0;
    const mark = () => `<${marks++}>`;
    const states = ["output-available", "output-error", "output-denied", "input-available"];
    const part = (): Json =>
      pick<() => Json>(chance, [
        () => text(mark()),
        () => ({ type: "file", mediaType: pick(chance, ["image/png", "a/b"]), url: mark() }),
        () => ({ type: "custom", kind: mark() }),
      ])();
    const tool = (): Json => {
      const state = pick(chance, states);
      return {
        type: `tool-${mark()}`,
        toolCallId: `c${ids++}`,
        state,
        input: { a: mark() },
        ...state === "output-available" ? { output: [mark()] } : {},
        ...state === "output-error" ? { errorText: mark() } : {},
        ...state === "output-denied" ? { approval: { reason: mark() } } : {},
      };
    };
    const some = (make: () => Json) => Array.from({ length: int(chance, 4) }, make);
    const messages = Array.from(
      { length: 1 + int(chance, 5) },
      () =>
        int(chance, 2) === 0 ? user(...some(part)) : assistant(
          ...some(tool),
          text(mark()),
          ...some(part),
          { type: "step-start" },
          ...some(tool),
          ...some(part),
        ),
    );
    const translated = await messagesOf(...messages) ?? [];
    const all = JSON.stringify(translated);
    for (let at = 0; at < marks; at++) assert(all.includes(`<${at}>`), `<${at}>`);
    let open: Json[] = [];
    for (const { role, tool_calls, tool_call_id } of translated) {
      if (role === "tool") assert.equal(tool_call_id, open.shift()?.id);
      assert(role === "tool" || open.length === 0, "a call without its result");
      if (tool_calls) open = [...tool_calls as Json[]];
    }
    assert.equal(open.length, 0);
  }
});

test("members of any type are text, and no failure of the server's", async () => {
  // It has no text of its own: `String` throws.
  const odd = { toString: 1, valueOf: 1 };
  const messages = await messagesOf(
    user({ type: "file", url: "http://a.example/x", mediaType: odd }),
    assistant({
      type: "steering-message",
      parts: [null, 5, "plain", { type: 5 }, { type: "text", text: odd }, text("seen")],
    }),
    assistant({ ...call("t1", "output-available"), type: "dynamic-tool", toolName: odd }),
  );
  assert.deepEqual(messages?.map(({ role }) => role), ["user", "user", "assistant"]);
  const all = JSON.stringify(messages);
  for (const said of ["http://a.example/x", "null", "5", "plain", "seen", "t1"]) {
    assert(all.includes(said), said);
  }
});
