/** One case of the table: what an upstream sends, and what a client must be told of it. */
import type { Kind, Part } from "./answer.ts";
import { DONE, event, head } from "./wire.ts";

/** How an upstream ends its body: as HTTP asks, with a FIN or a RST in the middle, or short of its length. */
export type BodyEnd = "clean" | "fin" | "rst" | "short";

export interface Case {
  /** Unique in the table. */
  readonly name: string;
  /** Where it was seen, if not in the reports that the table began with. */
  readonly from?: string;
  /** The body of the upstream's response. */
  readonly body: string;
  /** @default {"clean"} */
  readonly bodyEnd?: BodyEnd;
  /** What a client has in the end, or up to the failure. */
  readonly parts: readonly Part[];
  /** A kind of good end, or the code of the failure. */
  readonly end: Kind | "upstream_failed" | "truncated" | "rate_limited";
  /** The reason in the upstream's own words, which `json` and `onClose` may have instead of the kind. */
  readonly reason?: string;
  /**
   * What has no shape of its own but may not vanish: each of these texts stands somewhere in the bodies of
   * the formats that carry more than text, as a part of the kind `delta` or `citation`.
   */
  readonly mentions?: readonly string[];
  /** Only through `openai()`: a response that is relayed has no status that could still be changed. */
  readonly onlyOpenAI?: true;
}

const HEAD = head("up-1", "m");

/** A chunk with one choice. */
export const chunk = (
  delta: unknown,
  finishReason: unknown = null,
  more: Record<string, unknown> = {},
): string =>
  event({ ...HEAD, choices: [{ index: 0, delta, finish_reason: finishReason }], ...more });

/** A chunk with whatever choices. */
export const choices = (all: unknown, more: Record<string, unknown> = {}): string =>
  event({ ...HEAD, choices: all, ...more });

/** A text, a piece at a time. */
export const say = (...all: string[]): string => all.map((content) => chunk({ content })).join("");

/** Fragments of calls, a list of them for each chunk. */
export const calls = (...chunks: unknown[][]): string =>
  chunks.map((tool_calls) => chunk({ tool_calls })).join("");

/** The finish reason in a chunk of its own, and the end. */
export const finish = (reason: unknown): string => chunk({}, reason) + DONE;
