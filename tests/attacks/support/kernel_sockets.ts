/**
 * What the kernel knows of a server's connections, whatever its runtime says: when it took the last byte
 * of each, and when the server has closed it. Read from `/proc`, so on Linux alone.
 */
import { readFileSync } from "node:fs";
import type { RunTime } from "./run_time.ts";

interface Connection {
  /** The bytes that wait in the kernel, on both sides together. */
  bytes: number;
  lastByteMs: number;
  isOver: boolean;
  closedMs: number | undefined;
}

const ESTABLISHED = "01";

/** Connections of this process to one server on the loopback, looked at again and again. */
export class KernelSockets {
  readonly #server: string;
  readonly #time: RunTime;
  readonly #connections = new Map<number, Connection>();

  constructor(serverPort: number, time: RunTime) {
    this.#time = time;
    this.#server = hex(serverPort);
  }

  /** Adds the connection from a port of this process. */
  add(clientPort: number): void {
    const now = this.#time.now();
    this.#connections.set(clientPort, {
      bytes: 0,
      lastByteMs: now,
      isOver: false,
      closedMs: undefined,
    });
  }

  /** What a connection is sent from now on, its stream has ended with. */
  end(clientPort: number): void {
    this.#connections.get(clientPort)!.isOver = true;
  }

  /** Looks at all of them. */
  look(): void {
    const nowMs = this.#time.now();
    const bytes = new Map<number, number>();
    const open = new Set<number>();
    for (const line of readFileSync("/proc/net/tcp", "latin1").split("\n")) {
      // "  12: 0100007F:1F90 0100007F:C350 01 00000000:00000000 …": from, to, state, sent, received
      const [, from = "", to = "", state, queues = ""] = line.trim().split(" ");
      const isServer = from.endsWith(this.#server);
      if (!isServer && !to.endsWith(this.#server)) continue;
      const client = parseInt((isServer ? to : from).slice(9), 16);
      if (isServer && state === ESTABLISHED) open.add(client);
      const waiting = parseInt(queues.slice(isServer ? 0 : 9, isServer ? 8 : 17), 16);
      bytes.set(client, (bytes.get(client) ?? 0) + waiting);
    }
    for (const [client, connection] of this.#connections) {
      if (!open.has(client)) connection.closedMs ??= nowMs;
      const found = bytes.get(client) ?? 0;
      // The two sides are not looked at in one moment, so a lower sum is a movement too.
      if (connection.isOver || found === connection.bytes) continue;
      connection.bytes = found;
      connection.lastByteMs = nowMs;
    }
  }

  /** When the kernel took the last byte of a connection, before its stream ended. */
  lastByteMs(clientPort: number): number {
    return this.#connections.get(clientPort)!.lastByteMs;
  }

  /** When the server's side of a connection was closed; `undefined` while it is open. */
  closedMs(clientPort: number): number | undefined {
    return this.#connections.get(clientPort)!.closedMs;
  }
}

function hex(port: number): string {
  return `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
}
