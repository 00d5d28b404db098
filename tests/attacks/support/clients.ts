/** Clients of the server under attack: good ones that check what they read, and bad ones. */
import { connect, type Socket } from "node:net";
import { decodeEvents } from "../../../lib/sse/decode_events.ts";

/** The head and the body of a request for a stream. */
export function ask(query: string, more: readonly string[] = []): string {
  const body = JSON.stringify({ query });
  return [
    "POST /streaming HTTP/1.1",
    "Host: 127.0.0.1",
    "Authorization: Bearer key-of-one",
    "Content-Type: application/json",
    `Content-Length: ${body.length}`,
    ...more,
    "",
    body,
  ].join("\r\n");
}

/** A connection that has sent a request; an error on it is no error. */
export function open(port: number, bytes: string | Uint8Array): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => resolve(socket));
    socket.on("connect", () => {
      if (typeof bytes === "string") socket.write(bytes, "latin1");
      else socket.write(bytes);
      resolve(socket);
    });
  });
}

/** Resolves when something has come, or the connection has ended. */
export function firstBytes(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once("data", () => resolve());
    socket.once("close", () => resolve());
    socket.once("error", () => resolve());
  });
}

/** What a good client has read. */
export interface Answer {
  readonly text: string;
  /** How it ended: `done`, the code of a failure, or nothing. */
  readonly end: string | undefined;
  /** The longest time between two tokens, in ms. */
  readonly gapMs: number;
}

/** Asks for a stream and reads it to its end; `onGap` is told each time between two tokens, in ms. */
export async function read(
  port: number,
  query: string,
  onGap: (ms: number) => void = () => {},
): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${port}/streaming`, {
    method: "POST",
    headers: { "authorization": "Bearer key-of-two", "content-type": "application/json" },
    body: JSON.stringify({ query }),
  });
  if (response.status !== 200) {
    const { code } = await response.json() as { code: string };
    return { text: "", end: code, gapMs: 0 };
  }
  let text = "";
  let end: string | undefined;
  let gapMs = 0;
  let lastMs = performance.now();
  for await (const event of decodeEvents(response.body!)) {
    const nowMs = performance.now();
    gapMs = Math.max(gapMs, nowMs - lastMs);
    onGap(nowMs - lastMs);
    lastMs = nowMs;
    if (event.event === "done") end = "done";
    else if (event.event === "failed") end = JSON.parse(event.data).code;
    else text += JSON.parse(event.data).token;
  }
  return { text, end, gapMs };
}

/** The text of a query `slow`, whose tokens come one by one. */
export function slowText(count: number): string {
  return Array.from({ length: count }, (_, at) => `${at} `).join("");
}

/** Reads a slow stream; fails unless its text is exact. */
export async function readExact(port: number, count: number, ms: number): Promise<Answer> {
  const answer = await read(port, `slow ${count} ${ms}`);
  if (answer.end === "done" && answer.text === slowText(count)) return answer;
  throw new Error(`a stream of ${count}: ${answer.end}, ${JSON.stringify(answer.text)}`);
}
