/** Coming back to a finished stream: positions, what is forgotten, and formats. */
import assert from "node:assert/strict";
import test from "node:test";
import { MemoryLog } from "../../../lib/replay/memory.ts";
import { createStreamId } from "../../../lib/stream_id.ts";
import { Reading } from "../../support/event_reader.ts";
import { ask, assertNothingLeft, post, refusal } from "../../support/handler_requests.ts";
import { finished, from, get, stage, started, texts } from "./setup.ts";

test("GET /streaming/{id} answers a finished stream from the start, byte for byte", async () => {
  const { handler, puppet, reading, id, path } = await finished();
  const again = await (await get(handler, path)).rest();
  assert.equal(again.status, 200);
  assert.equal(again.body, reading.body);
  assert.equal(again.streamId, id);
  for (const [name, value] of reading.response.headers) {
    if (name !== "vary") assert.equal(again.response.headers.get(name), value, name);
  }
  assert.equal(puppet.runs, 1);
  await assertNothingLeft();
});

test("GET /streaming/{id} goes on after Last-Event-ID, or ?lastEventId=, which it beats", async () => {
  const { handler, reading, id, path } = await finished();
  const rest = (after: number) => `:\n${texts(reading.blocks.slice(after))}`;
  for (const after of [0, 1, 2, 3]) {
    const byHeader = await (await get(handler, path, from(id, after))).rest();
    assert.equal(byHeader.body, rest(after));
    const byQuery = await (await get(handler, `${path}?lastEventId=${id}.${after}`)).rest();
    assert.equal(byQuery.body, rest(after));
    const both = await get(handler, `${path}?lastEventId=${id}.0`, from(id, after));
    assert.equal((await both.rest()).body, rest(after));
  }
  const wrong = await get(handler, `${path}?lastEventId=nonsense`, from(id, 3));
  assert.equal((await wrong.rest()).body, rest(3));
});

test("GET and HEAD /streaming/{id} answer 204 to who has read it all, and never run it again", async () => {
  const { handler, puppet, id, path } = await finished({ headers: { "x-own": "1" } });
  for (const method of ["GET", "HEAD"]) {
    for (const query of ["", `?lastEventId=${id}.4`]) {
      const headers = query === "" ? from(id, 4) : {};
      const reading = await (await get(handler, path + query, headers, method)).rest();
      assert.deepEqual([reading.status, reading.body], [204, ""]);
      assert.equal(reading.response.headers.get("content-type"), null);
      assert.equal(reading.response.headers.get("x-own"), "1");
    }
  }
  assert.equal(puppet.runs, 1);
  await assertNothingLeft();
});

test("GET /streaming/{id} answers 400 to a position past a finished stream's end", async () => {
  const { handler, id, path } = await finished();
  for (const event of [5, 6, 10 ** 14]) {
    const { detail } = await (await get(handler, path, from(id, event))).problem(
      400,
      "bad_request",
    );
    assert.equal(detail, "Last-Event-ID is past the end");
  }
});

test("a malformed Last-Event-ID is 400 on GET and POST, in the header and in the query", async () => {
  const { handler, puppet, id, path } = await finished();
  const malformed = ["", "x", id, `${id}.`, `${id}.x`, `${id}.-1`, `${id}.1.5`, ".1", `${id}.end`]
    .concat([`${id}.1 2`, `${id}.${"1".repeat(16)}`, `${"a".repeat(129)}.1`, `a/b.1`, `%00.1`]);
  for (const value of malformed) {
    const headers = { "last-event-id": value };
    await (await get(handler, path, headers)).problem(400, "bad_request");
    const query = `?lastEventId=${encodeURIComponent(value)}`;
    await (await get(handler, path + query)).problem(400, "bad_request");
    await new Reading(await post(handler, "/streaming", {}, headers)).problem(400, "bad_request");
  }
  assert.equal(puppet.runs, 1);
});

test("a Last-Event-ID of another stream is 400, whether there is such a stream or not", async () => {
  const { handler, path } = await finished();
  const other = new Reading(await post(handler, "/streaming", { query: "" }));
  const bodies = [];
  for (const id of [other.streamId, createStreamId()]) {
    const reading = await get(handler, path, from(id, 1));
    await reading.problem(400, "bad_request");
    bodies.push(reading.body);
  }
  assert.equal(bodies[0], bodies[1]);
  await ask(handler, `/streaming/${other.streamId}`, { method: "DELETE" });
  await other.rest();
  await assertNothingLeft();
});

test("an unknown stream is 404 on GET, HEAD, POST and DELETE", async () => {
  const { handler } = await finished();
  for (const id of [createStreamId(), "x", "a/b", "%20", "constructor", "a".repeat(500)]) {
    await (await get(handler, `/streaming/${id}`)).problem(404, "not_found");
    const head = await ask(handler, `/streaming/${id}`, { method: "HEAD" });
    assert.deepEqual([head.status, await head.text()], [404, ""]);
    await (await get(handler, `/streaming/${id}`, {}, "DELETE")).problem(404, "not_found");
  }
  const posted = await post(handler, "/streaming", {}, from(createStreamId(), 1));
  assert.equal(await refusal(posted, 404, "problem"), "not_found");
});

test("a stream is forgotten when its time has come", async () => {
  const { handler, path, id } = await finished({ log: new MemoryLog({ keepMs: 30 }) });
  assert.equal((await (await get(handler, path)).rest()).status, 200);
  let status = 200;
  for (let tries = 0; tries < 100 && status === 200; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    status = (await (await get(handler, path)).rest()).status;
  }
  assert.equal(status, 404);
  await (await get(handler, path, from(id, 4))).problem(404, "not_found");
  await (await get(handler, path, {}, "DELETE")).problem(404, "not_found");
});

test("GET /streaming/{id} in another format than the recorded one is 406", async () => {
  const { handler, id, path } = await finished();
  const wrong: [query: string, headers: Record<string, string>][] = [
    ["?format=text", {}],
    ["?format=nonsense", {}],
    ["", { accept: "application/x-ndjson" }],
    ["", { accept: "text/plain" }],
    ["?format=text", from(id, 4)],
    ["", { accept: "text/event-stream;q=0" }],
  ];
  for (const [query, headers] of wrong) {
    const { detail } = await (await get(handler, path + query, headers)).problem(
      406,
      "not_acceptable",
    );
    assert.equal(detail, "The stream is recorded as json");
  }
  const right: [query: string, headers: Record<string, string>][] = [
    ["?format=json", {}],
    ["", { accept: "text/event-stream" }],
    ["", { accept: "*/*" }],
    ["", { accept: "text/plain, text/*;q=0.5" }],
  ];
  for (const [query, headers] of right) {
    assert.equal((await (await get(handler, path + query, headers)).rest()).status, 200);
  }
});

test("a position that the log no longer holds is 410", async () => {
  const set = stage({ log: new MemoryLog({ maxStreamBytes: 128 * 1024 }) });
  const first = await started(set, ["first"]);
  // Nobody reads on, and a producer that only calls back cannot be held up.
  for (let i = 0; i < 200; i++) set.puppet.say(`${i} ${"x".repeat(2000)}`);
  const path = `/streaming/${first.streamId}`;
  const gone = async () => {
    for (const headers of [{}, from(first.streamId, 0), from(first.streamId, 1)]) {
      await (await get(set.handler, path, headers)).problem(410, "gone");
      if ("last-event-id" in headers) {
        const posted = await post(set.handler, "/streaming", {}, headers);
        assert.equal(await refusal(posted, 410, "problem"), "gone");
      }
    }
  };
  await gone();
  set.puppet.end();
  const { blocks } = await (await get(set.handler, path, from(first.streamId, 190))).rest();
  assert.deepEqual(blocks.map(({ number }) => number), [
    ...Array.from({ length: 11 }, (_, i) => 191 + i),
    202,
  ]);
  await gone();
  await first.leave();
  await assertNothingLeft();
});
