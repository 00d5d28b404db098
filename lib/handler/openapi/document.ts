/** The OpenAPI 3.2 document, built from the routes that a handler serves and their operations. */
import { ALL_CODES } from "./all_codes.ts";
import type { StandardSchema } from "../input.ts";
import type { Route } from "../routes/route.ts";
import { embed, UNKNOWN } from "./embed.ts";
import {
  type JsonSchema,
  type Operation,
  type ParameterObject,
  ref,
  type ResponseObject,
  RUN_ID_SCHEMA,
} from "./operation.ts";

/** What the document says of the API as a whole. */
export interface ApiInfo {
  /** The API's name. @default {"Spillway"} */
  title?: string;
  /** The version of your API, not of this module. @default {"0"} */
  version?: string;
  /** A description of the API, in CommonMark. */
  description?: string;
}

/** What the document depends on, beside the routes. */
export interface DocumentOptions {
  readonly info: ApiInfo;
  /** The path under which the routes begin, as `/api`, or the empty string. */
  readonly basePath: string;
  /** The schema of the input, which the document calls `Input`. */
  readonly schema: StandardSchema;
  /** Whether callers have to authenticate. */
  readonly authorize: boolean;
  /** Whether there is a log, so that streams can be resumed. */
  readonly resumable: boolean;
  /** Called with the reason why a schema is not in the document. */
  readonly report: (error: unknown) => void;
}

/** A route with its operation. */
export interface DescribedRoute extends Pick<Route, "method" | "path" | "anonymous"> {
  readonly operation: Operation;
}

const PROBLEM: JsonSchema = {
  type: "object",
  description: "A problem (RFC 9457) with a machine-readable code.",
  properties: {
    type: { type: "string", format: "uri-reference" },
    title: { type: "string" },
    status: { type: "integer", minimum: 400, maximum: 599 },
    code: { type: "string", examples: Object.keys(ALL_CODES) },
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
/** Errors that a client may get when it resumes. */
const RESUME_PROBLEMS = ["not_found", "gone", "not_acceptable"];
/** The schemes in which API keys are sent to OpenAI, and to Anthropic. */
const SECURITY_SCHEMES = {
  bearer: { type: "http", scheme: "bearer" },
  apiKey: { type: "apiKey", in: "header", name: "X-Api-Key" },
};
/** Errors before any route: a host that is not served, an origin without a grant. */
const ACCESS_PROBLEMS = ["forbidden", "misdirected"];
const RETRY_AFTER: JsonSchema = {
  description: "Seconds to wait before trying again.",
  schema: { type: "integer", minimum: 0 },
};
const STREAM_ID: JsonSchema = {
  description: "The stream's id, used to resume or stop it.",
  schema: { type: "string" },
};
const STREAM_SETTINGS: JsonSchema = {
  description: "The times of an event stream, in ms: `heartbeat=5000, retry=1000`.",
  schema: { type: "string" },
};
const LAST_EVENT_ID: ParameterObject = {
  name: "Last-Event-ID",
  in: "header",
  description: "The id of the last event received: the response continues after it.",
  schema: { type: "string" },
};
/** What a request that begins a stream may name it with. */
const RUN_ID: ParameterObject = {
  name: "X-Run-Id",
  in: "header",
  description:
    "A name for the stream: the same request, sent again, joins it and generates nothing.",
  schema: RUN_ID_SCHEMA,
};
/** The error of a request whose name is that of another one. */
const RUN_PROBLEMS = ["bad_request", "stream_exists"];
const OWN_FAILURE = { description: "An error that the source defines." };
const UNAUTHORIZED = { description: "Missing or invalid credentials." };

/**
 * Describes the routes of a handler.
 *
 * @throws {TypeError} If two operations share an id, two schemas share a name, or an error code is
 * unknown.
 */
export function openApiDocument(
  routes: readonly DescribedRoute[],
  options: DocumentOptions,
): JsonSchema {
  const { info, basePath, authorize } = options;
  const schemas: Record<string, JsonSchema> = { Problem: PROBLEM, ...inputSchemas(options) };
  const paths: Record<string, Record<string, JsonSchema>> = {};
  const ids = new Set<string>();
  for (const { method, path, anonymous = false, operation } of routes) {
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
    item[method.toLowerCase()] = describe(operation, anonymous, options);
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

/**
 * The user's schema for the document. If JSON Schema cannot express it, the routes are described
 * without it.
 */
function inputSchemas({ schema, report }: DocumentOptions): Record<string, JsonSchema> {
  try {
    return embed("Input", schema);
  } catch (error) {
    report(error);
    return { Input: UNKNOWN };
  }
}

function describe(
  { problems, statuses, errorContent, schemas: _, resumable, ...literal }: Operation,
  anonymous: boolean,
  options: DocumentOptions,
): JsonSchema {
  const errorContents = errorContent ? { "application/json": errorContent } : AS_PROBLEM;
  const resumes = resumable === true && options.resumable;
  const begins = resumes && literal.requestBody !== undefined;
  const parameters = [
    ...literal.parameters ?? [],
    ...resumes ? [LAST_EVENT_ID] : [],
    ...begins ? [RUN_ID] : [],
  ];
  const responses = { ...literal.responses };
  const ok = responses[200];
  if (resumes && ok) {
    const headers = { "X-Stream-Id": STREAM_ID, "X-Stream-Settings": STREAM_SETTINGS };
    responses[200] = { ...ok, headers };
  }
  const codes = new Set([
    ...problems,
    ...resumes ? RESUME_PROBLEMS : [],
    ...begins ? RUN_PROBLEMS : [],
    ...ACCESS_PROBLEMS,
  ]);
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

/** The status of an error code under a route, which may override the code's usual one. */
function statusOf(code: string, statuses: Operation["statuses"]): number {
  if (!Object.hasOwn(ALL_CODES, code)) {
    throw new TypeError(`Cannot describe the code ${code}: unknown`);
  }
  return statuses?.[code] ?? ALL_CODES[code]![0];
}

/** One response for each status, with the error codes that it may have. */
function errorResponses(
  failures: readonly (readonly [code: string, status: number])[],
  content: NonNullable<ResponseObject["content"]>,
): Record<string, ResponseObject> {
  const responses: Record<string, ResponseObject> = {};
  for (const [code, status] of failures) {
    const others = responses[status]?.description;
    const description = `${others === undefined ? "" : `${others}\n`}- \`${code}\`: ${
      ALL_CODES[code]![1]
    }`;
    responses[status] = {
      description,
      ...status === 429 || status === 503 ? { headers: { "Retry-After": RETRY_AFTER } } : {},
      content,
    };
  }
  return responses;
}
