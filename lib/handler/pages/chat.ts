/** `GET /`: a chat page for whatever source is configured. Its sources are in `src/chat/`. */
import { CHAT } from "./generated.ts";
import { createPage, type Page } from "./page.ts";

const LINK_TO_DOCS = '<a href="docs">API</a>';

/** The page; with `docs` it has a link to the reference. */
export function chatPage({ docs }: { docs: boolean }): Page {
  return createPage(
    docs ? CHAT : { ...CHAT, html: CHAT.html.filter((line) => line !== LINK_TO_DOCS) },
  );
}
