/**
 * `openApi()`: the document as a value that a handler is given. Separate from the document because the
 * operations of all routes come together here, each found by its method and path.
 */
import { jsonResponse } from "../../http/response.ts";
import { checkOptionNames } from "../../option_names.ts";
import type { Api, RouteContext } from "../routes/route.ts";
import { agUiOperations } from "./ag_ui.ts";
import { anthropicOperations } from "./anthropic.ts";
import { type ApiInfo, openApiDocument } from "./document.ts";
import { openaiOperations } from "./openai.ts";
import type { JsonSchema, Operations } from "./operation.ts";
import { pageOperations } from "./pages.ts";
import { responsesOperations } from "./responses.ts";
import { serviceOperations } from "./service.ts";
import { streamingOperations } from "./streaming.ts";
import { uiMessageOperations } from "./ui_message.ts";

/** The operations of all routes. */
export const OPERATIONS: Operations = {
  ...streamingOperations,
  ...openaiOperations,
  ...responsesOperations,
  ...anthropicOperations,
  ...uiMessageOperations,
  ...agUiOperations,
  ...serviceOperations,
  ...pageOperations,
};

const INFO: Record<keyof ApiInfo, true> = { title: true, version: true, description: true };

/**
 * Creates the OpenAPI document of a handler, for `document`: `GET /openapi.json` describes each of its
 * routes.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { createHandler, openApi } from "spillway/handler";
 *
 * const handler = createHandler({ source: "Hello", document: openApi({ title: "Answers" }) });
 * const response = await handler.fetch(new Request("http://localhost/openapi.json"));
 * assert((await response.json()).info.title === "Answers");
 * ```
 *
 * @throws {TypeError} If a field of `info` is unknown or not a string.
 */
export function openApi(info: ApiInfo = {}): Api {
  checkOptionNames(ACTION, info, Object.keys(INFO));
  for (const [name, value] of Object.entries(info)) {
    if (value === undefined || typeof value === "string") continue;
    throw new TypeError(`${ACTION}: ${name} is not a string`);
  }
  // Made once for each handler: the schema of its input is asked for JSON Schema only then.
  const documents = new WeakMap<RouteContext, JsonSchema>();
  return {
    routes: [{
      method: "GET",
      path: "/openapi.json",
      anonymous: true,
      answer(_call, context) {
        let document = documents.get(context);
        if (document === undefined) {
          document = describe(context, info);
          documents.set(context, document);
        }
        return jsonResponse(document);
      },
    }],
  };
}

const ACTION = "Cannot describe the API";

function describe(context: RouteContext, info: ApiInfo): JsonSchema {
  const { basePath, input: schema, authorize, resumable, report } = context;
  const routes = context.routes.flatMap((route) => {
    // A page of the embedder's own has no operation.
    const operation = OPERATIONS[`${route.method} ${route.path}`];
    return operation === undefined ? [] : [{ ...route, operation }];
  });
  return openApiDocument(routes, { info, basePath, schema, authorize, resumable, report });
}
