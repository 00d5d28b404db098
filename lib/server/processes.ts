/**
 * Workers as processes of Bun and Node, and their channel. Separate from what workers are told, so that
 * this is the only file that knows how each runtime starts one. Node's `cluster` gives its workers one
 * listener, from which each takes connections; Bun's workers share the port. The system chooses among them.
 */
import process from "node:process";
import { runtimeName } from "./listen.ts";
import type { FromWorker, ToWorker } from "./messages.ts";

/** A worker, for the process that has started it. */
export interface WorkerProcess {
  send(message: ToWorker): void;
  /** Ends it at once. */
  kill(): void;
}

/** What is told of a worker. */
export interface WorkerEvents {
  message(message: FromWorker): void;
  /**
   * It has ended; called once, and not before it is returned.
   *
   * @param fault What ended it from outside: a signal, or that it could not be started. Without a fault it
   * has ended by itself, and has said why.
   */
  ended(fault?: string): void;
}

/** Starts a worker: the program of this process, with its arguments. */
export type StartWorker = (events: WorkerEvents) => WorkerProcess;

/** The parent of a worker, for the worker. */
export interface Parent {
  send(message: FromWorker): void;
  /** To be called once. `gone` is called when the parent has ended. */
  listen(events: { message(message: ToWorker): void; gone(): void }): void;
}

/** What is used of a child process. One that could not be started has no `pid`, and may have no channel. */
interface Forked {
  readonly pid?: number;
  send?(message: ToWorker, done: (error: Error | null) => void): unknown;
  kill(signal: "SIGKILL"): unknown;
  on(event: "message", listener: (message: unknown) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  once(event: "exit", listener: (code: number | null, signal: string | null) => void): unknown;
}

/** What starts workers, with `environment` as their variables. */
export async function workerStarter(environment: NodeJS.ProcessEnv): Promise<StartWorker> {
  const start = await forkerOf(environment);
  return (events) => {
    try {
      return started(start(), events);
    } catch (error) {
      // Where memory is short, and the like.
      setTimeout(() => events.ended((error as Error).message), 0);
      return { send() {}, kill() {} };
    }
  };
}

function started(child: Forked, events: WorkerEvents): WorkerProcess {
  child.on("message", (message) => events.message(message as FromWorker));
  child.on("error", ({ message }) => {
    // Of one that runs, it could not be reached. Only that one has an exit.
    if (child.pid === undefined) events.ended(message);
  });
  child.once("exit", (_, signal) => events.ended(signal ?? undefined));
  return {
    send: (message) => void child.send?.(message, () => {}), // one that has ended needs nothing
    kill: () => void child.kill("SIGKILL"),
  };
}

async function forkerOf(environment: NodeJS.ProcessEnv): Promise<() => Forked> {
  if (runtimeName === "node") {
    const { default: cluster } = await import("node:cluster");
    // By turns, a connection that is handed to a worker in the moment of its end is lost, and its client
    // waits for ever.
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    return () => {
      const worker = cluster.fork(environment);
      worker.on("error", () => {}); // its process says the same
      return worker.process as Forked;
    };
  }
  const { fork } = await import("node:child_process");
  const [, script, ...args] = process.argv;
  return () => fork(script!, args, { env: environment }) as Forked;
}

/** The parent of this process, if that has started it as a worker. */
export async function parentOfWorker(): Promise<Parent | undefined> {
  if (process.send === undefined) return undefined;
  if (runtimeName === "node") {
    const { default: cluster } = await import("node:cluster");
    // Without this Node ends a worker with its parent, and the streams with it.
    if (cluster.worker) cluster.worker.exitedAfterDisconnect = true;
  }
  return {
    send: (message) => {
      if (process.connected) process.send!(message, undefined, undefined, () => {});
    },
    listen: ({ message, gone }) => {
      process.on("message", (received) => {
        const { type } = received as { readonly type?: unknown };
        if (typeof type === "string") message(received as ToWorker);
      });
      process.once("disconnect", gone);
    },
  };
}
