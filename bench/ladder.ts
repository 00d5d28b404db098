/**
 * How many streams a server can hold: rungs of more and fewer streams, until the most that pass and the least that do
 * not are close together. It only chooses; each rung is measured on a server of its own.
 */
import type { Figures } from "./job.ts";

/** Where it begins: every subject but one has room for as many, so what a token costs is compared here. */
export const FIRST_RUNG = 500;
/** The tokens of a stream come every 20 ms, each to a twentieth of the streams. */
const UNIT = 20;
/** A rung passes when 99 of 100 tokens are at their client within this. */
const LATE_MS = 50;
/** Where hardly any token is missing. Streams that never began have none to be late. */
const DELIVERED = 0.99;
/** The least that fails is at most this many times the most that passes. */
const CLOSE = 1.05;
/** From one rung to the next where nothing says more. */
const STEP = 1.15;
/** A guess is never trusted further than this. */
const LEAP = 3;
/** A core that has this much to do is full; with less, a rung fails for another reason, as a pause of the machine. */
const FULL = 0.9;

type Rung = { streams: number; figures: Figures };

/** Whether a rung's streams were on time. */
export function isOnTime({ p99 = NaN, deliveredShare = 0 }: Figures): boolean {
  return p99 <= LATE_MS && deliveredShare >= DELIVERED;
}

const share = ({ figures }: Rung) => figures["coreShare"] ?? NaN;

/** The next rung, given the most streams that passed and the fewest that did not; `undefined` when these are close. */
function next(passed: Rung | undefined, failed: Rung | undefined): number | undefined {
  const whole = (streams: number) => Math.max(UNIT, Math.round(streams / UNIT) * UNIT);
  if (passed === undefined) {
    if (failed === undefined) return FIRST_RUNG;
    const { streams, figures } = failed;
    const lower = whole(streams * Math.min(1 / STEP, (figures["deliveredShare"] ?? 0) / STEP));
    return lower < streams ? lower : undefined;
  }
  if (failed === undefined) {
    const guess = Math.min(LEAP, 1 / share(passed)) || STEP; // without /proc there is no guess
    return whole(passed.streams * Math.max(STEP, guess));
  }
  if (failed.streams / passed.streams <= CLOSE) return undefined;
  const between = whole(Math.sqrt(passed.streams * failed.streams));
  return between > passed.streams && between < failed.streams ? between : undefined;
}

/**
 * Climbs with `measure`, which measures one rung. The figures are those of the highest rung that passes, but for
 * `usPerToken`, which is the first rung's, and `loadShare`, which is that of the rung that ended the climb.
 */
export async function climb(measure: (streams: number) => Promise<Figures>): Promise<Figures> {
  let [passed, failed, first]: (Rung | undefined)[] = [];
  let rungs = 0;
  for (let streams = next(undefined, undefined); streams !== undefined;) {
    let rung: Rung = { streams, figures: await measure(streams) };
    rungs++;
    if (!isOnTime(rung.figures) && share(rung) < FULL) {
      rung = { streams, figures: await measure(streams) };
      rungs++;
    }
    first ??= rung;
    if (isOnTime(rung.figures)) passed = rung;
    else failed = rung;
    streams = next(passed, failed);
  }
  const load = ({ figures }: Rung) =>
    Math.max(figures["loadShare"] ?? 0, figures["loadCoreShare"] ?? 0);
  return {
    streams: passed?.streams ?? 0,
    ...(isOnTime(first!.figures) ? { usPerToken: first!.figures["usPerToken"]! } : {}),
    ...(passed === undefined ? {} : {
      kbPerStream: passed.figures["kbPerStream"]!,
      p50: passed.figures["p50"]!,
      p99: passed.figures["p99"]!,
      coreShare: passed.figures["coreShare"]!,
    }),
    failedAt: failed?.streams ?? NaN,
    loadShare: Math.max(...[passed, failed].map((rung) => rung === undefined ? 0 : load(rung))),
    rungs,
  };
}
