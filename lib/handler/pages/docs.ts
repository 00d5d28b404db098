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
      answer: ({ request }) => elsewhere(request) ?? page(request),
    }],
    needs: "/openapi.json",
  };
}

/**
 * Sends a browser from `/docs/` to `/docs`: the page's own links are relative to that. The way is
 * relative as well, because a proxy may have cut off the beginning of the path.
 */
function elsewhere({ url }: Request): Response | undefined {
  const [slashes] = /\/*$/.exec(new URL(url).pathname)!;
  if (slashes === "") return undefined;
  const location = `${"../".repeat(slashes.length)}docs`;
  return new Response(null, { status: 308, headers: { location } });
}
