/**
 * The OpenAPI 3.2 document, built from the routes that a handler serves and from nothing else: what is
 * not in its table is not in the document, and the other way round.
 */
import { CODES } from "../../error.ts";
import type { StandardSchema } from "../input.ts";
import { embed, UNKNOWN } from "./embed.ts";
import {
  type JsonSchema,
  type Operation,
  type ParameterObject,
  ref,
  type ResponseObject,
} from "./operation.ts";

/** What the document says of the API as a whole. */
export interface ApiInfo {
  /** Its name. @default {"Spillway"} */
  title?: string;
  /** Its version, which is yours and not the module's. @default {"0"} */
  version?: string;
  /** What it is for, in CommonMark. */
  description?: string;
}

/** What the document depends on beside the routes. */
export interface DocumentOptions {
  readonly info: ApiInfo;
  /** Where the routes begin, as `/api`, or the empty string. */
  readonly basePath: string;
  /** What the input has to be; in the document it is `Input`. */
  readonly schema: StandardSchema;
  /** Whether callers have to say who they are. */
  readonly authorize: boolean;
  /** Whether there is a log. */
  readonly resumable: boolean;
  /** Told why a schema is not in the document. */
  readonly report: (error: unknown) => void;
}

/** Paths, then methods, as a handler has them. */
export type DescribedRoutes = Readonly<
  Record<string, Readonly<Record<string, { readonly operation: Operation }>>>
>;

const PROBLEM: JsonSchema = {
  type: "object",
  description: "A problem (RFC 9457) with a machine-readable code.",
  properties: {
    type: { type: "string", format: "uri-reference" },
    title: { type: "string" },
    status: { type: "integer", minimum: 400, maximum: 599 },
    code: { type: "string", examples: Object.keys(CODES) },
    detail: { type: "string" },
    resume: {
      const: true,
      description: "Only this connection ended: the stream continues and can be resumed.",
    },
    errors: {
      type: "array",
      description: "Validation errors of the input.",
      items: {
        type: "object",
        properties: {
          pointer: { type: "string", format: "json-pointer" },
          detail: { type: "string" },
        },
        required: ["pointer", "detail"],
      },
    },
  },
  required: ["type", "title", "status", "code"],
};
const AS_PROBLEM = { "application/problem+json": { schema: ref("Problem") } };
/** What a reader that comes back may hear. */
const RESUME_PROBLEMS = ["not_found", "gone", "not_acceptable"];
/** As API keys are sent to OpenAI, and to Anthropic. */
const SECURITY_SCHEMES = {
  bearer: { type: "http", scheme: "bearer" },
  apiKey: { type: "apiKey", in: "header", name: "X-Api-Key" },
};
/** Before any route: a host that is not served, a page that was granted nothing. */
const ACCESS_PROBLEMS = ["forbidden", "misdirected"];
const RETRY_AFTER: JsonSchema = {
  description: "Seconds to wait before trying again.",
  schema: { type: "integer", minimum: 0 },
};
const STREAM_ID: JsonSchema = {
  description: "The stream's id, used to resume or stop it.",
  schema: { type: "string" },
};
const LAST_EVENT_ID: ParameterObject = {
  name: "Last-Event-ID",
  in: "header",
  description: "The id of the last event received: the response continues after it.",
  schema: { type: "string" },
};
const OWN_FAILURE = { description: "An error that the source defines." };
const UNAUTHORIZED = { description: "Missing or invalid credentials." };

/**
 * Describes the routes of a handler.
 *
 * @throws {TypeError} If two operations have one id, a schema two meanings, or a code none.
 */
export function openApiDocument(routes: DescribedRoutes, options: DocumentOptions): JsonSchema {
  const { info, basePath, authorize } = options;
  const schemas: Record<string, JsonSchema> = { Problem: PROBLEM, ...inputSchemas(options) };
  const paths: Record<string, Record<string, JsonSchema>> = {};
  const ids = new Set<string>();
  for (const [path, methods] of Object.entries(routes)) {
    for (const [method, { operation }] of Object.entries(methods)) {
      if (ids.has(operation.operationId)) {
        throw new TypeError(`Cannot describe two routes as ${operation.operationId}`);
      }
      ids.add(operation.operationId);
      for (const [name, schema] of Object.entries(operation.schemas ?? {})) {
        if ((schemas[name] ??= schema) !== schema) {
          throw new TypeError(`Cannot describe two schemas as ${name}`);
        }
      }
      const item = paths[path] ??= {};
      item[method.toLowerCase()] = describe(operation, options);
    }
  }
  return {
    openapi: "3.2.0",
    info: { ...info, title: info.title ?? "Spillway", version: info.version ?? "0" },
    ...basePath === "" ? {} : { servers: [{ url: basePath }] },
    paths,
    components: {
      schemas,
      ...authorize ? { securitySchemes: SECURITY_SCHEMES } : {},
    },
    ...authorize ? { security: [{ bearer: [] }, { apiKey: [] }] } : {},
  };
}

/** A schema may hold what JSON Schema has no words for; the routes can be described all the same. */
function inputSchemas({ schema, report }: DocumentOptions): Record<string, JsonSchema> {
  try {
    return embed("Input", schema);
  } catch (error) {
    report(error);
    return { Input: UNKNOWN };
  }
}

function describe(
  { problems, statuses, errorContent, schemas: _, resumable, anonymous, ...literal }: Operation,
  options: DocumentOptions,
): JsonSchema {
  const errorContents = errorContent ? { "application/json": errorContent } : AS_PROBLEM;
  const resumes = resumable === true && options.resumable;
  const parameters = [...literal.parameters ?? [], ...resumes ? [LAST_EVENT_ID] : []];
  const responses = { ...literal.responses };
  const ok = responses[200];
  if (resumes && ok) responses[200] = { ...ok, headers: { "X-Stream-Id": STREAM_ID } };
  const codes = new Set([...problems, ...resumes ? RESUME_PROBLEMS : [], ...ACCESS_PROBLEMS]);
  const failures = [...codes].map((code) => [code, statusOf(code, statuses)] as const);
  if (options.authorize && codes.has("too_many_streams")) failures.push(["too_many_streams", 429]);
  return {
    ...literal,
    ...parameters.length > 0 ? { parameters } : {},
    responses: {
      ...responses,
      ...errorResponses(failures, errorContents),
      ...problems.includes("internal")
        ? { default: { ...OWN_FAILURE, content: errorContents } }
        : {},
      ...options.authorize && !anonymous
        ? { 401: { ...UNAUTHORIZED, content: errorContents } }
        : {},
    },
    ...options.authorize && anonymous ? { security: [] } : {},
  };
}

/** The status of a code under a route that may have one of its own for it. */
function statusOf(code: string, statuses: Operation["statuses"]): number {
  if (!Object.hasOwn(CODES, code)) {
    throw new TypeError(`Cannot describe the code ${code}: unknown`);
  }
  return statuses?.[code] ?? CODES[code]![0];
}

/** A response per status, that says which codes it may have. */
function errorResponses(
  failures: readonly (readonly [code: string, status: number])[],
  content: NonNullable<ResponseObject["content"]>,
): Record<string, ResponseObject> {
  const responses: Record<string, ResponseObject> = {};
  for (const [code, status] of failures) {
    const others = responses[status]?.description;
    const description = `${others === undefined ? "" : `${others}\n`}- \`${code}\`: ${
      CODES[code]![1]
    }`;
    responses[status] = {
      description,
      ...status === 429 || status === 503 ? { headers: { "Retry-After": RETRY_AFTER } } : {},
      content,
    };
  }
  return responses;
}
