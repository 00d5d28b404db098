/**
 * The program of the chat page: the form, the keys, the other tabs, and what was kept of a conversation.
 * It is what a user of `POST /streaming` would write: it streams, stops, and after a reload, in a second
 * tab or after a lost network it goes on.
 */
import { $, announce } from "../dom.ts";
import { finish, run, stop, wakeAll } from "./answer.ts";
import { fieldsOf, forget, keepKey, type Kept, keptTurns, save, turnOfKey } from "./kept.ts";
import {
  add,
  conversation,
  followLatest,
  isAnyBusy,
  isBusy,
  remove,
  type Turn,
} from "./conversation.ts";

/** How long another tab may take to begin what it asked for. */
const BEGIN_MS = 30_000;

const form = $<HTMLFormElement>("ask");
const queryField = $<HTMLTextAreaElement>("query");
const keyField = $<HTMLInputElement>("key");

function ask(query: string): void {
  followLatest();
  const random = crypto.getRandomValues(new Uint32Array(1))[0]!.toString(36);
  const turn = add(Date.now().toString(36).padStart(9, "0") + random, { query }, askAgain);
  save(turn);
  run(turn);
}

function askAgain(turn: Turn): void {
  forget(turn.id);
  remove(turn);
  ask(turn.query);
}

const stopAll = () => conversation.forEach((turn) => stop(turn));

// The field is as high as its text.
function fit(): void {
  queryField.style.height = "auto";
  queryField.style.height = `${queryField.scrollHeight + 2}px`;
}
queryField.addEventListener("input", fit);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  queryField.focus();
  const query = queryField.value;
  if (query.trim() === "" || isAnyBusy()) return;
  queryField.value = "";
  fit();
  ask(query);
});
queryField.addEventListener("keydown", (event) => {
  // An Enter that ends a word of an input method sends nothing.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  form.requestSubmit();
});
addEventListener("keydown", ({ key, isComposing }) => {
  if (key === "Escape" && !isComposing) stopAll();
});
$("stop").addEventListener("click", () => {
  stopAll();
  queryField.focus();
});
$("clear").addEventListener("click", () => {
  stopAll();
  for (const turn of conversation.values()) {
    forget(turn.id);
    remove(turn);
  }
  announce("A new chat.");
  queryField.focus();
});
$("keys").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(keyField.value.trim());
  keyField.value = "";
  wakeAll("locked");
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
  if (key === null) return conversation.forEach((turn) => remove(turn));
  const id = turnOfKey(key);
  if (id === undefined) return;
  const turn = conversation.get(id);
  if (newValue === null) return turn && remove(turn);
  if (turn?.phase || turn?.end) return;
  if (turn) remove(turn);
  goOn(id, fieldsOf(newValue));
});

addEventListener("pagehide", () => {
  for (const turn of conversation.values()) {
    if (!isBusy(turn)) continue;
    if (turn.streamId) save(turn);
    else finish(turn, "failed", "The page was left before the answer began.");
  }
});

for (const [id, fields] of keptTurns()) goOn(id, fields);
