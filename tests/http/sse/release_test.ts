/** Sources that are never run: whatever goes wrong before, what they hold is let go. */
import assert from "node:assert/strict";
import test from "node:test";
import { MemoryLog, relay, sse, type SseOptions, StreamError } from "../../../mod.ts";
import { jsonFormat } from "../../../lib/formats/events.ts";
import type { Format, Framer } from "../../../lib/formats/format.ts";
import { counting, get, recorded, soon, tick } from "./setup.ts";

/** An upstream's response that tells whether it was let go. */
function upstream(): { response: Response; isLetGo: () => boolean } {
  let isLetGo = false;
  const body = new ReadableStream<Uint8Array>({
    cancel() {
      isLetGo = true;
    },
  });
  const headers = { "content-type": "text/event-stream" };
  return { response: new Response(body, { headers }), isLetGo: () => isLetGo };
}

const broken = (part: Partial<Framer>): Format => ({
  ...jsonFormat,
  name: "broken",
  open: (context) => {
    const framer = jsonFormat.open(context);
    return {
      token: (out, text) => framer.token(out, text),
      end: (out, end) => framer.end(out, end),
      fail: (out, problem, position) => framer.fail!(out, problem, position),
      ...part,
    };
  },
});
function fault(): never {
  throw new Error("a fault of the format");
}

const logs: [name: string, log: () => Pick<SseOptions, "log">][] = [
  ["without a log", () => ({})],
  ["with a log", () => ({ log: new MemoryLog() })],
];

test("a source is released where an option is refused", async () => {
  const wrong: Record<string, unknown>[] = [
    { stallMs: 1 },
    { unknown: 1 },
    { format: null },
    { format: {} },
    { format: "none" },
    { streamId: "a\nb" },
  ];
  for (const options of wrong) {
    const { response, isLetGo } = upstream();
    await assert.rejects(sse(get(), relay(response), options), (error) => {
      assert.ok(error instanceof TypeError || error instanceof RangeError);
      return true;
    });
    await tick();
    assert.ok(isLetGo(), JSON.stringify(options));
  }
  // A response that never comes is not an unhandled rejection.
  const failing = Promise.reject(new Error("no upstream"));
  await assert.rejects(sse(get(), relay(failing), { stallMs: 1 }), RangeError);
});

for (const [name, log] of logs) {
  test(`a source is released where the format cannot begin, ${name}`, async () => {
    const left = counting();
    const formats: Format[] = [
      { ...jsonFormat, name: "broken", open: fault },
      broken({ start: fault }),
    ];
    for (const format of formats) {
      const { response, isLetGo } = upstream();
      const { options, errors } = recorded({ ...log(), format, streamId: "taken" });
      const answer = await soon(sse(get(), relay(response), options), "an answer");
      assert.equal(answer.status, 500);
      await answer.text();
      await tick();
      assert.ok(isLetGo());
      const [error] = errors as Error[];
      assert.match(`${error} ${error?.cause}`, /a fault of the format/);
      // The name is free again.
      const again = await sse(get(), ["a"], { ...options, format: jsonFormat });
      assert.equal(again.status, 200);
      await again.text();
    }
    assert.deepEqual(left(), {});
  });

  test(`a source is released whose client leaves while it is prepared, ${name}`, async () => {
    const { response, isLetGo } = upstream();
    const abort = new AbortController();
    const request = new Request("http://localhost/", { signal: abort.signal });
    let prepared = () => {};
    const source = async () => {
      await new Promise<void>((resolve) => (prepared = resolve));
      return relay(response);
    };
    const options = { ...log(), disconnect: "cancel", commitAfterMs: 0 } as const;
    const answer = await sse(request, source, options);
    abort.abort();
    await answer.body?.cancel().catch(() => {});
    await tick();
    prepared();
    for (let i = 0; i < 20 && !isLetGo(); i++) await tick();
    assert.ok(isLetGo());
  });

  test(`a format that throws while it ends breaks the body off, ${name}`, async () => {
    const left = counting();
    const formats: [Partial<Framer>, source: () => AsyncGenerator<string>][] = [
      [{ fail: fault }, async function* () {
        yield "a";
        throw new StreamError("upstream_failed");
      }],
      [{ end: fault, fail: fault }, async function* () {
        yield "a";
      }],
      [{
        token: (out, text) => text.length > 1 ? out.data(text) : fault(),
        fail: fault,
      }, async function* () {
        yield "ab";
        yield "c\ud83d";
      }],
    ];
    for (const [part, source] of formats) {
      const { options, errors, reports } = recorded({ ...log(), format: broken(part) });
      const answer = await soon(sse(get(), source, options), "an answer");
      assert.equal(answer.status, 200);
      await assert.rejects(soon(answer.text(), "the end of the body"));
      assert.ok(errors.some((error) => /a fault of the format/.test(String(error))));
      assert.equal(reports[0]?.outcome, "failed");
    }
    // The source's own failure is not hidden by the format's.
    const { options, reports } = recorded({ ...log(), format: broken({ fail: fault }) });
    const answer = await sse(get(), async function* () {
      yield "a";
      throw new StreamError("upstream_failed");
    }, options);
    await answer.text().catch(() => {});
    assert.equal(reports[0]?.code, "upstream_failed");
    assert.deepEqual(left(), {});
  });
}

test("a bare Response is refused, and its body is let go", async () => {
  const { response, isLetGo } = upstream();
  const { options, errors } = recorded();
  const answer = await sse(get(), (() => response) as never, options);
  assert.equal(answer.status, 500);
  assert.match(String(errors[0]), /give relay\(response\)/);
  await tick();
  assert.ok(isLetGo());
});

test("swapped arguments say how to write them, also where the source is a Response", async () => {
  for (const source of ["text", new Response("text"), () => "text"]) {
    await assert.rejects(
      sse(source as never, get() as never),
      { name: "TypeError", message: /write sse\(request, source\)/ },
    );
  }
});

test("an errorBody that throws, or that needs its format, does not lose the error", async () => {
  const failing = () => {
    throw new StreamError("rate_limited");
  };
  const named = {
    ...jsonFormat,
    name: "named",
    errorBody() {
      return JSON.stringify({ name: this.name });
    },
  };
  const first = await sse(get(), failing, { format: named });
  assert.deepEqual([first.status, await first.json()], [429, { name: "named" }]);
  const second = await sse(get(), failing, { format: { ...jsonFormat, errorBody: fault } });
  assert.equal(second.status, 429);
  assert.equal((await second.json()).code, "rate_limited");
});

test("what has thrown is not asked to return, so it is reported once", async () => {
  let returned = 0;
  const source = {
    [Symbol.asyncIterator]: () => ({
      next: () => Promise.reject(new Error("a fault of the source")),
      return: () => {
        returned++;
        return Promise.reject(new Error("it has ended"));
      },
    }),
  };
  const { options, errors } = recorded();
  await sse(get(), source as never, options);
  await tick();
  assert.equal(returned, 0);
  assert.equal(errors.length, 1);
});

test("a stream with a chosen id is not run again for an EventSource that has read its end", async () => {
  const answer = await sse(get(), ["a"], { streamId: "chat-1" });
  assert.match(await answer.text(), /id: chat-1\.end\nevent: done/);
  const again = await sse(get({ "last-event-id": "chat-1.end" }), ["a"], { streamId: "chat-1" });
  assert.equal(again.status, 204);
});

test("every event stream ends with the id, and an id of the format does not replace it", async () => {
  const format: Format = {
    ...jsonFormat,
    name: "own",
    open: () => ({
      token: (out, text) => out.data(text),
      end: (out) => out.event({ event: "bye", data: "x", id: "mine" }),
    }),
  };
  const text = await (await sse(get(), ["a"], { format, streamId: "s" })).text();
  assert.equal(text, ":\ndata: a\n\nid: s.end\nevent: bye\ndata: x\n\n");
  const log = new MemoryLog();
  const logged = await (await sse(get(), ["a"], { format, log, streamId: "s" })).text();
  assert.deepEqual(logged.match(/^id: .*/gm), ["id: s.1", "id: s.2"]);
  const without = { ...format, ids: false };
  const own = await (await sse(get(), ["a"], { format: without, streamId: "s" })).text();
  assert.deepEqual(own.match(/^id: .*/gm), ["id: mine"]);
});
