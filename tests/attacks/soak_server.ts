/**
 * The server of the soak: a handler that relays an upstream which breaks as its query's first word says.
 * `ATTACK` in its environment has the upstream's URL as JSON.
 */
import process from "node:process";
import { createHandler } from "../../lib/full_handler.ts";
import type { SourceContext } from "../../lib/pipeline/pump.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import { listen } from "../../lib/server/listen.ts";
import { openai } from "../../lib/sources/openai.ts";
import { controlled, emptyState } from "./support/control.ts";
import type { AttackSettings } from "./support/victim.ts";

const { upstream } = JSON.parse(process.env["ATTACK"] ?? "{}") as AttackSettings;

function relay(context: SourceContext<{ query: string }>) {
  const [model = "", ...words] = context.input.query.split(" ");
  return openai({
    baseURL: upstream!,
    model: `mock:${model}`,
    apiKey: "key",
    messages: () => [{ role: "user", content: words.join(" ") }],
    headTimeoutMs: 4000,
    firstTokenTimeoutMs: 4000,
    tokenTimeoutMs: 4000,
  })(context as never);
}

const log = new MemoryLog({ keepMs: 20_000 });
const state = emptyState();
Object.defineProperty(state, "logBytes", { get: () => log.bytes, enumerable: true });
const handler = createHandler({
  source: relay,
  log,
  disconnect: { continueForMs: 20_000 },
  stallMs: 20_000,
  heartbeatMs: 500,
  onError: () => {}, // Its upstream breaks all the time.
});
const served = await listen(
  controlled(handler.fetch, state),
  { hostname: "127.0.0.1", port: 0 },
  (error) => state.thrown.push(String(error)),
);
console.log(`port ${served.port}`);
process.stdin.on("end", () => process.exit(1)).resume();
