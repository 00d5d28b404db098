/** The check of a body: what fits, what does not, and how the fault is named. */
import assert from "node:assert/strict";
import test from "node:test";
import { faultsOf, InvalidInput, type Schema } from "../../lib/handler/schema.ts";

const schema: Schema = {
  type: "object",
  required: ["name"],
  properties: {
    name: { type: "string", minLength: 1, maxLength: 3 },
    size: { type: ["number", "null"], minimum: 0, maximum: 2 },
    count: { type: "integer", minimum: 1 },
    kind: { enum: ["a", "b", null] },
    only: { enum: [1, null] },
    on: { type: "boolean" },
    list: { type: ["string", "array"], items: { type: "string" }, minItems: 1, maxItems: 3 },
    "a/b~c": { type: "string" },
    part: {
      type: "object",
      properties: { type: { type: "string" } },
      if: { properties: { type: { enum: ["text"] } } },
      then: { required: ["text"] },
    },
  },
};

const FAULTS: [value: unknown, pointer: string, detail: string][] = [
  [null, "", "Expected an object"],
  [[], "", "Expected an object"],
  ["text", "", "Expected an object"],
  [{}, "/name", "Required"],
  [{ name: 1 }, "/name", "Expected a string"],
  [{ name: "" }, "/name", "Expected some text"],
  [{ name: "four" }, "/name", "Expected 3 characters or fewer"],
  [{ name: "x", size: "1" }, "/size", "Expected a number"],
  [{ name: "x", size: 2.1 }, "/size", "Expected 0 to 2"],
  [{ name: "x", size: -1 }, "/size", "Expected 0 to 2"],
  [{ name: "x", count: 1.5 }, "/count", "Expected an integer"],
  [{ name: "x", count: 0 }, "/count", "Expected 1 or more"],
  [{ name: "x", count: 2 ** 53 }, "/count", "Expected an integer"],
  [{ name: "x", kind: "c" }, "/kind", "Expected one of a, b"],
  [{ name: "x", only: 2 }, "/only", "Expected 1"],
  [{ name: "x", on: 1 }, "/on", "Expected a boolean"],
  [{ name: "x", list: 1 }, "/list", "Expected a string or an array"],
  [{ name: "x", list: [] }, "/list", "Expected 1 or more items"],
  [{ name: "x", list: ["a", 5] }, "/list/1", "Expected a string"],
  [{ name: "x", list: ["a", "b", "c", "d"] }, "/list", "Expected 3 items or fewer"],
  [{ name: "x", "a/b~c": 5 }, "/a~1b~0c", "Expected a string"],
  [{ name: "x", part: { type: "text" } }, "/part/text", "Required"],
];

for (const [value, pointer, detail] of FAULTS) {
  test(`a schema finds the fault of ${JSON.stringify(value)}`, () => {
    assert.deepEqual(faultsOf(value, schema), [{ pointer, detail }]);
  });
}

test("a schema lets through what fits, and what it does not name", () => {
  for (
    const value of [
      { name: "x" },
      { name: "x", size: null, kind: null, only: null, other: { deep: [1] } },
      { name: "x", size: 2, count: 1, kind: "a", only: 1, on: false, list: "one" },
      { name: "x", part: { type: "text", text: "" }, list: ["a", "b", "c"] },
      { name: "x", part: { type: "image" } },
      JSON.parse('{"name":"x","__proto__":{"size":"9"}}'),
    ]
  ) assert.deepEqual(faultsOf(value, schema), [], JSON.stringify(value));
});

test("a schema takes no property from a prototype", () => {
  const inherits: Schema = { required: ["constructor"], properties: { toString: { enum: [1] } } };
  assert.deepEqual(faultsOf({}, inherits), [{ pointer: "/constructor", detail: "Required" }]);
});

test("a schema tells 20 faults of a million at most", () => {
  const items: Schema = { items: { type: "string" } };
  assert.equal(faultsOf(Array.from({ length: 1_000_000 }, () => 0), items).length, 20);
});

test("InvalidInput names its first fault as people write it", () => {
  const faults = [{ pointer: "/messages/0/a~1b", detail: "Required" }, { pointer: "", detail: "" }];
  assert.equal(new InvalidInput(faults).detail, "messages[0].a/b: Required");
  assert.equal(new InvalidInput([{ pointer: "", detail: "Expected an object" }]).status, 422);
});
