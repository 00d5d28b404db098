/** The conversation as it is shown: its turns, what each says of itself, and where the view is scrolled to. */
import { $, appendText } from "../dom.ts";
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
  /** What "Try again" does. */
  readonly again: (turn: Turn) => void;
  readonly article: HTMLElement;
  readonly answer: HTMLElement;
  readonly thoughts: HTMLElement;
  readonly thought: HTMLElement;
  readonly foot: HTMLElement;
}

/** The turns by their ids, in order. */
export const conversation: Map<string, Turn> = new Map();
const log = $("log");

/** Whether it runs here. */
export const isBusy = (turn: Turn): boolean => turn.phase !== undefined && !turn.end;
/** Whether any turn runs here. */
export const isAnyBusy = (): boolean => [...conversation.values()].some(isBusy);

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

/** Adds a turn to the end of the conversation. */
export function add(id: string, fields: Partial<Kept>, again: Turn["again"]): Turn {
  const kept = { query: "", text: "", reasoning: "", ...fields, id };
  const turn: Turn = {
    ...kept,
    again,
    article: element("article", "turn"),
    answer: element("div", "answer", kept.text),
    thoughts: element("details", "reasoning"),
    thought: element("p", "", kept.reasoning),
    foot: element("div", "note"),
  };
  turn.thoughts.append(element("summary", "", "Reasoning"), turn.thought);
  turn.article.append(
    element("h2", "unseen", "You"),
    element("p", "query", turn.query),
    element("h2", "unseen", "Answer"),
    turn.thoughts,
    turn.answer,
    turn.foot,
  );
  conversation.set(id, turn);
  log.append(turn.article);
  show(turn);
  return turn;
}

/** Takes a turn out of the conversation. */
export function remove(turn: Turn): void {
  conversation.delete(turn.id);
  turn.end ??= { kind: "stopped" };
  leave(turn);
  turn.article.remove();
  show(turn);
}

/** Lets go of whatever a turn waits for. */
export function leave(turn: Turn): void {
  turn.connection?.abort();
  turn.wake?.();
}

/** Shows the state of a turn, and what it means for the page. */
export function show(turn: Turn): void {
  const { end, phase, foot } = turn;
  turn.article.classList.toggle("live", isBusy(turn) && phase !== "locked");
  turn.article.ariaBusy = String(isBusy(turn));
  turn.thoughts.hidden = turn.reasoning === "";
  foot.className = `note${end?.kind === "failed" ? " bad" : ""}`;
  foot.replaceChildren(noteOf(turn));
  if (end?.kind === "failed") addButton(foot, "Try again", () => turn.again(turn));
  if (phase === "waiting" && !end) addButton(foot, "Now", () => turn.wake?.());
  foot.hidden = foot.textContent === "";
  const busy = isAnyBusy();
  $("stop").hidden = !busy;
  $("send").hidden = busy;
  $("welcome").hidden = conversation.size > 0;
  $("clear").hidden = conversation.size === 0;
  $("keys").hidden = ![...conversation.values()].some((each) =>
    isBusy(each) && each.phase === "locked"
  );
  follow();
}

function noteOf({ end, phase, stopping, streamId }: Turn): string {
  if (end) return end.note ?? "";
  if (stopping) return "Stopping…";
  if (phase === "waiting") return "The connection is lost. Trying again…";
  if (phase === "locked") return "This server wants a key.";
  if (phase === undefined && !streamId) return "Asked in another tab…";
  return "";
}

function addButton(parent: HTMLElement, text: string, act: () => void): void {
  const button = element("button", "", text);
  button.type = "button";
  button.addEventListener("click", act);
  parent.append(button);
}

/** Adds to an answer, or to what was thought before it. */
export function addText(parent: HTMLElement, text: string): void {
  appendText(parent, text);
  follow();
}

// Whoever has scrolled up is left there. To ask where the end is takes a layout: once a frame.
let following = true;
let lastTop = 0;
let frame: number | undefined;

function follow(): void {
  frame ??= requestAnimationFrame(() => {
    frame = undefined;
    if (following) log.scrollTop = log.scrollHeight;
    $("latest").hidden = following;
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
  else if (scrollTop < lastTop) following = false;
  lastTop = scrollTop;
  $("latest").hidden = following;
});
$("latest").addEventListener("click", followLatest);
