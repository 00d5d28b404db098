/** Joining and resuming a stream that goes on. */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../../lib/counters.ts";
import { StreamError } from "../../../lib/error.ts";
import { MemoryLog } from "../../../lib/replay/memory.ts";
import { ask, assertNothingLeft, post, refusal, ROUTES } from "../../support/handler_requests.ts";
import { EVENT_STREAM, from, get, JSON_ROUTE, stage, started } from "./setup.ts";

test("GET /streaming/{id} joins a live stream from its start and follows it to its end", async () => {
  const set = stage();
  const first = await started(set, ["one "]);
  const late = await get(set.handler, `/streaming/${first.streamId}`);
  await late.events(1);
  set.puppet.say("two");
  await Promise.all([first.events(2), late.events(2)]);
  set.puppet.end();
  await Promise.all([first.rest(), late.rest()]);
  assert.equal(late.body, first.body);
  assert.deepEqual([late.text, set.puppet.runs], ["one two", 1]);
  await assertNothingLeft();
});

test("GET /streaming/{id} waits where its position is ahead of a live stream", async () => {
  const set = stage();
  const first = await started(set, ["one "]);
  const ahead = await get(set.handler, `/streaming/${first.streamId}`, from(first.streamId, 3));
  assert.equal(ahead.status, 200);
  set.puppet.say("two ", "three ", "four ");
  await ahead.events(1);
  assert.equal(ahead.last.number, 4);
  set.puppet.end();
  assert.equal((await ahead.rest()).text, "four ");
  await first.rest();
  await assertNothingLeft();
});

test("HEAD /streaming/{id} answers the head of GET and joins nothing", async () => {
  const set = stage();
  const first = await started(set);
  const { readers } = active;
  const path = `/streaming/${first.streamId}`;
  for (const headers of [{}, from(first.streamId, 2)]) {
    const head = await ask(set.handler, path, { method: "HEAD", headers });
    assert.deepEqual([head.status, await head.text()], [200, ""]);
    assert.equal(head.headers.get("content-type"), EVENT_STREAM);
    assert.equal(head.headers.get("x-stream-id"), first.streamId);
    assert.equal(active.readers, readers);
  }
  set.puppet.end();
  await first.rest();
  await assertNothingLeft();
});

test("a stream is not there before it begins, nor after it was refused", async () => {
  const log = new MemoryLog();
  const { handler } = stage({
    log,
    onError: () => {},
    source: () => {
      throw new Error("broken");
    },
  });
  const response = await post(handler, "/streaming", JSON_ROUTE.body);
  assert.equal(response.headers.get("x-stream-id"), null);
  assert.equal(await refusal(response, 500, "problem"), "internal");
  assert.equal(log.size, 0);
  await assertNothingLeft();
});

test("who has left before the start holds no place, and leaves nothing in the log", async () => {
  const log = new MemoryLog();
  const set = stage({ log, limits: { maxStreams: 1 } });
  for (const { path, body } of ROUTES) {
    const response = await ask(set.handler, path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.abort(),
    });
    assert.equal(response.headers.get("x-stream-id"), null);
    await response.body?.cancel();
    await assertNothingLeft();
    assert.equal(log.size, 0);
  }
});

test("a failure is logged, has an id and is final", async () => {
  const set = stage({ onError: () => {} });
  const first = await started(set, ["half"]);
  set.puppet.fail(new StreamError("truncated"));
  await first.rest();
  assert.equal(first.last.event, "failed");
  assert.equal(first.last.id, `${first.streamId}.2`);
  assert.equal(JSON.parse(first.last.data).resume, undefined);
  const path = `/streaming/${first.streamId}`;
  assert.equal((await (await get(set.handler, path)).rest()).body, first.body);
  assert.equal((await get(set.handler, path, from(first.streamId, 2))).status, 204);
});
