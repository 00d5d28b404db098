/** Serving a recorded stream to a client that comes back. */
import { StreamError } from "../error.ts";
import { jsonFormat, textFormat } from "../formats/events.ts";
import type { Format } from "../formats/format.ts";
import type { OpenStream, ResumeExtras, ResumeRequest } from "../http/replay_log.ts";
import { negotiate } from "../http/negotiate.ts";
import { EVENT_STREAM_TYPE, settingsOf, streamHeaders, withFields } from "../http/response.ts";
import { queryParameter } from "../http/url.ts";
import { TokenStream } from "../pipeline/stream.ts";
import type { EventLog, Followed, LoggedStream } from "./event_log.ts";
import { FormatFrames } from "./record.ts";
import { replayError } from "./codes.ts";
import { publish } from "../diagnostics.ts";
import { count, totals } from "../totals.ts";

/** Formats in which a stream can be resumed wherever it was recorded. */
const ALWAYS_KNOWN: readonly Format[] = [jsonFormat, textFormat];

/**
 * A position: a stream id, a dot, the number of the last event that the client has, and `.lost` if
 * that event reported the stream's loss.
 */
const POSITION = /^([\w-]{1,128})\.(\d{1,15})(\.lost)?$/;

/** The formats of which each event says what it has to without those before it. */
const TAIL_FORMATS: readonly string[] = [jsonFormat.name, textFormat.name];
const MAX_TAIL = 10_000;

/**
 * Resumes a stream of `log`, and counts how that went.
 *
 * @throws {StreamError} If nothing can be resumed.
 */
export async function resumeLogged(
  log: EventLog,
  request: Request,
  options: ResumeRequest,
  extras: ResumeExtras,
): Promise<Response> {
  let result = "other";
  try {
    const response = await resumed(log, request, options, extras);
    result = response.status === 204 ? "nothing" : "resumed";
    return response;
  } catch (error) {
    if (error instanceof StreamError) result = error.code;
    throw error;
  } finally {
    count(totals.resumes, result);
    publish("spillway:resume", () => ({ request, result }));
  }
}

async function resumed(
  log: EventLog,
  request: Request,
  options: ResumeRequest,
  extras: ResumeExtras,
): Promise<Response> {
  const { owner, chatId } = options;
  if (chatId !== undefined) {
    const logged = await log.latest(owner, chatId);
    const isLive = logged !== undefined && logged.endEvent === undefined && !logged.isLost;
    if (!isLive) return nothing(options);
    if (logged.firstEvent > 1) throw replayError("gone");
    return replay(request, logged, formatOf(logged, options), 0, options, extras);
  }
  const position = extras.after === undefined ? positionOf(request) : undefined;
  const tail = tailOf(request, position !== undefined);
  const streamId = options.streamId ?? position?.streamId;
  if (streamId === undefined) {
    throw new StreamError("bad_request", { detail: "Last-Event-ID is missing" });
  }
  if (position !== undefined && position.streamId !== streamId) {
    throw new StreamError("bad_request", { detail: "Last-Event-ID is of another stream" });
  }
  const logged = await log.find(streamId);
  if (logged === undefined || logged.info.owner !== owner) throw new StreamError("not_found");
  checkFormat(request, logged, options.format);
  if (tail !== undefined) {
    const after = beforeTail(logged, tail);
    return replay(request, logged, formatOf(logged, options), after, options, extras);
  }
  const format = formatOf(logged, options);
  const { firstEvent, lastEvent, endEvent } = logged;
  let after = extras.after ?? position?.event ?? 0;
  if (logged.isLost) {
    // A client that may have come further than the log gets the failure wherever it is.
    if (position?.toldOfLoss && isSafe(request)) return nothing(options);
  } else if (endEvent !== undefined && after >= lastEvent) {
    if (extras.after !== undefined) {
      return replay(request, logged, format, lastEvent - 1, options, extras);
    }
    if (after > lastEvent) {
      throw new StreamError("bad_request", { detail: "Last-Event-ID is past the end" });
    }
    // A 204 would send a client that POSTs into a loop: it gets the end once more.
    if (isSafe(request)) return nothing(options);
    after = endEvent - 1;
  }
  // A gap fails its first reader with `lagged`, and would do so again for ever.
  if (after + 1 < firstEvent || await logged.hasGap?.(after)) throw replayError("gone");
  return replay(request, logged, format, after, options, extras);
}

/** Whether a 204 tells the client that there is nothing more. */
function isSafe({ method }: Request): boolean {
  return method === "GET" || method === "HEAD";
}

function nothing({ headers }: ResumeRequest): Response {
  return new Response(null, { status: 204, ...headers === undefined ? {} : { headers } });
}

function positionOf(
  request: Request,
): { streamId: string; event: number; toldOfLoss: boolean } | undefined {
  const text = request.headers.get("last-event-id") ?? queryParameter(request, "lastEventId");
  if (text === null) return undefined;
  const [, streamId, event, lost] = POSITION.exec(text) ?? [];
  if (streamId === undefined) {
    throw new StreamError("bad_request", { detail: "Last-Event-ID is malformed" });
  }
  return { streamId, event: Number(event), toldOfLoss: lost !== undefined };
}

/** How many of the last events a client wants to begin with; `undefined` if it has not said so. */
function tailOf(request: Request, hasPosition: boolean): number | undefined {
  const text = isSafe(request) ? queryParameter(request, "tail") : null;
  if (text === null) return undefined;
  const tail = /^[1-9]\d{0,4}$/.test(text) ? Number(text) : Infinity;
  const detail = hasPosition
    ? "tail and Last-Event-ID exclude each other"
    : tail > MAX_TAIL
    ? `tail is not 1 to ${MAX_TAIL}`
    : undefined;
  if (detail !== undefined) throw new StreamError("bad_request", { detail });
  return tail;
}

/** The event before the last `tail` ones, the end not counted, or before all that are left. */
function beforeTail({ info, firstEvent, lastEvent, endEvent }: LoggedStream, tail: number): number {
  if (!TAIL_FORMATS.includes(info.format)) {
    const detail = `The stream is recorded as ${info.format}, which has no tail`;
    throw new StreamError("bad_request", { detail });
  }
  const last = endEvent === undefined ? lastEvent : endEvent - 1;
  return Math.max(firstEvent - 1, last - tail);
}

function checkFormat(request: Request, { info }: LoggedStream, wanted: string | undefined): void {
  const asked = wanted ?? queryParameter(request, "format");
  const accept = request.headers.get("accept");
  const fits = asked === null || asked === info.format;
  if (fits && (wanted !== undefined || negotiate(accept, [["text/event-stream"]]) === 0)) return;
  throw new StreamError("not_acceptable", { detail: `The stream is recorded as ${info.format}` });
}

/**
 * The format of a stream, in which its heartbeats and its reader's own failures are written.
 *
 * @throws {StreamError} `not_acceptable` (406) if the format is not known here.
 */
function formatOf({ info, format }: LoggedStream, { formats = [] }: ResumeRequest): Format {
  const known = format ?? [...formats, ...ALWAYS_KNOWN].find(({ name }) => name === info.format);
  if (known !== undefined) return known;
  const detail = `The stream is recorded as ${info.format}, which is unknown here`;
  throw new StreamError("not_acceptable", { detail });
}

/** Serves what a log holds of a stream, after event number `after`. */
async function replay(
  request: Request,
  logged: LoggedStream,
  format: Format,
  after: number,
  options: ResumeRequest,
  { observer }: ResumeExtras,
): Promise<Response> {
  const { info } = logged;
  const headers = withFields(
    new Headers(options.headers),
    streamHeaders(EVENT_STREAM_TYPE, info.headers, settingsOf(options, format), info.streamId),
  );
  if (request.method === "HEAD") return new Response(null, { headers });
  const stream = new TokenStream({
    request,
    // A generation that has not begun may fail with a status, which is then this client's as well.
    options: { ...options, commitAfterMs: logged.isStarting ? options.commitAfterMs ?? 0 : 0 },
    owner: { onEnd: () => observer?.onEnd?.(openStream) },
  });
  let followed: Followed | undefined = undefined;
  const openStream: OpenStream = {
    shutDown(error) {
      // A generation of this process is shut down by itself, and its readers end with it.
      if (logged.isRemote) followed?.drop(error);
      stream.shutDown();
    },
  };
  observer?.onOpen?.(openStream);
  const context = { request, streamId: info.streamId, lastId: undefined };
  try {
    followed = logged.follow(after, stream, new FormatFrames(format, context));
  } catch (error) {
    // A drain would wait for this reader, which has nothing that could end.
    observer?.onEnd?.(openStream);
    throw error;
  }
  return await stream.open(
    followed,
    () => {},
    (body) => new Response(body as BodyInit, { headers }),
  );
}
