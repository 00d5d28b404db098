/**
 * A server without a log, under a path, whose pages must do without ever resuming; and with a schema
 * that nothing of what the chat page sends would fit. For the browser tests; `bun` and `deno serve` both serve it.
 */
import { createHandler, type Handler } from "../../mod.ts";
import { type StandardSchema } from "../../lib/handler.ts";

/** What a page must show, and not be. */
const MARKUP = `<img src=x onerror="alert(8)"><a href="javascript:alert(9)">`;

const input: StandardSchema<unknown, { question: string }> = {
  "~standard": {
    version: 1,
    vendor: "test",
    jsonSchema: {
      input: () => ({
        type: "object",
        description: MARKUP,
        properties: { question: { type: "string", description: MARKUP }, [MARKUP]: true },
        required: ["question"],
      }),
    },
    validate(value) {
      const { question, ...further } = value as { question?: unknown };
      const issues = Object.keys(further).map((name) => ({
        message: "unknown",
        path: [name],
      }));
      if (typeof question !== "string") {
        issues.push({ message: "no text", path: ["query"] });
      }
      return issues.length > 0 ? { issues } : { value: { question: question as string } };
    },
  },
};

const handler = createHandler({
  basePath: "/llm/v2",
  log: false,
  info: { title: MARKUP, description: `It's "${MARKUP}" and \`${MARKUP}\`.` },
  input,
  inputFrom: ({ query }) => ({ question: query }),
  source: async function* ({ input, signal }) {
    yield { event: "reasoning", data: { text: "They ask: " } };
    yield { event: "reasoning", data: { text: input.question } };
    if (input.question === "forbidden") {
      yield { event: "refusal", data: { text: "I cannot " } };
      yield { event: "refusal", data: { text: "help." } };
      return { finishReason: "content_filter" };
    }
    yield input.question;
    if (input.question === "for ever") await new Promise((resolve) => signal.onabort = resolve);
    return { finishReason: input.question === "long" ? "length" : "stop" };
  },
});

interface Server {
  fetch: Handler["fetch"];
  port: number;
  hostname: string;
}

const server: Server = { fetch: handler.fetch, port: 0, hostname: "127.0.0.1" };
export default server;
