/**
 * `GET /`: a chat page for whatever source is configured, and `POST /`, which it asks. Its sources are
 * in `src/chat/`.
 */
import { type ChatFields, type ChatMessage, queryOf } from "../../chat.ts";
import { isEcho } from "../../sources/echo.ts";
import { FIELDS, fieldsOf } from "../routes/chat_fields.ts";
import type { Api, RouteContext } from "../routes/route.ts";
import type { StreamRoute } from "../routes/stream_route.ts";
import { CHAT } from "./generated.ts";
import { createPage, type Page } from "./page.ts";

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
  picksModel: true,
  input: (body): ChatPageInput => ({
    ...fieldsOf(body),
    messages: body.messages,
    query: queryOf(body.messages),
    api: "chat-page",
    body,
  }),
};

/** The lines without the paragraph with this id. */
function withoutParagraph(lines: readonly string[], id: string): readonly string[] {
  const from = lines.findIndex((line) => line.startsWith("<p ") && line.includes(` id="${id}"`));
  return lines.toSpliced(from, lines.indexOf("</p>", from) - from + 1);
}

/** The page with what is true of a handler: it says nothing else of it. */
function pageFor({ routes, source, readsChats }: RouteContext): Page {
  let html = CHAT.html;
  if (!isEcho(source)) html = withoutParagraph(html, "echo");
  if (readsChats) html = withoutParagraph(html, "unmapped");
  if (!routes.some(({ path }) => path === "/docs")) {
    html = html.filter((line) => !line.startsWith('<a href="docs">'));
  }
  return createPage({ ...CHAT, html });
}

/**
 * Creates the chat page, for `pages`. It says when the source is the echo, or reads no chat, and has a
 * link to the reference page where there is one.
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
  // One value may serve several handlers.
  const pages = new WeakMap<RouteContext, Page>();
  return {
    routes: [{
      method: "GET",
      path: "/",
      anonymous: true,
      answer: ({ request }, context) => {
        const page = pages.get(context) ?? pageFor(context);
        pages.set(context, page);
        return page(request);
      },
    }, {
      method: "POST",
      path: "/",
      answer: (call, context) => context.stream(call, pageChat),
    }],
  };
}
