/** A Redis server for a test, in its own process: started, killed, restarted, flushed and slowed down. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { bunRedis, type BunRedisClient, type RedisConnection } from "../../lib/redis.ts";
import { freePort, listen } from "./free_port.ts";
import { runtimeName, until } from "./serve.ts";

/** Why tests that need a Redis are not run; on CI they are, and fail. */
export const noRedis: string | false =
  process.env.CI === "true" || spawnSync("redis-server", ["--version"]).status === 0
    ? false
    : "redis-server is not installed";

/** Those that run: none outlives the tests, however these end. */
const running = new Set<number>();
process.on("exit", () => {
  for (const pid of running) process.kill(pid, "SIGKILL");
});

/** One Redis. */
export class RedisServer {
  readonly port: number;
  /** Where it keeps its data; in memory alone where there is none. */
  readonly #folder: string | undefined;
  readonly #args: readonly string[];
  #stop: (() => Promise<void>) | undefined;

  private constructor(port: number, folder: string | undefined, args: readonly string[]) {
    this.port = port;
    this.#folder = folder;
    this.#args = args;
  }

  /** @param persistent Whether what it has survives a restart. */
  static async create(persistent = false, args: readonly string[] = []): Promise<RedisServer> {
    const folder = persistent ? await mkdtemp(join(tmpdir(), "spillway-redis-")) : undefined;
    return new RedisServer(await freePort(), folder, args);
  }

  static async start(persistent = false, args: readonly string[] = []): Promise<RedisServer> {
    const server = await RedisServer.create(persistent, args);
    await server.start();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** What a replica is sent at first is a file. */
  get #dump(): string {
    return `spillway-${this.port}.rdb`;
  }

  async start(): Promise<void> {
    const persistence = this.#folder === undefined
      ? ["--appendonly", "no", "--dir", tmpdir(), "--dbfilename", this.#dump]
      : ["--appendonly", "yes", "--appendfsync", "always", "--dir", this.#folder];
    const args = ["--port", String(this.port), "--bind", "127.0.0.1", "--save", "", ...persistence];
    args.push(...this.#args);
    const child = spawn("redis-server", args, { stdio: ["ignore", "ignore", "inherit"] });
    let ended = false;
    const { pid } = child;
    const end = () => {
      ended = true;
      running.delete(pid!);
    };
    child.on("error", end);
    child.on("close", end);
    if (pid !== undefined) running.add(pid);
    this.#stop = async () => {
      if (!ended) process.kill(pid!, "SIGKILL");
      await until(() => ended, 30_000, "Redis ended");
    };
    // The tests go on when it answers, which it does not while it reads its data.
    const deadline = performance.now() + 30_000;
    while (await this.command("PING").catch(() => "") !== "+PONG") {
      if (ended || performance.now() > deadline) throw new Error("redis-server does not start");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Kills it, as a crash would. */
  async kill(): Promise<void> {
    await this.#stop?.();
    this.#stop = undefined;
  }

  async remove(): Promise<void> {
    await this.kill();
    await rm(join(tmpdir(), this.#dump), { force: true });
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true });
  }

  /** Sends a command by hand and answers the first line of the reply, or the text of a bulk one. */
  command(...words: string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.port, "127.0.0.1");
      let reply = "";
      socket.setEncoding("utf8");
      socket.on("error", reject);
      socket.on("data", (data) => {
        reply += data;
        const end = reply.indexOf("\r\n");
        if (end < 0) return;
        const length = reply.startsWith("$") ? Number(reply.slice(1, end)) : 0;
        if (length > 0 && reply.length < end + 2 + length) return;
        socket.destroy();
        resolve(length > 0 ? reply.slice(end + 2, end + 2 + length) : reply.slice(0, end));
      });
      const parts = words.map((word) => `$${new TextEncoder().encode(word).length}\r\n${word}\r\n`);
      socket.write(`*${words.length}\r\n${parts.join("")}`);
    });
  }

  /** Waits until so many processes hear what is said to them. */
  async listeners(prefix: string, count: number): Promise<void> {
    const isReady = async () =>
      await this.command("PUBSUB", "CHANNELS", `${prefix}inbox:*`) === `*${count}`;
    const deadline = performance.now() + 30_000;
    while (!await isReady()) {
      if (performance.now() > deadline) throw new Error(`Not within 30 s: ${count} listeners`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** How often each command was called so far. */
  async calls(): Promise<Record<string, number>> {
    const text = await this.command("INFO", "commandstats");
    const matches = text.matchAll(/^cmdstat_(\S+):calls=(\d+)/gm);
    return Object.fromEntries([...matches].map(([, name, calls]) => [name, Number(calls)]));
  }

  /** Connections of others, by the name of what they do: `subscriber` or `commands`. */
  async clients(): Promise<{ commands: number; subscriber: number }> {
    const lines = (await this.command("CLIENT", "LIST")).trim().split("\n");
    const others = lines.filter((line) => !/ cmd=client\|list /.test(line));
    const subscriber = others.filter((line) => / sub=[1-9]/.test(line)).length;
    return { commands: others.length - subscriber, subscriber };
  }
}

/** A way to a Redis that takes its time, or is cut. */
export class SlowWay {
  readonly port: number;
  /** Where new connections lead; those that are open stay where they are. */
  to: number;
  /** What each piece waits for, in each direction. */
  delayMs: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(
    port: number,
    to: number,
    delayMs: number,
    server: Server,
    sockets: Set<Socket>,
  ) {
    this.port = port;
    this.to = to;
    this.delayMs = delayMs;
    this.#server = server;
    this.#sockets = sockets;
  }

  static async open(to: number, delayMs: number): Promise<SlowWay> {
    const sockets = new Set<Socket>();
    const pass = (from: Socket, into: Socket) => {
      sockets.add(from);
      // Also where the way has become shorter, nothing overtakes.
      let dueMs = 0;
      from.on("data", (data) => {
        const nowMs = performance.now();
        dueMs = Math.max(dueMs, nowMs + way.delayMs);
        setTimeout(() => into.destroyed || into.write(data), dueMs - nowMs);
      });
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        into.destroy();
      });
    };
    const server = createServer((near) => {
      const far = connect(way.to, "127.0.0.1");
      pass(near, far);
      pass(far, near);
    });
    const way = new SlowWay(await listen(server), to, delayMs, server, sockets);
    return way;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** A connection, and how to be rid of it. */
export interface Connected {
  readonly connection: RedisConnection;
  close(): unknown;
}

interface Runtime {
  Bun?: { RedisClient: new (url: string) => BunRedisClient };
}
const { Bun } = globalThis as Runtime;

/** Makes a client of a Redis. */
export type Connect = (url: string) => Connected;
const { packages, clusters } = await import("../interop/redis_packages.ts") as {
  packages: Record<"redis" | "ioredis", Connect>;
  clusters: Record<"redis" | "ioredis", Connect>;
};
/** The clients for clusters, which every runtime has. */
export const clusterClients: Readonly<Record<string, Connect>> = clusters;

/** Every client that this runtime has. */
export const clients: Readonly<Record<string, Connect>> = {
  ...Bun && {
    "Bun's own": (url: string) => {
      const client = new Bun.RedisClient(url);
      return { connection: bunRedis(client), close: () => client.close() };
    },
  },
  ...packages,
};

/** What a user of this runtime would take. */
export const connectClient: Connect = clients[runtimeName === "bun" ? "Bun's own" : "redis"]!;
