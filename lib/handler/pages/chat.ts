/** `GET /`: a chat page for whatever source is configured. Its sources are in `src/chat/`. */
import type { Api } from "../routes/route.ts";
import { CHAT } from "./generated.ts";
import { createPage } from "./page.ts";

const LINK_TO_DOCS = '<a href="docs">API</a>';

/**
 * Creates the chat page, for `pages`. It has a link to the reference page where there is one.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { chatPage, createHandler } from "spillway/handler";
 *
 * const handler = createHandler({ source: "Hello", pages: [chatPage()] });
 * const response = await handler.fetch(new Request("http://localhost/"));
 * assert((await response.text()).startsWith("<!doctype html>"));
 * ```
 */
export function chatPage(): Api {
  const linked = createPage(CHAT);
  const alone = createPage({ ...CHAT, html: CHAT.html.filter((line) => line !== LINK_TO_DOCS) });
  return {
    routes: [{
      method: "GET",
      path: "/",
      anonymous: true,
      answer: ({ request }, { routes }) => {
        const page = routes.some(({ path }) => path === "/docs") ? linked : alone;
        return page(request);
      },
    }],
  };
}
