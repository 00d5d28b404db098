/**
 * Starts, resumes and stops the streams of a handler: the body is read and checked, the source found
 * and started, and its items sent in the format of the route's clients. A route only describes
 * itself. Here alone is decided whether a request starts a stream or resumes one.
 */
import { StreamError } from "../error.ts";
import type { RecordedExtras, ReplayLog, StreamState } from "../http/replay_log.ts";
import type { Format } from "../formats/format.ts";
import type { CheckedOptions } from "../http/options.ts";
import { type ClosableRequest, CLOSE_SOON } from "../http/connection.ts";
import { chooseFormat, isEvents, respond } from "../http/sse.ts";
import type { StreamReport } from "../pipeline/generation.ts";
import type { Source } from "../pipeline/pump.ts";
import { COMMIT_AFTER_MS } from "../pipeline/stream.ts";
import type { Admission } from "./admission.ts";
import type { BodyKind, BodyReader } from "./body.ts";
import { checkInput, type StandardSchema, unlessGone } from "./input.ts";
import type { Call, ReadBody } from "./routes/route.ts";
import { checkRunId } from "./run_id.ts";
import type { BodyRoute, InputSettings, StreamRoute } from "./routes/stream_route.ts";
import { faultsOf, InvalidInput } from "./schema.ts";
import { definedOf, sha256 } from "../values.ts";

/** What the streams of a handler have in common. */
export interface StreamsInit {
  /** The options of each stream. */
  readonly options: CheckedOptions;
  /** The formats of the routes, in which streams may be recorded. */
  readonly formats: readonly Format[];
  readonly admission: Admission;
  readonly bodies: BodyReader;
  /** The schema of the input of routes that have none of their own. */
  readonly schema: StandardSchema;
  /** Makes the input of a chat route one of the user's own shape, if the user has set it. */
  readonly inputFrom: ((chat: never) => unknown) | undefined;
  readonly settings: InputSettings;
  /** Called when a request failed before it had a stream, and has its response. */
  rejected(error: unknown, request: Request): void;
  /** Called when a stream has ended. `model` is what its request asked for, if it named one. */
  ended(report: StreamReport, request: Request, model: string | undefined): void;
  /**
   * The source of a model; without a name, the source of routes that select none.
   *
   * @throws {StreamError} `model_not_found`.
   */
  sourceOf(model?: string): Source<never>;
}

/** The stream that a client wants to join or resume; by default that of `Last-Event-ID`. */
interface Which {
  readonly streamId?: string;
  readonly chatId?: string;
  /** The name that its client has given it. */
  readonly runId?: string;
  /** The format that it has to be recorded in. */
  readonly format?: string;
  /** How long a generation that has not begun is waited for, which may fail with a status. */
  readonly commitAfterMs?: number;
  /** Number of the last event that the client has, in place of an event id. */
  readonly after?: number;
}

/** The streams of a handler. */
export class Streams {
  readonly #init: StreamsInit;
  readonly #log: ReplayLog | undefined;

  constructor(init: StreamsInit) {
    this.#init = init;
    this.#log = init.options.log;
  }

  /**
   * Starts a stream or, for a client that comes back, resumes it.
   *
   * @throws {StreamError} If the request is at fault, or there is no place for a stream.
   */
  async stream<Body>(call: Call, route: StreamRoute<Body>): Promise<Response> {
    // A client that resumes starts no generation.
    if (call.request.headers.has("last-event-id")) {
      return await this.#resume(call, definedOf({ format: route.formatName }), kindOf(route));
    }
    const runId = call.request.headers.get("x-run-id");
    const isNamed = runId !== null && !(route.isAlwaysNamed && this.#log === undefined);
    if (isNamed) return await this.#run(call, route, runId);
    const { admission } = this.#init;
    const { owner } = call;
    admission.checkBegin(owner);
    // A body takes as long as its client likes, so the place is taken after it.
    const read = await this.read(call, route);
    return await admission.begin(owner, (observer) => this.#start(call, route, read, { observer }));
  }

  /** Joins the stream that has this name, or starts one under it. */
  async #run<Body>(call: Call, route: StreamRoute<Body>, runId: string): Promise<Response> {
    const { request, owner } = call;
    const { admission, options } = this.#init;
    const log = this.#log;
    checkRunId(runId, owner);
    if (log === undefined) throw unkept("this server keeps no streams");
    // Also a full server, and one that drains, lets clients join.
    admission.checkJoin(owner);
    let digest!: Promise<string>;
    const read = await this.read(call, route, (bytes) => digest = sha256(bytes));
    const format = chooseFormat(request, route.format?.(read.body) ?? options.format);
    if (!isEvents(format)) throw unkept("this response is no event stream");
    const { commitAfterMs = COMMIT_AFTER_MS } = options;
    const claim = await log.claim({ owner, runId, digest: await digest, commitAfterMs });
    const { streamId, run } = claim;
    if (run === undefined) {
      return await this.#join(call, { streamId, format: format.name, commitAfterMs });
    }
    try {
      return await admission.begin(owner, (observer) => {
        return this.#start(call, route, read, { observer, run }, streamId);
      });
    } finally {
      claim.settle();
    }
  }

  async #start<Body>(
    { request, owner }: Call,
    route: StreamRoute<Body>,
    { body, input: read, source }: ReadBody<Body>,
    extras: RecordedExtras,
    streamId?: string,
  ): Promise<Response> {
    const { options, schema, inputFrom } = this.#init;
    const isBackground = route.isBackground?.(body) === true;
    const chatId = this.#log === undefined ? undefined : route.chatId?.(body);
    const end = new StreamEnd(this.#init, request, modelOf(route, body));
    const written: CheckedOptions = {
      ...options,
      ...definedOf({ owner, chatId, streamId, format: route.format?.(body) }),
      onClose: end.onClose,
    };
    let input = read;
    if (!route.schema) input = await checkInput(schema, read, request.signal, route.invalidStatus);
    else if (inputFrom) {
      input = await unlessGone(Promise.resolve(inputFrom(read as never)), request.signal);
    }
    const onReject = (error: unknown) => end.rejected(error);
    return respond(request, source, written, { ...extras, isBackground, input, onReject });
  }

  /**
   * Reads the body of a request, checks it against the route's schema, and finds its source.
   *
   * @throws {StreamError} If the request is at fault.
   */
  async read<Body>(
    { request }: Call,
    route: BodyRoute<Body>,
    onBytes?: Parameters<BodyReader["readJson"]>[2],
  ): Promise<ReadBody<Body>> {
    const { bodies, settings, sourceOf } = this.#init;
    const value = await bodies.readJson(request, kindOf(route), onBytes);
    const faults = route.schema ? faultsOf(value, route.schema) : [];
    if (faults.length > 0) {
      throw new InvalidInput(faults, "invalid_input", { status: route.invalidStatus });
    }
    const body = value as Body;
    const source = sourceOf(modelOf(route, body));
    return { body, input: await route.input(body, settings), source };
  }

  /**
   * Joins or resumes a stream.
   *
   * @throws {StreamError} If the request is at fault, or there is no place for a reader.
   */
  resume(call: Call, which: Which): Promise<Response> {
    return this.#resume(call, which, "query");
  }

  async #resume(call: Call, which: Which, kind: BodyKind): Promise<Response> {
    const { request, owner } = call;
    const { admission, bodies } = this.#init;
    if (which.runId !== undefined) checkRunId(which.runId, owner);
    // A chat's page asks each time that it loads, and having nothing to resume is no error.
    if (this.#log === undefined && which.chatId !== undefined) return this.#nothing();
    admission.checkJoin(owner);
    // A client that resumes by POST sends its body again. It is read within its limits and ignored.
    if (request.method === "POST") await bodies.skip(request, kind);
    const { commitAfterMs = COMMIT_AFTER_MS } = this.#init.options;
    const isNamed = which.runId !== undefined;
    return await this.#join(call, { ...which, ...isNamed && { commitAfterMs } });
  }

  async #join({ request, owner }: Call, { runId, after, ...which }: Which): Promise<Response> {
    const { options, formats, admission } = this.#init;
    const log = this.#log;
    return await admission.join(owner, async (observer) => {
      if (log === undefined) throw new StreamError("not_found");
      const { heartbeatMs, stallMs, headers, clock } = options;
      const asked = definedOf({ owner, heartbeatMs, stallMs, headers, clock });
      let { streamId } = which;
      if (runId !== undefined) {
        streamId = await log.named(owner, runId);
        if (streamId === undefined) throw new StreamError("not_found");
      }
      const wanted = { ...which, ...definedOf({ streamId }), ...asked, formats };
      return await log.resume(request, wanted, { observer, ...definedOf({ after }) });
    });
  }

  /**
   * Stops the generation of a stream.
   *
   * @throws {StreamError} `not_found` if the owner has no such stream, `too_many_streams` past a limit.
   */
  async stop(call: Call, streamId: string): Promise<Response> {
    const asked = { streamId, ...definedOf({ owner: call.owner }) };
    await this.#find(call, (log) => log.stop(asked));
    return this.#nothing();
  }

  /**
   * Finds out how far a stream is.
   *
   * @throws {StreamError} As {@linkcode stop} does.
   */
  look(call: Call, streamId: string): Promise<StreamState> {
    return this.#find(call, (log) => log.look(streamId, call.owner));
  }

  /**
   * Stops a stream and drops what is held of it.
   *
   * @throws {StreamError} As {@linkcode stop} does.
   */
  async forget(call: Call, streamId: string): Promise<void> {
    await this.#find(call, (log) => log.forget(streamId, call.owner));
  }

  /** What the log finds of a stream; it may have to look for it elsewhere. */
  async #find<Found>(
    { owner }: Call,
    find: (log: ReplayLog) => Promise<Found>,
  ): Promise<Exclude<Found, false | undefined>> {
    const log = this.#log;
    const found = log && await this.#init.admission.stop(owner, () => find(log));
    if (found === undefined || found === false) throw new StreamError("not_found");
    return found as Exclude<Found, false | undefined>;
  }

  #nothing(): Response {
    return new Response(null, { status: 204, headers: new Headers(this.#init.options.headers) });
  }
}

/** What is called at the ends of a stream. It holds nothing of its start but the request. */
class StreamEnd {
  readonly #init: StreamsInit;
  readonly #request: Request;
  readonly #model: string | undefined;
  #hasEnded = false;

  constructor(init: StreamsInit, request: Request, model: string | undefined) {
    this.#init = init;
    this.#request = request;
    this.#model = model;
  }

  /** A stream that fails before its headers has ended by then, and is counted as one. */
  rejected(error: unknown): void {
    if (!this.#hasEnded) this.#init.rejected(error, this.#request);
  }

  readonly onClose = (report: StreamReport): void => {
    // Of a recorded stream the log tells, as soon as the reader is dropped.
    if (report.code === "stalled") (this.#request as ClosableRequest)[CLOSE_SOON]?.();
    this.#hasEnded = true;
    return this.#init.ended(report, this.#request, this.#model);
  };
}

/** The error where a name could not keep what it promises: that its stream can be joined. */
function unkept(why: string): StreamError {
  return new StreamError("bad_request", { detail: `X-Run-Id cannot be kept: ${why}` });
}

/** The model that a body selects, by the name that its client has given. */
function modelOf<Body>({ picksModel }: BodyRoute<Body>, body: Body): string | undefined {
  return picksModel ? (body as { model: string }).model : undefined;
}

/** Which limit the bodies of a route have. */
function kindOf({ schema }: BodyRoute<never>): BodyKind {
  return schema === undefined ? "query" : "chat";
}
