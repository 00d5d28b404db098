/** The clients of Redis through our few lines: each answers alike, and comes back after an outage. */
import assert from "node:assert/strict";
import type { RedisClient } from "bun";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";
import type { BunRedisClient } from "../../../lib/redis.ts";
import type { Handler } from "../../../mod.ts";
import { root } from "../../support/child.ts";
import { runtimeName, until } from "../../support/serve.ts";
import { Paced, problemIn, sleep } from "../../support/machines.ts";
import { afterSites, isLong, sharedRedis, siteTest } from "../../support/redis_machines.ts";
import { same } from "../../support/event_reader.ts";
import { clients, noRedis, RedisServer } from "../../support/redis_server.ts";

/** The real type has the shape that is asked for. */
export const fits: (client: RedisClient) => BunRedisClient = (client) => client;

const options = { skip: noRedis, timeout: 120_000 };

for (const [name, connect] of Object.entries(clients)) {
  test(`${name}: any text arrives as it was, and replies have one shape`, options, async () => {
    const redis = await sharedRedis();
    const { connection, close } = connect(redis.url);
    const odd = "a\0b\r\n\n\ufeffテ😀\u2028 data: x\n\n";
    const script = "return {ARGV[1], #ARGV[1], 7, false, {'x', {1}}}";
    const bytes = new TextEncoder().encode(odd).length;
    assert.deepEqual(await connection.send("EVAL", [script, "0", odd]), [
      odd,
      bytes,
      7,
      null,
      ["x", [1]],
    ]);
    assert.equal(await connection.send("EVAL", ["return false", "0"]), null);
    const large = "é".repeat(600_000);
    assert.equal(await connection.send("EVAL", ["return #ARGV[1]", "0", large]), 1_200_000);
    await assert.rejects(connection.send("EVAL", ["return redis.call('XADD')", "0"]));
    assert.equal(await connection.send("PUBLISH", ["nobody", "x"]), 0);
    await connection.close?.();
    await close();
  });

  test(`${name}: a message is heard once, however often it is subscribed to`, options, async () => {
    const redis = await sharedRedis();
    const { connection, close } = connect(redis.url);
    const heard: string[] = [];
    const listener = (message: string) => void heard.push(message);
    for (let i = 0; i < 3; i++) {
      await connection.subscribe("news", listener);
      await connection.send("PUBLISH", ["news", `${i} テ\n`]);
      await until(() => heard.length > i, 5000, "a message");
      await sleep(20);
      assert.deepEqual(heard, ["0 テ\n", "1 テ\n", "2 テ\n"].slice(0, i + 1));
    }
    const before = await redis.clients();
    assert.deepEqual(before, { commands: 1, subscriber: 1 });
    await connection.close?.();
    await close();
    const deadline = performance.now() + 5000;
    while ((await redis.clients()).commands > 0 && performance.now() < deadline) await sleep(5);
    assert.deepEqual(await redis.clients(), { commands: 0, subscriber: 0 });
  });

  siteTest(`${name}: a log goes on after Redis was away, and hears again`, async (site) => {
    const [one, other] = await site.machines({ connect });
    const tokens = new Paced(300, 10);
    const first = await one.start(tokens.source);
    await first.events(10);
    let second = await (await other.meet(first)).events(5);
    await site.redis.kill();
    // The client of Bun gives up for good after half a minute, and a reader is told.
    await sleep(isLong ? 40_000 : 300);
    await site.redis.start();
    await first.rest();
    let { written } = await second.rest();
    if (isLong) {
      assert.equal(problemIn(second.last).code, "log_unavailable");
      written = second.blocks.slice(0, -1).map(({ text }) => text).join("");
      await until(() => other.log.health() === "ok", 10_000, "health");
      second = await (await other.meet(first, second.blocks.length - 1)).rest();
      written += second.written;
    }
    same(first.text, tokens.text());
    same(written, first.written);
    await site.redis.listeners(site.prefix, 2);
    assert.deepEqual(await site.redis.clients(), { commands: 2, subscriber: 2 });
    // It hears again, without a poll: a stop takes no second.
    const endless = new Paced(10_000, 5);
    const third = await one.start(endless.source);
    await third.events(3);
    await until(() => other.log.health() === "ok", 10_000, "health");
    const fromMs = performance.now();
    assert.equal(await other.stop(third.streamId), true);
    assert(performance.now() - fromMs < 400, `${performance.now() - fromMs} ms`);
    assert.equal(endless.signal?.aborted, true);
    await third.rest();
  }, { own: true });

  siteTest(`${name}: a log is made while Redis is away`, async (site) => {
    await site.redis.kill();
    const one = await site.machine({ connect, url: site.redis.url });
    const tokens = new Paced(100, 10);
    const first = await one.start(tokens.source);
    await first.events(50);
    await site.redis.start();
    await first.rest();
    same(first.text, tokens.text());
    assert.equal(await one.log.flush({ timeoutMs: 10_000 }), true);
    const other = await site.machine({ connect, url: site.redis.url });
    same((await (await other.join(first.streamId)).rest()).written, first.written);
  }, { own: true });
}

/** The recipe of docs/many_machines.md, for this Redis, as two processes would have it. */
async function machines(url: string): Promise<Handler[]> {
  const code = readFileSync(join(root, "tests/interop/recipes/many_machines.ts"), "utf8")
    .replace("redis://127.0.0.1:6379", url)
    .replace('"spillway"', JSON.stringify(pathToFileURL(join(root, "mod.ts")).href))
    .replace('"spillway/redis"', JSON.stringify(pathToFileURL(join(root, "lib/redis.ts")).href));
  const folder = mkdtempSync(join(tmpdir(), "spillway-"));
  try {
    return await Promise.all(["one", "other"].map(async (name) => {
      const file = join(folder, `${name}.ts`);
      writeFileSync(file, code);
      return (await import(pathToFileURL(file).href) as { default: Handler }).default;
    }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("the recipe for many machines serves a stream of one process from another", {
  ...options,
  skip: noRedis || runtimeName !== "bun" && "its client is Bun's own",
}, async () => {
  const { url } = await sharedRedis();
  const [one, other] = await machines(url);
  const asked = await one!.fetch(
    new Request("http://localhost/streaming", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query: "Hello" }),
    }),
  );
  const text = await asked.text();
  assert.match(text, /event: done/);
  // Draining writes what Redis does not have yet.
  await one!.drain();
  const path = `/streaming/${asked.headers.get("x-stream-id")}`;
  const again = await other!.fetch(new Request(`http://localhost${path}`));
  assert.equal(await again.text(), text);
  await other!.drain();
});

test("a Redis of the test's own is what it says", options, async () => {
  const redis = await RedisServer.start(true);
  await redis.command("SET", "key", "kept");
  await redis.kill();
  await redis.start();
  assert.equal(await redis.command("GET", "key"), "kept");
  await redis.remove();
});

afterSites();
