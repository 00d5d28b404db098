/** Clients that disconnect, over real sockets: how long a generation goes on. */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../../lib/counters.ts";
import { Reading } from "../../support/event_reader.ts";
import { DEPARTURES, rawRequest, serve, until } from "../../support/serve.ts";
import { assertNothingLeft } from "../../support/handler_requests.ts";
import { get, stage, started } from "./setup.ts";
import { timed } from "../../support/timing.ts";

for (const departure of DEPARTURES) {
  timed(`a generation goes on for its grace and no longer: ${departure}`, async () => {
    const graceMs = 250;
    const set = stage({ disconnect: { continueForMs: graceMs } });
    const server = serve(set.handler.fetch);
    try {
      const raw = await rawRequest(server.port, {
        method: "POST",
        path: "/streaming",
        headers: { "content-type": "application/json" },
        body: '{"query":""}',
      });
      raw.socket.on("error", () => {}); // a reset may come back to us
      await until(() => set.puppet.runs === 1, 2000, "a start");
      set.puppet.say("one");
      await until(() => raw.received.includes("one"), 2000, "a token");
      assert.equal(active.readers, 1);
      const leavesMs = performance.now();
      raw.socket[departure]();
      await until(() => active.readers === 0, 1000, "the departure");
      const leftMs = performance.now();
      await until(() => set.puppet.reason !== undefined, 2000, "the end of the grace");
      const { abortedMs } = set.puppet;
      assert(abortedMs - leavesMs >= graceMs - 2, `${abortedMs - leavesMs} ms`);
      assert(abortedMs - leftMs < graceMs + 250, `${abortedMs - leftMs} ms`);
      assert.equal(set.puppet.reason, "disconnected");
      await assertNothingLeft();
      assert.deepEqual(set.reports.map(({ outcome, code }) => [outcome, code]), [
        ["cancelled", "disconnected"],
      ]);
      raw.socket.destroy();
    } finally {
      await server.close();
    }
  });
}

timed("a reload within the grace goes on where it was, and the grace begins anew", async () => {
  const set = stage({ disconnect: { continueForMs: 250 } });
  const server = serve(set.handler.fetch);
  const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  try {
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"query":""}',
    };
    let reading = new Reading(await fetch(`${server.url}/streaming`, init));
    const url = `${server.url}/streaming/${reading.streamId}`;
    let text = "";
    for (let reload = 0; reload < 4; reload++) {
      set.puppet.say(`${reload} `);
      await reading.events(1);
      text += reading.text;
      const { lastId } = reading;
      await reading.leave();
      await until(() => active.readers === 0, 1000, "the departure");
      set.puppet.say("unseen ");
      await sleep(130);
      reading = new Reading(await fetch(url, { headers: { "last-event-id": lastId! } }));
      await reading.events(1);
      text += reading.text;
      const { lastId: next } = reading;
      await reading.leave();
      reading = new Reading(await fetch(url, { headers: { "last-event-id": next! } }));
    }
    assert.deepEqual([set.puppet.reason, set.puppet.runs], [undefined, 1]);
    set.puppet.end();
    await reading.rest();
    assert.equal(text, "0 unseen 1 unseen 2 unseen 3 unseen ");
    await assertNothingLeft();
    assert.deepEqual(set.reports.map(({ outcome }) => outcome), ["completed"]);
  } finally {
    await server.close();
  }
});

timed("while one of two readers stays there is no grace to run out", async () => {
  const set = stage({ disconnect: { continueForMs: 50 } });
  const first = await started(set, ["one "]);
  const second = await get(set.handler, `/streaming/${first.streamId}`);
  await first.leave();
  await new Promise((resolve) => setTimeout(resolve, 120));
  assert.equal(set.puppet.reason, undefined);
  set.puppet.say("two");
  set.puppet.end();
  assert.equal((await second.rest()).text, "one two");
  await assertNothingLeft();
});

test("disconnect: cancel ends the generation with its last reader, continue never does", async () => {
  const cancelled = stage({ disconnect: "cancel" });
  const first = await started(cancelled, ["one "]);
  const second = await get(cancelled.handler, `/streaming/${first.streamId}`);
  await second.events(1);
  await first.leave();
  assert.equal(cancelled.puppet.reason, undefined);
  await second.leave();
  await until(() => cancelled.puppet.reason === "disconnected", 100, "the end");
  await assertNothingLeft();

  const continued = stage({ disconnect: "continue" });
  const reading = await started(continued, ["one "]);
  await reading.leave();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(continued.puppet.reason, undefined);
  assert.deepEqual([active.readers, active.timers, active.streams], [0, 0, 1]);
  continued.puppet.say("two");
  continued.puppet.end();
  await assertNothingLeft();
  const late = await (await get(continued.handler, `/streaming/${reading.streamId}`)).rest();
  assert.equal(late.text, "one two");
  assert.equal(continued.reports[0]?.outcome, "completed");
});
