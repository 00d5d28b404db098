/** `@langchain/openai` pointed at Spillway: `.stream()` and `.invoke()`. */
import assert from "node:assert/strict";
import { ChatOpenAI } from "@langchain/openai";
import { APIError } from "openai";
import type { Client } from "../client.ts";
import { MODEL } from "../server.ts";

/** The model as its users set it up, but for the retries. */
export const chat = (url: string): ChatOpenAI =>
  new ChatOpenAI({
    model: MODEL,
    apiKey: "none",
    maxRetries: 0,
    configuration: { baseURL: `${url}/v1` },
  });

/** LangChain passes on what its `openai` package throws, and marks what it knows. */
function refused(error: unknown, status: number, message: string): void {
  assert(error instanceof APIError, String(error));
  assert.equal(error.status, status);
  assert(error.message.startsWith(`${status} ${message}`), error.message);
  if (status === 429) {
    assert.equal(
      (error as { lc_error_code?: string }).lc_error_code,
      "MODEL_RATE_LIMIT",
    );
  }
}

function broken(error: unknown, message: string): void {
  assert(error instanceof APIError, String(error));
  assert(error.message.includes(message), error.message);
}

export const clients: Client[] = [
  {
    name: "langchain stream",
    ask: async (url, scene, onText, signal) => {
      let finishReason: unknown;
      for await (const chunk of await chat(url).stream(scene, { signal })) {
        onText(chunk.text);
        finishReason ??= chunk.response_metadata.finish_reason;
      }
      assert.equal(finishReason, "stop");
    },
    refused,
    broken,
  },
  {
    name: "langchain invoke",
    whole: true,
    ask: async (url, scene, onText, signal) => {
      const message = await chat(url).invoke(scene, { signal });
      assert.equal(message.response_metadata.finish_reason, "stop");
      onText(message.text);
    },
    refused,
    broken: (error, message) => refused(error, 502, message),
  },
];
