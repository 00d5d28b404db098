/** Readers that vanish, stall and crowd; bodies that trickle. */
import type { Socket } from "node:net";
import { DEPARTURES } from "../../support/serve.ts";
import { allOf, BODY_STATUSES, growth, oneByteChunks, statusOf, tally } from "../support/bodies.ts";
import { ask, firstBytes, open, read, readExact } from "../support/clients.ts";
import { type Context, quantile, sleep } from "../support/context.ts";
import { startVictim, type State, type Victim } from "../support/victim.ts";

const MIB = 2 ** 20;

/** `count` readers, 100 at a time, each of which leaves in one of three ways. */
export async function vanishOnce(victim: Victim, count: number): Promise<void> {
  for (let begun = 0; begun < count; begun += 100) {
    await Promise.all(Array.from({ length: Math.min(100, count - begun) }, async (_, at) => {
      const socket = await open(victim.port, ask(at % 2 === 0 ? "endless" : "flood"));
      // Some leave before there is a response.
      if (at % 5 !== 0) await Promise.race([firstBytes(socket), sleep(2000)]);
      const leave = DEPARTURES[at % DEPARTURES.length]!;
      socket[leave]();
      if (leave === "end") setTimeout(() => socket.destroy(), 500);
    }));
  }
}

/**
 * The state when nothing happens any more. An allocator gives back what is free a second or two later,
 * so of some readings the one with the least resident size counts.
 */
export async function stateAtRest(victim: Victim, readings = 3): Promise<State> {
  let least: State | undefined;
  for (let at = 0; at < readings; at++) {
    await sleep(1200);
    const state = await victim.ask("collect");
    if (least === undefined || state.rssBytes < least.rssBytes) least = state;
  }
  return least!;
}

/** Readers vanish, five times over: nothing of them is left, and memory does not grow. */
export async function vanish({ runtime, quick, progress }: Context): Promise<string> {
  const victim = await startVictim(runtime, { keepMs: 500, bodyTimeoutMs: 5000 });
  const count = quick ? 200 : 10_000;
  const states: State[] = [];
  const begun = await victim.ask("collect");
  try {
    for (let round = 1; round <= 5; round++) {
      await vanishOnce(victim, count);
      await victim.settled();
      states.push(await stateAtRest(victim, quick ? 1 : 3));
      const { rssBytes, descriptors } = states.at(-1)!;
      progress(
        `${round * count} left: ${Math.round(rssBytes / MIB)} MiB, ${descriptors} descriptors`,
      );
    }
  } finally {
    await victim.child.stop();
  }
  const last = states.at(-1)!;
  const rss = states.slice(-3).map(({ rssBytes }) => rssBytes);
  const spread = Math.max(...rss) / Math.min(...rss);
  const more = last.descriptors - begun.descriptors;
  if (more > 8) throw new Error(`${more} descriptors are left`);
  if (!quick && spread > 1.15) {
    throw new Error(`the resident size of the last three: ${rss.join()}`);
  }
  const sizes = states.map(({ rssBytes }) => Math.round(rssBytes / MIB)).join(", ");
  return `${5 * count} readers; ${more} descriptors more; RSS ${sizes} MiB`;
}

/**
 * Readers that take nothing are dropped after `stallMs` and said to be `stalled`, with a log and
 * without; their sockets are closed where the runtime lets us, and others are served meanwhile.
 */
export async function stall(context: Context): Promise<string> {
  const results = [];
  for (const log of [true, false]) {
    results.push(`${log ? "with" : "without"} a log: ${await stallOnce(context, log)}`);
  }
  return results.join("; ");
}

async function stallOnce({ runtime, quick, progress }: Context, log: boolean): Promise<string> {
  const stallMs = 1000;
  const victim = await startVictim(runtime, { stallMs, keepMs: 0, log });
  const count = quick ? 20 : 200;
  const sockets: Socket[] = [];
  const before = (await victim.ask()).descriptors;
  try {
    for (let at = 0; at < count; at++) {
      const socket = await open(victim.port, ask("flood"));
      socket.pause();
      sockets.push(socket);
    }
    progress(`${count} readers take nothing`);
    const others = await Promise.all(
      Array.from({ length: 20 }, () => readExact(victim.port, 50, 20)),
    );
    const p99 = quantile(others.map(({ gapMs }) => gapMs), 0.99);
    for (let waited = 0; waited < 60; waited++) {
      const { active } = await victim.ask();
      if (active.readers === 0) break;
      await sleep(200);
    }
    const { closes, rssBytes } = await victim.settled();
    const told = Object.entries(closes).map(([name, many]) => `${name} ${many}`).join(", ");
    const { "cancelled stalled": stalled = 0, completed, ...rest } = closes;
    // A log that is full of them takes no more.
    const isTold = log ? stalled > count / 2 && stalled <= count : stalled === count;
    if (!isTold || completed !== others.length || Object.keys(rest).length > 0) {
      throw new Error(`${count} readers took nothing, and were told as: ${told}`);
    }
    // Deno has nothing for it. Bun closes them after its shortest timeout, of some seconds.
    // The others' connections are kept by their client.
    const isClosed = (descriptors: number) => descriptors <= others.length + 4;
    let left = Infinity;
    for (let waited = 0; waited < 40 && runtime !== "deno" && !isClosed(left); waited++) {
      left = (await victim.ask()).descriptors - before;
      if (!isClosed(left)) await sleep(200);
    }
    const freed = runtime === "deno" ? "sockets stay" : `${left} sockets left`;
    if (runtime !== "deno" && !isClosed(left)) throw new Error(`${told}; ${freed} of ${count}`);
    const rss = Math.round(rssBytes / MIB);
    return `${told}; ${freed}; others' longest gap ${Math.round(p99)} ms; RSS ${rss} MiB`;
  } finally {
    for (const socket of sockets) socket.destroy();
    await victim.child.stop();
  }
}

/** Bodies that trickle: each is refused in time, and others are served meanwhile. */
export async function slow({ runtime, quick, progress }: Context): Promise<string> {
  const victim = await startVictim(runtime, { bodyTimeoutMs: 2000 });
  const count = quick ? 50 : 500;
  const head = ask("a").replace(/Content-Length: \d+/, "Content-Length: 60000");
  const sockets: Socket[] = [];
  const statuses: Record<string, number> = {};
  try {
    const before = (await victim.ask()).rssBytes;
    const ends = Array.from({ length: count }, async () => {
      const socket = await open(victim.port, head);
      sockets.push(socket);
      let text = "";
      socket.on("data", (data) => text += data);
      const timer = setInterval(() => socket.write(" "), 100);
      await new Promise<void>((resolve) => {
        socket.on("close", () => resolve());
        socket.on("data", () => resolve());
        setTimeout(resolve, 8000);
      });
      clearInterval(timer);
      const status = /^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? "none";
      statuses[status] = (statuses[status] ?? 0) + 1;
    });
    await sleep(300);
    const begun = performance.now();
    const others = await Promise.all(Array.from({ length: 20 }, () => read(victim.port, "a b c")));
    const tookMs = performance.now() - begun;
    if (others.some(({ end }) => end !== "done")) {
      throw new Error(`others: ${others.map(({ end }) => end).join()}`);
    }
    const { rssBytes } = await victim.ask();
    progress(`20 others in ${Math.round(tookMs)} ms, beside ${count} bodies`);
    await Promise.all(ends);
    for (const socket of sockets) socket.destroy();
    await victim.settled();
    const wrong = Object.keys(statuses).filter((status) => !["408", "503"].includes(status));
    if (wrong.length > 0) throw new Error(`statuses: ${JSON.stringify(statuses)}`);
    const grown = Math.round((rssBytes - before) / MIB);
    return `${JSON.stringify(statuses)}; 20 others in ${Math.round(tookMs)} ms; RSS +${grown} MiB`;
  } finally {
    for (const socket of sockets) socket.destroy();
    await victim.child.stop();
  }
}

/**
 * A body of 1 MiB in chunks of one byte: one, and 50 at once. The 50 may take 128 MiB, or half as much
 * again as a bare reader of the same bytes in the same run: on Bun it takes as much itself.
 */
export async function bytes({ runtime, quick, progress }: Context): Promise<string> {
  const body = oneByteChunks(quick ? 64 * 1024 : MIB);
  const results: string[] = [];
  const run = async (count: number, server: "server" | "bare_server"): Promise<number> => {
    const limits = { maxBodyBytes: 2 * MIB };
    const victim = await startVictim(runtime, { bodyTimeoutMs: 30_000, limits }, { server });
    try {
      let statuses: Record<string, number> = {};
      const grown = await growth(victim, body, async () => {
        statuses = tally(await allOf(count, () => statusOf(victim.port, body)));
      });
      const mib = Math.round(grown / MIB);
      results.push(`${count} at once on ${server}: ${JSON.stringify(statuses)}, RSS +${mib} MiB`);
      if (Object.keys(statuses).some((status) => !BODY_STATUSES.includes(status))) {
        throw new Error(results.at(-1)!);
      }
      await victim.settled();
      progress(results.at(-1)!);
      return mib;
    } finally {
      await victim.child.stop();
    }
  };
  for (const [count, limit] of quick ? [[1, 64]] as const : [[1, 32], [50, 128]] as const) {
    // Node has a promise and a turn for each chunk, whoever reads it, and no bare server here.
    const most = runtime === "node"
      ? 2 * limit
      : count === 1
      ? limit
      : Math.max(limit, 1.5 * await run(count, "bare_server"));
    if (await run(count, "server") > most) throw new Error(`${results.at(-1)!}, over ${most}`);
  }
  return results.join("; ");
}
