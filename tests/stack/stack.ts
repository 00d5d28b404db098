/**
 * The stack in a box: Redis, one process on Bun, one on Deno, nginx before them. `bun tests/stack/stack.ts`
 * starts it and says where; the tests start it and take its processes away under load.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { freePort } from "../support/free_port.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const here = fileURLToPath(new URL(".", import.meta.url));
const bin = join(root, "node_modules", ".bin");

export type Name = "redis" | "bun" | "deno" | "nginx";

/** A process of the stack. */
interface Part {
  child: ChildProcess;
  ended: Promise<void>;
}

/** What is running. */
export interface Stack {
  /** Where nginx listens. */
  readonly url: string;
  readonly ports: Readonly<Record<Name, number>>;
  /** What a process has said, all of its lives together. */
  output(name: Name): string;
  /** Sends a signal and answers when the process has ended. */
  end(name: Name, signal: "SIGTERM" | "SIGKILL" | "SIGINT"): Promise<void>;
  /** Starts a process that has ended. */
  start(name: Name): Promise<void>;
  stop(): Promise<void>;
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

/** Whether somebody listens on a port. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** Starts all four, with `environment` for the two servers. */
export async function startStack(environment: Record<string, string> = {}): Promise<Stack> {
  const folder = await mkdtemp(join(tmpdir(), "spillway-stack-"));
  const ports: Record<Name, number> = {
    redis: await freePort(),
    bun: await freePort(),
    deno: await freePort(),
    nginx: await freePort(),
  };
  const conf = (await readFile(join(here, "nginx.conf"), "utf8"))
    .replace("127.0.0.1:BUN_PORT", `127.0.0.1:${ports.bun}`)
    .replace("127.0.0.1:DENO_PORT", `127.0.0.1:${ports.deno}`)
    .replace("127.0.0.1:PORT", `127.0.0.1:${ports.nginx}`);
  await writeFile(join(folder, "nginx.conf"), conf);
  const server = { LOG: "json", REDIS_URL: `redis://127.0.0.1:${ports.redis}`, ...environment };
  const commands: Record<Name, [string, string[], Record<string, string>]> = {
    redis: ["redis-server", ["--port", String(ports.redis), "--dir", folder, "--save", ""], {}],
    bun: [join(bin, "bun"), ["lib/server.ts"], { ...server, PORT: String(ports.bun) }],
    deno: [
      join(bin, "deno"),
      ["serve", "-A", "--host", "127.0.0.1", "--port", String(ports.deno), "lib/server.ts"],
      server,
    ],
    nginx: ["nginx", ["-p", folder, "-c", join(folder, "nginx.conf")], {}],
  };
  const parts = new Map<Name, Part>();
  const said = new Map<Name, string>();

  async function start(name: Name): Promise<void> {
    const [command, args, env] = commands[name];
    const path = `${process.env["PATH"]}:/usr/sbin`;
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, NO_COLOR: "1", PATH: path, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const say = (text: string) => void said.set(name, (said.get(name) ?? "") + text);
    const ended = new Promise<void>((resolve) => {
      child.once("exit", () => resolve());
      child.once("error", (error) => {
        say(`${error.message}\n`);
        resolve();
      });
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", say);
    }
    const part: Part = { child, ended };
    parts.set(name, part);
    for (const until = Date.now() + 30_000; !await accepts(ports[name]);) {
      if (Date.now() > until || hasEnded(child)) {
        throw new Error(`${name} did not start: ${said.get(name)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  async function end(name: Name, signal: "SIGTERM" | "SIGKILL" | "SIGINT"): Promise<void> {
    const part = parts.get(name);
    if (part?.child.pid === undefined || hasEnded(part.child)) return;
    process.kill(part.child.pid, signal);
    await part.ended;
  }

  const stack: Stack = {
    url: `http://127.0.0.1:${ports.nginx}`,
    ports,
    output: (name) => said.get(name) ?? "",
    end,
    start,
    async stop() {
      // Killed, nginx would leave its workers behind.
      await end("nginx", "SIGTERM");
      await Promise.all((["bun", "deno", "redis"] as const).map((name) => end(name, "SIGKILL")));
      await rm(folder, { recursive: true, force: true });
    },
  };
  try {
    await start("redis");
    await Promise.all([start("bun"), start("deno")]);
    await start("nginx");
  } catch (error) {
    await stack.stop();
    throw error;
  }
  return stack;
}

if (import.meta.main) {
  const stack = await startStack();
  const { bun, deno, redis } = stack.ports;
  console.log(
    `nginx on ${stack.url}, before Bun on ${bun} and Deno on ${deno}; Redis on ${redis}. Try:

curl -N -X POST -H "Content-Type: application/json" -H "accept: text/event-stream" \\
     -d '{"query":"Streaming responseのテスト"}' ${stack.url}/streaming

kill -TERM one of the two (pgrep -af lib/server.ts) in mid-answer; Ctrl-C ends all.`,
  );
  process.on("SIGINT", () => stack.stop().then(() => process.exit(0)));
}
