/**
 * Clients that post the query with a plain `fetch` and read the `json` format: `eventsource-parser`,
 * our own decoder, and `@microsoft/fetch-event-source`.
 */
import assert from "node:assert/strict";
import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSourceParserStream } from "eventsource-parser/stream";
import { decodeEvents, type Problem } from "../../../mod.ts";
import type { Client } from "../client.ts";

// A browser's, of which the package uses no more than this; `window` has no `document`, for `openai` and
// others would take this for a browser.
const browser = globalThis as { window?: unknown; document?: unknown };
browser.window ??= {
  setTimeout: setTimeout.bind(globalThis),
  clearTimeout: clearTimeout.bind(globalThis),
  fetch: (input: string, init: RequestInit) => fetch(input, init),
};
browser.document ??= new EventTarget();

/** What a reader makes of a problem, with a status or in the stream. */
class Failed extends Error {
  readonly problem: Problem;
  readonly status: number | undefined;

  constructor(problem: Problem, status?: number) {
    super(problem.detail ?? problem.title);
    this.problem = problem;
    this.status = status;
  }
}

const post = (query: string) => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ query }),
});

/** Takes one event. Answers whether it was the end. */
function take(
  event: string | undefined,
  data: string,
  onText: (text: string) => void,
): boolean {
  const value = JSON.parse(data);
  if (event === "failed") throw new Failed(value);
  if (event === undefined || event === "" || event === "message") {
    onText(value.token);
  }
  return event === "done";
}

async function open(
  url: string,
  query: string,
  signal: AbortSignal,
): Promise<Response> {
  const response = await fetch(`${url}/streaming`, { ...post(query), signal });
  if (!response.ok) throw new Failed(await response.json(), response.status);
  return response;
}

function refused(error: unknown, status: number, message: string): void {
  assert(error instanceof Failed, String(error));
  assert.deepEqual([error.status, error.problem.status, error.message], [
    status,
    status,
    message,
  ]);
}

function broken(error: unknown, message: string): void {
  assert(error instanceof Failed, String(error));
  assert.deepEqual([error.status, error.message], [undefined, message]);
}

export const clients: Client[] = [
  {
    name: "eventsource-parser",
    ask: async (url, query, onText, signal) => {
      const response = await open(url, query, signal);
      const events = response.body!
        .pipeThrough(new TextDecoderStream())
        .pipeThrough(new EventSourceParserStream({ onError: "terminate" }));
      let whole = false;
      for await (const { event, data } of events) {
        whole = take(event, data, onText);
      }
      assert(whole);
    },
    refused,
    broken,
  },
  {
    name: "fetch and decodeEvents",
    ask: async (url, query, onText, signal) => {
      const response = await open(url, query, signal);
      let whole = false;
      for await (const { event, data } of decodeEvents(response.body!)) {
        whole = take(event, data, onText);
      }
      assert(whole);
    },
    refused,
    broken,
  },
  {
    name: "fetch-event-source",
    ask: async (url, query, onText, signal) => {
      let whole = false;
      await fetchEventSource(`${url}/streaming`, {
        ...post(query),
        signal,
        openWhenHidden: true,
        onopen: async (response) => {
          if (!response.ok) {
            throw new Failed(await response.json(), response.status);
          }
        },
        onmessage: ({ event, data }) => {
          whole = take(event, data, onText);
        },
        // Without it the package posts again, and again.
        onerror: (error) => {
          throw error;
        },
      });
      if (!signal.aborted) assert(whole);
    },
    refused,
    broken,
  },
];
