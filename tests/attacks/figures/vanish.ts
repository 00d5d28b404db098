/** Readers that vanish, five times over: what is left of them, beside a bare server that lost as many. */
import type { Context } from "../support/context.ts";
import { sleep } from "../support/context.ts";
import { type Figure, startLoad } from "../support/figure.ts";
import { reachableBytes } from "../support/reachable.ts";
import { RunTime } from "../support/run_time.ts";
import { type ServerName, startVictim, type State, type Victim } from "../support/victim.ts";
import { total } from "../../support/child.ts";
import { stateAtRest, vanishOnce } from "../suites/connections.ts";

const MIB = 2 ** 20;
const ROUNDS = 5;

/** How long it takes until all counters are zero, in ms. */
async function settleMs(victim: Victim): Promise<number> {
  const time = new RunTime();
  const begunMs = time.now();
  let tookMs = 0;
  while (total((await victim.ask()).active) > 0 && tookMs !== Infinity) {
    await sleep(20);
    tookMs = time.now() - begunMs;
    if (tookMs > 10_000) tookMs = Infinity;
  }
  time.stop();
  return tookMs;
}

/** The greatest of the last three resident sizes, in parts of the least. */
function spread(states: readonly State[]): number {
  const last = states.slice(-3).map(({ rssBytes }) => rssBytes);
  return Math.max(...last) / Math.min(...last);
}

export async function vanish({ runtime, quick, progress }: Context): Promise<Figure[]> {
  const count = quick ? 200 : 10_000;
  const names: ServerName[] = ["bare_server", "server"];
  const settings = { keepMs: 500, bodyTimeoutMs: 5000 };
  const victims = await Promise.all(
    names.map((server) => startVictim(runtime, settings, { server })),
  );
  const [bareStates, states]: [State[], State[]] = [[], []];
  let slowestMs = 0;
  try {
    const [, before] = await Promise.all(victims.map((victim) => victim.ask("collect")));
    const end = startLoad();
    let firstBytes = 0;
    for (let round = 1; round <= ROUNDS; round++) {
      for (const [at, victim] of victims.entries()) {
        await vanishOnce(victim, count);
        if (at === 1) slowestMs = Math.max(slowestMs, await settleMs(victim));
        const state = await stateAtRest(victim);
        (at === 1 ? states : bareStates).push(state);
        if (at === 1 && round === 1) firstBytes = await reachableBytes(victim);
        progress(
          `${names[at]}: ${round * count} left, ${Math.round(state.rssBytes / MIB)} MiB, ` +
            `${state.descriptors} descriptors`,
        );
      }
    }
    await victims[1]!.settled();
    const lastBytes = await reachableBytes(victims[1]!);
    const bareSpread = spread(bareStates);
    return [
      { what: "counters are zero within", value: slowestMs, unit: "ms", limit: 1000 },
      {
        what: "descriptors left",
        value: states.at(-1)!.descriptors - before!.descriptors,
        unit: "",
        limit: 8,
      },
      {
        what: "heap, from the first round to the last",
        value: (lastBytes - firstBytes) / MIB,
        unit: "MiB more",
        limit: 2,
      },
      { what: "bare, RSS of the last three", value: bareSpread, unit: "of the least" },
      {
        what: "RSS of the last three",
        value: spread(states),
        unit: "of the least",
        limit: Math.max(1.15, bareSpread),
      },
      ...bareStates.map((state, at) => rss("bare", at, state)),
      ...states.map((state, at) => rss("ours", at, state)),
      end("both"),
    ];
  } finally {
    await Promise.all(victims.map((victim) => victim.child.stop()));
  }
}

function rss(name: string, at: number, { rssBytes }: State): Figure {
  return { what: `${name}, RSS after round ${at + 1}`, value: rssBytes / MIB, unit: "MiB" };
}
