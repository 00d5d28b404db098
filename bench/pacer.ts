/**
 * The source of every paced stream: a token each millisecond, sent to the server by the load generator as a model's
 * would come, through a socket. The token is the time at which it was sent, so that only the load generator's clock counts.
 */
import { createServer, type Socket } from "node:net";

/** Characters of a token: `@` and the microseconds since the load generator's start, nine digits. */
export const STAMP_LENGTH = 10;

/** The time as a token. */
export function stamp(): string {
  return `@${String(Math.floor(performance.now() * 1000)).padStart(STAMP_LENGTH - 1, "0")}`;
}

/** Milliseconds since a stamp's time, given its digits as a number. */
export function lateness(microseconds: number): number {
  return performance.now() - microseconds / 1000;
}

/** Sends tokens to all who connect, until the process ends. Resolves when it listens. */
export function startPacer(port: number): Promise<void> {
  const servers = new Set<Socket>();
  let nextMs = performance.now();
  const turn = () => {
    for (const nowMs = performance.now(); nextMs <= nowMs; nextMs++) {
      const token = stamp();
      for (const server of servers) server.write(token, "latin1");
    }
    setTimeout(turn, Math.max(0, nextMs - performance.now()));
  };
  turn();
  return new Promise((resolve) => {
    createServer((socket) => {
      servers.add(socket.setNoDelay(true));
      socket.on("error", () => {}); // `close` follows
      socket.on("close", () => servers.delete(socket));
    }).listen(port, "127.0.0.1", resolve);
  });
}
