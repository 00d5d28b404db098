/**
 * What the compiler must say of `createHandler`'s types: checked by `tsc` and never run. Each expected
 * error is one that a user would want to be told.
 */
import { createHandler, echo, type Handler, openai, type Source } from "spillway";
import {
  type ChatInput,
  type ChatRouteInput,
  type OutputOf,
  type QueryInput,
  type StandardSchema,
  type Stats,
} from "spillway/handler";
import type { ChatMessage } from "spillway/sources";
import { holds, type Same } from "./same.ts";

declare const ask: StandardSchema<{ question: string }, { question: string; tries: number }>;

holds<Same<OutputOf<typeof ask>, { question: string; tries: number }>>();

const handler = createHandler({ source: ({ input }) => input.query });
holds<Same<typeof handler, Handler>>();
holds<Same<ReturnType<typeof handler.fetch>, Promise<Response>>>();
holds<Same<ReturnType<typeof handler.stats>, Stats>>();
Bun.serve({ fetch: handler.fetch });

// Without a schema the input is that of the chat routes, and `api` tells them apart.
createHandler({
  source({ input }) {
    holds<Same<typeof input, ChatInput>>();
    holds<Same<typeof input.query, string>>();
    if (input.api === "anthropic") {
      holds<Same<typeof input.max_tokens, number>>();
      return String(input.body.system);
    }
    return input.api === "openai" ? String(input.body.n) : input.query;
  },
});
createHandler({
  source: async function* ({ input }) {
    yield* input.query;
  },
});
createHandler({ source: echo() });
createHandler({ source: openai({ baseURL: "http://localhost", model: "m" }) });
createHandler({ source: "text" });

const inputFrom = ({ query }: ChatRouteInput) => ({ question: query, tries: 1 });
createHandler({
  input: ask,
  inputFrom,
  source: ({ input }) => input.question.repeat(input.tries),
});
createHandler({
  // What comes first in the literal does not matter.
  source: ({ input }) => input.question.repeat(input.tries),
  inputFrom({ query, messages, body }) {
    holds<Same<typeof query, string>>();
    holds<Same<typeof messages, ChatMessage[]>>();
    return { question: String(body.theme ?? query), tries: messages.length };
  },
  input: ask,
});
createHandler({
  input: ask,
  inputFrom: async (chat) => {
    await Promise.resolve();
    return inputFrom(chat);
  },
  source: async function* ({ input }) {
    for (let i = 0; i < input.tries; i++) yield input.question;
  },
});
createHandler({
  input: ask,
  inputFrom,
  source: async ({ input, queue }) => {
    await queue.send(input.question);
  },
});
createHandler({ input: ask, source: ["a", "b"] });
createHandler({
  input: ask,
  inputFrom,
  models: { small: ({ input }) => input.question, large: "text" },
});
// Without `inputFrom` the chat routes give what their API sends.
createHandler({
  input: ask,
  source({ input }) {
    holds<Same<typeof input, { question: string; tries: number } | ChatRouteInput>>();
    return "api" in input ? input.query : input.question;
  },
});
createHandler({
  source: "text",
  countTokens(body, { input, owner, request }) {
    holds<Same<typeof owner, string | undefined>>();
    holds<Same<typeof input.messages, ChatMessage[]>>();
    return request.url.length + body.messages.length;
  },
  builtInTools: "drop",
});

// @ts-expect-error the chat routes have no question
createHandler({ input: ask, source: ({ input }) => input.question.repeat(2) });

// @ts-expect-error what inputFrom makes is not what the source takes
createHandler({ input: ask, inputFrom: ({ query }) => ({ query }), source: "text" });

// @ts-expect-error a count is a number
createHandler({ source: "text", countTokens: () => "many" });

// @ts-expect-error the default input has no question
createHandler({ source: ({ input }) => input.question });

// @ts-expect-error this schema has no query
createHandler({ input: ask, inputFrom, source: ({ input }) => input.query });

// @ts-expect-error what the schema makes is a number
createHandler({ input: ask, inputFrom, source: ({ input }) => input.tries.toUpperCase() });

// @ts-expect-error the echo wants a query
createHandler({ input: ask, source: echo() });

declare const wantsMore: Source<{ query: string; temperature: number }>;
// @ts-expect-error nobody has checked that there is a temperature
createHandler({ source: wantsMore });

// @ts-expect-error not a schema
createHandler({ input: { parse: () => {} }, source: "text" });

declare const wide: Source<QueryInput>;
createHandler({ source: wide });

// @ts-expect-error a function in place of the options
createHandler(() => "text");

// @ts-expect-error an option that is misspelt
createHandler({ source: "text", authorise: () => "me" });

// @ts-expect-error an owner is a text
createHandler({ source: "text", authorize: () => true });

// @ts-expect-error only a route of the AI SDK has a chat's id
createHandler({ source: ({ input }) => input.api === "openai" ? input.chatId : "text" });
