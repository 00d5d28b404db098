/** 500 bodies that trickle and 500 readers that read slowly: what others wait, with them and without. */
import type { Socket } from "node:net";
import { percentile } from "../../../bench/measure.ts";
import { allOf } from "../support/bodies.ts";
import { ask, open, read } from "../support/clients.ts";
import { type Context, sleep } from "../support/context.ts";
import { type Figure, startLoad } from "../support/figure.ts";
import { type ServerName, startVictim, type Victim } from "../support/victim.ts";

/** So much more than without them is still "as without": two runs without them differ by as much. */
const TOLERANCE = 1.25;
const OTHERS = 5;
const QUERY = "a b c d e f g h";

/** What others wait for a whole response, in ms, one after the other for a while. */
async function others(victim: Victim, forMs: number): Promise<number[]> {
  const untilMs = performance.now() + forMs;
  const times: number[] = [];
  await allOf(OTHERS, async () => {
    while (performance.now() < untilMs) {
      const sentMs = performance.now();
      const { end, text } = await read(victim.port, QUERY);
      if (end !== "done" || text !== QUERY) throw new Error(`another client: ${end}, ${text}`);
      times.push(performance.now() - sentMs);
      await sleep(20);
    }
  });
  return times;
}

/** A client that sends a byte of its body each second. */
async function slowBody(port: number): Promise<Socket> {
  const head = ask("a").replace(/Content-Length: \d+/, "Content-Length: 60000");
  const socket = await open(port, head);
  const timer = setInterval(() => socket.write(" "), 1000);
  return socket.on("close", () => clearInterval(timer)).resume();
}

/** A client that reads 1 KiB of a flood each second. */
async function slowReader(port: number): Promise<Socket> {
  const socket = await open(port, ask("flood"));
  socket.pause();
  const timer = setInterval(() => socket.read(1024), 1000);
  return socket.on("close", () => clearInterval(timer));
}

interface Measured {
  readonly withoutMs: number;
  readonly withMs: number;
  readonly load: Figure;
}

async function measure(context: Context, server: ServerName): Promise<Measured> {
  const { runtime, quick, progress } = context;
  const victim = await startVictim(
    runtime,
    { bodyTimeoutMs: 120_000, stallMs: 120_000 },
    { server },
  );
  const count = quick ? 50 : 500;
  const forMs = quick ? 1000 : 5000;
  const sockets: Socket[] = [];
  try {
    await others(victim, 2000);
    const before = await others(victim, forMs);
    progress(`${server}: others alone`);
    for (let at = 0; at < count; at++) {
      sockets.push(await slowBody(victim.port), await slowReader(victim.port));
    }
    await victim.quiet(); // The kernel takes no more than the slow readers do.
    const end = startLoad();
    const beside = await others(victim, forMs);
    const load = end(server);
    progress(`${server}: others beside ${count} slow bodies and ${count} slow readers`);
    for (const socket of sockets) socket.destroy();
    await sleep(3000);
    const after = await others(victim, forMs);
    return {
      withoutMs: percentile([...before, ...after], 0.5),
      withMs: percentile(beside, 0.5),
      load,
    };
  } finally {
    for (const socket of sockets) socket.destroy();
    await victim.child.stop();
  }
}

export async function slow(context: Context): Promise<Figure[]> {
  const bare = await measure(context, "bare_server");
  const ours = await measure(context, "server");
  // What a bare server's others wait longer is the machine's and the runtime's.
  const inherent = Math.max(1, bare.withMs / bare.withoutMs);
  return [
    { what: "bare, p50 without", value: bare.withoutMs, unit: "ms" },
    { what: "bare, p50 with", value: bare.withMs, unit: "ms" },
    { what: "p50 without", value: ours.withoutMs, unit: "ms" },
    {
      what: "p50 with",
      value: ours.withMs,
      unit: "ms",
      limit: TOLERANCE * inherent * ours.withoutMs,
    },
    bare.load,
    ours.load,
  ];
}
