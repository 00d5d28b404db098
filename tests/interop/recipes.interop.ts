/**
 * The recipes of docs/sources.md, with the real packages, against the mock upstream. They
 * stand apart from the other tests because they need `npm ci` in this folder; see CONTRIBUTING.md.
 */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import test, { after, before, mock as mocker } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { active } from "../../lib/counters.ts";
import { StreamError } from "../../lib/error.ts";
import { assertNoLeak, assertNothingLeft, KEY, read, TEXT } from "../support/relay.ts";
import { DEPARTURES, rawRequest, serve, until } from "../support/serve.ts";
import { type Mock, SECRET, startMock } from "../support/upstream/mock.ts";
import { timed } from "../support/timing.ts";

interface Recipe {
  default: { fetch(request: Request): Promise<Response> };
}

const here = fileURLToPath(new URL(".", import.meta.url));
const root = fileURLToPath(new URL("../..", import.meta.url));
const copies = `${here}.run/`;
const LONG = TEXT.repeat(1500);

let mock: Mock;
/** What `console.error`, the default of `onError`, was given. */
const errors: unknown[] = [];
before(async () => {
  mock = await startMock();
  mkdirSync(copies, { recursive: true });
  process.env.OPENAI_BASE_URL = mock.url;
  process.env.OPENAI_API_KEY = KEY;
  mocker.method(console, "error", (error: unknown) => errors.push(error));
});
after(async () => {
  mocker.reset();
  // Other suites run in the same process.
  delete process.env.OPENAI_BASE_URL;
  delete process.env.OPENAI_API_KEY;
  rmSync(copies, { recursive: true });
  await mock.close();
});

/** A recipe that asks for `model`; beside the packages, for they are resolved from where it stands. */
async function load(name: string, model: string): Promise<Recipe["default"]> {
  const code = readFileSync(`${here}recipes/${name}.ts`, "utf8")
    .replace('"gpt-5.1"', JSON.stringify(model))
    .replace('"spillway"', JSON.stringify(pathToFileURL(`${root}mod.ts`).href));
  const file = `${copies}${name}_${model.replace(/\W+/g, "_")}.ts`;
  writeFileSync(file, code);
  return (await import(pathToFileURL(file).href) as Recipe).default;
}

const request = (query: string) =>
  new Request("http://localhost/", { method: "POST", body: query });

const RECIPES = ["openai", "langchain_stream", "langchain_callbacks"];

for (const name of RECIPES) {
  for (
    const model of ["mock", "mock:bytes", "mock:crlf", "mock:slow?delayMs=5"]
  ) {
    test(`${name} relays the text exactly: ${model}`, async () => {
      const { fetch } = await load(name, model);
      errors.length = 0;
      const answer = await read(await fetch(request(TEXT)));
      assert.deepEqual([answer.status, answer.text, answer.end], [
        200,
        TEXT,
        "done",
      ]);
      assert.equal(answer.last.finishReason, "stop");
      assert(answer.last.tokens > 5);
      await assertNothingLeft(mock, 100);
      assert.deepEqual(errors, []);
    });
  }

  test(`${name} relays 100 KB exactly`, async () => {
    const { fetch } = await load(name, "mock");
    const answer = await read(await fetch(request(LONG)));
    assert(answer.text === LONG);
    assert.equal(answer.end, "done");
  });

  test(`${name} gives each of twenty readers their own answer`, async () => {
    const { fetch } = await load(name, "mock");
    const texts = Array.from(
      { length: 20 },
      (_, i) => `${i}: ${TEXT}`.repeat(i + 1),
    );
    const answers = await Promise.all(
      texts.map(async (text) => read(await fetch(request(text)))),
    );
    assert.deepEqual(answers.map(({ text }) => text), texts);
  });

  for (const fault of ["die-fin", "die-rst", "error-object", "error-chunk"]) {
    test(`${name} tells the reader of ${fault}, and only the operator what it was`, async () => {
      const { fetch } = await load(name, `mock:${fault}`);
      errors.length = 0;
      const answer = await read(await fetch(request(TEXT)));
      assert.deepEqual([answer.status, answer.end], [200, "failed"]);
      assert.equal(answer.last.code, "internal");
      assert(
        answer.text.length > 0 && TEXT.startsWith(answer.text) &&
          answer.text !== TEXT,
      );
      assertNoLeak(answer);
      assert.equal(errors.length, 1);
      if (fault.startsWith("error")) {
        assert((errors[0] as Error).message.includes(SECRET));
      }
      await assertNothingLeft(mock, 100);
    });
  }

  for (const fault of ["401", "400", "json"]) {
    test(`${name} answers a status when the upstream refuses: ${fault}`, async () => {
      const { fetch } = await load(name, `mock:${fault}`);
      errors.length = 0;
      const answer = await read(await fetch(request(TEXT)));
      // JSON under 200 has no tokens: to the package it is an answer that ended early, or an error.
      assert(
        answer.status >= 500 || answer.end === "failed",
        `${answer.status} ${answer.end}`,
      );
      assert.equal(answer.text, "");
      assertNoLeak(answer);
      assert.equal(errors.length, 1);
      await assertNothingLeft(mock, 100);
    });
  }

  if (name !== "langchain_callbacks") {
    test(`${name} says that an answer without its end is truncated`, async () => {
      const { fetch } = await load(name, "mock:no-end");
      const answer = await read(await fetch(request(TEXT)));
      assert.deepEqual([answer.end, answer.last.code], ["failed", "truncated"]);
    });
  }

  for (
    const model of [
      "mock:hang-head",
      "mock:hang-first",
      "mock:hang-middle",
      "mock:endless",
    ]
  ) {
    timed(`${name} stops when its reader leaves: ${model}`, async () => {
      const { fetch } = await load(name, model);
      const server = serve(fetch);
      try {
        for (const how of DEPARTURES) {
          errors.length = 0;
          const seen = mock.requests.length;
          const raw = await rawRequest(server.port, {
            method: "POST",
            body: "Hello there, you",
          });
          await until(() => mock.requests.length > seen, 2000, "the request");
          const asked = mock.requests.at(-1)!;
          const came = /middle|endless/.test(model) ? '{"token":' : "HTTP/1.1 200";
          await until(() => raw.received.includes(came), 2000, "the moment");
          const leftMs = Date.now();
          raw.socket[how]();
          await until(
            () => asked.state === "left",
            1000,
            "the upstream sees it",
          );
          const tookMs = asked.closedByClientAt! - leftMs;
          assert(tookMs <= 150, `${how}: ${tookMs} ms`);
          await assertNothingLeft(mock, 100);
          assert.deepEqual(errors, [], how);
          assert.equal(mock.requests.length, seen + 1);
          raw.socket.destroy();
        }
      } finally {
        await server.close();
      }
    });
  }
}

test("the callbacks hold the model back while the reader stalls", async () => {
  const { fetch } = await load(
    "langchain_callbacks",
    "mock:endless?bytes=4000000",
  );
  const response = await fetch(request(TEXT));
  const asked = mock.requests.at(-1)!;
  await until(() => active.waiters > 0, 2000, "a token waits for room");
  // What waits is 64 KiB of ours; without backpressure it would end as overflow.
  const answer = await read(response);
  assert.equal(answer.end, "done", JSON.stringify(answer.last));
  assert.equal(asked.state, "answered");
});

test("response relays another event stream", async () => {
  const upstream = serve(async (request) => {
    const { query } = await request.json() as { query: string };
    const events = [...query].map((token) => `data: ${JSON.stringify({ token })}\n\n`).join("");
    return new Response(`${events}data: [DONE]\n\n`, {
      headers: { "content-type": "text/event-stream" },
    });
  });
  try {
    const real = globalThis.fetch;
    const redirected = mocker.method(
      globalThis,
      "fetch",
      (_url: string, init: RequestInit) => real(upstream.url, init),
    );
    const { fetch } = await load("relay", "mock");
    const answer = await read(await fetch(request(TEXT)));
    redirected.mock.restore();
    assert.deepEqual([answer.text, answer.end], [TEXT, "done"]);
  } finally {
    await upstream.close();
  }
});

test("StreamError is one class, however the recipes import it", async () => {
  const { fetch } = await load("openai", "mock:no-end");
  errors.length = 0;
  await (await fetch(request(TEXT))).text();
  assert(errors[0] instanceof StreamError);
});
