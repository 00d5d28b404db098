/**
 * What real upstreams send, case by case: through `openai()` on each route of the handler, through `relay`
 * in each format, and through `collect`. The upstream is the mock, over a real socket.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { createHandler } from "../../mod.ts";
import type { Handler } from "../../lib/handler.ts";
import { sse } from "../../lib/http/sse.ts";
import { anthropicFormat } from "../../lib/formats/anthropic.ts";
import type { Format } from "../../lib/formats/format.ts";
import { openaiFormat } from "../../lib/formats/openai.ts";
import { uiMessageFormat } from "../../lib/formats/ui_message.ts";
import type { StreamReport } from "../../lib/pipeline/generation.ts";
import { openai, type OpenAIOptions } from "../../lib/sources/openai.ts";
import { relay } from "../../lib/sources/relay.ts";
import { collect } from "../../lib/testing.ts";
import { KEY } from "../support/relay.ts";
import { until } from "../support/serve.ts";
import { merged } from "../support/upstream/dialects/answer.ts";
import { type Case, choices, chunk, finish, say } from "../support/upstream/dialects/case.ts";
import { CASES as CALLS } from "../support/upstream/dialects/cases_calls.ts";
import { CASES as ENDS } from "../support/upstream/dialects/cases_end.ts";
import { CASES as TEXTS } from "../support/upstream/dialects/cases_text.ts";
import {
  assertEnd,
  assertParts,
  eventsOf,
  type FormatName,
  partsOf,
  readBack,
  type Told,
} from "../support/upstream/dialects/readers.ts";
import {
  assertQuiet,
  GAPS_MS,
  type Scripted,
  startScripted,
} from "../support/upstream/dialects/server.ts";
import { tried } from "../support/timing.ts";
import type { Mock } from "../support/upstream/mock.ts";

const CASES = [...ENDS, ...TEXTS, ...CALLS];
const scripts = new Map<string, Scripted>();
let mock: Mock;
let handler: Handler;
let report: StreamReport | undefined;
const told = { onClose: (given: StreamReport) => void (report = given), onError: () => {} };

/** Asks for the script of a name, which is what the user says. */
const asking = (more: Partial<OpenAIOptions<{ query: string }>> = {}) =>
  createHandler({
    source: (context) =>
      openai({ baseURL: mock.url, apiKey: KEY, model: context.input.query, ...more })(context),
    commitAfterMs: 5000,
    ...told,
  });

before(async () => {
  mock = await startScripted(scripts);
  handler = asking();
});
after(() => mock.close());

const messages = (content: string) => [{ role: "user", content }];
const ui = (text: string) => [{ id: "u1", role: "user", parts: [{ type: "text", text }] }];
/** Asks a handler for the script of a name. */
type Ask = (handler: Handler, query: string) => Promise<Response>;
const sending =
  (path: string, bodyOf: (query: string) => object, accept = "text/event-stream"): Ask =>
  (handler, query) => {
    const headers = { "content-type": "application/json", accept };
    const body = JSON.stringify(bodyOf(query));
    return handler.fetch(new Request(`http://localhost${path}`, { method: "POST", headers, body }));
  };
const chat = (stream: boolean) =>
  sending("/v1/chat/completions", (query) => ({ model: "m", messages: messages(query), stream }));
const claude = (stream: boolean) =>
  sending("/v1/messages", (query) => {
    return { model: "m", max_tokens: 99, messages: messages(query), stream };
  });

/** Each route of the handler that streams, in each format that it has. */
const ROUTES: Partial<Record<FormatName, Ask>> = {
  "json": sending("/streaming", (query) => ({ query })),
  "ndjson": sending("/streaming", (query) => ({ query }), "application/x-ndjson"),
  "plain": sending("/streaming", (query) => ({ query }), "text/plain"),
  "openai": chat(true),
  "openai buffered": chat(false),
  "anthropic": claude(true),
  "anthropic buffered": claude(false),
  "ui-message": sending("/api/chat", (query) => ({ id: "chat-1", messages: ui(query) })),
};
/** Formats under which a response is relayed. */
const FORMATS: Partial<Record<FormatName, Format | "json" | "plain">> = {
  "json": "json",
  "plain": "plain",
  "openai": openaiFormat,
  "openai buffered": openaiFormat.with({ buffered: true }),
  "anthropic": anthropicFormat,
  "ui-message": uiMessageFormat,
};

const isGood = (end: Case["end"]) =>
  end !== "upstream_failed" && end !== "truncated" && end !== "rate_limited";

/** The kinds of part that what is only mentioned may come as. */
const OTHERS = ["delta", "citation"];

/** Whether the format has a place for what has no shape of its own. */
const carriesAll = (format: FormatName) => format !== "plain" && !format.startsWith("anthropic");

function assertTold(format: FormatName, given: Told, asked: Case): void {
  const { parts, end, reason, mentions, bodyEnd } = asked;
  const isOther = (kind: string) => mentions !== undefined && OTHERS.includes(kind);
  const rest = { ...given, parts: given.parts.filter(({ kind }) => !isOther(kind)) };
  // One document holds the whole answer or its failure, and `plain` just breaks off.
  // What a reset overtakes may never arrive.
  const isGone = bodyEnd === "rst" && given.parts.length === 0;
  const isLost = given.end === "failed" && (format.endsWith("buffered") || isGone);
  if (!isLost) assertParts(format, { ...rest, parts: merged(rest.parts) }, parts);
  if (isGood(end)) {
    const refused = parts.some(({ kind }) => kind === "refusal");
    assertEnd(format, given, { end: end as "stop", reason, refused });
    for (const words of mentions ?? []) {
      if (carriesAll(format)) assert(given.body.includes(words), `${words} in ${given.body}`);
    }
  } else {
    assert.equal(given.end, "failed", given.body);
    if (given.code !== undefined) assert.equal(given.code, end);
  }
}

/** What the operator is told of the end. */
async function assertReported({ end, reason }: Case): Promise<void> {
  await until(() => report !== undefined, 5000, "the report");
  const { outcome, code, finishReason } = report!;
  assert.equal(outcome, isGood(end) ? "completed" : "failed");
  if (!isGood(end)) assert.equal(code, end);
  else assert([end, reason].includes(finishReason), `the finish reason ${finishReason}`);
}

for (const given of CASES) {
  const { name, body, bodyEnd, end, onlyOpenAI } = given;
  /** Checks one format; where the body is broken off, which may overtake what went ahead, perhaps again. */
  const checked = (format: FormatName, check: () => Promise<void>) => {
    const attempt = async (again: number) => {
      report = undefined;
      const broken = bodyEnd && { end: bodyEnd, gapMs: GAPS_MS[again]! };
      scripts.set(name, { pieces: [body], ...broken });
      await within(format, check);
    };
    return bodyEnd === undefined ? attempt(0) : tried(`${name}, ${format}`, attempt);
  };

  test(`openai(): ${name}`, async () => {
    for (const [format, ask] of Object.entries(ROUTES) as [FormatName, Ask][]) {
      await checked(format, async () => {
        const response = await ask(handler, name);
        if (end === "rate_limited") assert.equal(response.status, 429);
        assertTold(format, await readBack(format, response), given);
        await assertReported(given);
      });
    }
    await assertQuiet(mock);
  });
  if (onlyOpenAI) continue;

  test(`relay(): ${name}`, async () => {
    for (const [format, value] of Object.entries(FORMATS) as [FormatName, Format][]) {
      await checked(format, async () => {
        const upstream = fetch(`${mock.url}/chat/completions`, {
          method: "POST",
          body: JSON.stringify({ model: name, stream: true }),
        });
        const response = await sse(new Request("http://localhost/"), relay(upstream), {
          format: value,
          commitAfterMs: 5000,
          ...told,
        });
        if (format === "json") await assertPassed(response, given);
        else assertTold(format, await readBack(format, response), given);
        await assertReported(given);
      });
    }
    await assertQuiet(mock);
  });
  if (bodyEnd !== undefined) continue;

  test(`collect(): ${name}`, async () => {
    const headers = { "content-type": "text/event-stream" };
    const answer = await collect(new Response(body, { headers }), { format: "openai" });
    const parts = partsOf(answer.items).filter(({ kind }) =>
      !(given.mentions && OTHERS.includes(kind))
    );
    assertParts("json", { parts: merged(parts), end: "stop", body }, given.parts);
    const ends = { upstream_failed: "failed", truncated: "truncated" } as Record<string, string>;
    assert.equal(answer.end, ends[end] ?? "completed");
    if (!isGood(end)) return;
    const { finishReason } = answer.summary;
    assert([end, given.reason].includes(finishReason), `the finish reason ${finishReason}`);
  });
}

/** Says of which format an assertion speaks. */
async function within(format: FormatName, check: () => Promise<void>): Promise<void> {
  try {
    await check();
  } catch (cause) {
    throw new Error(`in ${format}: ${(cause as Error).message}`, { cause });
  }
}

/** In `json` a response's events are passed on as they came, up to its end or its failure. */
async function assertPassed(response: Response, { body, end }: Case): Promise<void> {
  const given = await response.text();
  if (response.status !== 200) return assert.equal(isGood(end), false, given);
  // What says nothing may pass or not.
  const passed = eventsOf(given).map(({ event, data }) => [event, data])
    .filter(([, data]) => data !== "null");
  const last = passed.pop();
  assert.equal(last?.[0], isGood(end) ? "done" : "failed", given);
  if (!isGood(end)) assert.equal(JSON.parse(last![1]!).code, end);
  const all = eventsOf(body).map(({ event, data }) => [event, data]);
  const done = all.findIndex(([, data]) => data!.trim() === "[DONE]");
  const sent = all.slice(0, done < 0 ? all.length : done).filter(([, data]) => data !== "null");
  assert.deepEqual(passed, isGood(end) ? sent : sent.slice(0, passed.length));
}

test("openai(): comments of the upstream are signs of life", async () => {
  const pieces = [chunk({ content: "Hel" })];
  const pause = ": OPENROUTER PROCESSING\n\n";
  scripts.set("comments", {
    pieces: [...pieces, pause, pause, pause, pause, pause, say("lo"), finish("stop")],
    pauseMs: 300,
  });
  report = undefined;
  const patient = asking({ tokenTimeoutMs: 1200 });
  const given = await readBack("json", await ROUTES.json!(patient, "comments"));
  assertParts("json", given, [{ kind: "text", text: "Hello" }]);
  assert.equal(given.end, "stop", given.body);
});

test("openai(): a picture over 1 MiB arrives, or its limit is named", async () => {
  const base64 = "A".repeat(1.5 * 2 ** 20);
  const image = { type: "image_url", image_url: { url: `data:image/png;base64,${base64}` } };
  scripts.set("picture", { pieces: [chunk({ images: [image] }), finish("stop")] });
  for (const [format, ask] of Object.entries(ROUTES) as [FormatName, Ask][]) {
    const larger = { maxLineBytes: 2 ** 22, maxEventBytes: 2 ** 22 };
    for (const limits of [{}, larger]) {
      await within(format, async () => {
        report = undefined;
        const given = await readBack(format, await ask(asking(limits), "picture"));
        await until(() => report !== undefined, 5000, "the report");
        if (given.end === "failed") {
          assert.match(report!.code!, /^(line|event|item)_too_large$/);
        } else {
          assertParts(format, given, [{ kind: "file", mediaType: "image/png", base64 }]);
        }
      });
    }
  }
});

test("openai(): log probabilities that were asked for arrive, or are refused by their name", async () => {
  const logprobs = {
    content: [{ token: "Hello", logprob: -0.31415, bytes: null, top_logprobs: [] }],
  };
  const choice = { index: 0, delta: { content: "Hello" }, logprobs, finish_reason: null };
  scripts.set("logprobs", { pieces: [choices([choice]), finish("stop")] });
  for (const stream of [true, false]) {
    const asked = { model: "m", messages: messages("logprobs"), stream, logprobs: true };
    const response = await sending("/v1/chat/completions", () => asked)(handler, "");
    const body = await response.text();
    if (response.status !== 200) assert.equal(response.status, 400);
    assert(body.includes(response.status === 200 ? "-0.31415" : "logprobs"), body);
  }
});

test("openai(): members beside a call go back to the upstream with it", async () => {
  const extra_content = { google: { thought_signature: "EjQKMg==" } };
  const call = {
    id: "c1",
    type: "function",
    function: { name: "f", arguments: "{}" },
    extra_content,
  };
  scripts.set("again", { pieces: [say("Hello"), finish("stop")] });
  const said = [
    ...messages("again"),
    { role: "assistant", content: null, tool_calls: [call] },
    { role: "tool", tool_call_id: "c1", content: "sunny" },
  ];
  const asked = { model: "m", messages: said, stream: true };
  const response = await sending("/v1/chat/completions", () => asked)(handler, "");
  assert.equal((await readBack("openai", response)).end, "stop");
  const sent = mock.requests.at(-1)!.body as { messages: unknown[] };
  assert.deepEqual(sent.messages, said);
});

test("the table has unique names, and cases of reports beyond the first in each part", () => {
  assert.equal(new Set(CASES.map(({ name }) => name)).size, CASES.length);
  for (const cases of [ENDS, TEXTS, CALLS]) {
    assert(cases.filter(({ from }) => from !== undefined).length >= 5);
  }
});
