/** A body of 1 MiB in chunks of one byte: one, and 50 at once, and what `/health` takes meanwhile. */
import { connect } from "node:net";
import { percentile } from "../../../bench/measure.ts";
import { allOf, BODY_STATUSES, growth, oneByteChunks, statusOf, tally } from "../support/bodies.ts";
import { type Context, sleep } from "../support/context.ts";
import { type Figure, startLoad } from "../support/figure.ts";
import { type ServerName, startVictim } from "../support/victim.ts";

const MIB = 2 ** 20;

/** Asks for `/health` over one connection, one request after the other, until it is stopped. */
async function startPings(port: number): Promise<{ stop(): Promise<number[]> }> {
  const socket = connect(port, "127.0.0.1").setNoDelay();
  await new Promise((resolve) => socket.on("connect", resolve));
  const times: number[] = [];
  let isOver = false;
  const work = (async () => {
    while (!isOver) {
      const sentMs = performance.now();
      socket.write("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
      await new Promise((resolve) => socket.once("data", resolve));
      times.push(performance.now() - sentMs);
      await sleep(5);
    }
    socket.destroy();
  })();
  const stop = async () => {
    isOver = true;
    await work;
    return times;
  };
  return { stop };
}

interface Measured {
  readonly oneMiB: number;
  readonly manyMiB: number;
  /** Times of `/health` beside many, in ms. */
  readonly health: number[];
  readonly statuses: Record<string, number>;
  readonly load: Figure;
}

async function measure(context: Context, server: ServerName): Promise<Measured> {
  const { runtime, quick, progress } = context;
  const body = oneByteChunks(quick ? MIB / 16 : MIB);
  const limits = { maxBodyBytes: 2 * MIB };
  const victim = await startVictim(runtime, { bodyTimeoutMs: 30_000, limits }, { server });
  try {
    const one = await growth(victim, body, async () => void await statusOf(victim.port, body));
    progress(`${server}: one body`);
    let health: number[] = [];
    let statuses: Record<string, number> = {};
    let load: Figure;
    const many = await growth(victim, body, async () => {
      const pings = await startPings(victim.port);
      const end = startLoad();
      statuses = tally(await allOf(quick ? 5 : 50, () => statusOf(victim.port, body)));
      load = end(server);
      health = await pings.stop();
    });
    progress(`${server}: many at once, ${JSON.stringify(statuses)}, ${health.length} of /health`);
    if (server === "server") await victim.settled();
    return { oneMiB: one / MIB, manyMiB: many / MIB, health, statuses, load: load! };
  } finally {
    await victim.child.stop();
  }
}

export async function bytes(context: Context): Promise<Figure[]> {
  const bare = await measure(context, "bare_server");
  const ours = await measure(context, "server");
  const [p99, bareP99] = [percentile(ours.health, 0.99), percentile(bare.health, 0.99)];
  const wrong = Object.entries(ours.statuses)
    .filter(([status]) => !BODY_STATUSES.includes(status))
    .reduce((sum, [, count]) => sum + count, 0);
  return [
    { what: "one body, RSS", value: ours.oneMiB, unit: "MiB more", limit: 32 },
    { what: "one body, RSS of the bare reader", value: bare.oneMiB, unit: "MiB more" },
    { what: "50 at once, RSS", value: ours.manyMiB, unit: "MiB more", limit: 128 },
    { what: "50 at once, RSS of the bare reader", value: bare.manyMiB, unit: "MiB more" },
    {
      what: "50 at once, other statuses than 200, 408, 413, 503",
      value: wrong,
      unit: "",
      limit: 0,
    },
    { what: "requests of /health", value: ours.health.length, unit: "" },
    { what: "p99 of /health beside the bare reader", value: bareP99, unit: "ms" },
    { what: "p99 of /health", value: p99, unit: "ms", limit: 2 * bareP99 },
    bare.load,
    ours.load,
  ];
}
