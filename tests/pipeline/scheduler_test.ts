/** No turn is lost: not with a hop that throws, and not where turns and timers belong to a request. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Task } from "../../lib/pipeline/scheduler.ts";
import { PATIENCE_MS, startScript } from "../support/child.ts";
import { until } from "../support/serve.ts";

const throwing = () => {
  throw new Error("This runtime has no hop");
};
/** What each runtime makes its hop with, and what comes in place of it. */
const HOPS = { setImmediate: throwing, MessageChannel: throwing };
const modules = new URL("../../lib/pipeline/scheduler.ts", import.meta.url).href;
let copies = 0;

/** Runs `body` with a scheduler of its own, under globals of its own. */
async function under(
  globals: Record<string, unknown>,
  body: (schedule: (task: Task) => void) => Promise<void>,
): Promise<void> {
  const runtime = globalThis as unknown as Record<string, unknown>;
  const before = Object.keys(globals).map((name) => [name, runtime[name]] as const);
  Object.assign(runtime, globals);
  try {
    const { schedule } = await import(`${modules}?copy=${copies++}`);
    await body(schedule);
  } finally {
    for (const [name, value] of before) runtime[name] = value;
  }
}

/** Asks for a turn of a new task. Resolves with it. */
function turnOf(schedule: (task: Task) => void): Promise<Task> {
  return new Promise((resolve) => {
    const task = { due: false, run: () => resolve(task) };
    schedule(task);
  });
}

for (
  const [what, globals] of Object.entries({
    "a hop that throws": HOPS,
    "a hop and a timer that throw": { ...HOPS, setTimeout: throwing },
  })
) {
  test(`schedule() with ${what} still gives a turn, and nobody waits behind it`, async () => {
    await under(globals, async (schedule) => {
      for (let i = 0; i < 3; i++) {
        const tasks = await Promise.all([turnOf(schedule), turnOf(schedule)]);
        assert.deepEqual(tasks.map(({ due }) => due), [false, false]);
      }
    });
  });
}

test("a stream has turns and timers of its own where they belong to a request", async () => {
  const child = startScript("tests/support/child/edge.ts");
  try {
    await until(() => child.exit !== undefined, PATIENCE_MS, "an end");
    assert.equal(child.exit, 0, child.errors);
    assert.deepEqual(JSON.parse(child.output), {
      alone: ["Hello you", "Hello you"],
      overlapping: 50,
      silent: [true, true],
      crossed: "one two three",
      lost: "one two",
      recorded: "one two",
      active: 0,
    });
  } finally {
    await child.stop();
  }
});
