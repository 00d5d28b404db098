/**
 * Relays any OpenAI-compatible upstream: its chat completion chunks become tokens and typed items,
 * and each of its failures becomes an error with a code of its own.
 */
import type { ChatFields, ChatMessage } from "../chat.ts";
import { CompletionReader, isFailure, parseChunk } from "../formats/completion_chunk.ts";
import { publicError, StreamError, upstreamFailed } from "../error.ts";
import type { SourceContext } from "../pipeline/pump.ts";
import type { Item, Summary } from "../item.ts";
import { accepted, AsyncQueue } from "../pipeline/queue.ts";
import { type Clock, systemClock } from "../pipeline/scheduler.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { Deadline } from "./deadline.ts";
import {
  type CheckedUpstream,
  checkOptions,
  type OpenAILimits,
  type OpenAIOptions,
  type OpenAIUpstream,
} from "./openai_options.ts";
import { readEvents } from "./upstream.ts";
import {
  errorIn,
  excerptOf,
  type Failure,
  failureOf,
  reportedFailure,
  UpstreamError,
} from "./upstream_failure.ts";
import { connect } from "./upstream_request.ts";
import { isObject } from "../values.ts";

export type { OpenAIOptions, OpenAIUpstream } from "./openai_options.ts";

/**
 * Fields of the input that a client may choose. Gateways take many more fields, among them other
 * models, keys and addresses: those are for the server to choose.
 */
const FIELDS: readonly string[] = [
  "temperature",
  "top_p",
  "max_tokens",
  "max_completion_tokens",
  "stop",
  "tools",
  "tool_choice",
  "parallel_tool_calls",
  "response_format",
  "seed",
  "presence_penalty",
  "frequency_penalty",
  "reasoning_effort",
];

/** The longest `Retry-After`, in ms, that a retry waits for; the client is told a longer one at once. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * A source that calls an OpenAI-compatible upstream and streams its response.
 *
 * Text is a token. Reasoning is `{ event: "reasoning", data: { text } }`, a fragment of a tool call
 * `{ event: "tool_call", data: { index, id?, name?, arguments? } }`, with the name in the first one.
 * Further items are `refusal`, `file`, `audio`, `citation`, and `delta` for what nobody knows. The
 * finish reason, as far as it agrees with what came, and the usage are the summary. A response that
 * ends without a finish reason fails as `truncated`, one whose finish reason says that the model
 * broke off as `upstream_failed`. What fails before its first item may be asked again (`retries`), and
 * of another upstream (`fallback`).
 *
 * @example
 * ```ts
 * import { createHandler, openai } from "spillway";
 *
 * const source = openai({ baseURL: "http://127.0.0.1:11434/v1", model: "llama3.2" });
 * export const handler = createHandler({ source });
 * ```
 *
 * @returns A function from the context to a queue, which is a source and async iterable.
 * @throws {TypeError} If `baseURL` is not an http(s) URL, `model` is empty, `fields` is not an
 * array, or a header cannot be sent.
 * @throws {RangeError} If a limit is out of its bounds.
 */
export function openai<Input = unknown>(
  options: OpenAIOptions<Input>,
): (context: SourceContext<Input>) => AsyncQueue<Item> {
  const { limits, upstreams } = checkOptions(options);
  return (context) => {
    const queue = new AsyncQueue<Item>();
    const messages = options.messages?.(context) ?? messagesOf(context.input);
    const requests = upstreams.map((upstream) => ({
      upstream,
      body: () => bodyOf(upstream.options, context, messages),
    }));
    const { clock = systemClock } = options;
    fill({ queue, limits, clock, report: (error) => context.report(error) }, requests).then(
      (summary) => queue.close(summary),
      (error) => queue.fail(error),
    );
    return queue;
  };
}

/** What one run of the source needs, whichever upstream it asks. */
interface Run {
  readonly queue: AsyncQueue<Item>;
  readonly limits: OpenAILimits;
  readonly clock: Clock;
  /** Tells the operator of an error that the client does not see. */
  readonly report: (error: unknown) => void;
}

/** A request to one upstream. Its body is made when it is asked. */
interface UpstreamRequest {
  readonly upstream: CheckedUpstream<never>;
  readonly body: () => Blob;
}

/**
 * Fills the queue to the end, from the first upstream that sends an item. Whatever ends the queue
 * aborts the request.
 */
async function fill(run: Run, requests: readonly UpstreamRequest[]): Promise<Summary> {
  const { queue, limits, clock } = run;
  const endMs = clock.now() + limits.answerTimeoutMs;
  const fallbackMs = clock.now() + limits.fallbackTimeoutMs;
  const failures: Error[] = [];
  /** Reports those that have failed, once their errors are not told otherwise. */
  const reportFailures = (): void => failures.splice(0).forEach(run.report);
  for (const [i, request] of requests.entries()) {
    const isLast = i === requests.length - 1;
    if (i > 0 && !isLast && clock.now() >= fallbackMs) continue;
    const deadline = new Deadline(queue.signal, clock);
    if (isLast || endMs < fallbackMs) deadline.endAt(endMs, "answerTimeoutMs");
    else deadline.endAt(fallbackMs, "fallbackTimeoutMs");
    const begin = (): void => {
      deadline.endAt(endMs, "answerTimeoutMs");
      reportFailures();
    };
    try {
      const result = await ask(run, request, deadline, begin);
      if (!("mayRetry" in result)) {
        reportFailures();
        return result;
      }
      const { name, options } = request.upstream;
      const { error, mayFallBack } = result;
      if (requests.length === 1) throw error;
      failures.push(new Error(`${name}, model ${options.model}, failed`, { cause: error }));
      const isOver = isLast || !mayFallBack || clock.now() >= endMs;
      if (isOver) throw lastError(error, failures.splice(0));
    } catch (error) {
      if (!queue.closed) reportFailures();
      throw error;
    } finally {
      deadline.stop();
    }
  }
  throw new Error("Unreachable: the last upstream is always asked");
}

/** The error of the last upstream that was asked, with those of all of them as its cause. */
function lastError(error: unknown, failures: readonly Error[]): StreamError {
  const { code, status, title, retryAfter } = publicError(error);
  const cause = new AggregateError(failures, failures.map(({ message }) => message).join("; "));
  return new StreamError(code, {
    status,
    title,
    cause,
    ...retryAfter === undefined ? {} : { retryAfter },
  });
}

/** Asks one upstream, as often as it may be asked. */
async function ask(
  run: Run,
  { upstream, body }: UpstreamRequest,
  deadline: Deadline,
  begin: () => void,
): Promise<Summary | Failure> {
  const bytes = body();
  for (let tries = 0;; tries++) {
    const result = await attempt(run, upstream, bytes, deadline, begin);
    if (!("mayRetry" in result) || !result.mayRetry || tries >= run.limits.retries) return result;
    const backoffMs = Math.min(250 * 2 ** tries, 8000) * (0.5 + Math.random() / 2);
    const waitMs = result.waitMs || backoffMs;
    deadline.expect(Infinity, "");
    if (waitMs > MAX_RETRY_AFTER_MS || waitMs >= deadline.leftMs) return result;
    await deadline.pause(waitMs);
  }
}

/**
 * Sends one request and passes on what comes back.
 *
 * @param begin Called with the first item: nothing is asked again after it.
 * @returns The summary, or what failed before the first item.
 * @throws What failed after it.
 */
async function attempt(
  { queue, limits }: Run,
  upstream: CheckedUpstream<never>,
  body: Blob,
  deadline: Deadline,
  begin: () => void,
): Promise<Summary | Failure> {
  const { maxLineBytes, maxEventBytes } = limits;
  let hasBegun = false;
  let failure: Failure | undefined;
  const takeFirst = (event: ServerSentEvent) => {
    failure = failureIn(event, upstream);
    return failure === undefined ? answer.take(event) : "last";
  };
  const answer = new CompletionFiller(queue, upstream.mask);
  try {
    deadline.expect(limits.headTimeoutMs, "headTimeoutMs");
    const response = await connect(upstream, body, deadline);
    if ("mayRetry" in response) return response;
    deadline.expect(limits.firstTokenTimeoutMs, "firstTokenTimeoutMs");
    const isDone = await readEvents(
      response,
      deadline.signal,
      (event) => {
        const sent = hasBegun ? answer.take(event) : takeFirst(event);
        // A role, a comment or an empty event is no token.
        if (typeof sent !== "object") return sent;
        if (!hasBegun) {
          hasBegun = true;
          begin();
          deadline.expect(limits.tokenTimeoutMs, "tokenTimeoutMs");
        }
        if (accepted(sent)) return sent;
        // While our own client is slow, the upstream is not late.
        deadline.hold();
        return sent.then((room) => {
          deadline.release();
          return room;
        });
      },
      { maxLineBytes, maxEventBytes, fatal: true },
      () => deadline.extend(),
    );
    if (failure !== undefined) return failure;
    if (!isDone) deadline.check();
    const { summary } = answer;
    // With a finish reason the answer is whole, whether `[DONE]` came or not.
    if (summary.finishReason === undefined) throw new StreamError("truncated");
    return summary;
  } catch (error) {
    if (hasBegun || queue.closed) throw error;
    return failureOf(error);
  }
}

/** The failure that an event before the first item is, as if the response had had its status. */
function failureIn(
  { event, data }: ServerSentEvent,
  { name, mask }: CheckedUpstream<never>,
): Failure | undefined {
  const error = errorIn(data, event === "error");
  if (error === undefined) return undefined;
  const words = `${name} reported an error before its first token`;
  const cause = new UpstreamError(words, error.status, excerptOf(data, mask));
  return reportedFailure({ status: 200, error, code: "upstream_failed" }, cause);
}

/** Fills the queue with one response as its chunks arrive. */
class CompletionFiller {
  readonly #answer = new CompletionReader();
  readonly #queue: AsyncQueue<Item>;
  readonly #mask: (text: string) => string;

  /**
   * Creates a filler.
   *
   * @param mask Removes keys from what the operator is told.
   */
  constructor(queue: AsyncQueue<Item>, mask: (text: string) => string) {
    this.#queue = queue;
    this.#mask = mask;
  }

  /** How the response ended. */
  get summary(): Summary {
    return this.#answer.summary;
  }

  take({ event, data }: ServerSentEvent): Promise<boolean> | "last" | undefined {
    if (data === "[DONE]") return "last";
    if (event === "error") throw this.#failed(data);
    // Some servers send empty events to keep a connection alive.
    if (data === "") return undefined;
    const text = this.#answer.text(data);
    if (text !== undefined) return this.#queue.send(text);
    const chunk = parseChunk(data);
    if (chunk === undefined && data.trim() === "[DONE]") return "last";
    // Some send `null` in place of a chunk.
    if (data === "null") return undefined;
    if (chunk === undefined || isFailure(chunk)) throw this.#failed(data);
    return this.#send(this.#answer.items(chunk, data));
  }

  /** Sends the items of one chunk. Many of them wait for each other, as those of many chunks do. */
  #send(items: readonly Item[]): Promise<boolean> | undefined {
    let sent: Promise<boolean> | undefined;
    for (const [at, item] of items.entries()) {
      sent = this.#queue.send(item);
      if (!accepted(sent)) return this.#sendOn(sent, items.slice(at + 1));
    }
    return sent;
  }

  async #sendOn(sent: Promise<boolean>, items: readonly Item[]): Promise<boolean> {
    let hasRoom = await sent;
    for (const item of items) hasRoom &&= await this.#queue.send(item);
    return hasRoom;
  }

  /** The failure that the upstream reports. Some upstreams repeat the key in it. */
  #failed(data: string): StreamError {
    return upstreamFailed(this.#mask(data));
  }
}

/** The conversation in the default input, or in a chat route's. */
function messagesOf(input: unknown): ChatMessage[] {
  if (isObject(input)) {
    const { messages, query } = input as { messages?: unknown; query?: unknown };
    if (Array.isArray(messages)) return messages as ChatMessage[];
    if (typeof query === "string") return [{ role: "user", content: query }];
  }
  throw new TypeError("Cannot ask the upstream: the input has neither messages nor a query");
}

/** Fields of the input that are sent to the upstream, beside those that the server has fixed. */
function fieldsOf(input: unknown, names: readonly string[], fixed: object): Partial<ChatFields> {
  if (!isObject(input)) return {};
  const fields: Partial<ChatFields> = Object.fromEntries(
    Object.entries(input).filter(([name, value]) => names.includes(name) && value != null),
  );
  // An upstream takes one of the two, and a limit of the server's holds under either name.
  const limited = "max_tokens" in fixed || "max_completion_tokens" in fixed;
  if (limited || "max_completion_tokens" in fields) delete fields.max_tokens;
  if (limited) delete fields.max_completion_tokens;
  return fields;
}

function bodyOf<Input>(
  { body, fields = FIELDS, model }: OpenAIUpstream<Input>,
  context: SourceContext<Input>,
  messages: ChatMessage[],
): Blob {
  const fixed = typeof body === "function" ? body(context) : body;
  const json = JSON.stringify({
    stream_options: { include_usage: true },
    ...fieldsOf(context.input, fields, fixed ?? {}),
    ...fixed,
    model,
    messages,
    stream: true,
  });
  return new Blob([json]);
}
