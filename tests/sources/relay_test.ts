/**
 * An upstream's `Response` as a source: Spillway relaying Spillway. What the first hop says arrives
 * behind the second, the text, the items and the failure.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { active } from "../../lib/counters.ts";
import type { SseOptions } from "../../lib/http/options.ts";
import { sse } from "../../lib/http/sse.ts";
import type { Source } from "../../lib/pipeline/pump.ts";
import { openai } from "../../lib/sources/openai.ts";
import { collect } from "../../lib/testing.ts";
import { DEPARTURES, rawRequest, serve, type Served, until } from "../support/serve.ts";
import { type Mock, startMock } from "../support/upstream/mock.ts";
import { assertNoLeak, assertNothingLeft, KEY, read, TEXT } from "../support/relay.ts";
import { relay } from "../../lib/sources/relay.ts";
import { uiMessageFormat } from "../../lib/formats/ui_message.ts";
import { timed } from "../support/timing.ts";

let mock: Mock;
let first: Served;
let second: Served;
const errors: unknown[] = [];
const LONG = TEXT.repeat(1500);

/** Both hops ask for `?model=` and answer in `?as=`; the second asks the first. */
before(async () => {
  mock = await startMock();
  const hop = (source: (model: string, url: URL) => Source<undefined>) =>
    serve((request) => {
      const url = new URL(request.url);
      return sse(request, source(url.searchParams.get("model")!, url), {
        format: url.searchParams.get("as") as "json",
        commitAfterMs: Number(url.searchParams.get("commit") ?? 5000),
        onError: (error) => errors.push(error),
      });
    });
  first = hop((model, { searchParams }) => {
    const content = searchParams.has("long") ? LONG : TEXT;
    const messages = () => [{ role: "user", content }];
    return openai({ baseURL: mock.url, apiKey: KEY, model, messages, tokenTimeoutMs: 200 });
  });
  second = hop((_model, { search }) => ({ signal }) =>
    relay(fetch(`${first.url}/${search}`, { signal }))
  );
});
after(async () => {
  await second.close();
  await first.close();
  await mock.close();
});

const asking = (model: string, more: Record<string, string> = {}) =>
  `/?${new URLSearchParams({ model, as: "json", ...more })}`;
const ask = (model: string, more: Record<string, string> = {}) =>
  fetch(second.url + asking(model, more));

for (const model of ["mock", "mock:plain?split=surrogates", "mock:crlf", "mock:bytes"]) {
  test(`two hops relay the text exactly: ${model}`, async () => {
    const answer = await read(await ask(model));
    assert.deepEqual([answer.status, answer.text, answer.end], [200, TEXT, "done"]);
    await assertNothingLeft(mock, 100);
  });
}

test("two hops relay 100 KB exactly", async () => {
  const answer = await read(await ask("mock", { long: "1" }));
  assert(new TextEncoder().encode(LONG).length > 100_000);
  assert(answer.text === LONG);
  assert.equal(answer.end, "done");
});

test("two hops relay text as text, CR as LF", async () => {
  for (const long of [{}, { long: "1" }]) {
    const response = await ask("mock:plain?split=surrogates", { as: "text", ...long });
    const { text, end } = await collect(response, { format: "text" });
    assert(text === ("long" in long ? LONG : TEXT).replaceAll("\r\n", "\n"));
    assert.equal(end, "completed");
  }
});

test("two hops relay structured items under their names", async () => {
  const direct = await read(await fetch(first.url + asking("mock:tools")));
  const behind = await read(await ask("mock:tools"));
  assert(behind.items.length > 2);
  assert.deepEqual(behind.items, direct.items);
  const thoughts = await read(await ask("mock:reasoning"));
  assert.deepEqual(new Set(thoughts.items.map(({ event }) => event)), new Set(["reasoning"]));
  assert.equal(thoughts.text, TEXT);
});

const failures: Record<string, [code: string, text: "none" | "some" | "all"]> = {
  "401": ["bad_upstream", "none"],
  "429": ["bad_upstream", "none"],
  "rst-at-once": ["bad_upstream", "none"],
  "die-fin": ["upstream_failed", "some"],
  "die-rst": ["upstream_failed", "some"],
  "hang-middle": ["upstream_failed", "some"],
  "big-line": ["upstream_failed", "some"],
  "no-finish": ["upstream_failed", "all"],
  "error-object": ["upstream_failed", "some"],
};
for (const [name, [code, text]] of Object.entries(failures)) {
  for (const commit of ["5000", "0"]) {
    timed(`two hops tell of ${name}, committed after ${commit} ms`, async () => {
      const answer = await read(await ask(`mock:${name}`, { commit }));
      const isStatus = text === "none" && commit === "5000";
      assert.equal(answer.status, isStatus ? 502 : 200);
      assert.equal(answer.end, isStatus ? undefined : "failed");
      // The first hop has committed to a stream by then: its failure comes in-band.
      const late = text === "none" && commit === "0";
      assert.equal(answer.last.code, late ? "upstream_failed" : code);
      assert(TEXT.startsWith(answer.text));
      assert.equal(answer.text === TEXT, text === "all");
      assert.equal(answer.text === "", text === "none");
      assertNoLeak(answer);
      await assertNothingLeft(mock, 100);
    });
  }
}

for (const how of DEPARTURES) {
  timed(`two hops close the upstream's connection when the reader leaves: ${how}`, async () => {
    errors.length = 0;
    for (const [model, commit] of [["mock:hang-head", "5000"], ["mock:endless", "0"]] as const) {
      const seen = mock.requests.length;
      const raw = await rawRequest(second.port, { path: asking(model, { commit }) });
      await until(() => mock.requests.length > seen && active.streams === 2, 2000, "the request");
      const request = mock.requests.at(-1)!;
      if (commit === "0") await until(() => raw.received.length > 5000, 2000, "tokens");
      const leftMs = Date.now();
      raw.socket[how]();
      await until(() => request.state === "left", 1000, "the upstream sees it");
      assert(request.closedByClientAt! - leftMs <= 100, `${request.closedByClientAt! - leftMs} ms`);
      await assertNothingLeft(mock, 100);
      raw.socket.destroy();
    }
    assert.deepEqual(errors, []);
  });
}

timed(
  "a Response is let go when the reader leaves, though its fetch was given no signal",
  async () => {
    for (const model of ["mock:hang-middle", "mock:endless"]) {
      const body = JSON.stringify({
        model,
        stream: true,
        messages: [{ role: "user", content: TEXT }],
      });
      const careless = serve((request) =>
        sse(request, () => relay(fetch(`${mock.url}/chat/completions`, { method: "POST", body })))
      );
      try {
        const raw = await rawRequest(careless.port);
        await until(() => raw.received.includes("chatcmpl"), 2000, "tokens");
        await new Promise((resolve) => setTimeout(resolve, 20));
        raw.socket.destroy();
        await assertNothingLeft(mock, 100);
        assert.equal(mock.requests.at(-1)!.state, "left");
      } finally {
        await careless.close();
      }
    }
  },
);

// --- one hop, by hand ---

function answer(response: Response, options: SseOptions = {}) {
  const request = new Request("http://localhost/");
  return sse(request, () => relay(Promise.resolve(response)), { onError: () => {}, ...options });
}

const EVENTS = { headers: { "content-type": "text/event-stream" } };

test("a Response's events pass unchanged, and its end is the end", async () => {
  for (const end of ["data: [DONE]\n\n", 'event: done\ndata: {"reason":"completed"}\n\n']) {
    const body = `: c\nid: 7\nretry: 1\nevent: note\ndata: {"a":1}\ndata: b\n\ndata: x\n\n${end}`;
    const text = await (await answer(new Response(`${body}data: more\n\n`, EVENTS))).text();
    assert.match(
      text,
      /^:\nevent: note\ndata: \{"a":1\}\ndata: b\n\ndata: x\n\n(id: .*\n)?event: done\n/,
    );
    assert(!text.includes("more"));
  }
});

test("a Response whose byte stream closes while it is read ends, made by hand as it is", async () => {
  for (const last of ["", "data: [DONE]\n\n"]) {
    const parts = ["data: x\n\n", last].map((part) => new TextEncoder().encode(part));
    const body = new ReadableStream({
      type: "bytes",
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        const part = parts.shift();
        // A read into a buffer would wait for a `byobRequest.respond(0)` that few ever send.
        if (part === undefined || part.length === 0) controller.close();
        else controller.enqueue(part);
      },
    });
    const text = await (await answer(new Response(body, EVENTS))).text();
    assert.match(text, last === "" ? /"code":"truncated"/ : /event: done/);
  }
  assert.equal(active.upstreams, 0);
});

test("a Response that is no event stream is a 502, and one that breaks off is truncated", async () => {
  const stream = (text: string, init: ResponseInit = {}) =>
    new Response(text, { ...EVENTS, ...init });
  const bad: [Response, string][] = [
    [stream("data: x\n\ndata: [DONE]\n\n", { status: 201 }), "bad_upstream"],
    [stream("", { status: 500 }), "bad_upstream"],
    [new Response(null, { ...EVENTS, status: 204 }), "bad_upstream"],
    [new Response(null, EVENTS), "bad_upstream"],
    [new Response("{}", { headers: { "content-type": "application/json" } }), "bad_upstream"],
    [new Response(new Uint8Array(1)), "bad_upstream"],
    [stream(""), "truncated"],
    [stream("data: cut o"), "truncated"],
    [stream("event: failed\ndata: {}\n\n"), "upstream_failed"],
    [stream("event: error\ndata: {}\n\n"), "upstream_failed"],
  ];
  for (const [response, code] of bad) {
    const failed = await answer(response);
    assert.deepEqual([failed.status, (await failed.json()).code], [502, code]);
  }
  const type = { "content-type": "Text/Event-Stream; charset=UTF-8" };
  const good = await answer(new Response("data: x\n\ndata: [DONE]\n\n", { headers: type }));
  assert.match(await good.text(), /data: x\n\n[^]*event: done/);
  assert.equal(active.upstreams, 0);
});

/** An upstream's response with a body as it is written here. */
function eventStream(body: string): Response {
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

test("an upstream's names and JSON reach every format as they are", async () => {
  const body = "event: open\ndata: {}\n\n" + "event: note\ndata: null\n\n" +
    'event: note\ndata: {"id":12345678901234567890,\ndata: "price":1.0}\n\n' +
    "event: note\ndata: plain words\n\n" + 'data: {"token":"Hel"}\n\n' +
    "event: done\ndata: {}\n\n";
  const expected = [
    '{"type":"data-open","data":{}}',
    '{"type":"data-note","data":null}',
    '{"type":"data-note","data":{"id":12345678901234567890, "price":1.0}}',
    '{"type":"data-note","data":"plain words"}',
  ];
  const response = await sse(new Request("http://localhost/"), relay(eventStream(body)), {
    format: uiMessageFormat,
  });
  const text = await response.text();
  const data = text.split("\n").filter((line) => line.includes('"data-'));
  assert.deepEqual(data.map((line) => line.slice("data: ".length)), expected);
  assert.match(text, /"delta":"Hel"/);
  const plain = await sse(new Request("http://localhost/"), relay(eventStream(body)), {
    format: "plain",
  });
  assert.equal(await plain.text(), "Hel");
});

test("only an unnamed event whose own type says so ends an AG-UI run", async () => {
  const within = 'event: note\ndata: {"child":{"type":"RUN_FINISHED"}}\n\n' +
    'data: {"child":{"type":"RUN_ERROR"}}\n\n' + 'data: "RUN_ERROR"\n\n';
  for (const [type, end] of [["RUN_FINISHED", "done"], ["RUN_ERROR", "failed"]] as const) {
    const body = `${within}data: {"token":"Hel"}\n\ndata: {"type":"${type}"}\n\n`;
    const response = await sse(new Request("http://localhost/"), relay(eventStream(body)), {
      onError: () => {},
    });
    const text = await response.text();
    assert.match(text, /Hel/);
    assert.match(text, new RegExp(`event: ${end}\n`));
  }
});
