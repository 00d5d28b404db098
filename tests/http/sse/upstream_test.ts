/** `sse()`: an upstream's response as the source. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeEvents, sse } from "../../../mod.ts";
import { collect } from "../../../lib/testing.ts";
import { until } from "../../support/serve.ts";
import { assertProblem, counting, post, recorded } from "./setup.ts";
import { relay } from "../../../lib/sources/relay.ts";

const upstream = (body: BodyInit | null, init: ResponseInit = {}) =>
  relay(new Response(body, { headers: { "content-type": "text/event-stream" }, ...init }));

test("sse() relays an upstream's events unchanged and ends with its end", async () => {
  const opened = counting();
  const events = ': hi\ndata: a\ndata:  b\n\nevent: note\nid: 7\ndata: {"x":1}\n\ndata:\n\n';
  for (const end of ["data: [DONE]\n\n", "event: done\ndata: {}\n\n"]) {
    for (const tail of ["", "data: never\n\n"]) {
      const types = ["text/event-stream", "Text/Event-Stream; charset=utf-8"];
      for (const type of types) {
        const headers = { "content-type": type };
        const answer = upstream(events + end + tail, { headers });
        const { options, errors, reports } = recorded();
        const response = await sse(post(), async () => await Promise.resolve(answer), options);
        const told = await Array.fromAsync(decodeEvents(response.body!));
        assert.deepEqual(told.slice(0, -1).map(({ event, data }) => [event, data]), [
          ["message", "a\n b"],
          ["note", '{"x":1}'],
          ["message", ""],
        ]);
        assert.equal(told.at(-1)!.event, "done");
        assert.deepEqual(errors, []);
        assert.equal(reports[0]?.outcome, "completed");
      }
    }
  }
  assert.deepEqual(opened(), {});
});

test("sse() cancels the rest of an upstream that has said its end", async () => {
  const opened = counting();
  let cancelled = 0;
  const endless = new ReadableStream<Uint8Array>({
    start: (controller) =>
      controller.enqueue(new TextEncoder().encode("data: a\n\ndata: [DONE]\n\n")),
    cancel: () => void cancelled++,
  });
  await (await sse(post(), upstream(endless))).text();
  assert.equal(cancelled, 1);
  assert.deepEqual(opened(), {});
});

test("sse() cancels an upstream that is silent when its reader leaves", async () => {
  const opened = counting();
  let cancelled = 0;
  const endless = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new TextEncoder().encode("data: a\n\n")),
    cancel: () => void cancelled++,
  });
  const { options, errors } = recorded();
  const response = await sse(post(), () => upstream(endless), options);
  const reader = response.body!.getReader();
  await reader.read();
  await reader.cancel();
  assert.equal(cancelled, 1);
  await until(() => opened().upstreams === undefined, 1000, "the upstream is let go");
  assert.deepEqual([opened(), errors], [{}, []]);
});

test("sse() fails with upstream_failed for an upstream's failed or error event", async () => {
  const opened = counting();
  for (const event of ["failed", "error"]) {
    const failure = `event: ${event}\ndata: {"secret":1}\n\n`;
    const { options, errors } = recorded();
    const source = upstream(`event: note\ndata: {}\n\n${failure}data: [DONE]\n\n`);
    const { status, problem, body } = await collect(sse(post(), source, options));
    assert.deepEqual([status, problem?.code], [200, "upstream_failed"]);
    assert.ok(!body.includes("secret"));
    assert.equal(errors.length, 1);
    const first = await sse(post(), upstream(failure), recorded().options);
    await assertProblem(first, 502, "upstream_failed");
  }
  assert.deepEqual(opened(), {});
});

test("sse() fails with truncated for an upstream that ends without an end", async () => {
  const opened = counting();
  for (const tail of ["", "data: cut", "data: [DONE]\n", "event: done\ndata: {}"]) {
    const { options } = recorded();
    const answer = upstream(`event: note\ndata: {}\n\n${tail}`);
    const { status, end, problem } = await collect(sse(post(), answer, options));
    assert.deepEqual([status, end, problem?.code], [200, "failed", "truncated"], tail);
  }
  for (const body of ["", ": only a comment\n", null]) {
    const response = await sse(post(), upstream(body), recorded().options);
    assert.equal(response.status, 502);
    await response.text();
  }
  assert.deepEqual(opened(), {});
});

test("sse() fails with bad_upstream for another status or media type, and drops its body", async () => {
  const opened = counting();
  const eventStream = { "content-type": "text/event-stream" };
  const inits: ResponseInit[] = [
    { status: 404, headers: eventStream },
    { status: 401, headers: { "content-type": "application/json" } },
    { status: 201, headers: eventStream },
    { status: 200, headers: { "content-type": "application/json" } },
    { status: 200, headers: { "content-type": "text/event-streams" } },
  ];
  for (const init of inits) {
    let cancelled = 0;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new TextEncoder().encode("secret")),
      cancel: () => void cancelled++,
    });
    const { options, errors } = recorded();
    const response = await sse(post(), () => relay(new Response(body, init)), options);
    const problem = await assertProblem(response, 502, "bad_upstream");
    assert.ok(!JSON.stringify(problem).includes("secret"));
    assert.equal(errors.length, 1);
    assert.equal(cancelled, 1);
  }
  assert.deepEqual(opened(), {});
});

test("sse() fails for an upstream whose body breaks off, after what came before", async () => {
  const opened = counting();
  const parts = ["event: note\ndata: {}\n\n"];
  const broken = new ReadableStream<Uint8Array>({
    pull(controller) {
      const part = parts.shift();
      if (part === undefined) controller.error(new Error("secret reset"));
      else controller.enqueue(new TextEncoder().encode(part));
    },
  }, { highWaterMark: 0 });
  const { options, errors } = recorded();
  const wire = await (await sse(post(), upstream(broken), options)).text();
  assert.match(wire, /^:\nevent: note\ndata: \{\}\n\nevent: failed\n/);
  assert.ok(!wire.includes("secret"));
  assert.equal(errors.length, 1);
  assert.deepEqual(opened(), {});
});

test("sse() fails for an upstream whose body somebody has read, and counts it away", async () => {
  const opened = counting();
  const headers = { "content-type": "text/event-stream" };
  const read = new Response("data: a\n\n", { headers });
  read.body!.getReader();
  await assertProblem(await sse(post(), relay(read), recorded().options), 500, "internal");
  assert.deepEqual(opened(), {});
});
