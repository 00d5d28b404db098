/**
 * The simulation, as far as every test run takes it: 300 seeds, a third of them on each runtime, for all
 * take the same steps. `npm run test:simulation` takes more, the 300 on each runtime among them, and
 * `SEED=n npm run test:simulation` replays one that has failed.
 */
import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { RUNTIMES } from "../../support/child.ts";
import { runtimeName } from "../../support/serve.ts";
import { simulate } from "./run.ts";

const BLOCKS = 2;
const BLOCK = 50;
const before = RUNTIMES.indexOf(runtimeName) * BLOCKS * BLOCK;

const unhandled: unknown[] = [];
process.on("unhandledRejection", (error) => void unhandled.push(error));

for (let block = 1; block <= BLOCKS; block++) {
  test(`simulation, block ${block} of this runtime's seeds: exact text or a named failure`, async () => {
    const last = before + block * BLOCK;
    for (let seed = last - BLOCK + 1; seed <= last; seed++) await simulate(seed);
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
