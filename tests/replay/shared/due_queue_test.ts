/** The queue of what is to be written when. */
import assert from "node:assert/strict";
import test from "node:test";
import { type Due, DueQueue } from "../../../lib/replay/shared/due_queue.ts";

interface Named extends Due {
  name: string;
}

const item = (name: string): Named => ({ name, dueMs: Infinity });
const names = (items: Named[]) => items.map(({ name }) => name);

test("DueQueue returns what is due, earliest first, and keeps it until it is deleted", () => {
  const queue = new DueQueue<Named>(25);
  const [a, b, c, d] = [item("a"), item("b"), item("c"), item("d")];
  assert.equal(queue.nextMs, Infinity);
  queue.set(c!, 90);
  queue.set(a!, 30);
  queue.set(b!, 31);
  queue.set(d!, -Infinity);
  assert.deepEqual(names(queue.due(49)), ["d"]);
  queue.delete(d!);
  assert.equal(queue.nextMs, 50);
  for (let i = 0; i < 2; i++) assert.deepEqual(names(queue.due(100)), ["a", "b", "c"]);
  queue.delete(a!);
  queue.delete(a!);
  assert.equal(a!.dueMs, Infinity);
  assert.deepEqual(names(queue.due(1000)), ["b", "c"]);
});

test("DueQueue moves what is set anew", () => {
  const queue = new DueQueue<Named>(25);
  const [a, b] = [item("a"), item("b")];
  queue.set(a!, 500);
  queue.set(b!, 300);
  queue.set(a!, 10);
  assert.equal(queue.nextMs, 25);
  assert.deepEqual(names(queue.due(25)), ["a"]);
  queue.set(a!, 400);
  assert.deepEqual(names(queue.due(1000)), ["b", "a"]);
  queue.delete(a!);
  queue.delete(b!);
  assert.equal(queue.nextMs, Infinity);
});
