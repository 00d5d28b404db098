/** The `@anthropic-ai/sdk` package: its raw events, its `.stream()` helper, and whole answers. */
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import type { Client } from "../client.ts";
import { MODEL } from "../server.ts";

/** The package as its users set it up, but for the retries, which would hide what came first. */
export const anthropic = (url: string): Anthropic =>
  new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });

/** The request for a scene. */
export const asked = (content: string) => ({
  model: MODEL,
  max_tokens: 1000,
  messages: [{ role: "user" as const, content }],
});

function refused(error: unknown, status: number, message: string): void {
  const Expected = status === 429 ? Anthropic.RateLimitError : Anthropic.InternalServerError;
  assert(error instanceof Expected, String(error));
  assert.equal(error.status, status);
  assert.equal(error.apiMessage, message);
  assert.equal(error.type, status === 429 ? "rate_limit_error" : "api_error");
}

function broken(error: unknown, message: string): void {
  assert(error instanceof Anthropic.APIError, String(error));
  assert.deepEqual([error.status, error.apiMessage], [undefined, message]);
}

export const clients: Client[] = [
  {
    name: "anthropic create",
    ask: async (url, scene, onText, signal) => {
      const stream = await anthropic(url).messages
        .create({ ...asked(scene), stream: true }, { signal });
      let last = "";
      for await (const event of stream) {
        if (
          event.type === "content_block_delta" &&
          event.delta.type === "text_delta"
        ) {
          onText(event.delta.text);
        }
        last = event.type;
      }
      assert.equal(last, "message_stop");
    },
    refused,
    broken,
  },
  {
    name: "anthropic .stream()",
    ask: async (url, scene, onText, signal) => {
      const stream = anthropic(url).messages.stream(asked(scene), { signal });
      await stream.on("text", (text) => onText(text)).done();
      assert.equal((await stream.finalMessage()).stop_reason, "end_turn");
    },
    refused,
    broken,
  },
  {
    name: "anthropic whole",
    whole: true,
    ask: async (url, scene, onText, signal) => {
      const message = await anthropic(url).messages.create(asked(scene), {
        signal,
      });
      assert.equal(message.stop_reason, "end_turn");
      for (const block of message.content) {
        if (block.type === "text") onText(block.text);
      }
    },
    refused,
    broken: (error, message) => refused(error, 502, message),
  },
];
