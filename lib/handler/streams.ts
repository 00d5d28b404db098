/**
 * Starts, resumes and stops the streams of a handler: the body is read and checked, the source found
 * and started, and its items sent in the format of the route's clients. A route only describes
 * itself. Here alone is decided whether a request starts a stream or resumes one.
 */
import { StreamError } from "../error.ts";
import type { ReplayLog, StreamObserver } from "../http/replay_log.ts";
import type { Format } from "../formats/format.ts";
import type { CheckedOptions } from "../http/options.ts";
import { type ClosableRequest, CLOSE_SOON } from "../http/connection.ts";
import { respond } from "../http/sse.ts";
import type { Source } from "../pipeline/pump.ts";
import type { Admission } from "./admission.ts";
import type { BodyKind, BodyReader } from "./body.ts";
import { checkInput, type StandardSchema, unlessGone } from "./input.ts";
import type { Call, ReadBody } from "./routes/route.ts";
import type { BodyRoute, InputSettings, StreamRoute } from "./routes/stream_route.ts";
import { faultsOf, InvalidInput } from "./schema.ts";
import { definedOf } from "../values.ts";

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
  /**
   * Called before a stream of a model begins. Returns what is called when it has ended.
   */
  observe(request: Request, model?: string): NonNullable<CheckedOptions["onClose"]>;
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
  /** The format that it has to be recorded in. */
  readonly format?: string;
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
    const { admission } = this.#init;
    const { owner } = call;
    admission.checkBegin(owner);
    // A body takes as long as its client likes, so the place is taken after it.
    const read = await this.read(call, route);
    return await admission.begin(owner, (observer) => this.#start(call, route, read, observer));
  }

  async #start<Body>(
    { request, owner }: Call,
    route: StreamRoute<Body>,
    { body, input: read, source }: ReadBody<Body>,
    observer: StreamObserver,
  ): Promise<Response> {
    const { options, schema, inputFrom, observe, rejected } = this.#init;
    const chatId = this.#log === undefined ? undefined : route.chatId?.(body);
    const ended = observe(request, modelOf(route, body));
    let hasEnded = false;
    // A stream that fails before its headers has ended by then, and is counted as one.
    const onReject = (error: unknown) => {
      if (!hasEnded) rejected(error, request);
    };
    const written: CheckedOptions = {
      ...options,
      ...definedOf({ owner, chatId, format: route.format?.(body) }),
      onClose(report) {
        // Of a recorded stream the log tells, as soon as the reader is dropped.
        if (report.code === "stalled") (request as ClosableRequest)[CLOSE_SOON]?.();
        hasEnded = true;
        ended(report);
      },
    };
    let input = read;
    if (!route.schema) input = await checkInput(schema, read, request.signal, route.invalidStatus);
    else if (inputFrom) {
      input = await unlessGone(Promise.resolve(inputFrom(read as never)), request.signal);
    }
    return respond(request, source, written, { ...observer, input, onReject });
  }

  /**
   * Reads the body of a request, checks it against the route's schema, and finds its source.
   *
   * @throws {StreamError} If the request is at fault.
   */
  async read<Body>({ request }: Call, route: BodyRoute<Body>): Promise<ReadBody<Body>> {
    const { bodies, settings, sourceOf } = this.#init;
    const value = await bodies.readJson(request, kindOf(route));
    const faults = route.schema ? faultsOf(value, route.schema) : [];
    if (faults.length > 0) {
      throw new InvalidInput(faults, "invalid_input", { status: route.invalidStatus });
    }
    const body = value as Body;
    const source = sourceOf(modelOf(route, body));
    return { body, input: route.input(body, settings), source };
  }

  /**
   * Joins or resumes a stream.
   *
   * @throws {StreamError} If the request is at fault, or there is no place for a reader.
   */
  resume(call: Call, which: Which): Promise<Response> {
    return this.#resume(call, which, "query");
  }

  async #resume({ request, owner }: Call, which: Which, kind: BodyKind): Promise<Response> {
    const { options, formats, admission, bodies } = this.#init;
    const log = this.#log;
    // A chat's page asks each time that it loads, and having nothing to resume is no error.
    if (log === undefined && which.chatId !== undefined) return this.#nothing();
    admission.checkJoin(owner);
    // A client that resumes by POST sends its body again. It is read within its limits and ignored.
    if (request.method === "POST") await bodies.skip(request, kind);
    return await admission.join(owner, async (observer) => {
      if (log === undefined) throw new StreamError("not_found");
      const { heartbeatMs, stallMs, headers, clock } = options;
      const asked = definedOf({ owner, heartbeatMs, stallMs, headers, clock });
      return await log.resume(request, { ...which, ...asked, formats }, observer);
    });
  }

  /**
   * Stops the generation of a stream.
   *
   * @throws {StreamError} `not_found` if the owner has no such stream, `too_many_streams` past a limit.
   */
  async stop({ owner }: Call, streamId: string): Promise<Response> {
    const log = this.#log;
    const stopped = log !== undefined && await this.#init.admission.stop(
      owner,
      () => log.stop({ streamId, ...definedOf({ owner }) }),
    );
    if (!stopped) throw new StreamError("not_found");
    return this.#nothing();
  }

  #nothing(): Response {
    return new Response(null, { status: 204, headers: new Headers(this.#init.options.headers) });
  }
}

/** The model that a body selects, by the name that its client has given. */
function modelOf<Body>({ picksModel }: BodyRoute<Body>, body: Body): string | undefined {
  return picksModel ? (body as { model: string }).model : undefined;
}

/** Which limit the bodies of a route have. */
function kindOf({ schema }: BodyRoute<never>): BodyKind {
  return schema === undefined ? "query" : "chat";
}
