/**
 * Every way in which the mock upstream can fail, and what the reader is told: a status while nothing
 * was sent, `failed` afterwards, never a `done` for half an answer. Then the retries and time limits.
 */
import assert from "node:assert/strict";
import { createServer, type Server, type Socket } from "node:net";
import test, { after, before } from "node:test";
import { StreamError } from "../../lib/error.ts";
import type { OpenAIOptions } from "../../lib/sources/openai.ts";
import type { StreamReport } from "../../lib/pipeline/generation.ts";
import { until } from "../support/serve.ts";
import { faults, type Mock, startMock } from "../support/upstream/mock.ts";
import {
  assertNoLeak,
  assertNothingLeft,
  KEY,
  read,
  relay,
  sleep,
  TEXT,
} from "../support/relay.ts";
import { ALL_CODES } from "../../lib/handler/openapi/all_codes.ts";
import { timed } from "../support/timing.ts";

let mock: Mock;
before(async () => {
  mock = await startMock();
});
after(() => mock.close());

/** What a fault becomes. */
interface Expected {
  /** Of `done`, which is `completed`, or of the failure. */
  code: string;
  /** How much of the text comes first. */
  text: "none" | "some" | "all";
  limits?: Partial<OpenAIOptions<undefined>>;
  model?: string;
  finishReason?: string;
}

const SHORT_MS = 200;
const whole: Expected = { code: "completed", text: "all" };
const refused: Expected = { code: "bad_upstream", text: "none" };
const broken: Expected = { code: "upstream_failed", text: "some" };
const cutOff: Expected = { code: "truncated", text: "some" };
const tooLong: Expected = { code: "line_too_large", text: "some" };
const late = (limit: keyof OpenAIOptions, text: Expected["text"]): Expected => {
  return { code: "upstream_timeout", text, limits: { [limit]: SHORT_MS } };
};

const STATUS: Record<string, number> = {
  bad_upstream: 502,
  upstream_failed: 502,
  truncated: 502,
  line_too_large: 502,
  event_too_large: 502,
  upstream_timeout: 504,
  rate_limited: 429,
  upstream_bad_request: 400,
};

const expected: Record<string, Expected> = {
  "plain": whole,
  "reasoning": whole,
  "tools": { ...whole, text: "none", finishReason: "tool_calls" },
  "length": { ...whole, finishReason: "length" },
  "comments": whole,
  "crlf": whole,
  "crlf-split": whole,
  "cr": whole,
  "bom": whole,
  "no-space": whole,
  "many-lines": whole,
  "fields": whole,
  "empty-events": whole,
  "empty-choices": whole,
  "bytes": whole,
  "slow": { ...whole, model: "mock:slow?delayMs=5" },
  "gzip": refused,
  "no-type": whole,
  "die-head": refused,
  "die-before-first": { ...cutOff, text: "none" },
  "die-fin": cutOff,
  "die-rst": cutOff,
  "die-between": cutOff,
  "rst-at-once": refused,
  "hang-head": late("headTimeoutMs", "none"),
  "hang-body": late("firstTokenTimeoutMs", "none"),
  "hang-first": late("firstTokenTimeoutMs", "none"),
  "hang-middle": late("tokenTimeoutMs", "some"),
  "short-length": cutOff,
  "bad-chunk": cutOff,
  "no-done": whole,
  "no-finish": { ...cutOff, text: "all" },
  "no-end": cutOff,
  "after-done": whole,
  "done-silence": whole,
  "garbage-http": refused,
  "garbage-body": { ...broken, text: "none" },
  "bad-json": broken,
  "wrong-json": broken,
  "bad-utf8": broken,
  "big-line": tooLong,
  "big-event": { ...tooLong, code: "event_too_large" },
  "big-comment": tooLong,
  "big-field": tooLong,
  "big-id": tooLong,
  "endless-comments": late("answerTimeoutMs", "some"),
  "endless": { ...whole, model: "mock:endless?bytes=100000" },
  "big-head": refused,
  "gzip-bomb": refused,
  "error-object": broken,
  "error-chunk": broken,
  "error-event": broken,
  "error-flat": broken,
  "400": { code: "upstream_bad_request", text: "none" },
  "401": refused,
  "403": refused,
  "404": refused,
  "429": { code: "rate_limited", text: "none" },
  "500": refused,
  "503": refused,
  "500-sse": refused,
  "huge-503": refused,
  "hang-500": refused,
  "html": refused,
  "json": refused,
  "json-whole": refused,
  "204": refused,
  "redirect-loop": refused,
  "redirect-other": refused,
  "fail-then-ok": { ...refused, model: "mock:fail-then-ok?n=2" },
};

test("every fault of the mock has its row here", () => {
  assert.deepEqual(Object.keys(expected).sort(), Object.keys(faults).sort());
});

/** Relays one fault; `commitAfterMs` 5000 lets a failure be a status, 0 makes every one of them in-band. */
async function fail(name: string, commitAfterMs: number) {
  const { limits = {}, model = `mock:${name}` } = expected[name]!;
  const errors: unknown[] = [];
  const reports: StreamReport[] = [];
  const asked = mock.requests.length;
  const beganMs = performance.now();
  const answer = await read(
    await relay(mock, model, {
      source: limits,
      stream: {
        commitAfterMs,
        onError: (error) => errors.push(error),
        onClose: (report) => reports.push(report),
      },
    }),
  );
  const tookMs = performance.now() - beganMs;
  return { answer, errors, reports, tookMs, requests: mock.requests.length - asked };
}

for (const [name, { code, text, limits, finishReason = "stop" }] of Object.entries(expected)) {
  for (const gate of ["status", "in-band"] as const) {
    timed(`openai() ${name}: ${faults[name]} (${gate})`, async () => {
      const { answer, errors, reports, tookMs, requests } = await fail(
        name,
        gate === "status" ? 5000 : 0,
      );
      const limitMs = limits === undefined ? 0 : SHORT_MS;
      // Bytes one by one take their time; whatever else fails does so within its limit plus a second.
      assert(name === "bytes" || tookMs < limitMs + 1000, `${tookMs} ms`);
      assertNoLeak(answer);
      await assertNothingLeft(mock, 100);
      assert.equal(requests, 1, "requests");
      const failed = code !== "completed";
      const isStatus = failed && text === "none" && gate === "status";
      assert.equal(answer.status, isStatus ? STATUS[code] : 200);
      if (isStatus) assert.equal(answer.end, undefined);
      else assert.equal(answer.end, failed ? "failed" : "done");
      if (failed) {
        assert.deepEqual(answer.last, {
          type: "about:blank",
          title: ALL_CODES[code]![1],
          status: STATUS[code],
          code,
        });
      } else assert.equal(answer.last.finishReason, finishReason);
      if (name === "endless") assert(answer.text.startsWith(TEXT));
      else assert(TEXT.startsWith(answer.text), "a prefix of the right text");
      if (text === "all") assert(answer.text.length >= TEXT.length);
      if (text === "none") assert.equal(answer.text, "");
      if (text === "some") assert(answer.text.length > TEXT.length / 3);
      assert.deepEqual(errors.map((error) => (error as StreamError).code), failed ? [code] : []);
      assert.deepEqual(reports.map(({ outcome }) => outcome), [failed ? "failed" : "completed"]);
    });
  }
}

test("openai() never contacts what a redirect points at", () => {
  assert.deepEqual(mock.other.requests, []);
});

test("openai() asks once on every status that a redirect can have", async () => {
  for (const status of [301, 302, 303, 307, 308]) {
    const answer = await read(await relay(mock, `mock:redirect-other?status=${status}`));
    assert.deepEqual([answer.status, answer.last.code], [502, "bad_upstream"]);
    assertNoLeak(answer);
  }
  assert.deepEqual(mock.other.requests, []);
});

for (const format of ["text", "ndjson"] as const) {
  test(`openai() fails in ${format} as in json`, async () => {
    const response = await relay(mock, "mock:die-fin", { stream: { format } });
    const body = await response.text();
    assert(body.includes('"code":"truncated"') && !body.includes("completed"), body);
  });
}

test("openai() breaks a plain body off", async () => {
  const response = await relay(mock, "mock:die-fin", { stream: { format: "plain" } });
  let text = "";
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  await assert.rejects(async () => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      text += value;
    }
  });
  assert(text.length > 0 && TEXT.startsWith(text));
});

test("openai() hands the Retry-After of a 429 on, and nothing that is none", async () => {
  const date = new Date(Date.now() + 90_000).toUTCString();
  const cases: [string, (seconds: number | null) => boolean][] = [
    ["1", (seconds) => seconds === 1],
    ["3600", (seconds) => seconds === 3600],
    [date, (seconds) => seconds !== null && seconds > 85 && seconds <= 90],
    ["0", (seconds) => seconds === 0],
    ["soon", (seconds) => seconds === null],
    ["-5", (seconds) => seconds === null],
    ["9".repeat(400), (seconds) => seconds === null],
    [new Date(0).toUTCString(), (seconds) => seconds === null],
  ];
  for (const [retryAfter, holds] of cases) {
    const model = `mock:429?${new URLSearchParams({ retryAfter })}`;
    const answer = await read(await relay(mock, model));
    assert.equal(answer.status, 429);
    const header = answer.headers.get("retry-after");
    assert(holds(header === null ? null : Number(header)), `${retryAfter}: ${header}`);
  }
});

// --- limits ---

test("openai() counts lines and events by its own limits", async () => {
  const source = { maxLineBytes: 1000, maxEventBytes: 2000 };
  const line = await read(await relay(mock, "mock:big-line?bytes=3000", { source }));
  assert.equal(line.last.code, "line_too_large");
  const event = await read(await relay(mock, "mock:big-event?bytes=3000", { source }));
  assert.equal(event.last.code, "event_too_large");
  const small = await read(await relay(mock, "mock:big-comment?bytes=900", { source }));
  assert.deepEqual([small.end, small.text], ["done", TEXT]);
  await assertNothingLeft(mock, 100);
});

timed("openai() gives the first token its own limit, also after a role", async () => {
  const slow = "mock:plain?firstMs=300";
  const patient = { firstTokenTimeoutMs: 5000, tokenTimeoutMs: 100 };
  const waited = await read(await relay(mock, slow, { source: patient }));
  assert.deepEqual([waited.end, waited.text], ["done", TEXT]);
  const hasty = { firstTokenTimeoutMs: 100, tokenTimeoutMs: 5000 };
  const late = await read(
    await relay(mock, slow, { source: hasty, stream: { commitAfterMs: 5000 } }),
  );
  assert.deepEqual([late.status, late.last.code], [504, "upstream_timeout"]);
  await assertNothingLeft(mock, 100);
});

timed("openai() times each limit on its own", async () => {
  const limits = { headTimeoutMs: 150, firstTokenTimeoutMs: 150, tokenTimeoutMs: 150 };
  const model = "mock:slow?headMs=80&delayMs=80&tokens=5";
  const slow = await read(await relay(mock, model, { source: limits }));
  assert.equal(slow.end, "done");
  for (const [model, limit] of [["?headMs=400", "head"], ["?firstMs=400", "firstToken"]]) {
    const source = { [`${limit}TimeoutMs`]: 150 };
    const beganMs = performance.now();
    const stream = { commitAfterMs: 5000 };
    const answer = await read(await relay(mock, `mock:plain${model}`, { source, stream }));
    assert.equal(answer.status, 504);
    const tookMs = performance.now() - beganMs;
    assert(tookMs >= 145 && tookMs < 390, `${tookMs} ms`);
  }
  const middle = await read(
    await relay(mock, "mock:slow?delayMs=400&tokens=3", { source: { tokenTimeoutMs: 150 } }),
  );
  assert.deepEqual([middle.end, middle.last.code], ["failed", "upstream_timeout"]);
  await assertNothingLeft(mock, 100);
});

timed("openai() does not take a slow reader of ours for a late upstream", async () => {
  const response = await relay(mock, "mock:endless?bytes=2000000", {
    source: { tokenTimeoutMs: 150 },
  });
  const reader = response.body!.getReader();
  let body = "";
  for (let reads = 0;; reads++) {
    const { done, value } = await reader.read();
    if (done) break;
    body += new TextDecoder().decode(value);
    if (reads < 3) await sleep(300);
  }
  assert.match(body, /event: done\n.*\n\n$/s);
  await assertNothingLeft(mock, 100);
});

// --- retries ---

let keys = 0;
/** A model that fails `n` times, counted for itself alone. */
const failing = (how: string, n: number, more = "") =>
  `mock:fail-then-ok?how=${how}&n=${n}&key=${++keys}${more}`;
const askedFor = (model: string) =>
  mock.requests.filter(({ body }) => (body as { model?: string }).model === model).length;

for (const how of ["503", "429", "500", "rst", "fin"]) {
  test(`openai() asks again after ${how}, as often as it may`, async () => {
    const source = { retries: 2 };
    const stream = { commitAfterMs: 5000 };
    const [twice, thrice] = [failing(how, 2), failing(how, 3)];
    const answer = await read(await relay(mock, twice, { source, stream }));
    assert.deepEqual([answer.end, answer.text, askedFor(twice)], ["done", TEXT, 3]);
    const failed = await read(await relay(mock, thrice, { source, stream }));
    const status = how === "429" ? 429 : 502;
    assert.deepEqual([failed.status, askedFor(thrice)], [status, 3]);
    assertNoLeak(failed);
    await assertNothingLeft(mock, 100);
  });
}

timed("openai() waits as long as Retry-After says before it asks again", async () => {
  const model = failing("429", 1, "&retryAfter=1");
  const beganMs = performance.now();
  const answer = await read(await relay(mock, model, { source: { retries: 1 } }));
  const tookMs = performance.now() - beganMs;
  assert.deepEqual([answer.end, answer.text], ["done", TEXT]);
  assert(tookMs >= 990 && tookMs < 2000, `${tookMs} ms`);
});

test("openai() tells the reader at once of a Retry-After that is too long to wait for", async () => {
  for (const seconds of [61, 3600, 99_999_999]) {
    const model = failing("429", 1, `&retryAfter=${seconds}`);
    const stream = { commitAfterMs: 5000 };
    const answer = await read(await relay(mock, model, { source: { retries: 3 }, stream }));
    assert.deepEqual([answer.status, askedFor(model)], [429, 1]);
    assert.equal(answer.headers.get("retry-after"), String(seconds));
  }
});

for (
  const name of [
    ..."400 401 404 html json-whole redirect-loop 204 gzip".split(" "),
    ..."hang-body die-before-first die-fin die-rst bad-json error-object".split(" "),
  ]
) {
  test(`openai() asks once, whatever it may, after ${name}`, async () => {
    const model = `mock:${name}?tokens=10`;
    const asked = askedFor(model);
    const source = { retries: 3, firstTokenTimeoutMs: SHORT_MS };
    const answer = await read(await relay(mock, model, { source }));
    assert.notEqual(answer.end, "done");
    assert.equal(askedFor(model) - asked, 1);
    await assertNothingLeft(mock, 100);
  });
}

test("openai() asks once where the head is late", async () => {
  const source = { retries: 3, headTimeoutMs: SHORT_MS };
  const model = "mock:hang-head?tokens=11";
  const answer = await read(await relay(mock, model, { source }));
  assert.deepEqual([answer.last.code, askedFor(model)], ["upstream_timeout", 1]);
});

timed("openai() asks no more when the reader leaves while it waits to ask again", async () => {
  const model = failing("429", 1, "&retryAfter=1");
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  const stream = { commitAfterMs: 0, onError };
  const response = await relay(mock, model, { source: { retries: 5 }, stream });
  await until(() => askedFor(model) === 1 && mock.open === 0, 1000, "the first refusal");
  await sleep(20);
  await response.body!.cancel();
  await assertNothingLeft(mock, 100);
  await sleep(1100);
  assert.equal(askedFor(model), 1);
  assert.deepEqual(errors, []);
});

// --- the key ---

/** An upstream that answers every request with these bytes. */
async function answering(bytes: string): Promise<{ server: Server; url: string }> {
  const server = createServer((socket: Socket) => {
    socket.on("error", () => {}); // A reader that leaves early is what is wanted.
    socket.once("data", () => socket.end(bytes));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as { port: number }).port}/v1` };
}

test("openai() keeps a key that the upstream repeats out of its errors", async () => {
  const head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
  for (
    const data of [
      `data: {"error":{"message":"Incorrect API key provided: ${KEY}"}}`,
      `data: ${KEY} is no good`,
      `event: error\ndata: ${KEY}`,
      `data: {"object":"error","message":"${KEY}"}`,
      `data: "${KEY}"`,
    ]
  ) {
    const { server, url } = await answering(`${head}${data}\n\n`);
    const errors: Error[] = [];
    const answer = await read(
      await relay(mock, "mock", {
        source: { baseURL: url },
        stream: { commitAfterMs: 5000, onError: (error) => errors.push(error as Error) },
      }),
    );
    server.close();
    assert.equal(answer.last.code, "upstream_failed");
    assertNoLeak(answer);
    assert.equal(errors.length, 1);
    const told = String((errors[0]!.cause as Error).message);
    assert(told.includes("***") && !told.includes(KEY), told);
  }
});
