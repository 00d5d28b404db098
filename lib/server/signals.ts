/**
 * The signals that end the server, and how it ends. Separate from the program because one stop is often several signals:
 * npm and `bun run` pass on those that their process group has had already, as systemd sends them.
 */
import process from "node:process";
import type { Handler } from "../handler.ts";

/** A further SIGTERM within so many ms is the same stop. */
const SAME_STOP_MS = 2000;

/**
 * Calls `terminate` with the first SIGTERM, and `interrupt` with SIGINT and with a SIGTERM that comes 2 s
 * later or more: somebody does not want to wait. `parentEnded` is the first SIGTERM of a server whose parent
 * takes signals for itself.
 */
export function onSignals(
  terminate: () => void,
  interrupt: () => void,
): { parentEnded: () => void } {
  let firstMs: number | undefined;
  const first = () => {
    if (firstMs !== undefined) return false;
    firstMs = performance.now();
    terminate();
    return true;
  };
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", () => {
    if (!first() && performance.now() - firstMs! >= SAME_STOP_MS) interrupt();
  });
  return { parentEnded: () => void first() };
}

/** Calls `then` when the process that started this one has ended. */
export function onOrphaned(then: () => void): void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    then();
  }, 100);
  timer.unref();
}

/** What serves in this process. */
export interface Program {
  readonly handler: Handler;
  /** Closes the log, so that other processes and the next start find everything in order. */
  readonly close: () => unknown;
}

/** How long connections and the log have to close after the last stream, in ms. */
const EXIT_MS = 500;

/** How a process ends. */
export interface Ending {
  readonly timeoutMs: number;
  readonly delayMs: number;
  /** Closes the listener; `deno serve` does so by itself. */
  readonly stop: () => unknown;
  /** Called when nothing is left to do. */
  readonly exit: () => void;
}

/** Takes no new streams after `delayMs`, and leaves the open ones `timeoutMs` to end. */
export async function shutDown(
  { handler, close }: Program,
  { timeoutMs, delayMs, stop, exit }: Ending,
): Promise<void> {
  await handler.drain({ timeoutMs, delayMs });
  setTimeout(() => {
    exit();
    process.exit(0);
  }, EXIT_MS);
  // The last bytes written have yet to be sent.
  await Promise.race([stop(), new Promise((resolve) => setTimeout(resolve, EXIT_MS / 2))]);
  await close();
  exit();
}
