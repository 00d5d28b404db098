/** `GET /docs`: the reference, drawn from `/openapi.json` by the browser. Its sources are in `src/docs/`. */
import type { Api } from "../routes/route.ts";
import { DOCS } from "./generated.ts";
import { createPage } from "./page.ts";

/**
 * Creates the reference page, for `pages`. It shows the document, so the handler needs that as well.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { createHandler, openApi, referencePage } from "spillway/handler";
 *
 * const handler = createHandler({
 *   source: "Hello",
 *   pages: [referencePage()],
 *   document: openApi({ title: "Answers" }),
 * });
 * const response = await handler.fetch(new Request("http://localhost/docs"));
 * assert((await response.text()).startsWith("<!doctype html>"));
 * ```
 */
export function referencePage(): Api {
  const page = createPage(DOCS);
  return {
    routes: [{
      method: "GET",
      path: "/docs",
      anonymous: true,
      answer: ({ request }) => page(request),
    }],
    needs: "/openapi.json",
  };
}
