/**
 * The clients of AG-UI's route: `@ag-ui/client`, whose agent verifies the order of the events and here
 * also each of them against the protocol's schemas, and TanStack AI's, which is that of its `useChat`.
 */
import assert from "node:assert/strict";
import { HttpAgent } from "@ag-ui/client";
import { EventSchemas } from "@ag-ui/core/schemas";
import { ChatClient, fetchServerSentEvents } from "@tanstack/ai-client";
import type { Client } from "../client.ts";

/** Where the route is. */
export const route = (url: string): string => `${url}/ag-ui`;

/** An agent that has heard this, and fails at an event that does not fit its schema. */
export function agentOf(url: string, content: string): HttpAgent {
  const agent = new HttpAgent({ url: route(url) });
  agent.setMessages([{ id: "message-1", role: "user", content }]);
  agent.subscribe({ onEvent: ({ event }) => void EventSchemas.parse(event) });
  return agent;
}

export const clients: Client[] = [
  {
    name: "@ag-ui/client HttpAgent",
    ask: async (url, scene, onText, signal) => {
      const agent = agentOf(url, scene);
      signal.addEventListener("abort", () => agent.abortRun());
      let failure: Error | undefined;
      let ended = false;
      await agent.runAgent({}, {
        onTextMessageContentEvent: ({ event }) => onText(event.delta),
        onRunErrorEvent: ({ event }) => void (failure = new Error(event.message)),
        onRunFinishedEvent: ({ event }) => void (ended = event.outcome?.type === "success"),
      });
      if (failure !== undefined) throw failure;
      assert(ended || signal.aborted, "the run is over");
    },
    refused(error, status, message) {
      assert(error instanceof Error && "status" in error, String(error));
      assert.equal(error.status, status);
      assert(error.message.includes(message), error.message);
    },
    broken: (error, message) => assert.equal((error as Error).message, message),
  },
  {
    name: "@tanstack/ai-client",
    ask: async (url, scene, onText, signal) => {
      let failure: Error | undefined;
      const chat = new ChatClient({
        connection: fetchServerSentEvents(route(url)),
        onChunk: (chunk) => chunk.type === "TEXT_MESSAGE_CONTENT" && onText(chunk.delta),
        onError: (error) => failure = error,
      });
      signal.addEventListener("abort", () => chat.stop());
      await chat.sendMessage(scene);
      if (failure !== undefined) throw failure;
      const parts = chat.getMessages().at(-1)?.parts ?? [];
      assert(signal.aborted || parts.some(({ type }) => type === "text"), "the text is kept");
    },
    // Of a response that is no success it tells the status alone.
    refused: (error, status) => assert.match(String(error), new RegExp(`status: ${status}`)),
    broken: (error, message) => assert.equal((error as Error).message, message),
  },
];
