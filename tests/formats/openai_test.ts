/** `openaiFormat`: the stream and the document that OpenAI's clients read, by property and by the letter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Item, openaiFormat, type ServerSentEvent, StreamError } from "../../mod.ts";
import { type OpenAIFormatOptions } from "../../lib/formats.ts";
import { active } from "../../lib/counters.ts";
import {
  ask,
  called,
  chunk,
  events,
  extend,
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
import { processorTime } from "../support/timing.ts";

const before = { ...active };
const whole = openaiFormat.with({ buffered: true });

// deno-lint-ignore no-explicit-any -- what a server sent
type Json = any;

interface Completion {
  id: string;
  parts: Part[];
  finishReason: string | undefined;
  usage: unknown;
  error: Json;
}

/** Reads as a client does that allows nothing. */
function read(all: ServerSentEvent[], includeUsage = false): Completion {
  const completion: Completion = {
    id: "",
    parts: [],
    finishReason: undefined,
    usage: undefined,
    error: undefined,
  };
  const calls: Extract<Part, { kind: "call" }>[] = [];
  assert.equal(all.at(-1)?.data, "[DONE]");
  let head = "";
  for (const [i, { event, data, lastEventId }] of all.slice(0, -1).entries()) {
    assert.equal(event, "message");
    assert.equal(lastEventId, "");
    assert.equal(completion.error, undefined);
    const value: Json = JSON.parse(data);
    if ("error" in value) {
      assert.deepEqual(Object.keys(value), ["error"]);
      completion.error = value.error;
      continue;
    }
    const { id, object, created, model, choices, usage, ...rest } = value;
    const identity = JSON.stringify({ id, object, created, model });
    head ||= identity;
    assert.equal(identity, head);
    assert.equal(object, "chat.completion.chunk");
    assert.ok(Math.abs(created - Date.now() / 1000) < 60 && Number.isInteger(created));
    assert.deepEqual(rest, {});
    assert.equal("usage" in value, includeUsage);
    completion.id = id;
    if (usage) {
      assert.deepEqual(choices, []);
      assert.equal(i, all.length - 2);
      completion.usage = usage;
      continue;
    }
    assert.equal(choices.length, 1);
    const { index, delta, logprobs, finish_reason, ...more } = choices[0];
    assert.deepEqual([index, logprobs, more], [0, null, {}]);
    assert.equal(completion.finishReason, undefined);
    assert.equal("role" in delta, i === 0);
    if (i === 0) assert.deepEqual(delta, { role: "assistant", content: "" });
    else if ("content" in delta) extend(completion.parts, "text", delta.content);
    else if ("reasoning_content" in delta) {
      extend(completion.parts, "reasoning", delta.reasoning_content);
    } else if ("tool_calls" in delta) {
      assert.equal(delta.tool_calls.length, 1);
      const [{ index, function: named, ...begin }] = delta.tool_calls;
      if (index === calls.length) {
        assert.equal(begin.type, "function");
        const call = { kind: "call", id: begin.id, name: named.name, arguments: "" } as const;
        calls.push(call);
        completion.parts.push(call);
      } else assert.deepEqual([begin, Object.keys(named)], [{}, ["arguments"]]);
      calls[index]!.arguments += named.arguments;
    } else assert.deepEqual(delta, {});
    if (finish_reason === null) assert.notDeepEqual(delta, {});
    else {
      assert.deepEqual(delta, {});
      completion.finishReason = finish_reason;
    }
  }
  return completion;
}

const complete = async (source: Parameters<typeof ask>[1], options: OpenAIFormatOptions = {}) =>
  read(await events(await ask(openaiFormat.with(options), source)), options.includeUsage);

test("openaiFormat brings every part of every answer exactly, its end last", async () => {
  await forAll(async (answer, chance, where) => {
    const response = await ask(openaiFormat, sourceOf(answer, chance));
    const { parts, finishReason, error } = read(await events(response, chance));
    assert.deepEqual(parts, answer.parts, where);
    const called = answer.parts.some(({ kind }) => kind === "call");
    assert.equal(finishReason, called ? "tool_calls" : "stop", where);
    assert.equal(error, undefined);
  });
});

test("openaiFormat brings the same parts as one document", async () => {
  await forAll(async (answer, chance, where) => {
    const response = await ask(whole, sourceOf(answer, chance));
    assert.equal(response.headers.get("content-type"), "application/json");
    const document: Json = await response.json();
    assert.match(document.id, /^chatcmpl-[\w-]{22}$/, where);
    assert.equal(document.object, "chat.completion", where);
    assert.equal(document.model, "spillway", where);
    assert.equal(document.choices.length, 1, where);
    const { index, message, logprobs, finish_reason } = document.choices[0];
    assert.deepEqual([index, logprobs, message.role, message.refusal], [
      0,
      null,
      "assistant",
      null,
    ]);
    const joined = (kind: string) =>
      answer.parts.map((part) => part.kind === kind && "text" in part ? part.text : "").join("");
    const calls = answer.parts.filter((part) => part.kind === "call").map((call) => ({
      id: call.id,
      type: "function",
      function: { name: call.name, arguments: call.arguments },
    }));
    const text = joined("text");
    assert.equal(message.content, text === "" && calls.length > 0 ? null : text, where);
    assert.equal(message.reasoning_content ?? "", joined("reasoning"), where);
    assert.deepEqual(message.tool_calls ?? [], calls, where);
    assert.equal(finish_reason, calls.length > 0 ? "tool_calls" : "stop", where);
    const tokens = answer.items.filter((item) => typeof item === "string" && item !== "").length;
    const usage = { prompt_tokens: 0, completion_tokens: tokens, total_tokens: tokens };
    assert.deepEqual(document.usage, usage, where);
  });
});

test("openaiFormat writes these bytes", () => {
  const format = openaiFormat.with({ model: 'm"\n', includeUsage: true });
  const items: Item[] = [
    "Hel",
    'lo"\r\n',
    reasoning("hm\n"),
    { event: "note", data: 1 },
    toolCall({ index: 0, id: "c", name: "f", arguments: "{" }),
    toolCall({ index: 0, arguments: "}" }),
  ];
  const choice = (delta: string, finish = "null") =>
    `data: {"id":"chatcmpl-S","object":"chat.completion.chunk","created":0,"model":"m\\"\\n",` +
    `"choices":[{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${finish}}],` +
    `"usage":null}\n\n`;
  assert.equal(
    framed(format, items).replace(/"created":\d+/g, '"created":0'),
    choice('{"role":"assistant","content":""}') +
      choice('{"content":"Hel"}') +
      choice('{"content":"lo\\"\\r\\n"}') +
      choice('{"reasoning_content":"hm\\n"}') +
      choice(
        '{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{"}}]}',
      ) +
      choice('{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}') +
      choice("{}", '"tool_calls"') +
      `data: {"id":"chatcmpl-S","object":"chat.completion.chunk","created":0,"model":"m\\"\\n",` +
      `"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":2,"total_tokens":2}}\n\n` +
      "data: [DONE]\n\n",
  );
});

test("openaiFormat sends the opening comment and no header of its own, its document neither", async () => {
  const response = await ask(openaiFormat, ["a"]);
  assert.equal(response.headers.get("x-vercel-ai-ui-message-stream"), null);
  assert.ok((await response.text()).startsWith(":\ndata: {"));
  assert.ok((await (await ask(whole, ["a"])).text()).startsWith("{"));
  assert.equal(whole.heartbeat, undefined);
});

test("openaiFormat ends an empty answer like any other", async () => {
  for (const items of [[], ["", null, undefined], [reasoning(""), { event: "note", data: 1 }]]) {
    const { parts, finishReason } = await complete(items);
    assert.deepEqual([parts, finishReason], [[], "stop"]);
    const document: Json = await (await ask(whole, items)).json();
    assert.equal(document.choices[0].message.content, "");
  }
});

test("openaiFormat gives each finish reason a name that its clients know", () => {
  const names: Record<string, string> = { other: "stop" };
  for (const [given, kind] of REASONS) {
    const end = given === undefined ? {} : { finishReason: given };
    const name = names[kind] ?? kind;
    assert.ok(
      framed(openaiFormat, called(kind), end).includes(`"finish_reason":"${name}"`),
      given ?? "none",
    );
    assert.ok(
      framed(whole, called(kind), end).includes(`"finish_reason":"${name}"`),
      given ?? "none",
    );
  }
});

test("openaiFormat believes the source where a tool was called and it says otherwise", () => {
  const items = [toolCall({ index: 0, id: "c", name: "f" })];
  assert.ok(framed(openaiFormat, items).includes('"finish_reason":"tool_calls"'));
  const stopped = framed(openaiFormat, items, { finishReason: "length" });
  assert.ok(stopped.includes('"finish_reason":"length"'));
});

test("openaiFormat ends a stopped generation with stop and [DONE]", () => {
  const items = ["a", toolCall({ index: 0, id: "c", name: "f" })];
  const end = { reason: "cancelled", finishReason: "length" } as const;
  assert.match(
    framed(openaiFormat, items, end),
    /"finish_reason":"stop"\}\]\}\n\ndata: \[DONE\]\n\n$/,
  );
  assert.ok(framed(whole, items, end).includes('"finish_reason":"stop"'));
});

test("openaiFormat tells the usage in its own words, whichever the source has", () => {
  const cases: [Record<string, unknown>, unknown][] = [
    [{ prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 }, [3, 5, 8]],
    [{ prompt_tokens: 3, completion_tokens: 5, total_tokens: 9 }, [3, 5, 9]],
    [{ input_tokens: 3, output_tokens: 5 }, [3, 5, 8]],
    [{ input_tokens: 3, cache_read_input_tokens: 10, cache_creation_input_tokens: 100 }, [
      113,
      2,
      115,
      10,
    ]],
    [{
      input_tokens: 13,
      output_tokens: 5,
      total_tokens: 18,
      input_token_details: { cache_read: 10 },
      output_token_details: { reasoning: 4 },
    }, [13, 5, 18, 10, 4]],
    [{
      prompt_tokens: 13,
      completion_tokens: 5,
      prompt_tokens_details: { cached_tokens: 0 },
      completion_tokens_details: { reasoning_tokens: 4 },
    }, [13, 5, 18, 0, 4]],
    [{ promptTokens: 3, completionTokens: 5, totalTokens: 8 }, [3, 5, 8]],
    [{ inputTokens: 3, outputTokens: 5, cachedInputTokens: 2, reasoningTokens: 1 }, [
      3,
      5,
      8,
      2,
      1,
    ]],
    [{ prompt_tokens: "3", completion_tokens: NaN, total_tokens: -1, x: 1n }, [0, 2, 2]],
    [{ prompt_tokens_details: null, completion_tokens_details: 7 }, [0, 2, 2]],
  ];
  for (const [usage, told] of cases) {
    const [prompt_tokens, completion_tokens, total_tokens, cached, thought] = told as number[];
    const expected = {
      prompt_tokens,
      completion_tokens,
      total_tokens,
      ...cached === undefined ? {} : { prompt_tokens_details: { cached_tokens: cached } },
      ...thought === undefined ? {} : { completion_tokens_details: { reasoning_tokens: thought } },
    };
    const document = JSON.parse(framed(whole, ["a"], { usage }));
    assert.deepEqual(document.usage, expected);
    const stream = framed(openaiFormat.with({ includeUsage: true }), ["a"], { usage });
    assert.ok(stream.includes(`"choices":[],"usage":${JSON.stringify(expected)}}\n`));
  }
});

test("openaiFormat sends the usage on request only, then null until the last chunk", async () => {
  const source = function* () {
    yield "a";
    return { usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } };
  };
  assert.equal((await complete(source)).usage, undefined);
  const { usage } = await complete(source, { includeUsage: true });
  assert.deepEqual(usage, { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 });
});

const TYPES: Record<number, string> = {
  400: "invalid_request_error",
  401: "authentication_error",
  402: "invalid_request_error",
  403: "permission_error",
  404: "invalid_request_error",
  429: "rate_limit_error",
  500: "server_error",
  502: "server_error",
  503: "server_error",
};

test("openaiFormat refuses before the head with the status and the error object, and nothing else", async () => {
  for (const format of [openaiFormat, whole]) {
    for (const [thrown, status, message] of FAILURES) {
      const response = await ask(format, () => {
        throw thrown();
      });
      assert.equal(response.status, status);
      assert.equal(response.headers.get("content-type"), "application/json");
      if (status === 429) assert.equal(response.headers.get("retry-after"), "3");
      const body = await response.text();
      const { error, ...rest }: Json = JSON.parse(body);
      assert.deepEqual(rest, {});
      assert.deepEqual([error.message, error.type, error.param], [message, TYPES[status], null]);
      assert.equal(typeof error.code, "string");
      assert.ok(!body.includes("secret"));
    }
  }
});

test("openaiFormat names each status as the API does", () => {
  for (const [status, type] of Object.entries(TYPES)) {
    const problem = { type: "about:blank", title: "No", status: Number(status), code: "c" };
    const error = { message: "No", type, param: null, code: "c" };
    assert.equal(openaiFormat.errorBody?.(problem), JSON.stringify({ error }));
  }
});

test("openaiFormat tells a failure in the stream, then [DONE], and never a finish reason", async () => {
  for (const [thrown, status, message] of FAILURES) {
    const { parts, finishReason, error } = await complete(function* () {
      yield "Hel";
      yield reasoning("hm");
      throw thrown();
    }, { includeUsage: true });
    assert.deepEqual(parts, [say("Hel"), think("hm")]);
    assert.equal(finishReason, undefined);
    assert.deepEqual([error.message, error.type, error.param], [message, TYPES[status], null]);
  }
});

test("openaiFormat as one document fails with a status, however late it fails", async () => {
  const response = await ask(whole, async function* () {
    yield "Hel";
    await new Promise((resolve) => setTimeout(resolve, 20));
    yield "lo";
    throw new StreamError("upstream_failed");
  }, { commitAfterMs: 0 });
  assert.equal(response.status, 502);
  const { error }: Json = await response.json();
  assert.equal(error.code, "upstream_failed");
});

test("openaiFormat as one document fails with a status also where its end cannot be read", async () => {
  const usage = {
    get prompt_tokens(): number {
      throw new Error("secret");
    },
  };
  const response = await ask(whole, function* () {
    yield "Hello";
    return { usage };
  });
  assert.equal(response.status, 500);
  assert.ok(!(await response.text()).includes("secret"));
});

test("openaiFormat keeps 16 MiB of a document, exactly", async () => {
  const piece = "é".repeat(256 * 1024);
  const items = Array.from({ length: 32 }, () => piece);
  const full = function* (more: Item[]) {
    yield* items.slice(1);
    // What the one part costs beside its text.
    yield piece.slice(32);
    yield* more;
  };
  const response = await ask(whole, () => full([]));
  const document: Json = await response.json();
  assert.equal(document.choices[0].message.content.length, 32 * 256 * 1024 - 32);
  const more: Item[] = ["a", reasoning("a"), toolCall({ name: "f" })];
  for (const item of more) {
    const refused = await ask(whole, () => full([item]));
    assert.equal(refused.status, 502);
    const { error }: Json = await refused.json();
    assert.equal(error.code, "answer_too_large");
  }
});

test("openaiFormat bounds what tool calls make it keep of a stream", async () => {
  const big = "1".repeat(1000 * 1000);
  const { error } = await complete(function* () {
    yield toolCall({ index: 0, id: "c", name: "f", arguments: "[" });
    for (;;) yield toolCall({ index: 0, arguments: big });
  });
  assert.equal(error.code, "answer_too_large");
});

test("openaiFormat makes ids, places and strings of tool calls where a source has none", async () => {
  const { id, parts } = await complete([
    toolCall({ name: "f", arguments: { a: 1 } }),
    toolCall({ index: null, id: "x", name: "g" }),
    toolCall({ index: null, arguments: "{}" }),
    toolCall({ index: null, id: "y", name: "g" }),
    toolCall({ index: 7, id: null, name: "h", arguments: null }),
  ]);
  const name = id.replace("chatcmpl-", "call_");
  assert.deepEqual(parts, [
    { kind: "call", id: `${name}_0`, name: "f", arguments: '{"a":1}' },
    { kind: "call", id: "x", name: "g", arguments: "{}" },
    { kind: "call", id: "y", name: "g", arguments: "" },
    { kind: "call", id: `${name}_3`, name: "h", arguments: "" },
  ]);
});

test("openaiFormat fails a tool call without a name, and drops what only looks like a part", async () => {
  const nameless = await complete([toolCall({ index: 0, id: "c" })]);
  assert.equal(nameless.error.code, "internal");
  const data = [null, "x", 7, [], {}, { text: 7 }, { text: "" }];
  const items = data.map((data) => ({ event: "reasoning", data }));
  const calls = ["x", null, 7].map((data) => ({ event: "tool_call", data }));
  const { parts } = await complete([...items, ...calls, "a"]);
  assert.deepEqual(parts, [say("a")]);
});

test("openaiFormat passes an upstream's chunks as they came, and ends the stream once", async () => {
  const chunks = [
    chunk({ role: "assistant", content: "" }),
    chunk({ content: "a\r\n" }, null, { system_fingerprint: "f" }),
    chunk({ content: "b" }).replace(",", ",\n "),
    chunk({}, "stop"),
    JSON.stringify({ id: "up", choices: [], usage: { prompt_tokens: 1 } }),
  ];
  for (const includeUsage of [false, true]) {
    const format = openaiFormat.with({ includeUsage });
    const all = await events(await ask(format, upstream(...chunks, "[DONE]")));
    assert.deepEqual(all.map(({ data }) => data), [...chunks, "[DONE]"]);
  }
});

test("openaiFormat fails what an upstream leaves without a finish reason", async () => {
  const relayed = [chunk({ role: "assistant", content: "" }), chunk({ content: "a" })];
  const format = openaiFormat.with({ includeUsage: true });
  const all = await events(await ask(format, upstream(...relayed, "[DONE]")));
  assert.deepEqual(all.slice(0, 2).map(({ data }) => data), relayed);
  assert.equal(JSON.parse(all[2]!.data).error.code, "truncated");
  assert.deepEqual(all.slice(3).map(({ data }) => data), ["[DONE]"]);
});

test("openaiFormat finds the text in the events of other upstreams", async () => {
  const end: [string, string] = ["done", '{"finishReason":"length"}'];
  const spillway = await complete(upstream(
    '{"token":"Hel"}',
    '{"token":""}',
    '{"token":"lo"}',
    ["reasoning", '{"text":"hm"}'],
    ["note", "{}"],
    '{"x":1}',
    end,
  ));
  assert.deepEqual(spillway.parts, [say("Hello"), think("hm")]);
  assert.equal(spillway.finishReason, "length");
  const raw = await complete(upstream("Hel", "lo\n 7", "7", "[1]", "null", "", end));
  assert.deepEqual(raw.parts, [say("Hello\n 77[1]null")]);
});

test("openaiFormat fails where an upstream fails in its stream, without its text", async () => {
  for (
    const failure of ['{"error":{"message":"secret"}}', '{"object":"error","message":"secret"}']
  ) {
    for (const format of [openaiFormat, whole]) {
      const early = await ask(format, upstream(failure, "[DONE]"));
      assert.equal(early.status, 502);
      assert.ok(!(await early.text()).includes("secret"));
    }
    const all = await events(await ask(openaiFormat, upstream(chunk({ content: "a" }), failure)));
    assert.equal(JSON.parse(all.at(-2)!.data).error.code, "upstream_failed");
    assert.ok(!all.some(({ data }) => data.includes("secret")));
  }
});

test("openaiFormat reads an upstream's chunks into one document", async () => {
  const response = await ask(
    whole,
    upstream(
      chunk({ role: "assistant", content: "" }),
      chunk({ reasoning: "hm" }),
      chunk({ content: "a" }),
      chunk({ tool_calls: [{ index: 0, id: "c", function: { name: "f", arguments: "{}" } }] }),
      chunk({}, "length", { usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 } }),
      "[DONE]",
    ),
  );
  const document: Json = await response.json();
  const { message, finish_reason } = document.choices[0];
  assert.deepEqual([message.content, message.reasoning_content, finish_reason], [
    "a",
    "hm",
    "length",
  ]);
  assert.deepEqual(message.tool_calls[0].function, { name: "f", arguments: "{}" });
  assert.equal(document.usage.total_tokens, 3);
});

test("openaiFormat joins a surrogate pair that is split over two tokens", async () => {
  const body = await (await ask(openaiFormat, ["a\ud83d", "\ude00b"])).text();
  assert.ok(body.includes("😀b") && !/\\ud8/.test(body));
});

test("openaiFormat.with() refuses a model that is no string and keeps the name", () => {
  assert.throws(() => openaiFormat.with({ model: 7 as unknown as string }), TypeError);
  assert.deepEqual([openaiFormat.name, whole.name], ["openai", "openai"]);
  assert.ok(framed(openaiFormat.with({ model: "m" }), ["a"]).includes('"model":"m"'));
});

test("openaiFormat never writes half an event where a failure comes first", () => {
  const problem = { type: "about:blank", title: "No", status: 500, code: "internal" };
  const error = '{"error":{"message":"No","type":"server_error","param":null,"code":"internal"}}';
  const wire = written(
    openaiFormat,
    (framer, out) => framer.fail?.(out, problem, { streamId: "s", lastEvent: 0 }),
  );
  assert.equal(wire, `data: ${error}\n\ndata: [DONE]\n\n`);
});

test("nothing is left of all these streams", () => assert.deepEqual({ ...active }, before));

test("openaiFormat joins the pieces of audio in a document, also where two are alike", async () => {
  const piece = (data: string) => ({ event: "audio", data: { id: "a", data, transcript: "ha" } });
  const items = [piece("AAAA"), piece("AAAA"), piece("BBBB")];
  const { choices }: Json = await (await ask(whole, items)).json();
  assert.deepEqual(choices[0].message.audio, {
    id: "a",
    data: "AAAAAAAABBBB",
    transcript: "hahaha",
  });
});

test("openaiFormat makes a document of very many citations in time in proportion to them", async () => {
  const items = Array.from({ length: 100_000 }, (_, data) => ({ event: "citation", data }));
  const usedMs = processorTime();
  const { choices }: Json = await (await ask(whole, items)).json();
  assert.equal(choices[0].message.annotations.length, items.length);
  // Joined one by one it was over 20 s.
  assert(usedMs() < 8000, `${usedMs()} ms`);
});

test("openaiFormat keeps members of the names that an object has by itself in a document", async () => {
  const data = JSON.parse('{"__proto__":{"x":1},"constructor":{"y":2}}');
  const text = await (await ask(whole, [{ event: "delta", data }])).text();
  assert(text.includes('"__proto__":{"x":1},"constructor":{"y":2}'), text);
});
