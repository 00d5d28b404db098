/**
 * Each API as upstream of each other: the same text, reasoning and calls, and the same end, whichever
 * two stand on the two sides. The answers are random, and the upstream is the mock, over a real socket.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { createHandler, openai } from "../../mod.ts";
import { anthropic, responses } from "../../lib/sources.ts";
import { chunks, random } from "../support/random.ts";
import { KEY } from "../support/relay.ts";
import { answerFor, type Dialect, isFailure } from "../support/upstream/dialects/answer.ts";
import { deepseek } from "../support/upstream/dialects/deepseek.ts";
import { messagesApi, STOPS } from "../support/upstream/dialects/messages_api.ts";
import { INCOMPLETE, responsesApi } from "../support/upstream/dialects/responses_api.ts";
import {
  assertEnd,
  assertParts,
  type FormatName,
  readBack,
} from "../support/upstream/dialects/readers.ts";
import { assertQuiet, type Scripted, startScripted } from "../support/upstream/dialects/server.ts";
import type { Mock } from "../support/upstream/mock.ts";

interface Upstream {
  source: typeof openai;
  dialect: Dialect;
  /** How an answer ended, in the words of the API where they are others. */
  words: Record<string, string>;
  path: string;
}

/** The APIs as upstreams. */
const UPSTREAMS: Record<string, Upstream> = {
  "chat completions": {
    source: openai,
    dialect: deepseek,
    words: {},
    path: "/v1/chat/completions",
  },
  "messages": { source: anthropic, dialect: messagesApi, words: STOPS, path: "/v1/messages" },
  "responses": {
    source: responses,
    dialect: responsesApi,
    words: INCOMPLETE,
    path: "/v1/responses",
  },
};

const said = [{ role: "user", content: "Hello" }];
const chat = { model: "m", messages: said, max_tokens: 99 };
const parts = [{ type: "text", text: "Hello" }];

/** The APIs as downstreams. */
const DOWNSTREAMS: Partial<Record<FormatName, [path: string, body: object]>> = {
  "json": ["/streaming", { query: "Hello" }],
  "openai": ["/v1/chat/completions", { ...chat, stream: true }],
  "openai buffered": ["/v1/chat/completions", chat],
  "anthropic": ["/v1/messages", { ...chat, stream: true }],
  "anthropic buffered": ["/v1/messages", chat],
  "ui-message": ["/api/chat", { id: "c", messages: [{ id: "u", role: "user", parts }] }],
};

const scripts = new Map<string, Scripted>();
let mock: Mock;
before(async () => {
  mock = await startScripted(scripts);
});
after(() => mock.close());

/** The body in pieces that are cut anywhere. */
const piecesOf = (blocks: readonly string[], chance: () => number) =>
  chunks(chance, new TextEncoder().encode(blocks.join(""))).filter(({ length }) => length > 0);

async function ask(handler: ReturnType<typeof createHandler>, format: FormatName) {
  const [path, body] = DOWNSTREAMS[format]!;
  const headers = { "content-type": "application/json", accept: "text/event-stream" };
  const init = { method: "POST", headers, body: JSON.stringify(body) };
  return await readBack(
    format,
    await handler.fetch(new Request(`http://localhost${path}`, init)),
  );
}

for (const [name, { source, dialect, words, path }] of Object.entries(UPSTREAMS)) {
  test(`${name} upstream: the same answer through every downstream API`, async () => {
    const baseURL = mock.url;
    const handler = createHandler({
      source: source({ baseURL, model: name, apiKey: KEY, retries: 0 }),
      onError: () => {},
      commitAfterMs: 5000,
    });
    for (let seed = 1; seed <= 80; seed++) {
      const chance = random(seed);
      const answer = answerFor(dialect.can, chance);
      scripts.set(name, { pieces: piecesOf(dialect.write(answer, chance), chance) });
      for (const format of Object.keys(DOWNSTREAMS) as FormatName[]) {
        const told = await ask(handler, format);
        const where = `seed ${seed} in ${format}: ${told.body}`;
        if (isFailure(answer.end)) {
          assert.equal(told.end, "failed", where);
          continue;
        }
        try {
          assertParts(format, told, answer.parts);
          const refused = answer.parts.some(({ kind }) => kind === "refusal");
          const end = refused ? "content_filter" : answer.end;
          assertEnd(format, told, { end, reason: words[answer.end] ?? answer.end, refused });
        } catch (cause) {
          throw new Error(where, { cause });
        }
      }
    }
    assert.equal(mock.requests.at(-1)!.path, path);
    await assertQuiet(mock);
  });
}
