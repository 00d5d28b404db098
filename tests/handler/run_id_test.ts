/** `X-Run-Id` and `?runId=`: the name that a client gives its stream, over HTTP. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../lib/client.ts";
import { active } from "../../lib/counters.ts";
import { StreamError } from "../../lib/error.ts";
import {
  type ChatInput,
  createHandler,
  type HandlerOptions,
  type StandardResult,
} from "../../lib/handler.ts";
import type { FetchInit } from "../../lib/client/options.ts";
import { Reading, same } from "../support/event_reader.ts";
import { ask, assertNothingLeft, post, Puppet, ROUTES } from "../support/handler_requests.ts";
import { until } from "../support/serve.ts";

const NAME = "a".repeat(22);
const byUser: Partial<HandlerOptions> = {
  authorize: ({ headers }) => headers.get("x-owner") ?? "ann",
};

function counting(options: Partial<HandlerOptions> = {}) {
  const seen = { starts: 0 };
  const source = () => `run ${++seen.starts}`;
  return { seen, handler: createHandler({ source, onError: () => {}, ...options }) };
}

async function read(response: Promise<Response>): Promise<Reading> {
  return await new Reading(await response).rest();
}

test("a name has 1 to 128 characters, and 22 or more where owners are not known", async () => {
  const rows: [name: string, anonymous: number, owned: number][] = [
    ["a", 400, 200],
    ["a".repeat(21), 400, 200],
    [NAME, 200, 200],
    ["Az09_-".repeat(21), 200, 200],
    ["a".repeat(128), 200, 200],
    ["a".repeat(129), 400, 400],
    ["", 400, 400],
    [`${NAME}.1`, 400, 400],
    [`${NAME}, ${NAME}`, 400, 400],
    [`${NAME}/..`, 400, 400],
    [`${NAME}\u00e4`, 400, 400],
  ];
  const [anonymous, owned] = [counting(), counting(byUser)];
  for (const [name, ...statuses] of rows) {
    for (const [i, { handler }] of [anonymous, owned].entries()) {
      const posted = await read(post(handler, "/streaming", { query: "" }, { "x-run-id": name }));
      assert.equal(posted.status, statuses[i], `${name} ${i}`);
      const got = await read(ask(handler, `/streaming?runId=${encodeURIComponent(name)}`));
      assert.equal(got.status, statuses[i], `${name} ${i}`);
      if (got.status === 200) same(got.body, posted.body);
      else await got.problem(400, "bad_request");
    }
  }
  assert.deepEqual([anonymous.seen.starts, owned.seen.starts], [3, 5]);
  const { handler } = owned;
  await (await read(ask(handler, "/streaming"))).problem(400, "bad_request");
  await (await read(ask(handler, "/streaming?runId=unknown"))).problem(404, "not_found");
  const head = await ask(handler, `/streaming?runId=a`, { method: "HEAD" });
  assert.match(head.headers.get("x-stream-id") ?? "", /^[\w-]{22}$/);
});

test("a name that could not be kept is an error, and nothing is generated", async () => {
  const { seen, handler } = counting();
  const name = { "x-run-id": NAME };
  for (const query of ["?format=ndjson", "?format=plain"]) {
    const reading = await read(post(handler, `/streaming${query}`, { query: "" }, name));
    const { detail } = await reading.problem(400, "bad_request");
    assert.match(detail ?? "", /no event stream/);
  }
  const messages = [{ role: "user", content: "Hi" }];
  const whole = await post(handler, "/v1/chat/completions", { model: "m", messages }, name);
  assert.equal(whole.status, 400, await whole.text());
  const { seen: other, handler: bare } = counting({ log: false });
  const reading = await read(post(bare, "/streaming", { query: "" }, name));
  assert.match((await reading.problem(400, "bad_request")).detail ?? "", /keeps no streams/);
  assert.equal((await ask(bare, `/streaming?runId=${NAME}`)).status, 404);
  assert.deepEqual([seen.starts, other.starts], [0, 0]);
  await assertNothingLeft();
});

test("every route that streams takes a name, in the format that its stream has", async () => {
  for (const { path, body, format } of ROUTES) {
    const { seen, handler } = counting();
    const name = { "x-run-id": NAME };
    const first = await read(post(handler, path, body, name));
    assert.equal(first.status, 200, first.body);
    same((await read(post(handler, path, body, name))).body, first.body, format);
    same((await read(ask(handler, `/streaming?runId=${NAME}`))).body, first.body, format);
    // The body is the same, and what is asked for is not.
    if (path.startsWith("/streaming")) {
      const other = path === "/streaming" ? "/streaming?format=text" : "/streaming?format=json";
      await (await read(post(handler, other, body, name))).problem(406, "not_acceptable");
    }
    assert.equal(seen.starts, 1);
  }
});

test("Last-Event-ID goes before a name, and an input that is rejected frees it", async () => {
  const { seen, handler } = counting(byUser);
  const first = await read(post(handler, "/streaming", { query: "" }, { "x-run-id": "a" }));
  const again = await read(post(handler, "/streaming", { query: "" }, {
    "x-run-id": "b",
    "last-event-id": first.blocks[0]!.id!,
  }));
  same(again.written, first.last.text);
  await (await read(post(handler, "/streaming", { query: 1 }, { "x-run-id": "b" })))
    .problem(422, "invalid_input");
  const third = await read(post(handler, "/streaming", { query: "x" }, { "x-run-id": "b" }));
  assert.equal(third.text, "run 2");
  assert.equal(seen.starts, 2);
});

test("a request waits while another one with its name is checked, and takes the name if that fails", async () => {
  let checks = 0;
  const released = Promise.withResolvers<void>();
  const { handler } = counting({
    ...byUser,
    input: {
      "~standard": {
        version: 1,
        vendor: "test",
        async validate(value: unknown): Promise<StandardResult<ChatInput>> {
          if (++checks > 1) return { value: value as ChatInput };
          await released.promise;
          return { issues: [{ message: "no" }] };
        },
      },
    },
  });
  const name = { "x-run-id": "a" };
  const first = read(post(handler, "/streaming", { query: "" }, name));
  await until(() => checks === 1, 1000, "the check");
  const others = [1, 2].map(() => read(post(handler, "/streaming", { query: "" }, name)));
  const got = read(ask(handler, "/streaming?runId=a"));
  released.resolve();
  await (await first).problem(422, "invalid_input");
  for (const reading of await Promise.all(others)) assert.equal(reading.text, "run 1");
  assert([200, 404].includes((await got).status));
  await assertNothingLeft();
});

test("a full server, and one that drains, joins by a name and begins none", async () => {
  const puppet = new Puppet();
  const { source } = puppet;
  const handler = createHandler({ ...byUser, source, limits: { maxStreams: 1 } });
  const send = (name: string) => post(handler, "/streaming", { query: "" }, { "x-run-id": name });
  const codeOf = async (response: Response) => (await response.json()).code;
  const first = send("a");
  await until(() => puppet.runs === 1, 1000, "the source");
  puppet.say("on");
  const begun = new Reading(await first);
  const readers = active.readers;
  const joined = new Reading(await send("a"));
  assert.deepEqual([begun.status, joined.status], [200, 200]);
  // Those who join have places of their own, which are taken as well.
  assert.equal(await codeOf(await send("a")), "too_many_streams");
  await joined.leave();
  await until(() => active.readers <= readers, 1000, "it has left");
  assert.equal(await codeOf(await send("b")), "too_many_streams");
  const drained = handler.drain({ timeoutMs: 5000 });
  assert.equal(await codeOf(await send("b")), "shutting_down");
  const late = new Reading(await send("a"));
  puppet.end();
  for (const reading of [begun, late]) assert.equal((await reading.rest()).text, "on");
  await drained;
  assert.equal(puppet.runs, 1);
  await assertNothingLeft();
});

test("connect() with a name loses nothing where the response to its POST is lost", async () => {
  const puppet = new Puppet();
  const handler = createHandler({ source: puppet.source, commitAfterMs: 5000 });
  const lost: AbortController[] = [];
  const fetch = async (input: string | Request, init: FetchInit) => {
    if (lost.length === 2) return await handler.fetch(new Request(input, init));
    const abort = new AbortController();
    lost.push(abort);
    const asked = handler.fetch(new Request(input, { ...init, signal: abort.signal }));
    await until(() => puppet.runs === 1, 1000, "the source");
    abort.abort();
    await (await asked).body?.cancel().catch(() => {});
    throw new TypeError("The connection broke");
  };
  const connection = connect("http://localhost/streaming", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"query":""}',
    runId: NAME,
    retryMs: 1,
    fetch,
  });
  const text = connection.text();
  await until(() => lost.length === 2, 2000, "two tries");
  puppet.say("all ", "of it");
  puppet.end();
  assert.equal(await text, "all of it");
  assert.equal(puppet.runs, 1);
  await assertNothingLeft();
});

test("who joins by GET before the response headers leaves a failure its status", async () => {
  const puppet = new Puppet();
  const handler = createHandler({
    ...byUser,
    source: puppet.source,
    commitAfterMs: 5000,
    onError: () => {},
  });
  const first = read(post(handler, "/streaming", { query: "" }, { "x-run-id": "a" }));
  await until(() => puppet.runs === 1, 1000, "the source");
  const joined = read(ask(handler, "/streaming?runId=a"));
  await until(() => active.readers === 2, 2000, "both readers");
  puppet.fail(new StreamError("rate_limited"));
  for (const reading of [first, joined]) await (await reading).problem(429, "rate_limited");
  await assertNothingLeft();
});
