/**
 * What `openai()` makes of the failures that real upstreams report, as a status, as a body or as the
 * first event: what the client is told, how often the upstream is asked, and what the operator reads.
 * The addresses are those of public reports in which a server got it wrong.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { StreamError } from "../../lib/error.ts";
import { ALL_CODES } from "../../lib/handler/openapi/all_codes.ts";
import type { OpenAIOptions } from "../../lib/sources/openai.ts";
import { UpstreamError } from "../../lib/sources/upstream_failure.ts";
import { SECRET } from "../support/upstream/mock.ts";
import {
  answer,
  chunk,
  head,
  reply,
  type ScriptedReply,
  startScripted,
  STREAM,
} from "../support/upstream/scripted.ts";
import { assertNoLeak, assertNothingLeft, KEY, read, relay } from "../support/relay.ts";
import { least, timed } from "../support/timing.ts";

/** Asks an upstream that replies so. */
async function ask(
  replies: ScriptedReply[],
  source: Partial<OpenAIOptions<undefined>> = {},
  commitAfterMs = 5000,
) {
  const upstream = await startScripted(...replies);
  const errors: StreamError[] = [];
  try {
    const response = await relay(upstream as never, "m", {
      source,
      stream: { commitAfterMs, onError: (error) => errors.push(error as StreamError) },
    });
    const answered = await read(response);
    await assertNothingLeft(upstream as never);
    assertNoLeak(answered);
    return { ...answered, errors, requests: upstream.requests, url: upstream.url };
  } finally {
    await upstream.close();
  }
}

/** A body as OpenAI has it, with what no client may see. */
const error = (code: unknown, type: unknown = null, message = "") => ({
  error: { message: `${message} ${SECRET}`, type, param: null, code },
});

interface Case {
  reply: string;
  status: number;
  code: string;
  /** How often it is asked if it may be asked twice. @default {1} */
  requests?: number;
}

const cases: Record<string, Case> = {
  // https://github.com/BerriAI/litellm/issues/2745
  "OpenAI and Azure: a prompt that is too long": {
    reply: reply(400, error("context_length_exceeded", "invalid_request_error")),
    status: 400,
    code: "context_length_exceeded",
  },
  // https://github.com/oobabooga/textgen/issues/7257
  "llama.cpp: the same as a type": {
    reply: reply(400, error(400, "exceed_context_size_error")),
    status: 400,
    code: "context_length_exceeded",
  },
  // https://github.com/ggml-org/llama.cpp/pull/15780
  "llama.cpp: the same as a 500": {
    reply: reply(500, error(500, "exceed_context_size_error")),
    status: 400,
    code: "context_length_exceeded",
  },
  // https://github.com/vllm-project/vllm/pull/33425
  "vLLM: the same in words alone": {
    reply: reply(
      400,
      error(400, "BadRequestError", "This model's maximum context length is 2048 tokens."),
    ),
    status: 400,
    code: "context_length_exceeded",
  },
  // https://github.com/BerriAI/litellm/issues/7259
  "LiteLLM: the same, wrapped": {
    reply: reply(400, error("400", null, "ContextWindowExceededError: prompt is too long: 2 > 1")),
    status: 400,
    code: "context_length_exceeded",
  },
  "OpenAI: a text that is too long": {
    reply: reply(400, error("string_above_max_length", "invalid_request_error")),
    status: 400,
    code: "context_length_exceeded",
  },
  "a request that is wrong": {
    reply: reply(400, error("unsupported_value", "invalid_request_error")),
    status: 400,
    code: "upstream_bad_request",
  },
  "FastAPI: a field that is wrong, with the request in it": {
    reply: reply(422, { detail: [{ loc: ["body"], msg: SECRET, input: "x".repeat(100_000) }] }),
    status: 422,
    code: "upstream_unprocessable",
  },
  "nginx: a body that is too large": {
    reply: reply(413, `<h1>Request Entity Too Large</h1> ${SECRET}`),
    status: 413,
    code: "upstream_too_large",
  },
  // https://github.com/openclaw/openclaw/issues/147644
  "Groq: 413 for a limit of the account": {
    reply: reply(413, error("rate_limit_exceeded", "tokens", "Request too large")),
    status: 413,
    code: "rate_limited",
  },
  // https://github.com/cequence-io/openai-scala-client/issues/109
  "Gemini: 400 for a wrong key, in a list": {
    reply: reply(400, [{
      error: {
        code: 400,
        message: SECRET,
        status: "INVALID_ARGUMENT",
        details: [{ reason: "API_KEY_INVALID" }],
      },
    }]),
    status: 502,
    code: "bad_upstream",
  },
  // https://github.com/langchain-ai/langchainjs/issues/1929
  "OpenAI: no quota is left": {
    reply: reply(429, error("insufficient_quota", "insufficient_quota")),
    status: 429,
    code: "rate_limited",
  },
  "too many requests": {
    reply: reply(429, error("rate_limit_exceeded"), { "retry-after": "0.01" }),
    status: 429,
    code: "rate_limited",
    requests: 2,
  },
  // https://github.com/8monkey-ai/hebo-gateway/pull/129
  "an upstream that says not to ask again": {
    reply: reply(503, error("overloaded_error"), { "x-should-retry": "false" }),
    status: 502,
    code: "bad_upstream",
  },
  "an upstream that says to ask again": {
    reply: reply(404, error("no_replica"), { "x-should-retry": "true" }),
    status: 502,
    code: "bad_upstream",
    requests: 2,
  },
  "408": {
    reply: reply(408, error(null)),
    status: 504,
    code: "upstream_timeout",
    requests: 2,
  },
  "200 with an error in JSON": {
    reply: reply(200, error(429)),
    status: 429,
    code: "rate_limited",
    requests: 2,
  },
  "200 with an error in JSON that has no code": {
    reply: reply(200, { error: SECRET }),
    status: 502,
    code: "bad_upstream",
    requests: 2,
  },
  "200 with HTML": {
    reply: reply(200, `<h1>${SECRET}</h1>`),
    status: 502,
    code: "bad_upstream",
  },
  ...Object.fromEntries([401, 402, 403, 404, 405, 410].map((status) => [String(status), {
    reply: reply(status, error("x")),
    status: 502,
    code: "bad_upstream",
  }])),
  ...Object.fromEntries([409, 425, 500, 502, 503, 504, 524, 529].map((status) => [String(status), {
    reply: reply(status, error("x")),
    status: 502,
    code: "bad_upstream",
    requests: 2,
  }])),

  // https://github.com/openclaw/clawrouter/issues/101
  "Perplexity: the first event is a 400": {
    reply: `${STREAM}event: error\ndata: ${JSON.stringify(error(400, "invalid_request"))}\n\n`,
    status: 400,
    code: "upstream_bad_request",
  },
  // https://github.com/tontinton/maki/pull/980
  "OpenRouter: the first event is a 429": {
    reply: `${STREAM}: OPENROUTER PROCESSING\n\ndata: ${
      JSON.stringify({
        choices: [],
        error: { code: 429, message: SECRET, metadata: { error_type: "rate_limit_exceeded" } },
      })
    }\n\n`,
    status: 429,
    code: "rate_limited",
    requests: 2,
  },
  "OpenRouter: the provider is not there": {
    reply: `${STREAM}data: ${
      JSON.stringify({
        choices: [],
        error: { message: SECRET, metadata: { error_type: "provider_unavailable" } },
      })
    }\n\n`,
    status: 502,
    code: "upstream_failed",
    requests: 2,
  },
  "the error of a choice, after its role": {
    reply: `${STREAM}${chunk({ role: "assistant" })}${
      chunk({}, { finish_reason: "error", error: { code: 429, message: SECRET } })
    }`,
    status: 429,
    code: "rate_limited",
    requests: 2,
  },
  // https://github.com/huggingface/huggingface_hub/pull/2558
  "TGI: the first event is a text with a type": {
    reply: `${STREAM}data: ${JSON.stringify({ error: SECRET, error_type: "validation" })}\n\n`,
    status: 422,
    code: "upstream_unprocessable",
  },
  // https://github.com/BerriAI/litellm/issues/6629
  "LiteLLM: the first event is a prompt that is too long": {
    reply: `${STREAM}data: ${JSON.stringify(error("400", null, "Input is too long"))}\n\n`,
    status: 400,
    code: "context_length_exceeded",
  },
  // https://github.com/Blaizzy/nativ/pull/195
  "the first event is a text": {
    reply: `${STREAM}data: ${JSON.stringify({ error: SECRET })}\n\n`,
    status: 502,
    code: "upstream_failed",
    requests: 2,
  },
  "old vLLM: the first event is an error without a name": {
    reply: `${STREAM}data: ${JSON.stringify({ object: "error", message: SECRET, code: 400 })}\n\n`,
    status: 400,
    code: "upstream_bad_request",
  },
  "the first event is an error that is no JSON": {
    reply: `${STREAM}event: error\ndata: ${SECRET}\n\n`,
    status: 502,
    code: "upstream_failed",
    requests: 2,
  },
};

for (const [name, { reply, status, code, requests = 1 }] of Object.entries(cases)) {
  test(`openai() tells ${status} ${code}: ${name}`, async () => {
    const once = await ask([reply]);
    assert.deepEqual([once.status, once.last.code, once.end], [status, code, undefined]);
    assert.equal(once.last.title, ALL_CODES[code]![1]);
    assert.equal(once.requests.length, 1);
    assert.deepEqual(once.errors.map((error) => error.code), [code]);
    // What may be asked again is, and an answer is one.
    const twice = await ask([reply, answer("hi")], { retries: 1 });
    assert.equal(twice.requests.length, requests);
    if (requests === 2) assert.deepEqual([twice.end, twice.text], ["done", "hi"]);
    else assert.deepEqual([twice.status, twice.last.code], [status, code]);
  });
}

test("openai() asks no more after the first item, whatever the error says", async () => {
  const failure = `data: ${JSON.stringify(error(429))}\n\n`;
  const items = [
    chunk({ content: "Hel" }),
    chunk({ reasoning_content: "hm" }),
    chunk({ tool_calls: [{ index: 0, id: "a", function: { name: "f", arguments: "{" } }] }),
  ];
  for (const item of items) {
    const failed = await ask([`${STREAM}${item}${failure}`, answer("hi")], { retries: 3 });
    assert.deepEqual([failed.status, failed.end], [200, "failed"]);
    assert.deepEqual([failed.last.code, failed.requests.length], ["upstream_failed", 1]);
  }
});

test("openai() takes an error in a text for no error", async () => {
  const said = '{"error": {"code": 429}}';
  const told = await ask([answer(said)]);
  assert.deepEqual([told.end, told.text], ["done", said]);
});

// https://github.com/ktorio/ktor/pull/5836
test("openai() reads an event stream that has no content type", async () => {
  const { end, text } = await ask([
    answer("hi").replace("content-type: text/event-stream\r\n", ""),
  ]);
  assert.deepEqual([end, text], ["done", "hi"]);
});

// --- waiting ---

// https://github.com/openai/openai-python/issues/957
// https://github.com/microsoft/kernel-memory/pull/795
const waits: [headers: Record<string, string>, seconds: string | null][] = [
  [{ "retry-after": "7" }, "7"],
  [{ "retry-after": "1.2" }, "2"],
  [{ "retry-after-ms": "1200" }, "2"],
  [{ "retry-after-ms": "20.5" }, "1"],
  [{ "x-ms-retry-after-ms": "3000" }, "3"],
  [{ "retry-after-ms": "1200", "retry-after": "60" }, "2"],
  [{ "retry-after-ms": "soon", "retry-after": "60" }, "60"],
  [{ "retry-after": "soon" }, null],
  [{ "retry-after": "-1" }, null],
  [{ "retry-after-ms": "9".repeat(300) }, null],
  [{}, null],
];

test("openai() tells the wait of 429, 503 and 529 in whole seconds", async () => {
  for (const status of [429, 503, 529]) {
    for (const [headers, seconds] of waits) {
      const told = await ask([reply(status, error("x"), headers)]);
      assert.equal(told.status, status === 429 ? 429 : 502);
      assert.equal(told.headers.get("retry-after"), seconds, JSON.stringify(headers));
    }
  }
});

test("openai() tells the wait that Google writes into the error", async () => {
  const details = [{ retryDelay: "33.5s" }];
  const body = [{ error: { code: 429, status: "RESOURCE_EXHAUSTED", details } }];
  const told = await ask([reply(429, body)]);
  assert.deepEqual([told.status, told.headers.get("retry-after")], [429, "34"]);
});

timed("openai() waits for as long as it was told, and not for the second it tells", async () => {
  const replies = [reply(503, error("x"), { "retry-after-ms": "300" }), answer("hi")];
  const beganMs = performance.now();
  const { end } = await ask(replies, { retries: 1 });
  const tookMs = performance.now() - beganMs;
  assert.equal(end, "done");
  assert(tookMs >= 295 && tookMs < 980, `${tookMs} ms`);
});

// --- the operator ---

/** What the operator reads: the message of the cause, its status and its body. */
async function causeOf(reply: ScriptedReply, source: Partial<OpenAIOptions<undefined>> = {}) {
  const { errors, url, last } = await ask([reply], source);
  assert.equal(errors.length, 1);
  assert(errors[0] instanceof StreamError);
  const cause = errors[0].cause as UpstreamError;
  assert(cause instanceof UpstreamError);
  assert.doesNotMatch(cause.message, /\n/);
  return { ...cause, message: cause.message.replace(url, "URL"), code: last.code };
}

test("openai() tells the operator what is wrong, in different words", async () => {
  const json = `{"error":{"message":" ${SECRET}","type":null,"param":null,"code":"x"}}`;
  const words: [ScriptedReply, string][] = [
    [reply(401, error("x")), `The upstream URL refused the API key (401): ${json}`],
    [reply(403, error("x")), `The upstream URL refused the API key (403): ${json}`],
    [
      reply(404, "<p>no\nsuch page</p>"),
      "The upstream URL knows no such path or model (404): is the base URL right?: " +
      "<p>no such page</p>",
    ],
    [
      reply(404, error("model_not_found")),
      `The upstream URL knows no such model (404): ${json.replace('"x"', '"model_not_found"')}`,
    ],
    [
      reply(429, error("insufficient_quota")),
      "The upstream URL has no quota left for this key (429): " +
      json.replace('"x"', '"insufficient_quota"'),
    ],
    [reply(400, error("x")), `The upstream URL rejected the request (400): ${json}`],
    [reply(500, ""), "The upstream URL responded with 500"],
    [
      reply(200, "<p>hello</p>"),
      "The upstream URL responded with 200 and text/html in place of an event stream: " +
      "<p>hello</p>",
    ],
    // https://github.com/psf/requests/issues/5494
    [
      reply(301, "", { location: `https://other.example/v1?key=${SECRET}` }),
      "The upstream URL redirects to https://other.example/v1 (301), which is not followed: is " +
      "the base URL right?",
    ],
    // https://github.com/Wei-Shaw/claude-relay-service/pull/1039
    [
      head(200, { "content-type": "text/event-stream", "content-encoding": "gzip" }),
      "The upstream URL responded with 200 and compressed, which was not asked for",
    ],
    [
      `${STREAM}data: {"error":"no"}\n\n`,
      'The upstream URL reported an error before its first token: {"error":"no"}',
    ],
  ];
  for (const [reply, message] of words) assert.equal((await causeOf(reply)).message, message);
  const reset = await causeOf((socket) => socket.resetAndDestroy());
  assert.match(reset.message, /^The upstream URL cannot be reached: .*reset/i);
});

test("openai() tells the operator where nothing listens, and nothing of the address's query", async () => {
  const { url, close } = await startScripted("");
  await close();
  const { message } = await causeOf("", { baseURL: `${url}?key=${KEY}` });
  assert.match(
    message,
    /^The upstream http:\/\/127\.0\.0\.1:\d+\/v1 cannot be reached: .*refused/i,
  );
  assert.doesNotMatch(message, new RegExp(KEY));
});

test("openai() tells the operator the status and the first 500 characters of the body", async () => {
  const { status, body, message } = await causeOf(reply(500, "é".repeat(10_000)));
  assert.deepEqual([status, body], [500, "é".repeat(500)]);
  assert(message.endsWith(`: ${body}`));
  const none = await causeOf(reply(500, ""));
  assert.deepEqual([none.status, none.body], [500, ""]);
});

test("openai() masks keys in what the operator is told, also where they are cut", async () => {
  const further = { "api-key": "azure-0123456789", "x-goog-api-key": "goog-0123456789" };
  const said = [
    `key ${KEY}`,
    `"${KEY}"`,
    "sk-proj-abcd1234",
    "sk-ab**********yz",
    "gsk_0123456789",
    "AIzaSy0123456789",
    "authorization: Bearer abc.def",
    "azure-0123456789",
    "goog-0123456789",
    `${"x".repeat(490)}${KEY}`,
  ];
  for (const text of said) {
    const { message, body } = await causeOf(reply(500, text), { headers: further });
    assert(body!.includes("***"), body!);
    for (const key of [KEY, KEY.slice(0, 10), "abcd1234", "0123456789", "abc.def", "sk-ab", "yz"]) {
      assert(!message.includes(key), `${key} in ${message}`);
    }
  }
  const event = await causeOf(`${STREAM}data: {"error":"${KEY}"}\n\n`);
  assert.match(event.message, /: \{"error":"\*\*\*"\}$/);
});

timed(
  "openai() waits for a body no longer than half a second, and for the head's limit at most",
  async () => {
    const stalled = (socket: { write(text: string): void }) =>
      void socket.write(`${head(503, { "content-type": "text/plain" })}half of it`);
    const waitMs = async (headTimeoutMs: number) => {
      const beganMs = performance.now();
      const { status, body, code } = await causeOf(stalled, { headTimeoutMs });
      assert.deepEqual([status, body, code], [503, "half of it", "bad_upstream"]);
      return performance.now() - beganMs;
    };
    const longest = await waitMs(60_000);
    assert(longest >= 480 && longest < 3000, `${longest} ms`);
    const shorter = await least(480, () => waitMs(250));
    assert(shorter < 480, `${shorter} ms`);
  },
);
