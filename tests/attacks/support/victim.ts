/** Starts the server under attack on a runtime, and asks it how it is. */
import { processorNs } from "../../../bench/measure.ts";
import { type Child, DENO_RUN, PATIENCE_MS, startChild, total } from "../../support/child.ts";
import { until } from "../../support/serve.ts";
import type { ActiveCounts } from "../../../lib/counters.ts";
import type { HandlerLimits } from "../../../lib/handler.ts";
import type { MemoryLogOptions } from "../../../lib/replay/memory.ts";
import { RunTime } from "./run_time.ts";

/** A runtime whose server is attacked. */
export type Runtime = "bun" | "deno" | "node";

/** Settings of the servers. */
export interface AttackSettings {
  keepMs?: number;
  stallMs?: number;
  bodyTimeoutMs?: number;
  continueForMs?: number;
  /** Whether a key is asked for. */
  keys?: boolean;
  limits?: HandlerLimits;
  /** Whether there is a log. @default {true} */
  log?: boolean;
  /** Its limits. */
  logLimits?: MemoryLogOptions;
  /** Where the ticks of `ticks` come from. */
  ticksPort?: number;
  /** The base URL of the model that the servers of the soak relay. */
  upstream?: string;
}

/** What a server says of itself. */
export interface State {
  pid: number;
  active: ActiveCounts;
  /** Requests that came to the handler, and sources that it started. */
  handled: number;
  started: number;
  /** What `fetch` has thrown, which it may not. */
  thrown: string[];
  /** What `onError` was told. */
  errors: string[];
  closes: Record<string, number>;
  /** The names of floods whose source was told to end. */
  dropped: number[];
  logBytes: number;
  rssBytes: number;
  /** Of the heap, with the buffers that its objects hold. */
  heapBytes: number;
  descriptors: number;
}

/**
 * The server under attack, a bare control of it, and the two of the soak: files of `tests/attacks/`.
 * The bare ones run on Bun and Deno.
 */
export type ServerName = "server" | "bare_server" | "soak_server" | "soak_bare_server";

/** How a server is started. */
export interface StartOptions {
  /** @default {"server"} */
  readonly server?: ServerName;
  /** How many descriptors it may open. */
  readonly descriptors?: number;
}

/** A server under attack. */
export interface Victim {
  readonly runtime: Runtime;
  readonly port: number;
  readonly child: Child;
  /** Does something in the process, as `block/500` or `collect`, and returns its state. */
  ask(what?: string): Promise<State>;
  /** Resolves when it has little to do, as when the kernel takes no more from any of its streams. */
  quiet(): Promise<void>;
  /** Fails unless nothing is open within 5 s, nothing was thrown, and nothing printed. */
  settled(): Promise<State>;
}

const STALLED_ON_DENO = /^StreamError: The client stopped reading\n(?: .*\n)*\}\n/gm;

function commandOf(runtime: Runtime, server: ServerName): string[] {
  const script = `tests/attacks/${server}.ts`;
  if (runtime === "deno") return [...DENO_RUN, "--v8-flags=--expose-gc", script];
  return runtime === "node" ? ["--expose-gc", script] : [script];
}

/** Starts a server. */
export async function startVictim(
  runtime: Runtime,
  settings: AttackSettings = {},
  { server = "server", descriptors }: StartOptions = {},
): Promise<Victim> {
  const environment = { ATTACK: JSON.stringify(settings) };
  const args = commandOf(runtime, server);
  const child = descriptors === undefined
    ? startChild(runtime, args, environment)
    : startChild("sh", [
      "-c",
      `ulimit -n ${descriptors}; exec node_modules/.bin/${runtime} ${args.join(" ")}`,
    ], environment);
  const line = /^port (\d+)$/m;
  await until(
    () => line.test(child.output) || child.exit !== undefined,
    PATIENCE_MS,
    `a server: ${child.errors}`,
  );
  const port = Number(line.exec(child.output)?.[1]);
  if (!port) throw new Error(`${runtime} did not listen: ${child.errors}`);
  const ask = async (what = "report"): Promise<State> => {
    const headers = { "x-control": `/${what}`, connection: "close" };
    const response = await fetch(`http://127.0.0.1:${port}/`, { headers });
    return await response.json() as State;
  };
  async function quiet(): Promise<void> {
    const { pid } = await ask();
    // A server that waits for a core looks quiet for a moment as well.
    for (let tries = 0, calm = 0; tries < 240; tries++) {
      const before = processorNs(pid);
      await new Promise((resolve) => setTimeout(resolve, 500));
      calm = processorNs(pid) - before < 50e6 ? calm + 1 : 0;
      if (calm === 4) return;
    }
    throw new Error("the server does not come to rest");
  }
  async function settled(): Promise<State> {
    const time = new RunTime();
    const deadline = time.now() + 5000;
    let state = await ask();
    while (total(state.active) > 0 && time.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      state = await ask();
    }
    time.stop();
    // Deno prints the error of a body that breaks off, whatever the program says.
    const printed = runtime === "deno"
      ? child.errors.replaceAll(STALLED_ON_DENO, "")
      : child.errors;
    const faults = [
      ...total(state.active) > 0 ? [`open: ${JSON.stringify(state.active)}`] : [],
      ...state.thrown.map((error) => `thrown: ${error}`),
      ...state.errors.map((error) => `onError: ${error}`),
      ...printed === "" ? [] : [`stderr: ${printed.slice(0, 2000)}`],
      ...child.exit === undefined ? [] : [`exit: ${child.exit}`],
    ];
    if (faults.length > 0) throw new Error(faults.slice(0, 10).join("\n"));
    return state;
  }
  return { runtime, port, child, ask, quiet, settled };
}
