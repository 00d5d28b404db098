/** A server that drains: what it still serves, and what it ends. */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../../lib/counters.ts";
import { Reading } from "../../support/event_reader.ts";
import { until } from "../../support/serve.ts";
import { ask, assertNothingLeft, post, refusal, ROUTES } from "../../support/handler_requests.ts";
import { from, get, JSON_ROUTE, stage, started } from "./setup.ts";

test("drain() serves resumes, joins and stops, and turns new streams away", async () => {
  const set = stage();
  const first = await started(set, ["one "]);
  const url = `/streaming/${first.streamId}`;
  const drained = set.handler.drain({ timeoutMs: 5000 });
  for (const { path, body, shape } of ROUTES) {
    const refused = await post(set.handler, path, body);
    assert.equal(refused.headers.get("retry-after"), "1");
    await refusal(refused, 503, shape);
  }
  const joined = await get(set.handler, url);
  const resumed = new Reading(
    await post(set.handler, "/streaming", JSON_ROUTE.body, from(first.streamId, 1)),
  );
  assert.deepEqual([joined.status, resumed.status], [200, 200]);
  set.puppet.say("two");
  await resumed.events(1);
  assert.equal((await ask(set.handler, url, { method: "DELETE" })).status, 204);
  await Promise.all([first, joined, resumed].map((reading) => reading.rest()));
  await drained;
  assert.equal(joined.body, first.body);
  assert.equal(JSON.parse(joined.last.data).reason, "cancelled");
  assert.equal((await get(set.handler, url, from(first.streamId, 3))).status, 204);
  assert.equal(set.puppet.runs, 1);
  await assertNothingLeft();
});

test("drain() ends what is left with shutting_down, which is logged, and every reader with it", async () => {
  const set = stage();
  const first = await started(set, ["one "]);
  const url = `/streaming/${first.streamId}`;
  const joined = await get(set.handler, url);
  const stalled = await get(set.handler, url);
  await joined.events(1);
  await set.handler.drain({ timeoutMs: 20 });
  assert.equal(active.readers + active.streams, 0, "also those that take nothing");
  for (const reading of [first, joined, stalled]) {
    await reading.rest();
    assert.equal(JSON.parse(reading.last.data).code, "shutting_down");
    assert.equal(reading.last.id, `${first.streamId}.2`);
  }
  const late = await (await get(set.handler, url)).rest();
  assert.equal(late.body, first.body);
  await assertNothingLeft();
});

test("drain() waits for a reader that has yet to take what its finished generation left", async () => {
  const set = stage();
  const first = await started(set, ["one "]);
  set.puppet.say("two ");
  set.puppet.end();
  await until(() => active.streams === 0, 1000, "the generation ended");
  let drained = false;
  const drain = set.handler.drain({ timeoutMs: 5000 }).then(() => drained = true);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(drained, false);
  await first.rest();
  await drain;
  assert.equal(first.text, "one two ");
  await assertNothingLeft();
});
