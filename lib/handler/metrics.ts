/**
 * What one handler counts: how its streams ended, how long they took, what it did with requests.
 * Separate from how that is printed, because `stats()` returns it as it is.
 */
import { active, type ActiveCounts } from "../counters.ts";
import { publish } from "../diagnostics.ts";
import { publicError } from "../error.ts";
import type { LogUsage } from "../http/replay_log.ts";
import type { StreamReport } from "../pipeline/generation.ts";
import {
  DURATION_BOUNDS,
  FIRST_TOKEN_BOUNDS,
  Histogram,
  PER_TOKEN_BOUNDS,
  type ProcessTotals,
  totals,
} from "../totals.ts";
import { BodyReader } from "./body.ts";
import { HANDLER_CODES } from "./codes.ts";
import { ALL_CODES } from "./openapi/all_codes.ts";

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
  /** Number of generations that did not complete, by error code; a code of your own is `other`. */
  codes: Record<string, number>;
  /** Number of responses, by HTTP status. */
  responses: Record<string, number>;
  /** Number of requests that got no stream, by error code. */
  rejected: Record<string, number>;
  /** Number of those whose body was at fault, or did not come, by error code. */
  rejectedBodies: Record<string, number>;
  /** What the handler's log holds; absent without a log, or if the log does not say. */
  log?: LogUsage;
  /** What has happened in this process, whichever handler or `sse` did it. */
  process: ProcessTotals;
}

/** What is known of a stream beside its report. */
export interface StreamLabels {
  readonly request: Request;
  /** The model, by a name that the operator has chosen. */
  readonly model: string;
}

/** What is measured for a model. */
export class ModelMetrics {
  /** Number of streams by outcome and code. */
  readonly streams: Map<string, { outcome: string; code: string; count: number }> = new Map();
  /** Durations by error code, `""` for streams that did not fail, in seconds. */
  readonly durations: Map<string, Histogram> = new Map([["", new Histogram(DURATION_BOUNDS)]]);
  readonly firstToken: Histogram = new Histogram(FIRST_TOKEN_BOUNDS);
  readonly perToken: Histogram = new Histogram(PER_TOKEN_BOUNDS);

  constructor() {
    // A rate sees no first increase of what was not there before.
    this.#countOf("completed", "");
    for (const code of ["disconnected", "stalled", "stopped"]) this.#countOf("cancelled", code);
    for (const code of ["internal", "overflow", "shutting_down"]) this.#countOf("failed", code);
  }

  add({ outcome, tokens, ttftMs, durationMs }: StreamReport, code: string): void {
    this.#countOf(outcome, code).count++;
    const error = outcome === "failed" ? code : "";
    let durations = this.durations.get(error);
    if (durations === undefined) {
      durations = new Histogram(DURATION_BOUNDS);
      this.durations.set(error, durations);
    }
    durations.observe(durationMs / 1000);
    if (ttftMs === undefined || outcome === "failed") return;
    this.firstToken.observe(ttftMs / 1000);
    // How long a client that left would have waited for the next token is not known.
    if (outcome === "completed" && tokens > 1) {
      this.perToken.observe((durationMs - ttftMs) / 1000 / (tokens - 1));
    }
  }

  #countOf(outcome: string, code: string): { count: number } {
    const key = code === "" ? outcome : `${outcome} ${code}`;
    let found = this.streams.get(key);
    if (found === undefined) this.streams.set(key, found = { outcome, code, count: 0 });
    return found;
  }
}

/** Counts what one handler does. */
export class HandlerMetrics {
  /** What is measured for each model that is served. */
  readonly models: ReadonlyMap<string, ModelMetrics>;
  readonly #ended: Stats["ended"] = { completed: 0, failed: 0, cancelled: 0 };
  #tokens = 0;
  #bytes = 0;
  readonly #codes: Record<string, number> = {};
  readonly #responses: Record<string, number> = {};
  readonly #rejected: Record<string, number> = {};
  readonly #rejectedBodies: Record<string, number> = {};
  readonly #usage: () => LogUsage | undefined;

  /**
   * Creates counts at 0.
   *
   * @param models The names of the models, which the operator has chosen.
   * @param usage What the log holds.
   */
  constructor(models: readonly string[], usage: () => LogUsage | undefined) {
    this.models = new Map(models.map((name) => [name, new ModelMetrics()]));
    this.#usage = usage;
    for (const code of REJECTION_CODES) this.#rejected[code] = 0;
    for (const code of BODY_CODES) this.#rejectedBodies[code] = 0;
  }

  /** Called once for each generation, when it has ended. */
  ended(report: StreamReport, labels: StreamLabels): void {
    this.#ended[report.outcome]++;
    this.#tokens += report.tokens;
    this.#bytes += report.bytes;
    const code = report.code === undefined ? "" : knownCode(report.code);
    if (code !== "") add(this.#codes, code);
    this.models.get(labels.model)?.add(report, code);
    publish("spillway:stream:end", () => ({ ...labels, report }));
  }

  /** Called with every response. */
  responded({ status }: Response): void {
    add(this.#responses, String(status));
  }

  /** Called when a request failed before it had a stream. */
  rejected(error: unknown, request: unknown): void {
    const { code } = publicError(error);
    add(this.#rejected, knownCode(code));
    publish("spillway:request:reject", () => ({ request, code, error }));
  }

  /** Called when the body of a request was at fault, or did not come. */
  rejectedBody(error: unknown): void {
    add(this.#rejectedBodies, knownCode(publicError(error).code));
  }

  stats(): Stats {
    const log = this.#usage();
    const { resumes, logReaders, logRejections, storeCalls, upstreamErrors } = totals;
    return {
      active: { ...active },
      ended: { ...this.#ended },
      tokens: this.#tokens,
      bytes: this.#bytes,
      codes: { ...this.#codes },
      responses: { ...this.#responses },
      rejected: { ...this.#rejected },
      rejectedBodies: { ...this.#rejectedBodies },
      ...log === undefined ? {} : { log },
      process: {
        ...totals,
        resumes: { ...resumes },
        logReaders: { ...logReaders },
        logRejections: { ...logRejections },
        storeCalls: { ...storeCalls },
        upstreamErrors: { ...upstreamErrors },
      },
    };
  }
}

/** Why requests get no stream, apart from what a source or a function of the embedder's throws. */
const REJECTION_CODES = [
  ...Object.keys(HANDLER_CODES),
  ...["bad_request", "unauthorized", "forbidden", "not_found", "not_acceptable", "shutting_down"],
  ...["gone", "log_full", "log_unavailable"],
];

/** What can be wrong with a body. */
const BODY_CODES = [
  "bad_request",
  "unsupported_media_type",
  "payload_too_large",
  "request_timeout",
  "too_many_bodies",
];

/** A body reader that counts the bodies which are at fault. */
export class CountingBodyReader extends BodyReader {
  readonly #metrics: HandlerMetrics;

  constructor(metrics: HandlerMetrics, ...limits: ConstructorParameters<typeof BodyReader>) {
    super(...limits);
    this.#metrics = metrics;
  }

  override readJson(...args: Parameters<BodyReader["readJson"]>): Promise<unknown> {
    return this.#counted(super.readJson(...args));
  }

  override skip(...args: Parameters<BodyReader["skip"]>): Promise<void> {
    return this.#counted(super.skip(...args));
  }

  #counted<T>(reading: Promise<T>): Promise<T> {
    // Beside the caller, who waits for no further turn.
    reading.catch((error) => this.#metrics.rejectedBody(error));
    return reading;
  }
}

function add(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1;
}

/** A code of ours, or `other`: a source may make codes of what its client has sent. */
function knownCode(code: string): string {
  return Object.hasOwn(ALL_CODES, code) ? code : "other";
}
