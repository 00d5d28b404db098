/**
 * `npm start`: the server entry on the Bun that npm has installed. npm starts it through a shell, which
 * is another one on Windows, and which takes the signals that npm sends for itself: so this script notices
 * when the shell is gone.
 */
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const { resolve } = createRequire(import.meta.url);
const bun = join(dirname(resolve("bun/package.json")), "bin", "bun.exe"); // so called everywhere
const server = fileURLToPath(new URL("../lib/server.ts", import.meta.url));
const child = spawn(bun, [server, ...process.argv.slice(2)], { stdio: "inherit" });

let isTold = false;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    isTold = true;
    child.kill(signal);
  });
}
if (process.env.npm_lifecycle_event !== undefined) {
  const shell = process.ppid;
  const look = setInterval(() => {
    if (process.ppid === shell) return;
    clearInterval(look);
    // A further signal, some seconds later, would be a hurry.
    if (!isTold) child.kill("SIGTERM");
  }, 100);
}
child.on("error", (error) => {
  console.error(`spillway: cannot start Bun: ${error.message}`);
  process.exit(1);
});
child.on("exit", (code, signal) => {
  if (signal === null) process.exit(code);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
});
