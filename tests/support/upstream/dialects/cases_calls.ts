/** Tool calls, in all the fragments that they come in. */
import { call, text } from "./answer.ts";
import { calls, type Case, choices, chunk, finish, say } from "./case.ts";
import { DONE } from "./wire.ts";

const named = (name: string | null, json?: unknown) => ({
  function: { name, ...json === undefined ? {} : { arguments: json } },
});
const f = (name: string, json: unknown) => ({ type: "function", ...named(name, json) });
const more = (json: unknown) => ({ function: { arguments: json } });
const end = finish("tool_calls");
const A = '{"a":1}';
const B = '{"b":2}';
const one = [call("c1", "f", A)];
const two = [call("a", "f", A), call("b", "g", B)];
const tool = (name: string, body: string, parts: Case["parts"], from?: string): Case => ({
  name,
  ...from === undefined ? {} : { from },
  body,
  parts,
  end: "tool_calls",
});

export const CASES: readonly Case[] = [
  tool(
    "the id first, the name later",
    calls([{ index: 0, id: "c1" }], [{ index: 0, ...named("f", A) }]) + end,
    one,
  ),
  tool(
    "the id first, the name and the arguments later",
    calls([{ index: 0, id: "c1" }], [{ index: 0, ...named("f") }], [{ index: 0, ...more(A) }]) +
      end,
    one,
  ),
  tool(
    "arguments first, the name later",
    calls([{ index: 0, id: "c1", ...more('{"a"') }], [{ index: 0, ...named("f", ":1}") }]) + end,
    one,
  ),
  tool(
    "two calls at index 0, told apart by their ids",
    calls([{ index: 0, id: "a", ...f("f", A) }], [{ index: 0, id: "b", ...f("g", B) }]) + end,
    two,
  ),
  tool(
    "two calls at index 0 in fragments, an id in each of them",
    calls(
      [{ index: 0, id: "a", ...f("f", "") }],
      [{ index: 0, id: "a", ...named(null, A) }],
      [{ index: 0, id: "b", ...f("g", "") }],
      [{ index: 0, id: "b", ...named(null, B) }],
    ) + end,
    two,
    "https://github.com/sgl-project/sglang/issues/4700",
  ),
  tool(
    "two calls at index 0 in fragments, an empty id behind the first",
    calls(
      [{ index: 0, id: "a", ...f("f", "") }],
      [{ index: 0, id: "", ...named(null, A) }],
      [{ index: 0, id: "b", ...f("g", "") }],
      [{ index: 0, id: "", ...named(null, B) }],
    ) + end,
    two,
    "https://github.com/InternLM/lmdeploy/issues/3412",
  ),
  tool(
    "two calls at index 0 in one list",
    calls([{ index: 0, id: "a", ...f("f", A) }, { index: 0, id: "b", ...f("g", B) }]) + end,
    two,
    "https://github.com/NousResearch/hermes-agent/issues/62940",
  ),
  tool(
    "two calls without an index, in two chunks",
    calls([{ id: "a", ...f("f", A) }], [{ id: "b", ...f("g", B) }]) + end,
    two,
    "https://github.com/noho/dayu-agent/issues/82",
  ),
  tool(
    "two calls without id and index in one list",
    calls([f("f", A), f("g", B)]) + end,
    [call(undefined, "f", A), call(undefined, "g", B)],
  ),
  tool(
    "two calls without id and index in two chunks",
    calls([f("f", A)], [f("g", B)]) + end,
    [call(undefined, "f", A), call(undefined, "g", B)],
  ),
  tool(
    "two calls of one function without id and index",
    calls([f("f", A)], [f("f", B)]) + end,
    [call(undefined, "f", A), call(undefined, "f", B)],
  ),
  tool(
    "two calls whose fragments alternate",
    calls(
      [{ index: 0, id: "a", ...f("f", "") }, { index: 1, id: "b", ...f("g", "") }],
      [{ index: 0, ...more('{"a"') }],
      [{ index: 1, ...more('{"b"') }],
      [{ index: 1, ...more(":2}") }, { index: 0, ...more(":1}") }],
    ) + end,
    two,
  ),
  tool(
    "another id in every fragment",
    calls(
      [{ index: 0, id: "c1", ...f("f", "") }],
      [{ index: 0, id: "c2", ...more('{"a"') }],
      [{ index: 0, id: "c3", ...more(":1}") }],
    ) + end,
    one,
  ),
  tool(
    "the whole arguments once more at the end",
    calls([{ index: 0, id: "c1", ...f("f", A) }], [{ index: 0, id: "c1", ...more(A) }]) + end,
    one,
  ),
  tool(
    "fragments, and then the whole arguments once more",
    calls(
      [{ index: 0, id: "c1", ...f("f", "") }],
      [{ index: 0, ...more('{"a"') }],
      [{ index: 0, ...more(":1}") }],
      [{ index: 0, ...more(A) }],
    ) + end,
    one,
    "https://github.com/lidge-jun/opencodex/issues/361",
  ),
  tool(
    "a space behind the whole arguments",
    calls([{ index: 0, id: "c1", ...f("f", A) }], [{ index: 0, ...more("\n") }]) + end,
    one,
  ),
  tool(
    "members beside the call",
    calls([{
      index: 0,
      id: "c1",
      ...f("f", A),
      extra_content: { google: { thought_signature: "EjQKMg==" } },
    }]) + end,
    [call("c1", "f", A, { extra_content: { google: { thought_signature: "EjQKMg==" } } })],
  ),
  {
    name: "a call that never has a name",
    body: say("Hello") + calls([{ index: 0, id: "c1", ...more(A) }]) + end,
    parts: [text("Hello")],
    end: "upstream_failed",
  },
  {
    name: "a call whose name is empty",
    from: "https://github.com/farion1231/cc-switch/pull/4158",
    body: say("Hello") + calls([{ index: 0, id: "c1", ...f("", A) }]) + end,
    parts: [text("Hello")],
    end: "upstream_failed",
  },
  {
    name: "other arguments behind the end of the first",
    from: "https://github.com/open-webui/open-webui/pull/22235",
    body: calls([{ index: 0, id: "c1", ...f("f", A) }], [{ index: 0, ...more(B) }]) + end,
    parts: one,
    end: "upstream_failed",
  },
  tool(
    "an empty id and an empty name in every fragment but the first",
    calls(
      [{ index: 0, id: "c1", ...f("f", "{") }],
      [{ index: 0, id: "", ...f("", '"a":') }],
      [{ index: 0, id: "", ...f("", "1}") }],
    ) + end,
    one,
    "https://github.com/anomalyco/opencode/issues/37841",
  ),
  tool(
    "an empty id in every fragment",
    calls([{ index: 0, id: "", ...f("f", "{") }], [{ index: 0, id: "", ...more('"a":1}') }]) + end,
    [call(undefined, "f", A)],
    "https://github.com/vercel/ai/pull/19091",
  ),
  tool(
    "no id at all",
    calls([{ index: 0, ...f("f", "{") }], [{ index: 0, ...more('"a":1}') }]) + end,
    [call(undefined, "f", A)],
    "https://github.com/continuedev/continue/pull/13235",
  ),
  tool(
    "the name in every fragment",
    calls([{ index: 0, id: "c1", ...f("f", "{") }], [{ index: 0, ...f("f", '"a":') }], [
      { index: 0, ...f("f", "1}") },
    ]) + end,
    one,
    "https://github.com/NousResearch/hermes-agent/pull/11984",
  ),
  tool(
    "the name in two pieces",
    calls(
      [{ index: 0, id: "c1", ...named("edit_ex") }],
      [{ index: 0, ...named("isting_file") }],
      [{ index: 0, ...more(A) }],
    ) + end,
    [call("c1", "edit_existing_file", A)],
    "https://github.com/continuedev/continue/pull/5849",
  ),
  tool(
    "empty arguments, and then those that are meant",
    calls([{ index: 0, id: "c1", ...f("f", "{}") }], [{ index: 0, ...more('{"a"') }], [
      { index: 0, ...more(":1}") },
    ]) + end,
    one,
    "https://github.com/openai/openai-agents-js/pull/712",
  ),
  {
    ...tool(
      "stop first, and then a call",
      say("Hello") + chunk({}, "stop") + calls([{ index: 0, id: "c1", ...f("f", A) }]) + DONE,
      [text("Hello"), ...one],
    ),
    reason: "stop",
  },
  {
    ...tool(
      "stop beside the last text, usage, and then a call",
      chunk({ content: "Hello" }, "stop") + choices([], { usage: { prompt_tokens: 1 } }) +
        calls([{ index: 0, id: "c1", ...f("f", A) }]) + DONE,
      [text("Hello"), ...one],
    ),
    reason: "stop",
  },
  tool(
    "a call in a whole message behind its deltas",
    say("Hello") + choices([{
      index: 0,
      message: { role: "assistant", content: "Hello", tool_calls: [{ id: "c1", ...f("f", A) }] },
      finish_reason: "tool_calls",
    }]) + DONE,
    [text("Hello"), ...one],
  ),
  tool(
    "the first call at index 1",
    say("Hello") +
      calls([{ index: 1, id: "a", ...f("f", A) }], [{ index: 2, id: "b", ...f("g", B) }]) +
      end,
    [text("Hello"), ...two],
    "https://github.com/router-for-me/CLIProxyAPI/issues/5229",
  ),
  tool(
    "an index that is a string",
    calls(
      [{ index: "0", id: "a", ...f("f", A) }],
      [{ index: "1", id: "b", ...f("g", "") }],
      [{ index: "1", ...more(B) }],
    ) + end,
    two,
  ),
  tool(
    "an index that is null",
    calls([{ index: null, id: "a", ...f("f", A) }], [{ index: null, id: "b", ...f("g", B) }]) + end,
    two,
  ),
  tool(
    "an id that is a number",
    calls([{ index: 0, id: 7, ...f("f", "{") }], [{ index: 0, id: 7, ...more('"a":1}') }]) + end,
    [call(undefined, "f", A)],
  ),
  tool(
    "arguments as an object",
    calls([{ index: 0, id: "c1", ...f("f", { a: 1 }) }]) + end,
    one,
    "https://github.com/ggml-org/llama.cpp/issues/20198",
  ),
  tool(
    "arguments that are null at first",
    calls([{ index: 0, id: "c1", ...f("f", null) }], [{ index: 0, ...more(A) }]) + end,
    one,
    "https://github.com/openlit/openlit/issues/989",
  ),
  tool(
    "arguments that are null to the end",
    calls([{ index: 0, id: "c1", ...f("f", null) }]) + end,
    [call("c1", "f", "")],
    "https://github.com/braintrustdata/braintrust-sdk-javascript/pull/1061",
  ),
  tool(
    "empty arguments of a tool that takes none",
    calls([{ index: 0, id: "c1", ...f("f", "") }]) + end,
    [call("c1", "f", "")],
    "https://github.com/Vivswan/litellm-vscode-chat/issues/281",
  ),
  tool(
    "an empty fragment beside the finish reason",
    calls([{ index: 0, id: "c1", ...f("f", A) }]) +
      chunk({ tool_calls: [{ index: 0, ...more("") }] }, "tool_calls") + DONE,
    one,
    "https://github.com/vercel/ai/issues/3953",
  ),
  {
    name: "tool_calls that are null or empty beside text",
    from: "https://github.com/sgl-project/sglang/issues/3912",
    body: chunk({ role: null, content: "Hel", tool_calls: null }) +
      chunk({ content: "lo", tool_calls: [] }) + finish("stop"),
    parts: [text("Hello")],
    end: "stop",
  },
  tool(
    "content that is null beside a call",
    chunk({
      role: "assistant",
      content: null,
      tool_calls: [{ index: 0, id: "c1", ...f("f", A) }],
    }) +
      end,
    one,
    "https://github.com/lobehub/lobehub/pull/3835",
  ),
  tool(
    "members that are null in every fragment but the first",
    calls(
      [{ index: 0, id: "c1", ...f("f", "") }],
      [{ index: 0, id: null, type: null, ...named(null, '{"a"') }],
      [{ index: 0, id: null, type: null, ...named(null, ":1}") }],
    ) + end,
    one,
    "https://github.com/sgl-project/sglang/issues/4700",
  ),
  tool(
    "a call without its type",
    calls([{ index: 0, id: "c1", ...named("f", A) }]) + end,
    one,
    "https://docs.mistral.ai/api/endpoint/chat",
  ),
  tool(
    "calls in a message where delta is wanted",
    choices([{
      index: 0,
      message: { role: "assistant", content: null, tool_calls: [{ id: "c1", ...f("f", A) }] },
      finish_reason: "tool_calls",
    }]) + DONE,
    one,
  ),
  tool(
    "a call and its finish reason in one chunk",
    chunk({ content: "", tool_calls: [{ index: 0, id: "c1", ...named("f", A) }] }, "tool_calls") +
      DONE,
    one,
    "https://docs.mistral.ai/capabilities/function_calling",
  ),
  tool(
    "text on both sides of a call",
    say("Let me look. ") + calls([{ index: 0, id: "c1", ...f("f", A) }]) + say("A moment.") + end,
    [text("Let me look. "), ...one, text("A moment.")],
  ),
  {
    name: "arguments that were cut short by the length",
    body: calls([{ index: 0, id: "c1", ...f("f", '{"a":') }]) + finish("length"),
    parts: [call("c1", "f", '{"a":')],
    end: "length",
  },
  tool(
    "a call in place of a list of calls",
    chunk({ tool_calls: { index: 0, id: "c1", ...f("f", A) } }) + end,
    one,
  ),
  tool(
    "a call without arguments behind the finish reason",
    chunk({ content: "Hi" }, "tool_calls") +
      calls([{ index: 0, id: "c1", type: "function", ...named("f") }]) + DONE,
    [text("Hi"), call("c1", "f", "")],
  ),
  {
    name: "an empty call beside each text",
    body: chunk({
      content: "Hel",
      tool_calls: [{ index: 0, id: "", type: "function", ...named("", "") }],
    }) + chunk({ content: "lo", function_call: { name: "", arguments: "" } }) + finish("stop"),
    parts: [text("Hello")],
    end: "stop",
  },
];
