/** An upstream's event stream as a source: its events are passed on, or read where a format needs that. */
import { StreamError, upstreamFailed } from "../error.ts";
import { parseChunk } from "../formats/completion_chunk.ts";
import type { Item, Summary } from "../item.ts";
import { RELEASE, type SourceContext, type SourceFunction } from "../pipeline/pump.ts";
import type { AsyncQueue } from "../pipeline/queue.ts";
import { type ReadItem, Relayed } from "../pipeline/relayed.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { RelayReader } from "./relay_reader.ts";
import { discard, readUpstream } from "./upstream.ts";
import { countUpstreamError } from "./upstream_counts.ts";
import { parseJson } from "../values.ts";
import { checkOptionNames } from "../option_names.ts";

/** Options of {@linkcode relay}. */
export interface RelayOptions {
  /**
   * Whether an event ends the stream, and how, in place of the rule of {@linkcode relay}. Such an
   * event is not passed on.
   */
  end?: (event: ServerSentEvent) => "completed" | "failed" | undefined;
}

/** Names of events that end a stream: Spillway's own, Anthropic's, and OpenAI Responses'. */
const ENDS = new Set(["done", "message_stop", "response.completed", "response.incomplete"]);
const FAILURES = new Set(["failed", "error", "response.failed"]);
/** `[DONE]` may stand between spaces. */
const MAX_DONE = 16;
/** AG-UI has no names of events: their types are in the data. Only data that matches is parsed. */
const MAY_END = /"RUN_(?:FINISHED|ERROR)"/;

/**
 * A source that passes on the events of an upstream's response, without their ids and retry times:
 * those are that server's. A response with another status than 200, or of another media type, is
 * `bad_upstream`.
 *
 * The stream ends with `[DONE]` or an event `done`, `message_stop`, `response.completed`,
 * `response.incomplete` or `RUN_FINISHED`, fails with `failed`, `error`, `response.failed` or
 * `RUN_ERROR`, and is `truncated` without one of them. OpenAI's chunks end with their finish reason.
 * Without a finish reason the responses of OpenAI's two APIs and of Anthropic's are `truncated`, and
 * they fail if it says that the model broke off. Their summary, and that of Spillway's `done`, is kept.
 * What an upstream says of its failure reaches `onError` alone.
 *
 * `json`, `text` and `ndjson` pass on any event, `openaiFormat` OpenAI's chunks. Every other format
 * gets what an event stands for: the text, reasoning and tool calls of OpenAI's two APIs and of
 * Anthropic's, the text of `{"token"}`, other events as structured data.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { relay, sse } from "spillway";
 *
 * const body = 'data: {"token":"Hello"}\n\nevent: done\ndata: {}\n\n';
 * const upstream = new Response(body, { headers: { "content-type": "text/event-stream" } });
 * const response = await sse(new Request("http://localhost/"), relay(upstream));
 * assert((await response.text()).includes('data: {"token":"Hello"}'));
 * ```
 */
export function relay(
  response: Response | PromiseLike<Response>,
  options: RelayOptions = {},
): SourceFunction<unknown> {
  checkOptionNames("Cannot relay", options, ["end"]);
  const { end = endOf } = options;
  async function run({ queue, signal }: SourceContext): Promise<void> {
    try {
      await pass(queue, signal);
    } catch (error) {
      if (!queue.closed) countUpstreamError(error);
      throw error;
    }
  }
  async function pass(queue: AsyncQueue<Item>, signal: AbortSignal): Promise<void> {
    let done: Summary | undefined;
    const answer = new RelayReader();
    const isDone = await readUpstream(await response, signal, (event) => {
      const ended = end(event);
      if (ended === "failed") throw upstreamFailed(event.data);
      if (ended === undefined) {
        const items = answer.read(event);
        return queue.send(new Relayed(event, () => items ?? itemsOf(event)));
      }
      if (event.event === "done") done = Object(parseJson(event.data));
      const items = answer.readEnd(event);
      if (items.length > 0) queue.send(new Relayed(event, () => items));
      return "last";
    });
    if (!queue.closed && !answer.isWhole(isDone, options.end !== undefined)) {
      throw new StreamError("truncated");
    }
    queue.close({ ...answer.summary, ...done });
  }
  return Object.assign(run, {
    [RELEASE]() {
      // A response that never came has nothing to be closed.
      Promise.resolve(response).then(discard, () => {});
    },
  });
}

function endOf({ event, data }: ServerSentEvent): ReturnType<NonNullable<RelayOptions["end"]>> {
  if (FAILURES.has(event)) return "failed";
  if (ENDS.has(event) || (data.length < MAX_DONE && data.trim() === "[DONE]")) return "completed";
  if (event !== "message" || !MAY_END.test(data)) return undefined;
  const { type } = Object(parseJson(data));
  return type === "RUN_FINISHED" ? "completed" : type === "RUN_ERROR" ? "failed" : undefined;
}

/** The items that any other event stands for. */
function itemsOf({ event, data }: ServerSentEvent): ReadItem[] {
  if (event !== "message") return [dataOf(data, event)];
  const { token } = Object(parseChunk(data));
  if (typeof token === "string") return [token];
  return parseChunk(data) === undefined ? [data] : [dataOf(data)];
}

/** Data with its own JSON, whose numbers are not rounded; text that is no JSON is a string. */
function dataOf(text: string, event?: string): ReadItem {
  const data = parseJson(text);
  const named = event === undefined ? {} : { event };
  if (data === undefined) return { ...named, data: text };
  // A line break in JSON stands between two tokens, where a space means the same.
  return { ...named, data, json: text.replace(/[\r\n]+/g, " ") };
}
