/** When tokens arrived: one by one, or in lumps. Separate from the verdict, which says why. */
import { isObject, parseJson } from "../values.ts";
import type { Observation, Received } from "./request.ts";

/** How the tokens of one response arrived. */
export interface Spacing {
  /** Number of events but the end; of a paced source, of those that say when they were sent. */
  readonly tokens: number;
  /** Number of moments in which some of them arrived. */
  readonly arrivals: number;
  /** The median pause between two arrivals, in ms; 0 if there is none. */
  readonly pauseMs: number;
  /** The longest pause, in ms, that before the first token as well. */
  readonly longestPauseMs: number;
  /** How much longer than another one a token took, at most, in ms; only a paced source tells. */
  readonly heldMs: number | undefined;
  /** `lumps` is a path or a model, `sent` a server that sent lumps itself, `few` too little to judge. */
  readonly shape: "even" | "lumps" | "sent" | "few";
}

/** Tokens that arrive closer together than this have arrived at once, in ms. */
const AT_ONCE_MS = 5;
/** The least part of the moments in which tokens were sent that must be left where they arrive. */
const KEPT = 0.6;
/** Fewer tokens say nothing. */
const MIN_TOKENS = 5;
/** Without a paced source: tokens of an arrival, pauses in ms, and so many arrivals are lumps. */
const LUMP = { tokens: 3, pauseMs: 100, arrivals: 3 };
/** One lump that has come sooner than this, in ms, says nothing: a far server takes as long. */
const ONE_LUMP_MS = 1000;

/** The events that hold what the source made. */
export function tokensOf({ received }: Observation): readonly Received[] {
  return received.filter(({ event, data }) =>
    event !== "done" && event !== "failed" && data !== "[DONE]"
  );
}

/** Whether a paced source has sent the tokens, and not a model that counts. */
export function isAtPace(observation: Observation, intervalMs: number): boolean {
  const marks = tokensOf(observation).map(sentMs);
  const [first, last] = [marks[0], marks.at(-1)];
  if (first !== 0 || last === undefined || marks.includes(undefined)) return false;
  // A timer may fire a millisecond early.
  return last >= (marks.length - 1) * (intervalMs - 1);
}

/** When a token of a paced source was sent, in ms after the first one; `undefined` for another one. */
function sentMs({ data }: Received): number | undefined {
  const value = parseJson(data);
  const token = isObject(value) && "token" in value ? value.token : data;
  return typeof token === "string" && /^\d+ ?$/.test(token) ? Number(token) : undefined;
}

/** Measures the tokens of a response. `intervalMs` is the pace, if the source is a paced one. */
export function measure(observation: Observation, intervalMs: number | undefined): Spacing {
  return intervalMs === undefined ? ofModel(observation) : ofPaced(observation, intervalMs);
}

function ofPaced(observation: Observation, intervalMs: number): Spacing {
  const marked = observation.received.flatMap((token) => {
    const sent = sentMs(token);
    return sent === undefined ? [] : [{ sent, arrived: token.atMs }];
  });
  const gapMs = intervalMs / 4;
  const sent = moments(marked.map(({ sent }) => sent), gapMs).length;
  const arrived = moments(marked.map(({ arrived }) => arrived), gapMs);
  const taken = marked.map(({ sent, arrived }) => arrived - sent);
  const shape = marked.length < MIN_TOKENS
    ? "few"
    : arrived.length <= KEPT * sent
    ? "lumps"
    : sent <= KEPT * marked.length
    ? "sent"
    : "even";
  return {
    tokens: marked.length,
    arrivals: arrived.length,
    ...pausesOf(arrived),
    heldMs: marked.length === 0 ? 0 : Math.max(...taken) - Math.min(...taken),
    shape,
  };
}

function ofModel(observation: Observation): Spacing {
  const times = tokensOf(observation).map(({ atMs }) => atMs);
  const arrived = moments(times, AT_ONCE_MS);
  const pauses = pausesOf(arrived);
  return {
    tokens: times.length,
    arrivals: arrived.length,
    ...pauses,
    heldMs: undefined,
    shape: shapeOf(times, arrived.length, pauses.pauseMs, observation.endMs),
  };
}

function shapeOf(
  times: readonly number[],
  arrivals: number,
  pauseMs: number,
  endMs: number,
): Spacing["shape"] {
  if (times.length < MIN_TOKENS) return "few";
  if (arrivals === 1) {
    // Tokens without any pause are what a fast model sends.
    if (times.at(-1)! - times[0]! >= endMs / 2) return "even";
    return endMs >= ONE_LUMP_MS ? "lumps" : "few";
  }
  if (times.length >= LUMP.tokens * arrivals && pauseMs >= LUMP.pauseMs) {
    return arrivals >= LUMP.arrivals ? "lumps" : "few";
  }
  return arrivals >= MIN_TOKENS ? "even" : "few";
}

/** The beginnings of what lies closer together than `gapMs`. */
function moments(times: readonly number[], gapMs: number): number[] {
  return times.filter((ms, i) => i === 0 || ms - times[i - 1]! >= gapMs);
}

function pausesOf(times: readonly number[]): Pick<Spacing, "pauseMs" | "longestPauseMs"> {
  const pauses = times.slice(1).map((ms, i) => ms - times[i]!).sort((a, b) => a - b);
  const longestPauseMs = Math.max(times[0] ?? 0, pauses.at(-1) ?? 0);
  return { pauseMs: pauses[pauses.length >> 1] ?? 0, longestPauseMs };
}
