/**
 * What the compiler must say of `createHandler`'s types: checked by `tsc` and never run. Each expected
 * error is one that a user would want to be told.
 */
import { createHandler, echo, openai, type Source } from "../mod.ts";
import { type OutputOf, type QueryInput, type StandardSchema } from "../lib/handler.ts";

declare const ask: StandardSchema<{ question: string }, { question: string; tries: number }>;

/** Both are one type, not only assignable. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;
const output: Same<OutputOf<typeof ask>, { question: string; tries: number }> = true;
void output;

createHandler({ source: ({ input }) => input.query });
createHandler({
  source: async function* ({ input }) {
    yield* input.query;
  },
});
createHandler({ source: echo() });
createHandler({ source: openai({ baseURL: "http://localhost", model: "m" }) });
createHandler({ source: "text" });

createHandler({ input: ask, source: ({ input }) => input.question.repeat(input.tries) });
createHandler({
  input: ask,
  source: async function* ({ input }) {
    for (let i = 0; i < input.tries; i++) yield input.question;
  },
});
createHandler({
  input: ask,
  source: async ({ input, queue }) => {
    await queue.send(input.question);
  },
});
createHandler({ input: ask, source: ["a", "b"] });

// @ts-expect-error the default input has no question
createHandler({ source: ({ input }) => input.question });

// @ts-expect-error this schema has no query
createHandler({ input: ask, source: ({ input }) => input.query });

// @ts-expect-error what the schema makes is a number
createHandler({ input: ask, source: ({ input }) => input.tries.toUpperCase() });

// @ts-expect-error the echo wants a query
createHandler({ input: ask, source: echo() });

declare const wantsMore: Source<{ query: string; temperature: number }>;
// @ts-expect-error nobody has checked that there is a temperature
createHandler({ source: wantsMore });

// @ts-expect-error not a schema
createHandler({ input: { parse: () => {} }, source: "text" });

declare const wide: Source<QueryInput>;
createHandler({ source: wide });
