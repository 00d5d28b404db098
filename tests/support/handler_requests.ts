/**
 * What the tests of the handler's routes share: requests to a handler without a socket, sources that
 * answer, fail and go on, and checks of what comes back.
 */
import assert from "node:assert/strict";
import { active } from "../../lib/counters.ts";
import { StreamError } from "../../lib/error.ts";
import {
  type ChatInput,
  createHandler,
  type Handler,
  type HandlerOptions,
} from "../../lib/handler.ts";
import type { Source } from "../../lib/pipeline/pump.ts";
import type { Item } from "../../lib/item.ts";
import type { AsyncQueue } from "../../lib/pipeline/queue.ts";
import { EventDecoder } from "../../lib/sse/decode.ts";
import type { ServerSentEvent } from "../../lib/sse/event.ts";
import { total } from "./child.ts";
import { until } from "./serve.ts";

/** Spaces on both ends, CR, CRLF, a blank line, what looks like a frame, a ZWJ sequence. */
export const HOSTILE = " Hel\rlo\r\n\r\ndata: x\nevent: y\n[DONE] 世界 👩‍👩‍👧 ";
export const quiet = { onError: (): void => {} };

export interface Asked {
  method?: string;
  headers?: Record<string, string>;
  body?: BodyInit;
  signal?: AbortSignal;
}

/** Asks a path; without a method it is a GET. */
export function ask(handler: Handler, path: string, asked: Asked = {}): Promise<Response> {
  return handler.fetch(new Request(`http://localhost${path}`, asked));
}

/** Posts a JSON body. */
export function post(
  handler: Handler,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  return ask(handler, path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

export async function eventsOf(response: Response): Promise<ServerSentEvent[]> {
  return new EventDecoder().feed(new Uint8Array(await response.arrayBuffer()));
}

/** A handler whose source keeps its input and answers in three tokens. */
export function keeper(options: Partial<HandlerOptions> = {}): {
  inputs: ChatInput[];
  handler: Handler;
} {
  const inputs: ChatInput[] = [];
  const source: Source<ChatInput> = async function* ({ input }) {
    inputs.push(input);
    yield "Hel";
    await Promise.resolve();
    yield "lo ";
    yield "世界";
    return { finishReason: "stop", usage: { prompt_tokens: 3, completion_tokens: 2 } };
  };
  return { inputs, handler: createHandler({ source, ...options }) };
}

/** Sources that fail: before the first token, or after it; in our words, or in their own. */
export const FAILURES: Record<"early" | "late" | "limited" | "bug", Source<ChatInput>> = {
  early: () => {
    throw new StreamError("bad_upstream");
  },
  limited: () => {
    throw new StreamError("rate_limited", { retryAfter: 7 });
  },
  bug: () => {
    throw new Error("secret: /etc/passwd");
  },
  late: async function* () {
    yield "half";
    await Promise.resolve();
    throw new StreamError("truncated");
  },
};

/** A limit on the bodies of the chat routes that `UNREADABLE` is over. */
export const SMALL: { limits: { maxChatBodyBytes: number } } = {
  limits: { maxChatBodyBytes: 2 ** 20 },
};

/** Bodies that no route can read, with the status of their refusal. */
export const UNREADABLE: [name: string, status: number, asked: Asked][] = [
  ["malformed JSON", 400, { body: '{"model":' }],
  ["an empty body", 400, { body: "" }],
  ["another media type", 415, { headers: { "content-type": "text/plain" } }],
  ["a body over the limit", 413, { body: `{"x":"${"x".repeat(2 ** 20)}"}` }],
];

/** A source that has said one token and waits until its reader has left. */
export function lasting(): { source: Source<ChatInput>; seen: { aborted: boolean } } {
  const seen = { aborted: false };
  const source: Source<ChatInput> = async ({ queue, signal }) => {
    queue.send("one");
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    seen.aborted = true;
  };
  return { source, seen };
}

/** Waits until nothing is left of any stream: those of earlier tests may still end. */
export const nothingLeft = (): Promise<void> =>
  until(() => total(active) === 0, 2000, "nothing is left");

/** The reader of `body` leaves for good, and nothing of it stays. */
export async function assertLeaves(path: string, body: unknown): Promise<void> {
  const { source, seen } = lasting();
  const abort = new AbortController();
  const handler = createHandler({ source, commitAfterMs: 0, disconnect: "cancel" });
  const asked = ask(handler, path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: abort.signal,
  });
  await until(() => active.sources === 1, 1000, "the source runs");
  abort.abort();
  await until(() => seen.aborted, 1000, "the source was told");
  await (await asked).body?.cancel().catch(() => {});
  await nothingLeft();
}

/** A source that says what its test tells it to, and lets be seen what became of it. */
export class Puppet {
  /** How often it was started. */
  runs = 0;
  /** Why it was let go, if it was. */
  reason: string | undefined;
  /** When that was, on the clock of `performance`. */
  abortedMs = 0;
  #queue: AsyncQueue<Item> | undefined;

  readonly source: Source<ChatInput> = ({ queue, signal }) => {
    this.runs++;
    this.reason = undefined;
    this.#queue = queue;
    signal.addEventListener("abort", () => {
      this.reason = (signal.reason as StreamError).code;
      this.abortedMs = performance.now();
    });
  };

  say(...tokens: string[]): void {
    for (const token of tokens) void this.#queue!.send(token);
  }

  end(): void {
    this.#queue!.close();
  }

  fail(error: StreamError): void {
    this.#queue!.fail(error);
  }
}

/** Every counter is back to zero, soon. */
export async function assertNothingLeft(): Promise<void> {
  await until(() => total(active) === 0, 2000, "nothing left").catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(active)}`);
  });
}

/** One route that streams, with a body that it takes and the name of the format that it writes. */
export interface StreamingRoute {
  readonly path: string;
  readonly body: object;
  readonly format: string;
  /** The text in the data of an event that has any. */
  textOf(data: string): string | undefined;
  /** What an error is called before the head, by code, in the words of the route's API. */
  readonly shape: "problem" | "openai" | "anthropic";
}

const messages = [{ role: "user", content: "Hi" }];

/** Every route that streams, in every format of events. */
export const ROUTES: readonly StreamingRoute[] = [
  {
    path: "/streaming",
    body: { query: "Hi" },
    format: "json",
    textOf: (data) => JSON.parse(data).token,
    shape: "problem",
  },
  {
    path: "/streaming?format=text",
    body: { query: "Hi" },
    format: "text",
    textOf: (data) => data.startsWith("{") ? undefined : data,
    shape: "problem",
  },
  {
    path: "/v1/chat/completions",
    body: { model: "m", messages, stream: true },
    format: "openai",
    textOf: (data) => data === "[DONE]" ? "" : JSON.parse(data).choices[0].delta.content,
    shape: "openai",
  },
  {
    path: "/v1/messages",
    body: { model: "m", max_tokens: 9, messages, stream: true },
    format: "anthropic",
    textOf: (data) => JSON.parse(data).delta?.text,
    shape: "anthropic",
  },
  {
    path: "/api/chat",
    body: { id: "chat-1", messages: [{ role: "user", parts: [{ type: "text", text: "Hi" }] }] },
    format: "ui-message",
    textOf: (data) => data === "[DONE]" ? "" : JSON.parse(data).delta,
    shape: "problem",
  },
  {
    path: "/ag-ui",
    body: { threadId: "thread-1", runId: "run-1", messages },
    format: "ag-ui",
    textOf: (data) => JSON.parse(data).delta,
    shape: "problem",
  },
];

/** The code of a refusal, after a look at its shape; `undefined` where its API has no codes. */
export async function refusal(
  response: Response,
  status: number,
  shape: StreamingRoute["shape"],
): Promise<string | undefined> {
  const text = await response.text();
  assert.equal(response.status, status, text);
  assert.equal(response.headers.get("cache-control"), "no-store");
  const type = shape === "problem" ? "application/problem+json" : "application/json";
  assert.equal(response.headers.get("content-type"), type);
  const value = JSON.parse(text);
  if (shape === "problem") {
    assert.equal(value.status, status);
    return value.code;
  }
  assert.equal(value.type, shape === "anthropic" ? "error" : undefined);
  assert.equal(typeof value.error.message, "string");
  assert.equal("param" in value.error, shape === "openai");
  return value.error.code;
}
