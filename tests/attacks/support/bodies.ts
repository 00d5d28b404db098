/** Bodies in the smallest of pieces. */
import { Buffer } from "node:buffer";
import { residentBytes } from "../../../bench/measure.ts";
import { ask, open } from "./clients.ts";
import { sleep } from "./context.ts";
import type { Victim } from "./victim.ts";

/** The responses to bodies that trickle. */
export const BODY_STATUSES: readonly string[] = ["200", "408", "413", "503"];

/** The bytes of a request whose JSON body of `size` bytes comes in chunks of one byte. */
export function oneByteChunks(size: number): Buffer {
  const body = `{"query":"a"${" ".repeat(size - 13)}}`;
  const head = ask("a")
    .replace(/Content-Length: \d+/, "Transfer-Encoding: chunked\r\nConnection: close")
    .replace(/\r\n\r\n.*$/, "\r\n\r\n");
  return Buffer.from(`${head}${body.replace(/[^]/g, "1\r\n$&\r\n")}0\r\n\r\n`, "latin1");
}

/** Sends a request and resolves to the status when the connection has ended; `none` if there is none. */
export async function statusOf(port: number, bytes: Buffer): Promise<string> {
  const socket = await open(port, bytes);
  let text = "";
  socket.on("data", (data) => text.length < 100 && (text += data));
  await new Promise((resolve) => socket.on("close", resolve));
  return /^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? "none";
}

/** How often each word comes. */
export function tally(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

/** Does something so many times at once. */
export function allOf<T>(count: number, act: (at: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, at) => act(at)));
}

/** How many bytes a server's resident size rises while it is attacked with bodies. */
export async function growth(
  victim: Victim,
  body: Buffer,
  attack: () => Promise<void>,
): Promise<number> {
  // A runtime's own buffers and machine code are no part of it.
  const warm = await open(victim.port, body.subarray(0, body.length / 4));
  await sleep(1500);
  warm.destroy();
  await sleep(500);
  const { pid, rssBytes } = await victim.ask("collect");
  let most = rssBytes;
  const watch = setInterval(() => most = Math.max(most, residentBytes(pid)), 20);
  try {
    await attack();
  } finally {
    clearInterval(watch);
  }
  return most - rssBytes;
}
