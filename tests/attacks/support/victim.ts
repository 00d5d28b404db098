/** Starts the server under attack on a runtime, and asks it how it is. */
import { type Child, DENO_RUN, startChild, total } from "../../support/child.ts";
import { until } from "../../support/serve.ts";
import type { ActiveCounts } from "../../../lib/counters.ts";
import type { HandlerLimits } from "../../../lib/handler.ts";

/** A runtime whose server is attacked. */
export type Runtime = "bun" | "deno" | "node";

/** Settings of `tests/attacks/server.ts`. */
export interface AttackSettings {
  keepMs?: number;
  stallMs?: number;
  bodyTimeoutMs?: number;
  continueForMs?: number;
  /** Whether bodies are read by a bare reader that keeps their bytes, and by no handler: a control. */
  bare?: boolean;
  /** Whether streams are recorded. */
  log?: boolean;
  /** Whether a key is asked for. */
  keys?: boolean;
  limits?: HandlerLimits;
}

/** What that server says of itself. */
export interface State {
  active: ActiveCounts;
  /** Requests that came to the handler, and sources that it started. */
  handled: number;
  started: number;
  /** What `fetch` has thrown, which it may not. */
  thrown: string[];
  /** What `onError` was told. */
  errors: string[];
  closes: Record<string, number>;
  rssBytes: number;
  descriptors: number;
}

/** A server under attack. */
export interface Victim {
  readonly runtime: Runtime;
  readonly port: number;
  readonly child: Child;
  /** Does something in the process, as `block/500` or `collect`, and returns its state. */
  ask(what?: string): Promise<State>;
  /** Fails unless nothing is open within a second, nothing was thrown, and nothing printed. */
  settled(): Promise<State>;
}

const STALLED_ON_DENO = /^StreamError: The client stopped reading\n(?: .*\n)*\}\n/gm;
const SCRIPT = "tests/attacks/server.ts";

function commandOf(runtime: Runtime): string[] {
  if (runtime === "deno") return [...DENO_RUN, "--v8-flags=--expose-gc", SCRIPT];
  return runtime === "node" ? ["--expose-gc", SCRIPT] : [SCRIPT];
}

/** Starts the server; `descriptors` bounds how many it may open. */
export async function startVictim(
  runtime: Runtime,
  settings: AttackSettings = {},
  descriptors?: number,
): Promise<Victim> {
  const environment = { ATTACK: JSON.stringify(settings) };
  const args = commandOf(runtime);
  const child = descriptors === undefined
    ? startChild(runtime, args, environment)
    : startChild("sh", [
      "-c",
      `ulimit -n ${descriptors}; exec node_modules/.bin/${runtime} ${args.join(" ")}`,
    ], environment);
  const line = /^port (\d+)$/m;
  await until(
    () => line.test(child.output) || child.exit !== undefined,
    20_000,
    `a server: ${child.errors}`,
  );
  const port = Number(line.exec(child.output)?.[1]);
  if (!port) throw new Error(`${runtime} did not listen: ${child.errors}`);
  const ask = async (what = "report"): Promise<State> => {
    const headers = { "x-control": `/${what}`, connection: "close" };
    const response = await fetch(`http://127.0.0.1:${port}/`, { headers });
    return await response.json() as State;
  };
  async function settled(): Promise<State> {
    const deadline = performance.now() + 1000;
    let state = await ask();
    while (total(state.active) > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      state = await ask();
    }
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
  return { runtime, port, child, ask, settled };
}
