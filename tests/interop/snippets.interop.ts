/**
 * The reference page's snippets for the `openai` and `@anthropic-ai/sdk` packages, run with the real
 * ones. Those that need no package are run in `tests/handler/pages/src/docs/snippets_test.ts`.
 */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import test, { after, before, mock } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { snippetsOf } from "../../lib/handler/pages/src/docs/snippets.ts";
import { createHandler } from "../../mod.ts";
import { serve, type Served } from "../support/serve.ts";
import { assertNothingLeft } from "./server.ts";

const copies = fileURLToPath(new URL(".run/snippets/", import.meta.url));
const QUERY = `it's "quoted", 世界 $HOME \${x}`;

let server: Served;
before(() => {
  mkdirSync(copies, { recursive: true });
  const { fetch } = createHandler({ source: ({ input }) => [...input.query], basePath: "/llm" });
  server = serve(fetch);
});
after(async () => {
  rmSync(copies, { recursive: true });
  await server.close();
});

const messages = [{ role: "user", content: QUERY }];
const CASES: [client: string, path: string, body: Record<string, unknown>][] = [
  ["openai", "/v1/chat/completions", { model: "spillway", messages, stream: true }],
  ["openai", "/v1/chat/completions", { model: "spillway", messages }],
  ["openai", "/v1/responses", { model: "spillway", input: QUERY, stream: true }],
  ["openai", "/v1/responses", { model: "spillway", input: QUERY }],
  ["HttpAgent", "/ag-ui", {
    threadId: "t",
    runId: "r",
    messages: [{ id: "1", ...messages[0] }],
    forwardedProps: { temperature: 0.5 },
    stream: true,
  }],
  ["Anthropic", "/v1/messages", { model: "spillway", max_tokens: 99, messages, stream: true }],
];

for (const [i, [client, path, body]] of CASES.entries()) {
  test(`${client}: the snippet of ${path}${body.stream ? ", streamed," : ""} prints the answer`, async () => {
    const file = `${copies}${i}.ts`;
    const code = snippetsOf({
      method: "POST",
      path,
      url: `${server.url}/llm${path}`,
      root: `${server.url}/llm/`,
      headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
      body: JSON.stringify(body, undefined, 2),
      streams: body.stream === true,
    })[client]!;
    writeFileSync(file, code);
    const { mock: log } = mock.method(console, "log", () => {});
    try {
      await import(pathToFileURL(file).href);
      const printed = log.calls.map((call) => call.arguments[0]);
      assert.equal(printed.filter((text) => typeof text === "string").join(""), QUERY);
    } finally {
      log.restore();
    }
    await assertNothingLeft();
  });
}
