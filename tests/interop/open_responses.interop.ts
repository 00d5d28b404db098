/** `POST /v1/responses` as OpenResponses wants it: its compliance cases, each event and document by schema. */
import assert from "node:assert/strict";
import test from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import {
  createHandler,
  decodeEvents,
  type Item,
  type SourceContext,
  StreamError,
} from "../../mod.ts";
import { CASES, EVENTS, RESPONSE } from "./open_responses.ts";

const call = (index: number, place: string): Item[] => [
  { event: "tool_call", data: { index, id: `call_${index}`, name: "get_weather", arguments: "" } },
  { event: "tool_call", data: { index, arguments: JSON.stringify({ place }) } },
];

async function* source({ input }: SourceContext<{ query: string }>): AsyncGenerator<Item, object> {
  const { query } = input;
  if (query === "everything") {
    yield { event: "reasoning", data: { text: "hm" } };
    yield { event: "reasoning", data: { text: "", signature: "sig" } };
    yield { event: "reasoning", data: { text: "so" } };
    yield "See";
    yield { event: "citation", data: { url: "https://a.example/" } };
    yield* call(0, "here");
    yield { event: "refusal", data: { text: "No." } };
    return {};
  }
  if (query === "calls") {
    yield* call(0, "here");
    yield* call(1, "東京");
    return { finishReason: "tool_calls" };
  }
  yield "Hello ";
  await Promise.resolve();
  if (query === "failure") throw new StreamError("upstream_failed");
  yield "世界";
  return query === "length" ? { finishReason: "length" } : {};
}

const handler = createHandler({ source, onError: () => {} });
const ajv = new Ajv2020({ allErrors: true });
const isResponse = ajv.compile(RESPONSE);
const checks = new Map(Object.entries(EVENTS).map(([type, schema]) => [type, ajv.compile(schema)]));

// deno-lint-ignore no-explicit-any -- the schemas say what it is
type Json = any;

function ask(body: object): Promise<Response> {
  const init = { method: "POST", headers: { "content-type": "application/json" } };
  const json = JSON.stringify({ model: "m", ...body });
  return handler.fetch(new Request("http://localhost/v1/responses", { ...init, body: json }));
}

for (const { id, body, items, status = "completed" } of CASES) {
  const judge = (response: Json): void => {
    const isValid: boolean = isResponse(response);
    assert(isValid, JSON.stringify([isResponse.errors, response]));
    assert.equal(response.status, status);
    assert.deepEqual(response.output.map(({ type }: Json) => type), items);
  };

  test(`OpenResponses: ${id}, streamed: each event fits its schema`, async () => {
    const response = await ask({ ...body, stream: true });
    assert.equal(response.status, 200);
    const all = await Array.fromAsync(decodeEvents(response.body!));
    assert.equal(all.pop()!.data, "[DONE]");
    for (const [at, { event, data }] of all.entries()) {
      const value = JSON.parse(data);
      assert.deepEqual([value.type, value.sequence_number], [event, at]);
      const check = checks.get(event);
      assert(check?.(value), `${JSON.stringify(check?.errors)}: ${data}`);
    }
    judge(JSON.parse(all.at(-1)!.data).response);
    const count = (step: string) =>
      all.filter(({ event }) => event === `response.output_item.${step}`).length;
    assert.deepEqual([count("added"), count("done")], [
      items.length,
      status === "failed" ? 0 : items.length,
    ]);
  });

  // One that runs in the background is answered at once, and one that fails with its status.
  if (body["background"] || status === "failed") continue;
  test(`OpenResponses: ${id}, as one document, fits the schema`, async () => {
    const response = await ask(body);
    assert.equal(response.status, 200);
    judge(await response.json());
  });
}

test("OpenResponses: an error before the stream has the members that it demands", async () => {
  const response = await ask({ input: "failure" });
  assert.equal(response.status, 502);
  const { error } = await response.json();
  for (const name of ["message", "type", "code", "param"]) assert(name in error, name);
});
