/**
 * What web-platform-tests say of an `EventSource`: the responses as a server, and `connect` as the
 * client that is judged. Nothing of Node is imported, because a page runs the client's half too.
 */
import type {
  Clock,
  ConnectError,
  ConnectInit,
  ConnectionState,
  ServerSentEvent,
} from "../../lib/client.ts";

type Connect = typeof import("../../lib/client.ts").connect;

/** A response as the vectors have it. */
interface WptResponse {
  status?: number;
  "content-type"?: string;
  body_text?: string;
  location?: string;
  "Access-Control-Allow-Origin"?: string;
  "Access-Control-Allow-Credentials"?: string;
}

/** What a client is to make of one response, or of several one after another. */
export interface Scenario {
  name: string;
  kind: "client-scenario" | "client-fail" | "client-open" | "client-request" | "client-cors";
  response?: WptResponse;
  connections?: {
    response: WptResponse;
    request?: Record<string, string>;
    after_ms?: number;
    expect: ServerSentEvent[] | string;
  }[];
  expect?: string;
}

/** The file of vectors. */
export interface WptVectors {
  vectors: { name: string; bytes_b64: string; expected: ServerSentEvent[] }[];
  scenarios: Scenario[];
}

/** What a client has made of it. */
export interface Outcome {
  events: [event: string, data: string, lastEventId: string][];
  /** The error's kind and code. */
  error: string | undefined;
  reason: string | undefined;
  waits: number[];
}

/** The runtime's clock, on which waits are a hundredth of what they are. */
export const QUICK: Clock = {
  now: () => Date.now(),
  setTimer: (run, ms) => setTimeout(run, ms / 100),
  clearTimer: (timer) => clearTimeout(timer as number),
};

const OK: WptResponse = { body_text: "data: data\n\n" };

/** Serves the vectors and the scenarios; `/wpt/scenario/{number}/{any}` is one, from its start. */
export class WptServer {
  readonly #file: WptVectors;
  /** The headers of the requests for each path. */
  readonly seen: Map<string, Headers[]> = new Map();

  constructor(file: WptVectors) {
    this.#file = file;
  }

  /** The response of a path, if it is one of these. */
  respond(request: Request): Response | undefined {
    const { pathname } = new URL(request.url);
    const [, what, at] = /^\/wpt\/(vector|scenario|ok)\/?(\d*)/.exec(pathname) ?? [];
    if (what === undefined) return undefined;
    const seen = this.seen.get(pathname) ?? [];
    this.seen.set(pathname, seen);
    seen.push(request.headers);
    // A browser remembers where a 301 leads, and comes back there.
    if (what === "ok") return responseOf(seen.length > 1 ? { status: 204 } : OK, request);
    const scenario = this.#file.scenarios[Number(at)]!;
    if (what === "scenario") {
      const { response = OK, connections = [{ response }] } = scenario;
      const turn = connections[seen.length - 1]?.response;
      return responseOf(turn ?? { status: 204 }, request);
    }
    if (seen.length > 1) return new Response(null, { status: 204 });
    const bytes = atob(this.#file.vectors[Number(at)]!.bytes_b64);
    return new Response(Uint8Array.from(bytes, (char) => char.charCodeAt(0)), {
      headers: { "content-type": "text/event-stream" },
    });
  }
}

function responseOf(response: WptResponse, request: Request): Response {
  const {
    status = 200,
    body_text = OK.body_text!,
    location,
    "content-type": type = "text/event-stream",
  } = response;
  const headers = new Headers({ "content-type": type });
  if (location !== undefined) {
    headers.set("location", new URL(request.url).pathname.replace("scenario", location.slice(1)));
  }
  for (const name of ["Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"] as const) {
    const value = response[name];
    const origin = request.headers.get("origin") ?? "";
    if (value !== undefined) headers.set(name, value.replace("<request origin>", origin));
  }
  const hasBody = status !== 204 && status !== 205;
  return new Response(hasBody ? body_text : null, { status, headers });
}

/** Reads to the end, as an `EventSource` does: what cannot be resumed is asked for again. */
export async function read(
  connect: Connect,
  url: string,
  init: ConnectInit = {},
): Promise<Outcome> {
  const outcome: Outcome = { events: [], error: undefined, reason: undefined, waits: [] };
  const onState = ({ inMs }: ConnectionState) =>
    void (inMs !== undefined && outcome.waits.push(inMs));
  const connection = connect(url, { restart: true, retryMs: 1, onState, ...init });
  try {
    for await (const { event, data, lastEventId } of connection) {
      outcome.events.push([event, data, lastEventId]);
    }
  } catch (error) {
    const { kind, code } = error as ConnectError;
    outcome.error = `${kind}, ${code}`;
  }
  outcome.reason = connection.state.reason;
  return outcome;
}

/** Reads every vector, and every scenario that is not of origins, which servers have not. */
export async function readAll(
  connect: Connect,
  base: string,
  { vectors, scenarios }: WptVectors,
): Promise<{ vectors: Outcome[]; scenarios: (Outcome | undefined)[] }> {
  const run = Math.random().toString(36).slice(2);
  const init = (name: string) => ({ clock: QUICK, maxRetries: name.endsWith("503") ? 0 : 8 });
  return {
    vectors: await Promise.all(
      vectors.map((_, at) => read(connect, `${base}/wpt/vector/${at}/${run}`, init(""))),
    ),
    scenarios: await Promise.all(
      scenarios.map(({ kind, name }, at) =>
        kind === "client-cors"
          ? undefined
          : read(connect, `${base}/wpt/scenario/${at}/${run}`, init(name))
      ),
    ),
  };
}

/** What is wrong with the outcomes, one line each. */
export function faultsOf(
  { vectors, scenarios }: WptVectors,
  outcomes: Awaited<ReturnType<typeof readAll>>,
  server: WptServer,
): string[] {
  const faults: string[] = [];
  const same = (name: string, seen: unknown, wanted: unknown) => {
    const [found, expected] = [JSON.stringify(seen), JSON.stringify(wanted)];
    if (found !== expected) faults.push(`${name}: ${found}, not ${expected}`);
  };
  const rows = (events: readonly ServerSentEvent[]) =>
    events.map(({ event, data, lastEventId }) => [event, data, lastEventId]);
  const requests = (at: number) =>
    [...server.seen].filter(([path]) => path.startsWith(`/wpt/scenario/${at}/`)).at(-1)?.[1] ?? [];
  for (const [at, { name, expected }] of vectors.entries()) {
    const { events, error } = outcomes.vectors[at]!;
    same(name, [events, error], [rows(expected), undefined]);
  }
  for (const [at, scenario] of scenarios.entries()) {
    const { name, kind, connections = [], response = {} } = scenario;
    const outcome = outcomes.scenarios[at];
    if (outcome === undefined) continue;
    const { events, error, reason, waits } = outcome;
    const { status = 200 } = response;
    if (kind === "client-scenario") {
      const all = connections.flatMap(({ expect }) => typeof expect === "string" ? [] : expect);
      same(name, [events, error, reason], [rows(all), undefined, "nothing_new"]);
      for (const [turn, { request = {}, after_ms = 0 }] of connections.entries()) {
        const id = request["Last-Event-ID_utf8"];
        if (id !== undefined) same(name, idIn(requests(at)[turn]!), id);
        const waitMs = waits[turn - 1]!;
        if (turn > 0 && !(waitMs >= after_ms)) faults.push(`${name}: came back after ${waitMs} ms`);
      }
    } else if (kind === "client-fail") {
      const code = status === 200 ? "no_event_stream" : `http_${status}`;
      // Others than an `EventSource` know that a server that is busy has begun nothing.
      const gaveUp = { 503: "gave-up", 404: "gone", 410: "gone" }[status] ?? "refused";
      same(name, [events, error], [[], status === 204 ? undefined : `${gaveUp}, ${code}`]);
      same(`${name}: requests`, requests(at).length, 1);
    } else {
      same(name, events.slice(0, 1), [["message", "data", ""]]);
      same(`${name}: Accept`, requests(at)[0]!.get("accept"), "text/event-stream");
    }
  }
  return faults;
}

/** The last event id of a request. Some servers show each byte as a character. */
function idIn(headers: Headers): string {
  const value = headers.get("last-event-id") ?? "";
  const codes = Array.from(value, (char) => char.charCodeAt(0));
  return codes.some((code) => code > 255)
    ? value
    : new TextDecoder().decode(Uint8Array.from(codes));
}
