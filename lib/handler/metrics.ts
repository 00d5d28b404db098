/** `GET /metrics`: what is open and what has ended, for Prometheus or as JSON. */
import { active, type ActiveCounts } from "../counters.ts";
import type { StreamReport } from "../pipeline/generation.ts";
import { negotiate } from "../http/negotiate.ts";
import { jsonResponse } from "../http/response.ts";

/** The result of `stats()`. */
export interface Stats {
  /** What is open in this process now. */
  active: ActiveCounts;
  /** Number of generations of this handler that have ended, by their outcome. */
  ended: { completed: number; failed: number; cancelled: number };
  /** Number of tokens in the generations that have ended. */
  tokens: number;
  /** Number of bytes in the generations that have ended. */
  bytes: number;
}

/** Counts how the streams of one handler ended. */
export class Totals {
  readonly #ended: Stats["ended"] = { completed: 0, failed: 0, cancelled: 0 };
  #tokens = 0;
  #bytes = 0;

  add(report: StreamReport): void {
    this.#ended[report.outcome]++;
    this.#tokens += report.tokens;
    this.#bytes += report.bytes;
  }

  stats(): Stats {
    return {
      active: { ...active },
      ended: { ...this.#ended },
      tokens: this.#tokens,
      bytes: this.#bytes,
    };
  }
}

/** The metrics as a response: Prometheus text, or JSON where the client prefers it. */
export function metrics(request: Request, stats: Stats): Response {
  const offers = [["text/plain"], ["application/json"]];
  if (negotiate(request.headers.get("accept"), offers) === 1) return jsonResponse(stats);
  const lines: string[] = [];
  const add = (name: string, type: string, help: string, values: Record<string, number>) => {
    lines.push(`# HELP spillway_${name} ${help}`, `# TYPE spillway_${name} ${type}`);
    for (const [label, value] of Object.entries(values)) {
      lines.push(`spillway_${name}${label === "" ? "" : `{${label}}`} ${value}`);
    }
  };
  const labelled = (label: string, values: object) =>
    Object.fromEntries(Object.entries(values).map(([key, value]) => [`${label}="${key}"`, value]));
  add("active", "gauge", "What is open now.", labelled("kind", stats.active));
  add("ended_total", "counter", "Streams that ended.", labelled("outcome", stats.ended));
  add("tokens_total", "counter", "Tokens of the streams that ended.", { "": stats.tokens });
  add("bytes_total", "counter", "Bytes of the streams that ended.", { "": stats.bytes });
  return new Response(`${lines.join("\n")}\n`, {
    headers: {
      "content-type": "text/plain; version=0.0.4; charset=utf-8",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    },
  });
}
