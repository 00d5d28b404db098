/**
 * No turn is lost: not with a hop that throws, and not where turns and timers belong to a request. And
 * however many turns there are, others have theirs.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { test } from "node:test";
import { sse } from "../../lib/http/sse.ts";
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

/** Reads floods at the same time, and returns their readers, each with the sizes of its chunks. */
async function readFloods(
  count: number,
  goesOn: (sizes: number[]) => boolean,
): Promise<number[][]> {
  const token = "x".repeat(64);
  return await Promise.all(Array.from({ length: count }, async () => {
    const { body } = await sse(new Request("http://localhost/"), function* () {
      for (;;) yield token;
    });
    const reader = body!.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    const sizes: number[] = [];
    while (goesOn(sizes)) sizes.push((await reader.read()).value!.length);
    await reader.cancel();
    return sizes;
  }));
}

test("turns are shorter where many streams have one in the same round", async () => {
  const latest = async (count: number) => {
    const all = await readFloods(count, ({ length }) => length < 12);
    return Math.max(...all.map((sizes) => sizes.at(-1)!));
  };
  const few = await latest(8);
  assert(few > 12 * 1024, `${few} bytes in a turn of 8 streams`);
  const many = await latest(1024);
  assert(many < 8 * 1024, `${many} bytes in a turn of 1,024 streams`);
});

test("a socket is looked at after a few rounds, however long they are", async () => {
  const server = createServer((socket) => socket.pipe(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  let rounds = 0;
  let isOver = false;
  const floods = readFloods(200, (sizes) => {
    rounds = Math.max(rounds, sizes.length);
    return !isOver;
  });
  const taken: number[] = [];
  for (let pings = 0; pings < 8; pings++) {
    const begun = rounds;
    socket.write("ping");
    await once(socket, "data");
    taken.push(rounds - begun);
  }
  isOver = true;
  await floods;
  socket.destroy();
  server.close();
  // There and back: each side is looked at once.
  taken.sort((a, b) => a - b);
  assert(taken[4]! <= 12, `rounds until an answer: ${taken.join()}`);
});
