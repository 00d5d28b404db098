/**
 * The signals that end the server. Separate from the program because one stop is often several signals:
 * npm and `bun run` pass on those that their process group has had already, as systemd sends them.
 */
import process from "node:process";

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
