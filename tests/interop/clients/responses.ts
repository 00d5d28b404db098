/**
 * OpenAI's Responses API: the `openai` package in its three ways, the AI SDK's two providers, and
 * OpenAI's agents.
 */
import assert from "node:assert/strict";
import { createOpenResponses } from "@ai-sdk/open-responses";
import { createOpenAI } from "@ai-sdk/openai";
import { Agent, OpenAIProvider, Runner } from "@openai/agents";
import { APICallError, generateText, type LanguageModel, streamText } from "ai";
import OpenAI from "openai";
import type { Client } from "../client.ts";
import { MODEL } from "../server.ts";
import { openai } from "./openai.ts";

/** The models of the AI SDK's providers, as their users set them up. */
export const MODELS: Readonly<Record<string, (url: string) => LanguageModel>> = {
  "@ai-sdk/openai": (url) =>
    createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" }).responses(MODEL),
  "@ai-sdk/open-responses": (url) =>
    createOpenResponses({ name: "spillway", url: `${url}/v1/responses` })(MODEL),
};

/** OpenAI's agents, which send nothing of what they do anywhere else. */
export const runner = (url: string): Runner =>
  new Runner({
    modelProvider: new OpenAIProvider({ openAIClient: openai(url) as never, useResponses: true }),
    tracingDisabled: true,
  });
export const agent: Agent = new Agent({ name: "Test", model: MODEL });

function refused(error: unknown, status: number, message: string): void {
  assert(error instanceof OpenAI.APIError, String(error));
  const Expected = status === 429 ? OpenAI.RateLimitError : OpenAI.InternalServerError;
  assert(error instanceof Expected);
  assert.equal(error.message, `${status} ${message}`);
}

function broken(error: unknown, message: string): void {
  assert(error instanceof OpenAI.APIError, String(error));
  assert(error.message.includes(message), error.message);
}

function refusedCall(error: unknown, status: number, message: string): void {
  assert(APICallError.isInstance(error), String(error));
  assert.equal(error.statusCode, status);
  assert(error.message.includes(message), error.message);
}

/** Both ways of the AI SDK through one provider. */
function aiClients(name: string, model: (url: string) => LanguageModel): Client[] {
  return [
    {
      name: `${name} streamText`,
      ask: async (url, scene, onText, abortSignal) => {
        const { stream, finishReason } = streamText({
          model: model(url),
          prompt: scene,
          abortSignal,
          maxRetries: 0,
          onError: () => {},
        });
        for await (const part of stream) {
          if (part.type === "text-delta") onText(part.text);
          else if (part.type === "error") throw part.error;
        }
        assert.equal(await finishReason, "stop");
      },
      refused: refusedCall,
      broken: (error, message) =>
        assert(JSON.stringify(error).includes(message) || String(error).includes(message)),
    },
    {
      name: `${name} generateText`,
      whole: true,
      ask: async (url, scene, onText, abortSignal) => {
        const { text, finishReason } = await generateText({
          model: model(url),
          prompt: scene,
          abortSignal,
          maxRetries: 0,
        });
        assert.equal(finishReason, "stop");
        onText(text);
      },
      refused: refusedCall,
      broken: (error, message) => refusedCall(error, 502, message),
    },
  ];
}

export const clients: Client[] = [
  {
    name: "openai responses.create",
    ask: async (url, scene, onText, signal) => {
      const stream = await openai(url).responses
        .create({ model: MODEL, input: scene, stream: true }, { signal });
      let status: string | undefined;
      for await (const event of stream) {
        if (event.type === "response.output_text.delta") onText(event.delta);
        if (event.type === "response.completed") status = event.response.status;
      }
      assert.equal(status, "completed");
    },
    refused,
    broken,
  },
  {
    name: "openai responses.stream()",
    ask: async (url, scene, onText, signal) => {
      const stream = openai(url).responses.stream({ model: MODEL, input: scene }, { signal });
      let text = "";
      stream.on("response.output_text.delta", ({ delta }) => {
        text += delta;
        onText(delta);
      });
      const { status, output_text } = await stream.finalResponse();
      assert.deepEqual([status, output_text === text], ["completed", true]);
    },
    refused,
    broken,
  },
  {
    name: "openai responses whole",
    whole: true,
    ask: async (url, scene, onText, signal) => {
      const { status, output_text } = await openai(url).responses
        .create({ model: MODEL, input: scene }, { signal });
      assert.equal(status, "completed");
      onText(output_text);
    },
    refused,
    broken: (error, message) => refused(error, 502, message),
  },
  ...Object.entries(MODELS).flatMap(([name, model]) => aiClients(name, model)),
  {
    name: "@openai/agents",
    ask: async (url, scene, onText, signal) => {
      const result = await runner(url).run(agent, scene, { stream: true, signal });
      for await (const event of result) {
        if (event.type === "raw_model_stream_event" && event.data.type === "output_text_delta") {
          onText(event.data.delta);
        }
      }
      await result.completed;
    },
    refused,
    broken,
  },
];
