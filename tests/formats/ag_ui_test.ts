/** `agUiFormat`: the stream that AG-UI's clients read, by property and by the letter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Item, ServerSentEvent } from "../../mod.ts";
import { agUiFormat, type AgUiFormatOptions } from "../../lib/formats.ts";
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

interface Run {
  started: Json;
  parts: Part[];
  /** The message that each text and each call belongs to, in the order in which they began. */
  owners: string[];
  notes: [name: string, value: unknown][];
  results: Json[];
  others: Json[];
  end: Json;
}

/** Reads as a client does that allows nothing: each thing begins and ends once, and all before the end. */
function read(all: ServerSentEvent[]): Run {
  const run: Run = {
    started: undefined,
    parts: [],
    owners: [],
    notes: [],
    results: [],
    others: [],
    end: undefined,
  };
  const open = new Map<string, { text: string } | { arguments: string }>();
  const ids = new Set<string>();
  const begin = (key: string, part?: Part) => {
    assert.ok(!ids.has(key), key);
    ids.add(key);
    if (part === undefined) return open.set(key, { text: "" });
    run.parts.push(part);
    open.set(key, part);
  };
  const close = (key: string) => assert.ok(open.delete(key), `${key} is not open`);
  for (const [i, { event, data }] of all.entries()) {
    assert.equal(event, "message");
    const { type, ...fields }: Json = JSON.parse(data);
    const { messageId: id, toolCallId: call, delta } = fields;
    assert.equal(i === 0, type === "RUN_STARTED");
    assert.equal(run.end, undefined, "nothing comes behind the end");
    if (type === "RUN_STARTED") run.started = fields;
    else if (type === "TEXT_MESSAGE_START") {
      assert.deepEqual(fields, { messageId: id, role: "assistant" });
      begin(id, { kind: "text", text: "" });
      run.owners.push(id);
    } else if (type === "REASONING_START") begin(`span ${id}`);
    else if (type === "REASONING_MESSAGE_START") {
      assert.deepEqual(fields, { messageId: id, role: "reasoning" });
      assert.ok(open.has(`span ${id}`));
      begin(id, { kind: "reasoning", text: "" });
    } else if (type === "TEXT_MESSAGE_CONTENT" || type === "REASONING_MESSAGE_CONTENT") {
      const part = open.get(id) as Part & { text: string };
      assert.equal(part.kind, type.startsWith("TEXT") ? "text" : "reasoning");
      assert.notEqual(delta, "");
      part.text += delta;
    } else if (type === "TEXT_MESSAGE_END" || type === "REASONING_MESSAGE_END") close(id);
    else if (type === "REASONING_END") close(`span ${id}`);
    else if (type === "TOOL_CALL_START") {
      const { toolCallName: name, parentMessageId } = fields;
      begin(call, { kind: "call", id: call, name, arguments: "" });
      run.owners.push(parentMessageId);
    } else if (type === "TOOL_CALL_ARGS") {
      assert.notEqual(delta, "");
      (open.get(call) as { arguments: string }).arguments += delta;
    } else if (type === "TOOL_CALL_END") close(call);
    else if (type === "TOOL_CALL_RESULT") {
      assert.ok(!open.has(call), "a call ends before its result");
      run.results.push(fields);
    } else if (type === "CUSTOM") run.notes.push([fields.name, fields.value]);
    else if (type === "RUN_FINISHED" || type === "RUN_ERROR") {
      run.end = { type, ...fields };
      assert.ok(type === "RUN_ERROR" || open.size === 0, [...open.keys()].join());
    } else run.others.push({ type, ...fields });
  }
  assert.ok(run.end, "the run ends");
  return run;
}

const complete = async (source: Parameters<typeof ask>[1]) =>
  read(await events(await ask(agUiFormat, source)));

test("agUiFormat brings every item of every answer exactly", async () => {
  await forAll(async (answer, chance, where) => {
    const response = await ask(agUiFormat, sourceOf(answer, chance));
    const { started, parts, owners, notes, end } = read(await events(response, chance));
    assert.match(started.runId, /^[\w-]{22}$/, where);
    // A call without arguments is given the empty object that it stands for.
    const expected = answer.parts.map((part) =>
      part.kind === "call" && part.arguments === "" ? { ...part, arguments: "{}" } : part
    );
    assert.deepEqual(parts, expected, where);
    assert.ok(owners.every((id) => id.startsWith(`${started.runId}-`)), where);
    assert.deepEqual(notes, answer.others.map(([event, data]) => [event ?? "item", data]), where);
    const calls = parts.flatMap((part) => part.kind === "call" ? part.id : []);
    const success = { type: "success", ...calls.length > 0 && { pendingToolCallIds: calls } };
    assert.deepEqual(end, {
      type: "RUN_FINISHED",
      threadId: started.threadId,
      runId: started.runId,
      outcome: success,
      metadata: { tanstack: { finishReason: calls.length > 0 ? "tool_calls" : "stop" } },
    }, where);
  });
});

test("agUiFormat writes these bytes", () => {
  const items: Item[] = [
    { event: "reasoning", data: { text: "hm\n", signature: "sig" } },
    "Hel",
    { event: "note", data: { a: 1 } },
    'lo"\r\n',
    toolCall({ index: 0, id: "c", name: "f", arguments: '{\r\n"n":' }),
    toolCall({ index: 0, arguments: "12345678901234567890}" }),
    { event: "tool_result", data: { id: "c", output: { b: [1] } } },
    { data: "x" },
    toolCall({ index: 1, id: "d", name: "g", extra: { sig: 1 } }),
    "end",
  ];
  const part = (type: string, fields: string) => `data: {"type":"${type}"${fields}}\n\n`;
  const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7.5 };
  const format = agUiFormat.with({
    threadId: 't"\n',
    runId: "r",
    parentRunId: "p",
    model: "m",
  });
  assert.equal(
    framed(format, items, { usage }),
    part(
      "RUN_STARTED",
      ',"threadId":"t\\"\\n","runId":"r","protocolVersion":"1.0","parentRunId":"p"',
    ) +
      part("REASONING_START", ',"messageId":"S-1"') +
      part("REASONING_MESSAGE_START", ',"messageId":"S-1","role":"reasoning"') +
      part("REASONING_MESSAGE_CONTENT", ',"messageId":"S-1","delta":"hm\\n"') +
      part(
        "REASONING_ENCRYPTED_VALUE",
        ',"subtype":"message","entityId":"S-1","encryptedValue":"sig"',
      ) +
      part("REASONING_MESSAGE_END", ',"messageId":"S-1"') +
      part("REASONING_END", ',"messageId":"S-1"') +
      part("TEXT_MESSAGE_START", ',"messageId":"S-2","role":"assistant"') +
      part("TEXT_MESSAGE_CONTENT", ',"messageId":"S-2","delta":"Hel"') +
      part("CUSTOM", ',"name":"note","value":{"a":1}') +
      part("TEXT_MESSAGE_CONTENT", ',"messageId":"S-2","delta":"lo\\"\\r\\n"') +
      part("TEXT_MESSAGE_END", ',"messageId":"S-2"') +
      part("TOOL_CALL_START", ',"toolCallId":"c","toolCallName":"f","parentMessageId":"S-2"') +
      part("TOOL_CALL_ARGS", ',"toolCallId":"c","delta":"{\\r\\n\\"n\\":"') +
      part("TOOL_CALL_ARGS", ',"toolCallId":"c","delta":"12345678901234567890}"') +
      part("TOOL_CALL_END", ',"toolCallId":"c"') +
      part(
        "TOOL_CALL_RESULT",
        ',"messageId":"S-3","toolCallId":"c","role":"tool","content":"{\\"b\\":[1]}"',
      ) +
      part("CUSTOM", ',"name":"item","value":"x"') +
      part(
        "TOOL_CALL_START",
        ',"toolCallId":"d","toolCallName":"g","parentMessageId":"S-4",' +
          '"metadata":{"spillway":{"sig":1}}',
      ) +
      part("TEXT_MESSAGE_START", ',"messageId":"S-5","role":"assistant"') +
      part("TEXT_MESSAGE_CONTENT", ',"messageId":"S-5","delta":"end"') +
      part("TEXT_MESSAGE_END", ',"messageId":"S-5"') +
      part("TOOL_CALL_ARGS", ',"toolCallId":"d","delta":"{}"') +
      part("TOOL_CALL_END", ',"toolCallId":"d","metadata":{"spillway":{"sig":1}}') +
      part(
        "RUN_FINISHED",
        ',"threadId":"t\\"\\n","runId":"r",' +
          '"outcome":{"type":"success","pendingToolCallIds":["d"]},' +
          '"usage":[{"model":"m","inputTokens":3,"outputTokens":4}],' +
          '"metadata":{"tanstack":{"finishReason":"tool_calls","model":"m"}}',
      ),
  );
});

test("agUiFormat ends an empty answer without a message", async () => {
  for (const items of [[], ["", null], [reasoning("")]]) {
    const { parts, end } = await complete(items);
    assert.deepEqual([parts, end.outcome], [[], { type: "success" }]);
  }
});

test("agUiFormat gives each text and each round of calls a message of its own", async () => {
  const { parts, owners, results, end } = await complete([
    "a",
    toolCall({ index: 0, id: "c", name: "f", arguments: "{}" }),
    toolCall({ index: 1, id: "d", name: "g" }),
    { event: "tool_result", data: { id: "d", error: "No" } },
    { event: "tool_result", data: { id: "c", output: "yes" } },
    toolCall({ index: 2, id: "e", name: "f", arguments: "{}" }),
    { event: "tool_result", data: { id: "e" } },
    { event: "tool_result", data: { id: 7 } },
    "b",
  ]);
  assert.equal(parts.length, 5);
  const [text, ...others] = owners;
  assert.deepEqual([others[0], others[1]], [text, text]);
  assert.equal(new Set(owners).size, 3);
  assert.deepEqual(
    results.map(({ toolCallId, content, metadata }) => [
      toolCallId,
      content,
      metadata?.tanstack.state,
    ]),
    [["d", "No", "output-error"], ["c", "yes", undefined], ["e", "", undefined]],
  );
  assert.deepEqual(end.outcome, { type: "success" });
  assert.equal(end.metadata.tanstack.finishReason, "stop");
});

test("agUiFormat tells that a call was denied: an empty result would be a success", async () => {
  const { results } = await complete([
    toolCall({ index: 0, id: "c", name: "f", arguments: "{}" }),
    { event: "tool_result", data: { id: "c", denied: true } },
  ]);
  const [{ content, metadata }] = results;
  assert.deepEqual([content, metadata.tanstack.state], ["The call was denied", "output-error"]);
});

test("agUiFormat drops what a call says behind its result", async () => {
  const { parts } = await complete([
    toolCall({ index: 0, id: "c", name: "f", arguments: '{"a":' }),
    { event: "tool_result", data: { id: "c", output: 1 } },
    toolCall({ index: 0, arguments: "1}" }),
  ]);
  assert.deepEqual(parts, [{ kind: "call", id: "c", name: "f", arguments: '{"a":' }]);
});

test("agUiFormat passes on the protocol's own events, and ends what they begin", async () => {
  const own: [string, object][] = [
    ["STATE_SNAPSHOT", { snapshot: { a: 1 }, type: "RUN_FINISHED" }],
    ["STATE_DELTA", { delta: [{ op: "add", path: "/b", value: 2 }] }],
    ["STEP_STARTED", { stepName: "a" }],
    ["STEP_STARTED", { stepName: "b" }],
    ["SUBAGENT_STARTED", { subagentRunId: "s", name: "n" }],
    ["SUBAGENT_STARTED", { subagentRunId: "t", name: "n" }],
    ["STEP_STARTED", { stepName: "a", subagentRunId: "s" }],
    ["STEP_FINISHED", { stepName: "a" }],
    ["SUBAGENT_ERROR", { subagentRunId: "t", message: "No" }],
    ["RAW", { event: {} }],
  ];
  const { others, notes } = await complete([
    ...own.map(([event, data]) => ({ event, data })),
    // These are the framer's own, and the last is no event.
    { event: "RUN_FINISHED", data: {} },
    { event: "TEXT_MESSAGE_START", data: { messageId: "m" } },
    { event: "STATE_DELTA", data: [] },
    // Its clients fail at these.
    { event: "STATE_DELTA", data: { delta: {} } },
    { event: "MESSAGES_SNAPSHOT", data: {} },
    { event: "CUSTOM", data: { value: 1 } },
    { event: "RAW", data: {} },
    { event: "STEP_STARTED", data: { stepName: "b" } },
    { event: "STEP_FINISHED", data: { stepName: "c" } },
    { event: "SUBAGENT_ERROR", data: { subagentRunId: "t", message: "No" } },
  ]);
  assert.deepEqual(others.slice(0, own.length), own.map(([type, data]) => ({ ...data, type })));
  assert.deepEqual(others.slice(own.length), [
    { type: "STEP_FINISHED", stepName: "a", subagentRunId: "s" },
    { type: "SUBAGENT_FINISHED", subagentRunId: "s" },
    { type: "STEP_FINISHED", stepName: "b" },
  ]);
  assert.deepEqual(notes.map(([name]) => name), [
    "RUN_FINISHED",
    "TEXT_MESSAGE_START",
    "STATE_DELTA",
    "STATE_DELTA",
    "MESSAGES_SNAPSHOT",
    "CUSTOM",
    "RAW",
    "STEP_STARTED",
    "STEP_FINISHED",
    "SUBAGENT_ERROR",
  ]);
});

test("agUiFormat gives each finish reason a name that TanStack AI knows", () => {
  for (const [given, kind] of REASONS) {
    const end = given === undefined ? {} : { finishReason: given };
    const wire = framed(agUiFormat, called(kind), end);
    const name = kind === "other" ? "stop" : kind;
    assert.ok(wire.includes(`"finishReason":"${name}"`), given ?? "none");
  }
});

test("agUiFormat ends a refusal as content_filter", async () => {
  const { parts, end } = await complete([{ event: "refusal", data: { text: "No" } }]);
  assert.deepEqual(parts, [say("No")]);
  assert.equal(end.metadata.tanstack.finishReason, "content_filter");
});

test("agUiFormat ends a stopped generation as cancelled, and makes no call whole", () => {
  const items = [
    "a",
    toolCall({ index: 0, id: "c", name: "f" }),
    toolCall({ index: 1, id: "d", name: "f", arguments: "{" }),
    "b",
    { event: "STEP_STARTED", data: { stepName: "s" } },
  ];
  const wire = framed(agUiFormat, items, { reason: "cancelled", finishReason: "stop" });
  assert.ok(wire.endsWith(
    'data: {"type":"TEXT_MESSAGE_END","messageId":"S-2"}\n\n' +
      'data: {"type":"TOOL_CALL_END","toolCallId":"c"}\n\n' +
      'data: {"type":"TOOL_CALL_END","toolCallId":"d"}\n\n' +
      'data: {"type":"STEP_FINISHED","stepName":"s"}\n\n' +
      'data: {"type":"RUN_FINISHED","threadId":"S","runId":"S","outcome":{"type":"cancelled"},' +
      '"metadata":{"tanstack":{"finishReason":"stop"}}}\n\n',
  ));
});

test("agUiFormat refuses before the head with the status and a problem", async () => {
  for (const [thrown, status] of FAILURES) {
    const response = await ask(agUiFormat, () => {
      throw thrown();
    });
    assert.equal(response.status, status);
    assert.equal(response.headers.get("content-type"), "application/problem+json");
    assert.ok(!(await response.text()).includes("secret"));
  }
});

test("agUiFormat tells a failure in the stream, and never a finish", async () => {
  for (const [thrown, , sentence] of FAILURES) {
    const { parts, end } = await complete(function* () {
      yield reasoning("hm");
      yield "Hel";
      throw thrown();
    });
    assert.deepEqual(parts, [think("hm"), say("Hel")]);
    assert.deepEqual([end.type, end.message], ["RUN_ERROR", sentence]);
    assert.equal(typeof end.code, "string");
  }
});

test("agUiFormat fails where the model broke off", async () => {
  const { end } = await complete(function* () {
    yield "a";
    return { finishReason: "error" };
  });
  assert.deepEqual([end.type, end.code], ["RUN_ERROR", "upstream_failed"]);
});

test("agUiFormat writes a failure that comes first", () => {
  const problem = { type: "about:blank", title: "No", status: 500, code: "internal" };
  const position = { streamId: "S", lastEvent: 0 };
  const write = (resume?: true, headers = {}) => {
    const request = new Request("http://localhost/", { method: "POST", headers });
    const format = { ...agUiFormat, open: () => agUiFormat.open({ request, streamId: "S" }) };
    const told = { ...problem, ...resume && { resume } };
    return written(format, (framer, out) => framer.fail?.(out, told, position))
      .split("\n\n").slice(1).join("");
  };
  const error = 'data: {"type":"RUN_ERROR","message":"No","code":"internal",' +
    '"metadata":{"tanstack":{}}}';
  assert.equal(write(), error);
  // What ends this connection alone is no end for a client that comes back.
  assert.equal(write(true), error);
  assert.equal(write(undefined, { "x-run-id": "r" }), error);
  assert.equal(write(true, { "x-run-id": "r" }), "");
  assert.equal(write(true, { "last-event-id": "S.1" }), "");
});

test("agUiFormat offers calls to a client that names its runs", async () => {
  const items: Item[] = [
    toolCall({ index: 0, id: "c", name: "f", arguments: '{"a":1}' }),
    toolCall({ index: 1, id: "d", name: "g" }),
    toolCall({ index: 2, id: "e", name: "g", arguments: "{" }),
    toolCall({ index: 3, id: "f", name: "g", arguments: "{}" }),
    { event: "tool_result", data: { id: "f", output: 1 } },
  ];
  const request = new Request("http://localhost/", { headers: { "x-run-id": "r" } });
  const named = { ...agUiFormat, open: () => agUiFormat.open({ request, streamId: "S" }) };
  const { notes } = read(await events(await ask(named, items)));
  assert.deepEqual(notes, [
    ["tool-input-available", { toolCallId: "c", toolName: "f", input: { a: 1 } }],
    ["tool-input-available", { toolCallId: "d", toolName: "g", input: {} }],
  ]);
  assert.deepEqual((await complete(items)).notes, []);
});

test("agUiFormat bounds what tool calls make it keep", async () => {
  const big = "1".repeat(1000 * 1000);
  const { end } = await complete(function* () {
    yield toolCall({ index: 0, id: "c", name: "f", arguments: "[" });
    for (;;) yield toolCall({ index: 0, arguments: big });
  });
  assert.deepEqual([end.type, end.code], ["RUN_ERROR", "answer_too_large"]);
});

test("agUiFormat takes the items out of an upstream's events", async () => {
  const { parts, end } = await complete(upstream(
    chunk({ role: "assistant", content: "" }),
    chunk({ reasoning_content: "hm" }),
    chunk({ content: "a\r\n" }),
    chunk({ tool_calls: [{ index: 0, id: "c", function: { name: "f", arguments: "{}" } }] }),
    chunk({}, "length"),
    "[DONE]",
  ));
  assert.deepEqual(parts, [
    think("hm"),
    say("a\r\n"),
    { kind: "call", id: "c", name: "f", arguments: "{}" },
  ]);
  assert.equal(end.metadata.tanstack.finishReason, "length");
  const spillway = await complete(upstream('{"token":"Hel"}', ["note", "raw"], ["done", "{}"]));
  assert.deepEqual([spillway.parts, spillway.notes], [[say("Hel")], [["note", "raw"]]]);
});

test("agUiFormat joins a surrogate pair that is split over two tokens", async () => {
  const body = await (await ask(agUiFormat, ["a\ud83d", "\ude00b"])).text();
  assert.ok(body.includes("😀b") && !/\\ud8/.test(body));
});

test("agUiFormat.with() refuses what is no string and keeps the name", () => {
  const wrong = { model: 7 } as unknown as AgUiFormatOptions;
  assert.throws(() => agUiFormat.with(wrong), /model is a number, not a string/);
  assert.throws(() => agUiFormat.with({ thread: "t" } as AgUiFormatOptions), /unknown option/);
  assert.equal(agUiFormat.with({ runId: "r" }).name, "ag-ui");
});

test("nothing is left of all these streams", () => assert.deepEqual({ ...active }, before));
