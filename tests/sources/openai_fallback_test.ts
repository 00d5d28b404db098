/**
 * `openai()` with more than one upstream: what fails before its first item is asked of the next one,
 * and nothing else is; each has its own address, key and body; the operator learns every reason.
 */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import test from "node:test";
import { StreamError } from "../../lib/error.ts";
import { openai, type OpenAIOptions } from "../../lib/sources/openai.ts";
import { UpstreamError } from "../../lib/sources/upstream_failure.ts";
import { SECRET } from "../support/upstream/mock.ts";
import {
  answer,
  chunk,
  head,
  reply,
  type Scripted,
  type ScriptedReply,
  startScripted,
  STREAM,
} from "../support/upstream/scripted.ts";
import { assertNoLeak, assertNothingLeft, KEY, read, relay, sleep } from "../support/relay.ts";
import { until } from "../support/serve.ts";
import { timed } from "../support/timing.ts";

const hang = (text: string) => (socket: Socket): void => void socket.write(text);

/** Asks upstreams of which each replies so, in their order. */
async function ask(
  replies: readonly ScriptedReply[],
  source: Partial<OpenAIOptions<undefined>> = {},
) {
  const upstreams = await Promise.all(replies.map((reply) => startScripted(reply)));
  const errors: Error[] = [];
  try {
    const [first, ...others] = upstreams;
    const fallback = others.map(({ url }, i) => ({ baseURL: url, model: `m${i + 1}` }));
    const answered = await read(
      await relay(first as never, "m0", {
        source: { fallback, ...source },
        stream: { commitAfterMs: 5000, onError: (error) => errors.push(error as Error) },
      }),
    );
    for (const upstream of upstreams) await assertNothingLeft(upstream as never);
    assertNoLeak(answered);
    return { ...answered, errors, asked: upstreams.map(({ requests }) => requests.length) };
  } finally {
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  }
}

const error = (code: unknown) => ({ error: { message: SECRET, code } });
const event = (code: unknown) => `data: ${JSON.stringify(error(code))}\n\n`;

const early: Record<string, ScriptedReply> = {
  "a reset": (socket) => socket.resetAndDestroy(),
  "401": reply(401, error("x")),
  "404": reply(404, error("x")),
  // https://github.com/BerriAI/litellm/issues/22296
  "429": reply(429, error("x"), { "retry-after": "3600" }),
  // https://github.com/openclaw/openclaw/issues/147644
  "413 for a limit of the account": reply(413, error("rate_limit_exceeded")),
  "503": reply(503, error("x")),
  "HTML": reply(200, "<p>hello</p>"),
  // https://github.com/BerriAI/litellm/issues/6957
  "an error as the first event": `${STREAM}${chunk({ role: "assistant" })}${event("overloaded")}`,
  "an end without an item": STREAM,
  "a role and no more": `${STREAM}${chunk({ role: "assistant" })}`,
  "no JSON": `${STREAM}data: {"choices"\n\n`,
};

for (const [name, failing] of Object.entries(early)) {
  test(`openai() asks the next upstream after ${name}`, async () => {
    const { end, text, asked, errors } = await ask([failing, answer("hi"), answer("no")]);
    assert.deepEqual([end, text, asked], ["done", "hi", [1, 1, 0]]);
    assert.equal(errors.length, 1);
    assert.match(errors[0]!.message, /^The upstream http:\/\/127.0.0.1:\d+\/v1, model m0, failed$/);
    assert(errors[0]!.cause instanceof StreamError);
  });
}

test("openai() asks no other upstream where the request is at fault", async () => {
  for (
    const [status, body, code] of [
      [400, error("x"), "upstream_bad_request"],
      [400, error("context_length_exceeded"), "context_length_exceeded"],
      [413, "too large", "upstream_too_large"],
      [422, error("x"), "upstream_unprocessable"],
    ] as const
  ) {
    const told = await ask([reply(status, body), answer("hi")]);
    assert.deepEqual([told.status, told.last.code, told.asked], [status, code, [1, 0]]);
    assert.equal(told.errors.length, 1);
  }
  const first = await ask([`${STREAM}${event(400)}`, answer("hi")]);
  assert.deepEqual([first.status, first.asked], [400, [1, 0]]);
});

timed("openai() asks no other upstream after the first item, whatever it was", async () => {
  const items = [
    chunk({ content: "Hel" }),
    chunk({ reasoning_content: "hm" }),
    chunk({ tool_calls: [{ index: 0, id: "a", function: { name: "f", arguments: "{" } }] }),
  ];
  const ends: [ScriptedReply, string][] = items.flatMap((item): [ScriptedReply, string][] => [
    [`${STREAM}${item}`, "truncated"],
    [`${STREAM}${item}${event(503)}`, "upstream_failed"],
    [hang(`${STREAM}${item}`), "upstream_timeout"],
  ]);
  for (const [failing, code] of ends) {
    const told = await ask([failing, answer("hi")], { tokenTimeoutMs: 100 });
    assert.deepEqual([told.status, told.last.code, told.asked], [200, code, [1, 0]]);
    assert.equal(told.errors.length, 1);
    assert(!(told.errors[0]!.cause instanceof AggregateError));
  }
});

test("openai() says of every upstream why it failed, when all have", async () => {
  const replies = [
    reply(503, error("x")),
    reply(401, error("x")),
    reply(429, error("x"), {
      "retry-after": "7",
    }),
  ];
  const { status, last, headers, asked, errors } = await ask(replies);
  assert.deepEqual([status, last.code, asked], [429, "rate_limited", [1, 1, 1]]);
  assert.equal(headers.get("retry-after"), "7");
  assert.equal(errors.length, 1);
  const { errors: reasons } = errors[0]!.cause as AggregateError;
  const told = reasons.map(({ cause }) => (cause.cause as UpstreamError).status);
  assert.deepEqual(told, [503, 401, 429]);
});

test("openai() asks each upstream as often as it may", async () => {
  const busy = reply(503, error("x"), { "retry-after-ms": "1" });
  const { asked } = await ask([busy, busy, answer("hi")], { retries: 2 });
  assert.deepEqual(asked, [3, 3, 1]);
});

timed(
  "openai() asks the last upstream once the others have had their time, and closes theirs",
  async () => {
    const waiting = [
      hang(""),
      hang(STREAM),
      hang(`${STREAM}${chunk({ role: "assistant" })}`),
      (socket: Socket) => {
        socket.write(STREAM);
        const timer = setInterval(() => socket.write(": busy\n\n"), 20);
        socket.on("close", () => clearInterval(timer));
      },
      reply(503, error("x"), { "retry-after": "5" }),
    ];
    for (const first of waiting) {
      const beganMs = performance.now();
      const source = { fallbackTimeoutMs: 200, retries: 1 };
      // The first one takes all the time that those before the last have together.
      const { text, asked, errors } = await ask([first, hang(""), answer("hi")], source);
      const tookMs = performance.now() - beganMs;
      assert.equal(text, "hi");
      assert(tookMs < 3000, `${tookMs} ms`);
      if (typeof first === "string") assert.deepEqual(asked, [1, 1, 1]);
      else assert.deepEqual([asked, errors.length], [[1, 0, 1], 1]);
    }
  },
);

timed(
  "openai() bounds no answer that has begun, nor the last upstream, by fallbackTimeoutMs",
  async () => {
    const slow = (socket: Socket) => {
      socket.write(`${STREAM}${chunk({ content: "h" })}`);
      setTimeout(() => socket.end(answer("i").slice(STREAM.length)), 250);
    };
    const began = await ask([slow, answer("no")], { fallbackTimeoutMs: 100 });
    assert.deepEqual([began.end, began.text, began.asked], ["done", "hi", [1, 0]]);
    const late = (socket: Socket) => setTimeout(() => socket.end(answer("hi")), 250);
    const last = await ask([reply(503, ""), late], { fallbackTimeoutMs: 100 });
    assert.deepEqual([last.end, last.text], ["done", "hi"]);
  },
);

timed("openai() bounds all upstreams together by answerTimeoutMs", async () => {
  const source = { answerTimeoutMs: 1000 };
  const { status, last, asked } = await ask([reply(503, ""), hang("")], source);
  assert.deepEqual([status, last.code, asked], [504, "upstream_timeout", [1, 1]]);
});

test("openai() gives each upstream its own key, headers, model, body and fields alone", async () => {
  const upstreams = await Promise.all([startScripted(reply(503, "")), startScripted(answer("hi"))]);
  const [first, second] = upstreams as [Scripted, Scripted];
  const source = openai<{ query: string; seed: number; top_p: number }>({
    baseURL: first.url,
    model: "first",
    apiKey: KEY,
    headers: { "x-first": "1" },
    body: { temperature: 0.1 },
    fields: ["seed"],
    messages: ({ input }) => [{ role: "user", content: input.query }],
    fallback: [{
      baseURL: `${second.url}?api-version=2`,
      model: "second",
      apiKey: "another",
      headers: { "x-second": "2" },
      body: ({ input }) => ({ user: input.query }),
    }],
  });
  const input = { query: "q", seed: 1, top_p: 0.5 };
  const reported: unknown[] = [];
  const report = (error: unknown) => reported.push(error);
  assert.deepEqual(await Array.fromAsync(source({ input, report } as never)), ["hi"]);
  await Promise.all(upstreams.map((upstream) => upstream.close()));
  assert.equal(reported.length, 1);
  const shared = { messages: [{ role: "user", content: "q" }], stream: true };
  const usage = { stream_options: { include_usage: true } };
  const [one, two] = [first.requests[0]!, second.requests[0]!];
  assert.deepEqual(one.body, { ...shared, ...usage, model: "first", temperature: 0.1, seed: 1 });
  assert.deepEqual(two.body, {
    ...shared,
    ...usage,
    model: "second",
    user: "q",
    seed: 1,
    top_p: 0.5,
  });
  assert.deepEqual([one.headers.authorization, two.headers.authorization], [
    `Bearer ${KEY}`,
    "Bearer another",
  ]);
  assert.deepEqual([one.headers["x-first"], one.headers["x-second"]], ["1", undefined]);
  assert.deepEqual([two.headers["x-first"], two.headers["x-second"]], [undefined, "2"]);
  assert.equal(two.path, "/v1/chat/completions?api-version=2");
  assert.doesNotMatch(JSON.stringify(two), new RegExp(KEY));
});

test("openai() reports why an upstream failed where the next one cannot be asked", async () => {
  const broken = () => {
    throw new TypeError("no body");
  };
  const { last, errors } = await ask([reply(503, error("x"))], {
    fallback: [{ baseURL: "http://127.0.0.1:1", model: "m", body: broken }],
  });
  assert.equal(last.code, "internal");
  assert.deepEqual(errors.map(({ message }) => message.replace(/http\S+/, "URL")), [
    "The upstream URL model m0, failed",
    "no body",
  ]);
});

test("openai() sends no key to an upstream that has none", async () => {
  const upstreams = await Promise.all([startScripted(reply(503, "")), startScripted(answer("hi"))]);
  const [first, second] = upstreams as [Scripted, Scripted];
  const fallback = [{ baseURL: second.url, model: "second" }];
  await read(await relay(first as never, "first", { source: { fallback } }));
  assert.equal(first.requests[0]!.headers.authorization, `Bearer ${KEY}`);
  assert.equal(second.requests[0]!.headers.authorization, undefined);
  await Promise.all(upstreams.map((upstream) => upstream.close()));
});

test("openai() closes the upstream that is asked when the client disconnects, and asks no other", async () => {
  for (const late of ["", head(503, {}), STREAM]) {
    const upstreams = await Promise.all([
      startScripted(reply(503, "")),
      startScripted(hang(late)),
      startScripted(answer("hi")),
    ]);
    const [first, ...others] = upstreams;
    const errors: unknown[] = [];
    const fallback = others.map(({ url }) => ({ baseURL: url, model: "m" }));
    const stream = { commitAfterMs: 0, onError: (error: unknown) => errors.push(error) };
    const response = await relay(first as never, "m", { source: { fallback }, stream });
    await until(() => upstreams[1]!.requests.length === 1, 5000, "the second is asked");
    await sleep(20);
    await response.body!.cancel();
    await assertNothingLeft(upstreams[1] as never);
    await sleep(50);
    assert.deepEqual([upstreams[2]!.requests.length, errors], [0, []]);
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  }
});

test("openai() names what is wrong with a fallback", () => {
  const upstream = { baseURL: "http://localhost", model: "m" };
  const wrong: [unknown, string][] = [
    [{ ...upstream }, "fallback is not an array of upstreams"],
    [[upstream, { ...upstream, model: "" }], "fallback[1]: model is missing"],
    [[{ ...upstream, baseURL: "x" }], "fallback[0]: baseURL is not an http or https URL"],
    [[{ ...upstream, baseUrl: "x" }], "fallback[0]: unknown option baseUrl; did you mean baseURL?"],
    [[{ ...upstream, retries: 1 }], "fallback[0]: unknown option retries"],
    [[null], "fallback[0]: null is no object of options"],
    [
      [{ ...upstream, apiKey: "あ" }],
      "fallback[0]: apiKey or headers hold what no header can carry",
    ],
  ];
  for (const [fallback, message] of wrong) {
    assert.throws(() => openai({ ...upstream, fallback } as never), {
      name: "TypeError",
      message: `Cannot create the source: ${message}`,
    });
  }
  assert.throws(() => openai({ ...upstream, fallbackTimeoutMs: 0 }), RangeError);
});

timed("openai() asks no other upstream once answerTimeoutMs has passed", async () => {
  const source = { answerTimeoutMs: 200, fallbackTimeoutMs: 5000 };
  const { asked, last, errors } = await ask([hang(STREAM), answer("late")], source);
  assert.deepEqual([asked, last.code], [[1, 0], "upstream_timeout"]);
  assert.equal(errors.length, 1);
});
