/**
 * An upstream that says what a test wrote down, byte for byte: for replies of real servers that the
 * mock has no name for. Every request is counted, however it was sent.
 */
import { Buffer } from "node:buffer";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type MockRequest, parseRequest, SECRET } from "./raw_http.ts";

/** A reply: its bytes, after which the connection is closed, or what is done with the socket. */
export type ScriptedReply = string | ((socket: Socket, request: MockRequest) => void);

export interface Scripted {
  readonly url: string;
  readonly requests: MockRequest[];
  /** Connections that are open at this moment, each from its first byte on. */
  readonly open: number;
  close(): Promise<void>;
}

/** Starts an upstream with these replies, in their order; the last one is repeated. */
export async function startScripted(...replies: ScriptedReply[]): Promise<Scripted> {
  const sockets = new Set<Socket>();
  const requests: MockRequest[] = [];
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {}); // A client that breaks off is what is wanted.
    socket.on("close", () => sockets.delete(socket));
    let waiting: Buffer = Buffer.alloc(0);
    socket.on("data", (data: Buffer) => {
      waiting = Buffer.concat([waiting, data]);
      const parsed = parseRequest(waiting, 0);
      if (parsed === undefined) return;
      waiting = parsed.rest;
      const reply = replies[Math.min(requests.length, replies.length - 1)]!;
      requests.push(parsed.request);
      if (typeof reply === "string") socket.end(reply);
      else reply(socket, parsed.request);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A test that fails leaves it open, and the runner has to end all the same.
  server.unref();
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests,
    get open() {
      return [...sockets].filter((socket) => socket.bytesRead > 0).length;
    },
    close() {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

/** A reply with its length. */
export function reply(
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): string {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const type = typeof body === "string" ? "text/html" : "application/json";
  return `${head(status, { "content-type": type, ...headers })}${text}`;
}

/** The head of a reply whose end is that of its connection. */
export function head(status: number, headers: Record<string, string>): string {
  const all = { ...headers, connection: "close", "x-upstream-detail": SECRET };
  const lines = Object.entries(all).filter(([, value]) => value !== "")
    .map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} Status\r\n${lines.join("")}\r\n`;
}

/** The head of an event stream. */
export const STREAM: string = head(200, { "content-type": "text/event-stream" });

/** A chunk with these members of its first choice. */
export function chunk(delta: object, choice: object = {}): string {
  return `data: ${JSON.stringify({ choices: [{ index: 0, delta, ...choice }] })}\n\n`;
}

/** A whole answer. */
export function answer(text: string): string {
  const end = `${chunk({}, { finish_reason: "stop" })}data: [DONE]\n\n`;
  return `${STREAM}${chunk({ role: "assistant" })}${chunk({ content: text })}${end}`;
}
