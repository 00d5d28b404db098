/** The requests of a diagnosis, one after the other: each is made because of what the one before has shown. */
import { connect } from "node:tls";
import type { Pace } from "../sources/paced.ts";
import {
  type Finding,
  judgeConnections,
  judgeEnd,
  judgeHead,
  judgeLumps,
  judgeSilence,
  longestSilence,
  type Measured,
  missingAccelBuffering,
  missingNoTransform,
  seconds,
  servedAtOnce,
} from "./findings.ts";
import type { Inquiry } from "./inquiry.ts";
import { proxyOf } from "./proxies.ts";
import { ask, type Call, CODINGS, type Observation } from "./request.ts";
import { isAtPace, measure } from "./spacing.ts";

/** What was found. */
export interface Diagnosis {
  /** `unknown`: it could not be asked, or what came is not enough to judge. */
  readonly verdict: "good" | "culprit" | "unknown";
  /** What is to blame, the first before the others. */
  readonly findings: readonly Finding[];
  /** What else there is to know. */
  readonly notes: readonly string[];
  /** Why nothing could be judged. */
  readonly reason?: string;
  /** The proxy that the response headers name. */
  readonly proxy?: string;
  /** Whether the tokens came from the server's paced source, so that the model is not to blame. */
  readonly isPaced: boolean;
}

/** What is told while it goes on. */
export interface Progress {
  /** The response whose tokens were measured. */
  tokens(measured: Measured): void;
  /** How long a silence was borne, and of how long a one. */
  silence(borneMs: number, triedMs: number): void;
  /** How many streams were served at once, and of how many. */
  connections(served: number, tried: number): void;
}

/** The paces that are asked for: of the tokens, of silence, and of streams that are opened at once. */
const PACE = { tokens: 30, intervalMs: 50 };
const SILENCE = { tokens: 2, intervalMs: 1 };
const AT_ONCE = { tokens: 20, intervalMs: 50 };

/** Until the end of a connection is known on the whole path, in ms. */
const SETTLED_MS = 200;

/** Asks, measures and judges. */
export async function examine(inquiry: Inquiry, progress: Progress): Promise<Diagnosis> {
  const endMs = performance.now() + inquiry.timeoutMs;
  const send = (call: Call) => ask(call, Math.max(1, endMs - performance.now()));

  const first = await send(callOf(inquiry, PACE));
  // A proxy that gives up on a silent server has no other way to say so.
  const gaveUp = first.status >= 502 && first.endMs > 1000 ? judgeEnd(first, false) : [];
  if (gaveUp.length > 0) return diagnosis({ first, findings: gaveUp, isPaced: false });
  const reason = reasonNotAsked(first);
  if (reason !== undefined) return { ...diagnosis({ first, isPaced: false }), reason };

  const isPaced = inquiry.isPaced && isAtPace(first, PACE.intervalMs);
  const intervalMs = isPaced ? PACE.intervalMs : undefined;
  const measured = (observation: Observation): Measured => ({
    observation,
    spacing: measure(observation, intervalMs),
  });
  const main = measured(first);
  progress.tokens(main);
  const isEncoded = first.headers["content-encoding"] !== undefined;
  const plain = main.spacing.shape === "lumps" && isEncoded
    ? measured(await send(callOf(inquiry, PACE, { "accept-encoding": "identity" })))
    : undefined;
  const findings = [
    ...judgeHead(first, callOf(inquiry, PACE).headers["accept"]!),
    ...judgeLumps(main, plain, isPaced),
    ...judgeEnd(first, isPaced),
  ];
  // Each of these starts generations, which a model would be paid for.
  const silenceMs = inquiry.silenceMs ?? longestSilence(first.headers);
  if (isPaced && silenceMs > 0) {
    const silent = await send(silentCall(inquiry, silenceMs));
    const [borneMs, cut] = judgeSilence(silent, silenceMs);
    findings.push(...cut);
    if (borneMs !== undefined) progress.silence(borneMs, silenceMs);
  }
  if (isPaced && inquiry.connections > 1) {
    const call = callOf(inquiry, AT_ONCE);
    // A proxy that counts connections has seen the end of the last one by then.
    await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
    const streams = await Promise.all(
      Array.from({ length: inquiry.connections }, () => send(call)),
    );
    findings.push(...judgeConnections(streams));
    progress.connections(servedAtOnce(streams).length, streams.length);
  }
  const notes = [...notesOn(main, inquiry, isPaced), ...await notesOnHttp(inquiry.url)];
  return diagnosis({ first, main, findings, notes, isPaced });
}

function diagnosis(
  { first, main, findings = [], notes = [], isPaced }: {
    readonly first: Observation;
    readonly main?: Measured;
    readonly findings?: readonly Finding[];
    readonly notes?: readonly string[];
    readonly isPaced: boolean;
  },
): Diagnosis {
  const shape = main?.spacing.shape ?? "few";
  const proxy = proxyOf(first.headers)?.name;
  const reason = findings.length > 0 || shape === "even"
    ? undefined
    : shape === "sent"
    ? "the server sent its tokens in lumps itself: it has too much to do"
    : `${main?.spacing.tokens ?? 0} tokens in ${seconds(first.endMs)} are too few to judge`;
  return {
    verdict: findings.length > 0 ? "culprit" : reason === undefined ? "good" : "unknown",
    findings,
    notes,
    isPaced,
    ...reason === undefined ? {} : { reason },
    ...proxy === undefined ? {} : { proxy },
  };
}

/** Why a response cannot be judged. */
function reasonNotAsked({ status, error, ending, headers }: Observation): string | undefined {
  if (status === 200) return undefined;
  if (status === 0) {
    return error ?? (ending === "limit" ? "no response in time" : "the connection was closed");
  }
  if (status >= 300 && status < 400) {
    return `${status}, redirected to ${headers["location"] ?? "?"}`;
  }
  const hint = status === 401 || status === 403
    ? ': credentials go with --header "Authorization: Bearer …"'
    : status === 404 || status === 405
    ? ": the URL needs the path of a stream, and --method its method"
    : "";
  return `the response is ${status}${hint}`;
}

/** What is asked; `pace` counts only if the server's paced source is asked. */
function callOf(inquiry: Inquiry, pace: Pace, further: Record<string, string> = {}): Call {
  const { url, method, headers, body, isPaced } = inquiry;
  return {
    url,
    method,
    headers: {
      accept: "text/event-stream",
      "accept-encoding": CODINGS,
      "user-agent": "spillway-doctor",
      ...body === undefined ? {} : { "content-type": "application/json" },
      ...headers,
      ...further,
    },
    body: isPaced ? JSON.stringify({ ...JSON.parse(body!), paced: pace }) : body,
  };
}

/** A stream that is silent before its last token: as NDJSON, which has no heartbeats. */
function silentCall(inquiry: Inquiry, silentMs: number): Call {
  const url = new URL(inquiry.url);
  url.searchParams.set("format", "ndjson");
  const pace = { ...SILENCE, silentMs };
  return callOf({ ...inquiry, url }, pace);
}

function notesOn(
  { observation: { headers, ending }, spacing }: Measured,
  inquiry: Inquiry,
  isPaced: boolean,
): string[] {
  const notes: string[] = [];
  const coding = headers["content-encoding"];
  if (inquiry.isPaced && !isPaced) {
    notes.push("The server has no paced source here, or does not know --paced.");
  }
  if (!isPaced && spacing.shape !== "few") {
    notes.push(
      `The model may be the cause of pauses up to ${seconds(spacing.longestPauseMs)}: ` +
        "--paced asks the server's own source, and tries silence and connections.",
    );
  }
  if (ending === "limit") {
    notes.push("The stream was not read to its end: --timeout-ms, or 20,000 events.");
  }
  if (coding !== undefined && spacing.shape === "even") {
    notes.push(`The path compresses (${coding}), and flushes after each token.`);
  }
  const missing = [missingNoTransform(headers), missingAccelBuffering(headers)]
    .filter((line) => line !== undefined);
  if (missing.length > 0) notes.push(`The response lacks ${missing.join(" and ")}.`);
  return notes;
}

/** What a browser is limited to: HTTP/2 has no such limit, and only comes with TLS. */
async function notesOnHttp(url: URL): Promise<string[]> {
  if (url.protocol === "https:" && await offersHttp2(url)) return [];
  return [
    "Without HTTP/2 a browser opens six connections to a host, in all of its tabs: " +
    "a seventh stream waits there.",
  ];
}

/** Whether the server would speak HTTP/2 with who asks for it (RFC 7301, ALPN). */
function offersHttp2({ hostname, port }: URL): Promise<boolean> {
  // Nothing is sent here, so whose certificate it is does not matter.
  return new Promise((resolve) => {
    const host = hostname.replace(/^\[|\]$/g, "");
    const options = { ALPNProtocols: ["h2", "http/1.1"], rejectUnauthorized: false };
    const name = /^[\d.]+$|:/.test(host) ? {} : { servername: host };
    const socket = connect({ host, port: Number(port || 443), ...options, ...name });
    const end = (offers: boolean) => {
      socket.destroy();
      resolve(offers);
    };
    socket.setTimeout(5000, () => end(false));
    socket.on("secureConnect", () => end(socket.alpnProtocol === "h2"));
    socket.on("error", () => end(false));
  });
}
