/** `GET /v1/models`, and which source answers to which name. */
import assert from "node:assert/strict";
import test from "node:test";
import { createHandler, type HandlerOptions } from "../../../lib/handler.ts";
import { ask, post } from "../../support/handler_requests.ts";

const messages = [{ role: "user", content: "Hi" }];

async function namesOf(options: HandlerOptions): Promise<string[]> {
  const response = await ask(createHandler(options), "/v1/models");
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "application/json");
  const { object, data, has_more, first_id, last_id } = await response.json();
  const names = data.map(({ id }: { id: string }) => id);
  assert.deepEqual([object, has_more, first_id, last_id], ["list", false, names[0], names.at(-1)]);
  return names;
}

test("GET /v1/models lists the models, or the one that there is", async () => {
  assert.deepEqual(await namesOf({ source: "x" }), ["spillway"]);
  assert.deepEqual(await namesOf({ source: "x", model: "llama3.2" }), ["llama3.2"]);
  assert.deepEqual(await namesOf({ models: { a: "x", "b/c": "y" } }), ["a", "b/c"]);
  assert.deepEqual(await namesOf({ source: "x", models: { a: "y" } }), ["a"]);
});

test("GET /v1/models/{model} is one entry, as both APIs' clients read it", async () => {
  const handler = createHandler({ models: { a: "x", "b/c d": "y" } });
  for (const path of ["/v1/models/b%2Fc%20d", "/v1/models/b/c%20d"]) {
    const entry = await (await ask(handler, path)).json();
    assert.equal(entry.id, "b/c d");
    assert.deepEqual([entry.object, entry.type, entry.owned_by], ["model", "model", "spillway"]);
    assert(Math.abs(entry.created - Date.now() / 1000) < 60);
    assert.equal(Math.floor(Date.parse(entry.created_at) / 1000), entry.created);
  }
  const head = await ask(handler, "/v1/models/a", { method: "HEAD" });
  assert.deepEqual([head.status, await head.text()], [200, ""]);
});

test("GET /v1/models/{model} refuses what is not there, in OpenAI's shape", async () => {
  const handler = createHandler({ models: { a: "x" } });
  for (
    const path of ["/v1/models/b", "/v1/models/constructor", "/v1/models/a%2F", "/v1/models/%61%00"]
  ) {
    const response = await ask(handler, path);
    const { error } = await response.json();
    assert.deepEqual(
      [response.status, error.code, error.param],
      [404, "model_not_found", "model"],
      path,
    );
  }
  const broken = await ask(handler, "/v1/models/%ff");
  assert.deepEqual([broken.status, (await broken.json()).error.type], [
    400,
    "invalid_request_error",
  ]);
});

test("models: each name has its source under /v1, and no other name has one", async () => {
  const handler = createHandler({ models: { small: "S", large: () => "L" } });
  for (const [model, text] of [["small", "S"], ["large", "L"]] as const) {
    const openai = await (await post(handler, "/v1/chat/completions", { model, messages })).json();
    assert.deepEqual([openai.choices[0].message.content, openai.model], [text, model]);
    const asked = { model, messages, max_tokens: 9 };
    const anthropic = await (await post(handler, "/v1/messages", asked)).json();
    assert.deepEqual([anthropic.content[0].text, anthropic.model], [text, model]);
  }
  for (const model of ["other", "constructor", "__proto__"]) {
    const openai = await post(handler, "/v1/chat/completions", { model, messages });
    const { error } = await openai.json();
    assert.equal(openai.status, 404);
    assert.deepEqual([error.type, error.param, error.code], [
      "invalid_request_error",
      "model",
      "model_not_found",
    ]);
    assert(error.message.includes(model), error.message);
    const anthropic = await post(handler, "/v1/messages", { model, messages, max_tokens: 9 });
    assert.equal(anthropic.status, 404);
    assert.equal((await anthropic.json()).error.type, "not_found_error");
  }
});

test("models: /streaming and /api/chat ask the source, or the first model", async () => {
  const chat = { messages: [{ role: "user", parts: [{ type: "text", text: "Hi" }] }], model: "b" };
  for (
    const [options, text] of [
      [{ models: { a: "A", b: "B" } }, "A"],
      [{ source: "S", models: { a: "A", b: "B" } }, "S"],
    ] as const
  ) {
    const handler = createHandler(options);
    const plain = await post(handler, "/streaming?format=plain", { query: "", model: "b" });
    assert.equal(await plain.text(), text);
    assert((await (await post(handler, "/api/chat", chat)).text()).includes(`"delta":"${text}"`));
  }
});

test("without models every name is answered by the source", async () => {
  const handler = createHandler({ source: ({ input }) => String(input.model) });
  const answer = await (await post(handler, "/v1/chat/completions", { model: "any/one", messages }))
    .json();
  assert.deepEqual([answer.choices[0].message.content, answer.model], ["any/one", "any/one"]);
});
