/**
 * Each API as upstream of each other: the same text, reasoning and calls, and the same end, whichever
 * two stand on the two sides. The answers are random, and the upstream is the mock, over a real socket.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import {
  anthropicFormat,
  createHandler,
  type Format,
  openai,
  openaiFormat,
  relay,
  sse,
  uiMessageFormat,
} from "../../mod.ts";
import { agUiFormat, responsesFormat } from "../../lib/formats.ts";
import { anthropic, responses } from "../../lib/sources.ts";
import { chunks, random } from "../support/random.ts";
import { KEY } from "../support/relay.ts";
import {
  type Answer,
  answerFor,
  type Dialect,
  isFailure,
} from "../support/upstream/dialects/answer.ts";
import { deepseek } from "../support/upstream/dialects/deepseek.ts";
import { messagesApi, STOPS } from "../support/upstream/dialects/messages_api.ts";
import { INCOMPLETE, responsesApi } from "../support/upstream/dialects/responses_api.ts";
import {
  assertEnd,
  assertParts,
  type FormatName,
  readBack,
  type Told,
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
  "responses": ["/v1/responses", { model: "m", input: "Hello", stream: true }],
  "responses buffered": ["/v1/responses", { model: "m", input: "Hello" }],
  "ag-ui": ["/ag-ui", { threadId: "t", runId: "r", messages: said }],
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

/** Holds what a client was told against the answer that the upstream has given. */
function assertTold(
  format: FormatName,
  told: Told,
  answer: Answer,
  { words }: Upstream,
): void {
  if (isFailure(answer.end)) return assert.equal(told.end, "failed");
  assertParts(format, told, answer.parts);
  const refused = answer.parts.some(({ kind }) => kind === "refusal");
  const end = refused ? "content_filter" : answer.end;
  assertEnd(format, told, { end, reason: words[answer.end] ?? answer.end, refused });
}

for (const [name, upstream] of Object.entries(UPSTREAMS)) {
  const { source, dialect, path } = upstream;
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
        try {
          assertTold(format, told, answer, upstream);
        } catch (cause) {
          throw new Error(`seed ${seed} in ${format}: ${told.body}`, { cause });
        }
      }
    }
    assert.equal(mock.requests.at(-1)!.path, path);
    await assertQuiet(mock);
  });
}

/** The formats that read what `relay()` passes on. */
const FORMATS: Partial<Record<FormatName, Format>> = {
  "openai": openaiFormat,
  "openai buffered": openaiFormat.with({ buffered: true }),
  "anthropic": anthropicFormat,
  "anthropic buffered": anthropicFormat.with({ buffered: true }),
  "responses": responsesFormat,
  "responses buffered": responsesFormat.with({ buffered: true }),
  "ui-message": uiMessageFormat,
  "ag-ui": agUiFormat,
};

for (const [name, upstream] of Object.entries(UPSTREAMS)) {
  test(`relay() of ${name}: the same answer in every API's format`, async () => {
    const { dialect } = upstream;
    for (let seed = 1; seed <= 40; seed++) {
      const chance = random(seed);
      const answer = answerFor(dialect.can, chance);
      const blocks = dialect.write(answer, chance);
      // Some servers leave out the names of events.
      const isBare = name === "responses" && !isFailure(answer.end) && chance() < 0.3;
      const body = blocks.join("").replaceAll(isBare ? /^event: .*\n/gm : /$^/g, "");
      for (const [format, written] of Object.entries(FORMATS) as [FormatName, Format][]) {
        const headers = { "content-type": "text/event-stream" };
        const told = await readBack(
          format,
          await sse(
            new Request("http://localhost/", { method: "POST" }),
            relay(new Response(body, { headers })),
            { format: written, onError: () => {}, commitAfterMs: 5000 },
          ),
        );
        try {
          assertTold(format, told, answer, upstream);
        } catch (cause) {
          throw new Error(`seed ${seed} in ${format}: ${told.body}`, { cause });
        }
      }
    }
  });
}
