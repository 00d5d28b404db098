/**
 * `GET /`: a chat page for whatever source is configured, and `POST /`, which it asks. Its sources are
 * in `src/chat/`.
 */
import { type ChatFields, type ChatMessage, queryOf } from "../../chat.ts";
import { FIELDS, fieldsOf } from "../routes/chat_fields.ts";
import type { Api } from "../routes/route.ts";
import type { StreamRoute } from "../routes/stream_route.ts";
import { CHAT } from "./generated.ts";
import { createPage } from "./page.ts";

const LINK_TO_DOCS = '<a href="docs">API</a>';

/** The body that the chat page sends. Fields of {@linkcode ChatFields} are checked. */
export interface ChatPageRequest {
  /** The conversation, at least one message. */
  messages: ChatMessage[];
  /** Further fields, which nobody has checked. */
  [field: string]: unknown;
}

/** What a source gets as `input` from the chat page. */
export interface ChatPageInput extends ChatFields {
  /** The route. */
  api: "chat-page";
  /** The conversation. */
  messages: ChatMessage[];
  /** The request's body, unchanged. */
  body: ChatPageRequest;
}

/** What `POST /` reads. It is apart from `POST /streaming`, whose body is of the user's own shape. */
export const pageChat: StreamRoute<ChatPageRequest> = {
  schema: { type: "object", required: ["messages"], properties: FIELDS },
  invalidStatus: 422,
  input: (body): ChatPageInput => ({
    ...fieldsOf(body),
    messages: body.messages,
    query: queryOf(body.messages),
    api: "chat-page",
    body,
  }),
};

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
    }, {
      method: "POST",
      path: "/",
      answer: (call, context) => context.stream(call, pageChat),
    }],
  };
}
