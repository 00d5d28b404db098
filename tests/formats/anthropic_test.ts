/** `anthropicFormat`: the events and the document that Anthropic's clients read, by property and by the letter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { anthropicFormat, type Item, type ServerSentEvent, StreamError } from "../../mod.ts";
import { type AnthropicFormatOptions } from "../../lib/formats.ts";
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
const whole = anthropicFormat.with({ buffered: true });

// deno-lint-ignore no-explicit-any -- what a server sent
type Json = any;

interface Message {
  id: string;
  parts: Part[];
  stopReason: string | undefined;
  usage: unknown;
  error: Json;
  /** The event names, repeated ones once. */
  order: string;
}

/** A block as its part begins; what a client would make of it later is added to that. */
function partOf(block: Json): Part {
  const { type, text, thinking, signature, id, name, input, ...rest } = block;
  assert.deepEqual(rest, {});
  if (type === "text") return { kind: "text", text };
  if (type === "tool_use") return { kind: "call", id, name, arguments: input };
  assert.deepEqual([type, signature], ["thinking", ""]);
  return { kind: "reasoning", text: thinking };
}

/** Reads as a client does that allows nothing. */
function read(all: ServerSentEvent[]): Message {
  const message: Message = {
    id: "",
    parts: [],
    stopReason: undefined,
    usage: undefined,
    error: undefined,
    order: "",
  };
  const open = new Set<number>();
  const names: string[] = [];
  for (const [i, { event, data }] of all.entries()) {
    const { type, ...value }: Json = JSON.parse(data);
    assert.equal(type, event);
    assert.equal(i === 0, event === "message_start");
    assert.notEqual(names.at(-1), "message_stop");
    assert.notEqual(names.at(-1), "error");
    names.push(event);
    if (event === "message_start") {
      const { id, ...rest } = value.message;
      message.id = id;
      assert.deepEqual(rest, {
        type: "message",
        role: "assistant",
        content: [],
        model: "spillway",
        stop_reason: null,
        stop_sequence: null,
        usage: { input_tokens: 0, output_tokens: 0 },
      });
    } else if (event === "content_block_start") {
      assert.equal(value.index, message.parts.length);
      const part = partOf(value.content_block);
      if (part.kind === "call") assert.deepEqual(part.arguments, {});
      else assert.equal(part.text, "");
      // Nothing but calls may be open beside one another: their fragments come by turns.
      for (const other of open) assert.equal(message.parts[other]!.kind, "call");
      message.parts.push(part.kind === "call" ? { ...part, arguments: "" } : part);
      open.add(value.index);
    } else if (event === "content_block_delta") {
      assert.ok(open.has(value.index));
      const part = message.parts[value.index]!;
      const { type, ...delta } = value.delta;
      const field = { text: "text", reasoning: "thinking", call: "partial_json" }[part.kind];
      assert.deepEqual(Object.keys(delta), [field]);
      const types = { text: "text_delta", reasoning: "thinking_delta", call: "input_json_delta" };
      assert.equal(type, types[part.kind]);
      if (part.kind === "call") part.arguments += delta[field];
      else part.text += delta[field];
      assert.notEqual(delta[field], "");
    } else if (event === "content_block_stop") {
      assert.ok(open.delete(value.index));
    } else if (event === "message_delta") {
      assert.equal(open.size, 0);
      assert.equal(value.delta.stop_sequence, null);
      message.stopReason = value.delta.stop_reason;
      message.usage = value.usage;
    } else if (event === "error") message.error = value.error;
    else {
      assert.equal(event, "message_stop");
      assert.notEqual(message.stopReason, undefined);
    }
  }
  assert.match(names.at(-1)!, /^message_stop$|^error$/);
  message.order = names.filter((name, i) => name !== names[i - 1]).join(" ");
  return message;
}

const complete = async (source: Parameters<typeof ask>[1]) =>
  read(await events(await ask(anthropicFormat, source)));

test("anthropicFormat brings every part of every answer exactly, as blocks in order", async () => {
  await forAll(async (answer, chance, where) => {
    const response = await ask(anthropicFormat, sourceOf(answer, chance));
    const { id, parts, stopReason, usage } = read(await events(response, chance));
    assert.match(id, /^msg_[\w-]{22}$/, where);
    assert.deepEqual(parts, answer.parts, where);
    const called = answer.parts.some(({ kind }) => kind === "call");
    assert.equal(stopReason, called ? "tool_use" : "end_turn", where);
    const tokens = answer.items.filter((item) => typeof item === "string" && item !== "").length;
    assert.deepEqual(usage, { input_tokens: 0, output_tokens: tokens }, where);
  });
});

test("anthropicFormat brings the same parts as one document", async () => {
  await forAll(async (answer, chance, where) => {
    const response = await ask(whole, sourceOf(answer, chance));
    assert.equal(response.headers.get("content-type"), "application/json");
    const { id, content, stop_reason, usage, ...rest }: Json = await response.json();
    assert.match(id, /^msg_[\w-]{22}$/, where);
    const input = (json: string) => {
      try {
        return json === "" ? {} : JSON.parse(json);
      } catch {
        return json;
      }
    };
    const expected = answer.parts.map((part) =>
      part.kind === "call" ? { ...part, arguments: input(part.arguments) } : part
    );
    assert.deepEqual(content.map(partOf), expected, where);
    const called = answer.parts.some(({ kind }) => kind === "call");
    assert.equal(stop_reason, called ? "tool_use" : "end_turn", where);
    assert.equal(usage.input_tokens, 0, where);
    assert.deepEqual(rest, {
      type: "message",
      role: "assistant",
      model: "spillway",
      stop_sequence: null,
    });
  });
});

test("anthropicFormat writes these bytes", () => {
  const items: Item[] = [
    reasoning("hm\n"),
    "Hel",
    'lo"\r\n',
    { event: "note", data: 1 },
    toolCall({ index: 0, id: "c", name: "f", arguments: "" }),
    toolCall({ index: 0, arguments: '{"a":1}' }),
    "end",
  ];
  const event = (type: string, fields = "") =>
    `event: ${type}\ndata: {"type":"${type}"${fields === "" ? "" : `,${fields}`}}\n\n`;
  const delta = (index: number, delta: string) =>
    event("content_block_delta", `"index":${index},"delta":{${delta}}`);
  const start = (index: number, block: string) =>
    event("content_block_start", `"index":${index},"content_block":{${block}}`);
  const stop = (index: number) => event("content_block_stop", `"index":${index}`);
  assert.equal(
    framed(anthropicFormat.with({ model: 'm"\n' }), items),
    event(
      "message_start",
      '"message":{"id":"msg_S","type":"message","role":"assistant","content":[],' +
        '"model":"m\\"\\n","stop_reason":null,"stop_sequence":null,' +
        '"usage":{"input_tokens":0,"output_tokens":0}}',
    ) +
      start(0, '"type":"thinking","thinking":"","signature":""') +
      delta(0, '"type":"thinking_delta","thinking":"hm\\n"') +
      stop(0) +
      start(1, '"type":"text","text":""') +
      delta(1, '"type":"text_delta","text":"Hel"') +
      delta(1, '"type":"text_delta","text":"lo\\"\\r\\n"') +
      stop(1) +
      start(2, '"type":"tool_use","id":"c","name":"f","input":{}') +
      delta(2, '"type":"input_json_delta","partial_json":"{\\"a\\":1}"') +
      stop(2) +
      start(3, '"type":"text","text":""') +
      delta(3, '"type":"text_delta","text":"end"') +
      stop(3) +
      event(
        "message_delta",
        '"delta":{"stop_reason":"tool_use","stop_sequence":null},' +
          '"usage":{"input_tokens":0,"output_tokens":2}',
      ) +
      event("message_stop"),
  );
});

test("anthropicFormat ends an empty answer without a block", async () => {
  for (const items of [[], ["", null], [reasoning(""), { event: "note", data: 1 }]]) {
    const { parts, order } = await complete(items);
    assert.deepEqual(parts, []);
    assert.equal(order, "message_start message_delta message_stop");
    assert.deepEqual((await (await ask(whole, items)).json() as Json).content, []);
  }
});

test("anthropicFormat closes a call's block before the next part if its arguments are whole, else at the end", () => {
  const one = toolCall({ index: 0, id: "a", name: "f", arguments: "{}" });
  const cut = toolCall({ index: 0, id: "a", name: "f", arguments: "{" });
  const two = toolCall({ index: 1, id: "b", name: "f" });
  const order = (items: Item[]) =>
    [...framed(anthropicFormat, items).matchAll(/_block_(start|stop).*\n.*"index":(\d)/g)]
      .map(([, what, index]) => `${what} ${index}`).join(", ");
  assert.equal(order([one, two]), "start 0, stop 0, start 1, stop 1");
  assert.equal(order([one, "x"]), "start 0, stop 0, start 1, stop 1");
  assert.equal(order([cut, two]), "start 0, start 1, stop 0, stop 1");
  assert.equal(
    order([cut, "x", toolCall({ index: 0, arguments: "}" }), "y", reasoning("z")]),
    "start 0, start 1, stop 1, stop 0, start 2, stop 2",
  );
});

test("anthropicFormat fails what is added to a call after its end, but for space and a repeat", async () => {
  const call = [toolCall({ index: 0, id: "a", name: "f", arguments: "{}" }), "x"];
  const more = (text: string) => [...call, toolCall({ index: 0, arguments: text })];
  assert.equal((await complete(more(" \n"))).stopReason, "tool_use");
  // The same once more is a repeat.
  assert.equal((await complete(more("{}"))).stopReason, "tool_use");
  const { error } = await complete(async function* () {
    yield "a";
    await Promise.resolve();
    yield* more('{"x":1}');
  });
  assert.equal(error.type, "api_error");
});

test("anthropicFormat gives each finish reason a name that its clients know", () => {
  const names: Record<string, string> = {
    stop: "end_turn",
    length: "max_tokens",
    tool_calls: "tool_use",
    content_filter: "refusal",
    other: "end_turn",
  };
  const own = ["stop_sequence", "pause_turn", "model_context_window_exceeded"];
  const cases = [...REASONS, ...own.map((word) => [word, word] as const)];
  for (const [given, kind] of cases) {
    const end = given === undefined ? {} : { finishReason: given };
    const name = own.includes(given ?? "") ? given : names[kind];
    assert.ok(
      framed(anthropicFormat, called(kind), end).includes(`"stop_reason":"${name}"`),
      given ?? "none",
    );
    assert.ok(
      framed(whole, called(kind), end).includes(`"stop_reason":"${name}"`),
      given ?? "none",
    );
  }
});

test("anthropicFormat ends a stopped generation with end_turn and message_stop", () => {
  for (const finishReason of ["length", "pause_turn"]) {
    const end = { reason: "cancelled", finishReason } as const;
    const items = ["a", toolCall({ index: 0, id: "c", name: "f", arguments: "{" })];
    assert.match(
      framed(anthropicFormat, items, end),
      /"stop_reason":"end_turn".*\n\nevent: message_stop\ndata: \{"type":"message_stop"\}\n\n$/,
    );
    assert.ok(framed(whole, items, end).includes('"stop_reason":"end_turn"'));
  }
});

test("anthropicFormat tells the usage in its own words, with the cache beside the input", () => {
  const cases: [Record<string, unknown>, Record<string, number>][] = [
    [{ prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 }, {
      input_tokens: 3,
      output_tokens: 5,
    }],
    [{ prompt_tokens: 13, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 10 } }, {
      input_tokens: 3,
      output_tokens: 5,
      cache_read_input_tokens: 10,
    }],
    [{ prompt_tokens: 3, prompt_tokens_details: { cached_tokens: 10 } }, {
      input_tokens: 0,
      output_tokens: 2,
      cache_read_input_tokens: 10,
    }],
    [{
      input_tokens: 3,
      output_tokens: 5,
      cache_read_input_tokens: 10,
      cache_creation_input_tokens: 0,
    }, {
      input_tokens: 3,
      output_tokens: 5,
      cache_read_input_tokens: 10,
      cache_creation_input_tokens: 0,
    }],
  ];
  for (const [usage, expected] of cases) {
    assert.deepEqual(JSON.parse(framed(whole, ["a"], { usage })).usage, expected);
    const told = `"stop_sequence":null},"usage":${JSON.stringify(expected)}}\n`;
    assert.ok(framed(anthropicFormat, ["a"], { usage }).includes(told));
  }
});

const TYPES: Record<number, string> = {
  400: "invalid_request_error",
  401: "authentication_error",
  402: "billing_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  422: "invalid_request_error",
  429: "rate_limit_error",
  500: "api_error",
  502: "api_error",
  503: "overloaded_error",
  504: "timeout_error",
  529: "overloaded_error",
};

test("anthropicFormat refuses before the head with the status and the error object, and nothing else", async () => {
  for (const format of [anthropicFormat, whole]) {
    for (const [thrown, status, message] of FAILURES) {
      const response = await ask(format, () => {
        throw thrown();
      });
      assert.equal(response.status, status);
      assert.equal(response.headers.get("content-type"), "application/json");
      const expected = { type: "error", error: { type: TYPES[status], message } };
      assert.deepEqual(await response.json(), expected);
    }
  }
});

test("anthropicFormat names each status as the API does, before the head and in the stream", () => {
  for (const [status, type] of Object.entries(TYPES)) {
    const problem = { type: "about:blank", title: "No", status: Number(status), code: "c" };
    const json = `{"type":"error","error":{"type":"${type}","message":"No"}}`;
    assert.equal(anthropicFormat.errorBody?.(problem), json);
    const wire = written(
      anthropicFormat,
      (framer, out) => framer.fail?.(out, problem, { streamId: "s", lastEvent: 0 }),
    );
    assert.ok(wire.endsWith(`\n\nevent: error\ndata: ${json}\n\n`));
  }
});

test("anthropicFormat tells a failure in the stream, and never an end after it", async () => {
  for (const [thrown, status, message] of FAILURES) {
    const { parts, stopReason, error } = await complete(function* () {
      yield reasoning("hm");
      yield "Hel";
      throw thrown();
    });
    assert.deepEqual(parts, [think("hm"), say("Hel")]);
    assert.equal(stopReason, undefined);
    assert.deepEqual(error, { type: TYPES[status], message });
  }
});

test("anthropicFormat as one document fails with a status, however late it fails", async () => {
  const response = await ask(whole, async function* () {
    yield "Hel";
    await new Promise((resolve) => setTimeout(resolve, 20));
    throw new StreamError("upstream_failed");
  }, { commitAfterMs: 0 });
  assert.equal(response.status, 502);
});

test("anthropicFormat bounds what it keeps, as a document and of tool calls", async () => {
  const big = "1".repeat(1000 * 1000);
  const endless = function* () {
    yield toolCall({ index: 0, id: "c", name: "f", arguments: "[" });
    for (;;) yield toolCall({ index: 0, arguments: big });
  };
  assert.equal((await complete(endless)).error.type, "api_error");
  assert.equal((await ask(whole, endless)).status, 502);
  const many = function* () {
    for (let id = 0;; id++) yield toolCall({ index: 0, id: String(id), name: "f" });
  };
  assert.equal((await ask(whole, many)).status, 502);
});

test("anthropicFormat takes text, reasoning, calls and the end out of an upstream's chunks", async () => {
  const chunks = [
    chunk({ role: "assistant", content: "" }),
    chunk({ reasoning_content: "hm" }),
    chunk({ content: "a\r\n" }),
    chunk({ content: "b" }).replace(",", ",\n "),
    chunk({ tool_calls: [{ index: 0, id: "c", function: { name: "f", arguments: "{}" } }] }),
    chunk({}, "length"),
    JSON.stringify({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 9 } }),
    "[DONE]",
  ];
  const { parts, stopReason, usage } = await complete(upstream(...chunks));
  const call: Part = { kind: "call", id: "c", name: "f", arguments: "{}" };
  assert.deepEqual(parts, [think("hm"), say("a\r\nb"), call]);
  assert.equal(stopReason, "max_tokens");
  assert.deepEqual(usage, { input_tokens: 1, output_tokens: 9 });
  const early = await ask(anthropicFormat, upstream('{"error":{"message":"secret"}}'));
  assert.equal(early.status, 502);
  assert.ok(!(await early.text()).includes("secret"));
});

test("anthropicFormat joins a surrogate pair that is split over two tokens", async () => {
  const body = await (await ask(anthropicFormat, ["a\ud83d", "\ude00b"])).text();
  assert.ok(body.includes("😀b") && !/\\ud8/.test(body));
});

test("anthropicFormat.with() refuses a model that is no string and keeps the name", () => {
  const wrong = { model: null } as unknown as AnthropicFormatOptions;
  assert.throws(() => anthropicFormat.with(wrong), TypeError);
  assert.deepEqual([anthropicFormat.name, whole.name], ["anthropic", "anthropic"]);
  assert.equal(whole.heartbeat, undefined);
});

test("nothing is left of all these streams", () => assert.deepEqual({ ...active }, before));
