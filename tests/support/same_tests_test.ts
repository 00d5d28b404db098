import assert from "node:assert/strict";
import test from "node:test";
import { differences, testsOf } from "./same_tests.mjs";

const NODE = `TAP version 13
# Subtest: one: "two" #3
ok 1 - one: "two" \\#3
  ---
  duration_ms: 1.5
  ...
not ok 2 - it fails
ok 3 - it waits # SKIP no reason
1..3
# pass 1
`;
const BUN = `
tests/a_test.ts:
(pass) one: "two" #3 [0.52ms]
(fail) it fails [1.00ms]
(skip) it waits

 1 tests skipped:
(skip) it waits

 1 pass
`;
const DENO = `running 3 tests from ./tests/a_test.ts
one: "two" #3 ...
------- output -------
it says ... something
----- output end -----
one: "two" #3 ... ok (1ms)
it fails ...Error: for a reason
 FAILED (2ms)
it waits ... ignored (0ms)
`;
const TESTS = [['one: "two" #3', false], ["it fails", false], [
  "it waits",
  true,
]];

test("testsOf() reads what each runner prints", () => {
  assert.deepEqual([...testsOf("Node", NODE)], TESTS);
  assert.deepEqual([...testsOf("Bun", BUN)], TESTS);
  assert.deepEqual([...testsOf("Deno", DENO)], TESTS);
});

test("differences() names what a runtime has not, or skips alone", () => {
  assert.deepEqual(differences({ Node: NODE, Bun: BUN, Deno: DENO }), []);
  const fewer = DENO.replace(/^it fails.*\n.*\n/m, "");
  assert.deepEqual(differences({ Node: NODE, Bun: BUN, Deno: fewer }), [
    'Deno has no test "it fails"',
  ]);
  const more = BUN.replaceAll(/\(skip\) it waits/g, "(pass) it waits");
  assert.deepEqual(differences({ Node: NODE, Bun: more, Deno: DENO }), [
    'Node skips "it waits", and no reason is given',
    'Deno skips "it waits", and no reason is given',
  ]);
});

test("differences() accepts what is skipped for a reason", () => {
  const node = "ok 1 - toNodeListener() serves HTTP/2\n";
  assert.deepEqual(
    differences({ Node: node, Bun: "(skip) toNodeListener() serves HTTP/2\n" }),
    [],
  );
  assert.equal(
    differences({ Bun: "(pass) x\n", Node: "ok 1 - x # SKIP\n" }).length,
    1,
  );
});
