/**
 * What the tests of the formats for model APIs share: random answers of a model, and what a client must
 * make of them.
 */
import assert from "node:assert/strict";
import {
  AsyncQueue,
  EventDecoder,
  type Format,
  type Item,
  type ServerSentEvent,
  type Source,
  sse,
  type SseOptions,
  StreamError,
  type Summary,
} from "../../mod.ts";
import { type End, type Framer } from "../../lib/formats.ts";
import { EventWriter } from "../../lib/sse/encode.ts";
import { chunks, hostile, int, pick, random } from "./random.ts";
import type { SourceFunction } from "../../lib/pipeline/pump.ts";
import { relay } from "../../lib/sources/relay.ts";

/** A part of an answer, as a client has it in the end. */
export type Part =
  | { kind: "text" | "reasoning"; text: string }
  | { kind: "call"; id: string; name: string; arguments: string };

export type Given = Item | null | undefined;

/** An answer: its items, and the parts and other items that are in them. */
export interface Answer {
  items: Given[];
  parts: Part[];
  others: [event: string | undefined, data: unknown][];
  summary: Summary;
}

export const say = (text: string): Part => ({ kind: "text", text });
export const think = (text: string): Part => ({ kind: "reasoning", text });
export const reasoning = (text: string): Item => ({ event: "reasoning", data: { text } });
export const toolCall = (data: Record<string, unknown>): Item => ({ event: "tool_call", data });

/** Adds to the last part, or begins one. */
export function extend(parts: Part[], kind: "text" | "reasoning", text: string): void {
  const last = parts.at(-1);
  if (last?.kind === kind) last.text += text;
  else parts.push({ kind, text });
}

/** Arguments that are JSON, or were cut short. */
function argumentsOf(chance: () => number): string {
  const json = JSON.stringify({ [hostile(chance, 2)]: [hostile(chance, 3), "}", int(chance, 9)] });
  const kind = int(chance, 8);
  if (kind === 0) return "";
  if (kind === 1) return json.slice(0, int(chance, json.length));
  return kind === 2 ? JSON.stringify(JSON.parse(json), null, 2) : json;
}

function fragmentsOf(chance: () => number, index: number, call: Part & { kind: "call" }): Item[] {
  const cuts = Array.from({ length: int(chance, 4) }, () => int(chance, call.arguments.length + 1));
  const edges = [0, ...cuts.sort((a, b) => a - b), call.arguments.length];
  const [first = "", ...rest] = edges.slice(1).map((to, i) => call.arguments.slice(edges[i], to));
  const { id, name } = call;
  // Some upstreams say the id with every fragment, or an empty one.
  const further = pick<Record<string, unknown>>(chance, [{}, { id }, { id: "", name: "" }]);
  return [
    toolCall({ index, id, name, arguments: first }),
    ...rest.map((fragment) => toolCall({ index, ...further, arguments: fragment })),
  ];
}

/** Text and reasoning, tool calls by turns or one after the other, other items, and what is skipped. */
export function answerOf(chance: () => number): Answer {
  const answer: Answer = { items: [], parts: [], others: [], summary: {} };
  const waiting: Item[][] = [];
  const parts = new Map<unknown, Part & { kind: "call" }>();
  let calls = 0;
  for (let left = int(chance, 16); left > 0 || waiting.length > 0; left--) {
    const kind = int(chance, 12);
    if (waiting.length > 0 && (kind < 4 || left <= 0)) {
      const fragments = waiting[int(chance, waiting.length)]!;
      const item = fragments.shift()! as { data: { index: number } };
      const part = parts.get(item.data.index)!;
      if (!answer.parts.includes(part)) answer.parts.push(part);
      answer.items.push(item);
      if (fragments.length === 0) waiting.splice(waiting.indexOf(fragments), 1);
    } else if (kind < 7) {
      const text = hostile(chance, 4) || "x";
      answer.items.push(text);
      extend(answer.parts, "text", text);
    } else if (kind === 7) {
      const text = hostile(chance, 3);
      answer.items.push(reasoning(text));
      if (text !== "") extend(answer.parts, "reasoning", text);
    } else if (kind === 8) {
      answer.items.push(pick(chance, ["", null, undefined]));
    } else if (kind === 9) {
      const event = pick(chance, [undefined, "note", "テスト😀", '"\\', " x"]);
      const data = pick(chance, [null, 7, hostile(chance, 3), { v: [hostile(chance, 2)] }]);
      answer.items.push(event === undefined ? { data } : { event, data });
      answer.others.push([event, data]);
    } else if (left > 0) {
      const index = calls++;
      const call: Part = {
        kind: "call",
        id: `call-${index}`,
        name: pick(chance, ["f", "get_weather"]),
        arguments: argumentsOf(chance),
      };
      parts.set(index, call);
      waiting.push(fragmentsOf(chance, index, call));
    }
  }
  return answer;
}

const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

/** The items at a random pace, from a random kind of source. */
export function sourceOf({ items, summary }: Answer, chance: () => number): Source<undefined> {
  const pause = async () => {
    const kind = int(chance, 20);
    if (kind === 0) await tick();
    else if (kind < 5) await Promise.resolve();
  };
  const kind = int(chance, 3);
  if (kind === 0) {
    return function* () {
      yield* items;
      return summary;
    };
  }
  if (kind === 1) {
    return async function* () {
      for (const item of items) {
        await pause();
        yield item;
      }
      return summary;
    };
  }
  const queue = new AsyncQueue<Item>({ highWaterMark: 1 + int(chance, 500) });
  (async () => {
    for (const item of items) {
      await pause();
      queue.send(item as Item);
    }
    queue.close(summary);
  })();
  return queue;
}

/** Runs `check` over random answers. */
export async function forAll(
  check: (answer: Answer, chance: () => number, where: string) => Promise<void>,
): Promise<void> {
  for (let seed = 1; seed <= 250; seed++) {
    const chance = random(seed);
    await check(answerOf(chance), chance, `seed ${seed}`);
  }
}

/** The response, of which nothing is reported. */
export function ask(
  format: Format,
  source: Source<undefined>,
  options: SseOptions = {},
): Promise<Response> {
  const request = new Request("http://localhost/", { method: "POST" });
  return sse(request, source, { onError: () => {}, ...options, format });
}

/** The events of a stream, which arrives in random chunks. */
export async function events(
  response: Response,
  chance: () => number = random(1),
): Promise<ServerSentEvent[]> {
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const decoder = new EventDecoder({ maxEventBytes: 2 ** 25, maxLineBytes: 2 ** 25 });
  const bytes = new Uint8Array(await response.arrayBuffer());
  return chunks(chance, bytes).flatMap((chunk) => decoder.feed(chunk));
}

/** What a framer writes that is called by hand, for the stream with the id S. */
export function written(format: Format, write: (framer: Framer, out: EventWriter) => void): string {
  const request = new Request("http://localhost/", { method: "POST" });
  const framer = format.open({ request, streamId: "S" });
  const out = new EventWriter();
  framer.start?.(out);
  write(framer, out);
  return new TextDecoder().decode(out.take());
}

/** The same for items and an end, as the stream calls it. */
export function framed(format: Format, items: Item[], end: Partial<End> = {}): string {
  return written(format, (framer, out) => {
    for (const item of items) {
      if (typeof item === "string") framer.token(out, item);
      else framer.structured?.(out, item.event, JSON.stringify(item.data), item.data);
    }
    framer.end(out, { reason: "completed", tokens: 2, ...end });
  });
}

/** An upstream's event stream. */
export function upstream(
  ...events: (string | [event: string, data: string])[]
): SourceFunction<unknown> {
  const body = events.map((event) => {
    const [name, data] = typeof event === "string" ? ["", event] : event;
    const lines = data.split("\n").map((line) => `data: ${line}\n`).join("");
    return `${name === "" ? "" : `event: ${name}\n`}${lines}\n`;
  }).join("");
  return relay(new Response(body, { headers: { "content-type": "text/event-stream" } }));
}

/** A chunk as another server writes it. */
export function chunk(delta: unknown, finishReason: string | null = null, more = {}): string {
  const choices = [{ index: 0, delta, finish_reason: finishReason }];
  return JSON.stringify({
    id: "up",
    object: "chat.completion.chunk",
    model: "u",
    choices,
    ...more,
  });
}

/** What sources say of an end, and the kind that it is. */
export const REASONS: readonly [finishReason: string | undefined, kind: string][] = [
  [undefined, "stop"],
  ["stop", "stop"],
  ["end_turn", "stop"],
  ["stop_sequence", "stop"],
  ["STOP", "stop"],
  ["length", "length"],
  ["max_tokens", "length"],
  ["MAX_TOKENS", "length"],
  ["tool_calls", "tool_calls"],
  ["tool-calls", "tool_calls"],
  ["tool_use", "tool_calls"],
  ["function_call", "tool_calls"],
  ["content_filter", "content_filter"],
  ["content-filter", "content_filter"],
  ["refusal", "content_filter"],
  ["SAFETY", "content_filter"],
  ["sensitive", "content_filter"],
  ["", "stop"],
  ["null", "stop"],
  ["because", "other"],
  ["constructor", "other"],
  ['"\n', "other"],
];

/** Items that agree with a finish reason of this kind. */
export function called(kind: string): Item[] {
  return kind === "tool_calls" ? [toolCall({ index: 0, id: "c", name: "f" })] : ["a"];
}

/** What breaks, and what a reader may know of it. */
export const FAILURES: readonly [thrown: () => unknown, status: number, sentence: string][] = [
  [() => new Error("secret"), 500, "The source failed"],
  [() => "secret", 500, "The source failed"],
  [
    () => new StreamError("rate_limited", { retryAfter: 3, cause: "secret" }),
    429,
    "The upstream is limiting its requests",
  ],
  [
    () => new StreamError("quota", { status: 402, title: "Pay", detail: 'first "this"\n' }),
    402,
    'Pay: first "this"\n',
  ],
  [() => new StreamError("truncated"), 502, "The upstream ended before its answer was complete"],
];

/** Items that bear the names of parts and are none. */
export const NO_PARTS: readonly (readonly [event: string, data: unknown])[] = [
  ["data-weather", { data: 1, id: 5 }],
  ["data-weather", { data: 1, transient: "yes" }],
  ["data-weather", null],
  ["metadata", null],
  ["metadata", [1]],
  ["tool_approval", { callId: "c" }],
  ["tool_approval", { id: 5, callId: "c" }],
  ["tool_approval", { approved: true }],
  ["file", { mediaType: 5, url: "x" }],
  ["file", { url: "x" }],
  ["citation", { url: 5 }],
];
