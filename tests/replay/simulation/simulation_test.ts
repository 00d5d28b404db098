/**
 * The simulation, as far as every test run takes it: 300 seeds. `npm run test:simulation` takes more, and
 * `SEED=n npm run test:simulation` replays one that has failed.
 */
import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { simulate } from "./run.ts";

const SEEDS = 300;
const BLOCK = 50;

const unhandled: unknown[] = [];
process.on("unhandledRejection", (error) => void unhandled.push(error));

for (let first = 1; first <= SEEDS; first += BLOCK) {
  test(`simulation, seeds ${first} to ${first + BLOCK - 1}: exact text or a named failure`, async () => {
    for (let seed = first; seed < first + BLOCK; seed++) await simulate(seed);
    assert.deepEqual(unhandled.splice(0), []);
  });
}

test("simulation: a seed takes the same steps each time", async () => {
  const first: string[] = [];
  const second: string[] = [];
  const outcome = await simulate(6, (line) => first.push(line));
  const again = await simulate(6, (line) => second.push(line));
  assert(outcome.steps > 1000, `${outcome.steps} steps`);
  assert.deepEqual(second, first);
  assert.equal(again.digest, outcome.digest);
  assert.notEqual((await simulate(7)).digest, outcome.digest);
});
