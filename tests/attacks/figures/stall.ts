/** 1,000 readers that take nothing: when they are dropped, and who else notices. */
import { Histogram } from "../../../bench/measure.ts";
import { allOf } from "../support/bodies.ts";
import { read, slowText } from "../support/clients.ts";
import { type Context, sleep } from "../support/context.ts";
import { type Figure, startLoad } from "../support/figure.ts";
import { type Outcome, StalledClients } from "../support/stalled_clients.ts";
import { type ServerName, startVictim } from "../support/victim.ts";

const KIB = 1024;
const STALL_MS = 3000;
/** All clients have one key, whose streams may have a quarter of the log: it takes all of them. */
const LOG_LIMITS = { maxStreamBytes: 256 * KIB, maxBytes: 2 ** 31 };
/** How much later than `STALL_MS` a reader may be dropped. */
const GRACE_MS = 3000;
/** How much later its socket may be closed: Bun closes at its next tick, and they are 4 s apart. */
const CLOSE_MS = 5000;
/** The other readers' tokens, 20 ms apart. */
const TOKENS = 750;

interface Measured extends Outcome {
  readonly gaps: Histogram;
  readonly load: Figure;
}

async function measure(
  { runtime, quick, progress }: Context,
  name: string,
  server: ServerName,
  log: boolean,
): Promise<Measured> {
  const settings = {
    stallMs: STALL_MS,
    keepMs: 0,
    bodyTimeoutMs: 10_000,
    log,
    logLimits: LOG_LIMITS,
  };
  const victim = await startVictim(runtime, settings, { server });
  const count = quick ? 50 : 1000;
  const stalled = new StalledClients(victim);
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
    const deadline = performance.now() + (quick ? 15_000 : 150_000);
    const isOver = () => server === "bare_server" || stalled.isAllDropped;
    while (!isOver() && performance.now() < deadline) await sleep(200);
    // A runtime closes the connections by a clock of its own.
    if (server === "server") await sleep(CLOSE_MS);
    const measured = { ...stalled.end(), gaps, load };
    const { closes } = await victim.ask();
    progress(`${name}: ${JSON.stringify(closes)}, and ${measured.refused} were refused`);
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
  const most = (name: string, { grownBytes }: Measured): Figure => (
    {
      what: `${name}, RSS at most, while they fill`,
      value: grownBytes / KIB / count,
      unit: "KiB each",
    }
  );
  const of = (name: string, measured: Measured): Figure[] => {
    const { dropMs, closeMs, closed, gaps, refused } = measured;
    return [
      { what: `${name}, refused, for the log was full`, value: refused, unit: `of ${count}` },
      { what: `${name}, dropped within`, value: dropMs, unit: "ms", limit: STALL_MS + GRACE_MS },
      // `Deno.serve` has nothing that closes a connection.
      context.runtime === "deno"
        ? { what: `${name}, sockets closed`, value: closed, unit: `of ${count}` }
        : {
          what: `${name}, sockets closed within`,
          value: closeMs,
          unit: "ms",
          limit: STALL_MS + CLOSE_MS,
        },
      {
        what: `${name}, p99 gap of others`,
        value: gaps.percentile(0.99),
        unit: "ms",
        limit: 2 * bareP99,
      },
      most(name, measured),
    ];
  };
  return [
    { what: "bare, p99 gap of others", value: bareP99, unit: "ms" },
    most("bare", bare),
    ...of("without a log", ours),
    ...of("with a log", logged),
    bare.load,
    ours.load,
    logged.load,
  ];
}
