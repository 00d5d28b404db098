/** The conversation as it is shown: its turns, what each says of itself, and where the view is scrolled to. */
import { $, appendText, copyText } from "../dom.ts";
import { AnswerView } from "./answer_view.ts";
import type { Kept } from "./kept.ts";

/**
 * A query and its answer. A turn has no phase before it runs here; then it is "asking", "streaming",
 * "waiting" for the network or "locked" for want of a key, until it has an end, which stays.
 */
export interface Turn extends Kept {
  phase?: "asking" | "streaming" | "waiting" | "locked";
  /** Somebody has asked for its end. */
  stopping?: boolean;
  saving?: ReturnType<typeof setTimeout> | undefined;
  connection?: AbortController;
  /** Ends whatever it waits for. */
  wake?: () => void;
  /** When it is tried again by itself, or when the server would have it tried again. */
  dueMs?: number;
  /** What "Try again" does. */
  readonly again: (turn: Turn) => void;
  readonly article: HTMLElement;
  readonly answer: AnswerView;
  /** The answer as it came, once somebody has asked for that. */
  raw?: HTMLElement;
  readonly thoughts: HTMLDetailsElement;
  readonly thought: HTMLElement;
  readonly tools: HTMLElement;
  readonly foot: HTMLElement;
  readonly countdown: HTMLElement;
}

/** The turns that are loaded, by their ids, those of each conversation in order. */
export const conversation: Map<string, Turn> = new Map();
const log = $("log");
const shown = {
  chat: "",
  /** Called when the answers of the shown conversation have ended, with how the last one did. */
  onIdle(_kind: NonNullable<Turn["end"]>["kind"]): void {},
};

/** Which conversation is shown, and what is done when it is idle. */
export { shown };

/** The turns of the shown conversation. */
export const shownTurns = (): Turn[] =>
  [...conversation.values()].filter(({ chat }) => chat === shown.chat);
/** Whether it runs here. */
export const isBusy = (turn: Turn): boolean => turn.phase !== undefined && !turn.end;
/** Whether any turn of the shown conversation runs here. */
export const isAnyBusy = (): boolean => shownTurns().some(isBusy);

function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  className: string,
  text = "",
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** A button that sends no form. */
export function button(text: string, act: () => void): HTMLButtonElement {
  const made = element("button", "", text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

/** Adds a turn to the end of its conversation. */
export function add(id: string, fields: Partial<Kept>, again: Turn["again"]): Turn {
  const kept = { chat: id, query: "", text: "", reasoning: "", ...fields, id };
  const turn: Turn = {
    ...kept,
    again,
    answer: new AnswerView(kept.text, follow),
    article: element("article", "turn"),
    thoughts: element("details", "reasoning"),
    thought: element("p", "", kept.reasoning),
    tools: element("div", "tools"),
    foot: element("div", "note"),
    countdown: element("span", ""),
  };
  turn.thoughts.append(element("summary", "", "Reasoning"), turn.thought);
  turn.tools.append(
    button("Plain text", () => toggleRaw(turn)),
    button("Copy", () => copyText(turn.raw ?? turn.answer.element, turn.text)),
    element("span", "", kept.model),
  );
  turn.article.append(
    element("h2", "unseen", "You"),
    element("p", "query", turn.query),
    element("h2", "unseen", "Answer"),
    turn.thoughts,
    turn.answer.element,
    turn.tools,
    turn.foot,
  );
  conversation.set(id, turn);
  if (turn.chat === shown.chat) log.append(turn.article);
  show(turn);
  return turn;
}

// The text as it came, in place of what is made of it, and back.
function toggleRaw(turn: Turn): void {
  if (!turn.raw) {
    turn.raw = element("pre", "raw", turn.text);
    turn.raw.tabIndex = 0;
    turn.raw.hidden = true;
    turn.answer.element.after(turn.raw);
  }
  turn.raw.hidden = !turn.raw.hidden;
  turn.answer.element.hidden = !turn.raw.hidden;
  turn.tools.firstElementChild!.textContent = turn.raw.hidden ? "Plain text" : "Formatted";
}

/** Takes a turn out of the conversation. */
export function remove(turn: Turn): void {
  conversation.delete(turn.id);
  turn.end ??= { kind: "stopped" };
  turn.answer.discard();
  leave(turn);
  turn.article.remove();
  show(turn);
}

/** Lets go of whatever a turn waits for. */
export function leave(turn: Turn): void {
  turn.connection?.abort();
  turn.wake?.();
}

/** Shows another conversation: the turns of it that are loaded. */
export function showChat(chat: string): void {
  shown.chat = chat;
  log.append(...shownTurns().map(({ article }) => article));
  for (const turn of conversation.values()) if (turn.chat !== chat) turn.article.remove();
  showState();
  followLatest();
}

/** Shows the state of a turn, and what it means for the page. */
export function show(turn: Turn): void {
  const { end, phase, foot, countdown } = turn;
  if (end) turn.answer.end();
  turn.article.classList.toggle("live", isBusy(turn) && phase !== "locked");
  turn.article.ariaBusy = String(isBusy(turn));
  turn.thoughts.hidden = turn.reasoning === "";
  turn.tools.hidden = turn.text === "";
  foot.className = `note${end?.kind === "failed" ? " bad" : ""}`;
  const isWaiting = phase === "waiting" && !end;
  const note = element("span", "", noteOf(turn));
  if (isWaiting) note.append(countdown);
  foot.replaceChildren(note);
  if (isWaiting) foot.append(button("Now", () => turn.wake?.()));
  if (end?.kind === "failed") {
    const again = button("Try again", () => turn.again(turn));
    again.append(countdown);
    foot.append(again);
  }
  foot.hidden = foot.textContent === "";
  count(turn);
  showState(end?.kind);
}

// What a turn's state means for the page.
function showState(ended?: NonNullable<Turn["end"]>["kind"]): void {
  const busy = isAnyBusy();
  const wasBusy = !$("stop").hidden;
  $("stop").hidden = !busy;
  $("send").hidden = busy;
  $("welcome").hidden = shownTurns().length > 0;
  $("keys").hidden = ![...conversation.values()].some((each) =>
    isBusy(each) && each.phase === "locked"
  );
  follow();
  if (wasBusy && !busy && ended) shown.onIdle(ended);
}

function noteOf({ end, phase, stopping, streamId }: Turn): string {
  if (end) return end.note ?? "";
  if (stopping) return "Stopping…";
  if (phase === "waiting") return "The connection is lost. Trying again";
  if (phase === "locked") return "This server wants a key.";
  if (phase === undefined && !streamId) return "Asked in another tab…";
  return "";
}

// How long until a turn is tried again, or may be: sooner than the server wants it, it cannot.
function count({ countdown, dueMs = 0 }: Turn): void {
  const seconds = Math.ceil((dueMs - Date.now()) / 1000);
  const left = seconds > 90 ? `${Math.ceil(seconds / 60)} min` : `${seconds} s`;
  countdown.textContent = seconds > 0 ? ` in ${left}` : "";
  const { parentElement } = countdown;
  if (parentElement instanceof HTMLButtonElement) parentElement.disabled = seconds > 0;
}
setInterval(() => shownTurns().filter(({ dueMs }) => dueMs).forEach(count), 500);

/** Adds to an answer. */
export function addText(turn: Turn, text: string): void {
  if (turn.text === "") {
    turn.tools.hidden = false;
    // Whoever has opened it again after that has it open.
    turn.thoughts.open = false;
  }
  turn.text += text;
  turn.answer.write(text);
  if (turn.raw) appendText(turn.raw, text);
}

/** Adds to what was thought before the answer. It is open while it comes. */
export function addThought(turn: Turn, text: string): void {
  if (turn.reasoning === "") turn.thoughts.open = turn.text === "";
  turn.reasoning += text;
  turn.thoughts.hidden = false;
  appendText(turn.thought, text);
  follow();
}

// Whoever has scrolled up is left there. To ask where the end is takes a layout: once a frame.
let following = true;
let lastTop = 0;
let lastHeight = 0;
let frame: number | undefined;

function follow(): void {
  frame ??= requestAnimationFrame(() => {
    frame = undefined;
    const { scrollHeight } = log;
    if (following) log.scrollTop = scrollHeight;
    $("latest").hidden = following;
    // What comes into view may have another height than was taken for it.
    if (scrollHeight !== lastHeight) follow();
    lastHeight = scrollHeight;
  });
}

/** Scrolls to the end, and stays there. */
export function followLatest(): void {
  following = true;
  follow();
}

log.addEventListener("scroll", () => {
  const { scrollTop, scrollHeight, clientHeight } = log;
  if (scrollHeight - scrollTop - clientHeight < 40) following = true;
  else if (scrollTop < lastTop && scrollHeight >= lastHeight) following = false;
  lastTop = scrollTop;
  lastHeight = scrollHeight;
  $("latest").hidden = following;
});
$("latest").addEventListener("click", followLatest);
