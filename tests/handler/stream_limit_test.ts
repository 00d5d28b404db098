/** How many may be served at once: in all, by owner, and those who come back apart from the others. */
import assert from "node:assert/strict";
import test from "node:test";
import { StreamError } from "../../lib/error.ts";
import { MemoryLog } from "../../mod.ts";
import { createHandler, type HandlerOptions } from "../../lib/handler.ts";
import { StreamLimit } from "../../lib/handler/stream_limit.ts";
import { Reading } from "../support/event_reader.ts";
import {
  ask,
  assertNothingLeft,
  post,
  Puppet,
  refusal,
  ROUTES,
} from "../support/handler_requests.ts";

const who = (request: Request) => request.headers.get("x-who");
const ADA = { "x-who": "ada" };
const BOB = { "x-who": "bob" };

function stage(options: Partial<HandlerOptions>) {
  const puppet = new Puppet();
  return {
    puppet,
    handler: createHandler({
      source: puppet.source,
      commitAfterMs: 0,
      ...options,
    }),
  };
}

test("Places.take() refuses with 503 in all and 429 by owner, and takes what was given back", () => {
  const places = new StreamLimit({ maxStreams: 3, maxStreamsPerOwner: 2 });
  const refused = (owner: string | undefined, status: number) =>
    assert.throws(() => places.take(owner), (error: StreamError) => {
      assert.deepEqual([error.code, error.status, error.retryAfter], [
        "too_many_streams",
        status,
        1,
      ]);
      return true;
    });
  places.take("ada");
  places.take("ada");
  refused("ada", 429);
  places.take("bob");
  refused("carol", 503);
  refused("ada", 503);
  places.free("bob");
  refused("ada", 429);
  places.free("ada");
  places.take("ada");
  places.take("constructor");
  refused(undefined, 503);
});

test("Places.take() does not count by owner where there are none", () => {
  const places = new StreamLimit({ maxStreamsPerOwner: 1 });
  for (let i = 0; i < 10_000; i++) places.take(undefined);
  assert.throws(() => places.take(undefined), { status: 503 });
});

for (const { path, body, shape } of ROUTES) {
  test(`POST ${path}: too many streams of one owner are 429 with Retry-After`, async () => {
    const { handler } = stage({
      authorize: who,
      limits: { maxStreamsPerOwner: 1 },
    });
    const first = new Reading(await post(handler, path, body, ADA));
    const refused = await post(handler, path, body, ADA);
    assert.equal(refused.headers.get("retry-after"), "1");
    const code = await refusal(refused, 429, shape);
    if (shape !== "anthropic") assert.equal(code, "too_many_streams");
    const other = new Reading(await post(handler, path, body, BOB));
    assert.equal(other.status, 200);
    for (
      const [{ streamId }, headers] of [[first, ADA], [other, BOB]] as const
    ) {
      await ask(handler, `/streaming/${streamId}`, {
        method: "DELETE",
        headers,
      });
    }
    await Promise.all([first.rest(), other.rest()]);
    const again = new Reading(await post(handler, path, body, ADA));
    assert.equal(again.status, 200);
    await ask(handler, `/streaming/${again.streamId}`, {
      method: "DELETE",
      headers: ADA,
    });
    await again.leave();
    await assertNothingLeft();
  });
}

test("stops take places as well, and not those of clients that read", async () => {
  let go = () => {};
  const log = new MemoryLog();
  log.stop = () => new Promise((resolve) => go = () => resolve(true));
  const limits = { maxStreams: 2, maxStreamsPerOwner: 1 };
  const { handler } = stage({ authorize: who, limits, log });
  const first = new Reading(await post(handler, "/streaming", { query: "" }, ADA));
  const path = `/streaming/${first.streamId}`;
  const stop = (headers: Record<string, string>) =>
    ask(handler, path, { method: "DELETE", headers });
  const stopping = stop(ADA);
  await new Promise((resolve) => setTimeout(resolve, 10));
  const refused = await stop(ADA);
  assert.equal(refused.headers.get("retry-after"), "1");
  assert.equal(await refusal(refused, 429, "problem"), "too_many_streams");
  const reading = new Reading(await ask(handler, path, { headers: ADA }));
  assert.equal(reading.status, 200);
  go();
  assert.equal((await stopping).status, 204);
  const again = stop(ADA);
  await new Promise((resolve) => setTimeout(resolve, 10));
  go();
  assert.equal((await again).status, 204);
  await Promise.all([first.leave(), reading.leave()]);
  await handler.drain({ timeoutMs: 0 });
  await assertNothingLeft();
});

test("whoever lost a stream comes back to a full server, and one place each", async () => {
  const limits = { maxStreams: 1, maxStreamsPerOwner: 1 };
  const { handler, puppet } = stage({ authorize: who, limits });
  const first = new Reading(
    await post(handler, "/streaming", { query: "" }, ADA),
  );
  puppet.say("one");
  await first.events(1);
  await first.leave();
  const path = `/streaming/${first.streamId}`;
  const headers = { ...ADA, "last-event-id": `${first.streamId}.0` };
  const started = await post(handler, "/streaming", { query: "" }, BOB);
  assert.equal(await refusal(started, 503, "problem"), "too_many_streams");
  for (
    const back of [
      () => ask(handler, path, { headers }),
      () => post(handler, "/streaming", {}, headers),
    ]
  ) {
    const reading = await new Reading(await back()).events(1);
    const second = await ask(handler, path, { headers });
    assert.equal(second.headers.get("retry-after"), "1");
    assert.equal(await refusal(second, 503, "problem"), "too_many_streams");
    await reading.leave();
    // These take a place for as long as they are answered.
    for (let i = 0; i < 3; i++) {
      assert.equal(
        (await ask(handler, path, { method: "HEAD", headers: ADA })).status,
        200,
      );
      assert.equal(
        (await ask(handler, "/streaming/x", { headers: BOB })).status,
        404,
      );
    }
  }
  assert.equal(
    (await ask(handler, path, { method: "DELETE", headers: ADA })).status,
    204,
  );
  await assertNothingLeft();
});

test("a stream holds its place until its generation and its reader are done", async () => {
  const { handler, puppet } = stage({ limits: { maxStreams: 1 } });
  const start = () => post(handler, "/streaming", { query: "" });
  const first = new Reading(await start());
  puppet.say("one");
  await first.events(1);
  puppet.say("two");
  puppet.end();
  // The generation is over, and its end has yet to be taken.
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal((await start()).status, 503);
  await first.rest();
  const second = new Reading(await start());
  await second.leave();
  // Its reader has left, and it goes on for the grace.
  assert.equal((await start()).status, 503);
  await ask(handler, `/streaming/${second.streamId}`, { method: "DELETE" });
  const third = new Reading(await start());
  assert.equal(third.status, 200);
  await ask(handler, `/streaming/${third.streamId}`, { method: "DELETE" });
  await third.rest();
  await assertNothingLeft();
});

test("limits.maxStreamsPerOwner is checked when the handler is made", () => {
  for (const value of [0, -1, 1.5, NaN]) {
    assert.throws(
      () => stage({ limits: { maxStreamsPerOwner: value } }),
      RangeError,
    );
  }
});
