/** What is special to an `EventSource`: it comes again by itself, and must not be answered anew. */
import assert from "node:assert/strict";
import test from "node:test";
import { EventSource as PackageEventSource } from "eventsource";
import { EventSource as UndiciEventSource } from "undici/index.js";
import { until } from "../support/serve.ts";
import { assertNothingLeft, startScenes } from "./server.ts";

const { EventSource: Own } = globalThis as {
  EventSource?: typeof UndiciEventSource;
};
const MAKERS = [PackageEventSource, UndiciEventSource, ...Own ? [Own] : []];

test("an EventSource that is never closed comes again, is told to stop, and nothing runs twice", async () => {
  const server = startScenes();
  try {
    const texts = await Promise.all(MAKERS.map(async (Maker, at) => {
      const source = new Maker(`${server.url}/sse?q=Answer%20${at}`);
      let text = "";
      source.addEventListener(
        "message",
        (event) => text += JSON.parse((event as MessageEvent).data).token,
      );
      await until(() => source.readyState === 2, 15_000, "closed for good");
      return text;
    }));
    assert.deepEqual(texts, MAKERS.map((_, at) => `Answer ${at}`));
    assert.deepEqual(server.runs.length, MAKERS.length);
    assert.deepEqual(server.errors, []);
    await assertNothingLeft();
  } finally {
    await server.close();
  }
});
