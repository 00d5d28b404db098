/**
 * The server entry as a relay: three environment variables, on Bun and on Deno, whichever runtime runs
 * the test, and a log that never holds the key.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { listening, startEntry } from "../support/child.ts";
import { until } from "../support/serve.ts";
import { type Mock, startMock } from "../support/upstream/mock.ts";
import { assertNoLeak, KEY, read, TEXT } from "../support/relay.ts";

let mock: Mock;
before(async () => {
  mock = await startMock();
});
after(() => mock.close());

const RUNTIMES = ["bun", "deno"] as const;

async function relaying(runtime: typeof RUNTIMES[number], model: string) {
  const { child, url } = await listening(startEntry(runtime, {
    OPENAI_BASE_URL: mock.url,
    OPENAI_API_KEY: KEY,
    OPENAI_MODEL: model,
    COMMIT_AFTER_MS: "5000",
  }));
  return {
    child,
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
        await until(() => child.errors.includes(code), 1000, "the log");
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
    await until(() => child.exit !== undefined, 10_000, "the end");
    assert.equal(child.exit, 1);
    assert.match(child.errors, /^spillway: .*\n$/);
    assert(!`${child.output}${child.errors}`.includes(KEY));
  });
}
