/** The load of `ticks`: sends a tick each millisecond, and reads the streams that are made of them. */
import { type AddressInfo, createServer, type Socket } from "node:net";
import { Buffer } from "node:buffer";
import { LAST_TICK, TICK, TICK_LENGTH, TICKS_APART } from "./tokens.ts";

/** A clock for the servers that connect to it. */
export class Ticker {
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((socket) => {
    this.#sockets.add(socket.setNoDelay(true));
    // A server takes the ticks that come while it is connected, and counts from zero.
    this.#sentMs.length = 0;
    socket.on("error", () => {}); // `close` follows
    socket.on("close", () => this.#sockets.delete(socket));
  });
  readonly #sentMs: number[] = [];
  #nextMs = performance.now();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Starts; resolves to the port. One server may be connected at a time. */
  async start(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.#turn();
    return (this.#server.address() as AddressInfo).port;
  }

  /** When a tick was sent, in ms; `undefined` for one that was not. */
  sentMs(tick: number): number | undefined {
    return this.#sentMs[tick];
  }

  /** Has the streams end, and returns how many ticks there were. */
  endStreams(): number {
    for (const socket of this.#sockets) socket.write(LAST_TICK);
    return this.#sentMs.length;
  }

  stop(): void {
    clearTimeout(this.#timer);
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #turn(): void {
    const nowMs = performance.now();
    for (; this.#nextMs <= nowMs; this.#nextMs++) {
      if (this.#sockets.size === 0) continue;
      this.#sentMs.push(nowMs);
      for (const socket of this.#sockets) socket.write(TICK);
    }
    this.#timer = setTimeout(() => this.#turn(), Math.max(0, this.#nextMs - performance.now()));
  }
}

const AT = 0x40;
const NONE = -1;

/** Reads one stream of ticks and checks each of them. */
export class TickReader {
  /** How many have come. */
  count = 0;
  /** What is wrong with the stream. */
  fault: string | undefined;
  hasEnded = false;
  readonly #onTick: (tick: number) => void;
  #last = NONE;
  #carry: Buffer | undefined;
  #tail = "";

  constructor(onTick: (tick: number) => void) {
    this.#onTick = onTick;
  }

  feed(chunk: Buffer): void {
    const bytes = this.#carry === undefined ? chunk : Buffer.concat([this.#carry, chunk]);
    this.#carry = undefined;
    for (let at = bytes.indexOf(AT); at >= 0; at = bytes.indexOf(AT, at + TICK_LENGTH)) {
      if (at + TICK_LENGTH > bytes.length) {
        this.#carry = bytes.subarray(at);
        return;
      }
      let tick = 0;
      for (let i = at + 1; i < at + TICK_LENGTH; i++) tick = tick * 10 + bytes[i]! - 0x30;
      if (this.#last !== NONE && tick !== this.#last + TICKS_APART) {
        this.fault ??= `${tick} after ${this.#last}`;
      }
      this.#last = tick;
      this.count++;
      this.#onTick(tick);
    }
    this.#tail = (this.#tail + bytes.toString("latin1")).slice(-400);
  }

  /** What is wrong with a stream that should have ended before tick `endCount`. */
  faultOf(endCount: number): string | undefined {
    if (this.fault !== undefined) return this.fault;
    if (!/event: done\n/.test(this.#tail)) return `no end: ${this.#tail}`;
    if (this.#last < endCount && this.#last >= endCount - TICKS_APART) return undefined;
    return `${this.#last} is the last of ${endCount}`;
  }
}
