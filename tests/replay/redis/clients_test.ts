/** The adapters for Redis clients, as far as no Redis is needed. */
import assert from "node:assert/strict";
import test from "node:test";
import { bunRedis, type BunRedisClient } from "../../../lib/redis.ts";

test("bunRedis(): subscribing again while it connects adds no second listener", async () => {
  const listeners: ((message: string) => void)[] = [];
  let open = () => {};
  const opened = new Promise<void>((resolve) => open = resolve);
  const client: BunRedisClient = {
    connected: false,
    connect: () => opened,
    send: () => Promise.resolve(),
    duplicate: () => Promise.resolve(client),
    subscribe: (_, listener) => Promise.resolve(listeners.push(listener)),
    unsubscribe: () => Promise.resolve(listeners.splice(0)),
    close: () => {},
  };
  const { subscribe } = bunRedis(client);
  const heard: string[] = [];
  const listener = (message: string) => void heard.push(message);
  const calls = [subscribe("inbox", listener), subscribe("inbox", listener)];
  open();
  await Promise.all(calls);
  for (const hear of listeners) hear("hello");
  assert.deepEqual(heard, ["hello"]);
});
