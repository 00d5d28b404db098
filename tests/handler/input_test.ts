/** The check of a body by a schema of any make: faults, bounds, schemas that wait, throw or never end. */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import { StreamError } from "../../lib/error.ts";
import { chatPage, createHandler, type Handler } from "../../lib/handler.ts";
import {
  checkInput,
  isStandardSchema,
  type StandardIssue,
  type StandardResult,
  type StandardSchema,
} from "../../lib/handler/input.ts";
import { queryInput } from "../../lib/handler/routes/streaming.ts";
import { InvalidInput } from "../../lib/handler/schema.ts";
import { total } from "../support/child.ts";
import { until } from "../support/serve.ts";

const { signal } = new AbortController();

function schemaOf<T>(
  validate: (value: unknown) => StandardResult<T> | Promise<StandardResult<T>>,
): StandardSchema<T> {
  return { "~standard": { version: 1, vendor: "test", validate } };
}

/** What a refusal tells. */
async function refused(checked: Promise<unknown>) {
  const error = await checked.then(() => undefined, (error) => error);
  assert(error instanceof InvalidInput, String(error));
  assert.deepEqual([error.status, error.code], [422, "invalid_input"]);
  return error.faults;
}

function faultsOf(...issues: StandardIssue[]) {
  return refused(checkInput(schemaOf(() => ({ issues })), {}, signal));
}

function post(handler: Handler, body: unknown, init: RequestInit = {}): Promise<Response> {
  return handler.fetch(
    new Request("http://localhost/streaming", {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/plain" },
      body: JSON.stringify(body),
      ...init,
    }),
  );
}

test("checkInput() answers what the schema made of the body", async () => {
  const schema = schemaOf((value) => ({ value: { upper: String(value).toUpperCase() } }));
  assert.deepEqual(await checkInput(schema, "a", signal), { upper: "A" });
});

test("checkInput() tells every fault with its pointer", async () => {
  const faults = await faultsOf(
    { message: "the whole" },
    { message: "the root", path: [] },
    { message: "a field", path: ["query"] },
    { message: "an item", path: ["tags", 0, { key: "name" }] },
    { message: "escapes", path: ["a/b", "~m", "", "é\n"] },
    { message: "a symbol", path: [Symbol("s")] },
  );
  assert.deepEqual(faults, [
    { pointer: "", detail: "the whole" },
    { pointer: "", detail: "the root" },
    { pointer: "/query", detail: "a field" },
    { pointer: "/tags/0/name", detail: "an item" },
    { pointer: "/a~1b/~0m//é\n", detail: "escapes" },
    { pointer: "/Symbol(s)", detail: "a symbol" },
  ]);
});

test("checkInput() tells the first hundred faults, none of them long", async () => {
  const huge = "x".repeat(1_000_000);
  const faults = await faultsOf(
    { message: huge, path: ["a", huge, "b"] },
    ...Array.from({ length: 500 }, (_, i) => ({ message: `fault ${i}`, path: [i] })),
  );
  assert.equal(faults.length, 100);
  assert.equal(faults[0]!.detail.length, 500);
  assert.equal(faults[0]!.pointer, "/a", "the place that holds the fault");
  assert.deepEqual(faults[99], { pointer: "/98", detail: "fault 98" });
});

test("checkInput() refuses with a status of the route's own, and where no fault is named", async () => {
  const schema = schemaOf(() => ({ issues: [] }));
  await assert.rejects(checkInput(schema, {}, signal, 400), { status: 400 });
  assert.deepEqual(await faultsOf(), [{ pointer: "", detail: "Does not fit" }]);
});

test("checkInput() waits for a schema that does", async () => {
  const good = schemaOf(() => Promise.resolve({ value: 1 }));
  assert.equal(await checkInput(good, {}, signal), 1);
  const bad = schemaOf(() => Promise.resolve({ issues: [{ message: "taken" }] }));
  const faults = await refused(checkInput(bad, {}, signal));
  assert.deepEqual(faults, [{ pointer: "", detail: "taken" }]);
  assert.equal(total(active), 0);
});

test("checkInput() fails as the schema does, now or later", async () => {
  const broken = new Error("no database");
  const now = schemaOf(() => {
    throw broken;
  });
  await assert.rejects(checkInput(now, {}, signal), broken);
  await assert.rejects(checkInput(schemaOf(() => Promise.reject(broken)), {}, signal), broken);
  const nothing = schemaOf(() => undefined as never);
  await assert.rejects(checkInput(nothing, {}, signal), TypeError);
  assert.equal(total(active), 0);
});

test("checkInput() does not wait once the reader has left", async () => {
  for (const leavesFirst of [true, false]) {
    const reader = new AbortController();
    let settle!: (error: Error) => void;
    const schema = schemaOf<unknown>(() => new Promise((_resolve, reject) => settle = reject));
    if (leavesFirst) reader.abort();
    const checked = checkInput(schema, {}, reader.signal);
    reader.abort();
    await assert.rejects(checked, (error) => (error as StreamError).code === "disconnected");
    settle(new Error("late, and nobody's"));
    await Promise.resolve();
    assert.equal(total(active), 0);
  }
});

test("the default input is { query: string }, with whatever else there is", async () => {
  const full = { query: "a", messages: [{ role: "user", content: "" }], "": null };
  assert.deepEqual(await checkInput(queryInput, full, signal), full);
  for (
    const [body, pointer, detail] of [
      [{}, "/query", "Required"],
      [{ query: null }, "/query", "Expected a string"],
      [[], "", "Expected an object"],
      [null, "", "Expected an object"],
      ["query", "", "Expected an object"],
    ] as const
  ) {
    const faults = await refused(checkInput(queryInput, body, signal));
    assert.deepEqual(faults, [{ pointer, detail }]);
  }
});

test("isStandardSchema() knows objects and functions of version 1 and nothing else", () => {
  const standard = { version: 1, vendor: "test", validate: () => ({ value: 1 }) };
  assert(isStandardSchema({ "~standard": standard }));
  assert(isStandardSchema(Object.assign(() => {}, { "~standard": standard })));
  for (
    const value of [
      null,
      undefined,
      "schema",
      {},
      { "~standard": null },
      { "~standard": { ...standard, version: 2 } },
      { "~standard": { ...standard, validate: "no" } },
    ]
  ) assert(!isStandardSchema(value), JSON.stringify(value));
});

test("createHandler({ input }) refuses what is no schema", () => {
  for (const input of [null, {}, () => true, { parse: () => {} }]) {
    assert.throws(
      () => createHandler({ source: "text", input: input as never }),
      /input is no Standard Schema/,
    );
  }
});

test("createHandler({ input }) hands the source what the schema made", async () => {
  const input = schemaOf((value) => ({ value: { words: String(value).split(" ") } }));
  const handler = createHandler({
    input,
    inputFrom: ({ query }) => ({ words: [query] }),
    source: ({ input }) => input.words,
  });
  const response = await post(handler, "a b c");
  assert.equal(await response.text(), "abc");
});

test("createHandler({ input }) answers 422 with every fault, and calls no source", async () => {
  let started = 0;
  const issues = [{ message: "one", path: ["a"] }, { message: "two", path: ["b", 0] }];
  const handler = createHandler({
    input: schemaOf<unknown>(() => ({ issues })),
    source: () => void started++,
    headers: { "x-ours": "1" },
  });
  const response = await post(handler, {});
  assert.equal(response.status, 422);
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  assert.equal(response.headers.get("x-ours"), "1");
  const { code, errors } = await response.json();
  assert.equal(code, "invalid_input");
  assert.deepEqual(errors, [
    { pointer: "/a", detail: "one" },
    { pointer: "/b/0", detail: "two" },
  ]);
  assert.equal(started, 0);
});

test("a schema that throws is 500 internal without its text, and reaches onError whole", async () => {
  for (const later of [false, true]) {
    const broken = new Error("no database at 10.0.0.1");
    const errors: unknown[] = [];
    const handler = createHandler({
      input: schemaOf<unknown>(() => {
        if (later) return Promise.reject(broken);
        throw broken;
      }),
      source: "text",
      onError: (error) => errors.push(error),
    });
    const response = await post(handler, {});
    assert.equal(response.status, 500);
    const text = await response.text();
    assert.equal(JSON.parse(text).code, "internal");
    assert.doesNotMatch(text, /database/);
    assert.deepEqual(errors, [broken]);
  }
  assert.equal(total(active), 0);
});

test("a schema may refuse with a status of its own", async () => {
  const input = schemaOf<unknown>(() => {
    throw new StreamError("quota_exceeded", { status: 402, title: "Pay first" });
  });
  const response = await post(createHandler({ input, source: "text" }), {});
  assert.equal(response.status, 402);
  assert.equal((await response.json()).code, "quota_exceeded");
});

test("a reader that leaves while the schema waits gives its place back", async () => {
  let asked = 0;
  let settle = (_result: { value: string }) => {};
  const input = schemaOf<string>(() => {
    asked++;
    return new Promise((resolve) => settle = resolve);
  });
  const handler = createHandler({
    input,
    source: ({ input }) => String(input),
    limits: { maxStreams: 1 },
  });
  const reader = new AbortController();
  const first = post(handler, {}, { signal: reader.signal });
  await until(() => asked === 1, 1000, "the schema is asked");
  reader.abort();
  await (await first).body?.cancel();
  const second = post(handler, {});
  await until(() => asked === 2, 1000, "the schema is asked again");
  settle({ value: "there" });
  assert.equal(await (await second).text(), "there");
  assert.equal(total(active), 0);
});

/** A request of each chat route, the page's as well, and the text in its response. */
const CHATS: Record<string, object> = {
  "/v1/chat/completions": { model: "m", messages: [{ role: "user", content: "hello" }] },
  "/v1/messages": { model: "m", max_tokens: 5, messages: [{ role: "user", content: "hello" }] },
  "/api/chat": { messages: [{ role: "user", parts: [{ type: "text", text: "hello" }] }] },
  "/ag-ui": { threadId: "t", runId: "r", messages: [{ role: "user", content: "hello" }] },
  "/": { messages: [{ role: "user", content: "hello" }] },
};

function chat(handler: Handler, path: string): Promise<Response> {
  return handler.fetch(
    new Request(`http://localhost${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(CHATS[path]),
    }),
  );
}

/** A schema that only a body with a question fits. */
const asking = schemaOf<{ question: string }>((value) => {
  const { question } = value as { question?: unknown };
  return typeof question === "string"
    ? { value: { question } }
    : { issues: [{ message: "Missing", path: ["question"] }] };
});

for (const path of Object.keys(CHATS)) {
  test(`input is not asked of POST ${path}, and inputFrom makes it`, async () => {
    const seen: unknown[] = [];
    const handler = createHandler({
      input: asking,
      inputFrom({ messages, query, body, api }) {
        seen.push([messages.length, body === undefined, api]);
        return { question: query };
      },
      source: ({ input }) => input.question.toUpperCase(),
      pages: [chatPage()],
    });
    const response = await chat(handler, path);
    assert.equal(response.status, 200);
    assert.match(await response.text(), /HELLO/);
    assert.deepEqual(seen.map((each) => (each as unknown[]).slice(0, 2)), [[1, false]]);
    const question = await post(handler, { question: "why" });
    assert.equal(await question.text(), "WHY");
    assert.equal((await post(handler, { query: "why" })).status, 422);
    assert.equal(seen.length, 1, "POST /streaming has a schema, and needs no inputFrom");
    assert.equal(total(active), 0);
  });

  test(`POST ${path} without inputFrom gives what its API sends`, async () => {
    const handler = createHandler({
      input: asking,
      source: ({ input }) => "api" in input ? `${input.api}: ${input.query}` : "a question",
      pages: [chatPage()],
    });
    assert.match(await (await chat(handler, path)).text(), /[a-z-]+: hello/);
  });
}

test("inputFrom may wait, refuse, or fail", async () => {
  const of = (inputFrom: () => Promise<{ question: string }>) =>
    createHandler({
      input: asking,
      inputFrom,
      source: ({ input }) => input.question,
      onError: () => {},
    });
  const later = of(() => Promise.resolve({ question: "later" }));
  assert.match(await (await chat(later, "/v1/messages")).text(), /later/);
  const quota = of(() => Promise.reject(new StreamError("quota", { status: 402 })));
  assert.equal((await chat(quota, "/v1/messages")).status, 402);
  const broken = of(() => {
    throw new Error("secret");
  });
  const response = await chat(broken, "/v1/chat/completions");
  assert.equal(response.status, 500);
  assert.doesNotMatch(await response.text(), /secret/);
  assert.equal(total(active), 0);
});

test("createHandler() refuses an inputFrom and a countTokens that are no functions", () => {
  for (const name of ["inputFrom", "countTokens"]) {
    const message = `Cannot create the handler: ${name} is not a function`;
    assert.throws(() => createHandler({ source: "text", [name]: "x" }), {
      name: "TypeError",
      message,
    });
  }
  const wrong = { source: "text", builtInTools: "pass" } as never;
  assert.throws(() => createHandler(wrong), /builtInTools is neither reject nor drop/);
});
