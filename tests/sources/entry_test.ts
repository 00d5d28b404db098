/**
 * The server entry as a relay: its variables, on every runtime, whichever runs the test, and a log that
 * never holds the key.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { listening, PATIENCE_MS, RUNTIMES, startEntry } from "../support/child.ts";
import { until } from "../support/serve.ts";
import { type Mock, startMock } from "../support/upstream/mock.ts";
import { answer, reply, startScripted } from "../support/upstream/scripted.ts";
import { assertNoLeak, KEY, read, TEXT } from "../support/relay.ts";

let mock: Mock;
let folder: string;
before(async () => {
  mock = await startMock();
  folder = await mkdtemp(join(tmpdir(), "spillway-"));
});
after(async () => {
  await mock.close();
  await rm(folder, { recursive: true });
});

async function relaying(
  runtime: typeof RUNTIMES[number],
  model: string,
  environment: Record<string, string> = {},
) {
  const { child, url } = await listening(startEntry(runtime, {
    OPENAI_BASE_URL: mock.url,
    OPENAI_API_KEY: KEY,
    OPENAI_MODEL: model,
    COMMIT_AFTER_MS: "5000",
    ...environment,
  }));
  return {
    child,
    url,
    ask: async (query: string) =>
      await read(
        await fetch(`${url}/streaming`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ query }),
        }),
      ),
  };
}

for (const runtime of RUNTIMES) {
  test(`the entry relays on ${runtime} when OPENAI_BASE_URL is set`, async () => {
    const { child, ask } = await relaying(runtime, "mock");
    try {
      const answer = await ask(TEXT);
      assert.deepEqual([answer.status, answer.text, answer.end], [200, TEXT, "done"]);
      assert.equal(answer.last.finishReason, "stop");
      assertNoLeak(answer);
      const { headers, body } = mock.requests.at(-1)!;
      assert.equal(headers.authorization, `Bearer ${KEY}`);
      assert.equal((body as { model: string }).model, "mock");
      assert(!`${child.output}${child.errors}`.includes(KEY));
    } finally {
      await child.stop();
    }
  });

  for (
    const [model, status, code] of [
      ["mock:401", 502, "bad_upstream"],
      ["mock:redirect-other", 502, "bad_upstream"],
      ["mock:rst-at-once", 502, "bad_upstream"],
      ["mock:error-object", 200, "upstream_failed"],
      ["mock:die-rst", 200, "truncated"],
    ] as const
  ) {
    test(`the entry on ${runtime} logs ${model} once, and never the key`, async () => {
      const { child, ask } = await relaying(runtime, model);
      try {
        const answer = await ask(TEXT);
        assert.deepEqual([answer.status, answer.last.code], [status, code]);
        assertNoLeak(answer);
        await until(() => child.errors.includes(code), PATIENCE_MS, "the log");
        assert.match(child.errors, new RegExp(`^[\\d:]{8}  ${code}  [^\n]+\n$`));
        assert(!`${child.output}${child.errors}`.includes(KEY), child.errors);
        assert.deepEqual(mock.other.requests, []);
      } finally {
        await child.stop();
      }
    });
  }

  test(`the entry on ${runtime} does not start with a key that cannot be sent`, async () => {
    const child = startEntry(runtime, {
      OPENAI_BASE_URL: mock.url,
      OPENAI_API_KEY: `${KEY}\u3042`,
      OPENAI_MODEL: "mock",
    });
    await until(() => child.exit !== undefined, PATIENCE_MS, "the end");
    assert.equal(child.exit, 1);
    assert.match(child.errors, /^spillway: .*\n$/);
    assert(!`${child.output}${child.errors}`.includes(KEY));
  });

  test(`the entry on ${runtime} asks its upstream as its variables say`, async () => {
    const upstream = await startScripted(
      reply(503, {}, { "retry-after-ms": "1" }),
      answer("hi"),
      (socket) => void setTimeout(() => socket.end(answer("late")), 2000),
    );
    const { child, url } = await relaying(runtime, "m", {
      OPENAI_BASE_URL: upstream.url,
      OPENAI_RETRIES: "1",
      OPENAI_FIELDS: "seed",
      OPENAI_STREAM_OPTIONS: "off",
      OPENAI_HEAD_TIMEOUT_MS: "900",
      MAX_BODY_BYTES: "200",
    });
    const ask = (content: string) =>
      fetch(`${url}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          model: "m",
          messages: [{ role: "user", content }],
          seed: 1,
          top_p: 0.5,
        }),
      });
    try {
      const first = await (await ask("hello")).json();
      assert.equal(first.choices[0].message.content, "hi");
      assert.equal(upstream.requests.length, 2);
      const { body } = upstream.requests[1]!;
      const messages = [{ role: "user", content: "hello" }];
      assert.deepEqual(body, { model: "m", stream: true, seed: 1, messages });
      assert.equal((await ask("hello")).status, 504);
      // Chat routes may have a limit of their own.
      const large = await fetch(`${url}/streaming`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ query: "x".repeat(200) }),
      });
      assert.equal(large.status, 413);
    } finally {
      await child.stop();
      await upstream.close();
    }
  });

  test(`the entry on ${runtime} asks the upstreams of OPENAI_FALLBACK, and logs why`, async () => {
    const upstream = await startScripted(answer("hi"));
    const path = join(folder, `${runtime}.json`);
    const fallback = { baseURL: upstream.url, model: "other", apiKey: "sk-another" };
    await writeFile(path, JSON.stringify([{ ...fallback, body: { seed: 7 } }]));
    const { child, ask } = await relaying(runtime, "mock:401", { OPENAI_FALLBACK: path });
    try {
      const told = await ask("hello");
      assert.deepEqual([told.end, told.text], ["done", "hi"]);
      const { headers, body } = upstream.requests[0]!;
      assert.equal(headers.authorization, "Bearer sk-another");
      const { model, seed } = body as Record<string, unknown>;
      assert.deepEqual([model, seed], ["other", 7]);
      await until(() => child.errors.includes("\n"), PATIENCE_MS, "the log");
      assert.match(
        child.errors,
        /^[\d:]{8} {2}bad_upstream {2}The upstream \S+, model mock:401, failed: [^\n]*\(401\)[^\n]*\n$/,
      );
      assert.match(
        child.output,
        /^Source: relay to \S+, model mock:401; if that fails, to \S+, model other$/m,
      );
      assert(!`${child.output}${child.errors}`.includes(KEY), child.errors);
    } finally {
      await child.stop();
      await upstream.close();
    }
  });

  test(`the entry on ${runtime} does not start with a wrong OPENAI_FALLBACK`, async () => {
    const secret = "sk-another";
    const like = '; it has to be like [{ "baseURL": "https://...", "model": "..." }]';
    const wrong: [text: string | undefined, message: string][] = [
      [
        undefined,
        "OPENAI_FALLBACK: there is no file PATH; a path starts where the server was started",
      ],
      ["{}", `OPENAI_FALLBACK: the file is no list of upstreams${like}`],
      ["[]", `OPENAI_FALLBACK: the file is no list of upstreams${like}`],
      [secret, `OPENAI_FALLBACK: the file is no JSON${like}`],
      [
        JSON.stringify([{ baseURL: "x", model: "m", apiKey: secret }]),
        "OPENAI_FALLBACK: fallback[0]: baseURL is not an http or https URL",
      ],
      [
        JSON.stringify([{ baseURL: "http://a", model: "m", key: secret }]),
        "OPENAI_FALLBACK: fallback[0]: unknown option key",
      ],
    ];
    for (const [i, [text, message]] of wrong.entries()) {
      const path = join(folder, `${runtime}-${i}.json`);
      if (text !== undefined) await writeFile(path, text);
      const child = startEntry(runtime, {
        OPENAI_BASE_URL: mock.url,
        OPENAI_MODEL: "mock",
        OPENAI_FALLBACK: path,
      });
      await until(() => child.exit !== undefined, PATIENCE_MS, "the end");
      assert.deepEqual([child.exit, child.errors], [
        1,
        `spillway: ${message.replace("PATH", JSON.stringify(path))}\n`,
      ]);
    }
  });
}
