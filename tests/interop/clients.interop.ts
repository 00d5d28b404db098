/**
 * One source, every client: the same scenes through each real package in `clients/`, judged alike. What
 * is special to one of them is in the file of its name beside this one.
 */
import assert from "node:assert/strict";
import { inspect } from "node:util";
import test, { after, before, beforeEach } from "node:test";
import type { Client } from "./client.ts";
import { clients as agUi } from "./clients/ag_ui.ts";
import { clients as ai } from "./clients/ai.ts";
import { clients as anthropic } from "./clients/anthropic.ts";
import { clients as curl } from "./clients/curl.ts";
import { clients as eventsource } from "./clients/eventsource.ts";
import { clients as fetches } from "./clients/fetch.ts";
import { clients as langchain } from "./clients/langchain.ts";
import { clients as openai } from "./clients/openai.ts";
import { clients as responses } from "./clients/responses.ts";
import {
  assertNothingLeft,
  assertNoticed,
  FAILURE,
  HALF,
  LONG,
  REFUSAL,
  type Scenes,
  SECRET,
  SILENCE_MS,
  startScenes,
  TEXT,
} from "./server.ts";
import { runtimeName, until } from "../support/serve.ts";

const CLIENTS = [
  ...openai,
  ...responses,
  ...anthropic,
  ...ai,
  ...agUi,
  ...langchain,
  ...eventsource,
  ...fetches,
  ...curl,
];

let server: Scenes;
before(() => {
  server = startScenes();
});
beforeEach(() => {
  server.errors.length = 0;
});
after(() => server.close());

/** How long after a reader had left its source was told, in ms. */
const departures = new Map<string, number>();

/** When a reader leaves: the scene, and how long it is waited for without a token, in ms. */
const MOMENTS: Record<string, [scene: string, waitMs: number]> = {
  "before the head": ["stuck", 0],
  "after the head": ["stuck", 100],
  "in mid-stream": ["endless", 0],
};
/**
 * Deno 2.9 tells of a departure before the head only where head and body of the request came in one
 * read, which those of many clients do not (about 512 bytes); else it tells when the head is sent. That
 * is soon enough for a stream, and the end for a document.
 */
const UNTOLD = runtimeName === "deno" && "Deno does not tell of a departure before the head";

const never = new AbortController().signal;

/** Asks for a scene that ends well and answers its text. */
async function ask(client: Client, scene: string, { url } = server): Promise<string> {
  let text = "";
  await client.ask(url, scene, (piece) => text += piece, never);
  return text;
}

/** Asks for a scene that fails, and answers the text that came and the error. */
async function fail(client: Client, scene: string): Promise<{ text: string; error: unknown }> {
  let text = "";
  try {
    await client.ask(server.url, scene, (piece) => text += piece, never);
  } catch (error) {
    return { text, error };
  }
  return assert.fail(`${scene} ended normally, with ${JSON.stringify(text)}`);
}

for (const client of CLIENTS) {
  const { name, whole = false } = client;

  test(`${name}: the hostile text is exact`, async () => {
    assert.equal(await ask(client, "hostile"), TEXT);
    await assertNothingLeft();
    assert.deepEqual(server.errors, []);
  });

  test(`${name}: 100 KB are exact`, async () => {
    assert((await ask(client, "long")) === LONG);
    await assertNothingLeft();
  });

  test(`${name}: twenty answers at once are each their own`, async () => {
    const texts = Array.from({ length: 20 }, (_, i) => `Answer ${i}, ${TEXT.slice(0, i * 5)}.`);
    const answers = await Promise.all(texts.map((text) => ask(client, text)));
    assert.deepEqual(answers, texts);
    await assertNothingLeft();
  });

  for (const [when, [scene, waitMs]] of Object.entries(MOMENTS)) {
    const skip = whole && UNTOLD;
    test(`${name}: an abort ${when} reaches the source within 100 ms`, { skip }, async () => {
      const tookMs = await assertNoticed(server, async () => {
        const abort = new AbortController();
        const seen = server.runs.length;
        let pieces = 0;
        const asked = client.ask(server.url, scene, () => pieces++, abort.signal);
        await until(() => server.runs.length > seen, 2000, "the request");
        if (scene === "endless" && !whole) await until(() => pieces > 3, 2000, "some text");
        else await new Promise((resolve) => setTimeout(resolve, waitMs));
        const leftMs = performance.now();
        abort.abort();
        // Most reject, some resolve; what matters is that they settle.
        await asked.then(() => {}, () => {});
        assert.equal(server.runs.length, seen + 1, "it did not come again");
        return leftMs;
      });
      departures.set(name, Math.min(tookMs, departures.get(name) ?? Infinity));
    });
  }

  test(`${name}: a refusal before the first token has its status and its own error`, async () => {
    const { text, error } = await fail(client, "refused");
    assert.equal(text, "");
    client.refused(error, 429, REFUSAL);
    await assertNothingLeft();
    assert.equal(server.errors.length, 1);
  });

  test(`${name}: what the source throws is a 500, and only the operator is told of it`, async () => {
    const { text, error } = await fail(client, "crashed");
    assert.equal(text, "");
    client.refused(error, 500, "The source failed");
    assert(!inspect(error, { depth: 9 }).includes(SECRET));
    assert((server.errors[0] as Error).message.includes(SECRET));
    await assertNothingLeft();
  });

  test(`${name}: a failure in mid-stream is its own error and no normal end`, async () => {
    const { text, error } = await fail(client, "broken");
    assert.equal(text, whole ? "" : HALF);
    client.broken(error, FAILURE);
    assert(!inspect(error, { depth: 9 }).includes(SECRET));
    assert.equal(server.errors.length, 1);
    await assertNothingLeft();
  });
}

test("of each client a departure was noticed within 20 ms", () => {
  // Of several the quickest: the others may have met a neighbour.
  const late = [...departures].filter(([, tookMs]) => tookMs > 20);
  assert.deepEqual([departures.size > 0, late], [true, []]);
});

test("heartbeats between the tokens are not seen", async () => {
  const answers = await Promise.all(CLIENTS.map(async (client) => [
    client.name,
    await ask(client, "halting"),
  ]));
  assert.deepEqual(answers, CLIENTS.map(({ name }) => [name, "one two three"]));
  await assertNothingLeft();
});

test("12 s of silence with the default heartbeat disturb no client", {
  timeout: 40_000,
}, async () => {
  const calm = startScenes({ heartbeatMs: 5000 });
  try {
    const startMs = performance.now();
    const answers = await Promise.all(CLIENTS.map(async (client) => [
      client.name,
      ...await Promise.all([
        ask(client, "hush", calm),
        ask(client, "silent", calm),
      ]),
    ]));
    assert(performance.now() - startMs >= SILENCE_MS);
    assert.deepEqual(
      answers,
      CLIENTS.map(({ name }) => [name, "at last", "before, after"]),
    );
    assert.deepEqual(calm.errors, []);
    await assertNothingLeft();
  } finally {
    await calm.close();
  }
});
