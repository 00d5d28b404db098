/**
 * A model's answer in no dialect: what every upstream family writes in its own, and what must come out
 * of each format again.
 */
import { hostile, int, pick } from "../../random.ts";

/** A part of an answer. Neighbours of one kind, `text`, `reasoning` or `refusal`, are one part. */
export type Part =
  | { kind: "text" | "reasoning" | "refusal"; text: string }
  | Call
  | { kind: "file"; mediaType: string; base64?: string; url?: string }
  | { kind: "audio" | "citation" | "delta"; data: Record<string, unknown> };

/** A tool call. Without an id the upstream gave none, and any that is not empty will do. */
export interface Call {
  kind: "call";
  id: string | undefined;
  name: string;
  arguments: string;
  extra?: Record<string, unknown>;
}

/** Why a model stopped. `other` is a reason that is none of these. */
export type Kind = "stop" | "length" | "tool_calls" | "content_filter" | "other";
/** How an upstream breaks: it says so in an error, in its finish reason, or not at all. */
export type Failure = "error event" | "error reason" | "broken off";

export interface Answer {
  parts: Part[];
  end: Kind | Failure;
  usage: { input: number; output: number };
}

/** What a family can write at all. Nothing else is asked of it. */
export interface Abilities {
  parts: readonly Part["kind"][];
  /** Members beside a call. */
  extra?: true;
  /** Several calls in one answer. @default {one} */
  manyCalls?: true;
  /** Calls come behind everything else. */
  callsLast?: true;
  ends: readonly Kind[];
  failures: readonly Failure[];
}

/** One family of upstreams. */
export interface Dialect {
  readonly name: string;
  /** Public pages that describe its envelope and its habits, or show captures of it. */
  readonly seen: readonly string[];
  readonly can: Abilities;
  /** The event stream of an answer, as blocks: events and comments, each with its blank line. */
  write(answer: Answer, chance: () => number): string[];
}

export const text = (text: string): Part => ({ kind: "text", text });
export const reasoning = (text: string): Part => ({ kind: "reasoning", text });
export const refusal = (text: string): Part => ({ kind: "refusal", text });
export const call = (
  id: string | undefined,
  name: string,
  json: string,
  extra?: Record<string, unknown>,
): Part => ({ kind: "call", id, name, arguments: json, ...extra === undefined ? {} : { extra } });

/** Adds a part, or adds to the last one. */
export function add(parts: Part[], part: Part): void {
  const last = parts.at(-1);
  if ("text" in part && last !== undefined && "text" in last && last.kind === part.kind) {
    last.text += part.text;
  } else parts.push({ ...part });
}

/** The parts with neighbours of one kind as one, and without those that are empty. */
export function merged(parts: readonly Part[]): Part[] {
  const all: Part[] = [];
  for (const part of parts) if (!("text" in part) || part.text !== "") add(all, part);
  return all;
}

export const isFailure = (end: Answer["end"]): end is Failure => end.includes(" ");

/** A text in one to five pieces, some of which may be empty, and may end in half a pair. */
export function pieces(chance: () => number, whole: string): string[] {
  const cuts = Array.from({ length: int(chance, 5) }, () => int(chance, whole.length + 1));
  const edges = [0, ...cuts.sort((a, b) => a - b), whole.length];
  return edges.slice(1).map((to, i) => whole.slice(edges[i], to));
}

/** The smallest PNG there is, and others that no viewer would open. */
const PICTURES = ["iVBORw0KGgo=", "AAECAwQFBgc=", "/9j/4AAQ"];

function partOf(kind: Part["kind"], chance: () => number, calls: number, extra: boolean): Part {
  switch (kind) {
    case "call": {
      const json = JSON.stringify({ [hostile(chance, 1)]: [hostile(chance, 3), "}", calls] });
      const signature = { extra_content: { google: { thought_signature: hostile(chance, 2) } } };
      // Arguments that were written with spaces, or with none at all.
      const spaced = pick(chance, [json, JSON.stringify(JSON.parse(json), null, 1), "{}"]);
      const beside = extra && chance() < 0.5 ? signature : undefined;
      return call(`call_${calls}`, pick(chance, ["f", "get_weather"]), spaced, beside);
    }
    case "file":
      return { kind, mediaType: "image/png", base64: pick(chance, PICTURES) };
    case "citation": {
      const title = hostile(chance, 2);
      return { kind, data: { url: `https://example.com/${int(chance, 99)}`, title } };
    }
    case "audio":
    case "delta":
      return { kind, data: { id: "a", data: pick(chance, PICTURES) } };
    default:
      return { kind, text: hostile(chance, 5) || "x" };
  }
}

/** A random answer that a family can write. */
export function answerFor(can: Abilities, chance: () => number): Answer {
  const { parts, extra, manyCalls, callsLast, ends, failures } = can;
  const all: Part[] = [];
  let calls = 0;
  for (let left = int(chance, 7); left > 0; left--) {
    const kind = pick(chance, parts);
    if (kind === "call" && calls > 0 && !manyCalls) continue;
    // Whoever refuses has said nothing else.
    if (kind === "refusal" && all.length > 0) continue;
    add(all, partOf(kind, chance, calls, extra === true));
    if (kind === "call") calls++;
    if (kind === "refusal") break;
  }
  if (callsLast) all.sort((a, b) => Number(a.kind === "call") - Number(b.kind === "call"));
  const refused = all.some(({ kind }) => kind === "refusal");
  const usage = { input: int(chance, 99), output: int(chance, 99) };
  if (failures.length > 0 && chance() < 0.25) {
    // What would have come at the end has not come.
    const written = callsLast ? all.filter(({ kind }) => kind !== "call") : all;
    return { parts: merged(written), end: pick(chance, failures), usage };
  }
  const end = calls > 0
    ? pick(chance, ends.filter((kind) => kind === "tool_calls" || kind === "length"))
    : refused
    ? "stop"
    : pick(chance, ends.filter((kind) => kind !== "tool_calls"));
  return { parts: merged(all), end, usage };
}
