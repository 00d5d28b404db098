/**
 * What all routes that stream do: read the body and check it, find the source, start it, and send its
 * items as the route's clients read them. A route says how; none of them answers by itself.
 */
import { StreamError } from "../../error.ts";
import type { Format } from "../../formats/format.ts";
import type { Source } from "../../pipeline/pump.ts";
import { checkInput, type StandardSchema } from "../input.ts";
import { type BodyLimits, readBody, readJson } from "../body.ts";
import { resumed } from "../../http/resume.ts";
import { faultsOf, InvalidInput, type Schema } from "../schema.ts";
import { respond, type SseOptions, type StreamExtras } from "../../http/sse.ts";

/** One route that streams. `Body` is what its schema lets through. */
export interface StreamRoute<Body> {
  /** Without it the body is the input, and the handler's schema says what it has to be. */
  readonly schema?: Schema;
  /** The status of a body that breaks the schema. */
  readonly invalidStatus: 400 | 422;
  /** Whether the body's `model` says which source answers. */
  readonly picksModel?: boolean;
  /** What the source is given, if it fits the handler's schema. */
  input(body: Body): unknown;
  /** How the answer is written. Without it the request chooses. */
  format?(body: Body): Format;
  /** The name of that format, by which a reader that comes back is known. */
  readonly formatName?: string;
  /** The chat that is answered, where the request names one. */
  chatId?(body: Body): string | undefined;
}

/** What the handler has for every route that streams. */
export interface StreamService {
  readonly options: SseOptions;
  readonly limits: BodyLimits;
  /** What every input has to be, if the user says so. */
  readonly schema: StandardSchema | undefined;
  /** What it has to be under a route without a schema, if the user does not. */
  readonly fallback: StandardSchema;
  /**
   * The source of a model, or, without a name, of whoever does not pick one.
   *
   * @throws {StreamError} `model_not_found`.
   */
  sourceOf(model?: string): Source<never>;
}

/**
 * Answers a stream, or the problem that came before it.
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
    // Whoever comes back sends the same body again, and it must not start anything.
    await readBody(request, limits);
    if (log === undefined) throw new StreamError("not_found");
    const { heartbeatMs, stallMs, headers } = options;
    const format = route.formatName;
    return await resumed(request, {
      log,
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
