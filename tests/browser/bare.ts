/**
 * A server without a log, under a path, whose pages must do without ever resuming; and with a schema
 * that knows nothing of a conversation. For the browser tests; `bun` and `deno serve` both serve it.
 */
import { createHandler, type Handler } from "../../mod.ts";
import { type StandardSchema } from "../../lib/handler.ts";

/** What a page must show, and not be. */
const MARKUP = `<img src=x onerror="alert(8)"><a href="javascript:alert(9)">`;

const input: StandardSchema<unknown, { query: string }> = {
  "~standard": {
    version: 1,
    vendor: "test",
    jsonSchema: {
      input: () => ({
        type: "object",
        description: MARKUP,
        properties: { query: { type: "string", description: MARKUP }, [MARKUP]: true },
        required: ["query"],
      }),
    },
    validate(value) {
      const { query, ...further } = value as { query?: unknown };
      const issues = Object.keys(further).map((name) => ({
        message: "unknown",
        path: [name],
      }));
      if (typeof query !== "string") {
        issues.push({ message: "no text", path: ["query"] });
      }
      return issues.length > 0 ? { issues } : { value: { query: query as string } };
    },
  },
};

const handler = createHandler({
  basePath: "/llm/v2",
  log: false,
  info: { title: MARKUP, description: `It's "${MARKUP}" and \`${MARKUP}\`.` },
  input,
  source: async function* ({ input, signal }) {
    yield { event: "reasoning", data: { text: "They ask: " } };
    yield { event: "reasoning", data: { text: input.query } };
    yield input.query;
    if (input.query === "for ever") await new Promise((resolve) => signal.onabort = resolve);
    return { finishReason: input.query === "long" ? "length" : "stop" };
  },
});

interface Server {
  fetch: Handler["fetch"];
  port: number;
  hostname: string;
}

const server: Server = { fetch: handler.fetch, port: 0, hostname: "127.0.0.1" };
export default server;
