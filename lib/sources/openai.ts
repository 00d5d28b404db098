/**
 * Relays any OpenAI-compatible upstream: its chat completion chunks become tokens and typed items,
 * and each of its failures becomes an error with a code of its own.
 */
import type { ChatFields, ChatMessage } from "../chat.ts";
import { CompletionReader, isFailure, parseChunk } from "../formats/completion_chunk.ts";
import { StreamError, upstreamFailed } from "../error.ts";
import type { SourceContext } from "../pipeline/pump.ts";
import type { Item, Summary } from "../item.ts";
import { checkOptionNames } from "../option_names.ts";
import { accepted, AsyncQueue } from "../pipeline/queue.ts";
import type { Clock } from "../pipeline/scheduler.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { Deadline } from "./deadline.ts";
import { discard, readUpstream } from "./upstream.ts";
import { isObject } from "../values.ts";

/** Options of {@linkcode openai}. */
export interface OpenAIOptions<Input = unknown> {
  /** The base URL of the API, as `https://api.openai.com/v1`. */
  baseURL: string;
  /** The model's name. */
  model: string;
  /** Sent as a bearer token, to this origin only. */
  apiKey?: string;
  /** The conversation. @default {`input.messages`, else `input.query` as the user's message} */
  messages?: (context: SourceContext<Input>) => ChatMessage[];
  /**
   * Further fields of the request's body: temperature, tools, … They override those of the input. A
   * limit on tokens also overrides the limit under its other name. For an upstream that knows only
   * the newer name: `({ input }) => ({ max_completion_tokens: input.max_tokens })`.
   */
  body?: Record<string, unknown> | ((context: SourceContext<Input>) => Record<string, unknown>);
  /**
   * Fields of the input that are sent to the upstream as well; `[]` is none of them. A client's key
   * and the model's name are never sent. @default {those that shape the answer: see `FIELDS`}
   */
  fields?: readonly string[];
  /** Further request headers. */
  headers?: Record<string, string>;
  /**
   * How long the upstream may take to send its response headers, in ms, 1 or more.
   * @default {60 000}
   */
  headTimeoutMs?: number;
  /** How long the first token may take after the headers, in ms, 1 or more. @default {120 000} */
  firstTokenTimeoutMs?: number;
  /** How long each further token may take, in ms, 1 or more. @default {60 000} */
  tokenTimeoutMs?: number;
  /** Bytes of the longest line, 1 or more. @default {1 MiB} */
  maxLineBytes?: number;
  /** Bytes of the largest event, 1 or more. @default {1 MiB} */
  maxEventBytes?: number;
  /** How often a request that failed before its first byte is sent again, 0 to 10. @default {0} */
  retries?: number;
  /** Time and timers, for tests. @default {the runtime's} */
  clock?: Clock;
}

/** What one run of the source needs to send its request and fill the queue. */
interface Relay {
  readonly url: string;
  readonly init: () => RequestInit;
  readonly apiKey: string | undefined;
  readonly options: Required<Pick<OpenAIOptions, typeof LIMITS[number]>>;
  readonly clock: Clock | undefined;
}

const NAMES: Record<keyof OpenAIOptions, true> = {
  baseURL: true,
  model: true,
  apiKey: true,
  messages: true,
  body: true,
  fields: true,
  headers: true,
  headTimeoutMs: true,
  firstTokenTimeoutMs: true,
  tokenTimeoutMs: true,
  maxLineBytes: true,
  maxEventBytes: true,
  retries: true,
  clock: true,
};
const LIMITS = [
  "headTimeoutMs",
  "firstTokenTimeoutMs",
  "tokenTimeoutMs",
  "maxLineBytes",
  "maxEventBytes",
  "retries",
] as const;
const DEFAULTS: Relay["options"] = {
  headTimeoutMs: 60_000,
  firstTokenTimeoutMs: 120_000,
  tokenTimeoutMs: 60_000,
  maxLineBytes: 1024 * 1024,
  maxEventBytes: 1024 * 1024,
  retries: 0,
};

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

/**
 * The longest `Retry-After`, in seconds, that a retry waits for; a longer one is sent to the client
 * at once.
 */
const MAX_RETRY_AFTER = 60;

/**
 * A source that calls an OpenAI-compatible upstream and streams its response.
 *
 * Text is a token. Reasoning is `{ event: "reasoning", data: { text } }`, a fragment of a tool call
 * `{ event: "tool_call", data: { index, id?, name?, arguments? } }`, with the name in the first one.
 * Further items are `refusal`, `file`, `audio`, `citation`, and `delta` for what nobody knows. The
 * finish reason, as far as it agrees with what came, and the usage are the summary. A response that
 * ends without a finish reason fails as `truncated`, one whose finish reason says that the model
 * broke off as `upstream_failed`.
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
  const limits = check(options);
  const url = new URL(options.baseURL);
  url.pathname = url.pathname.replace(/\/*$/, "/chat/completions");
  const headers = headersOf(options);
  return (context) => {
    const queue = new AsyncQueue<Item>();
    const messages = options.messages?.(context) ?? messagesOf(context.input);
    const fixed = typeof options.body === "function" ? options.body(context) : options.body;
    const body = new TextEncoder().encode(JSON.stringify({
      stream_options: { include_usage: true },
      ...fieldsOf(context.input, options.fields ?? FIELDS, fixed ?? {}),
      ...fixed,
      model: options.model,
      messages,
      stream: true,
    }));
    const init = (): RequestInit => ({
      method: "POST",
      headers,
      redirect: "manual",
      // An option of Bun's: it would unpack a compression bomb for 100 ms although the response is
      // rejected.
      decompress: false,
      // Deno 2.9 sends bytes again by itself when the connection breaks before the response
      // headers, those of `new Response(bytes).body` too, and the model is paid twice; it cannot do
      // that with a Blob's.
      body: new Blob([body]).stream(),
      duplex: "half",
    } as RequestInit);
    const { apiKey, clock } = options;
    fill(queue, { url: url.href, init, apiKey, options: limits, clock }).then(
      (summary) => queue.close(summary),
      (error) => queue.fail(error),
    );
    return queue;
  };
}

/** Fills the queue to the end. Whatever ends the queue aborts the request. */
async function fill(queue: AsyncQueue<Item>, relay: Relay): Promise<Summary> {
  const { firstTokenTimeoutMs, tokenTimeoutMs, maxLineBytes, maxEventBytes } = relay.options;
  const deadline = new Deadline(queue.signal, relay.clock);
  try {
    const response = await connect(relay, deadline);
    deadline.expect(firstTokenTimeoutMs);
    const answer = new CompletionFiller(queue, relay.apiKey);
    const isDone = await readUpstream(response, deadline.signal, (event) => {
      const sent = answer.take(event);
      // A role, a comment or an empty event is no token.
      if (typeof sent !== "object") return sent;
      deadline.expect(tokenTimeoutMs);
      if (accepted(sent)) return sent;
      // While our own client is slow, the upstream is not late.
      deadline.expect(Infinity);
      return sent.then((room) => {
        deadline.expect(tokenTimeoutMs);
        return room;
      });
    }, { maxLineBytes, maxEventBytes, fatal: true });
    if (!isDone) deadline.check();
    const { summary } = answer;
    // With a finish reason the answer is whole, whether `[DONE]` came or not.
    if (summary.finishReason === undefined) throw new StreamError("truncated");
    return summary;
  } finally {
    deadline.stop();
  }
}

/**
 * Waits for the upstream's response headers. An error status is mapped to what our client may know
 * of it.
 */
async function connect({ url, init, options }: Relay, deadline: Deadline): Promise<Response> {
  for (let tries = 0;; tries++) {
    let failure: StreamError;
    deadline.expect(options.headTimeoutMs);
    try {
      const response = await fetch(url, { ...init(), signal: deadline.signal });
      if (response.status === 200 && !isPacked(response)) return response;
      discard(response);
      failure = failureOf(response);
      const again = response.status === 429 || response.status >= 500;
      if (!again) throw failure;
    } catch (cause) {
      deadline.check();
      if (cause instanceof StreamError) throw cause;
      failure = new StreamError("bad_upstream", { cause });
    }
    const { retryAfter = 0 } = failure;
    if (tries >= options.retries || retryAfter > MAX_RETRY_AFTER) throw failure;
    const backoffMs = Math.min(250 * 2 ** tries, 8000) * (0.5 + Math.random() / 2);
    deadline.expect(Infinity);
    await deadline.pause(retryAfter * 1000 || backoffMs);
  }
}

/**
 * Whether the response is compressed. It was not asked for: it holds tokens back, and not every
 * runtime can undo it.
 */
function isPacked(response: Response): boolean {
  return (response.headers.get("content-encoding") ?? "identity") !== "identity";
}

/**
 * The error for an upstream's status: 429 stays 429, with its `Retry-After`; every other status is
 * the upstream's fault, 502.
 */
function failureOf(response: Response): StreamError {
  const cause = new Error(`The upstream answered ${response.status}`);
  if (response.status !== 429) return new StreamError("bad_upstream", { cause });
  const text = response.headers.get("retry-after") ?? "";
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  const sane = seconds >= 0 && seconds < 2 ** 31;
  return new StreamError("rate_limited", sane ? { retryAfter: seconds, cause } : { cause });
}

/** Fills the queue with one response as its chunks arrive. */
class CompletionFiller {
  readonly #answer = new CompletionReader();
  readonly #queue: AsyncQueue<Item>;
  readonly #apiKey: string | undefined;

  constructor(queue: AsyncQueue<Item>, apiKey: string | undefined) {
    this.#queue = queue;
    this.#apiKey = apiKey;
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
    let sent: Promise<boolean> | undefined;
    for (const item of this.#answer.items(chunk, data)) sent = this.#queue.send(item);
    return sent;
  }

  /**
   * The failure that the upstream reports. The key is removed from its text, because some upstreams
   * repeat it and it must not be logged.
   */
  #failed(data: string): StreamError {
    return upstreamFailed(this.#apiKey ? data.replaceAll(this.#apiKey, "***") : data);
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

function headersOf({ headers: further, apiKey }: OpenAIOptions<never>): Headers {
  try {
    const headers = new Headers(further);
    headers.set("content-type", "application/json");
    headers.set("accept", "text/event-stream");
    // A compressor in between holds tokens back.
    headers.set("accept-encoding", "identity");
    if (apiKey) headers.set("authorization", `Bearer ${apiKey}`);
    return headers;
  } catch {
    // Without its cause: Deno's error repeats the value, and the value may be a key.
    throw new TypeError(
      "Cannot create the source: apiKey or headers hold what no header can carry",
    );
  }
}

function check(options: OpenAIOptions<never>): Relay["options"] {
  checkOptionNames("Cannot create the source", options, Object.keys(NAMES));
  if (!/^https?:$/.test(URL.canParse(options.baseURL) ? new URL(options.baseURL).protocol : "")) {
    throw new TypeError("Cannot create the source: baseURL is not an http or https URL");
  }
  if (typeof options.model !== "string" || options.model === "") {
    throw new TypeError("Cannot create the source: model is missing");
  }
  // A string has an `includes` of its own.
  if (options.fields !== undefined && !Array.isArray(options.fields)) {
    throw new TypeError("Cannot create the source: fields is not an array of names");
  }
  const limits = { ...DEFAULTS };
  for (const name of LIMITS) {
    const value = options[name] ?? DEFAULTS[name];
    const [min, max] = name === "retries" ? [0, 10] : [1, 2 ** 31 - 1];
    if (!Number.isInteger(value) || value < min || value > max) {
      throw new RangeError(
        `Cannot create the source: ${name} is not an integer from ${min} to ${max}`,
      );
    }
    limits[name] = value;
  }
  return limits;
}
