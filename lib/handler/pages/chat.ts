/**
 * `GET /`: a chat page for whatever source is configured. It is what a user of `POST /streaming` would
 * write: it streams, stops, and after a reload, in a second tab or after a lost network it goes on.
 */
import { createPage, MARK, type Page } from "./page.ts";
import { READER } from "./reader.ts";
import { STYLE } from "./style.ts";

const style = String.raw`
body { display: grid; grid-template-rows: auto minmax(0, 1fr) auto; height: 100vh; height: 100dvh; }
header, footer, #log { padding-inline: max(1rem, 50% - 22rem); }
header { display: flex; align-items: center; gap: 1rem; min-height: 3.75rem; border-bottom: 1px solid var(--line); }
header h1 { flex: 1; }
main { position: relative; min-height: 0; }
#log { height: 100%; overflow-y: auto; padding-block: 1.5rem; outline-offset: -3px; }
#welcome { display: grid; gap: .6rem; place-items: center; align-content: center; height: 100%; text-align: center; color: var(--soft); }
#welcome .mark { width: 3.5rem; }
#welcome strong { font-size: 1.5rem; font-weight: 600; letter-spacing: -.02em; color: var(--ink); }
#welcome p { max-width: 30rem; text-wrap: balance; }
.turn { margin-bottom: 2rem; }
.query, .answer { white-space: pre-wrap; }
.query { width: fit-content; max-width: 85%; margin: 0 0 1rem auto; padding: .5rem 1rem; border-radius: 1.2rem 1.2rem .3rem; background: var(--tint); }
.live .answer::after { content: ""; margin-left: .12em; padding-left: .5em; border-radius: .2em; background: var(--accent); animation: beat 1.2s steps(2, jump-none) infinite; }
@keyframes beat { to { opacity: .2; } }
.reasoning { margin-bottom: .7rem; color: var(--soft); }
.reasoning summary { cursor: pointer; }
.reasoning p { padding-left: 1rem; border-left: 3px solid var(--line); white-space: pre-wrap; }
.note { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1rem; margin-top: .6rem; color: var(--soft); font-size: .9rem; white-space: pre-wrap; }
.note.bad { padding: .6rem 1rem; border-radius: .7rem; background: var(--bad-tint); color: var(--bad); }
#latest { position: absolute; inset: auto 0 .7rem; margin: auto; width: fit-content; border-radius: 2rem; box-shadow: 0 2px 12px #0003; }
footer { padding-block: .7rem max(.7rem, env(safe-area-inset-bottom)); border-top: 1px solid var(--line); }
form { display: flex; gap: .6rem; align-items: flex-end; }
#query { flex: 1; min-height: 2.9rem; max-height: 40vh; padding: .6rem 1rem; border-radius: 1.3rem; resize: none; }
#ask button { min-height: 2.9rem; border-radius: 1.3rem; }
#keys { flex-wrap: wrap; margin-bottom: .7rem; }
#keys label { width: 100%; font-size: .9rem; }
#keys input { flex: 1; min-width: 8rem; }
#hint { margin-top: .4rem; color: var(--soft); font-size: .8rem; text-align: center; }
@media (max-width: 32rem) { #hint { display: none; } header { gap: .7rem; } .query { max-width: 92%; } }
`;

const body = (docs: boolean) =>
  `<header>
<h1>${MARK}Spillway</h1>
${docs ? `<a href="docs">API</a>` : ""}
<button type="button" id="clear" hidden>New chat</button>
</header>
<main>
<div id="log" role="log" aria-label="Conversation" aria-live="off" tabindex="0">
<div id="welcome">${MARK}<strong>Ask something</strong>
<p>The answer comes as it is written. Reload, open a second tab, lose the network: it goes on where it was.</p></div>
</div>
<button type="button" id="latest" hidden>↓ To the latest</button>
</main>
<footer>
<form id="keys" hidden>
<label for="key" id="why"></label>
<input id="key" type="password" autocomplete="off" required>
<button>Use this key</button>
</form>
<form id="ask">
<label for="query" class="unseen">Your message</label>
<textarea id="query" rows="1" placeholder="Your message" aria-describedby="hint" autofocus></textarea>
<button class="main" id="send">Send</button>
<button type="button" id="stop" hidden>Stop</button>
</form>
<p id="hint">Enter sends · Shift+Enter begins a line · Escape stops</p>
</footer>
<p id="status" class="unseen" role="status"></p>`;

const script = String.raw`
const $ = (id) => document.getElementById(id);
const [log, queryField, keyField] = [$("log"), $("query"), $("key")];

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// What survives a reload: a key of its own for each turn, so that no tab overwrites another's. The text
// and the id of its last event are one value: wherever a page is left, they fit together.

const PREFIX = "spillway " + location.pathname + " ";
const MAX_KEPT = 50;
const FIELDS = ["query", "text", "reasoning", "streamId", "lastEventId", "end", "kind", "note"];

function stored(use) {
  try {
    return use(localStorage);
  } catch {
    // Denied or full: nothing survives a reload, and all else works.
    return undefined;
  }
}
const save = (turn) => stored((all) => all.setItem(PREFIX + turn.id, JSON.stringify(turn, FIELDS)));
const forget = (id) => stored((all) => all.removeItem(PREFIX + id));

function saveSoon(turn) {
  turn.saving ??= setTimeout(() => {
    turn.saving = undefined;
    if (turns.get(turn.id) === turn) save(turn);
  }, 300);
}

// The conversation. A turn has no phase before it runs here; then it is "asking", "streaming",
// "waiting" for the network or "locked" for want of a key, until it has an end, which stays.

const turns = new Map();
const isBusy = (turn) => turn.phase !== undefined && !turn.end;

function add(id, fields) {
  const turn = { id, query: "", text: "", reasoning: "", ...fields };
  turn.article = element("article", "turn");
  turn.answer = element("div", "answer", turn.text);
  turn.thoughts = element("details", "reasoning");
  turn.thought = element("p", "", turn.reasoning);
  turn.thoughts.append(element("summary", "", "Reasoning"), turn.thought);
  turn.foot = element("div", "note");
  turn.article.append(
    element("h2", "unseen", "You"),
    element("p", "query", turn.query),
    element("h2", "unseen", "Answer"),
    turn.thoughts,
    turn.answer,
    turn.foot,
  );
  turns.set(id, turn);
  log.append(turn.article);
  show(turn);
  return turn;
}

function remove(turn) {
  turns.delete(turn.id);
  turn.end ??= { kind: "stopped" };
  leave(turn);
  turn.article.remove();
  show(turn);
}

// Lets go of whatever a turn waits for.
function leave(turn) {
  turn.connection?.abort();
  turn.wake?.();
}

function show(turn) {
  const { end, phase, foot } = turn;
  turn.article.classList.toggle("live", isBusy(turn) && phase !== "locked");
  turn.article.ariaBusy = String(isBusy(turn));
  turn.thoughts.hidden = turn.reasoning === "";
  foot.className = "note" + (end?.kind === "failed" ? " bad" : "");
  foot.replaceChildren(noteOf(turn));
  if (end?.kind === "failed") addButton(foot, "Try again", () => {
    forget(turn.id);
    remove(turn);
    ask(turn.query);
  });
  if (phase === "waiting" && !end) addButton(foot, "Now", () => turn.wake?.());
  foot.hidden = foot.textContent === "";
  const busy = [...turns.values()].some(isBusy);
  $("stop").hidden = !busy;
  $("send").hidden = busy;
  $("welcome").hidden = turns.size > 0;
  $("clear").hidden = turns.size === 0;
  $("keys").hidden = ![...turns.values()].some((each) => isBusy(each) && each.phase === "locked");
  follow();
}

function noteOf({ end, phase, stopping, streamId }) {
  if (end) return end.note ?? "";
  if (stopping) return "Stopping\u2026";
  if (phase === "waiting") return "The connection is lost. Trying again\u2026";
  if (phase === "locked") return "This server wants a key.";
  if (phase === undefined && !streamId) return "Asked in another tab\u2026";
  return "";
}

function addButton(parent, text, act) {
  const button = element("button", "", text);
  button.type = "button";
  button.addEventListener("click", act);
  parent.append(button);
}

// For screen readers: how it begins and ends, and no token in between.
function announce(text) {
  $("status").textContent = text;
}

// Who has scrolled up is left where they are. To ask where the end is takes a layout: once a frame.
let following = true;
let lastTop = 0;
let frame;
function follow() {
  frame ??= requestAnimationFrame(() => {
    frame = undefined;
    if (following) log.scrollTop = log.scrollHeight;
    $("latest").hidden = following;
  });
}
log.addEventListener("scroll", () => {
  const { scrollTop, scrollHeight, clientHeight } = log;
  if (scrollHeight - scrollTop - clientHeight < 40) following = true;
  else if (scrollTop < lastTop) following = false;
  lastTop = scrollTop;
  $("latest").hidden = following;
});
$("latest").addEventListener("click", () => {
  following = true;
  follow();
});

// A long answer in pieces: to append to a text is to copy it.
function append(parent, text) {
  const last = parent.lastChild;
  if (last instanceof Text && last.length < 4096) last.appendData(text);
  else parent.append(text);
  follow();
}

// Asking, reading, and coming back.

const authorization = () => {
  const key = stored(() => sessionStorage.getItem(PREFIX + "key")) ?? givenKey;
  return key ? { authorization: "Bearer " + key } : {};
};
let givenKey;

function request(turn) {
  const { streamId, lastEventId, query } = turn;
  turn.connection = new AbortController();
  const init = { signal: turn.connection.signal, cache: "no-store" };
  const headers = { accept: "text/event-stream", ...authorization() };
  if (streamId) {
    if (lastEventId) headers["last-event-id"] = lastEventId;
    return fetch("streaming/" + encodeURIComponent(streamId), { ...init, headers });
  }
  headers["content-type"] = "application/json";
  const messages = turn.bare ? [] : historyBefore(turn);
  const further = messages.length > 0 ? { messages } : {};
  const body = JSON.stringify({ query, ...further });
  return fetch("streaming", { ...init, method: "POST", headers, body });
}

// What was said before, the latest 100 000 characters of it, and then the query.
function historyBefore(turn) {
  const messages = [{ role: "user", content: turn.query }];
  let left = 100_000;
  for (const { query, text, end } of [...turns.values()].reverse()) {
    if (!end || end.kind === "failed" || text === "") continue;
    left -= query.length + text.length;
    if (left < 0) break;
    messages.unshift({ role: "user", content: query }, { role: "assistant", content: text });
  }
  return messages.length > 1 ? messages : [];
}

// Reads an answer to its end, coming back as often as it takes.
async function run(turn) {
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
        afterMs = await refused(turn, response);
      }
    } catch {
      if (turn.end) return;
      if (!turn.streamId) {
        const lost = turn.text === "" ? "The server could not be reached." : "The answer was cut off.";
        return finish(turn, "failed", navigator.onLine ? lost : "There is no network.");
      }
      // The server is not asked by all of its readers at once.
      afterMs = Math.min(15_000, 500 * 2 ** failures++) * (0.5 + Math.random() / 2);
    }
    if (afterMs > 0 && !turn.end) await pause(turn, afterMs);
  }
}

function enter(turn, phase) {
  // A button that has the focus keeps it.
  if (turn.phase === phase) return;
  turn.phase = phase;
  show(turn);
}

async function pause(turn, ms) {
  if (turn.phase !== "waiting") announce("The connection is lost. Trying again.");
  enter(turn, "waiting");
  await new Promise((resolve) => {
    turn.wake = resolve;
    setTimeout(resolve, ms);
  });
}
addEventListener("online", () => turns.forEach((turn) => turn.phase === "waiting" && turn.wake?.()));

// A connection that says nothing for this long, not even a heartbeat, is taken for lost.
const SILENCE_MS = 75_000;

async function read(turn, response, alive) {
  const { connection } = turn;
  turn.streamId ??= response.headers.get("x-stream-id") ?? undefined;
  save(turn);
  if (turn.stopping) tellStop(turn);
  let silence;
  const heard = () => {
    clearTimeout(silence);
    if (turn.streamId) silence = setTimeout(() => connection.abort(), SILENCE_MS);
  };
  heard();
  try {
    await readEvents(response, (event) => {
      if (!turn.end) take(turn, event);
      alive();
    }, heard);
  } finally {
    clearTimeout(silence);
  }
}

function take(turn, { type, data, id }) {
  const value = JSON.parse(data);
  if (type === "failed" && value.resume) throw new Error("the reader's own connection has failed");
  if (id) turn.lastEventId = id;
  if (type === "message" && typeof value?.token === "string") {
    if (turn.text === "") announce("The answer begins.");
    turn.text += value.token;
    append(turn.answer, value.token);
  } else if (type === "reasoning" && typeof value?.text === "string") {
    turn.reasoning += value.text;
    append(turn.thought, value.text);
    turn.thoughts.hidden = false;
  } else if (type === "done") {
    const cut = value.finishReason === "length" ? "The model came to its limit." : undefined;
    if (value.reason === "cancelled") finish(turn, "stopped", "Stopped.");
    else finish(turn, "done", cut);
  } else if (type === "failed") {
    finish(turn, "failed", sentencesOf(value));
  }
  saveSoon(turn);
}

function finish(turn, kind, note) {
  if (turn.end) return;
  turn.end = { kind, ...note ? { note } : {} };
  if (turns.get(turn.id) === turn) save(turn);
  show(turn);
  announce(kind === "done" ? "The answer is complete." : note);
  turn.wake?.();
}

// Says why an answer does not begin, or after how many milliseconds to ask again.
async function refused(turn, response) {
  const retryAfter = Number(response.headers.get("retry-after"));
  if (turn.streamId && [408, 429, 500, 502, 503, 504].includes(response.status)) {
    return Math.max(retryAfter * 1000, 2000);
  }
  const problem = await response.json().catch(() => ({}));
  if (turn.streamId && [404, 410].includes(response.status)) {
    finish(turn, "failed", "The server no longer has this answer. What had arrived is above.");
  } else if (response.status === 422 && !turn.bare && historyBefore(turn).length > 0) {
    // Its schema may know nothing of a conversation.
    turn.bare = true;
  } else {
    problem.title ??= "The server answered with status " + response.status;
    if (retryAfter > 0) problem.detail ??= "Try again in " + retryAfter + " s";
    finish(turn, "failed", sentencesOf(problem));
  }
  return 0;
}

function sentencesOf({ title = "The answer failed", detail, errors = [] }) {
  const faults = errors.map(({ pointer, detail }) => pointer + ": " + detail);
  return [title, detail, ...faults].filter(Boolean).map((text) => text.replace(/\.?$/, ".")).join("\n");
}

function unlocked(turn, wasWrong) {
  const why = wasWrong ? "That key was not accepted." : "This server wants an API key.";
  $("why").textContent = why + " A key is kept in this tab until you close it.";
  announce(why);
  enter(turn, "locked");
  keyField.focus();
  return new Promise((resolve) => (turn.wake = resolve));
}

$("keys").addEventListener("submit", (event) => {
  event.preventDefault();
  givenKey = keyField.value.trim();
  keyField.value = "";
  stored(() => sessionStorage.setItem(PREFIX + "key", givenKey));
  for (const turn of turns.values()) if (turn.phase === "locked") turn.wake?.();
  queryField.focus();
});

// Stopping: the server is told, and its end of the stream is waited for, but not for long.

function stop(turn) {
  if (!isBusy(turn) || turn.stopping) return;
  turn.stopping = true;
  show(turn);
  // Before the head there is no name to stop it by.
  if (turn.phase !== "asking") tellStop(turn);
  setTimeout(giveUp, turn.phase === "locked" ? 0 : 3000, turn);
}

function tellStop(turn) {
  if (!turn.streamId) return giveUp(turn);
  const init = { method: "DELETE", headers: authorization(), keepalive: true };
  // If it does not arrive, patience ends.
  fetch("streaming/" + encodeURIComponent(turn.streamId), init).catch(() => {});
}

function giveUp(turn) {
  finish(turn, "stopped", "Stopped.");
  leave(turn);
}
const stopAll = () => turns.forEach(stop);

// The form, the keys, the other tabs.

function ask(query) {
  following = true;
  const random = crypto.getRandomValues(new Uint32Array(1))[0].toString(36);
  const turn = add(Date.now().toString(36).padStart(9, "0") + random, { query });
  save(turn);
  run(turn);
}

function fit() {
  queryField.style.height = "auto";
  queryField.style.height = queryField.scrollHeight + 2 + "px";
}
queryField.addEventListener("input", fit);

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  queryField.focus();
  const query = queryField.value;
  if (query.trim() === "" || [...turns.values()].some(isBusy)) return;
  queryField.value = "";
  fit();
  ask(query);
});
queryField.addEventListener("keydown", (event) => {
  // An Enter that ends a word of an input method sends nothing.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  $("ask").requestSubmit();
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
  for (const turn of turns.values()) {
    forget(turn.id);
    remove(turn);
  }
  announce("A new chat.");
  queryField.focus();
});

// Goes on with what was kept of a turn. An answer without a stream is just being asked for, or never was.
function goOn(turn) {
  if (turn.end) return;
  if (turn.streamId) return void run(turn);
  const askedMs = parseInt(turn.id.slice(0, 9), 36);
  const leftMs = Math.max(0, askedMs + 30_000 - Date.now());
  setTimeout(() => {
    if (!turn.phase) finish(turn, "failed", "The page was left before the answer began.");
  }, leftMs);
}

addEventListener("storage", ({ key, newValue }) => {
  if (key === null) return turns.forEach(remove);
  if (!key.startsWith(PREFIX)) return;
  const id = key.slice(PREFIX.length);
  const turn = turns.get(id);
  if (newValue === null) return turn && remove(turn);
  if (turn?.phase || turn?.end) return;
  if (turn) remove(turn);
  goOn(add(id, JSON.parse(newValue)));
});

addEventListener("pagehide", () => {
  for (const turn of turns.values()) {
    if (!isBusy(turn)) continue;
    if (turn.streamId) save(turn);
    else finish(turn, "failed", "The page was left before the answer began.");
  }
});

const ids = stored((all) => Object.keys(all)) ?? [];
const kept = ids.filter((id) => id.startsWith(PREFIX)).map((id) => id.slice(PREFIX.length)).sort();
for (const id of kept.splice(0, kept.length - MAX_KEPT)) forget(id);
for (const id of kept) {
  const fields = stored((all) => JSON.parse(all.getItem(PREFIX + id)));
  if (fields) goOn(add(id, fields));
}
`;

/** The page; with `docs` it has a link to the reference. */
export function chatPage({ docs }: { docs: boolean }): Page {
  return createPage({
    title: "Spillway",
    style: STYLE + style,
    body: body(docs),
    script: READER + script,
  });
}
