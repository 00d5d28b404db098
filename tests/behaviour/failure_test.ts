/**
 * What breaks, over real sockets: a source at each moment of its life, and every call of a queue at
 * the wrong time. Whatever happens, the reader is told or given the whole, and nothing is left.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import { StreamError } from "../../lib/error.ts";
import type { SseOptions } from "../../lib/http/options.ts";
import { sse } from "../../lib/http/sse.ts";
import type { Source, SourceContext } from "../../lib/pipeline/pump.ts";
import { EventDecoder } from "../../lib/sse/decode.ts";
import type { StreamReport } from "../../lib/pipeline/generation.ts";
import { collect, fail, pause, script } from "../../lib/testing.ts";
import { PATIENCE_MS, startScenes, total } from "../support/child.ts";
import { bodyOf, rawRequest, serve, until } from "../support/serve.ts";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

interface Answer {
  status: number;
  /** What the body held: its tokens, and each other event as `name` or `name code`. */
  events: string[];
  /** The body had its end. */
  whole: boolean;
  body: string;
  reports: StreamReport[];
  errors: unknown[];
}

/** Serves one source over a socket and reads it to the end. */
async function exchange(source: Source<undefined>, options: SseOptions = {}): Promise<Answer> {
  const reports: StreamReport[] = [];
  const errors: unknown[] = [];
  const server = serve((request) =>
    sse(request, source, {
      ...options,
      onClose: (report) => reports.push(report),
      onError: (error) => errors.push(error),
    })
  );
  try {
    const raw = await rawRequest(server.port, { headers: { connection: "close" } });
    raw.socket.on("error", () => {}); // a body that is broken off may be reset
    await until(() => raw.ended, 3000, "the answer ended");
    await until(() => total(active) === 0, 1000, "nothing is left");
    await sleep(5);
    const { text, whole } = bodyOf(raw);
    const status = Number(raw.received.split(" ")[1]);
    const events = /^content-type: text\/event-stream/im.test(raw.received)
      ? new EventDecoder().feed(new TextEncoder().encode(text)).map(({ event, data }) => {
        const value = JSON.parse(data);
        return value.token ?? (value.code === undefined ? event : `${event} ${value.code}`);
      })
      : [];
    return { status, events, whole, body: text, reports, errors };
  } finally {
    await server.close();
  }
}

const broken = new Error("a secret of the operator");
const refused = new StreamError("quota_exceeded", { status: 429, title: "Come back tomorrow" });

const beforeTheFirstToken: Record<string, Source<undefined>> = {
  "a function that throws": () => {
    throw broken;
  },
  "an async function that rejects": async () => {
    await sleep(5);
    throw broken;
  },
  "a generator": async function* () {
    await sleep(5);
    if (broken) throw broken;
    yield "never";
  },
  "a plain generator": function* () {
    if (broken) throw broken;
    yield "never";
  },
  "an iterable that cannot be iterated": {
    [Symbol.asyncIterator]: () => {
      throw broken;
    },
  } as unknown as AsyncIterable<string>,
  "queue.fail()": ({ queue }: SourceContext) => queue.fail(broken),
  "a stream that errors": () =>
    new ReadableStream<string>({ start: (controller) => controller.error(broken) }),
};

for (const [name, source] of Object.entries(beforeTheFirstToken)) {
  test(`a failure before the first token is a status: ${name}`, async () => {
    const answer = await exchange(source, { commitAfterMs: 1000 });
    assert.equal(answer.status, 500);
    assert(answer.whole);
    assert.equal(JSON.parse(answer.body).code, "internal");
    assert(!answer.body.includes("secret"), answer.body);
    assert.deepEqual(answer.errors, [broken]);
    assert.deepEqual(answer.reports.map(({ outcome, code }) => [outcome, code]), [
      ["failed", "internal"],
    ]);
  });
}

test("a StreamError before the first token is its own status and title", async () => {
  const answer = await exchange(() => {
    throw refused;
  });
  assert.equal(answer.status, 429);
  const { type, title, status, code } = JSON.parse(answer.body);
  assert.deepEqual([type, title, status, code], [
    "about:blank",
    "Come back tomorrow",
    429,
    "quota_exceeded",
  ]);
});

const afterIt: Record<string, Source<undefined>> = {
  "a generator": async function* () {
    yield "one";
    await sleep(5);
    throw broken;
  },
  "a generator in the same turn": async function* () {
    yield "one";
    throw broken;
  },
  "a plain generator": function* () {
    yield "one";
    throw broken;
  },
  "a producer": async ({ queue }: SourceContext) => {
    await queue.send("one");
    throw broken;
  },
  "queue.fail()": ({ queue }: SourceContext) => {
    queue.send("one");
    setTimeout(() => queue.fail(broken), 5);
  },
  "a stream": () => {
    let pulls = 0;
    return new ReadableStream<string>({
      pull(controller) {
        if (pulls++ === 0) controller.enqueue("one");
        else controller.error(broken);
      },
    });
  },
};

for (const [name, source] of Object.entries(afterIt)) {
  test(`a failure after the first token is told in the stream: ${name}`, async () => {
    const answer = await exchange(source);
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.events, ["one", "failed internal"]);
    assert(answer.whole, "what was told in the stream needs no broken body");
    assert(!answer.body.includes("secret"), answer.body);
    assert.deepEqual(answer.errors, [broken]);
    assert.deepEqual(answer.reports.map(({ outcome, code }) => [outcome, code]), [
      ["failed", "internal"],
    ]);
  });
}

test("a failure after the head and before a token is told in the stream", async () => {
  const answer = await exchange(async () => {
    await sleep(50);
    throw refused;
  }, { commitAfterMs: 0 });
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.events, ["failed quota_exceeded"]);
});

interface Misuse {
  source: Source<undefined>;
  events: string[];
  outcome: StreamReport["outcome"];
  /** What `onError` is told. */
  errors?: RegExp[];
}

const awaitYourWork = /had ended/;

/** An iterator of the user's own, whose `next` does something and then goes on. */
function iterating(next: (context: SourceContext, count: number) => void): Source<undefined> {
  return (context) => {
    let count = 0;
    return {
      [Symbol.asyncIterator]: () => ({
        async next(): Promise<IteratorResult<string, undefined>> {
          next(context, ++count);
          await sleep(1);
          return count < 50
            ? { done: false, value: `${count} ` }
            : { done: true, value: undefined };
        },
        return: () => Promise.resolve({ done: true, value: undefined } as const),
      }),
    };
  };
}

const misuses: Record<string, Misuse> = {
  "throwing after queue.close()": {
    source: async ({ queue }) => {
      await queue.send("one");
      queue.close();
      throw broken;
    },
    events: ["one", "done"],
    outcome: "completed",
    errors: [/secret/],
  },
  "send after close": {
    source: async ({ queue }) => {
      const first = await queue.send("one");
      queue.close();
      const answers = [first, await queue.send("two"), await queue.send("three")];
      assert.deepEqual(answers, [true, false, false]);
    },
    events: ["one", "done"],
    outcome: "completed",
    errors: [awaitYourWork],
  },
  "send after the source's promise has settled": {
    source: async ({ queue }) => {
      await queue.send("one");
      setTimeout(() => queue.send("two"), 0);
    },
    events: ["one", "done"],
    outcome: "completed",
    // The stream may have been read to its end and forgotten by then.
    errors: [awaitYourWork],
  },
  "close twice, then fail": {
    source: async ({ queue }) => {
      await queue.send("one");
      queue.close();
      queue.close();
      queue.fail(broken);
    },
    events: ["one", "done"],
    outcome: "completed",
  },
  "fail twice, then close": {
    source: async ({ queue }) => {
      await queue.send("one");
      queue.fail(refused);
      queue.fail(broken);
      queue.close();
    },
    events: ["one", "failed quota_exceeded"],
    outcome: "failed",
    errors: [/Come back/],
  },
  "close inside the signal's listener": {
    source: async ({ queue, signal }) => {
      signal.addEventListener("abort", () => {
        queue.close();
        queue.fail(broken);
        queue.cancel(broken);
        queue.send("late");
      });
      await queue.send("one");
      queue.fail(refused);
    },
    // The cancel drops what waits.
    events: ["failed quota_exceeded"],
    outcome: "failed",
    errors: [/Come back/],
  },
  "close inside next()": {
    source: iterating(({ queue }, count) => {
      if (count === 3) queue.close();
    }),
    events: ["1 ", "2 ", "done"],
    outcome: "completed",
    errors: [awaitYourWork],
  },
  "fail inside next()": {
    source: iterating(({ queue }, count) => {
      if (count === 3) queue.fail(refused);
    }),
    events: ["1 ", "2 ", "failed quota_exceeded"],
    outcome: "failed",
    errors: [/Come back/],
  },
  "send inside next()": {
    source: iterating(({ queue }, count) => {
      if (count === 50) queue.send("last");
    }),
    events: [...Array.from({ length: 49 }, (_, i) => `${i + 1} `), "last", "done"],
    outcome: "completed",
  },
};

for (const [name, { source, events, outcome, errors = [] }] of Object.entries(misuses)) {
  test(`sse() survives ${name}`, async () => {
    const answer = await exchange(source);
    assert.deepEqual(answer.events, events);
    assert(answer.whole);
    assert.deepEqual(answer.reports.map((report) => report.outcome), [outcome]);
    assert.equal(answer.errors.length, errors.length, `${answer.errors}`);
    errors.forEach((pattern, i) => assert.match(String(answer.errors[i]), pattern));
  });
}

for (const how of ["the queue", "the request", "the body"]) {
  test(`sse() survives a cancel of ${how} inside next()`, async () => {
    const reports: StreamReport[] = [];
    const errors: unknown[] = [];
    const abort = new AbortController();
    const body: { reader?: ReadableStreamDefaultReader<Uint8Array> } = {};
    const response = await sse(
      new Request("http://localhost/", { signal: abort.signal }),
      iterating(({ queue }, count) => {
        if (count !== 3) return;
        if (how === "the queue") queue.cancel(new StreamError("stopped"));
        else if (how === "the request") abort.abort();
        else void body.reader?.cancel();
      }),
      {
        onClose: (report) => reports.push(report),
        onError: (error) => errors.push(error),
      },
    );
    const reader = response.body!.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    body.reader = reader;
    while (!(await reader.read()).done);
    await sleep(10);
    assert.equal(reports.length, 1);
    assert.equal(reports[0]?.code, how === "the queue" ? "stopped" : "disconnected");
    assert.equal(total(active), 0);
  });
}

for (const how of ["throws", "rejects"] as const) {
  test(`an iterator whose return() ${how} is reported and harmless`, async () => {
    const errors: unknown[] = [];
    const response = await sse(new Request("http://localhost/"), () => ({
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<IteratorResult<string, undefined>>(() => {}),
        return: (): Promise<IteratorResult<string, undefined>> => {
          if (how === "throws") throw broken;
          return Promise.reject(broken);
        },
      }),
    }), { commitAfterMs: 0, onError: (error) => errors.push(error) });
    await response.body!.cancel();
    await sleep(5);
    assert.deepEqual(errors, [broken]);
    assert.equal(total(active), 0);
  });
}

const text = "all of this text arrives テスト. ".repeat(20);

const plainSources: Record<string, Source<undefined>> = {
  "in the same turn": async function* () {
    yield text;
    throw broken;
  },
  "a little later": script([text, pause(20), fail(broken)]),
  "after many chunks": script([...text.match(/.{30}/g)!, pause(20), fail(broken)], { paceMs: 1 }),
};

for (const [name, source] of Object.entries(plainSources)) {
  test(`plain breaks its body off after all of its text: a failure ${name}`, async () => {
    const answer = await exchange(source, { format: "plain" });
    assert.equal(answer.status, 200);
    assert.equal(answer.body, text);
    assert.equal(answer.whole, false, "the reader can see that it is not the whole");
    assert.deepEqual(answer.reports.map(({ outcome, code }) => [outcome, code]), [
      ["failed", "internal"],
    ]);
    assert.deepEqual(answer.errors, [broken]);
  });

  test(`plain fails fetch() after all of its text: a failure ${name}`, async () => {
    const server = serve((request) => sse(request, source, { format: "plain", onError: () => {} }));
    try {
      const { text: read, end } = await collect(fetch(server.url));
      assert.equal(end, "truncated");
      // Bun's own fetch drops what it has not handed out when the reset arrives with it.
      if (name === "in the same turn") assert(text.startsWith(read));
      else assert.equal(read, text);
    } finally {
      await server.close();
    }
  });
}

test("plain that fails before its first token is a status", async () => {
  const answer = await exchange(beforeTheFirstToken["a generator"]!, { format: "plain" });
  assert.equal(answer.status, 500);
  assert.equal(JSON.parse(answer.body).code, "internal");
});

test("ndjson tells a failure on its last line", async () => {
  const answer = await exchange(afterIt["a generator"]!, { format: "ndjson" });
  assert(answer.whole);
  const lines = answer.body.trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(lines[0], { token: "one" });
  assert.equal(lines[1].event, "failed");
  assert.equal(lines[1].data.code, "internal");
  assert.equal(lines.length, 2);
});

test("an async listener that awaits send after its reader left ends no process", async () => {
  const server = await startScenes();
  try {
    for (const how of ["end", "destroy", "resetAndDestroy"] as const) {
      const raw = await rawRequest(server.port, { path: "/chatter" });
      raw.socket.on("error", () => {}); // a reset may come back to us
      await until(() => raw.received.includes("token "), 20_000, "a token");
      raw.socket[how]();
      if (how === "end") setTimeout(() => raw.socket.destroy(), 100);
    }
    await server.reported(({ active, aborted, answers }) =>
      total(active) === 0 && aborted === 3 && answers.false > 10
    );
    assert.match(await server.text("/hello"), /event: done/);
    const report = await server.report();
    assert.equal(total(report.active), 0);
    assert.equal(report.aborted, 3);
    assert.deepEqual(report.closes, { completed: 21, "cancelled disconnected": 3 });
    assert(report.answers.false > 10, "it went on sending");
    assert.deepEqual(report.reported, []);
    await server.text("/exit");
    await until(() => server.child.exit !== undefined, PATIENCE_MS, "the server exited");
    assert.equal(server.child.exit, 0, server.child.errors);
    assert.equal(server.child.errors, "");
  } finally {
    await server.child.stop();
  }
});
