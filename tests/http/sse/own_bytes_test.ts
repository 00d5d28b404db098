/** What `sse()` hands to `Response`, where a library has replaced that: `@hono/node-server` does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sse } from "../../../mod.ts";
import { post } from "./setup.ts";

const decoder = new TextDecoder();

/** Runs with a `Response` that keeps the bytes that it is given, and returns what it was given. */
async function kept(run: () => Promise<unknown>): Promise<() => string[]> {
  const { Response: own } = globalThis;
  const bodies: unknown[] = [];
  class Keeping extends own {
    constructor(body?: ConstructorParameters<typeof own>[0], init?: ResponseInit) {
      super(body, init);
      bodies.push(body);
    }
  }
  globalThis.Response = Keeping;
  try {
    await run();
  } finally {
    globalThis.Response = own;
  }
  return () => bodies.map((body) => body instanceof Uint8Array ? decoder.decode(body) : "");
}

test("sse() gives each response bytes and headers of its own", async () => {
  const words = ["one", "two", "six"];
  const responses = [];
  for (const word of words) {
    const response = await sse(post(), [word], { format: "plain" });
    assert.equal(response.headers.get("set-cookie"), null);
    response.headers.set("set-cookie", word);
    responses.push(response);
  }
  assert.deepEqual(await Promise.all(responses.map((response) => response.text())), words);
});

test("sse() gives each response bytes of its own, also a Response that copies none", async () => {
  const texts = await kept(async () => {
    for (const word of ["one", "two", "six"]) await sse(post(), [word], { format: "plain" });
  });
  assert.deepEqual(texts(), ["one", "two", "six"]);
});
