/** An answer is read to its end, through lost connections and a key that is asked for; or it is stopped. */
import { $, announce } from "../dom.ts";
import type { Problem } from "../problem.ts";
import { type PageEvent, readEvents } from "../reader.ts";
import { authorization, type End, save } from "./kept.ts";
import { request, requestStop, sentencesOf } from "./request.ts";
import {
  addText,
  addThought,
  conversation,
  isBusy,
  leave,
  show,
  type Turn,
} from "./conversation.ts";

/** A connection that says nothing for this long, not even a heartbeat, is taken for lost. */
const SILENCE_MS = 75_000;
/** How long a stopped answer may take to say that it has ended. */
const PATIENCE_MS = 3000;

/** As much of an event's data as is read. */
interface EventData extends Problem {
  token?: unknown;
  text?: unknown;
  finishReason?: unknown;
  reason?: unknown;
  resume?: unknown;
}

/** Reads an answer to its end, coming back as often as it takes. */
export async function run(turn: Turn): Promise<void> {
  let failures = 0;
  enter(turn, turn.streamId ? "streaming" : "asking");
  while (!turn.end) {
    let afterMs = 0;
    try {
      const response = await request(turn);
      if (response.status === 401) {
        await unlocked(turn, "authorization" in authorization());
        enter(turn, turn.streamId ? "streaming" : "asking");
      } else if (response.status === 204) {
        finish(turn, "done");
      } else if (response.ok) {
        if (failures > 0) announce("Connected again.");
        enter(turn, "streaming");
        await read(turn, response, () => (failures = 0));
        if (!turn.end) throw new Error("cut off");
      } else {
        afterMs = await failOrWait(turn, response);
      }
    } catch {
      if (turn.end) return;
      if (!turn.streamId) {
        const lost = turn.text === ""
          ? "The server could not be reached."
          : "The answer was cut off.";
        return finish(turn, "failed", navigator.onLine ? lost : "There is no network.");
      }
      // Its clients do not all come back to a server at once.
      afterMs = Math.min(15_000, 500 * 2 ** failures++) * (0.5 + Math.random() / 2);
    }
    if (afterMs > 0 && !turn.end) await pause(turn, afterMs);
  }
}

function enter(turn: Turn, phase: NonNullable<Turn["phase"]>): void {
  // A button that has the focus keeps it.
  if (turn.phase === phase) return;
  turn.phase = phase;
  show(turn);
}

async function pause(turn: Turn, ms: number): Promise<void> {
  if (turn.phase !== "waiting") announce("The connection is lost. Trying again.");
  turn.dueMs = Date.now() + ms;
  enter(turn, "waiting");
  await new Promise<void>((resolve) => {
    turn.wake = resolve;
    setTimeout(resolve, ms);
  });
}

/** Waits no longer for a network, or for a key. */
export function wakeAll(phase: "waiting" | "locked"): void {
  for (const turn of conversation.values()) if (turn.phase === phase) turn.wake?.();
}

async function read(turn: Turn, response: Response, alive: () => void): Promise<void> {
  const { connection } = turn;
  turn.streamId ??= response.headers.get("x-stream-id") ?? undefined;
  save(turn);
  if (turn.stopping) sendStop(turn);
  let silence: ReturnType<typeof setTimeout> | undefined;
  const heard = () => {
    clearTimeout(silence);
    if (turn.streamId) silence = setTimeout(() => connection?.abort(), SILENCE_MS);
  };
  heard();
  try {
    await readEvents(
      response,
      (event) => {
        if (!turn.end) take(turn, event);
        alive();
      },
      heard,
      connection?.signal,
    );
  } finally {
    clearTimeout(silence);
  }
}

function take(turn: Turn, { type, data, id }: PageEvent): void {
  const value: EventData = JSON.parse(data) ?? {};
  if (type === "failed" && value.resume) {
    throw new Error("this connection has failed, and the generation has not");
  }
  if (id) turn.lastEventId = id;
  const said = type === "refusal" ? value.text : type === "message" ? value.token : undefined;
  if (typeof said === "string") {
    if (turn.text === "") announce("The answer begins.");
    addText(turn, said);
  } else if (type === "reasoning" && typeof value.text === "string") {
    addThought(turn, value.text);
  } else if (type === "done") {
    const cut = value.finishReason === "length"
      ? "The model came to its limit."
      : value.finishReason === "content_filter"
      ? "The rest of the answer was withheld."
      : undefined;
    if (value.reason === "cancelled") finish(turn, "stopped", "Stopped.");
    else finish(turn, "done", cut ?? (turn.text === "" ? "The answer is empty." : undefined));
  } else if (type === "failed") {
    finish(turn, "failed", sentencesOf(value));
  }
  saveSoon(turn);
}

function saveSoon(turn: Turn): void {
  turn.saving ??= setTimeout(() => {
    turn.saving = undefined;
    if (conversation.get(turn.id) === turn) save(turn);
  }, 300);
}

/** Ends an answer; what ended first stays. */
export function finish(turn: Turn, kind: End["kind"], note = ""): void {
  if (turn.end) return;
  turn.end = { kind, ...note ? { note } : {} };
  if (conversation.get(turn.id) === turn) save(turn);
  show(turn);
  announce(kind === "done" && turn.text !== "" ? "The answer is complete." : note);
  turn.wake?.();
}

/** For a response that is an error: ends the answer, or returns after how many milliseconds to ask again. */
async function failOrWait(turn: Turn, response: Response): Promise<number> {
  const retryAfter = Number(response.headers.get("retry-after"));
  if (turn.streamId && [408, 429, 500, 502, 503, 504].includes(response.status)) {
    return Math.max(retryAfter * 1000, 2000);
  }
  const problem: Problem = await response.json().catch(() => ({}));
  if (turn.streamId && [404, 410].includes(response.status)) {
    finish(turn, "failed", "The server no longer has this answer. What had arrived is above.");
  } else {
    problem.title ??= `The server answered with status ${response.status}`;
    if (retryAfter > 0) turn.dueMs = Date.now() + retryAfter * 1000;
    finish(turn, "failed", sentencesOf(problem));
  }
  return 0;
}

function unlocked(turn: Turn, wasWrong: boolean): Promise<void> {
  const why = wasWrong ? "That key was not accepted." : "This server wants an API key.";
  $("why").textContent = `${why} A key is kept in this tab until you close it.`;
  announce(why);
  enter(turn, "locked");
  $("key").focus();
  return new Promise((resolve) => (turn.wake = resolve));
}

/** Stops an answer: the server is told, and its end of the stream is waited for, but not for long. */
export function stop(turn: Turn): void {
  if (!isBusy(turn) || turn.stopping) return;
  turn.stopping = true;
  show(turn);
  // Before the response headers there is no name to stop it by.
  if (turn.phase !== "asking") sendStop(turn);
  setTimeout(giveUp, turn.phase === "locked" ? 0 : PATIENCE_MS, turn);
}

function sendStop(turn: Turn): void {
  if (turn.streamId) requestStop(turn.streamId);
  else giveUp(turn);
}

function giveUp(turn: Turn): void {
  finish(turn, "stopped", "Stopped.");
  leave(turn);
}
