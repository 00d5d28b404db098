/**
 * What all routes that stream have in common: read the body and check it, find the source, start
 * it, and send its items in the format of the route's clients. A route only describes itself; the
 * response is made here.
 */
import { StreamError } from "../../error.ts";
import type { Format } from "../../formats/format.ts";
import type { Source } from "../../pipeline/pump.ts";
import { checkInput, type StandardSchema } from "../input.ts";
import { type BodyLimits, readBody, readJson } from "../body.ts";
import { faultsOf, InvalidInput, type Schema } from "../schema.ts";
import type { SseOptions } from "../../http/options.ts";
import { respond, type StreamExtras } from "../../http/sse.ts";

/** One route that streams. `Body` is the type of a body that fits its schema. */
export interface StreamRoute<Body> {
  /** The schema of the body. Without it the body is the input, and the handler's schema checks it. */
  readonly schema?: Schema;
  /** The status of the response to a body that does not fit the schema. */
  readonly invalidStatus: 400 | 422;
  /** Whether the body's `model` selects the source. */
  readonly picksModel?: boolean;
  /** Makes the source's input from the body; it still has to fit the handler's schema. */
  input(body: Body): unknown;
  /** The format of the response. Without it the request selects one. */
  format?(body: Body): Format;
  /** The name of that format, against which a resumed stream is checked. */
  readonly formatName?: string;
  /** The id of the chat, if the request has one. */
  chatId?(body: Body): string | undefined;
}

/** What the handler provides for every route that streams. */
export interface StreamService {
  readonly options: SseOptions;
  readonly limits: BodyLimits;
  /** The schema of every input, if the user has set one. */
  readonly schema: StandardSchema | undefined;
  /** The schema of the input under a route without a schema, if the user has set none. */
  readonly fallback: StandardSchema;
  /**
   * The source of a model; without a name, the source of routes that select none.
   *
   * @throws {StreamError} `model_not_found`.
   */
  sourceOf(model?: string): Source<never>;
}

/**
 * Responds with a stream, or with the error that came before it.
 *
 * @throws {StreamError} If the request is at fault.
 */
export async function answerStream<Body>(
  request: Request,
  route: StreamRoute<Body>,
  { options, limits, schema, fallback, sourceOf }: StreamService,
  extras: StreamExtras,
  owner: string | undefined,
): Promise<Response> {
  const { log } = options;
  if (request.headers.has("last-event-id")) {
    // A client that resumes sends the same body again, and it must not start anything.
    await readBody(request, limits);
    if (log === undefined) throw new StreamError("not_found");
    const { heartbeatMs, stallMs, headers } = options;
    const format = route.formatName;
    return await log.resume(request, {
      ...definedOf({ owner, heartbeatMs, stallMs, headers, format }),
    }, extras);
  }
  const value = await readJson(request, limits);
  const faults = route.schema ? faultsOf(value, route.schema) : [];
  if (faults.length > 0) {
    throw new InvalidInput(faults, "invalid_input", { status: route.invalidStatus });
  }
  const body = value as Body;
  const source = sourceOf(route.picksModel ? (body as { model: string }).model : undefined);
  const chatId = log === undefined ? undefined : route.chatId?.(body);
  const written: SseOptions = {
    ...options,
    ...definedOf({ owner, chatId, format: route.format?.(body) }),
  };
  const checks = schema ?? (route.schema ? undefined : fallback);
  let input = route.input(body);
  if (checks) input = await checkInput(checks, input, request.signal, route.invalidStatus);
  return respond(request, source, written, { ...extras, input });
}

type Defined<T> = { [Name in keyof T]?: Exclude<T[Name], undefined> };

/** The properties that have a value. */
export function definedOf<T extends object>(options: T): Defined<T> {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as Defined<T>;
}
