/**
 * What the model APIs' own packages make of an upstream that rejects a request, through `openai()` and
 * the chat routes: an error of theirs that says so, and no second request, which they would send of 502.
 */
import assert from "node:assert/strict";
import test from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { createHandler, openai } from "../../mod.ts";
import { serve } from "../support/serve.ts";
import {
  answer,
  reply,
  type Scripted,
  type ScriptedReply,
  startScripted,
  STREAM,
} from "../support/upstream/scripted.ts";

/** Calls `use` with the address of a relay whose upstream replies so. */
async function relaying(
  replies: ScriptedReply[],
  use: (url: string, upstream: Scripted) => Promise<void>,
): Promise<void> {
  const upstream = await startScripted(...replies);
  const source = openai({ baseURL: upstream.url, model: "m" });
  const { fetch } = createHandler({ source, commitAfterMs: 1000, onError: () => {} });
  const server = serve(fetch);
  try {
    await use(server.url, upstream);
  } finally {
    await server.close();
    await upstream.close();
  }
}

const messages = [{ role: "user" as const, content: "hello" }];
const error = (code: string | number) => ({ error: { message: "no", code } });

const REJECTIONS: [reply: string, status: number, code: string][] = [
  [reply(400, error("context_length_exceeded")), 400, "context_length_exceeded"],
  [reply(400, error("x")), 400, "upstream_bad_request"],
  [reply(413, "too large"), 413, "upstream_too_large"],
  [reply(422, error("x")), 422, "upstream_unprocessable"],
  [`${STREAM}data: ${JSON.stringify(error(400))}\n\n`, 400, "upstream_bad_request"],
];

for (const [rejection, status, code] of REJECTIONS) {
  for (const stream of [true, false]) {
    test(`openai: ${status} ${code} is told once, stream ${stream}, ${rejection.length}`, async () => {
      await relaying([rejection], async (url, { requests }) => {
        const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
        const body = { model: "spillway", messages, stream };
        await assert.rejects(client.chat.completions.create(body), (error) => {
          assert(error instanceof OpenAI.APIError);
          assert.deepEqual([error.status, error.code], [status, code]);
          assert.equal(error.type, "invalid_request_error");
          return true;
        });
        assert.equal(requests.length, 1);
      });
    });

    test(`anthropic: ${status} ${code} is told once, stream ${stream}, ${rejection.length}`, async () => {
      await relaying([rejection], async (url, { requests }) => {
        const client = new Anthropic({ baseURL: url, apiKey: "none" });
        const body = { model: "spillway", messages, max_tokens: 9, stream };
        await assert.rejects(client.messages.create(body), (error) => {
          assert(error instanceof Anthropic.APIError);
          assert.equal(error.status, status);
          return true;
        });
        assert.equal(requests.length, 1);
      });
    });
  }
}

test("openai: a first event of 429 is a rate limit that the package waits for", async () => {
  const limited = `${STREAM}data: ${JSON.stringify(error(429))}\n\n`;
  await relaying([limited, answer("hi")], async (url, { requests }) => {
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
    const { choices } = await client.chat.completions.create({ model: "spillway", messages });
    assert.equal(choices[0]!.message.content, "hi");
    assert.equal(requests.length, 2);
  });
});
