/** What happens to the process itself: a blocked loop, a clock that jumps, descriptors, signals. */
import type { Socket } from "node:net";
import { listening, PATIENCE_MS, startEntry } from "../../support/child.ts";
import { until } from "../../support/serve.ts";
import { ask, open, read, readExact, slowText } from "../support/clients.ts";
import { type Context, sleep } from "../support/context.ts";
import { startVictim } from "../support/victim.ts";

/** A source that blocks the loop delays streams and breaks none. */
export async function block({ runtime, quick }: Context): Promise<string> {
  const victim = await startVictim(runtime, { stallMs: 1000 });
  try {
    const streams = Array.from({ length: quick ? 10 : 100 }, () => readExact(victim.port, 60, 20));
    for (let times = 0; times < 2; times++) {
      await sleep(300);
      await victim.ask(`block/${quick ? 300 : 1500}`);
    }
    await Promise.all(streams);
    await victim.settled();
    return `${streams.length} texts exact`;
  } finally {
    await victim.child.stop();
  }
}

/** A wall clock that jumps ends no stream, and forgets none. */
export async function clock({ runtime }: Context): Promise<string> {
  const victim = await startVictim(runtime, { keepMs: 5000, stallMs: 5000 });
  try {
    const streams = Array.from({ length: 20 }, () => readExact(victim.port, 60, 20));
    for (const jumpMs of [3_600_000, -7_200_000, 2 ** 40]) {
      await sleep(300);
      await victim.ask(`clock/${jumpMs}`);
    }
    await Promise.all(streams);
    await victim.settled();
    return "20 texts exact over three jumps";
  } finally {
    await victim.child.stop();
  }
}

/** More connections than descriptors: the process lives, open streams go on, and it serves again. */
export async function descriptors({ runtime, quick }: Context): Promise<string> {
  const limit = 256;
  const victim = await startVictim(runtime, { bodyTimeoutMs: 3000 }, { descriptors: limit });
  const sockets: Socket[] = [];
  try {
    const streams = Promise.all(Array.from({ length: 5 }, () => readExact(victim.port, 60, 20)));
    streams.catch(() => {}); // It is awaited below.
    await sleep(200);
    for (let at = 0; at < limit + (quick ? 30 : 200); at++) {
      sockets.push(await open(victim.port, ask("endless")));
    }
    await sleep(1000);
    // A rejection within `Deno.serve` itself, which nobody can catch.
    if (runtime === "deno" && victim.child.exit === 1) {
      return "Deno has ended, as it does by itself";
    }
    if (victim.child.exit !== undefined) {
      throw new Error(`the process has ended (${victim.child.exit}): ${victim.child.errors}`);
    }
    await streams;
    for (const socket of sockets) socket.destroy();
    await sleep(1000);
    const { end } = await read(victim.port, "a b c");
    if (end !== "done") throw new Error(`afterwards: ${end}`);
    return `${sockets.length} connections, ${limit} descriptors: 5 texts exact, and served afterwards`;
  } finally {
    for (const socket of sockets) socket.destroy();
    await victim.child.stop();
  }
}

/** SIGTERM: open streams come to their end, and the process exits with 0. */
export async function sigterm({ runtime, quick }: Context): Promise<string> {
  const child = startEntry(runtime, { TOKEN_DELAY_MS: "20" });
  try {
    const { port } = await listening(child);
    const query = slowText(quick ? 20 : 60).trim();
    const streams = Array.from({ length: quick ? 10 : 100 }, () => read(port, query));
    await sleep(300);
    child.kill("SIGTERM");
    const answers = await Promise.all(streams);
    const broken = answers.filter(({ end, text }) => end !== "done" || text !== query);
    if (broken.length > 0) throw new Error(`${broken.length} broken: ${JSON.stringify(broken[0])}`);
    await until(() => child.exit !== undefined, PATIENCE_MS, "the process has ended");
    // Deno ends itself by the signal that it was sent.
    const good = runtime === "deno" ? [0, 143, "SIGTERM"] : [0];
    if (!good.includes(child.exit!)) throw new Error(`exit ${child.exit}: ${child.errors}`);
    return `${answers.length} texts exact, exit ${child.exit}`;
  } finally {
    await child.stop();
  }
}
