/**
 * The time limits of `openai()`: which silence is too long, what counts as a sign of life, and the one
 * limit that nothing but our own client moves. And the request itself: with its length, and sent once.
 */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import test from "node:test";
import { openai, type OpenAIOptions } from "../../lib/sources/openai.ts";
import type { StreamError } from "../../lib/error.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { assertNothingLeft, read, relay, sleep, TEXT } from "../support/relay.ts";
import { until } from "../support/serve.ts";
import {
  answer,
  chunk,
  reply,
  type ScriptedReply,
  startScripted,
  STREAM,
} from "../support/upstream/scripted.ts";
import { timed } from "../support/timing.ts";

const REST = answer("lo").slice(STREAM.length);

/** Writes `begin`, then `sign` every 30 ms for 900 ms, and `end`, if there is one. */
function living(begin: string, sign: string, end?: string) {
  return (socket: Socket): void => {
    socket.write(begin);
    const timer = setInterval(() => socket.write(sign), 30);
    const stop = () => clearInterval(timer);
    socket.on("close", stop);
    if (end === undefined) return;
    setTimeout(() => {
      stop();
      socket.end(end);
    }, 900);
  };
}

async function ask(reply: ScriptedReply, source: Partial<OpenAIOptions<undefined>>) {
  const upstream = await startScripted(reply);
  const causes: string[] = [];
  const onError = (error: unknown) =>
    causes.push(((error as StreamError).cause as Error | undefined)?.message ?? "");
  try {
    const stream = { commitAfterMs: 5000, onError };
    const answered = await read(await relay(upstream as never, "m", { source, stream }));
    await assertNothingLeft(upstream as never);
    return { ...answered, causes };
  } finally {
    await upstream.close();
  }
}

const FIRST = `${STREAM}${chunk({ content: "Hel" })}`;

timed("openai() takes comments and empty events for signs of life", async () => {
  const limits = { firstTokenTimeoutMs: 450, tokenTimeoutMs: 450 };
  // https://github.com/QuackbackIO/quackback/pull/456
  const signs = [": keep-alive\n\n", ":\n", "data:\n\n", chunk({ content: "" })];
  const begun: [string, string][] = [[STREAM, "lo"], [FIRST, "Hello"]];
  await Promise.all(begun.flatMap(([begin, said]) =>
    signs.map(async (sign) => {
      const upstream = await startScripted(living(begin, sign, REST));
      const { end, text } = await read(await relay(upstream as never, "m", { source: limits }));
      assert.deepEqual([end, text], ["done", said], sign);
      await upstream.close();
    })
  ));
});

timed("openai() ends an answer that never ends, whatever signs of life it gives", async () => {
  for (const begin of [STREAM, FIRST]) {
    const beganMs = performance.now();
    const { last, causes } = await ask(living(begin, ": x\n\n"), { answerTimeoutMs: 200 });
    const tookMs = performance.now() - beganMs;
    assert.deepEqual([last.code, causes], ["upstream_timeout", ["answerTimeoutMs has passed"]]);
    assert(tookMs >= 195 && tookMs < 3000, `${tookMs} ms`);
  }
});

timed("openai() ends an answer that comes without a pause at answerTimeoutMs", async () => {
  const flood = (socket: Socket) => {
    socket.write(STREAM);
    const timer = setInterval(() => socket.write(chunk({ content: "x" })), 1);
    socket.on("close", () => clearInterval(timer));
  };
  const { end, last, text } = await ask(flood, { answerTimeoutMs: 200 });
  assert.deepEqual([end, last.code], ["failed", "upstream_timeout"]);
  assert(text.length > 0);
});

timed("openai() tells the operator which limit has passed", async () => {
  const hang = (text: string) => (socket: Socket) => void socket.write(text);
  for (
    const [limit, begin] of [
      ["headTimeoutMs", ""],
      ["firstTokenTimeoutMs", STREAM],
      ["tokenTimeoutMs", FIRST],
      ["answerTimeoutMs", ""],
    ] as const
  ) {
    const { causes } = await ask(hang(begin), { [limit]: 100 });
    assert.deepEqual(causes, [`${limit} has passed`]);
  }
});

timed("openai() does not count the time that a slow client takes", async () => {
  const upstream = await startScripted((socket) => {
    socket.write(`${STREAM}${chunk({ content: "x".repeat(200_000) }).repeat(5)}`);
    setTimeout(() => socket.end(REST), 1500);
  });
  const source = { answerTimeoutMs: 800 };
  const response = await relay(upstream as never, "m", { source });
  // Nothing is read meanwhile, so that the upstream is not read either.
  await sleep(1300);
  const { end, text } = await read(response);
  assert.deepEqual([end, text.length], ["done", 1_000_002]);
  await upstream.close();
});

timed(
  "openai() waits 10 minutes for the headers, and as long for the first token, by default",
  async () => {
    for (const begin of ["", STREAM]) {
      const upstream = await startScripted((socket) => void socket.write(begin));
      const clock = new FakeClock();
      const source = openai({ baseURL: upstream.url, model: "m", messages: () => [], clock });
      const queue = source({ report: () => {} } as never);
      await until(() => upstream.requests.length === 1, 1000, "the request");
      await sleep(50);
      await clock.advance(599_000);
      assert.equal(queue.state, "open");
      await clock.advance(2000);
      await until(() => queue.state === "failed", 1000, "the end");
      assert.equal((queue.error as StreamError).code, "upstream_timeout");
      await upstream.close();
    }
  },
);

const DISPATCHER = Symbol.for("undici.globalDispatcher.1");
interface Dispatcher {
  dispatch(options: object, handler: unknown): boolean;
}
const runtime = globalThis as { [DISPATCHER]?: Dispatcher };

// https://github.com/openai/openai-node/issues/2153
// https://github.com/thecodacus/understory/issues/32
timed("openai() waits past the limits of Node's fetch, which are 5 minutes", async (context) => {
  new Headers(); // Node loads its fetch when it is first asked for.
  const standard = runtime[DISPATCHER];
  if (standard === undefined) return context.skip("not Node");
  // The same limits in a second, and a program that has set a dispatcher of its own.
  let dispatched = 0;
  runtime[DISPATCHER] = {
    dispatch: (options, handler) => {
      dispatched++;
      return standard.dispatch({ headersTimeout: 500, bodyTimeout: 500, ...options }, handler);
    },
  };
  try {
    const late = (begin: string, rest: string) => (socket: Socket) => {
      socket.write(begin);
      setTimeout(() => socket.end(rest), 2500);
    };
    const [head, body, bare] = await Promise.all([
      ask(late("", answer("hi")), {}),
      ask(late(STREAM, answer("hi").slice(STREAM.length)), {}),
      startScripted(late("", answer("hi"))).then(async ({ url, close }) => {
        const init = { method: "POST", dispatcher: runtime[DISPATCHER] };
        const failed = await fetch(url, init as RequestInit).then(() => false, () => true);
        await close();
        return failed;
      }),
    ]);
    assert.deepEqual([head.text, body.text, bare, dispatched], ["hi", "hi", true, 3]);
  } finally {
    runtime[DISPATCHER] = standard;
  }
});

// --- the request ---

test("openai() sends its request with a Content-Length, in bytes", async () => {
  // Mistral and what is built on Python's http.server reject a request without one.
  const lengths: string[] = [];
  const strict = (socket: Socket, { headers, body }: { headers: object; body: unknown }) => {
    const { "content-length": length, "transfer-encoding": encoding } = headers as Record<
      string,
      string
    >;
    lengths.push(length ?? "");
    const isRight = Number(length) === new TextEncoder().encode(JSON.stringify(body)).length;
    socket.end(isRight && encoding === undefined ? answer("hi") : reply(411, ""));
  };
  const upstream = await startScripted(strict);
  for (const text of ["a", TEXT, "あ".repeat(200_000)]) {
    const { end } = await read(await relay(upstream as never, "m", { text }));
    assert.equal(end, "done");
  }
  assert.equal(new Set(lengths).size, 3);
  await upstream.close();
});

timed(
  "openai() sends its request once when the connection breaks, new or used before",
  async () => {
    const whole = answer("hi").replace(/^.*\r\n/, "HTTP/1.1 200 OK\r\n")
      .replace("connection: close\r\n", "");
    const end = whole.indexOf("\r\n\r\n") + 4;
    const kept = whole.replace("\r\n\r\n", `\r\ncontent-length: ${whole.length - end}\r\n\r\n`);
    const breaks: Record<string, (socket: Socket) => void> = {
      reset: (socket) => void socket.resetAndDestroy(),
      end: (socket) => void socket.end(),
      "half a head": (socket) => void socket.end("HTTP/1.1 200 OK\r\ncontent-ty"),
    };
    for (const [how, broken] of Object.entries(breaks)) {
      let replies = 0;
      // The second request comes on the connection of the first one.
      const upstream = await startScripted((socket) => {
        if (++replies === 1) socket.write(kept);
        else broken(socket);
      });
      const first = await read(await relay(upstream as never, "m"));
      assert.equal(first.end, "done");
      for (const requests of [2, 3]) {
        const { last } = await read(
          await relay(upstream as never, "m", { stream: { commitAfterMs: 5000 } }),
        );
        assert.equal(last.code, "bad_upstream");
        await sleep(50);
        assert.equal(upstream.requests.length, requests, how);
      }
      await upstream.close();
    }
  },
);

test("openai() waits for room between the items of one chunk, as between chunks", async () => {
  const annotations = Array.from({ length: 60_000 }, (_, at) => at);
  const body = chunk({ content: "Hello", annotations }) + REST;
  const { text, items, end } = await ask(`${STREAM}${body}`, {});
  assert.deepEqual([text, items.length, end], ["Hellolo", annotations.length, "done"]);
});
