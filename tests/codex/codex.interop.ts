/**
 * Codex against `POST /v1/responses`: it speaks no other API. Separate from the other packages because of
 * its size; `npm run test:codex` installs and runs it.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import test, { after, before } from "node:test";
import { createHandler, type Item, type SourceContext, StreamError } from "../../mod.ts";
import type { ChatInput } from "../../lib/handler.ts";
import { root } from "../support/child.ts";
import { newFolder } from "../support/replay_file.ts";
import { serve, type Served } from "../support/serve.ts";

const CODEX = `${root}tests/codex/node_modules/.bin/codex`;
const TEXT = "Hello 世界 👩‍👧\r\n\n[DONE]";
const timeout = 60_000;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const asked: ChatInput[] = [];

async function* scene({ input }: SourceContext<ChatInput>): AsyncGenerator<Item, object> {
  asked.push(input);
  const last = input.messages!.at(-1)!;
  if (last.role === "tool") {
    yield `It says ${String(last.content).includes("from-the-tool")}.`;
    return {};
  }
  yield { event: "reasoning", data: { text: "The user wants something." } };
  yield { event: "reasoning", data: { text: "", signature: "signed" } };
  if (input.query === "silence") await sleep(5000);
  if (input.query === "failure") throw new StreamError("quota", { title: "Pay first" });
  if (input.query === "tool") {
    const json = JSON.stringify({ cmd: "echo from-the-tool" });
    const call = { index: 0, id: "call_1", name: "exec_command", arguments: json };
    yield "Let me look.";
    yield { event: "tool_call", data: call };
    return { finishReason: "tool_calls" };
  }
  for (const token of TEXT) yield token;
  return { usage: { input_tokens: 3, output_tokens: 5 } };
}

let server: Served;
let home: string;
before(() => {
  const handler = createHandler({ source: scene, heartbeatMs: 500, onError: () => {} });
  server = serve(handler.fetch);
  home = newFolder();
  const provider = [
    `name = "spillway"`,
    `base_url = "${server.url}/v1"`,
    `wire_api = "responses"`,
    `env_key = "SPILLWAY_KEY"`,
    "stream_idle_timeout_ms = 2000",
    "request_max_retries = 0",
    "stream_max_retries = 1",
  ];
  const settings = [`model = "m"`, `model_provider = "spillway"`, "[model_providers.spillway]"];
  writeFileSync(join(home, "config.toml"), [...settings, ...provider, ""].join("\n"));
});
after(() => server.close());

/** An item of a turn, as Codex prints it. */
interface Told {
  type: string;
  text?: string;
  aggregated_output?: string;
}

/** What Codex makes of a request. */
async function run(prompt: string) {
  asked.length = 0;
  const args = ["exec", "--json", "--skip-git-repo-check", "--sandbox", "read-only", prompt];
  const env = { ...process.env, CODEX_HOME: home, HOME: home, SPILLWAY_KEY: "none" };
  const child = spawn(CODEX, args, { cwd: home, env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (data) => output += data);
  child.stderr.resume();
  const code = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  const lines = output.split("\n").filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
  const items: Told[] = lines.filter(({ type }) => type === "item.completed")
    .map(({ item }) => item).filter(({ type }) => type !== "error");
  return { code, items, last: lines.at(-1), requests: asked.length };
}

test("Codex reads reasoning, text and usage, exactly", { timeout }, async () => {
  const { code, items, last, requests } = await run("text");
  assert.deepEqual(items.map(({ type, text }) => [type, text]), [
    ["reasoning", "The user wants something."],
    ["agent_message", TEXT],
  ]);
  assert.deepEqual([code, last.type, requests], [0, "turn.completed", 1]);
  assert.deepEqual([last.usage.input_tokens, last.usage.output_tokens], [3, 5]);
});

test(
  "Codex runs a tool, and brings back its result and the signed thought",
  { timeout },
  async () => {
    const { code, items, requests } = await run("tool");
    assert.deepEqual(items.map(({ type }) => type), [
      "reasoning",
      "agent_message",
      "command_execution",
      "agent_message",
    ]);
    assert.equal(items[2]!.aggregated_output, "from-the-tool\n");
    assert.deepEqual([items[3]!.text, code, requests], ["It says true.", 0, 2]);
    const { input } = asked[1]!.body as { input: { type: string; encrypted_content?: string }[] };
    const thought = input.find(({ type }) => type === "reasoning");
    assert.equal(thought?.encrypted_content, "signed");
  },
);

test(
  "Codex waits through a silence that is longer than its limit, and asks once",
  { timeout },
  async () => {
    const { code, items, requests } = await run("silence");
    assert.deepEqual([items.at(-1)!.text, code, requests], [TEXT, 0, 1]);
  },
);

test("Codex fails with the words of a failure, after its retry", { timeout }, async () => {
  const { code, last, requests } = await run("failure");
  assert.deepEqual([code, last.type, requests], [1, "turn.failed", 2]);
  assert.match(last.error.message, /Pay first/);
});
