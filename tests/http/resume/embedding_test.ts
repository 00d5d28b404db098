/** `resume()` in somebody else's server: headers, and a log that is broken. */
import assert from "node:assert/strict";
import test from "node:test";
import { resume, stop } from "../../../lib/http/resume.ts";
import { sse } from "../../../lib/http/sse.ts";
import type { ReplayLog } from "../../../lib/http/replay_log.ts";
import { MemoryLog } from "../../../lib/replay/memory.ts";
import { createStreamId } from "../../../lib/stream_id.ts";
import { Reading } from "../../support/event_reader.ts";
import { ask, assertNothingLeft, post, refusal } from "../../support/handler_requests.ts";
import { from, JSON_ROUTE, stage } from "./setup.ts";

test("resume() answers problems with the embedder's headers, and asks for Last-Event-ID", async () => {
  const log = new MemoryLog();
  const options = { log, headers: { "x-own": "1" } };
  const without = new Reading(await resume(new Request("http://localhost/"), options));
  const { detail } = await without.problem(400, "bad_request");
  assert.equal(detail, "Last-Event-ID is missing");
  assert.equal(without.response.headers.get("x-own"), "1");
  const unknown = new Request("http://localhost/", { headers: from(createStreamId(), 1) });
  await new Reading(await resume(unknown, options)).problem(404, "not_found");
  assert.equal(await stop({ log, streamId: createStreamId() }), false);
});

test("a log that is broken is 500 without its text, and reaches onError whole", async () => {
  const broken = new Error("no log at 10.0.0.1");
  const reject = () => Promise.reject(broken);
  const log: ReplayLog = {
    check: () => {},
    open: reject,
    resume: reject,
    stop: reject,
    claim: reject,
    named: reject,
    look: reject,
    forget: reject,
  };
  const errors: unknown[] = [];
  const onError = (error: unknown) => void errors.push(error);
  const { handler, puppet } = stage({ log, onError });
  const headers = from(createStreamId(), 1);
  const answers = [
    await post(handler, "/streaming", JSON_ROUTE.body),
    await post(handler, "/streaming", JSON_ROUTE.body, headers),
    await ask(handler, `/streaming/${createStreamId()}`),
    await ask(handler, `/streaming/${createStreamId()}`, { method: "DELETE" }),
    await ask(handler, "/api/chat/chat-1/stream"),
    await sse(new Request("http://localhost/"), "text", { log, onError }),
    await sse(new Request("http://localhost/", { headers }), "text", { log, onError }),
  ];
  for (const answer of answers) assert.equal(await refusal(answer, 500, "problem"), "internal");
  assert.deepEqual(errors, answers.map(() => broken));
  assert.equal(puppet.runs, 0);
  await assertNothingLeft();
});
