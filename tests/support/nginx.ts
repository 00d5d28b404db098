/** nginx as `tests/stack/nginx.conf` has it, before one server or two. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Passage } from "./cutting_proxy.ts";
import { until } from "./serve.ts";

const conf = fileURLToPath(new URL("../stack/nginx.conf", import.meta.url));

/** Starts it before the server on `to`, and another one on `or`. */
export async function startNginx(to: number, or: number = to): Promise<Passage> {
  const port = await new Promise<number>((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
  const folder = await mkdtemp(join(tmpdir(), "spillway-nginx-"));
  const text = (await readFile(conf, "utf8")).replaceAll("BUN_PORT", `${to}`)
    .replaceAll("DENO_PORT", `${or}`)
    // What cuts a connection must hit no other request.
    .replace("keepalive 64;", "");
  await writeFile(join(folder, "nginx.conf"), text.replace(":PORT", `:${port}`));
  const child = spawn("nginx", ["-p", folder, "-c", join(folder, "nginx.conf")], {
    env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin` },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text) => errors += text);
  const ended = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", (error) => {
      errors += error.message;
      resolve();
    });
  });
  let isUp = false;
  const ask = async () => {
    while (!isUp && child.exitCode === null) {
      const response = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
      await response?.body?.cancel();
      isUp = response !== undefined;
    }
  };
  void ask();
  await until(() => isUp || child.exitCode !== null, 30_000, "nginx answers");
  if (!isUp) throw new Error(`nginx did not start: ${errors}`);
  return {
    port,
    close: async () => {
      child.kill("SIGTERM");
      await ended;
      await rm(folder, { recursive: true });
    },
  };
}
