/**
 * `createHandler({ input })` with the libraries that people use. It stands apart from the other tests
 * because it needs `npm ci` in this folder; see CONTRIBUTING.md.
 */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Validator } from "@seriousme/openapi-schema-validator";
import * as z from "zod";
import { createHandler, type Handler } from "../../mod.ts";
import { active } from "../../lib/counters.ts";
import { root, total } from "../support/child.ts";
import { arktypeInput, valibotInput, valibotJsonInput, zodInput } from "./schemas.ts";

// deno-lint-ignore no-explicit-any -- a document is looked into at many depths
type Json = any;

/** What the source says of its input, so that the answer shows it. */
interface Told {
  input: { question: string; warmth?: number | undefined; tags: string[] };
}
const tell = ({ input }: Told) =>
  JSON.stringify([input.question, input.warmth ?? null, input.tags]);

const inputFrom = ({ query }: { query: string }) => ({ question: query, tags: [] });

const HANDLERS: Record<string, Handler> = {
  zod: createHandler({ input: zodInput, inputFrom, source: tell }),
  valibot: createHandler({ input: valibotInput, inputFrom, source: tell }),
  "valibot with its converter": createHandler({
    input: valibotJsonInput,
    inputFrom,
    source: tell,
  }),
  arktype: createHandler({ input: arktypeInput, inputFrom, source: tell }),
};

function post(handler: Handler, body: unknown): Promise<Response> {
  return handler.fetch(
    new Request("http://localhost/streaming", {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/plain" },
      body: JSON.stringify(body),
    }),
  );
}

async function documentOf(handler: Handler): Promise<Json> {
  return await (await handler.fetch(
    new Request("http://localhost/openapi.json"),
  )).json();
}

for (const [name, handler] of Object.entries(HANDLERS)) {
  test(`${name}: the source has what the schema made, defaults and all`, async () => {
    const full = { question: "why?", warmth: 1, tags: ["a"] };
    assert.equal(await (await post(handler, full)).text(), '["why?",1,["a"]]');
    assert.equal(
      await (await post(handler, { question: "why?" })).text(),
      '["why?",null,[]]',
    );
    assert.equal(total(active), 0);
  });

  test(`${name}: every fault is told at once, each where it is`, async () => {
    const cases: [body: unknown, pointers: string[]][] = [
      [{ question: "?", warmth: 9, tags: [1, "a", 2] }, [
        "/question",
        "/tags/0",
        "/tags/2",
        "/warmth",
      ]],
      [{}, ["/question"]],
      [{ question: "why?", tags: {} }, ["/tags"]],
      ["why?", [""]],
      [null, [""]],
    ];
    for (const [body, pointers] of cases) {
      const response = await post(handler, body);
      assert.equal(response.status, 422);
      const { code, errors } = await response.json();
      assert.equal(code, "invalid_input");
      assert.deepEqual(
        errors.map((error: Json) => error.pointer).sort(),
        pointers,
      );
      for (const { detail } of errors) assert(detail.length > 5, detail);
    }
  });

  test(`${name}: a hostile body is bounded in its answer`, async () => {
    const body = {
      question: "x".repeat(900_000),
      warmth: 5,
      tags: Array(20_000).fill(0),
    };
    const response = await post(handler, body);
    assert.equal(response.status, 422);
    const text = await response.text();
    assert.equal(JSON.parse(text).errors.length, 100);
    assert(text.length < 200_000, `${text.length}`);
  });

  test(`${name}: the document is valid, and has the schema where the library offers it`, async () => {
    const document = await documentOf(handler);
    const { valid, errors } = await new Validator().validate(
      structuredClone(document),
    );
    assert(valid, JSON.stringify(errors));
    const { Input } = document.components.schemas;
    if (name === "valibot") {
      assert.deepEqual(Object.keys(Input), ["description"]);
      return;
    }
    assert.deepEqual(
      Input.required,
      ["question"],
      "what is sent, not what is made of it",
    );
    assert.deepEqual(Input.properties.question, {
      type: "string",
      minLength: 2,
    });
    assert.equal(Input.properties.warmth.maximum, 2);
    assert.equal(Input.properties.tags.items.type, "string");
  });
}

test("zod: a schema that refers to itself still does in the document", async () => {
  const folder = z.object({
    name: z.string(),
    get folders() {
      return z.array(folder);
    },
  });
  const reused = z.string().meta({ id: "a name/with ~ signs" });
  const input = z.object({ root: folder, first: reused, second: reused });
  const document = await documentOf(createHandler({ input, source: "text" }));
  const { valid, errors } = await new Validator().validate(
    structuredClone(document),
  );
  assert(valid, JSON.stringify(errors));
  const { schemas } = document.components;
  const at = ({ $ref }: Json) => schemas[$ref.replace("#/components/schemas/", "")];
  const { properties } = schemas.Input;
  const root = properties.root.$ref ? at(properties.root) : properties.root;
  assert.equal(
    at(root.properties.folders.items).properties.name.type,
    "string",
  );
  assert.equal(at(properties.first).type, "string");
  assert.equal(properties.first.$ref, properties.second.$ref);
});

test("zod: what has no words in JSON Schema is reported, and still checked", async () => {
  const errors: unknown[] = [];
  const input = z.object({ question: z.string(), at: z.date().optional() });
  const handler = createHandler({
    input,
    inputFrom: ({ query }) => ({ question: query }),
    source: ({ input }) => input.question,
    onError: (error) => errors.push(error),
  });
  const { paths, components } = await documentOf(handler);
  assert(paths["/streaming"]);
  assert.deepEqual(Object.keys(components.schemas.Input), ["description"]);
  assert.equal(errors.length, 1);
  assert.match(String(errors[0]), /Date/);
  assert.equal(
    await (await post(handler, { question: "why?" })).text(),
    "why?",
  );
});

test("zod: a check that asks elsewhere is waited for", async () => {
  const known = z.string().refine(async (name) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    return name === "Ada";
  }, "unknown");
  const input = z.object({ name: known });
  const handler = createHandler({
    input,
    inputFrom: ({ query }) => ({ name: query }),
    source: ({ input }) => input.name,
  });
  assert.equal(await (await post(handler, { name: "Ada" })).text(), "Ada");
  const response = await post(handler, { name: "Bob" });
  assert.deepEqual((await response.json()).errors, [{
    pointer: "/name",
    detail: "unknown",
  }]);
  assert.equal(total(active), 0);
});

test("zod: the recipe of docs/handler.md checks its input and fills in its default", async () => {
  const here = fileURLToPath(new URL(".", import.meta.url));
  const code = readFileSync(`${here}recipes/input.ts`, "utf8")
    .replace('"spillway"', JSON.stringify(pathToFileURL(`${root}mod.ts`).href));
  // Beside the packages, for they are resolved from where it stands.
  const folder = `${here}.run/`;
  mkdirSync(folder, { recursive: true });
  try {
    writeFileSync(`${folder}input.ts`, code);
    const file = pathToFileURL(`${folder}input.ts`).href;
    const { default: handler } = await import(file) as { default: Handler };
    assert.equal(await (await post(handler, { question: "why?" })).text(), "why? at 1");
    assert.equal((await post(handler, { question: "", temperature: 9 })).status, 422);
    // What the chat page asks, and its page.
    const asked = JSON.stringify({ messages: [{ role: "user", content: "why?" }] });
    const headers = { "content-type": "application/json", accept: "text/plain" };
    const init = { method: "POST", headers, body: asked };
    const told = await handler.fetch(new Request("http://localhost/", init));
    assert.equal(await told.text(), "why? at 1");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
