/** What is not resumable: formats without ids, and a server without a log. */
import assert from "node:assert/strict";
import test from "node:test";
import { MemoryLog } from "../../../lib/replay/memory.ts";
import { Reading } from "../../support/event_reader.ts";
import { until } from "../../support/serve.ts";
import { ask, assertNothingLeft, post } from "../../support/handler_requests.ts";
import { get, JSON_ROUTE, stage } from "./setup.ts";

test("ndjson, plain and whole answers carry no x-stream-id, and end with their reader", async () => {
  const messages = [{ role: "user", content: "Hi" }];
  const others: [path: string, body: object, accept?: string][] = [
    ["/streaming?format=ndjson", { query: "" }],
    ["/streaming?format=plain", { query: "" }],
    ["/streaming", { query: "" }, "application/x-ndjson"],
    ["/streaming", { query: "" }, "text/plain"],
    ["/v1/chat/completions", { model: "m", messages }],
    ["/v1/chat/completions", { model: "m", messages, stream: false }],
    ["/v1/messages", { model: "m", max_tokens: 9, messages }],
  ];
  for (const [path, body, accept] of others) {
    const log = new MemoryLog();
    const set = stage({ log });
    const leaving = new AbortController();
    const pending = ask(set.handler, path, {
      method: "POST",
      headers: { "content-type": "application/json", ...accept ? { accept } : {} },
      body: JSON.stringify(body),
      signal: leaving.signal,
    });
    await until(() => set.puppet.runs === 1, 1000, "a start");
    assert.equal(log.size, 0, path);
    leaving.abort();
    await until(() => set.puppet.reason === "disconnected", 100, `${path}: the source was told`);
    const left = await pending;
    assert.equal(left.headers.get("x-stream-id"), null);
    await left.body?.cancel().catch(() => {});
    const answered = post(set.handler, path, body, accept ? { accept } : {});
    await until(() => set.puppet.runs === 2, 1000, "a start");
    set.puppet.say("text");
    set.puppet.end();
    const response = await answered;
    assert.deepEqual([response.status, response.headers.get("x-stream-id")], [200, null]);
    const text = await response.text();
    assert(text.includes("text") && !/^id: /m.test(text), text);
    await assertNothingLeft();
  }
});

test("without a log there are no ids, and nothing to join, resume or stop", async () => {
  const set = stage({ log: false });
  const reading = new Reading(await post(set.handler, "/streaming", JSON_ROUTE.body));
  assert.equal(reading.response.headers.get("x-stream-id"), null);
  set.puppet.say("one");
  set.puppet.end();
  await reading.rest();
  assert.doesNotMatch(reading.body, /^(id|retry):/m);
  const id = set.reports[0]!.streamId;
  for (const method of ["GET", "DELETE"]) {
    await (await get(set.handler, `/streaming/${id}`, {}, method)).problem(404, "not_found");
  }
  assert.equal((await get(set.handler, "/api/chat/chat-1/stream")).status, 204);
  assert.throws(() => stage({ log: false, disconnect: "continue" }), TypeError);
});
