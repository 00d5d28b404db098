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
      await sleep(1200);
      states.push(await victim.ask("collect"));
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

/** Readers that take nothing are dropped after `stallMs`, and others are served meanwhile. */
export async function stall({ runtime, quick, progress }: Context): Promise<string> {
  const stallMs = 1000;
  const victim = await startVictim(runtime, { stallMs, keepMs: 0 });
  const count = quick ? 20 : 200;
  const sockets: Socket[] = [];
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
    for (let waited = 0; waited < 40; waited++) {
      const { active } = await victim.ask();
      if (active.readers === 0) break;
      await sleep(200);
    }
    const { closes, rssBytes } = await victim.settled();
    const told = Object.entries(closes).map(([name, many]) => `${name} ${many}`).join(", ");
    return `${told}; others' longest gap ${Math.round(p99)} ms; RSS ${
      Math.round(rssBytes / MIB)
    } MiB`;
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

/** A body of 1 MiB in chunks of one byte: one, and 50 at once. */
export async function bytes({ runtime, quick, progress }: Context): Promise<string> {
  const body = oneByteChunks(quick ? 64 * 1024 : MIB);
  const limits = { maxBodyBytes: 2 * MIB };
  const results: string[] = [];
  for (const [count, limit] of quick ? [[1, 64]] as const : [[1, 32], [50, 128]] as const) {
    const victim = await startVictim(runtime, { bodyTimeoutMs: 30_000, limits });
    try {
      const grown = await growth(victim, body, async () => {
        const statuses = tally(await allOf(count, () => statusOf(victim.port, body)));
        results.push(`${count} at once: ${JSON.stringify(statuses)}`);
        if (Object.keys(statuses).some((status) => !BODY_STATUSES.includes(status))) {
          throw new Error(results.at(-1)!);
        }
      });
      await victim.settled();
      const mib = Math.round(grown / MIB);
      results.push(`${results.pop()}, RSS +${mib} MiB`);
      progress(results.at(-1)!);
      // Node has a promise and a turn for each chunk, whoever reads it.
      if (mib > (runtime === "node" ? 2 * limit : limit)) {
        throw new Error(`${results.at(-1)!}, over ${limit}`);
      }
    } finally {
      await victim.child.stop();
    }
  }
  return results.join("; ");
}
