/** `responsesFormat`: the events and the document that clients of the Responses API read, by property. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Item, MemoryLog, type ServerSentEvent, sse, StreamError } from "../../mod.ts";
import { responsesFormat } from "../../lib/formats.ts";
import { EventWriter } from "../../lib/sse/encode.ts";
import {
  ask,
  called,
  events,
  forAll,
  framed,
  type Part,
  reasoning,
  REASONS,
  say,
  sourceOf,
  toolCall,
  written,
} from "../support/random_answers.ts";

const whole = responsesFormat.with({ buffered: true });

// deno-lint-ignore no-explicit-any -- what a server sent
type Json = any;

/** The part that an item of the output is; a message may hold text and a refusal. */
function partsOf(item: Json): Part[] {
  if (item.type === "function_call") {
    return [{ kind: "call", id: item.call_id, name: item.name, arguments: item.arguments }];
  }
  if (item.type === "reasoning") {
    return item.summary.map(({ text }: Json) => ({ kind: "reasoning", text }));
  }
  assert.deepEqual([item.type, item.role], ["message", "assistant"]);
  return item.content.map(({ text }: Json) => say(text));
}

/** What a client makes of the events, which allows nothing. */
interface Read {
  types: string[];
  /** The items as their deltas made them. */
  items: Json[];
  last: Json;
}

function read(all: ServerSentEvent[]): Read {
  assert.equal(all.at(-1)?.data, "[DONE]");
  const items: Json[] = [];
  const done: Json[] = [];
  const types: string[] = [];
  let last: Json;
  for (const [i, { event, data, lastEventId }] of all.slice(0, -1).entries()) {
    const value = JSON.parse(data);
    assert.deepEqual([value.type, value.sequence_number, lastEventId], [event, i, ""]);
    types.push(event);
    const { output_index: at, item, part, delta } = value;
    const held = items[at];
    const parts = held?.content ?? held?.summary;
    const place = value.content_index ?? value.summary_index;
    if (at !== undefined && item === undefined) assert.equal(value.item_id, held.id);
    if (event === "response.output_item.added") {
      assert.equal(at, items.length);
      items.push(item);
    } else if (event === "response.output_item.done") {
      assert.equal(item.id, held.id);
      // A call without arguments has an empty object in the end; what is encrypted comes with the end.
      const { status, encrypted_content: _encrypted, ...rest } = item;
      if (held.arguments === "") held.arguments = rest.arguments;
      if (item.type === "image_generation_call") held.result = rest.result;
      held.status = status;
      assert.deepEqual({ ...held }, { ...rest, status });
      done[at] = item;
    } else if (/part\.added$/.test(event)) {
      assert.equal(place, parts.length);
      parts.push(part);
    } else if (event === "response.output_text.annotation.added") {
      parts[place].annotations.push(value.annotation);
    } else if (event === "response.function_call_arguments.delta") held.arguments += delta;
    else if (event === "response.custom_tool_call_input.delta") held.input += delta;
    else if (event === "response.refusal.delta") parts[place].refusal += delta;
    else if (/text\.delta$/.test(event)) parts[place].text += delta;
    else if (/text\.done$/.test(event)) assert.equal(value.text, parts[place].text);
    else if (/part\.done$/.test(event)) assert.deepEqual(part, parts[place]);
    if (value.response) last = value.response;
  }
  assert.deepEqual(types.slice(0, 2), ["response.created", "response.in_progress"]);
  if (last.status === "completed") assert.deepEqual(last.output, done);
  return { types, items, last };
}

/** Arguments as the last event of a call has them. */
const closed = (parts: readonly Part[]) =>
  parts.map((part) =>
    part.kind === "call" && part.arguments.trim() === "" ? { ...part, arguments: "{}" } : part
  );

test("responsesFormat brings every part of every answer exactly, streamed and as one document", async () => {
  await forAll(async (answer, chance, where) => {
    const response = await ask(responsesFormat, sourceOf(answer, chance));
    const { last } = read(await events(response, chance));
    assert.match(last.id, /^resp_[\w-]{22}$/, where);
    assert.equal(last.status, "completed", where);
    assert.deepEqual(last.output.flatMap(partsOf), closed(answer.parts), where);
    const tokens = answer.items.filter((item) => typeof item === "string" && item !== "").length;
    assert.equal(last.usage.output_tokens, tokens, where);
    const document: Json = await (await ask(whole, sourceOf(answer, chance))).json();
    assert.deepEqual(document.output.flatMap(partsOf), closed(answer.parts), where);
    assert.deepEqual(Object.keys(document), Object.keys(last));
  });
});

const eventsIn = (text: string): ServerSentEvent[] =>
  text.split("\n\n").filter((block) => block !== "").map((block) => {
    const [, event = "message"] = /^event: (.*)$/m.exec(block) ?? [];
    return { event, data: /^data: (.*)$/m.exec(block)![1]!, lastEventId: "" };
  });

test("responsesFormat has a place for a refusal and for a citation", () => {
  const items: Item[] = [
    "a",
    { event: "citation", data: { url: "https://a.example/", title: "A" } },
    { event: "citation", data: { title: "no address" } },
    { event: "refusal", data: { text: "No." } },
  ];
  const { last, items: streamed } = read(eventsIn(framed(responsesFormat, items)));
  assert.deepEqual(last.output, [{ ...streamed[0], status: "completed" }]);
  assert.deepEqual(last.output[0].content, [
    {
      type: "output_text",
      text: "a",
      annotations: [{
        type: "url_citation",
        url: "https://a.example/",
        title: "A",
        start_index: 0,
        end_index: 0,
      }],
      logprobs: [],
    },
    { type: "refusal", refusal: "No." },
  ]);
});

test("responsesFormat writes no citation that its clients refuse", () => {
  const url = "https://a.example/";
  const cited = [
    { type: "url_citation", url_citation: { url, title: null, start_index: null, end_index: 2 } },
    { type: "web_search_result_location", url, title: null, cited_text: "", encrypted_index: "" },
    { url, title: 5, start_index: "0", end_index: 1.5 },
    { url: 5 },
    { url_citation: null, url },
    null,
  ];
  const items = cited.map((data) => ({ event: "citation", data }));
  const { last } = read(eventsIn(framed(responsesFormat, items)));
  const bare = { type: "url_citation", url, title: "", start_index: 0, end_index: 0 };
  const annotations = [{ ...bare, end_index: 2 }, bare, bare];
  assert.deepEqual(last.output[0].content[0].annotations, annotations);
});

test("many long citations and a call behind them are within the limit of an item", async () => {
  const cite = {
    event: "citation",
    data: { url: "https://a.example/", title: "t".repeat(200_000) },
  };
  const call = toolCall({ index: 0, id: "c", name: "f", arguments: "{}" });
  const items = ["a", cite, cite, cite, cite, cite, cite, call, "b"];
  const { last } = read(await events(await ask(responsesFormat, items)));
  assert.equal(last.status, "completed");
  assert.equal(last.output[0].content[0].annotations.length, 6);
});

const thoughts: Item[] = [
  reasoning("hm"),
  { event: "reasoning", data: { text: "", signature: "sig" } },
  { event: "reasoning", data: { text: "", redacted: "enc" } },
  reasoning("so"),
  "Hi",
];

test("responsesFormat has what only the model can read of its thoughts, if the request includes it", () => {
  const request = { include: ["reasoning.encrypted_content"] };
  const { last } = read(eventsIn(framed(responsesFormat.with({ request }), thoughts)));
  const told = ({ type, summary, encrypted_content }: Json) => [
    type,
    summary?.map(({ text }: Json) => text).join(),
    encrypted_content,
  ];
  assert.deepEqual(last.output.map(told), [
    ["reasoning", "hm", "sig"],
    ["reasoning", "", "redacted:enc"],
    ["reasoning", "so", undefined],
    ["message", undefined, undefined],
  ]);
  const { last: unasked } = read(eventsIn(framed(responsesFormat, thoughts)));
  assert.deepEqual(unasked.output.map(told), [
    ["reasoning", "hmso", undefined],
    ["message", undefined, undefined],
  ]);
});

test("responsesFormat ends what is encrypted and long with the response, and no text twice", () => {
  const request = { include: ["reasoning.encrypted_content"] };
  const sealed: Item = { event: "reasoning", data: { text: "", redacted: "x".repeat(40_000) } };
  const { types, last } = read(
    eventsIn(framed(responsesFormat.with({ request }), ["a", sealed, "b"])),
  );
  assert.equal(types.filter((type) => type === "response.output_text.done").length, 2);
  assert.deepEqual(last.output.map((item: Json) => item.type), ["message", "reasoning", "message"]);
});

test("responsesFormat has a call of a custom tool as one", () => {
  const custom = [
    toolCall({ index: 0, id: "c", type: "custom", name: "sh", arguments: "echo {}" }),
    toolCall({ index: 0, arguments: ' "x"\n{' }),
  ];
  const { types, last } = read(eventsIn(framed(responsesFormat, custom)));
  const { id, ...call } = last.output[0];
  assert.match(id, /^ctc_/);
  const input = 'echo {} "x"\n{';
  const type = "custom_tool_call";
  assert.deepEqual(call, { type, status: "completed", call_id: "c", name: "sh", input });
  assert.deepEqual(types.slice(-3), [
    "response.custom_tool_call_input.done",
    "response.output_item.done",
    "response.completed",
  ]);
});

test("responsesFormat has what the API's servers have made for a client that named their tool", () => {
  const search = { type: "web_search_call", id: "ws", status: "completed" };
  const place = { type: "file_citation", file_id: "f", index: 0 };
  const items: Item[] = [
    "a",
    { event: "delta", data: { output_item: search } },
    { event: "file", data: { mediaType: "image/webp", base64: "AAAA" } },
    { event: "file", data: { mediaType: "image/webp", url: "https://a.example/" } },
    { event: "citation", data: place },
  ];
  const tools = [{ type: "web_search_preview_2025" }, { type: "image_generation" }];
  const asked = responsesFormat.with({ request: { tools } });
  const { items: streamed, last } = read(eventsIn(framed(asked, items)));
  const [said, searched, { id, ...image }, cited] = last.output;
  assert.deepEqual([searched, streamed[1], said.content[0].text], [search, search, "a"]);
  assert.match(id, /^ig_/);
  const type = "image_generation_call";
  assert.deepEqual(image, { type, output_format: "webp", status: "completed", result: "AAAA" });
  assert.deepEqual(cited.content[0].annotations, [place]);
  const { last: unasked } = read(eventsIn(framed(responsesFormat, items)));
  assert.deepEqual(unasked.output.map((item: Json) => item.type), ["message"]);
});

test("responsesFormat says of each finish reason whether the response is complete", () => {
  const reasons: Record<string, string> = {
    length: "max_output_tokens",
    content_filter: "content_filter",
  };
  for (const [finishReason, kind] of REASONS) {
    const end = finishReason === undefined ? {} : { finishReason };
    const given = finishReason ?? "none";
    const reason = reasons[kind];
    const status = reason === undefined ? "completed" : "incomplete";
    const { types, last } = read(eventsIn(framed(responsesFormat, called(kind), end)));
    assert.equal(types.at(-1), `response.${status}`, given);
    for (const response of [last, JSON.parse(framed(whole, called(kind), end))]) {
      assert.equal(response.status, status, given);
      assert.deepEqual(response.incomplete_details, reason === undefined ? null : { reason });
      const isCall = kind === "tool_calls";
      assert.equal(response.output[0].status, isCall ? "completed" : status, given);
    }
  }
});

test("responsesFormat ends a stopped generation as cancelled, and announces no open call", () => {
  const items = ["a", toolCall({ index: 0, id: "c", name: "f", arguments: "{" })];
  const { types, last } = read(eventsIn(framed(responsesFormat, items, { reason: "cancelled" })));
  assert.equal(types.at(-1), "response.incomplete");
  assert.deepEqual([last.status, last.incomplete_details, last.output.length], [
    "cancelled",
    null,
    1,
  ]);
  assert(!types.includes("response.function_call_arguments.done"));
});

test("responsesFormat fails in both shapes, with the next number, and keeps what was said", async () => {
  for (const log of [undefined, new MemoryLog()]) {
    const response = await sse(
      new Request("http://localhost/", { method: "POST" }),
      async function* () {
        yield "half";
        await Promise.resolve();
        throw new StreamError("quota", { title: "Pay", detail: "first" });
      },
      { format: responsesFormat, onError: () => {}, ...log && { log } },
    );
    const all = await events(response);
    const { types, last } = read(all);
    assert.deepEqual(types.slice(-2), ["error", "response.failed"]);
    const fault = { code: "quota", message: "Pay: first", param: null };
    const { sequence_number: _, ...error } = JSON.parse(all.at(-3)!.data);
    assert.deepEqual(error, { type: "error", ...fault, error: { type: "quota", ...fault } });
    assert.deepEqual([last.status, last.error], ["failed", {
      code: "quota",
      message: fault.message,
    }]);
    assert.equal(last.output[0].content[0].text, "half");
  }
});

test("responsesFormat fails for a client that comes back to a lost stream", () => {
  const problem = { type: "", title: "Lost", status: 503, code: "lost" };
  const out = new EventWriter();
  const framer = responsesFormat.open({ request: new Request("http://localhost"), streamId: "S" });
  framer.fail!(out, problem, { streamId: "S", lastEvent: 7 });
  const [error, failed] = eventsIn(new TextDecoder().decode(out.take()))
    .map(({ data }) => data === "[DONE]" ? undefined : JSON.parse(data));
  assert.deepEqual([error.sequence_number, failed.sequence_number], [7, 8]);
  assert.deepEqual([failed.response.id, failed.response.output], ["resp_S", []]);
});

test("the heartbeat of responsesFormat repeats the last number, with a log and without", async () => {
  for (const log of [undefined, new MemoryLog()]) {
    const response = await sse(
      new Request("http://localhost/", { method: "POST" }),
      async function* () {
        yield "a";
        await new Promise((resolve) => setTimeout(resolve, 260));
        yield "b";
      },
      { format: responsesFormat, heartbeatMs: 100, ...log && { log } },
    );
    const all = (await events(response)).slice(0, -1).map(({ data }) => JSON.parse(data));
    const beats = all.filter(({ type }, i) => type === "response.in_progress" && i > 2);
    assert(beats.length > 0);
    for (const { sequence_number, response } of beats) {
      assert.equal(sequence_number, 4);
      assert.deepEqual([response.id, response.status], [all[0].response.id, "in_progress"]);
    }
    const others = all.filter((event) => !beats.includes(event));
    assert.deepEqual(others.map((event) => event.sequence_number), [...others.keys()]);
  }
});

test("a long text and a call behind it are within the limit of an item", () => {
  const text = "\u0001".repeat(300_000);
  const call = toolCall({ index: 0, id: "c", name: "f", arguments: "{}" });
  const { types, last } = read(eventsIn(framed(responsesFormat, [text, call, "b"])));
  // The text ends with the response, or the call's item would have three copies of it.
  assert(
    types.indexOf("response.output_text.done") >
      types.indexOf("response.function_call_arguments.done"),
  );
  assert.deepEqual(last.output.map((item: Json) => item.type), [
    "message",
    "function_call",
    "message",
  ]);
});

test("a long text and a call behind it stream", async () => {
  const text = "\u0001".repeat(100_000);
  const call = toolCall({ index: 0, id: "c", name: "f", arguments: "{}" });
  const { last } = read(await events(await ask(responsesFormat, [text, text, text, call])));
  assert.equal(last.status, "completed");
  assert.equal(last.output[0].content[0].text.length, 300_000);
});

test("the response repeats the settings of its request, within a limit", () => {
  const tools = [{ type: "function", name: "f" }, { type: "web_search" }];
  const request = { model: "m", temperature: 0.5, tools, metadata: { a: "b" }, unknown: 1 };
  const format = responsesFormat.with({ model: "m", request });
  const response = read(eventsIn(framed(format, ["a"]))).last;
  assert.deepEqual([response.model, response.temperature, response.metadata], ["m", 0.5, {
    a: "b",
  }]);
  const shown = { description: null, parameters: null, strict: null, type: "function", name: "f" };
  assert.deepEqual(response.tools, [shown, tools[1]]);
  assert(!("unknown" in response));
  const long = responsesFormat.with({ request: { instructions: "x".repeat(70_000) } });
  assert(framed(long, ["a"]).length < 10_000);
});

test("the options of responsesFormat are checked", () => {
  assert.throws(() => responsesFormat.with({ model: 1 } as never), TypeError);
  assert.throws(() => responsesFormat.with({ request: "x" } as never), TypeError);
  assert.throws(() => responsesFormat.with({ modell: "x" } as never), /model/);
});

test("responsesFormat gives reasoning between two texts an item of its own", () => {
  const { items } = read(eventsIn(framed(responsesFormat, ["a", reasoning("hm"), "b"])));
  assert.deepEqual(items.map(({ type }: Json) => type), ["message", "reasoning", "message"]);
  assert.match(written(responsesFormat, () => {}), /"status":"in_progress"/);
});
