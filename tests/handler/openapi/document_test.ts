/** `GET /openapi.json`: it says what the handler does, no more and no less. */
import assert from "node:assert/strict";
import test from "node:test";
import { ALL_CODES } from "../../../lib/handler/openapi/all_codes.ts";
import { createHandler } from "../../../lib/full_handler.ts";
import { chatPage, type Handler, referencePage, type Route } from "../../../lib/handler.ts";
import type { StandardSchema } from "../../../lib/handler/input.ts";
import { queryInput } from "../../../lib/handler/routes/streaming.ts";
import {
  type DescribedRoute,
  type DocumentOptions,
  openApiDocument,
} from "../../../lib/handler/openapi/document.ts";
import { openApi, OPERATIONS } from "../../../lib/handler/openapi/open_api.ts";
import type { Operation } from "../../../lib/handler/openapi/operation.ts";

// deno-lint-ignore no-explicit-any -- a document is looked into at many depths
type Json = any;

const options: DocumentOptions = {
  info: {},
  basePath: "",
  schema: queryInput,
  authorize: false,
  resumable: false,
  report: assert.ifError,
};

/** Every operation that there is, as a route. */
const ALL: readonly DescribedRoute[] = Object.entries(OPERATIONS).map(([name, operation]) => {
  const [method, path] = name.split(" ") as [DescribedRoute["method"], string];
  return { method, path, operation, ...path === "/health" ? { anonymous: true } : {} };
});

async function documentOf(handler: Handler, basePath = ""): Promise<Json> {
  const response = await handler.fetch(new Request(`http://localhost${basePath}/openapi.json`));
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "application/json");
  return await response.json();
}

/** Every object in a document. */
function* within(value: Json): Generator<Record<string, Json>> {
  if (typeof value !== "object" || value === null) return;
  if (!Array.isArray(value)) yield value;
  for (const inner of Object.values(value)) yield* within(inner);
}

test("every route is described with its methods, and nothing else is", async () => {
  for (const basePath of ["", "/api/v1"]) {
    const handler = createHandler({ source: "text", basePath });
    const { paths } = await documentOf(handler, basePath);
    assert(Object.keys(paths).length >= 4);
    for (const [path, methods] of Object.entries<Json>(paths)) {
      const one = path.replaceAll(/\{\w+\}/g, "one");
      const request = new Request(`http://localhost${basePath}${one}`, { method: "OPTIONS" });
      const response = await handler.fetch(request);
      const allowed = response.headers.get("allow")?.split(", ").filter((method) =>
        method !== "OPTIONS" && method !== "HEAD"
      );
      assert.deepEqual(
        Object.keys(methods).map((method) => method.toUpperCase()).sort(),
        allowed?.sort(),
        path,
      );
    }
  }
});

test("every answer that a request can get is in the description of its route", async () => {
  const handler = createHandler({
    source: () => {
      throw new Error("broken");
    },
    limits: { maxBodyBytes: 100 },
    allowedHosts: ["localhost"],
    onError: () => {},
  });
  const { paths } = await documentOf(handler);
  const type = { "content-type": "application/json" };
  const cases: [expected: number, url: string, init: RequestInit][] = [
    [400, "http://localhost/streaming", { headers: type, body: "{" }],
    [403, "http://localhost/streaming", { headers: { origin: "https://a.example" }, body: "" }],
    [406, "http://localhost/streaming", {
      headers: { ...type, accept: "image/png" },
      body: '{"query":""}',
    }],
    [413, "http://localhost/streaming", { headers: type, body: "x".repeat(200) }],
    [415, "http://localhost/streaming", { headers: { "content-type": "text/plain" }, body: "" }],
    [421, "http://elsewhere/streaming", { headers: type, body: "" }],
    [422, "http://localhost/streaming", { headers: type, body: "{}" }],
    [500, "http://localhost/streaming", { headers: type, body: '{"query":""}' }],
  ];
  for (const [expected, url, init] of cases) {
    const response = await handler.fetch(new Request(url, { method: "POST", ...init }));
    assert.equal(response.status, expected, url);
    const described = paths["/streaming"].post.responses[expected];
    const [mediaType] = Object.keys(described.content);
    assert.equal(response.headers.get("content-type"), mediaType);
    assert(described.description.includes((await response.json()).code), String(expected));
  }
});

test("the input's schema is the request's", async () => {
  const handler = createHandler({ source: "text" });
  const { paths, components } = await documentOf(handler);
  const { schema } = paths["/streaming"].post.requestBody.content["application/json"];
  assert.deepEqual(schema, { $ref: "#/components/schemas/Input" });
  assert.deepEqual(components.schemas.Input.required, ["query"]);
});

test("a schema without words in JSON Schema is reported once, and all else is described", async () => {
  const broken = new Error("cannot express a Date");
  const errors: unknown[] = [];
  const input: StandardSchema = {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) => ({ value }),
      jsonSchema: {
        input: () => {
          throw broken;
        },
      },
    },
  };
  const handler = createHandler({ input, source: "text", onError: (error) => errors.push(error) });
  const { paths } = await documentOf(handler);
  assert(paths["/streaming"].post);
  await documentOf(handler);
  assert.deepEqual(errors, [broken]);
});

test("info is the user's", async () => {
  const info = { title: "Answers", version: "2.1.0", description: "Of every kind." };
  assert.deepEqual((await documentOf(createHandler({ source: "text", info }))).info, info);
  const { info: own } = await documentOf(createHandler({ source: "text" }));
  assert.deepEqual(own, { title: "Spillway", version: "0" });
  for (const wrong of [{ title: 1 }, { version: null }, { description: {} }]) {
    assert.throws(() => createHandler({ source: "text", info: wrong as never }), TypeError);
  }
  const wrong = { titel: "Answers" };
  const message = "Cannot describe the API: unknown option titel; did you mean title?";
  assert.throws(() => openApi(wrong as never), { name: "TypeError", message });
  assert.throws(() => createHandler({ source: "text", info: wrong as never }), { message });
});

test("every route has an operation, and every operation a route", async () => {
  let served: readonly Route[] = [];
  // A page that looks at what it is given.
  const spy: Route = {
    method: "GET",
    path: "/spy",
    answer(_call, { routes }) {
      served = routes;
      return new Response();
    },
  };
  const pages = [{ routes: [spy] }, chatPage(), referencePage()];
  const handler = createHandler({ source: "text", pages });
  await handler.fetch(new Request("http://localhost/spy"));
  const names = served.filter((route) => route !== spy)
    .map(({ method, path }) => `${method} ${path}`);
  assert(names.includes("POST /streaming"));
  assert.deepEqual(names.sort(), Object.keys(OPERATIONS).sort());
  // A route of the embedder's own is served, and not described.
  assert.equal("/spy" in (await documentOf(handler)).paths, false);
});

test("servers are told where a basePath is", () => {
  assert.equal("servers" in openApiDocument(ALL, options), false);
  const { servers } = openApiDocument(ALL, { ...options, basePath: "/api" });
  assert.deepEqual(servers, [{ url: "/api" }]);
});

test("every reference leads somewhere, and every schema has one that leads to it", () => {
  const document: Json = openApiDocument(ALL, options);
  const references = [...within(document)].map(({ $ref }) => $ref).filter(Boolean);
  const names = Object.keys(document.components.schemas);
  for (const reference of references) {
    assert(names.includes(reference.replace("#/components/schemas/", "")), reference);
  }
  const reached = new Set(references);
  for (const name of names) assert(reached.has(`#/components/schemas/${name}`), name);
});

test("every path parameter is described, and every media type has its schema", () => {
  const { paths }: Json = openApiDocument(ALL, options);
  for (const [path, methods] of Object.entries<Json>(paths)) {
    const wanted = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    for (const [method, operation] of Object.entries<Json>(methods)) {
      const given = (operation.parameters ?? []).filter((each: Json) => each.in === "path");
      assert.deepEqual(given.map((each: Json) => each.name), wanted, `${method} ${path}`);
      for (const [status, { content = {} }] of Object.entries<Json>(operation.responses)) {
        for (const [mediaType, body] of Object.entries<Json>(content)) {
          const streams = ["text/event-stream", "application/x-ndjson"].includes(mediaType);
          assert.deepEqual(
            Object.keys(body),
            [streams ? "itemSchema" : "schema"],
            `${method} ${path} ${status}`,
          );
        }
      }
    }
  }
});

test("with a log, streams take Last-Event-ID and have names; without one they do not", () => {
  for (const resumable of [true, false]) {
    const { paths }: Json = openApiDocument(ALL, { ...options, resumable });
    const { parameters, responses } = paths["/streaming"].post;
    const names = parameters.map(({ name }: Json) => name);
    for (const name of ["Last-Event-ID", "X-Run-Id"]) {
      assert.equal(names.includes(name), resumable);
    }
    for (const name of ["X-Stream-Id", "X-Stream-Settings"]) {
      assert.equal(name in (responses[200].headers ?? {}), resumable);
    }
    assert.equal(404 in responses && 409 in responses && 410 in responses, resumable);
  }
});

test("with authorize, every route wants credentials but those that are open", () => {
  const document: Json = openApiDocument(ALL, { ...options, authorize: true });
  assert.deepEqual(document.components.securitySchemes, {
    bearer: { type: "http", scheme: "bearer" },
    apiKey: { type: "apiKey", in: "header", name: "X-Api-Key" },
  });
  assert.deepEqual(document.security, [{ bearer: [] }, { apiKey: [] }]);
  const { paths } = document;
  assert.deepEqual(paths["/health"].get.security, []);
  assert.equal(paths["/health"].get.responses[401], undefined);
  assert.equal(paths["/streaming"].post.security, undefined);
  assert(paths["/streaming"].post.responses[401]);
  const without: Json = openApiDocument(ALL, options);
  assert.equal(JSON.stringify(without).includes('"security'), false);
  const limited = ({ paths }: Json) => paths["/streaming"].post.responses[429].description;
  assert.match(limited(document), /too_many_streams/);
  assert.doesNotMatch(limited(without), /too_many_streams/);
});

test("a route of another API refuses in that API's words, and with its statuses", () => {
  const { paths }: Json = openApiDocument(ALL, options);
  const { responses } = paths["/v1/chat/completions"].post;
  for (const status of [400, 403, 429, 500, "default"]) {
    assert.deepEqual(responses[status].content, {
      "application/json": { schema: { $ref: "#/components/schemas/OpenAIError" } },
    }, String(status));
  }
  assert(responses[400].description.includes("`invalid_input`"));
  assert(!responses[422].description.includes("`invalid_input`"));
});

test("codes are described with their status and title, and a try later with its header", () => {
  const { paths }: Json = openApiDocument(ALL, options);
  const { responses } = paths["/streaming"].post;
  for (const code of OPERATIONS["POST /streaming"]!.problems) {
    const [status, title] = ALL_CODES[code]!;
    assert(responses[status].description.includes(`\`${code}\`: ${title}`), code);
  }
  assert(responses[503].headers["Retry-After"]);
  assert.equal(responses[422].headers, undefined);
});

test("openApiDocument() refuses a table that contradicts itself", () => {
  const health = OPERATIONS["GET /health"]!;
  const twice = (operation: Operation) =>
    openApiDocument([
      { method: "GET", path: "/a", operation: health },
      { method: "GET", path: "/b", operation },
    ], options);
  assert.throws(() => twice(health), /two routes as health/);
  const other = { ...health, operationId: "other" };
  assert.throws(() => twice({ ...other, schemas: { Problem: {} } }), /two schemas as Problem/);
  assert.throws(() => twice({ ...other, problems: ["nonsense"] }), /code nonsense/);
});
