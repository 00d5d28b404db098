/**
 * One request and its response on a raw socket: the HTTP that the mock upstream speaks, and the ways to
 * break it. `node:http` keeps the rules and so cannot break them on demand.
 */
import { Buffer } from "node:buffer";
import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { clearImmediate, clearTimeout, setImmediate, setTimeout } from "node:timers";

/** What the mock keeps of a request, updated while it is answered. */
export interface MockRequest {
  method: string;
  /** With its query, as it was sent. */
  path: string;
  /** Names in lower case; a repeated header is joined with a comma. */
  headers: Record<string, string>;
  /** Parsed JSON; the text where it is none; `undefined` where there is none. */
  body: unknown;
  /**
   * open -> answered: the reply was sent to its end.
   * open -> cut: the fault broke it off.
   * open -> left: the client closed first, also after a `[DONE]` that is followed by silence.
   */
  state: "open" | "answered" | "cut" | "left";
  /** `Date.now()` when the client closed; only in the state `left`. */
  closedByClientAt?: number;
  /** Bytes handed to the socket, the head included: what a client that does not read cannot raise for long. */
  bytesWritten: number;
  /** Whether the reply waits for the socket to drain at this moment. */
  paused: boolean;
  /** How often the reply waited for the socket. */
  drains: number;
  /** Counts connections from 1: two requests with the same number shared one. */
  connection: number;
}

/** A request that is no HTTP, or that exceeds what the mock reads. */
export class BadRequest extends Error {}

const MAX_HEAD_BYTES = 64 * 1024;
const MAX_BODY_BYTES = 8 * 1024 * 1024;

/** Reads one request from the start of `bytes`, or answers `undefined` while it is incomplete. */
export function parseRequest(
  bytes: Buffer,
  connection: number,
): { request: MockRequest; rest: Buffer } | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end > MAX_HEAD_BYTES || (end < 0 && bytes.length > MAX_HEAD_BYTES)) {
    throw new BadRequest("Cannot read a head over 64 KiB");
  }
  if (end < 0) return undefined;
  const [first = "", ...lines] = bytes.toString("latin1", 0, end).split("\r\n");
  const [method, path, version] = first.split(" ");
  if (!method || !path || !version?.startsWith("HTTP/1.")) {
    throw new BadRequest("No HTTP/1 request");
  }
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  const body = readBody(bytes.subarray(end + 4), headers);
  if (!body) return undefined;
  return {
    request: {
      method,
      path,
      headers,
      body: parseJson(body.bytes.toString("utf8")),
      state: "open",
      bytesWritten: 0,
      paused: false,
      drains: 0,
      connection,
    },
    rest: body.rest,
  };
}

function readBody(
  bytes: Buffer,
  headers: Record<string, string>,
): { bytes: Buffer; rest: Buffer } | undefined {
  if (bytes.length > MAX_BODY_BYTES) throw new BadRequest("Cannot read a body over 8 MiB");
  if (headers["transfer-encoding"] === undefined) {
    const length = Number(headers["content-length"] ?? 0);
    if (bytes.length < length) return undefined;
    return { bytes: bytes.subarray(0, length), rest: bytes.subarray(length) };
  }
  const pieces: Buffer[] = [];
  for (let at = 0;;) {
    const line = bytes.indexOf("\r\n", at);
    if (line < 0) return undefined;
    const length = Number.parseInt(bytes.toString("latin1", at, line), 16);
    if (!(length >= 0)) throw new BadRequest("Cannot read a chunk without its length");
    const next = line + 2 + length + 2;
    if (bytes.length < next) return undefined;
    if (length === 0) return { bytes: Buffer.concat(pieces), rest: bytes.subarray(next) };
    pieces.push(bytes.subarray(line + 2, line + 2 + length));
    at = next;
  }
}

function parseJson(text: string): unknown {
  if (text === "") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text; // Not JSON: the test that sent it reads it back as it was.
  }
}

/**
 * The writing side. Every method waits for the socket, so that an endless reply grows neither here nor in the
 * kernel, and does nothing once the exchange has ended: a fault can be written down as a plain list of steps.
 */
export class Reply {
  readonly request: MockRequest;
  /** Whether another request may follow on the connection. */
  readonly keepAlive: boolean;
  /** `chunked`: each `send` is one HTTP chunk; `close`: bare bytes, and the end is the FIN. */
  framing: "chunked" | "close" = "chunked";
  #socket: Socket;
  #sinceTurn = 0;

  constructor(socket: Socket, request: MockRequest, keepAlive: boolean) {
    this.#socket = socket;
    this.request = request;
    this.keepAlive = keepAlive;
  }

  /** Writes bytes as they are; answers whether the exchange is still open. */
  async raw(data: string | Uint8Array): Promise<boolean> {
    if (this.request.state !== "open") return false;
    if (data.length === 0) return true;
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    this.request.bytesWritten += bytes.length;
    this.#sinceTurn += bytes.length;
    if (!this.#socket.write(bytes)) {
      this.request.paused = true;
      this.request.drains++;
      await this.#park((wake) => {
        this.#socket.once("drain", wake);
        return () => this.#socket.off("drain", wake);
      });
      this.request.paused = false;
    } else if (this.#sinceTurn > 64 * 1024) {
      // A reader in another process may take all that we write: without a turn we would never see it leave.
      await this.#turn();
    }
    return this.request.state === "open";
  }

  /** Sends the head; its framing headers follow `framing`, unless a length is given. */
  head(status: number, headers: Record<string, string | number> = {}): Promise<boolean> {
    const delimited = "content-length" in headers || status === 204;
    const kept = this.keepAlive && (delimited || this.framing === "chunked");
    const all: Record<string, string | number> = {
      ...headers,
      ...(delimited || this.framing === "close" ? {} : { "transfer-encoding": "chunked" }),
      connection: kept ? "keep-alive" : "close",
      // Nothing of an upstream's head is the reader's business either.
      "x-upstream-detail": SECRET,
    };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join("");
    return this.raw(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Unknown"}\r\n${lines}\r\n`);
  }

  /** Sends a part of the body in its framing. */
  send(data: string | Uint8Array): Promise<boolean> {
    return this.raw(this.frame(data));
  }

  /** A part of the body as it goes over the wire. */
  frame(data: string | Uint8Array): Uint8Array {
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    // An empty chunk would be the last one.
    if (this.framing === "close" || bytes.length === 0) return bytes;
    const length = Buffer.from(`${bytes.length.toString(16)}\r\n`);
    return Buffer.concat([length, bytes, Buffer.from("\r\n")]);
  }

  /** Ends the body as HTTP asks, and the connection with it unless it is kept alive. */
  async end(): Promise<void> {
    if (this.framing === "chunked" && !(await this.raw("0\r\n\r\n"))) return;
    this.#finish("answered");
    if (!this.keepAlive || this.framing === "close") this.#socket.end();
  }

  /** Sends a whole reply with its length. */
  async whole(
    status: number,
    headers: Record<string, string | number>,
    body: string,
  ): Promise<void> {
    const bytes = Buffer.from(body);
    await this.head(
      status,
      status === 204 ? headers : { ...headers, "content-length": bytes.length },
    );
    if (bytes.length > 0) await this.raw(bytes);
    this.#finish("answered");
    if (!this.keepAlive) this.#socket.end();
  }

  /** Breaks off with a FIN, after what was written. */
  fin(): void {
    if (this.#finish("cut")) this.#socket.end();
  }

  /** Breaks off with a RST. Bun 1.4.5 and Deno 2.9.5 send a real one here, as Node does. */
  rst(): void {
    if (this.#finish("cut")) this.#socket.resetAndDestroy();
  }

  /** Waits until the client leaves. */
  async hang(): Promise<void> {
    await this.#park(() => () => {});
  }

  /** Waits; answers whether the exchange is still open. */
  sleep(ms: number): Promise<boolean> {
    if (!(ms > 0)) return Promise.resolve(this.request.state === "open");
    return this.#park((wake) => {
      const timer = setTimeout(wake, ms);
      return () => clearTimeout(timer);
    });
  }

  /**
   * Waits as `sleep` does, but in so many turns: a reader in the same process has one in each of them, however
   * busy the machine is.
   */
  async turns(ms: number): Promise<boolean> {
    for (let left = ms; left > 0 && await this.sleep(1);) left--;
    return this.request.state === "open";
  }

  #turn(): Promise<boolean> {
    this.#sinceTurn = 0;
    return this.#park((wake) => {
      const immediate = setImmediate(wake);
      return () => clearImmediate(immediate);
    });
  }

  /** The client closed, or its connection broke. */
  left(): void {
    if (this.#finish("left")) this.request.closedByClientAt = Date.now();
  }

  #finish(state: "answered" | "cut" | "left"): boolean {
    if (this.request.state !== "open") return false;
    this.request.state = state;
    return true;
  }

  #park(arm: (wake: () => void) => () => void): Promise<boolean> {
    if (this.request.state !== "open") return Promise.resolve(false);
    return new Promise((resolve) => {
      const wake = () => {
        disarm();
        this.#socket.off("close", wake);
        resolve(this.request.state === "open");
      };
      const disarm = arm(wake);
      this.#socket.once("close", wake);
    });
  }
}

/** Stands in every text that an upstream says about itself: no reader may ever see it. */
export const SECRET: string = "SECRET-UPSTREAM-TEXT";
