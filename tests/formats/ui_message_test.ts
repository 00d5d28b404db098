/** `uiMessageFormat`: the stream that the AI SDK's `useChat` reads, by property and by the letter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Item, type ServerSentEvent, uiMessageFormat } from "../../mod.ts";
import { type UIMessageFormatOptions } from "../../lib/formats.ts";
import { active } from "../../lib/counters.ts";
import {
  ask,
  called,
  chunk,
  events,
  FAILURES,
  forAll,
  framed,
  type Part,
  reasoning,
  REASONS,
  say,
  sourceOf,
  think,
  toolCall,
  upstream,
  written,
} from "../support/random_answers.ts";

const before = { ...active };

// deno-lint-ignore no-explicit-any -- what a server sent
type Json = any;

interface Message {
  id: string;
  parts: Part[];
  others: [type: string, data: unknown][];
  /** What became of each call: its input, or the text that is no JSON. */
  inputs: Map<string, { input: unknown } | { wrong: string }>;
  finishReason: string | undefined;
  end: string;
  errorText: string | undefined;
}

/** Reads as a client does that allows nothing. */
function read(all: ServerSentEvent[]): Message {
  const message: Message = {
    id: "",
    parts: [],
    others: [],
    inputs: new Map(),
    finishReason: undefined,
    end: "",
    errorText: undefined,
  };
  const calls = new Map<string, Extract<Part, { kind: "call" }>>();
  let open: { id: string; part: Exclude<Part, { kind: "call" }> } | undefined;
  const ids = new Set<string>();
  assert.equal(all.at(-1)?.data, "[DONE]");
  for (const [i, { event, data }] of all.slice(0, -1).entries()) {
    assert.equal(event, "message");
    const { type, ...fields }: Json = JSON.parse(data);
    assert.equal(i === 0, type === "start");
    assert.equal(i === 1, type === "start-step");
    assert.ok(message.end === "" || message.end === "finish-step");
    const keys = Object.keys(fields).join();
    if (type === "start") {
      assert.equal(keys, "messageId");
      message.id = fields.messageId;
    } else if (type === "start-step") assert.equal(keys, "");
    else if (type === "text-start" || type === "reasoning-start") {
      assert.equal(keys, "id");
      assert.equal(open, undefined);
      assert.ok(!ids.has(fields.id));
      ids.add(fields.id);
      open = { id: fields.id, part: { kind: type.slice(0, -6) as "text", text: "" } };
      message.parts.push(open.part);
    } else if (type === "text-delta" || type === "reasoning-delta") {
      assert.equal(keys, "id,delta");
      assert.deepEqual([open?.id, open?.part.kind], [fields.id, type.slice(0, -6)]);
      assert.notEqual(fields.delta, "");
      open!.part.text += fields.delta;
    } else if (type === "text-end" || type === "reasoning-end") {
      assert.equal(keys, "id");
      assert.deepEqual([open?.id, open?.part.kind], [fields.id, type.slice(0, -4)]);
      open = undefined;
    } else if (type === "tool-input-start") {
      assert.equal(keys, "toolCallId,toolName");
      assert.ok(!calls.has(fields.toolCallId));
      const { toolCallId: id, toolName: name } = fields;
      const call = { kind: "call", id, name, arguments: "" } as const;
      calls.set(id, call);
      message.parts.push(call);
    } else if (type === "tool-input-delta") {
      assert.equal(keys, "toolCallId,inputTextDelta");
      assert.ok(!message.inputs.has(fields.toolCallId));
      calls.get(fields.toolCallId)!.arguments += fields.inputTextDelta;
    } else if (type === "tool-input-available" || type === "tool-input-error") {
      const failed = type === "tool-input-error";
      assert.equal(keys, `toolCallId,toolName,input${failed ? ",errorText" : ""}`);
      assert.equal(calls.get(fields.toolCallId)!.name, fields.toolName);
      assert.ok(!message.inputs.has(fields.toolCallId));
      const { toolCallId: id, input } = fields;
      message.inputs.set(id, failed ? { wrong: input } : { input });
    } else if (type.startsWith("data-")) {
      assert.equal(keys, "data");
      message.others.push([type, fields.data]);
    } else {
      message.end = type;
      if (type === "finish") {
        assert.equal(keys, "finishReason");
        message.finishReason = fields.finishReason;
      } else if (type === "error") message.errorText = fields.errorText;
      else assert.deepEqual([type, keys], [type === "abort" ? "abort" : "finish-step", ""]);
      assert.ok(type === "error" || open === undefined);
    }
  }
  assert.match(message.end, /^(finish|abort|error)$/);
  return message;
}

const complete = async (source: Parameters<typeof ask>[1]) =>
  read(await events(await ask(uiMessageFormat, source)));

test("uiMessageFormat brings every item of every answer exactly", async () => {
  await forAll(async (answer, chance, where) => {
    const response = await ask(uiMessageFormat, sourceOf(answer, chance));
    assert.equal(response.headers.get("x-vercel-ai-ui-message-stream"), "v1");
    const { id, parts, others, inputs, finishReason } = read(await events(response, chance));
    assert.match(id, /^[\w-]{22}$/, where);
    assert.deepEqual(parts, answer.parts, where);
    const named = answer.others.map(([event, data]) => [`data-${event ?? "item"}`, data]);
    assert.deepEqual(others, named, where);
    for (const part of parts) {
      if (part.kind !== "call") continue;
      let expected: unknown;
      try {
        expected = { input: JSON.parse(part.arguments || "{}") };
      } catch {
        expected = { wrong: part.arguments };
      }
      assert.deepEqual(inputs.get(part.id), expected, where);
    }
    const called = parts.some(({ kind }) => kind === "call");
    assert.equal(finishReason, called ? "tool-calls" : "stop", where);
  });
});

test("uiMessageFormat writes these bytes", () => {
  const items: Item[] = [
    reasoning("hm\n"),
    "Hel",
    { event: "note", data: { a: 1 } },
    'lo"\r\n',
    toolCall({ index: 0, id: "c", name: "f", arguments: '{\r\n"n":' }),
    toolCall({ index: 0, arguments: "12345678901234567890}" }),
    { data: "x" },
    toolCall({ index: 1, id: "d", name: "g", arguments: "{" }),
  ];
  const part = (fields: string) => `data: {${fields}}\n\n`;
  assert.equal(
    framed(uiMessageFormat.with({ messageId: 'm"\n' }), items),
    part('"type":"start","messageId":"m\\"\\n"') +
      part('"type":"start-step"') +
      part('"type":"reasoning-start","id":"reasoning-1"') +
      part('"type":"reasoning-delta","id":"reasoning-1","delta":"hm\\n"') +
      part('"type":"reasoning-end","id":"reasoning-1"') +
      part('"type":"text-start","id":"text-2"') +
      part('"type":"text-delta","id":"text-2","delta":"Hel"') +
      part('"type":"data-note","data":{"a":1}') +
      part('"type":"text-delta","id":"text-2","delta":"lo\\"\\r\\n"') +
      part('"type":"text-end","id":"text-2"') +
      part('"type":"tool-input-start","toolCallId":"c","toolName":"f"') +
      part(
        '"type":"tool-input-delta","toolCallId":"c","inputTextDelta":"{\\r\\n\\"n\\":"',
      ) +
      part('"type":"tool-input-delta","toolCallId":"c","inputTextDelta":"12345678901234567890}"') +
      part('"type":"data-item","data":"x"') +
      part(
        '"type":"tool-input-available","toolCallId":"c","toolName":"f",' +
          '"input":{ "n":12345678901234567890}',
      ) +
      part('"type":"tool-input-start","toolCallId":"d","toolName":"g"') +
      part('"type":"tool-input-delta","toolCallId":"d","inputTextDelta":"{"') +
      part(
        '"type":"tool-input-error","toolCallId":"d","toolName":"g","input":"{",' +
          '"errorText":"The arguments of the tool call are not JSON"',
      ) +
      part('"type":"finish-step"') +
      part('"type":"finish","finishReason":"tool-calls"') +
      "data: [DONE]\n\n",
  );
});

test("uiMessageFormat ends an empty answer without a part", async () => {
  for (const items of [[], ["", null], [reasoning("")]]) {
    const { parts, finishReason } = await complete(items);
    assert.deepEqual([parts, finishReason], [[], "stop"]);
  }
});

test("uiMessageFormat keeps one text part around structured items, which keep their place", () => {
  const wire = framed(uiMessageFormat, ["a", { event: "note", data: 1 }, "b"]);
  assert.equal(wire.match(/text-start/g)?.length, 1);
  const order = [...wire.matchAll(/"delta":"(.)"|(data-note)/g)].map(([, text, name]) =>
    text ?? name
  );
  assert.deepEqual(order, ["a", "data-note", "b"]);
});

test("uiMessageFormat gives each finish reason a name that its client knows", () => {
  const names: Record<string, string> = {
    tool_calls: "tool-calls",
    content_filter: "content-filter",
  };
  for (const [given, kind] of REASONS) {
    const end = given === undefined ? {} : { finishReason: given };
    const wire = framed(uiMessageFormat, called(kind), end);
    assert.ok(wire.includes(`"finishReason":"${names[kind] ?? kind}"`), given ?? "none");
  }
});

test("uiMessageFormat ends a stopped generation with abort, and has no tool run", () => {
  const items = [
    "a",
    toolCall({ index: 0, id: "c", name: "f" }),
    "b",
    toolCall({ index: 0, arguments: "{}" }),
  ];
  const wire = framed(uiMessageFormat, items, { reason: "cancelled", finishReason: "stop" });
  assert.ok(wire.endsWith(
    '{"type":"text-end","id":"text-2"}\n\ndata: {"type":"abort"}\n\ndata: [DONE]\n\n',
  ));
  assert.ok(!wire.includes("tool-input-available"));
});

test("uiMessageFormat refuses before the head with the status and its sentence, and nothing else", async () => {
  for (const [thrown, status, error] of FAILURES) {
    const response = await ask(uiMessageFormat, () => {
      throw thrown();
    });
    assert.equal(response.status, status);
    assert.equal(response.headers.get("content-type"), "application/json");
    const { code, ...rest }: Json = await response.json();
    assert.equal(typeof code, "string");
    assert.deepEqual(rest, { error });
  }
});

test("uiMessageFormat tells a failure in the stream, and never a finish", async () => {
  for (const [thrown, , sentence] of FAILURES) {
    const { parts, end, errorText } = await complete(function* () {
      yield reasoning("hm");
      yield "Hel";
      throw thrown();
    });
    assert.deepEqual(parts, [think("hm"), say("Hel")]);
    assert.deepEqual([end, errorText], ["error", sentence]);
  }
});

test("uiMessageFormat writes a failure that comes first as an error part", () => {
  const problem = { type: "about:blank", title: "No", status: 500, code: "internal" };
  const wire = written(
    uiMessageFormat,
    (framer, out) => framer.fail?.(out, problem, { streamId: "s", lastEvent: 0 }),
  );
  assert.ok(wire.endsWith('data: {"type":"error","errorText":"No"}\n\ndata: [DONE]\n\n'));
});

test("uiMessageFormat bounds what tool calls make it keep", async () => {
  const big = "1".repeat(1000 * 1000);
  const { end, errorText } = await complete(function* () {
    yield toolCall({ index: 0, id: "c", name: "f", arguments: "[" });
    for (;;) yield toolCall({ index: 0, arguments: big });
  });
  assert.deepEqual([end, errorText], ["error", "The answer is too large to buffer"]);
});

test("uiMessageFormat takes the items out of an upstream's events", async () => {
  const openai = await complete(upstream(
    chunk({ role: "assistant", content: "" }),
    chunk({ reasoning_content: "hm" }),
    chunk({ content: "a\r\n" }),
    chunk({ tool_calls: [{ index: 0, id: "c", function: { name: "f", arguments: "{}" } }] }),
    chunk({}, "content_filter"),
    "[DONE]",
  ));
  const call: Part = { kind: "call", id: "c", name: "f", arguments: "{}" };
  assert.deepEqual(openai.parts, [think("hm"), say("a\r\n"), call]);
  assert.equal(openai.finishReason, "content-filter");
  const spillway = await complete(upstream(
    '{"token":"Hel"}',
    ["note", '{\n"a":1}'],
    ["note", "raw"],
    '{"x":1}',
    '{"token":"lo"}',
    ["done", '{"finishReason":"length"}'],
  ));
  assert.deepEqual(spillway.parts, [say("Hello")]);
  const others = [["data-note", { a: 1 }], ["data-note", "raw"], ["data-item", { x: 1 }]];
  assert.deepEqual(spillway.others, others);
  assert.equal(spillway.finishReason, "length");
  const raw = await complete(upstream("", "Hel", "", " lo\n7", ["done", "{}"]));
  assert.deepEqual(raw.parts, [say("Hel lo\n7")]);
  const early = await ask(uiMessageFormat, upstream('{"error":"secret"}'));
  assert.equal(early.status, 502);
  assert.ok(!(await early.text()).includes("secret"));
});

test("uiMessageFormat joins a surrogate pair that is split over two tokens", async () => {
  const body = await (await ask(uiMessageFormat, ["a\ud83d", "\ude00b"])).text();
  assert.ok(body.includes("😀b") && !/\\ud8/.test(body));
});

test("uiMessageFormat.with() refuses a messageId that is no string and keeps the name", () => {
  const wrong = { messageId: 7 } as unknown as UIMessageFormatOptions;
  assert.throws(() => uiMessageFormat.with(wrong), TypeError);
  assert.equal(uiMessageFormat.with({ messageId: "m" }).name, "ui-message");
});

test("nothing is left of all these streams", () => assert.deepEqual({ ...active }, before));
