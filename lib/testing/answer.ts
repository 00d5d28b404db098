/**
 * Reads every format back: what a response says, from its headers and its body. Separate from
 * `testing.ts`, which fetches the body, so that nothing here waits or can fail.
 */
import { type Problem, problemOf } from "../error.ts";
import type { Item, Summary } from "../item.ts";
import { EventDecoder } from "../sse/decode.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { isObject, parseJson } from "../values.ts";
import {
  type CompletionChunk,
  CompletionReader,
  isFailure,
  parseChunk,
} from "../formats/completion_chunk.ts";

/** A response as its client sees it. */
export interface Answer {
  /** The HTTP status. */
  status: number;
  /** The response headers. */
  headers: Headers;
  /** The body as it came, as text. */
  body: string;
  /** The tokens, joined. */
  text: string;
  /**
   * Tokens and structured items in the order in which they came, as far as the format has them;
   * `plain` and buffered documents have one token. In the formats of other APIs reasoning is
   * `{ event: "reasoning", data: { text } }` and a tool call, or a fragment of one, is
   * `{ event: "tool_call", data: { index?, id?, name?, arguments? } }`.
   */
  items: Item[];
  /** Each event of an event stream, including its end and what follows it; empty for other formats. */
  events: ServerSentEvent[];
  /**
   * How the response ended. `completed`: with the format's mark of a normal end. `cancelled`: with
   * a mark that says that the generation was stopped, or the client disconnected. `failed`: with a
   * failure, or with an error status. `truncated`: with none of these. `plain` has no mark: its
   * body just ends (`completed`), or breaks off (`truncated`).
   */
  end: "completed" | "cancelled" | "failed" | "truncated";
  /**
   * The failure that the client gets: the problem object (RFC 9457) where the response has one. For
   * an error of another API, `title` is its message and `code` its code, else its type.
   */
  problem?: Partial<Problem>;
  /**
   * What came with the end: `finishReason` and `usage` in the format's own words, and `tokens`
   * where it counts them.
   */
  summary: Summary & { tokens?: number };
}

/** A format of event streams. Other formats are known by their media types. */
export type EventFormat = "json" | "text" | "openai" | "anthropic" | "ui-message";

/** A body, and how reading it ended. */
export interface Body {
  bytes: Uint8Array;
  /** How reading ended: the body was complete, it broke off, or its client left. */
  end: "complete" | "broken" | "left";
}

// deno-lint-ignore no-explicit-any -- whatever another server says is looked at, and none of it is certain
type Json = any;

/** Reads a response. The format of an event stream is detected unless it is given. */
export function readAnswer(response: Response, body: Body, format?: EventFormat): Answer {
  const { status, headers } = response;
  const answer: Answer = {
    status,
    headers,
    body: new TextDecoder("utf-8", { ignoreBOM: true }).decode(body.bytes),
    text: "",
    items: [],
    events: [],
    end: "truncated",
    summary: {},
  };
  if (!response.ok) readError(answer);
  else readBody(answer, body, format);
  if (answer.end === "truncated" && body.end === "left") answer.end = "cancelled";
  return answer;
}

function readBody(answer: Answer, body: Body, format: EventFormat | undefined): void {
  const type = answer.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type === "text/event-stream") {
    const size = body.bytes.length + 1;
    const decoder = new EventDecoder({ maxLineBytes: size, maxEventBytes: size });
    answer.events = decoder.feed(body.bytes);
    const name = format ?? formatOf(answer);
    readAll(answer, answer.events, EVENT_READERS[name]);
    // With a finish reason an OpenAI response is whole, whether `[DONE]` came or not.
    const isWhole = name === "openai" && answer.summary.finishReason !== undefined &&
      body.end === "complete";
    if (isWhole && answer.end === "truncated") answer.end = "completed";
  } else if (type === "application/x-ndjson" || type === "application/ndjson") {
    // What follows the last line break is a line that was cut off.
    readAll(answer, answer.body.split("\n").slice(0, -1), readLine);
  } else if (type === "application/json") {
    readDocument(answer, jsonOr(answer.body, undefined));
  } else {
    addToken(answer, answer.body);
    if (body.end === "complete") answer.end = "completed";
  }
}

/** Reads the parts up to the end: nothing that follows the end belongs to the response. */
function readAll<T>(
  answer: Answer,
  parts: T[],
  read: (answer: Answer, part: T, chunks: CompletionReader) => void,
): void {
  const chunks = new CompletionReader();
  for (const part of parts) {
    if (answer.end !== "truncated") return;
    read(answer, part, chunks);
  }
}

const NOT_JSON = Symbol("not JSON");

/** Detects the format of an event stream, by the marks that only one API has. */
function formatOf({ headers, events }: Answer): EventFormat {
  if (headers.has("x-vercel-ai-ui-message-stream")) return "ui-message";
  const unnamed = events.filter(({ event }) => event === "message");
  const values: Json[] = unnamed.map(({ data }) => jsonOr(data, NOT_JSON));
  // Another API's events may be relayed in a stream that ends as ours do.
  if (!events.some(({ event }) => event === "done" || event === "failed")) {
    if (events[0]?.event === "message_start") return "anthropic";
    if (Array.isArray(values[0]?.choices) || unnamed.some(isDone)) return "openai";
  }
  if (values.includes(NOT_JSON)) return "text";
  // In `text`, a model that counts to three also sends nothing but JSON.
  return values.some(isToken) || values.every(isObject) ? "json" : "text";
}

/** Reads one event, for each format. */
export const EVENT_READERS: Readonly<
  Record<EventFormat, (answer: Answer, event: ServerSentEvent, chunks: CompletionReader) => void>
> = {
  json: readJson,
  text: readText,
  openai: readChunkEvent,
  anthropic: readMessageEvent,
  "ui-message": readPart,
};

function readJson(answer: Answer, { event, data }: ServerSentEvent): void {
  const value = jsonOr(data, data);
  if (event !== "message") readNamed(answer, event, value);
  else if (isToken(value)) addToken(answer, value.token);
  else answer.items.push({ data: value });
}

function readText(answer: Answer, { event, data }: ServerSentEvent): void {
  if (event === "message") addToken(answer, data);
  else readNamed(answer, event, jsonOr(data, data));
}

function readLine(answer: Answer, line: string): void {
  const value = jsonOr(line, { data: line });
  if (isToken(value)) addToken(answer, value.token);
  else if (typeof value?.event === "string") readNamed(answer, value.event, value.data);
  else answer.items.push({ data: value?.data });
}

function readNamed(answer: Answer, event: string, value: Json): void {
  if (event === "done") {
    const { reason, ...summary } = Object(value);
    answer.end = reason === "cancelled" ? "cancelled" : "completed";
    answer.summary = summary;
  } else if (event === "failed") {
    answer.end = "failed";
    answer.problem = Object(value);
  } else answer.items.push({ event, data: value });
}

function readChunkEvent(answer: Answer, event: ServerSentEvent, chunks: CompletionReader): void {
  if (isDone(event)) {
    // Without a finish reason the upstream broke off, and something between closed its stream
    // neatly.
    if (answer.summary.finishReason !== undefined) answer.end = "completed";
    return;
  }
  const chunk = parseChunk(event.data);
  if (chunk !== undefined) readChunk(answer, chunk, chunks, event.data);
}

function readChunk(
  answer: Answer,
  chunk: CompletionChunk,
  chunks: CompletionReader,
  data = "",
): void {
  if (isFailure(chunk)) {
    const { error } = Object(Object(chunk.choices)[0]);
    return failed(answer, chunk.error ? chunk : { error: error || chunk });
  }
  try {
    for (const item of chunks.items(chunk, data)) {
      if (typeof item === "string") addToken(answer, item);
      else if (item.event === "tool_call") addToolCall(answer, Object(item.data));
      else answer.items.push(item);
    }
    finish(answer, chunks.reason, chunks.usage);
  } catch (error) {
    // The model broke off, or its tool calls are none.
    answer.end = "failed";
    answer.problem = problemOf(error);
  }
}

/** The chunk that holds all of a completion. */
function chunkOf(completion: Json): CompletionChunk {
  const { message, ...choice } = Object(completion.choices[0]);
  const toolCalls = listOf(message?.tool_calls).map((call, index) => ({ index, ...call }));
  return { ...completion, choices: [{ ...choice, delta: { ...message, tool_calls: toolCalls } }] };
}

function readMessageEvent(answer: Answer, { data }: ServerSentEvent): void {
  const value = jsonOr(data, undefined);
  switch (value?.type) {
    case "message_start":
      return finish(answer, undefined, value.message?.usage);
    case "content_block_start":
      return readBlock(answer, value.content_block, value.index, undefined);
    case "content_block_delta":
      return readDelta(answer, value.delta, value.index);
    case "message_delta":
      return finish(answer, value.delta?.stop_reason, value.usage);
    case "message_stop":
      answer.end = "completed";
      return;
    case "error":
      return failed(answer, value);
  }
}

/** Reads a content block; where a block begins, its input is still to come. */
function readBlock(answer: Answer, block: Json, index: unknown, input: unknown): void {
  addToken(answer, block?.text);
  addReasoning(answer, block?.thinking);
  if (block?.type !== "tool_use") return;
  const json = input === undefined || typeof input === "string" ? input : JSON.stringify(input);
  addToolCall(answer, { index, id: block.id, name: block.name, arguments: json });
}

function readDelta(answer: Answer, delta: Json, index: unknown): void {
  addToken(answer, delta?.text);
  addReasoning(answer, delta?.thinking);
  if (delta?.type === "input_json_delta") {
    addToolCall(answer, { index, arguments: delta.partial_json });
  }
}

function readPart(answer: Answer, { data }: ServerSentEvent): void {
  const part = jsonOr(data, undefined);
  switch (part?.type) {
    case "text-delta":
      return addToken(answer, part.delta);
    case "reasoning-delta":
      return addReasoning(answer, part.delta);
    case "tool-input-start":
      return addToolCall(answer, { id: part.toolCallId, name: part.toolName });
    case "tool-input-delta":
      return addToolCall(answer, { id: part.toolCallId, arguments: part.inputTextDelta });
    case "finish":
      answer.end = "completed";
      return finish(answer, part.finishReason, part.messageMetadata?.usage);
    case "abort":
      answer.end = "cancelled";
      return;
    case "error":
      return failed(answer, { error: part.errorText });
  }
  if (part?.type === "file") addFile(answer, part);
  if (part?.type === "source-url") {
    const { url, title } = part;
    answer.items.push({ event: "citation", data: title === undefined ? { url } : { url, title } });
  }
  if (wordsOf(part?.type).startsWith("data-")) {
    answer.items.push({ event: part.type.slice("data-".length), data: part.data });
  }
}

/** Reads one JSON document. */
function readDocument(answer: Answer, value: Json): void {
  if (value === undefined) return;
  if (value?.error) return failed(answer, value);
  answer.end = "completed";
  if (value?.type === "message") {
    for (const [index, block] of listOf(value.content).entries()) {
      readBlock(answer, block, index, block?.input);
    }
    finish(answer, value.stop_reason, value.usage);
  } else if (Array.isArray(value?.choices)) {
    readChunk(answer, chunkOf(value), new CompletionReader());
  } else answer.items.push({ data: value });
}

/** Reads an error response: a problem, another API's error, or any body that a proxy sends. */
function readError(answer: Answer): void {
  const value = jsonOr(answer.body, undefined);
  if (value?.error) failed(answer, value);
  else if (typeof value?.title === "string") answer.problem = value;
  answer.end = "failed";
  answer.problem = { title: `HTTP ${answer.status}`, status: answer.status, ...answer.problem };
}

/** Reads another API's error: an object, or just its message with a code beside it. */
function failed(answer: Answer, { error, code: beside }: Json): void {
  answer.end = "failed";
  const problem: Partial<Problem> = { title: wordsOf(error?.message ?? error) };
  const code = error?.code ?? error?.type ?? beside;
  if (code !== undefined) problem.code = wordsOf(code);
  answer.problem = problem;
}

/** A value as text; an object may have no text of its own. */
function wordsOf(value: unknown): string {
  return isObject(value) ? JSON.stringify(value) : String(value);
}

function finish(answer: Answer, finishReason: unknown, usage: unknown): void {
  const { summary } = answer;
  if (typeof finishReason === "string") summary.finishReason = finishReason;
  if (isObject(usage)) summary.usage = { ...summary.usage, ...usage };
}

function addToken(answer: Answer, text: unknown): void {
  if (typeof text !== "string" || text === "") return;
  answer.text += text;
  answer.items.push(text);
}

function addReasoning(answer: Answer, text: unknown): void {
  if (typeof text !== "string" || text === "") return;
  answer.items.push({ event: "reasoning", data: { text } });
}

function addFile(answer: Answer, { url, mediaType }: Json): void {
  const [, base64] = /^data:[^,]*;base64,([^]*)$/.exec(String(url)) ?? [];
  const data = base64 === undefined ? { mediaType, url } : { mediaType, base64 };
  answer.items.push({ event: "file", data });
}

/** Adds a tool call with only the fields that exist, so that the item equals what a source gave. */
function addToolCall(answer: Answer, call: Record<string, unknown>): void {
  const known = Object.entries(call).filter(([, value]) => value !== undefined);
  answer.items.push({ event: "tool_call", data: Object.fromEntries(known) });
}

function jsonOr(text: string, otherwise: unknown): Json {
  // Text that is not JSON is a valid case too.
  const value = parseJson(text);
  return value === undefined ? otherwise : value;
}

function listOf(value: unknown): Json[] {
  return Array.isArray(value) ? value : [];
}

function isDone({ data }: ServerSentEvent): boolean {
  return data === "[DONE]";
}

function isToken(value: Json): value is { token: string } {
  return typeof value?.token === "string" && Object.keys(value).length === 1;
}
