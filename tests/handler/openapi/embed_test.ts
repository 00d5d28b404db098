/** A user's JSON Schema as a part of the document: its references point where they did. */
import assert from "node:assert/strict";
import test from "node:test";
import type { StandardSchema } from "../../../lib/handler/input.ts";
import { embed } from "../../../lib/handler/openapi/embed.ts";

function schemaOf(json?: Record<string, unknown>): StandardSchema {
  return {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) => ({ value }),
      ...json ? { jsonSchema: { input: () => json } } : {},
    },
  };
}

test("embed() takes the schema as it is, without its $schema", () => {
  const json = { $schema: "https://json-schema.org/draft/2020-12/schema", type: "string" };
  assert.deepEqual(embed("Input", schemaOf(json)), { Input: { type: "string" } });
});

test("embed() asks for draft 2020-12, which OpenAPI 3.2 is written in", () => {
  const asked: unknown[] = [];
  const schema = schemaOf({});
  const { "~standard": standard } = schema;
  embed("Input", {
    "~standard": {
      ...standard,
      jsonSchema: {
        input: (options) => {
          asked.push(options);
          return {};
        },
      },
    },
  });
  assert.deepEqual(asked, [{ target: "draft-2020-12" }]);
});

test("embed() says something where the library says nothing", () => {
  const { Input } = embed("Input", schemaOf());
  assert.deepEqual(Object.keys(Input!), ["description"]);
});

test("embed() moves definitions, and every reference to them", () => {
  const schemas = embed(
    "Input",
    schemaOf({
      type: "object",
      properties: {
        node: { $ref: "#/$defs/A~1 node" },
        again: { $ref: "#/$defs/A~1%20node/properties/next" },
        self: { anyOf: [{ $ref: "#" }, { type: "null" }] },
        inner: { $ref: "#/properties/node" },
        other: { $ref: "https://example.com/other" },
        anchor: { $ref: "#anchor" },
      },
      $defs: {
        "A/ node": { type: "object", properties: { next: { $ref: "#/$defs/A~1 node" } } },
        "A_ node": { type: "string" },
      },
    }),
  );
  const [, first, second] = Object.keys(schemas);
  assert.deepEqual(Object.keys(schemas), ["Input", first, second]);
  for (const name of Object.keys(schemas)) assert.match(name, /^[\w.-]+$/);
  assert.notEqual(first, second);
  const at = `#/components/schemas/${first}`;
  assert.deepEqual(schemas.Input, {
    type: "object",
    properties: {
      node: { $ref: at },
      again: { $ref: `${at}/properties/next` },
      self: { anyOf: [{ $ref: "#/components/schemas/Input" }, { type: "null" }] },
      inner: { $ref: "#/components/schemas/Input/properties/node" },
      other: { $ref: "https://example.com/other" },
      anchor: { $ref: "#anchor" },
    },
  });
  assert.deepEqual(schemas[first!], { type: "object", properties: { next: { $ref: at } } });
});

test("embed() leaves alone what only looks like a reference", () => {
  const json = {
    properties: { $ref: { type: "string" }, default: { $ref: "#" } },
    const: { $ref: "#" },
    default: { $ref: "#/$defs/x" },
    enum: [{ $ref: "#" }],
    examples: [{ $ref: "#" }],
  };
  assert.deepEqual(embed("Input", schemaOf(json)).Input, {
    ...json,
    properties: {
      $ref: { type: "string" },
      default: { $ref: "#/components/schemas/Input" },
    },
  });
});

test("embed() leaves a schema with an id of its own alone", () => {
  const json = { $id: "https://example.com/i", $ref: "#/$defs/a", $defs: { a: {} } };
  assert.deepEqual(embed("Input", schemaOf(json)), { Input: json });
});
