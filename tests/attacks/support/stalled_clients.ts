/** Clients that ask for a flood and take nothing of it. */
import type { Socket } from "node:net";
import { residentBytes } from "../../../bench/measure.ts";
import { ask, open } from "./clients.ts";
import { sleep } from "./context.ts";
import { KernelSockets } from "./kernel_sockets.ts";
import { RunTime } from "./run_time.ts";
import type { State, Victim } from "./victim.ts";

/** What became of them. */
export interface Outcome {
  /** How far the server's resident size rose at most. */
  readonly grownBytes: number;
  /** How many got another status than 200. */
  readonly refused: number;
  /**
   * From the last byte that the kernel took of a stream to its end, and to the end of its connection: the
   * longest, in ms. `Infinity` if one did not end.
   */
  readonly dropMs: number;
  readonly closeMs: number;
  /** How many connections the server has closed. */
  readonly closed: number;
}

/** Opens them, and watches what becomes of them. */
export class StalledClients {
  readonly #victim: Victim;
  readonly #time = new RunTime();
  readonly #kernel: KernelSockets;
  readonly #sockets: Socket[] = [];
  readonly #ports: number[] = [];
  readonly #droppedMs = new Map<number, number>();
  #before: State | undefined;
  #mostBytes = 0;
  readonly #refused = new Set<number>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #isOver = false;

  constructor(victim: Victim) {
    this.#victim = victim;
    this.#kernel = new KernelSockets(victim.port, this.#time);
  }

  async open(count: number): Promise<void> {
    const { pid } = this.#before = await this.#victim.ask("collect");
    this.#timer = setInterval(
      () => this.#mostBytes = Math.max(this.#mostBytes, residentBytes(pid)),
      50,
    );
    this.#watch();
    for (let at = 0; at < count; at++) {
      const socket = await open(this.#victim.port, ask(`flood ${at}`));
      socket.once("readable", () => {
        const status: Uint8Array | null = socket.read(12);
        if (!/ 200$/.test(String(status))) this.#refused.add(at);
      });
      this.#sockets.push(socket);
      this.#ports.push(socket.localPort!);
      this.#kernel.add(socket.localPort!);
    }
  }

  #stop(): void {
    this.#isOver = true;
    this.#time.stop();
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const { dropped } = await this.#victim.ask();
    const nowMs = this.#time.now();
    for (const at of dropped) {
      if (this.#droppedMs.has(at)) continue;
      this.#droppedMs.set(at, nowMs);
      this.#kernel.end(this.#ports[at]!);
    }
    this.#kernel.look();
  }

  async #watch(): Promise<void> {
    while (!this.#isOver) {
      // The server may be stopped in the middle of the last look.
      await this.#look().catch(() => this.#isOver = true);
      await sleep(100);
    }
  }

  /** Whether every stream has ended. */
  get isAllDropped(): boolean {
    return this.#droppedMs.size + this.#refused.size === this.#ports.length;
  }

  /** Ends watching. */
  end(): Outcome {
    this.#stop();
    const served = [...this.#ports.entries()].filter(([at]) => !this.#refused.has(at));
    const since = (port: number, ms: number | undefined) =>
      (ms ?? Infinity) - this.#kernel.lastByteMs(port);
    const closes = served.map(([, port]) => since(port, this.#kernel.closedMs(port)));
    return {
      grownBytes: this.#mostBytes - this.#before!.rssBytes,
      refused: this.#refused.size,
      dropMs: Math.max(...served.map(([at, port]) => since(port, this.#droppedMs.get(at)))),
      closeMs: Math.max(...closes),
      closed: closes.filter(Number.isFinite).length,
    };
  }

  destroy(): void {
    this.#stop();
    for (const socket of this.#sockets) socket.destroy();
  }
}
