/**
 * What the tests of the chat routes share: a handler that is asked without a socket, and sources that
 * answer, fail and leave. It stands apart so that each route is asked the same questions.
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
import type { Source } from "../../lib/pump.ts";
import { EventDecoder } from "../../lib/sse/decode.ts";
import type { ServerSentEvent } from "../../lib/sse/event.ts";
import { total } from "../child.ts";
import { until } from "../serve.ts";

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

/** The reader of `body` leaves, and nothing of it stays. */
export async function assertLeaves(path: string, body: unknown): Promise<void> {
  const { source, seen } = lasting();
  const abort = new AbortController();
  const asked = ask(createHandler({ source, commitAfterMs: 0 }), path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: abort.signal,
  });
  await until(() => active.sources === 1, 1000, "the source runs");
  abort.abort();
  await until(() => seen.aborted, 100, "the source was told");
  await (await asked).body?.cancel().catch(() => {});
  assert.equal(total(active), 0);
}
