/**
 * What each format makes of the items that are not text, beyond reasoning and calls of functions: signed
 * thoughts, citations, results, approvals, custom tools, metadata.
 */
import assert from "node:assert/strict";
import test from "node:test";
import {
  anthropicFormat,
  type Format,
  type Item,
  openaiFormat,
  uiMessageFormat,
} from "../../mod.ts";
import { ask, events, framed, NO_PARTS, reasoning, toolCall } from "../support/random_answers.ts";

// deno-lint-ignore no-explicit-any -- what the wire says is compared, not used
type Json = any;

/** The data of each event, without that of the end. */
async function told(format: Format, items: Item[], summary: object = {}): Promise<Json[]> {
  const source = function* () {
    yield* items;
    return summary;
  };
  return (await events(await ask(format, source))).map(({ data }) => data)
    .filter((data) => data !== "[DONE]").map((data) => JSON.parse(data));
}

async function document(format: Format, items: Item[]): Promise<Json> {
  return await (await ask(format, items)).json();
}

const item = (event: string, data: unknown): Item => ({ event, data });
const signed = item("reasoning", { text: "", signature: "sig" });
const redacted = item("reasoning", { text: "", redacted: "enc" });
const thoughts = [reasoning("hm"), signed, redacted, reasoning("so"), "Hi"];
const place = { type: "char_location", cited_text: "a", document_index: 0, document_title: "T" };
const address = { type: "url_citation", url_citation: { url: "https://a/", title: "A" } };
const custom = [
  toolCall({ index: 0, id: "c", type: "custom", name: "sh", arguments: "echo {}" }),
  toolCall({ index: 0, arguments: ' "x"\n{' }),
];
const SCRIPT = 'echo {} "x"\n{';
const asked = toolCall({ index: 0, id: "c", name: "f", arguments: "{}" });

test("anthropic: a signature and a redacted thought stand where the source gives them", async () => {
  const all = await told(anthropicFormat, thoughts);
  const blocks = all.filter(({ type }) => type === "content_block_start");
  assert.deepEqual(blocks.map(({ content_block }) => content_block.type), [
    "thinking",
    "redacted_thinking",
    "thinking",
    "text",
  ]);
  const deltas = all.filter(({ type, index }) => type === "content_block_delta" && index === 0);
  assert.deepEqual(deltas.at(-1).delta, { type: "signature_delta", signature: "sig" });
  const { content } = await document(anthropicFormat.with({ buffered: true }), thoughts);
  assert.deepEqual(content, [
    { type: "thinking", thinking: "hm", signature: "sig" },
    { type: "redacted_thinking", data: "enc" },
    { type: "thinking", thinking: "so", signature: "" },
    { type: "text", text: "Hi" },
  ]);
});

test("anthropic: citations of its own and of addresses belong to the text", async () => {
  const items = ["Hi", item("citation", place), item("citation", address), item("citation", {})];
  const web = {
    type: "web_search_result_location",
    url: "https://a/",
    title: "A",
    cited_text: "",
    encrypted_index: "",
  };
  const deltas = (await told(anthropicFormat, items)).flatMap(({ delta }) => delta?.citation ?? []);
  assert.deepEqual(deltas, [place, web]);
  const { content } = await document(anthropicFormat.with({ buffered: true }), items);
  assert.deepEqual(content, [{ type: "text", text: "Hi", citations: [place, web] }]);
});

test("anthropic: a block that anthropic() has passed on is written again, and so is a stop sequence", async () => {
  const block = { type: "server_tool_use", id: "s", name: "web_search", input: { q: "x" } };
  const items = [
    "Hi",
    item("delta", { content_block: block }),
    item("metadata", { stop_sequence: "END" }),
  ];
  const all = await told(anthropicFormat, items, { finishReason: "stop_sequence" });
  const at = all.filter(({ index }) => index === 1);
  assert.deepEqual(at, [
    { type: "content_block_start", index: 1, content_block: { ...block, input: {} } },
    {
      type: "content_block_delta",
      index: 1,
      delta: { type: "input_json_delta", partial_json: '{"q":"x"}' },
    },
    { type: "content_block_stop", index: 1 },
  ]);
  const { delta } = all.find(({ type }) => type === "message_delta");
  assert.deepEqual(delta, { stop_reason: "stop_sequence", stop_sequence: "END" });
  const { content, stop_sequence } = await document(
    anthropicFormat.with({ buffered: true }),
    items,
  );
  assert.deepEqual([content[1], stop_sequence], [block, "END"]);
});

test("openai: signatures are reasoning_details, and citations annotations", async () => {
  const items = [...thoughts, item("citation", address), item("citation", place)];
  const deltas = (await told(openaiFormat, items)).map(({ choices }) => choices[0].delta);
  assert.deepEqual(deltas.flatMap((delta) => delta.reasoning_details ?? []), [
    { type: "reasoning.text", text: "", signature: "sig" },
    { type: "reasoning.encrypted", data: "enc" },
  ]);
  assert.deepEqual(deltas.flatMap((delta) => delta.annotations ?? []), [address]);
  const { choices } = await document(openaiFormat.with({ buffered: true }), items);
  assert.deepEqual(choices[0].message.reasoning_details, [
    { type: "reasoning.text", text: "hm", signature: "sig" },
    { type: "reasoning.encrypted", data: "enc" },
  ]);
});

test("custom tools: their text arrives exactly in each format", async () => {
  const pieces = (await told(openaiFormat, custom)).flatMap(({ choices }) =>
    choices[0].delta.tool_calls ?? []
  );
  const { custom: { name }, id, type } = pieces[0];
  assert.deepEqual([id, type, name], ["c", "custom", "sh"]);
  assert.equal(pieces.map((piece) => piece.custom.input).join(""), SCRIPT);
  const { choices } = await document(openaiFormat.with({ buffered: true }), custom);
  assert.deepEqual(choices[0].message.tool_calls, [
    { id: "c", type: "custom", custom: { name: "sh", input: SCRIPT } },
  ]);
  const deltas = await told(anthropicFormat, custom);
  const json = deltas.map(({ delta }) => delta?.partial_json ?? "").join("");
  assert.deepEqual(JSON.parse(json), { input: SCRIPT });
  const { content } = await document(anthropicFormat.with({ buffered: true }), custom);
  assert.deepEqual(content[0].input, { input: SCRIPT });
  const available = (await told(uiMessageFormat, custom))
    .find(({ type }) => type === "tool-input-available");
  assert.equal(available.input, SCRIPT);
});

test("a call that has its result is not the client's to run, in any format", async () => {
  const items = [asked, item("tool_result", { id: "c", output: 1 }), "Hi"];
  const chunks = await told(openaiFormat, items);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  const all = await told(anthropicFormat, items);
  assert.equal(all.at(-2).delta.stop_reason, "end_turn");
  assert.equal((await told(uiMessageFormat, items)).at(-1).finishReason, "stop");
});

test("ui-message: results, and another step behind them", async () => {
  const results: [object, object][] = [
    [{ output: { a: 1 } }, { type: "tool-output-available", output: { a: 1 } }],
    [{ output: 1, error: null }, { type: "tool-output-available", output: 1 }],
    [{ error: "no" }, { type: "tool-output-error", errorText: "no" }],
    [{ denied: true }, { type: "tool-output-denied" }],
  ];
  for (const [result, part] of results) {
    const all = await told(uiMessageFormat, [
      asked,
      item("tool_result", { id: "c", ...result }),
      "Hi",
    ]);
    const { type, ...rest } = part as { type: string };
    const at = all.findIndex((given) => given.type === type);
    assert.deepEqual(all[at], { type, toolCallId: "c", ...rest });
    assert.equal(all[at - 1].type, "tool-input-available");
    assert.deepEqual(all.slice(at + 1, at + 4).map(({ type }) => type), [
      "finish-step",
      "start-step",
      "text-start",
    ]);
  }
  // A result of a call that nobody has seen would throw in the client.
  const unknown = await told(uiMessageFormat, [item("tool_result", { id: "x", output: 1 })]);
  assert(unknown.some(({ type }) => type === "data-tool_result"));
});

test("a call that has its result, or was taken back, goes on no more", async () => {
  const begun = toolCall({ index: 0, id: "c", name: "f", arguments: '{"a":' });
  const more = toolCall({ index: 0, arguments: "1}" });
  const all = await told(uiMessageFormat, [begun, item("tool_result", { id: "c" }), more, "Hi"]);
  const kinds = all.map(({ type }) => type).filter((type) => type.startsWith("tool-"));
  assert.equal(kinds.at(-1), "tool-output-available");
  const reset = await told(uiMessageFormat, [begun, item("reset_step", {}), more, "Hi"]);
  assert.deepEqual(reset.slice(2).map(({ type }) => type), [
    "tool-input-start",
    "tool-input-delta",
    "reset-step",
    "text-start",
    "text-delta",
    "text-end",
    "finish-step",
    "finish",
  ]);
});

test("calls under one id are told apart", async () => {
  const calls = ["f", "g", "h"].map((name, index) =>
    toolCall({ index, id: "c", name, arguments: "{}" })
  );
  const all = await told(uiMessageFormat, [...calls, item("tool_result", { id: "c_1" })]);
  const ids = all.filter(({ type }) => type === "tool-input-available")
    .map(({ toolCallId }) => toolCallId);
  assert.deepEqual(ids, ["c", "c_1", "c_2"]);
  assert.equal(all.find(({ type }) => type === "tool-output-available").toolCallId, "c_1");
});

test("ui-message: what is shaped like no part of the protocol is data", async () => {
  for (const [event, data] of NO_PARTS) {
    const all = await told(uiMessageFormat, [asked, item(event, data), "Hi"]);
    const name = event.startsWith("data-") ? event : `data-${event}`;
    assert.deepEqual(all.find(({ type }) => type.startsWith("data-")), { type: name, data });
  }
});

test("ui-message: approval, reset, metadata, data parts and documents", async () => {
  const all = await told(uiMessageFormat, [
    asked,
    item("tool_approval", { id: "a", callId: "c", reason: "why" }),
    item("tool_approval", { id: "a", approved: false }),
    item("metadata", { model: "m" }),
    item("data-weather", { id: "w", data: { t: 1 }, transient: true }),
    item("data-plain", [1]),
    item("citation", place),
    "Hi",
    item("reset_step", {}),
    "Ho",
  ]);
  const of = (type: string) => all.find((part) => part.type === type);
  assert.deepEqual(of("tool-approval-request"), {
    type: "tool-approval-request",
    approvalId: "a",
    toolCallId: "c",
    reason: "why",
  });
  assert.deepEqual(of("tool-approval-response"), {
    type: "tool-approval-response",
    approvalId: "a",
    approved: false,
  });
  assert.deepEqual(of("message-metadata").messageMetadata, { model: "m" });
  assert.deepEqual(of("data-weather"), {
    type: "data-weather",
    id: "w",
    data: { t: 1 },
    transient: true,
  });
  assert.deepEqual(of("data-plain").data, [1]);
  assert.equal(of("source-document").title, "T");
  const reset = all.findIndex(({ type }) => type === "reset-step");
  assert.deepEqual(all.slice(reset - 1).map(({ type }) => type), [
    "text-delta",
    "reset-step",
    "text-start",
    "text-delta",
    "text-end",
    "finish-step",
    "finish",
  ]);
  assert.equal(all.at(-1).finishReason, "stop");
});

test("ui-message: signatures are kept by the front end, and usage is sent if asked for", async () => {
  const all = await told(uiMessageFormat, thoughts);
  const ends = all.filter(({ type }) => type === "reasoning-end");
  assert.deepEqual(ends.map(({ providerMetadata }) => providerMetadata?.spillway), [
    { signature: "sig" },
    { redacted: "enc" },
    undefined,
  ]);
  const usage = { input_tokens: 3, output_tokens: 5 };
  const finish = async (includeUsage: boolean) =>
    (await told(uiMessageFormat.with({ includeUsage }), ["Hi"], { usage })).at(-1).messageMetadata;
  assert.deepEqual(await finish(true), {
    usage: { inputTokens: 3, outputTokens: 5, totalTokens: 8 },
  });
  assert.equal(await finish(false), undefined);
});

test("a format that takes nothing back fails a reset, and never shows both texts as one", async () => {
  for (const format of [openaiFormat, anthropicFormat]) {
    const text = await (await ask(format, ["Hi", item("reset_step", {}), "Ho!"])).text();
    assert.match(text, /"error"/);
    assert(!text.includes("Ho!"));
  }
});

test("openai: obfuscation hides the length of each token, and is off by default", () => {
  const plain = framed(openaiFormat, ["a", "abcdefgh"]);
  assert(!plain.includes("obfuscation"));
  const format = openaiFormat.with({ obfuscate: true });
  const items = ["a", "abcdefgh", "é".repeat(6), toolCall({ index: 0, id: "c", name: "f" })];
  const chunks = framed(format, items).split("\n\n").filter((event) => event.includes("choices"));
  const lengths = chunks.map((event) => new TextEncoder().encode(event).length % 32);
  assert.equal(chunks.length, 6);
  assert.equal(new Set(lengths.slice(0, 5)).size, 1, String(lengths));
  assert.equal(new Set(chunks.slice(1, 4).map(({ length }) => length)).size <= 2, true);
  const again = framed(format, items);
  assert.notEqual(
    again.replaceAll(/"created":\d+/g, ""),
    framed(format, items).replaceAll(/"created":\d+/g, ""),
  );
});
