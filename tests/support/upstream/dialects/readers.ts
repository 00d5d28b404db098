/**
 * What a strict client makes of each format. These readers share nothing with the module that they judge:
 * what only a lenient client would understand is a fault here.
 */
import assert from "node:assert/strict";
import { EventDecoder } from "../../../../lib/sse/decode.ts";
import type { ServerSentEvent } from "../../../../lib/sse/event.ts";
import type { Item } from "../../../../lib/item.ts";
import { add, type Call, type Kind, merged, type Part } from "./answer.ts";

/** The formats by the names that the tests have for them. */
export type FormatName =
  | "json"
  | "ndjson"
  | "plain"
  | "openai"
  | "openai buffered"
  | "anthropic"
  | "anthropic buffered"
  | "responses"
  | "responses buffered"
  | "ag-ui"
  | "ui-message";

/** What a client was told. */
export interface Told {
  parts: Part[];
  /** How it ended: well, for a reason; with a failure; or without a word. */
  end: Kind | "failed" | "cut";
  /** The finish reason in the words of the format. */
  reason?: string;
  usage?: unknown;
  /** The code of the failure, where the format has codes. */
  code?: string;
  body: string;
}

// deno-lint-ignore no-explicit-any -- what a server says is looked at, and none of it is certain
type Json = any;

/** Reads a response to its end; a body that breaks off is `cut`. */
export async function readBack(format: FormatName, response: Response): Promise<Told> {
  const { bytes, broken } = await bytesOf(response);
  const body = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  if (response.status !== 200) {
    return { parts: [], end: "failed", body, ...codeOf(JSON.parse(body)) };
  }
  const told: Told = { parts: [], end: "cut", body };
  READERS[format](told, body, broken);
  told.parts = merged(told.parts);
  return told;
}

/** The parts that items are, as a source makes them. */
export function partsOf(items: readonly Item[]): Part[] {
  const told: Told = { parts: [], end: "cut", body: "" };
  const calls = new Map<unknown, Call>();
  for (const item of items) {
    if (typeof item === "string") add(told.parts, { kind: "text", text: item });
    else readItem(told, calls, item.event, item.data);
  }
  return merged(told.parts);
}

async function bytesOf({ body }: Response): Promise<{ bytes: Uint8Array; broken: boolean }> {
  const all: Uint8Array[] = [];
  let broken = false;
  try {
    if (body !== null) { for await (const bytes of body) all.push(bytes.slice()); }
  } catch {
    // That it broke off is all that a client learns.
    broken = true;
  }
  const bytes = new Uint8Array(all.reduce((size, { length }) => size + length, 0));
  let at = 0;
  for (const part of all) {
    bytes.set(part, at);
    at += part.length;
  }
  return { bytes, broken };
}

function codeOf(body: Json): { code?: string } {
  const code = body.code ?? body.error?.code;
  return typeof code === "string" ? { code } : {};
}

/** The events of a stream. */
export function eventsOf(body: string): ServerSentEvent[] {
  const limits = { maxEventBytes: 2 ** 25, maxLineBytes: 2 ** 25 };
  return new EventDecoder(limits).feed(new TextEncoder().encode(body));
}

const READERS: Record<FormatName, (told: Told, body: string, broken: boolean) => void> = {
  json: (told, body) => {
    const calls = new Map<unknown, Call>();
    for (const { event, data } of eventsOf(body)) {
      assert.equal(told.end, "cut", "nothing follows the end");
      readItem(told, calls, event === "message" ? undefined : event, JSON.parse(data));
    }
  },
  ndjson: (told, body) => {
    const calls = new Map<unknown, Call>();
    for (const line of body.split("\n").slice(0, -1)) {
      assert.equal(told.end, "cut", "nothing follows the end");
      const value = JSON.parse(line);
      if ("token" in value) readItem(told, calls, undefined, value);
      else readItem(told, calls, value.event, ended(value));
    }
  },
  plain: (told, body, broken) => {
    told.parts.push({ kind: "text", text: body });
    told.end = broken ? "failed" : "stop";
  },
  openai: readChunks,
  "openai buffered": (told, body) => {
    const { choices, usage } = JSON.parse(body);
    assert.equal(choices.length, 1);
    const [{ message, finish_reason }] = choices;
    assert.equal(message.role, "assistant");
    readMessage(told, message);
    for (const { id, type, function: named, ...extra } of message.tool_calls ?? []) {
      assert.equal(type, "function");
      addCall(told, { id, ...named }, extra);
    }
    addUnknown(told, message);
    told.usage = usage;
    finish(told, finish_reason, OPENAI);
  },
  anthropic: readMessageEvents,
  "anthropic buffered": (told, body) => {
    const { content, stop_reason, usage } = JSON.parse(body);
    for (const block of content) {
      if (block.type === "tool_use") {
        addCall(told, { ...block, arguments: JSON.stringify(block.input) });
      } else readBlock(told, block);
    }
    told.usage = usage;
    finish(told, stop_reason, ANTHROPIC);
  },
  responses: readResponseEvents,
  "responses buffered": (told, body) => readResponse(told, JSON.parse(body)),
  "ag-ui": readRun,
  "ui-message": readUiParts,
};

/** `done` and `failed` are their own JSON in a line of `ndjson`. */
function ended({ event, data }: Json): Json {
  return event === "done" || event === "failed"
    ? (typeof data === "string" ? JSON.parse(data) : data)
    : data;
}

function readItem(
  told: Told,
  calls: Map<unknown, Call>,
  event: string | undefined,
  data: Json,
): void {
  switch (event) {
    case undefined:
      assert.equal(typeof data.token, "string", `not a token: ${JSON.stringify(data)}`);
      return add(told.parts, { kind: "text", text: data.token });
    case "reasoning":
    case "refusal":
      assert.equal(typeof data.text, "string");
      return add(told.parts, { kind: event, text: data.text });
    case "tool_call":
      return readFragment(told, calls, data.index, data, data.extra);
    case "file": {
      const { mediaType, url, base64 } = data;
      const from = base64 === undefined ? { url } : { base64 };
      return add(told.parts, { kind: "file", mediaType, ...from });
    }
    case "audio":
    case "citation":
    case "delta":
      return add(told.parts, { kind: event, data });
    case "done":
      told.usage = data.usage;
      assert.equal(data.reason, "completed");
      told.end = "stop";
      if (data.finishReason !== undefined) told.reason = data.finishReason;
      return;
    case "failed":
      told.end = "failed";
      told.code = data.code;
      return;
    default:
      assert.fail(`an event of the name ${event}`);
  }
}

/** A fragment of a call: the first one at an index names it, and none after it names another. */
function readFragment(
  told: Told,
  calls: Map<unknown, Call>,
  index: unknown,
  fragment: Json,
  extra: Json,
): void {
  const { id, name, arguments: json } = fragment;
  assert(Number.isInteger(index), `an index of a call: ${JSON.stringify(index)}`);
  const known = calls.get(index);
  if (known === undefined) {
    const at = told.parts.length;
    addCall(told, { id, name, arguments: json ?? "" }, extra);
    calls.set(index, told.parts[at] as Call);
    return;
  }
  if (json !== undefined) assert.equal(typeof json, "string");
  // Clients that merge by `!== undefined` would lose what they have.
  assert(id !== "" && name !== "" && name !== null, "an id or a name is not empty");
  if (id) assert.equal(id, known.id, "one call has one id");
  if (name) assert.equal(name, known.name, "one call has one name");
  known.arguments += json ?? "";
  if (extra !== undefined && Object.keys(extra).length > 0) {
    known.extra = { ...known.extra, ...extra };
  }
}

function addCall(told: Told, { id, name, arguments: json }: Json, extra: Json = {}): void {
  assert(typeof name === "string" && name !== "", "a call begins with its name");
  assert.equal(typeof json, "string", "arguments are a string");
  assert(id === undefined || typeof id === "string" && id !== "", "an id is not empty");
  const beside = Object.keys(extra).length > 0 ? { extra } : {};
  told.parts.push({ kind: "call", id, name, arguments: json, ...beside });
}

const OPENAI: Record<string, Kind> = {
  stop: "stop",
  length: "length",
  tool_calls: "tool_calls",
  content_filter: "content_filter",
};
const ANTHROPIC: Record<string, Kind> = {
  end_turn: "stop",
  stop_sequence: "stop",
  max_tokens: "length",
  tool_use: "tool_calls",
  refusal: "content_filter",
};
const UI: Record<string, Kind> = {
  stop: "stop",
  length: "length",
  "tool-calls": "tool_calls",
  "content-filter": "content_filter",
  other: "other",
};

function finish(told: Told, reason: unknown, kinds: Record<string, Kind>): void {
  assert(typeof reason === "string" && Object.hasOwn(kinds, reason), `finish reason ${reason}`);
  told.reason = reason;
  told.end = kinds[reason]!;
}

/** Members of a delta that OpenAI's clients, or widespread ones, know. */
const KNOWN = new Set([
  "role",
  "content",
  "refusal",
  "reasoning_content",
  "reasoning",
  "reasoning_details",
  "tool_calls",
  "images",
  "audio",
  "annotations",
]);

const isEmpty = (value: unknown): boolean =>
  value === null || value === undefined || value === "" ||
  typeof value === "object" && Object.keys(value).length === 0;

function readChunks(told: Told, body: string): void {
  const calls = new Map<unknown, Call>();
  let reason: string | undefined;
  let isDone = false;
  for (const { event, data } of eventsOf(body)) {
    assert.equal(isDone, false, "nothing follows [DONE]");
    assert.equal(event, "message");
    if (data === "[DONE]") {
      isDone = true;
      continue;
    }
    assert.notEqual(told.end, "failed", "nothing but [DONE] follows an error");
    const chunk = JSON.parse(data);
    if (chunk.error) {
      told.end = "failed";
      Object.assign(told, codeOf(chunk));
      continue;
    }
    assert(Array.isArray(chunk.choices), `choices of ${data}`);
    if (chunk.usage) told.usage = chunk.usage;
    for (const { index, delta, finish_reason, error } of chunk.choices) {
      assert.equal(error ?? undefined, undefined, "an error in a choice");
      // A client that asked for one choice looks at the first alone.
      if (index !== 0) continue;
      assert(delta === undefined || delta !== null && typeof delta === "object");
      assert([undefined, null, "assistant"].includes(delta?.role), `role ${delta?.role}`);
      readMessage(told, delta ?? {});
      for (const { index, id, type, function: named, ...extra } of delta?.tool_calls ?? []) {
        // OpenAI's package wants the type once, and throws at null where it has a type or a name.
        assert.equal(type, calls.has(index) && type === undefined ? undefined : "function");
        const fragment = { id: id ?? undefined, name: named?.name };
        const json = named?.arguments ?? undefined;
        readFragment(told, calls, index, { ...fragment, arguments: json }, extra);
      }
      addUnknown(told, delta ?? {});
      // Clients differ in which of two they take: there is one.
      if (finish_reason === null || finish_reason === undefined) continue;
      assert(reason === undefined || reason === finish_reason, "two finish reasons");
      reason = finish_reason;
    }
  }
  if (isDone && told.end !== "failed") finish(told, reason, OPENAI);
}

/** What a delta and a message have in common. */
function readMessage(told: Told, message: Json): void {
  const { content, refusal, reasoning_content, reasoning, images, audio, annotations } = message;
  for (const value of [content, refusal, reasoning_content, reasoning]) {
    assert(
      value === null || value === undefined || typeof value === "string",
      JSON.stringify(value),
    );
  }
  const thought = reasoning_content || reasoning;
  if (thought) add(told.parts, { kind: "reasoning", text: thought });
  if (content) add(told.parts, { kind: "text", text: content });
  if (refusal) add(told.parts, { kind: "refusal", text: refusal });
  for (const { type, image_url } of images ?? []) {
    assert.equal(type, "image_url");
    add(told.parts, fileOf(image_url.url));
  }
  if (!isEmpty(audio)) add(told.parts, { kind: "audio", data: audio });
  for (const data of annotations ?? []) add(told.parts, { kind: "citation", data });
}

function addUnknown(told: Told, message: Json): void {
  const unknown = Object.entries(message)
    .filter(([name, value]) => !KNOWN.has(name) && !isEmpty(value));
  if (unknown.length > 0) add(told.parts, { kind: "delta", data: Object.fromEntries(unknown) });
}

function fileOf(url: string, mediaType = ""): Part {
  const [, type, base64] = /^data:([^;,]+);base64,(.*)$/s.exec(url) ?? [];
  return base64 === undefined
    ? { kind: "file", mediaType, url }
    : { kind: "file", mediaType: type!, base64 };
}

function readBlock(told: Told, block: Json): void {
  if (block.type === "text") return add(told.parts, { kind: "text", text: block.text });
  assert.equal(block.type, "thinking");
  add(told.parts, { kind: "reasoning", text: block.thinking });
}

function readMessageEvents(told: Told, body: string): void {
  const open = new Map<number, Call | undefined>();
  let blocks = 0;
  let reason: unknown;
  for (const { event, data } of eventsOf(body)) {
    assert.equal(told.end, "cut", "nothing follows the end");
    const value = JSON.parse(data);
    assert.equal(value.type, event);
    switch (value.type) {
      case "content_block_start": {
        assert.equal(value.index, blocks++);
        const block = value.content_block;
        if (block.type === "tool_use") {
          assert(typeof block.id === "string" && block.id !== "");
          addCall(told, { ...block, arguments: "" });
          open.set(value.index, told.parts.at(-1) as Call);
        } else {
          readBlock(told, block);
          open.set(value.index, undefined);
        }
        break;
      }
      case "content_block_delta": {
        assert(open.has(value.index));
        const { type, text, thinking, partial_json } = value.delta;
        if (type === "input_json_delta") open.get(value.index)!.arguments += partial_json;
        else if (type === "text_delta") add(told.parts, { kind: "text", text });
        else if (type === "thinking_delta") add(told.parts, { kind: "reasoning", text: thinking });
        break;
      }
      case "content_block_stop":
        assert(open.delete(value.index));
        break;
      case "message_delta":
        reason = value.delta.stop_reason;
        told.usage = value.usage;
        break;
      case "message_stop":
        assert.equal(open.size, 0, "every block has ended");
        finish(told, reason, ANTHROPIC);
        break;
      case "error":
        told.end = "failed";
        break;
    }
  }
}

/** The parts of an item of the Responses API. */
function readOutputItem(told: Told, item: Json): void {
  if (item.type === "function_call") return addCall(told, { ...item, id: item.call_id });
  const isReasoning = item.type === "reasoning";
  if (!isReasoning) assert.deepEqual([item.type, item.role], ["message", "assistant"]);
  for (const { type, text, refusal } of isReasoning ? item.summary : item.content) {
    const kind = isReasoning ? "reasoning" : type === "refusal" ? "refusal" : "text";
    add(told.parts, { kind, text: refusal ?? text });
  }
}

function readResponse(told: Told, { status, output, usage, incomplete_details }: Json): void {
  for (const item of output) readOutputItem(told, item);
  told.usage = usage;
  const reason = status === "incomplete" ? incomplete_details.reason : status;
  const hasCalls = output.some(({ type }: Json) => type === "function_call");
  finish(told, reason, { ...RESPONSES, completed: hasCalls ? "tool_calls" : "stop" });
}

const RESPONSES: Record<string, Kind> = {
  max_output_tokens: "length",
  content_filter: "content_filter",
};

/** Reads the pieces, and holds the items and the response at the end against them. */
function readResponseEvents(told: Told, body: string): void {
  const items: Json[] = [];
  const events = eventsOf(body);
  assert.equal(events.pop()?.data, "[DONE]");
  for (const [at, { event, data }] of events.entries()) {
    const value = JSON.parse(data);
    assert.deepEqual([value.type, value.sequence_number], [event, at]);
    const item = items[value.output_index];
    const parts = item?.content ?? item?.summary;
    const part = parts?.[value.content_index ?? value.summary_index];
    if (event === "response.output_item.added") {
      assert.equal(items.push(value.item), value.output_index + 1);
    } else if (event.endsWith("part.added")) parts.push(value.part);
    else if (event === "response.function_call_arguments.delta") item.arguments += value.delta;
    else if (event === "response.refusal.delta") part.refusal += value.delta;
    else if (event.endsWith("text.delta")) part.text += value.delta;
    else if (event === "response.output_item.done") {
      // A call without arguments has an empty object in the end.
      if (item.arguments === "") item.arguments = value.item.arguments;
      assert.deepEqual({ ...item, status: value.item.status }, value.item);
      item.status = value.item.status;
    } else if (event === "error") {
      told.code = value.code;
    } else if (event === "response.failed") {
      told.end = "failed";
      for (const said of items) readOutputItem(told, said);
    } else if (/^response\.(completed|incomplete)$/.test(event)) {
      readResponse(told, value.response);
      assert.deepEqual(value.response.output, items);
    }
  }
}

/** Reads a run of AG-UI, whose messages and calls end before it does. */
function readRun(told: Told, body: string): void {
  const calls = new Map<string, Call>();
  const open = new Set<string>();
  for (const { data } of eventsOf(body)) {
    assert.equal(told.end, "cut", "nothing follows the end");
    const { type, messageId, toolCallId, toolCallName: name, delta, metadata } = JSON.parse(data);
    const [, what, step] = /^(TEXT_MESSAGE|REASONING_MESSAGE|TOOL_CALL)_(\w+)$/.exec(type) ?? [];
    const id = `${what} ${messageId ?? toolCallId}`;
    if (step === "START") open.add(id);
    else if (step === "END") assert(open.delete(id), `nothing to end: ${data}`);
    else if (step !== undefined) assert(open.has(id), `not begun: ${data}`);
    switch (type) {
      case "TEXT_MESSAGE_CONTENT":
        add(told.parts, { kind: "text", text: delta });
        break;
      case "REASONING_MESSAGE_CONTENT":
        add(told.parts, { kind: "reasoning", text: delta });
        break;
      case "TOOL_CALL_START":
        addCall(told, { id: toolCallId, name, arguments: "" });
        calls.set(toolCallId, told.parts.at(-1) as Call);
        break;
      case "TOOL_CALL_ARGS":
        calls.get(toolCallId)!.arguments += delta;
        break;
      case "RUN_FINISHED":
        assert.deepEqual([...open], [], "everything has ended");
        finish(told, metadata.tanstack.finishReason, OPENAI);
        break;
      case "RUN_ERROR":
        told.end = "failed";
        told.code = JSON.parse(data).code;
    }
  }
}

function readUiParts(told: Told, body: string): void {
  const calls = new Map<string, Call>();
  let isDone = false;
  for (const { data } of eventsOf(body)) {
    assert.equal(isDone, false, "nothing follows [DONE]");
    if (data === "[DONE]") {
      isDone = true;
      continue;
    }
    assert.equal(told.end, "cut", "nothing but [DONE] follows the end");
    const part = JSON.parse(data);
    switch (part.type) {
      case "text-delta":
        add(told.parts, { kind: "text", text: part.delta });
        break;
      case "reasoning-delta":
        add(told.parts, { kind: "reasoning", text: part.delta });
        break;
      case "tool-input-start":
        assert(!calls.has(part.toolCallId), "an id is one call's");
        assert.notEqual(part.toolCallId, "");
        addCall(told, { id: part.toolCallId, name: part.toolName, arguments: "" });
        calls.set(part.toolCallId, told.parts.at(-1) as Call);
        break;
      case "tool-input-delta":
        calls.get(part.toolCallId)!.arguments += part.inputTextDelta;
        break;
      case "file":
        add(told.parts, fileOf(part.url, part.mediaType));
        break;
      case "source-url":
        assert(part.sourceId);
        add(told.parts, { kind: "citation", data: { url: part.url } });
        break;
      case "data-audio":
      case "data-citation":
      case "data-delta":
        add(told.parts, { kind: part.type.slice("data-".length), data: part.data });
        break;
      case "finish":
        finish(told, part.finishReason, UI);
        break;
      case "error":
        told.end = "failed";
        break;
      default:
        assert.match(
          part.type,
          /^(start|finish-step|start-step|(text|reasoning)-(start|end)|tool-input-(available|error))$/,
        );
    }
  }
  assert(isDone, "[DONE] is the end");
}

/** The address that a citation is of, wherever its dialect puts it. */
const urlIn = (data: Json): unknown => data.url ?? data.url_citation?.url ?? data.uri;

/** What a format has of an answer, in the order in which it has it. */
export function carried(format: FormatName, parts: readonly Part[]): Part[] {
  switch (format) {
    case "plain":
      return merged(parts.flatMap((part) => {
        const isText = part.kind === "text" || part.kind === "refusal";
        return isText ? [{ kind: "text", text: part.text }] : [];
      }));
    case "anthropic":
    case "anthropic buffered":
      return merged(parts.flatMap((part): Part[] => {
        if (part.kind === "refusal") return [{ kind: "text", text: part.text }];
        if (part.kind !== "call") return "text" in part ? [part] : [];
        const { extra: _, ...call } = part;
        return [call];
      }));
    case "ag-ui":
    case "responses":
    case "responses buffered":
      return merged(parts.flatMap((part): Part[] => {
        if (part.kind === "refusal" && format === "ag-ui") {
          return [{ kind: "text", text: part.text }];
        }
        if (part.kind !== "call") return "text" in part ? [part] : [];
        const { extra: _, ...call } = part;
        return [{ ...call, arguments: call.arguments.trim() || "{}" }];
      }));
    case "ui-message":
      return merged(parts.map((part): Part => {
        if (part.kind === "refusal") return { kind: "text", text: part.text };
        if (part.kind !== "call") return part;
        const { extra: _, ...call } = part;
        return call;
      }));
    default:
      return merged(parts);
  }
}

/** The parts in a form that can be compared: order where the format has one, arguments as values. */
export function comparable(format: FormatName, parts: readonly Part[]): unknown[] {
  const plain = parts.map((part): Json => {
    if (part.kind === "citation") return { kind: part.kind, url: urlIn(part.data) };
    if (part.kind === "file" && part.url !== undefined) return { kind: part.kind, url: part.url };
    // Bare UTF-8 has no half pairs.
    if (format === "plain" && "text" in part) return { ...part, text: part.text.toWellFormed() };
    if (part.kind !== "call") return part;
    const { id, name, arguments: json, extra } = part;
    // In one document the arguments of no arguments are `{}`, and spaces between tokens are gone.
    // A space behind the arguments says nothing.
    const value = format === "anthropic buffered" ? inputOf(json) : json.trimEnd();
    return { kind: "call", id, name, arguments: value, ...extra === undefined ? {} : { extra } };
  });
  if (format !== "openai buffered") return plain;
  const joined = (kind: string) => ({
    kind,
    text: plain.filter((part) => part.kind === kind).map((part) => part.text).join(""),
  });
  const texts = ["reasoning", "text", "refusal"].map(joined).filter(({ text }) => text !== "");
  // The deltas of an audio are one audio: texts go on, and its id is the same.
  const audio = plain.filter((part) => part.kind === "audio").reduce<Json>((all, { data }) => {
    const grown = Object.entries(data).map(([name, value]) => {
      const before = all?.data[name];
      return [name, name === "id" || before === undefined ? value : `${before}${value}`];
    });
    return { kind: "audio", data: { ...all?.data, ...Object.fromEntries(grown) } };
  }, undefined);
  const others = ["call", "file", "citation", "delta"];
  return [
    ...texts,
    ...audio === undefined ? [] : [audio],
    ...others.flatMap((kind) => plain.filter((part) => part.kind === kind)),
  ];
}

function inputOf(json: string): unknown {
  if (json.trim() === "") return {};
  try {
    return JSON.parse(json);
  } catch {
    // Arguments that were cut short stay the text that they are.
    return json;
  }
}

/**
 * Asserts that a client was told these parts. Where an id is not given, any will do, and in the items of
 * `json` and `ndjson` none.
 */
export function assertParts(format: FormatName, told: Told, parts: readonly Part[]): void {
  const expected = carried(format, parts);
  const calls = (all: readonly Part[]) => all.filter((part): part is Call => part.kind === "call");
  const ids = calls(expected).map(({ id }) => id);
  const toldCalls = calls(told.parts);
  const isItems = format === "json" || format === "ndjson";
  const seen = new Set<string>();
  const compared = told.parts.map((part) => {
    if (part.kind !== "call") return part;
    const at = toldCalls.indexOf(part);
    if (part.id !== undefined) {
      assert(!seen.has(part.id), "two calls of one id");
      seen.add(part.id);
    } else assert(isItems, "every call has an id");
    return at < ids.length && ids[at] === undefined ? { ...part, id: undefined } : part;
  });
  assert.deepEqual(comparable(format, compared), comparable(format, expected));
}

/** What each format has for a good end of a kind; `json` and `ndjson` have the reason itself. */
export function assertEnd(
  format: FormatName,
  told: Told,
  { end, reason, refused = false }: { end: Kind; reason?: string | undefined; refused?: boolean },
): void {
  if (format === "plain") return assert.equal(told.end, "stop", told.body);
  if (format === "json" || format === "ndjson") {
    assert.equal(told.end, "stop", told.body);
    assert([end, reason].includes(told.reason), `the finish reason ${told.reason}`);
    return;
  }
  // OpenAI itself ends a refusal in `stop`.
  if (refused && /^(openai|responses)/.test(format) && told.end === "stop") return;
  const own = end === "other" && format !== "ui-message" ? "stop" : end;
  assert.equal(told.end, own, told.body);
}
