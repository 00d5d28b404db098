/** What the tests of relaying sources share: a client, and the check that nothing was left open. */
import assert from "node:assert/strict";
import { active } from "../../lib/counters.ts";
import type { SseOptions } from "../../lib/http/options.ts";
import { sse } from "../../lib/http/sse.ts";
import type { Item } from "../../lib/item.ts";
import { openai, type OpenAIOptions } from "../../lib/sources/openai.ts";
import { collect } from "../../lib/testing.ts";
import { total } from "./child.ts";
import { until } from "./serve.ts";
import { type Mock, SECRET } from "./upstream/mock.ts";

/** What no reader may ever see. */
export const KEY = "sk-relay-0123456789";
/** Spaces on both ends, two scripts, a ZWJ sequence, a lone astral letter, CRLF and a blank line. */
export const TEXT = " Streaming responseのテスト 👩‍👩‍👧\r\n\r\n  blank line above, 𝒳 and a tail. ";

export const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms));

/** An answer as its reader has it. */
export interface Answer {
  status: number;
  headers: Headers;
  body: string;
  /** The tokens, joined. */
  text: string;
  /** The structured items. */
  items: Exclude<Item, string>[];
  /** `done`, `failed`, or nothing where the body is neither. */
  end: "done" | "failed" | undefined;
  /** What `done` or `failed` carries, or the problem that came instead of a stream. */
  // deno-lint-ignore no-explicit-any -- whatever the wire says is compared, not used
  last: any;
}

/** Reads a `json` stream, or a problem, to its end. */
export async function read(response: Response): Promise<Answer> {
  const { end, problem, summary, events, items, ...rest } = await collect(response, {
    format: "json",
  });
  const last = events.findIndex(({ event }) => event === "done" || event === "failed");
  assert.equal(last, last < 0 ? -1 : events.length - 1, "nothing follows the end");
  const answer = { ...rest, items: items.filter((item) => typeof item !== "string") };
  if (end === "completed") return { ...answer, end: "done", last: { reason: end, ...summary } };
  return { ...answer, end: last < 0 ? undefined : "failed", last: problem ?? {} };
}

/** Asks the mock through `openai()` and `sse()`, without a socket to the reader. */
export function relay(
  mock: Mock,
  model: string,
  { text = TEXT, source = {}, stream = {} }: {
    text?: string;
    source?: Partial<OpenAIOptions<undefined>>;
    stream?: SseOptions;
  } = {},
): Promise<Response> {
  const request = new Request("http://localhost/", { headers: { accept: "text/event-stream" } });
  const messages = () => [{ role: "user", content: text }];
  return sse(request, openai({ baseURL: mock.url, model, apiKey: KEY, messages, ...source }), {
    onError: () => {},
    ...stream,
  });
}

/** Nothing of the upstream's own words, and no key, in what the reader got. */
export function assertNoLeak({ headers, body }: { headers: Headers; body: string }): void {
  const all = `${JSON.stringify([...headers])}\n${body}`;
  assert(!all.includes(SECRET) && !all.includes(KEY) && !all.includes("x-upstream-detail"), all);
}

/** Every counter is back to zero, and every connection to the mock closed, within 100 ms. */
export async function assertNothingLeft(mock: Mock, withinMs = 2000): Promise<void> {
  const left = () => `${JSON.stringify(active)}, ${mock.open} connections`;
  const isNothing = () => total(active) === 0 && mock.open === 0;
  await until(isNothing, withinMs, "nothing left").catch((error) => {
    throw new Error(`${error.message}: ${left()}`);
  });
}
