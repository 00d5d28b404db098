/** The `openai` package: its raw stream, its `.stream()` helper, and whole answers. */
import assert from "node:assert/strict";
import OpenAI from "openai";
import type { Client } from "../client.ts";
import { MODEL } from "../server.ts";

/** The package as its users set it up, but for the retries, which would hide what came first. */
export const openai = (url: string): OpenAI =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

/** The request for a scene. */
export const asked = (content: string) => ({
  model: MODEL,
  messages: [{ role: "user" as const, content }],
});

function refused(error: unknown, status: number, message: string): void {
  assert(error instanceof OpenAI.APIError, String(error));
  const Expected = status === 429 ? OpenAI.RateLimitError : OpenAI.InternalServerError;
  assert(error instanceof Expected);
  assert.equal(error.status, status);
  assert.equal(error.message, `${status} ${message}`);
}

function broken(error: unknown, message: string): void {
  assert(error instanceof OpenAI.APIError, String(error));
  assert(error.message.includes(message), error.message);
}

export const clients: Client[] = [
  {
    name: "openai create",
    ask: async (url, scene, onText, signal) => {
      const stream = await openai(url).chat.completions
        .create({ ...asked(scene), stream: true }, { signal });
      let finishReason: string | null | undefined;
      for await (const { choices } of stream) {
        onText(choices[0]?.delta.content ?? "");
        finishReason ??= choices[0]?.finish_reason;
      }
      assert.equal(finishReason, "stop");
    },
    refused,
    broken,
  },
  {
    name: "openai .stream()",
    ask: async (url, scene, onText, signal) => {
      const stream = openai(url).chat.completions.stream(asked(scene), {
        signal,
      });
      await stream.on("content", onText).done();
      assert.equal(
        (await stream.finalChatCompletion()).choices[0]?.finish_reason,
        "stop",
      );
    },
    refused,
    broken,
  },
  {
    name: "openai whole",
    whole: true,
    ask: async (url, scene, onText, signal) => {
      const { choices } = await openai(url).chat.completions.create(
        asked(scene),
        { signal },
      );
      assert.equal(choices[0]?.finish_reason, "stop");
      onText(choices[0].message.content ?? "");
    },
    refused,
    broken: (error, message) => refused(error, 502, message),
  },
];
