/** `ToolCallAssembler`: which fragments are one call, whatever their upstream marks them with. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type CallFragment, ToolCallAssembler } from "../../lib/formats/tool_calls.ts";
import { int, random } from "../support/random.ts";

interface Made {
  calls: unknown[];
  kept: number;
}

/** The calls of lists of fragments; each piece must continue what was given on before. */
function assemble(lists: CallFragment[][], isPatient = true): Made {
  let kept = 0;
  const assembler = new ToolCallAssembler({
    fault: (what) => new RangeError(what),
    keep: (bytes) => kept += bytes,
    isPatient,
  });
  const calls: { id?: string | undefined; name: string; arguments: string; extra?: unknown }[] = [];
  const pieces = [...lists.flatMap((list) => assembler.take(list)), ...assembler.end()];
  for (const { call: { index, id, name }, isFirst, fragment, extra } of pieces) {
    if (isFirst) {
      assert.equal(index, calls.length);
      calls.push({ ...id === undefined ? {} : { id }, name, arguments: "" });
    }
    const call = calls[index]!;
    call.arguments += fragment;
    if (extra !== undefined) call.extra = { ...Object(call.extra), ...extra };
  }
  assert.deepEqual(assembler.calls.map((call) => call.arguments), calls.map((c) => c.arguments));
  return { calls, kept };
}

const f = (json: string, more: object = {}) => ({ name: "f", arguments: json, ...more });

const CASES: Record<string, [lists: CallFragment[][], calls: unknown[]]> = {
  "a call in fragments": [
    [[{ index: 0, id: "a", name: "f", arguments: "" }], [{ index: 0, arguments: '{"c"' }], [
      { index: 0, arguments: ":1}" },
    ]],
    [f('{"c":1}', { id: "a" })],
  ],
  "the id first, the name later": [
    [[{ index: 0, id: "a" }], [{ index: 0, name: "f", arguments: "{}" }]],
    [f("{}", { id: "a" })],
  ],
  "arguments before the name": [
    [[{ index: 0, arguments: '{"c"' }], [{ index: 0, name: "f" }], [{
      index: 0,
      arguments: ":1}",
    }]],
    [f('{"c":1}')],
  ],
  "all at index 0, told apart by their ids": [
    [[{ index: 0, id: "a", ...f("{}") }], [{ index: 0, id: "b", ...f("{}") }]],
    [f("{}", { id: "a" }), f("{}", { id: "b" })],
  ],
  "a known id wins over the index": [
    [[{ index: 0, id: "a", ...f("{") }, { index: 0, id: "b", ...f("{") }], [
      { index: 0, id: "a", arguments: "}" },
      { index: 0, id: "b", arguments: "}" },
    ]],
    [f("{}", { id: "a" }), f("{}", { id: "b" })],
  ],
  "without an index, told apart by their ids": [
    [[{ id: "a", ...f("{") }], [{ arguments: "}" }], [{ id: "b", ...f("{}") }]],
    [f("{}", { id: "a" }), f("{}", { id: "b" })],
  ],
  "neither ids nor indices, in one list": [
    [[f("{}"), { name: "g", arguments: "{}" }, f("{}")]],
    [f("{}"), { name: "g", arguments: "{}" }, f("{}")],
  ],
  "without arguments, neither ids nor indices": [
    [[{ name: "f" }, { name: "g" }]],
    [f(""), { name: "g", arguments: "" }],
  ],
  "another id in each fragment": [
    [[{ index: 0, id: "a", ...f("{") }], [{ index: 0, id: "b", arguments: '"c":' }], [
      { index: 0, id: "c", arguments: "1}" },
    ]],
    [f('{"c":1}', { id: "a" })],
  ],
  "the name again in each fragment": [
    [[{ index: 0, id: "a", ...f("{") }], [{ index: 0, id: "a", ...f("}") }]],
    [f("{}", { id: "a" })],
  ],
  "one id for all calls": [
    [[{ index: 0, id: "call", ...f("{}") }], [{
      index: 1,
      id: "call",
      name: "g",
      arguments: "{}",
    }]],
    [f("{}", { id: "call" }), { id: "call_1", name: "g", arguments: "{}" }],
  ],
  "all arguments once more": [
    [[{ index: 0, id: "a", ...f('{"c":') }], [{ index: 0, arguments: '"ls"}' }], [
      { index: 0, arguments: '{"c":"ls"}' },
    ]],
    [f('{"c":"ls"}', { id: "a" })],
  ],
  "all arguments once more, in the fragment that ends them": [
    [[{ index: 0, id: "a", ...f('{"c":') }], [{ index: 0, arguments: '1}{"c":1}' }]],
    [f('{"c":1}', { id: "a" })],
  ],
  "empty arguments, and then those that are meant": [
    [[{ index: 0, id: "a", ...f("{}") }], [{ index: 0, arguments: '{"c":1}' }]],
    [f('{"c":1}', { id: "a" })],
  ],
  "braces and quotes in texts end nothing": [
    [[{ index: 0, ...f('{"c":"}\\"}') }], [{ index: 0, arguments: '\\\\"}' }]],
    [f('{"c":"}\\"}\\\\"}')],
  ],
  "arguments that are no text": [
    [[{ index: 0, name: "f", arguments: { c: 1 } }], [{ index: 1, name: "g", arguments: null }]],
    [f('{"c":1}'), { name: "g", arguments: "" }],
  ],
  "an index that is a text, an id that is a number, an id that is empty": [
    [[{ index: "0", id: 7, ...f("{") }], [{ index: "0", id: "", name: "", arguments: "}" }]],
    [f("{}", { id: "7" })],
  ],
  "members beside the call": [
    [[{ index: 0, ...f("{"), extra: { a: 1 } }], [{ index: 0, arguments: "}", extra: { b: 2 } }]],
    [f("{}", { extra: { a: 1, b: 2 } })],
  ],
};

for (const [name, [lists, calls]] of Object.entries(CASES)) {
  test(`ToolCallAssembler: ${name}`, () => assert.deepEqual(assemble(lists).calls, calls));
}

const FAULTS: Record<string, [lists: CallFragment[][], fault: RegExp]> = {
  "a call without a name": [[[{ index: 0, id: "a", arguments: "{}" }]], /has no name/],
  "more than a thousand calls that wait": [
    [Array.from({ length: 1001 }, (_, index) => ({ index, id: `a${index}` }))],
    /1000 tool calls wait/,
  ],
  "arguments behind their end": [
    [[{ index: 0, id: "a", ...f('{"a":1}') }], [{ index: 0, arguments: '{"b":1}' }]],
    /the tool call f go on/,
  ],
  "another name in the middle of arguments": [
    [[{ index: 0, ...f("{") }], [{ index: 0, name: "g", arguments: "}" }]],
    /named f, and then g/,
  ],
};

for (const [name, [lists, fault]] of Object.entries(FAULTS)) {
  test(`ToolCallAssembler fails ${name}`, () => assert.throws(() => assemble(lists), fault));
}

test("ToolCallAssembler gives on what arrives at once, and counts what it keeps", () => {
  const { calls, kept } = assemble([[{ index: 0, id: "é", name: "f", arguments: '"é"' }]], false);
  assert.deepEqual(calls, [f('"é"', { id: "é" })]);
  assert.equal(kept, 64 + 4 + 3);
});

test("ToolCallAssembler reads calls however they are cut, one after the other or side by side", () => {
  for (let seed = 0; seed < 300; seed++) {
    const chance = random(seed);
    const calls = Array.from({ length: 1 + int(chance, 3) }, (_, index) => ({
      id: `id${index}`,
      name: `f${index}`,
      arguments: JSON.stringify({ text: `}{"\\${index}`, list: [{}, [index]] }),
    }));
    const waiting = calls.map(({ arguments: json, ...names }, index) => {
      const fragments: CallFragment[] = [{ index, ...names }];
      for (let at = 0; at < json.length;) {
        const to = at + 1 + int(chance, 9);
        fragments.push({ index, arguments: json.slice(at, to) });
        at = to;
      }
      return fragments;
    });
    const lists: CallFragment[][] = [];
    while (waiting.some(({ length }) => length > 0)) {
      const open = waiting.filter(({ length }) => length > 0);
      // The calls begin in order.
      const next = open.find(({ 0: first }) => "name" in first!) ?? open[int(chance, open.length)]!;
      lists.push([next.shift()!]);
    }
    assert.deepEqual(assemble(lists).calls, calls, `seed ${seed}`);
  }
});
