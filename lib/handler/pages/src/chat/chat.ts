/**
 * The program of the chat page: the form, the keys, the other tabs, and what was kept of a conversation.
 * It is what a user of `POST /streaming` would write: it streams, stops, and after a reload, in a second
 * tab or after a lost network it goes on.
 */
import { $, announce } from "../dom.ts";
import { finish, run, stop, wakeAll } from "./answer.ts";
import { beginChats, chatOf, drawList, isFree, openChat } from "./chats.ts";
import {
  add,
  conversation,
  followLatest,
  isAnyBusy,
  isBusy,
  remove,
  shown,
  shownTurns,
  type Turn,
} from "./conversation.ts";
import { fieldsOf, forget, keepKey, type Kept, save, turnOfKey } from "./kept.ts";
import { loadModels, pickedModel } from "./models.ts";

/** How long another tab may take to begin what it asked for. */
const BEGIN_MS = 30_000;

const form = $<HTMLFormElement>("ask");
const queryField = $<HTMLTextAreaElement>("query");
const keyField = $<HTMLInputElement>("key");
const hint = $("hint");
const keys = hint.textContent;
/** What is in the field is sent when the answer ends. */
let isNext = false;

function ask(query: string, model = pickedModel()): void {
  followLatest();
  const random = crypto.getRandomValues(new Uint32Array(1))[0]!.toString(36);
  const id = Date.now().toString(36).padStart(9, "0") + random;
  const isNew = shown.chat === "";
  const chat = shown.chat ||= id;
  const turn = add(id, { chat, query, model }, askAgain);
  if (!save(turn)) {
    hint.textContent =
      "This browser has no room to keep this: after a reload it is gone. Delete a chat.";
  }
  if (isNew) openChat(chat);
  else drawList();
  run(turn);
}

function askAgain(turn: Turn): void {
  forget(turn.id);
  remove(turn);
  ask(turn.query, turn.model);
}

const stopAll = () => shownTurns().forEach((turn) => stop(turn));

// The field is as high as its text.
function fit(): void {
  queryField.style.height = "auto";
  queryField.style.height = `${queryField.scrollHeight + 2}px`;
}

function setNext(next: boolean): void {
  if (next === isNext) return;
  isNext = next;
  hint.classList.toggle("next", next);
  hint.textContent = next ? "It is sent when this answer ends. To stop the answer: Escape." : keys;
  if (next) announce("It is sent when this answer ends.");
}

queryField.addEventListener("input", () => {
  setNext(false);
  fit();
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  queryField.focus();
  const query = queryField.value;
  if (query.trim() === "") return;
  if (isAnyBusy()) return setNext(true);
  setNext(false);
  queryField.value = "";
  fit();
  ask(query);
});
// What follows a failure is for whoever reads of it to decide.
shown.onIdle = (kind) => {
  if (isNext && kind !== "failed") queueMicrotask(() => form.requestSubmit());
  setNext(isNext && kind !== "failed");
};
queryField.addEventListener("keydown", (event) => {
  // An Enter that ends a word of an input method sends nothing.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  form.requestSubmit();
});
addEventListener("keydown", ({ key, isComposing }) => {
  // What lies above the page is closed by that.
  const isCovered = document.querySelector(":popover-open, dialog[open]");
  if (key === "Escape" && !isComposing && !isCovered) stopAll();
});
$("stop").addEventListener("click", () => {
  stopAll();
  queryField.focus();
});
$("keys").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(keyField.value.trim());
  keyField.value = "";
  wakeAll("locked");
  loadModels();
  queryField.focus();
});
addEventListener("online", () => wakeAll("waiting"));

// Goes on with what was kept of a turn. An answer without a stream is just being asked for, or never was.
function goOn(id: string, fields: Partial<Kept>): void {
  const turn = add(id, fields, askAgain);
  if (turn.end) return;
  if (turn.streamId) return void run(turn);
  const askedMs = parseInt(id.slice(0, 9), 36);
  const leftMs = Math.max(0, askedMs + BEGIN_MS - Date.now());
  setTimeout(() => {
    if (!turn.phase) finish(turn, "failed", "The page was left before the answer began.");
  }, leftMs);
}

addEventListener("storage", ({ key, newValue }) => {
  if (key === null) {
    conversation.forEach((turn) => remove(turn));
    return openChat("");
  }
  const id = turnOfKey(key);
  if (id === undefined) return;
  const turn = conversation.get(id);
  if (newValue === null) {
    if (turn) remove(turn);
    return drawList();
  }
  if (turn?.phase || turn?.end) return;
  const fields = fieldsOf(newValue);
  const chat = chatOf(id, fields);
  const isLoaded = chat === shown.chat || turn !== undefined;
  if (turn) remove(turn);
  if (isLoaded) goOn(id, fields);
  else if (isFree()) openChat(chat);
  drawList();
});

addEventListener("pagehide", () => {
  for (const turn of conversation.values()) {
    if (!isBusy(turn)) continue;
    if (turn.streamId) save(turn);
    else finish(turn, "failed", "The page was left before the answer began.");
  }
});

beginChats(goOn);
loadModels();
