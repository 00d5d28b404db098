/** What the measurements mean: what is to blame, and the line to change. */
import { isObject, parseJson } from "../values.ts";
import { type Proxy, proxyByPace, proxyOf, type Trouble } from "./proxies.ts";
import { isEventStream, type Observation } from "./request.ts";
import type { Spacing } from "./spacing.ts";

/** Something that is to blame. */
export interface Finding {
  readonly code: Trouble | "missing_header" | "content_type" | "cut";
  /** One sentence. */
  readonly verdict: string;
  /** The line to change. */
  readonly change: string;
}

/** A response, and how its tokens arrived. */
export interface Measured {
  readonly observation: Observation;
  readonly spacing: Spacing;
}

/** Shorter than the pauses of nearly every model, in ms: what is cut sooner was not silent. */
const SILENT_MS = 1000;
/** Where a server does not say how often it sends a heartbeat, in ms. */
const HEARTBEAT_MS = 5000;

/** What is wrong with the response headers, however the tokens arrive. */
export function judgeHead({ headers }: Observation, accept: string): Finding[] {
  if (!accept.includes("text/event-stream") || isEventStream(headers)) return [];
  const type = headers["content-type"];
  return [{
    code: "content_type",
    verdict: `The response is ${type || "of no type"}: an EventSource accepts no other than ` +
      "text/event-stream.",
    change: "Response header: Content-Type: text/event-stream",
  }];
}

/**
 * Why tokens come in lumps. `plain` is the same request without `Accept-Encoding`, if the response was
 * compressed.
 */
export function judgeLumps(
  first: Measured,
  plain: Measured | undefined,
  isPaced: boolean,
): Finding[] {
  const { observation: { headers }, spacing } = first;
  if (spacing.shape !== "lumps") return [];
  const proxy = proxyOf(headers) ?? proxyByPace(spacing);
  const where = proxy === undefined ? "" : `, probably in ${proxy.name}`;
  if (plain?.spacing.shape === "even") {
    const verdict =
      `Tokens come in lumps: compression (${headers["content-encoding"]}) holds them ` +
      `back${where}.`;
    return [remedy("compression", verdict, proxy, missingNoTransform(headers))];
  }
  const doubt = isPaced ? "" : ", or the model sends them so (--paced tells which)";
  const verdict = `Tokens come in lumps: the path buffers them${where}${doubt}.`;
  return [remedy("buffering", verdict, proxy, missingAccelBuffering(headers))];
}

/** The proxy's line; where no proxy is known, the response header that is missing. */
function remedy(
  code: "compression" | "buffering",
  verdict: string,
  proxy: Proxy | undefined,
  missing: string | undefined,
): Finding {
  if (proxy !== undefined) return { code, verdict, change: proxy.lines[code] };
  if (missing !== undefined) {
    return { code: "missing_header", verdict, change: `Response header: ${missing}` };
  }
  const change = code === "compression"
    ? "Each proxy of the path: compress no text/event-stream, or flush after each chunk"
    : "Each proxy of the path: switch response buffering off here (nginx: proxy_buffering off;)";
  return { code, verdict, change };
}

/** A header that asks proxies to change nothing, if the response lacks it. */
export function missingNoTransform(headers: Observation["headers"]): string | undefined {
  const isThere = /\bno-transform\b/i.test(headers["cache-control"] ?? "");
  return isThere ? undefined : "Cache-Control: no-cache, no-transform";
}

/** A header that asks proxies to hold nothing back, if the response lacks it. nginx keeps it to itself. */
export function missingAccelBuffering(headers: Observation["headers"]): string | undefined {
  const isThere = headers["x-accel-buffering"] === "no" || proxyOf(headers)?.name === "nginx";
  return isThere ? undefined : "X-Accel-Buffering: no";
}

/** Whether a stream was cut off, and after which silence. A paced one must end with `done`. */
export function judgeEnd(observation: Observation, isPaced: boolean): Finding[] {
  if (!wasCut(observation, isPaced)) return [];
  const { endMs, lastMs = 0, headers } = observation;
  const silentMs = endMs - lastMs;
  if (silentMs >= SILENT_MS) return idleCut(silentMs, headers);
  return [{
    code: "cut",
    verdict: `The stream was cut off after ${seconds(endMs)}, while tokens came.`,
    change: "Each proxy of the path: raise its limit on the length of a response",
  }];
}

/** How long a silence was borne, in ms, `undefined` where that was not seen; and what cut it. */
export function judgeSilence(
  observation: Observation,
  triedMs: number,
): [borneMs: number | undefined, findings: Finding[]] {
  const { status, endMs, lastMs = 0 } = observation;
  if (wasCut(observation, true)) return [endMs - lastMs, judgeEnd(observation, true)];
  return [status === 200 && observation.ending === "complete" ? triedMs : undefined, []];
}

function wasCut({ status, ending, received }: Observation, isPaced: boolean): boolean {
  if (ending === "limit") return false;
  // Who gives up before anything has arrived says so with a status.
  if (status !== 200) return status === 502 || status === 504 || status === 0;
  const isDone = received.some(({ event }) => event === "done" || event === "failed");
  return ending === "cut" || (isPaced && !isDone);
}

function idleCut(silentMs: number, headers: Observation["headers"]): Finding[] {
  // What is longer than a heartbeat's pause meets no event stream.
  if (silentMs > heartbeatOf(headers) + SILENT_MS) return [];
  const heartbeatMs = Math.max(500, Math.floor(silentMs / 2000) * 1000);
  const own = `server: heartbeatMs: ${heartbeatMs} (HEARTBEAT_MS=${heartbeatMs})`;
  const line = proxyOf(headers)?.lines.idle_cut;
  return [{
    code: "idle_cut",
    verdict: `The path cuts what is silent for ${seconds(silentMs)}, before a heartbeat comes.`,
    change: line === undefined ? `On the ${own}` : `${line} or, on the ${own}`,
  }];
}

/** A silence that is longer than any of the server's event streams, in ms. */
export function longestSilence(headers: Observation["headers"]): number {
  const heartbeatMs = heartbeatOf(headers);
  return SILENT_MS + (heartbeatMs === Infinity ? HEARTBEAT_MS : heartbeatMs);
}

/** How often the server sends a heartbeat, in ms. */
function heartbeatOf(headers: Observation["headers"]): number {
  const [, ms] = /\bheartbeat=(\d+)/.exec(headers["x-stream-settings"] ?? "") ?? [];
  return Number(ms ?? HEARTBEAT_MS) || Infinity;
}

/** Whether streams that were opened at once were served at once. */
export function judgeConnections(streams: readonly Observation[]): Finding[] {
  const served = servedAtOnce(streams);
  if (served.length === streams.length) return [];
  const other = streams.find((stream) => !served.includes(stream))!;
  const became = other.status === 200
    ? "waited"
    : `got ${other.status || (other.error ?? "no response")}`;
  const proxy = proxyOf(other.headers);
  const problem = parseJson(other.text);
  const isOurs = isObject(problem) && "code" in problem && problem.code === "too_many_streams";
  return [{
    code: "connections",
    verdict: `Of ${streams.length} streams at once the path serves ${served.length}: ` +
      `the next one ${became}.`,
    change: isOurs
      ? "Server: limits.maxStreamsPerOwner, limits.maxStreams (MAX_STREAMS)"
      : proxy?.lines.connections ??
        "Each proxy of the path: raise its limit on connections from one client, or to one server",
  }];
}

/** The streams that did not wait for another one to end. All are asked at once, and equally long. */
export function servedAtOnce(streams: readonly Observation[]): Observation[] {
  const complete = streams.filter(({ status, ending }) => status === 200 && ending === "complete");
  const [first] = [...complete].sort((a, b) => a.endMs - b.endMs);
  if (first === undefined) return [];
  // Where a path holds everything back until the end, only the end tells.
  const isBuffered = (first.firstMs ?? 0) > first.endMs * 0.8;
  const latestMs = first.endMs * 1.6 + 200;
  return complete.filter(({ firstMs = Infinity, endMs }) =>
    isBuffered ? endMs <= latestMs : firstMs < first.endMs
  );
}

/** A time for people. */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
