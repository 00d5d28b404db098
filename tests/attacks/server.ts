/**
 * The server under attack, in a process of its own on each runtime: a handler as it is served, with
 * small limits, and a way to ask what is open. `ATTACK` in its environment has its settings as JSON.
 */
import process from "node:process";
import { createHandler } from "../../lib/full_handler.ts";
import { apiKeyAuth } from "../../lib/handler/api_keys.ts";
import { sse } from "../../lib/http/sse.ts";
import type { SourceContext } from "../../lib/pipeline/pump.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import { listen } from "../../lib/server/listen.ts";
import { controlled, emptyState } from "./support/control.ts";
import { tokensOf } from "./support/tokens.ts";
import type { AttackSettings } from "./support/victim.ts";

const settings: AttackSettings = JSON.parse(process.env["ATTACK"] ?? "{}");
const { keepMs = 500, stallMs = 60_000, bodyTimeoutMs = 400, keys = true, continueForMs = 0 } =
  settings;

const memoryLog = settings.log === false
  ? undefined
  : new MemoryLog({ keepMs, ...settings.logLimits });
const state = emptyState();
Object.defineProperty(state, "logBytes", { get: () => memoryLog?.bytes ?? 0, enumerable: true });

function tokens({ input, signal }: SourceContext<{ query: string }>) {
  state.started++;
  const [kind, id] = input.query.split(" ");
  // The name of a flood is told when its client is dropped.
  if (kind === "flood" && id !== undefined) {
    signal.addEventListener("abort", () => state.dropped.push(Number(id)));
  }
  return tokensOf(input.query, signal);
}

const handler = createHandler({
  source: tokens,
  log: memoryLog ?? false,
  allowedHosts: ["127.0.0.1"],
  cors: ["https://app.example"],
  ...keys ? { authorize: apiKeyAuth(["key-of-one", "key-of-two"]) } : {},
  disconnect: memoryLog === undefined ? "cancel" : { continueForMs },
  stallMs,
  limits: {
    maxBodyBytes: 64 * 1024,
    maxChatBodyBytes: 256 * 1024,
    maxStreams: 5000,
    maxStreamsPerOwner: 5000,
    bodyTimeoutMs,
    ...settings.limits,
  },
  onClose: ({ outcome, code }) => {
    const name = code === undefined ? outcome : `${outcome} ${code}`;
    state.closes[name] = (state.closes[name] ?? 0) + 1;
  },
  onError: (error) => void state.errors.push(String(error)),
});

/** A stream without a handler around it. */
function bareSse(request: Request, url: URL): Promise<Response> {
  const query = url.searchParams.get("query")!;
  return sse(request, ({ signal }) => tokensOf(query, signal), { stallMs });
}

const served = await listen(
  controlled((request, info) => {
    if (!request.url.includes("/sse?")) return handler.fetch(request, info);
    return bareSse(request, new URL(request.url));
  }, state),
  { hostname: "127.0.0.1", port: 0 },
  (error) => state.thrown.push(String(error)),
);
console.log(`port ${served.port}`);
// Whoever started this is gone, however they went.
process.stdin.on("end", () => process.exit(1)).resume();
