/**
 * How a route describes itself: an OpenAPI 3.2 operation as a literal, and what the document adds to
 * it. It stands below the descriptions so that each of them is data and nothing else.
 */

/** A JSON Schema, draft 2020-12. */
export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

/** A response as OpenAPI has it. */
export interface ResponseObject {
  readonly description: string;
  readonly headers?: Readonly<Record<string, JsonSchema>>;
  readonly content?: Readonly<Record<string, MediaTypeObject>>;
}

/** A body of one media type: the whole of it, or each item of a stream as it comes. */
export type MediaTypeObject =
  | { readonly schema: JsonSchema }
  | { readonly itemSchema: JsonSchema };

/** A parameter as OpenAPI has it. */
export interface ParameterObject {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required?: boolean;
  readonly description: string;
  readonly schema: JsonSchema;
}

/** The description of a route. The first fields are OpenAPI's own. */
export interface Operation {
  /** Unique in the document: generators name their functions after it. */
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  readonly tags: readonly string[];
  readonly parameters?: readonly ParameterObject[];
  readonly requestBody?: {
    readonly required: true;
    readonly content: Readonly<Record<string, MediaTypeObject>>;
  };
  /** The answers when all is well. */
  readonly responses: Readonly<Record<string, ResponseObject>>;

  /** The codes that the route fails with before its first byte, of the one table of codes. */
  readonly problems: readonly string[];
  /** Statuses of its own for some of them. */
  readonly statuses?: Readonly<Record<string, number>>;
  /** How it writes them, where that is not an RFC 9457 problem. */
  readonly errorContent?: MediaTypeObject;
  /** Schemas by the names that {@linkcode ref} gives them. */
  readonly schemas?: Readonly<Record<string, JsonSchema>>;
  /** Whether a log makes its streams resumable: with one it takes `Last-Event-ID` and names the stream. */
  readonly resumable?: boolean;
  /** Whether it asks for no credentials, also where the others do. */
  readonly anonymous?: boolean;
}

/** A schema of the document, by name. */
export function ref(name: string): JsonSchema {
  return { $ref: `#/components/schemas/${name}` };
}

/** A string that holds JSON, as an event's data does. */
export function jsonText(contentSchema: JsonSchema): JsonSchema {
  return { type: "string", contentMediaType: "application/json", contentSchema };
}

/**
 * One event as OpenAPI models it: an object of its fields, comments left out.
 *
 * @param event Its name; `undefined` is the standard's default.
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

/** A body of JSON that has to be there. */
export function jsonBody(schema: JsonSchema): NonNullable<Operation["requestBody"]> {
  return { required: true, content: { "application/json": { schema } } };
}

/** An answer of JSON. */
export function jsonAnswer(description: string, schema: JsonSchema): ResponseObject {
  return { description, content: { "application/json": { schema } } };
}

/** What goes wrong with a JSON body. */
export const BODY_PROBLEMS: readonly string[] = [
  "bad_request",
  "request_timeout",
  "payload_too_large",
  "unsupported_media_type",
  "invalid_input",
];

/** What goes wrong with a generation before its first token. */
export const STREAM_PROBLEMS: readonly string[] = [
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
