/**
 * What a reader holds that takes nothing and has not been dropped yet, beside a bare server's. Measured
 * on the heap, for what the resident size keeps of a flood that has passed is nobody's.
 */
import { type Context, sleep } from "../support/context.ts";
import type { Figure } from "../support/figure.ts";
import { reachableBytes } from "../support/reachable.ts";
import { StalledClients } from "../support/stalled_clients.ts";
import { type ServerName, startVictim } from "../support/victim.ts";

const KIB = 1024;
/** All clients have one key, whose streams may have a quarter of the log: it takes all of them. */
const LOG_LIMITS = { maxBytes: 2 ** 30 };

/** In KiB for each reader. */
interface Held {
  readonly heap: number;
  /** What of it is the log's. */
  readonly log: number;
  readonly rss: number;
}

async function measure(
  { runtime, quick, progress }: Context,
  name: string,
  server: ServerName,
  log: boolean,
): Promise<Held> {
  const settings = {
    stallMs: 600_000,
    keepMs: 0,
    bodyTimeoutMs: 10_000,
    log,
    logLimits: LOG_LIMITS,
  };
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
    const heapBefore = await reachableBytes(victim);
    const before = await victim.ask();
    await clients.open(count);
    await victim.quiet();
    await sleep(500);
    const after = await victim.ask();
    const each = (more: number) => more / KIB / count;
    const held = {
      heap: each(await reachableBytes(victim) - heapBefore),
      log: each(after.logBytes - before.logBytes),
      rss: each(after.rssBytes - before.rssBytes),
    };
    progress(`${name}: ${count} readers hold ${Math.round(held.heap)} KiB each`);
    return held;
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
  const told = (name: string, { heap, log, rss }: Held): Figure[] => [
    { what: `${name}, heap`, value: heap, unit: "KiB each" },
    { what: `${name}, of it the log's`, value: log, unit: "KiB each" },
    { what: `${name}, resident size`, value: rss, unit: "KiB each" },
  ];
  return [
    ...told("bare", bare),
    ...told("without a log", ours),
    ...told("with a log", logged),
    { what: "without a log, each holds", value: ours.heap, unit: "KiB", limit: 256 },
    {
      what: "with a log, each holds beside its share",
      value: logged.heap - logged.log,
      unit: "KiB",
      limit: 128,
    },
  ];
}
