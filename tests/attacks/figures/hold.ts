/** What a reader holds that takes nothing and has not been dropped yet, beside a bare server's. */
import { type Context, sleep } from "../support/context.ts";
import type { Figure } from "../support/figure.ts";
import { StalledClients } from "../support/stalled_clients.ts";
import { type ServerName, startVictim } from "../support/victim.ts";

const KIB = 1024;

interface Held {
  /** In KiB for each reader; of the log too. */
  readonly eachKiB: number;
  readonly logKiB: number;
}

async function measure(
  { runtime, quick, progress }: Context,
  name: string,
  server: ServerName,
  log: boolean,
): Promise<Held> {
  const settings = { stallMs: 600_000, keepMs: 0, bodyTimeoutMs: 10_000, log };
  const victim = await startVictim(runtime, settings, { server });
  const count = quick ? 20 : 200;
  // A runtime's own buffers and machine code are no part of it.
  const warm = new StalledClients(victim);
  const clients = new StalledClients(victim);
  try {
    await warm.open(20);
    await victim.quiet();
    warm.destroy();
    await sleep(1500);
    const before = await victim.ask("collect");
    await clients.open(count);
    await victim.quiet();
    await sleep(500);
    const { rssBytes, logBytes } = await victim.ask("collect");
    const eachKiB = (rssBytes - before.rssBytes) / KIB / count;
    progress(`${name}: ${count} readers hold ${Math.round(eachKiB)} KiB each`);
    return { eachKiB, logKiB: (logBytes - before.logBytes) / KIB / count };
  } finally {
    warm.destroy();
    clients.destroy();
    await victim.child.stop();
  }
}

export async function hold(context: Context): Promise<Figure[]> {
  const bare = await measure(context, "bare", "bare_server", false);
  const ours = await measure(context, "without a log", "server", false);
  const logged = await measure(context, "with a log", "server", true);
  return [
    { what: "bare, each", value: bare.eachKiB, unit: "KiB" },
    {
      what: "without a log, each",
      value: ours.eachKiB,
      unit: "KiB",
      // Deno itself holds more than that for a bare stream.
      limit: Math.max(256, bare.eachKiB + 128),
    },
    { what: "with a log, its share of each", value: logged.logKiB, unit: "KiB" },
    {
      what: "with a log, each above that share",
      value: logged.eachKiB - logged.logKiB,
      unit: "KiB",
      limit: Math.max(128, bare.eachKiB + 128),
    },
  ];
}
