/**
 * The type of a route's description: an OpenAPI 3.2 operation as a literal, and what the document
 * adds to it. Separate from the descriptions so that those are only data.
 */
import type { Route } from "../routes/route.ts";

/** A JSON Schema, draft 2020-12. */
export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

/** A response as OpenAPI defines it. */
export interface ResponseObject {
  readonly description: string;
  readonly headers?: Readonly<Record<string, JsonSchema>>;
  readonly content?: Readonly<Record<string, MediaTypeObject>>;
}

/** A body of one media type: the schema of the entire body, or of each item of a stream. */
export type MediaTypeObject =
  | { readonly schema: JsonSchema }
  | { readonly itemSchema: JsonSchema };

/** A parameter as OpenAPI defines it. */
export interface ParameterObject {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required?: boolean;
  readonly description: string;
  readonly schema: JsonSchema;
}

/** Descriptions of routes, by method and path: `GET /health`. */
export type Operations = Readonly<Record<`${Route["method"]} ${Route["path"]}`, Operation>>;

/** The description of a route. The first fields are OpenAPI's own. */
export interface Operation {
  /** The operation's id, unique in the document: code generators name their functions after it. */
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  readonly tags: readonly string[];
  readonly parameters?: readonly ParameterObject[];
  readonly requestBody?: {
    readonly required: true;
    readonly content: Readonly<Record<string, MediaTypeObject>>;
  };
  /** The responses of successful requests. */
  readonly responses: Readonly<Record<string, ResponseObject>>;

  /** Error codes of the one table with which the route may fail before the response headers. */
  readonly problems: readonly string[];
  /** Statuses of this route for some error codes, in place of the usual ones. */
  readonly statuses?: Readonly<Record<string, number>>;
  /** The body of this route's errors, if it is not an RFC 9457 problem. */
  readonly errorContent?: MediaTypeObject;
  /** Schemas by the names that {@linkcode ref} takes. */
  readonly schemas?: Readonly<Record<string, JsonSchema>>;
  /**
   * Whether a log makes the route's streams resumable: then it takes `Last-Event-ID` and sends a
   * stream id.
   */
  readonly resumable?: boolean;
}

/** A reference to a schema of the document, by name. */
export function ref(name: string): JsonSchema {
  return { $ref: `#/components/schemas/${name}` };
}

/** A string that holds JSON, as the data of an event does. */
export function jsonText(contentSchema: JsonSchema): JsonSchema {
  return { type: "string", contentMediaType: "application/json", contentSchema };
}

/**
 * One event as OpenAPI models it: an object of its fields, without comments.
 *
 * @param event The event name; `undefined` is the standard's default.
 */
export function eventSchema(
  event: JsonSchema | string | undefined,
  data: JsonSchema,
  description?: string,
): JsonSchema {
  return {
    type: "object",
    ...description === undefined ? {} : { description },
    properties: {
      event: typeof event === "object" ? event : { const: event ?? "message" },
      data,
      id: { type: "string" },
      retry: { type: "integer", minimum: 0 },
    },
    required: typeof event === "string" ? ["event", "data"] : ["data"],
  };
}

/** The name that a client gives its stream. */
export const RUN_ID_SCHEMA: JsonSchema = {
  type: "string",
  pattern: "^[A-Za-z0-9_-]{1,128}$",
  description: "22 characters or more, unless the server asks for keys.",
};

/** A required JSON request body. */
export function jsonBody(schema: JsonSchema): NonNullable<Operation["requestBody"]> {
  return { required: true, content: { "application/json": { schema } } };
}

/** A JSON response. */
export function jsonAnswer(description: string, schema: JsonSchema): ResponseObject {
  return { description, content: { "application/json": { schema } } };
}

/** Error codes of a request whose JSON body is at fault. */
export const BODY_PROBLEMS: readonly string[] = [
  "bad_request",
  "request_timeout",
  "payload_too_large",
  "too_many_bodies",
  "unsupported_media_type",
  "invalid_input",
];

/** Error codes of a generation that fails before its first token. */
export const STREAM_PROBLEMS: readonly string[] = [
  "context_length_exceeded",
  "upstream_bad_request",
  "upstream_too_large",
  "upstream_unprocessable",
  "rate_limited",
  "internal",
  "item_too_large",
  "bad_upstream",
  "upstream_failed",
  "truncated",
  "answer_too_large",
  "line_too_large",
  "event_too_large",
  "overflow",
  "too_many_streams",
  "log_full",
  "shutting_down",
  "upstream_timeout",
];
