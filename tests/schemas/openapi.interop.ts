/**
 * The OpenAPI document as its readers have it: a validator that knows 3.2, a JSON Schema validator that
 * holds every event of real streams against it, and a client that a generator makes of it.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import test, { after } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createClient } from "@hey-api/openapi-ts";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import { createHandler, type Handler, type Item, StreamError } from "../../mod.ts";
import { active } from "../../lib/counters.ts";
import { queryInput } from "../../lib/handler/routes/streaming.ts";
import { type DescribedRoute, openApiDocument } from "../../lib/handler/openapi/document.ts";
import { OPERATIONS } from "../../lib/handler/openapi/open_api.ts";
import { EventDecoder } from "../../lib/sse/decode.ts";
import { total } from "../support/child.ts";
import { serve } from "../support/serve.ts";

// deno-lint-ignore no-explicit-any -- a document is looked into at many depths
type Json = any;

const here = fileURLToPath(new URL(".", import.meta.url));
after(() => rmSync(`${here}.run`, { recursive: true, force: true }));

const ALL: readonly DescribedRoute[] = Object.entries(OPERATIONS).map(([name, operation]) => {
  const [method, path] = name.split(" ") as [DescribedRoute["method"], string];
  return { method, path, operation };
});

function everything(authorize: boolean, resumable: boolean): Json {
  return openApiDocument(ALL, {
    info: { title: "All", version: "1", description: "Every route." },
    basePath: "/base",
    schema: queryInput,
    authorize,
    resumable,
    report: assert.ifError,
  });
}

async function documentOf(handler: Handler): Promise<Json> {
  return await (await handler.fetch(
    new Request("http://localhost/openapi.json"),
  )).json();
}

test("the document of a handler is valid OpenAPI 3.2", async () => {
  for (const basePath of ["", "/api"]) {
    const handler = createHandler({ source: "text", basePath });
    const response = await handler.fetch(
      new Request(`http://localhost${basePath}/openapi.json`),
    );
    const validator = new Validator();
    const { valid, errors } = await validator.validate(await response.json());
    assert(valid, JSON.stringify(errors));
    assert.equal(validator.version, "3.2");
  }
});

test("the document of every route is valid, with a log and authorization and without", async () => {
  for (const authorize of [true, false]) {
    for (const resumable of [true, false]) {
      // As it is sent: the validator may not see what JSON drops.
      const document = JSON.parse(
        JSON.stringify(everything(authorize, resumable)),
      );
      const { valid, errors } = await new Validator().validate(document);
      assert(valid, JSON.stringify(errors));
    }
  }
});

test("the validator would notice", async () => {
  const document = structuredClone(everything(false, false));
  document.paths["/streaming"].post.responses[200].content["text/event-stream"]
    .itemSchema = 5;
  assert.equal((await new Validator().validate(document)).valid, false);
});

/** A check of one item of a stream by the document, the JSON in an event's data included. */
function itemCheck(
  document: Json,
  path: string,
  mediaType: string,
): (item: unknown) => boolean {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.removeKeyword("contentSchema");
  ajv.addKeyword({
    keyword: "contentSchema",
    type: "string",
    compile: (schema: unknown) => {
      const whole = JSON.stringify(schema).replaceAll(
        '"$ref":"#/',
        '"$ref":"document#/',
      );
      let validate: ((value: unknown) => unknown) | undefined;
      return (text: string) => {
        validate ??= ajv.compile(JSON.parse(whole));
        try {
          return Boolean(validate(JSON.parse(text)));
        } catch {
          return false; // no JSON at all does not fit either
        }
      };
    },
  });
  ajv.addSchema(document, "document");
  const escaped = (key: string) => key.replaceAll("~", "~0").replaceAll("/", "~1");
  const content = `/paths/${escaped(path)}/post/responses/200/content/${escaped(mediaType)}`;
  const validate = ajv.compile({ $ref: `document#${content}/itemSchema` });
  return (item) => Boolean(validate(item));
}

/** The events of a body as OpenAPI models them: an object of the fields that are there. */
function eventsOf(body: string): Record<string, unknown>[] {
  return new EventDecoder().feed(new TextEncoder().encode(body)).map((
    { event, data, lastEventId },
  ) => ({ event, data, ...lastEventId === "" ? {} : { id: lastEventId } }));
}

const ITEMS: Item[] = [
  "Hel",
  'lo\r\n"\u0000',
  { event: "reasoning", data: { text: "hm" } },
  { data: [1, { nested: null }] },
  "\ud83d",
  "\ude00",
];
const ENDINGS: Record<string, () => Generator<Item, object | void, undefined>> = {
  *completed() {
    yield* ITEMS;
    return { finishReason: "stop", usage: { total_tokens: 3 } };
  },
  *failed() {
    yield* ITEMS;
    throw new StreamError("quota_exceeded", {
      status: 429,
      detail: "Come back tomorrow",
    });
  },
  *broken() {
    yield* ITEMS;
    throw new Error("internal");
  },
};

for (const [name, source] of Object.entries(ENDINGS)) {
  for (const format of ["json", "text", "ndjson"]) {
    test(`every item of a ${name} ${format} stream is what the document says`, async () => {
      const handler = createHandler({ source, onError: () => {} });
      const document = await documentOf(handler);
      const response = await handler.fetch(
        new Request(`http://localhost/streaming?format=${format}`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: '{"query":""}',
        }),
      );
      const body = await response.text();
      const mediaType = response.headers.get("content-type")!.split(";")[0]!;
      const fits = itemCheck(document, "/streaming", mediaType);
      const items = format === "ndjson"
        ? body.trimEnd().split("\n").map((line) => JSON.parse(line))
        : eventsOf(body);
      assert(items.length >= 5);
      assert.equal(
        items.at(-1).event,
        name === "completed" ? "done" : "failed",
      );
      for (const item of items) assert(fits(item), JSON.stringify(item));
    });
  }
}

test("what no stream of ours would send is not what the document says", async () => {
  const document = await documentOf(createHandler({ source: "text" }));
  const fits = itemCheck(document, "/streaming", "text/event-stream");
  for (
    const event of [
      {},
      { event: "done" },
      { data: { token: "a" } },
      { event: "done", data: "{}" },
      { event: "done", data: '{"reason":"bored","tokens":1}' },
      { event: "failed", data: '{"title":"a"}' },
      { event: "error", data: "{}" },
      { event: "reasoning", data: "no JSON" },
    ]
  ) assert(!fits(event), JSON.stringify(event));
  const line = itemCheck(document, "/streaming", "application/x-ndjson");
  for (const item of [{}, { token: 1 }, { event: "done", data: {} }, "text"]) {
    assert(!line(item), JSON.stringify(item));
  }
});

/** Streams of the other APIs, as their own clients read them. */
const CHUNK = '{"id":"c","object":"chat.completion.chunk","created":1763800000,"model":"m"';
const FOREIGN: Record<string, { good: string; bad: string[] }> = {
  "/v1/chat/completions": {
    good: `: comment
data: ${CHUNK},"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}

data: ${CHUNK},"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}],"usage":null}

data: ${CHUNK},"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}

data: ${CHUNK},"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}

data: {"error":{"message":"The upstream failed","type":"server_error","param":null,"code":"upstream_failed"}}

data: [DONE]

`,
    bad: [
      "data: [done]\n\n",
      `data: ${CHUNK}}\n\n`,
      "event: ping\ndata: {}\n\n",
    ],
  },
  "/v1/messages": {
    good: `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"m","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hel"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}}

event: message_stop
data: {"type":"message_stop"}

event: error
data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}

`,
    bad: [
      'data: {"type":"message_stop"}\n\n',
      'event: ping\ndata: {"type":"message_stop"}\n\n',
    ],
  },
  "/api/chat": {
    good: [
      '{"type":"start","messageId":"m"}',
      '{"type":"start-step"}',
      '{"type":"text-start","id":"t"}',
      '{"type":"text-delta","id":"t","delta":"Hel"}',
      '{"type":"text-end","id":"t"}',
      '{"type":"data-status","data":{"a":1},"transient":true}',
      '{"type":"error","errorText":"The source failed"}',
      '{"type":"finish-step"}',
      '{"type":"finish","finishReason":"stop"}',
      "[DONE]",
    ].map((data) => `data: ${data}\n\n`).join(""),
    bad: [
      'data: {"type":"text-delta","id":"t"}\n\n',
      'data: {"id":"t"}\n\n',
      "data: DONE\n\n",
    ],
  },
  "/ag-ui": {
    good: [
      '{"type":"RUN_STARTED","threadId":"t","runId":"r","protocolVersion":"1.0"}',
      '{"type":"TEXT_MESSAGE_START","messageId":"m","role":"assistant"}',
      '{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"Hel"}',
      '{"type":"TEXT_MESSAGE_END","messageId":"m"}',
      '{"type":"CUSTOM","name":"note","value":{"a":1}}',
      '{"type":"STATE_DELTA","delta":[]}',
      '{"type":"RUN_ERROR","message":"The source failed","code":"internal"}',
      '{"type":"RUN_FINISHED","threadId":"t","runId":"r","outcome":{"type":"success"}}',
    ].map((data) => `data: ${data}\n\n`).join(""),
    bad: [
      'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"m"}\n\n',
      'data: {"messageId":"m"}\n\n',
      "data: [DONE]\n\n",
    ],
  },
};

for (const [path, { good, bad }] of Object.entries(FOREIGN)) {
  test(`${path}: the events of its API are what the document says, and others are not`, () => {
    const fits = itemCheck(everything(false, false), path, "text/event-stream");
    for (const event of eventsOf(good)) {
      assert(fits(event), JSON.stringify(event));
    }
    for (const body of bad) {
      const events = eventsOf(body);
      assert.equal(events.length, 1);
      assert(!fits(events[0]), JSON.stringify(events[0]));
    }
  });
}

const ASKED: Record<string, (content: string) => unknown> = {
  "/v1/chat/completions": (content) => ({
    model: "m",
    stream: true,
    stream_options: { include_usage: true },
    messages: [{ role: "user", content }],
  }),
  "/v1/responses": (input) => ({ model: "m", stream: true, input }),
  "/v1/messages": (content) => ({
    model: "m",
    max_tokens: 99,
    stream: true,
    messages: [{ role: "user", content }],
  }),
  "/api/chat": (text) => ({
    id: "c",
    messages: [{ role: "user", parts: [{ type: "text", text }] }],
  }),
  "/ag-ui": (content) => ({
    threadId: "t",
    runId: "r",
    messages: [{ id: "1", role: "user", content }],
  }),
};
const CHAT_ITEMS: Item[] = [
  "Hel",
  { event: "reasoning", data: { text: "hm" } },
  "lo",
  { event: "tool_call", data: { index: 0, id: "c1", name: "f", arguments: "{}" } },
  { event: "note", data: [1] },
];

for (const [path, body] of Object.entries(ASKED)) {
  test(`${path}: the events and the whole answer of the handler are what its document says`, async () => {
    const handler = createHandler({
      source: async function* ({ input }) {
        yield* CHAT_ITEMS;
        if (input.query === "fail") throw new StreamError("upstream_failed");
        return { finishReason: "tool_calls", usage: { prompt_tokens: 3, completion_tokens: 2 } };
      },
      onError: () => {},
    });
    const document = await documentOf(handler);
    const fits = itemCheck(document, path, "text/event-stream");
    const ask = (asked: unknown) =>
      handler.fetch(
        new Request(`http://localhost${path}`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(asked),
        }),
      );
    for (const query of ["hello", "fail"]) {
      const events = eventsOf(await (await ask(body(query))).text());
      assert(events.length >= 6);
      for (const event of events) assert(fits(event), JSON.stringify(event));
    }
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema(document, "document");
    const { post } = document.paths[path];
    const at = `document#/paths/${path.replaceAll("/", "~1")}/post/responses`;
    const whole = post.responses[200].content["application/json"];
    if (whole) {
      const answer = await (await ask({ ...body("hello") as object, stream: false })).json();
      const validate = ajv.compile({ $ref: `${at}/200/content/application~1json/schema` });
      assert(validate(answer), JSON.stringify([answer, validate.errors]));
    }
    const refusal = await ask({ messages: [] });
    const described = post.responses[refusal.status];
    const type = refusal.headers.get("content-type")!;
    assert(described.content[type], `${refusal.status} ${type}`);
    const validate = ajv.compile({
      $ref: `${at}/${refusal.status}/content/${type.replace("/", "~1")}/schema`,
    });
    const told = await refusal.json();
    assert(validate(told), JSON.stringify([told, validate.errors]));
    // And the other way round: what the document gives as an example is served.
    const { $ref } = post.requestBody.content["application/json"].schema;
    const { examples } = document.components.schemas[$ref.split("/").at(-1)];
    assert.equal((await ask(examples[0])).status, 200);
  });
}

interface GeneratedClient {
  ask(baseURL: string, body: { query: string }): Promise<{
    text: string;
    atMs: number[];
    done?: { reason: string; tokens: number };
    failed?: { code: string };
    errors: unknown[];
  }>;
  isHealthy(baseURL: string): Promise<boolean>;
}

/** The client of a handler's document, compiled with a user of it. */
async function generate(handler: Handler): Promise<GeneratedClient> {
  await createClient({
    input: await documentOf(handler),
    output: { path: `${here}.run/client`, importFileExtension: ".ts" },
    logs: { level: "silent", file: false },
  });
  writeFileSync(
    `${here}.run/tsconfig.json`,
    JSON.stringify({
      extends: "../tsconfig.json",
      // What a generator writes is held to its own idea of strict.
      compilerOptions: {
        exactOptionalPropertyTypes: false,
        noUncheckedIndexedAccess: false,
      },
      include: ["../generated_client.ts"],
      exclude: [],
    }),
  );
  const tsc = `${here}../../node_modules/.bin/tsc`;
  const env = { ...process.env, NO_COLOR: "1" };
  await promisify(execFile)(tsc, ["-p", `${here}.run`], { env }).catch((
    { stdout },
  ) => assert.fail(stdout));
  return await import(`${here}generated_client.ts`) as GeneratedClient;
}

test("a client that is generated from the document compiles and streams", async () => {
  const handler = createHandler({
    source: async function* ({ input, signal }) {
      for (const word of input.query.split(/(?= )/)) {
        yield word;
        await new Promise((resolve) => setTimeout(resolve, 40));
        if (signal.aborted || word === " fail") {
          throw new StreamError("truncated");
        }
      }
    },
    onError: () => {},
  });
  const { ask, isHealthy } = await generate(handler);
  const server = serve(handler.fetch);
  try {
    const text = "Streaming responseのテスト 👩‍👩‍👧 \r\n\r\n and a tail ";
    const whole = await ask(server.url, { query: text });
    assert.deepEqual(whole.errors, []);
    assert.equal(whole.text, text);
    assert.equal(whole.done?.reason, "completed");
    assert.equal(whole.done.tokens, whole.atMs.length);
    const spreadMs = whole.atMs.at(-1)! - whole.atMs[0]!;
    assert(spreadMs > 80, `tokens came as they were made, over ${spreadMs} ms`);
    const failed = await ask(server.url, { query: "this will fail now" });
    assert.deepEqual([failed.text, failed.failed?.code], [
      "this will fail",
      "truncated",
    ]);
    assert.equal(failed.done, undefined);
    const refused = await ask(server.url, { query: 1 } as never);
    assert.equal(refused.text, "");
    assert.match(String(refused.errors[0]), /422/);
    assert(await isHealthy(server.url));
  } finally {
    await server.close();
  }
  assert.equal(total(active), 0);
});
