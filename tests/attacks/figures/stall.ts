/** 1,000 readers that take nothing: when they are dropped, what they hold, and who else notices. */
import type { Socket } from "node:net";
import { Histogram, residentBytes } from "../../../bench/measure.ts";
import { allOf } from "../support/bodies.ts";
import { ask, open, read, slowText } from "../support/clients.ts";
import { type Context, sleep } from "../support/context.ts";
import { type Figure, startLoad } from "../support/figure.ts";
import { KernelSockets } from "../support/kernel_sockets.ts";
import { type ServerName, startVictim, type State, type Victim } from "../support/victim.ts";

const KIB = 1024;
const STALL_MS = 3000;
/** How much later than `STALL_MS` a reader may be dropped. */
const GRACE_MS = 3000;
/** The other readers' tokens, 20 ms apart. */
const TOKENS = 750;

interface Measured {
  readonly gaps: Histogram;
  readonly grownBytes: number;
  readonly mostLogBytes: number;
  /** From the last byte that the kernel took, in ms; `Infinity` for one that did not come. */
  readonly dropMs: number;
  readonly closeMs: number;
  readonly closed: number;
  readonly load: Figure;
}

/** Readers that take nothing, and what becomes of them. */
class Stalled {
  readonly #victim: Victim;
  readonly #kernel: KernelSockets;
  readonly #sockets: Socket[] = [];
  readonly #ports: number[] = [];
  readonly #droppedMs = new Map<number, number>();
  #before: State | undefined;
  #mostBytes = 0;
  #mostLogBytes = 0;
  #timers: ReturnType<typeof setInterval>[] = [];

  constructor(victim: Victim) {
    this.#victim = victim;
    this.#kernel = new KernelSockets(victim.port);
  }

  async open(count: number): Promise<void> {
    const { pid } = this.#before = await this.#victim.ask("collect");
    this.#timers = [
      setInterval(() => this.#mostBytes = Math.max(this.#mostBytes, residentBytes(pid)), 50),
      setInterval(() => this.#look(), 200),
    ];
    for (let at = 0; at < count; at++) {
      const socket = await open(this.#victim.port, ask(`flood ${at}`));
      socket.pause();
      this.#sockets.push(socket);
      this.#ports.push(socket.localPort!);
      this.#kernel.add(socket.localPort!);
    }
  }

  async #look(): Promise<void> {
    const { stalled, logBytes } = await this.#victim.ask();
    const nowMs = performance.now();
    this.#mostLogBytes = Math.max(this.#mostLogBytes, logBytes);
    for (const at of stalled) {
      if (this.#droppedMs.has(at)) continue;
      this.#droppedMs.set(at, nowMs);
      this.#kernel.end(this.#ports[at]!);
    }
    this.#kernel.look();
  }

  get isAllDropped(): boolean {
    return this.#droppedMs.size === this.#ports.length;
  }

  end(): Omit<Measured, "gaps" | "load"> {
    this.#timers.forEach(clearInterval);
    const since = (port: number, ms: number | undefined) =>
      (ms ?? Infinity) - this.#kernel.lastByteMs(port);
    const closes = this.#ports.map((port) => since(port, this.#kernel.closedMs(port)));
    return {
      grownBytes: this.#mostBytes - this.#before!.rssBytes,
      mostLogBytes: this.#mostLogBytes,
      dropMs: Math.max(...this.#ports.map((port, at) => since(port, this.#droppedMs.get(at)))),
      closeMs: Math.max(...closes),
      closed: closes.filter(Number.isFinite).length,
    };
  }

  destroy(): void {
    this.#timers.forEach(clearInterval);
    for (const socket of this.#sockets) socket.destroy();
  }
}

async function measure(
  { runtime, quick, progress }: Context,
  name: string,
  server: ServerName,
  log: boolean,
): Promise<Measured> {
  const settings = { stallMs: STALL_MS, keepMs: 0, bodyTimeoutMs: 10_000, log };
  const victim = await startVictim(runtime, settings, { server });
  const count = quick ? 50 : 1000;
  const stalled = new Stalled(victim);
  try {
    await allOf(50, () => read(victim.port, slowText(500)));
    const gaps = new Histogram();
    const end = startLoad();
    await stalled.open(count);
    progress(`${name}: ${count} readers take nothing`);
    const tokens = quick ? TOKENS / 5 : TOKENS;
    const answers = await allOf(
      20,
      () => read(victim.port, `slow ${tokens} 20`, (ms) => gaps.add(ms)),
    );
    const load = end(name);
    if (answers.some(({ text }) => text !== slowText(tokens))) {
      throw new Error(`${name}: another reader's text is wrong: ${JSON.stringify(answers[0])}`);
    }
    const deadline = performance.now() + (quick ? 10_000 : 40_000);
    const isOver = () => server === "bare_server" || stalled.isAllDropped;
    while (!isOver() && performance.now() < deadline) await sleep(200);
    // A runtime closes the connections by a clock of its own.
    if (server === "server") await sleep(GRACE_MS);
    const measured = { ...stalled.end(), gaps, load };
    progress(
      `${name}: dropped after ${Math.round(measured.dropMs)} ms at most, ${measured.closed} closed`,
    );
    return measured;
  } finally {
    stalled.destroy();
    await victim.child.stop();
  }
}

export async function stall(context: Context): Promise<Figure[]> {
  const bare = await measure(context, "bare", "bare_server", false);
  const ours = await measure(context, "without a log", "server", false);
  const logged = await measure(context, "with a log", "server", true);
  const count = context.quick ? 50 : 1000;
  const bareP99 = bare.gaps.percentile(0.99);
  const eachKiB = (bytes: number) => bytes / KIB / count;
  const of = (name: string, { dropMs, closeMs, closed, gaps }: Measured): Figure[] => [
    { what: `${name}, dropped within`, value: dropMs, unit: "ms", limit: STALL_MS + GRACE_MS },
    // `Deno.serve` has nothing that closes a connection.
    context.runtime === "deno"
      ? { what: `${name}, sockets closed`, value: closed, unit: `of ${count}` }
      : {
        what: `${name}, sockets closed within`,
        value: closeMs,
        unit: "ms",
        limit: STALL_MS + GRACE_MS,
      },
    {
      what: `${name}, p99 gap of others`,
      value: gaps.percentile(0.99),
      unit: "ms",
      limit: 2 * bareP99,
    },
  ];
  return [
    { what: "bare, p99 gap of others", value: bareP99, unit: "ms" },
    { what: "bare, RSS for each", value: eachKiB(bare.grownBytes), unit: "KiB" },
    ...of("without a log", ours),
    {
      what: "without a log, RSS for each",
      value: eachKiB(ours.grownBytes),
      unit: "KiB",
      limit: 256,
    },
    ...of("with a log", logged),
    { what: "with a log, its share for each", value: eachKiB(logged.mostLogBytes), unit: "KiB" },
    {
      what: "with a log, RSS above its share for each",
      value: eachKiB(logged.grownBytes - logged.mostLogBytes),
      unit: "KiB",
      limit: 128,
    },
    bare.load,
    ours.load,
    logged.load,
  ];
}
