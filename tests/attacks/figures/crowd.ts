/** 10,000 streams of two tokens a second: exact, how late, and what each holds, beside a bare server. */
import type { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";
import { Histogram, processorNs, residentBytes } from "../../../bench/measure.ts";
import { ask } from "../support/clients.ts";
import { type Context, sleep } from "../support/context.ts";
import { type Figure, startLoad } from "../support/figure.ts";
import { Ticker, TickReader } from "../support/tick_load.ts";
import { type ServerName, startVictim } from "../support/victim.ts";

const KIB = 1024;
/** How long it is measured how late tokens are, in ms. */
const MEASURED_MS = 10_000;

/** What is measured: a server, and how it is asked for a stream of so many ticks. */
interface Subject {
  readonly name: string;
  readonly server: ServerName;
  readonly log?: boolean;
  readonly request: string;
}

const get = "GET /sse?query=ticks HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
const post = ask("ticks", ["Connection: close"]);
/** Each way to ask, with a bare server that is asked in the same way: a body that was read is memory. */
const GROUPS: readonly (readonly [Subject, ...Subject[]])[] = [
  [
    { name: "bare, GET", server: "bare_server", request: get },
    { name: "sse", server: "server", request: get },
  ],
  [
    { name: "bare, POST", server: "bare_server", request: post },
    { name: "createHandler without a log", server: "server", log: false, request: post },
    { name: "createHandler", server: "server", request: post },
  ],
];

interface Measured {
  readonly late: Histogram;
  readonly kib: number;
  readonly faults: string[];
  readonly serverShare: number;
  readonly load: Figure;
}

/** Many streams. */
class Crowd {
  readonly readers: TickReader[] = [];
  readonly #port: number;
  readonly #onTick: (tick: number) => void;
  readonly #sockets: Socket[] = [];

  constructor(port: number, onTick: (tick: number) => void) {
    this.#port = port;
    this.#onTick = onTick;
  }

  /** Opens them, a hundred at a time. */
  async open(count: number, request: string): Promise<void> {
    for (let begun = 0; begun < count; begun += 100) {
      const batch = Array.from({ length: Math.min(100, count - begun) }, () => {
        const reader = new TickReader(this.#onTick);
        const socket = connect(this.#port, "127.0.0.1", () => socket.write(request, "latin1"));
        socket.on("data", (bytes: Buffer) => reader.feed(bytes));
        socket.on("error", (error) => reader.fault ??= error.message);
        socket.on("close", () => reader.hasEnded = true);
        this.readers.push(reader);
        this.#sockets.push(socket);
        return new Promise((resolve) => socket.once("connect", resolve).once("close", resolve));
      });
      await Promise.all(batch);
      await sleep(20);
    }
  }

  /** Whether each has a token. */
  get isBegun(): boolean {
    return this.readers.every(({ count }) => count > 0);
  }

  async ended(withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs;
    while (!this.readers.every(({ hasEnded }) => hasEnded) && performance.now() < deadline) {
      await sleep(50);
    }
    for (const socket of this.#sockets) socket.destroy();
  }
}

async function measure(context: Context, subject: Subject): Promise<Measured> {
  const { runtime, quick, progress } = context;
  const { name, server, log = true, request } = subject;
  const count = quick ? 500 : 10_000;
  const ticker = new Ticker();
  const ticksPort = await ticker.start();
  const limits = { maxStreams: 20_000, maxStreamsPerOwner: 20_000 };
  const settings = { ticksPort, limits, log, bodyTimeoutMs: 20_000 };
  const victim = await startVictim(runtime, settings, { server });
  let late = new Histogram();
  const onTick = (tick: number) => late.add(performance.now() - ticker.sentMs(tick)!);
  try {
    const warm = new Crowd(victim.port, () => {});
    await warm.open(Math.min(count, 500), request);
    await sleep(2000);
    await warm.ended(0);
    await sleep(3000);
    const { pid } = await victim.ask("collect");
    await sleep(400);
    const before = residentBytes(pid);
    const crowd = new Crowd(victim.port, onTick);
    const beginMs = performance.now();
    await crowd.open(count, request);
    while (!crowd.isBegun && performance.now() < beginMs + 120_000) await sleep(50);
    await sleep(2000);
    progress(`${name}: ${count} streams in ${Math.round(performance.now() - beginMs)} ms`);
    late = new Histogram();
    const [end, usedNs, fromMs] = [startLoad(), processorNs(pid), performance.now()];
    await sleep(quick ? MEASURED_MS / 2 : MEASURED_MS);
    const measured = late;
    late = new Histogram();
    const load = end(name);
    const serverShare = (processorNs(pid) - usedNs) / 1e6 / (performance.now() - fromMs);
    await victim.ask("collect");
    await sleep(400);
    const kib = (residentBytes(pid) - before) / KIB / count;
    const endCount = ticker.endStreams();
    await crowd.ended(30_000);
    const faults = crowd.readers.flatMap((reader) => reader.faultOf(endCount) ?? []);
    progress(
      `${name}: p99 ${measured.percentile(0.99)} ms, ${kib.toFixed(1)} KiB each, ` +
        `${faults.length} wrong ${faults[0] ?? ""}`,
    );
    return { late: measured, kib, faults, serverShare, load };
  } finally {
    await victim.child.stop();
    ticker.stop();
  }
}

export async function crowd(context: Context): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const [bareSubject, ...subjects] of GROUPS) {
    const bare = await measure(context, bareSubject);
    const bareP99 = bare.late.percentile(0.99);
    figures.push(
      { what: `${bareSubject.name}, p99 lateness`, value: bareP99, unit: "ms" },
      { what: `${bareSubject.name}, memory of a stream`, value: bare.kib, unit: "KiB" },
      { what: `${bareSubject.name}, share of a core`, value: bare.serverShare, unit: "" },
      bare.load,
    );
    for (const subject of subjects) {
      const { name } = subject;
      const { late, kib, faults, serverShare, load } = await measure(context, subject);
      const [p99, max] = [late.percentile(0.99), 1.5 * bareP99];
      figures.push(
        { what: `${name}, texts that are wrong`, value: faults.length, unit: "", limit: 0 },
        { what: `${name}, p99 lateness`, value: p99, unit: "ms", limit: max },
        { what: `${name}, memory of a stream`, value: kib, unit: "KiB", limit: 1.5 * bare.kib },
        { what: `${name}, share of a core`, value: serverShare, unit: "" },
        load,
      );
    }
  }
  return figures;
}
