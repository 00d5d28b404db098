/** The list of conversations: which one is shown, and that none is deleted without asking. */
import { $, announce } from "../dom.ts";
import { stop } from "./answer.ts";
import { button, conversation, remove, showChat, shown, shownTurns } from "./conversation.ts";
import { forget, type Kept, keptTurns, remember, remembered } from "./kept.ts";

const NEW = "new";
const list = $("list");
const dialog = $<HTMLDialogElement>("sure");
let load: (id: string, fields: Partial<Kept>) => void;
/** Somebody wants this empty page: no other tab's conversation takes its place. */
let isWanted = false;

/** The conversation that a turn is of. */
export const chatOf = (id: string, { chat }: Partial<Kept>): string => chat ?? id;

/** Begins: shows the conversation that this tab has shown, or the latest. `loadTurn` shows a kept turn. */
export function beginChats(loadTurn: typeof load): void {
  load = loadTurn;
  const kept = keptTurns();
  // What has not ended goes on, whether or not it is shown.
  new Set(kept.filter(([, { end }]) => !end).map((turn) => chatOf(...turn))).forEach(loadChat);
  const last = kept.at(-1);
  const chat = remembered("chat") ?? (last ? chatOf(...last) : "");
  isWanted = chat === NEW;
  if (kept.some((turn) => chatOf(...turn) === chat)) openChat(chat);
  else drawList();
}

function loadChat(chat: string): void {
  for (const [id, fields] of keptTurns()) {
    if (chatOf(id, fields) === chat && !conversation.has(id)) load(id, fields);
  }
}

/** Shows a conversation. */
export function openChat(chat: string): void {
  remember("chat", chat || NEW);
  isWanted = chat === "";
  showChat(chat);
  loadChat(chat);
  showChat(chat);
  drawList();
}

/** Whether what another tab has begun may be shown here: nothing else is. */
export const isFree = (): boolean =>
  !isWanted && shownTurns().length === 0 && $<HTMLTextAreaElement>("query").value === "";

/** Draws the list. */
export function drawList(): void {
  const titles = new Map<string, string>();
  for (const [id, fields] of keptTurns()) {
    const chat = chatOf(id, fields);
    if (!titles.has(chat)) titles.set(chat, fields.query ?? "");
  }
  const items = [...titles].reverse().map(([chat, title]) => {
    const open = button(title.trim().slice(0, 80), () => {
      openChat(chat);
      $("chats").hidePopover();
    });
    if (chat === shown.chat) open.ariaCurrent = "true";
    const gone = button("×", () => ask(chat, title));
    gone.ariaLabel = `Delete: ${title.slice(0, 80)}`;
    const item = document.createElement("li");
    item.append(open, gone);
    return item;
  });
  list.replaceChildren(...items);
  $("none").hidden = items.length > 0;
  $("clear").hidden = shown.chat === "" || shownTurns().length === 0;
}

let deleting = "";

function ask(chat: string, title: string): void {
  deleting = chat;
  $("what").textContent = title.slice(0, 80);
  dialog.showModal();
}

$("keep").addEventListener("click", () => dialog.close());
$("delete").addEventListener("click", () => {
  dialog.close();
  for (const [id, fields] of keptTurns()) {
    if (chatOf(id, fields) !== deleting) continue;
    const turn = conversation.get(id);
    if (turn) {
      stop(turn);
      remove(turn);
    }
    forget(id);
  }
  if (deleting === shown.chat) openChat("");
  drawList();
  announce("Deleted.");
});
$("clear").addEventListener("click", () => {
  openChat("");
  announce("A new chat.");
  $("query").focus();
});
