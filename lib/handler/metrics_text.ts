/**
 * `GET /metrics`: the counts as Prometheus text, or as JSON. Separate from the counting because these
 * names are what an operator's queries rely on. The names of the OpenTelemetry GenAI conventions are
 * written as its Prometheus exporters do: `_` for each dot, the unit and `_total` at the end.
 */
import { negotiate } from "../http/negotiate.ts";
import { jsonResponse } from "../http/response.ts";
import { type Histogram, times } from "../totals.ts";
import type { HandlerMetrics, ModelMetrics, Stats } from "./metrics.ts";
import type { Health, Report } from "./together.ts";

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [value: number, labels?: Labels];

/** Prometheus text (exposition format 0.0.4). */
class MetricsText {
  readonly #lines: string[] = [];

  #head(name: string, type: string, help: string): void {
    this.#lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
  }

  #sample(name: string, value: number, labels: Labels): void {
    this.#lines.push(`${name}${printed(labels)} ${value}`);
  }

  gauge(name: string, help: string, ...samples: Sample[]): void {
    this.#head(name, "gauge", help);
    for (const [value, labels = {}] of samples) this.#sample(name, value, labels);
  }

  counter(name: string, help: string, ...samples: Sample[]): void {
    this.#head(name, "counter", help);
    for (const [value, labels = {}] of samples) this.#sample(name, value, labels);
  }

  histogram(name: string, help: string, ...series: (readonly [Histogram, Labels?])[]): void {
    this.#head(name, "histogram", help);
    for (const [{ bounds, counts, sum }, labels = {}] of series) {
      let total = 0;
      for (const [i, count] of counts.entries()) {
        total += count;
        const le = i < bounds.length ? String(bounds[i]) : "+Inf";
        this.#sample(`${name}_bucket`, total, { ...labels, le });
      }
      this.#sample(`${name}_sum`, sum, labels);
      this.#sample(`${name}_count`, total, labels);
    }
  }

  toString(): string {
    return `${this.#lines.join("\n")}\n`;
  }
}

function printed(labels: Labels): string {
  const pairs = Object.entries(labels).filter(([, value]) => value !== "")
    .map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

/** A sample for each name of a record. */
function each(label: string, counts: object): Sample[] {
  return Object.entries(counts).map(([name, value]) => [Number(value), { [label]: name }]);
}

/** The attributes that the conventions want of every measurement of a model server. */
function genAi(model: string, error = ""): Labels {
  return {
    gen_ai_operation_name: "chat",
    gen_ai_provider_name: "spillway",
    gen_ai_request_model: model,
    error_type: error,
  };
}

function addStreams(text: MetricsText, models: [string, ModelMetrics][]): void {
  text.counter(
    "spillway_streams_total",
    "Streams that ended, by model, outcome and error code.",
    ...models.flatMap(([model, { streams }]) =>
      [...streams.values()].map(({ outcome, code, count }): Sample => [
        count,
        { model, outcome, code },
      ])
    ),
  );
  text.histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "From the request to the first item of a stream that did not fail.",
    ...models.map(([model, { firstToken }]) => [firstToken, genAi(model)] as const),
  );
  text.histogram(
    "gen_ai_server_time_per_output_token_seconds",
    "Time between the tokens of a completed stream: its mean.",
    ...models.map(([model, { perToken }]) => [perToken, genAi(model)] as const),
  );
  text.histogram(
    "gen_ai_server_request_duration_seconds",
    "From the request to the end of a stream.",
    ...models.flatMap(([model, { durations }]) =>
      [...durations].map(([error, duration]) => [duration, genAi(model, error)] as const)
    ),
  );
}

function addProcess(text: MetricsText, process: Stats["process"]): void {
  const {
    resumes,
    logReaders,
    logRejections,
    logEvents,
    logBytes,
    storeCalls,
    storeOutages,
    upstreamRequests,
    upstreamRetries,
    upstreamFallbacks,
    upstreamErrors,
  } = process;
  text.counter(
    "spillway_resumes_total",
    "Clients that came back to a logged stream, by result.",
    ...each("result", resumes),
  );
  text.counter(
    "spillway_log_readers_total",
    "Readers of logged streams that ended, by reason.",
    ...each("reason", logReaders),
  );
  text.counter(
    "spillway_log_rejected_streams_total",
    "Streams that a log has not taken, by error code.",
    ...each("code", logRejections),
  );
  text.counter("spillway_log_written_events_total", "Events written to logs.", [logEvents]);
  text.counter("spillway_log_written_bytes_total", "Bytes written to logs.", [logBytes]);
  text.histogram(
    "spillway_log_write_interval_seconds",
    "Time between two writes of a logged stream.",
    [times.logWrite],
  );
  text.counter(
    "spillway_store_calls_total",
    "Round trips to the store of a shared log, as Redis.",
    ...each("result", storeCalls),
  );
  text.histogram(
    "spillway_store_call_duration_seconds",
    "Round trips to the store of a shared log.",
    [times.storeCall],
  );
  text.counter("spillway_store_outages_total", "Outages of the store.", [storeOutages]);
  text.counter("spillway_upstream_requests_total", "Requests to upstreams.", [upstreamRequests]);
  text.counter("spillway_upstream_retries_total", "Those that were sent again.", [upstreamRetries]);
  text.counter(
    "spillway_upstream_fallbacks_total",
    "Times that the next upstream was asked.",
    [upstreamFallbacks],
  );
  text.counter(
    "spillway_upstream_errors_total",
    "Failures of upstreams, by kind.",
    ...each("kind", upstreamErrors),
  );
  text.histogram(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "From a request to an upstream to its first item.",
    [times.upstreamFirstChunk, { gen_ai_operation_name: "chat" }],
  );
  text.histogram(
    "gen_ai_client_operation_time_per_output_chunk_seconds",
    "Between two chunks of an upstream that hold items.",
    [times.upstreamChunk, { gen_ai_operation_name: "chat" }],
  );
}

/** What a handler has counted, with its health. */
export function reportOf(metrics: HandlerMetrics, health: Health): Report {
  const text = new MetricsText();
  const stats = metrics.stats();
  const { log } = stats;
  text.gauge("spillway_active", "What is open now.", ...each("kind", stats.active));
  text.gauge("spillway_draining", "1 while the handler drains.", [health === "draining" ? 1 : 0]);
  text.gauge("spillway_log_up", "0 while the log's store does not respond.", [
    health === "degraded" ? 0 : 1,
  ]);
  text.counter("spillway_ended_total", "Streams that ended.", ...each("outcome", stats.ended));
  text.counter("spillway_tokens_total", "Tokens of the streams that ended.", [stats.tokens]);
  text.counter("spillway_bytes_total", "Bytes of the streams that ended.", [stats.bytes]);
  addStreams(text, [...metrics.models]);
  text.counter(
    "spillway_responses_total",
    "Responses, by HTTP status.",
    ...each("status", stats.responses),
  );
  text.counter(
    "spillway_rejected_requests_total",
    "Requests that got no stream, by error code.",
    ...each("code", stats.rejected),
  );
  text.counter(
    "spillway_rejected_bodies_total",
    "Request bodies that were at fault or did not come, by error code.",
    ...each("code", stats.rejectedBodies),
  );
  if (log !== undefined) {
    text.gauge("spillway_log_streams", "Streams in the memory of the log.", [log.streams]);
    text.gauge("spillway_log_events", "Events in the memory of the log.", [log.events]);
    text.gauge("spillway_log_bytes", "Bytes in the memory of the log.", [log.bytes]);
  }
  addProcess(text, stats.process);
  return { health, stats, text: text.toString() };
}

/** The metrics as a response: Prometheus text, or JSON where the client prefers it. */
export function metricsResponse(request: Request, { stats, text }: Report): Response {
  const offers = [["text/plain"], ["application/json"]];
  if (negotiate(request.headers.get("accept"), offers) === 1) return jsonResponse(stats);
  return new Response(text, {
    headers: {
      "content-type": "text/plain; version=0.0.4; charset=utf-8",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    },
  });
}
