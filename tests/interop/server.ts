/**
 * The server that the real clients are tried on: every route of the handler, and `sse` itself on GET,
 * over sources that are slow or break. It runs in the test's process, behind a real socket, so that a
 * test sees when a source learns that its client has disconnected.
 */
import type { Item } from "../../lib/item.ts";
import type { SourceContext } from "../../lib/pipeline/pump.ts";
import { active } from "../../lib/counters.ts";
import { createHandler, sse, StreamError } from "../../mod.ts";
import { textOf } from "../../lib/chat.ts";
import { total } from "../support/child.ts";
import { runtimeName, serve, type Served, until } from "../support/serve.ts";

/** What a text has to survive, cut into tokens where it hurts most. */
export const HOSTILE: readonly string[] = [
  "  ", // leading spaces, in a token of their own
  " Streaming response",
  "の",
  "テスト 世界",
  "\r", // CRLF, cut in two
  "\n\r\n",
  "\n\n  a blank line above, and a lone CR\rhere",
  "[DONE]",
  "\ndata: [DONE]\n\n",
  "data: x\nevent: done\ndata: {}\n\n",
  "event: failed\nid: 1\nretry: 1\n: comment\n\n",
  " 👩\u200d", // a ZWJ sequence and a surrogate pair, cut in two
  "👩\u200d👧 \ud835",
  "\udcb3",
  '"\\ \t\u2028\u2029\u0000\ufeff{"token":"x"}</script>',
  "a trailing space \n",
  "\r\n ",
];
/** The hostile text. */
export const TEXT: string = HOSTILE.join("");

/** 100 KB of it. */
export const LONG: string = TEXT.repeat(Math.ceil(100 * 1024 / TEXT.length));
/** What comes before the failure in mid-stream. */
export const HALF = "Half an answer, ";
/** What only the operator may see. */
export const SECRET = "sk-interop-0123456789";
/** What a reader is told by the scenes `refused` and `broken`. */
export const REFUSAL = "Come back tomorrow";
export const FAILURE = "The model fell over";
/** How long the scenes `hush` and `silent` say nothing. */
export const SILENCE_MS = 12_000;

/** One call of a source. */
export interface Run {
  readonly scene: string;
  readonly input: unknown;
  /** When its signal aborted, on the clock of `performance`. */
  abortedMs: number | undefined;
}

type Context = SourceContext<unknown>;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function* pieces(text: string, length: number): AsyncIterable<string> {
  for (let at = 0; at < text.length; at += length) {
    yield text.slice(at, at + length);
  }
}

/** The scenes by the text that a reader sends. A text that names none is answered as it is. */
const SCENES: Record<string, (context: Context) => AsyncIterable<Item>> = {
  hostile: async function* () {
    yield* HOSTILE;
  },
  long: () => pieces(LONG, 97),
  /** A token now and then, with a heartbeat or two in between. */
  halting: async function* () {
    for (const token of ["one", " two", " three"]) {
      await sleep(250);
      yield token;
    }
  },
  /** Silence before the head, and again after it. */
  hush: async function* () {
    await sleep(SILENCE_MS);
    yield "at last";
  },
  silent: async function* () {
    yield "before, ";
    await sleep(SILENCE_MS);
    yield "after";
  },
  endless: async function* ({ signal }) {
    while (!signal.aborted) {
      yield "on ";
      await sleep(5);
    }
  },
  /** Not a token ever, until the reader leaves. */
  stuck: async function* ({ signal }) {
    yield await new Promise<string>((resolve) => {
      signal.addEventListener("abort", () => resolve("too late"));
    });
  },
  // deno-lint-ignore require-yield -- it has nothing to say
  refused: async function* () {
    throw new StreamError("rate_limited", { title: REFUSAL, retryAfter: 7 });
  },
  // deno-lint-ignore require-yield -- nor has this
  crashed: async function* () {
    throw new Error(`The key ${SECRET} is wrong`);
  },
  broken: async function* () {
    yield HALF;
    // The head is out and the text is read before it fails.
    await sleep(20);
    throw new StreamError("upstream_failed", {
      title: FAILURE,
      cause: new Error(SECRET),
    });
  },
  /** What an OpenAI-compatible upstream gives beside text, as `openai()` relays it. */
  rich: async function* () {
    yield { event: "reasoning", data: { text: "The weather, " } };
    yield { event: "reasoning", data: { text: "so a tool." } };
    yield "I ask.";
    yield {
      event: "tool_call",
      data: { index: 0, id: "call_a", name: "weather", arguments: "" },
    };
    yield { event: "tool_call", data: { index: 0, arguments: '{"city":' } };
    yield { event: "tool_call", data: { index: 0, arguments: '"東京"}' } };
    yield {
      event: "tool_call",
      data: { index: 1, id: "call_b", name: "time", arguments: "{}" },
    };
    const usage = { prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 };
    return { finishReason: "tool_calls", usage };
  },
  /** Structured data that no client knows by itself. */
  items: async function* () {
    yield "Two ";
    yield { event: "sources", data: { urls: ["https://a.example/"] } };
    yield "parts";
    return {
      finishReason: "length",
      usage: { prompt_tokens: 3, completion_tokens: 2 },
    };
  },
};

/** What tools have answered since the model spoke last. */
function toolResults(input: unknown): string[] {
  const messages = (input as { messages?: { role: string; content: unknown }[] })?.messages ?? [];
  const spoke = messages.findLastIndex(({ role }) => role !== "tool");
  return messages.slice(spoke + 1).map(({ content }) => textOf(content));
}

/** A server of scenes. */
export interface Scenes extends Served {
  /** Every call of a source, oldest first. */
  readonly runs: Run[];
  /** What the operator was told. */
  readonly errors: unknown[];
}

// Deno 2.9's fetch forgets its signal when its response is collected, though the body is still read: an
// abort then does nothing, one time in a few hundred. A body that holds its response is safe.
const responses = new WeakMap<ReadableStream, Response>();
const plainFetch = globalThis.fetch;
if (runtimeName === "deno") {
  globalThis.fetch = (async (...request: Parameters<typeof fetch>) => {
    const response = await plainFetch(...request);
    if (response.body !== null) responses.set(response.body, response);
    return response;
  }) as typeof fetch;
}

/** The model's name that the server knows. */
export const MODEL = "scenes-1";

/** Starts the server; `heartbeatMs` is short unless the test waits for the default. */
export function startScenes(
  { heartbeatMs = 100 }: { heartbeatMs?: number } = {},
): Scenes {
  const runs: Run[] = [];
  const errors: unknown[] = [];
  const onError = (error: unknown) => void errors.push(error);

  function act(scene: string, context: Context): AsyncIterable<Item> {
    const run: Run = { scene, input: context.input, abortedMs: undefined };
    runs.push(run);
    context.signal.addEventListener(
      "abort",
      () => run.abortedMs = performance.now(),
    );
    const told = toolResults(context.input);
    if (told.length > 0) return pieces(`The tools say: ${told.join(", ")}`, 8);
    return Object.hasOwn(SCENES, scene) ? SCENES[scene]!(context) : pieces(scene, 8);
  }
  const source = (context: SourceContext<{ query: string }>) => act(context.input.query, context);
  const handler = createHandler({
    source,
    models: { [MODEL]: source },
    heartbeatMs,
    commitAfterMs: 50,
    // Every client reads events with ids; who leaves here leaves for good.
    disconnect: "cancel",
    onError,
  });
  const server = serve((request, info) => {
    const url = new URL(request.url);
    if (url.pathname !== "/sse") return handler.fetch(request, info);
    const scene = url.searchParams.get("q") ?? "";
    return sse(request, (context) => act(scene, context), {
      heartbeatMs,
      commitAfterMs: 50,
      onError,
    });
    // What Bun's own server has for a default: the heartbeats have to keep `sse` alive.
  }, { idleTimeout: 10 });
  return { ...server, runs, errors };
}

/** Every counter is back to zero, soon. */
export async function assertNothingLeft(): Promise<void> {
  await until(() => total(active) === 0, 2000, "nothing left").catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(active)}`);
  });
}

/** How soon a source must be told that its reader has left. */
const NOTICE_MS = 100;

/**
 * Lets a reader leave, and asserts that the latest source was told within 100 ms. `leave` answers when
 * the reader left, on the clock of `performance`. A machine that is busy elsewhere gets further tries.
 *
 * @returns How many ms it took.
 */
export async function assertNoticed(
  { runs, errors }: Scenes,
  leave: () => Promise<number>,
): Promise<number> {
  for (let tries = 1;; tries++) {
    const leftMs = await leave();
    const run = runs.at(-1)!;
    await until(() => run.abortedMs !== undefined, 2000, "the source is told");
    await assertNothingLeft();
    if (errors.length > 0) throw new Error("A departure is no error", { cause: errors[0] });
    const tookMs = run.abortedMs! - leftMs;
    if (tookMs <= NOTICE_MS) return tookMs;
    if (tries === 8) throw new Error(`${run.scene}: the source was told after ${tookMs} ms`);
  }
}
