/**
 * Two applications for the browser tests, which `bun` and `deno serve` both serve: one with two models,
 * of which one thinks and says nothing, and under `/own` one that reads an input of its own.
 */
import { createHandler, type Handler, type Item } from "../../mod.ts";
import type { StandardSchema } from "../../lib/handler.ts";
import type { SourceContext } from "../../lib/sources.ts";

const model = (name: string) =>
  async function* ({ input, signal }: SourceContext<{ query: string }>): AsyncGenerator<Item> {
    const { query } = input;
    if (query === "nothing") return;
    if (query === "think") {
      yield { event: "reasoning", data: { text: "It is asked to think. " } };
      yield { event: "reasoning", data: { text: "So it thinks, and says how." } };
      await new Promise((resolve) => signal.onabort = resolve);
    }
    yield `${name}: ${query}`;
    if (query === "fail") throw new Error("not for the client");
  };

const several = createHandler({
  models: { small: model("small"), large: model("large") },
  info: { title: "Answers", version: "2.1", description: "What `small` and `large` say." },
});

const input: StandardSchema<unknown, { question: string }> = {
  "~standard": {
    version: 1,
    vendor: "test",
    jsonSchema: {
      input: () => ({
        type: "object",
        properties: { question: { type: "string" } },
        required: ["question"],
      }),
    },
    validate(value) {
      const { question } = value as { question?: unknown };
      if (typeof question === "string") return { value: { question } };
      return { issues: [{ message: "no text", path: ["question"] }] };
    },
  },
};
const own = createHandler({
  basePath: "/own",
  input,
  source: ({ input }) => String(input.question).toUpperCase(),
});

interface Server {
  fetch: Handler["fetch"];
  port: number;
  hostname: string;
}

const server: Server = {
  fetch: (request, info) =>
    (new URL(request.url).pathname.startsWith("/own") ? own : several).fetch(request, info),
  port: 0,
  hostname: "127.0.0.1",
};
export default server;
