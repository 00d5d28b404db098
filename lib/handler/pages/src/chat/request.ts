/** What is asked of the server: an answer, the rest of one, and that one be stopped. */
import { linesOf, type Problem } from "../problem.ts";
import { authorization } from "./kept.ts";
import { conversation, type Turn } from "./conversation.ts";

/** What was said before, of which the latest characters are sent. */
const MAX_HISTORY = 100_000;

interface Message {
  role: "user" | "assistant";
  content: string;
}

const addressOf = (streamId: string) => `streaming/${encodeURIComponent(streamId)}`;

/** Asks for a turn's answer, or, where that has begun, for the rest of it. */
export function request(turn: Turn): Promise<Response> {
  const { streamId, lastEventId } = turn;
  turn.connection = new AbortController();
  const { signal } = turn.connection;
  const headers: Record<string, string> = { accept: "text/event-stream", ...authorization() };
  if (streamId) {
    if (lastEventId) headers["last-event-id"] = lastEventId;
    return fetch(addressOf(streamId), { signal, cache: "no-store", headers });
  }
  headers["content-type"] = "application/json";
  const body = JSON.stringify({ messages: messagesOf(turn), model: turn.model });
  // The route of this page, which asks nothing of the shape of the input.
  return fetch("./", { signal, cache: "no-store", method: "POST", headers, body });
}

/** What was said before, and then the query. */
function messagesOf(turn: Turn): Message[] {
  const messages: Message[] = [{ role: "user", content: turn.query }];
  let left = MAX_HISTORY;
  for (const { chat, query, text, end } of [...conversation.values()].reverse()) {
    if (chat !== turn.chat || !end || end.kind === "failed" || text === "") continue;
    left -= query.length + text.length;
    if (left < 0) break;
    messages.unshift({ role: "user", content: query }, { role: "assistant", content: text });
  }
  return messages;
}

/** Asks the server to stop a generation. */
export function requestStop(streamId: string): void {
  const init = { method: "DELETE", headers: authorization(), keepalive: true };
  // If it does not arrive, patience ends.
  fetch(addressOf(streamId), init).catch(() => {});
}

/** What a problem says, in sentences. */
export function sentencesOf({ title = "The answer failed", ...more }: Problem): string {
  return linesOf({ title, ...more }).map((text) => text.replace(/\.?$/, ".")).join("\n");
}
