/**
 * Coming back with the clients that do it by themselves: `EventSource` as three makers have it,
 * `fetch-event-source`, and the AI SDK's `useChat`, and the recipes of docs/resume.md for it, through a network
 * that breaks. The text must be exact, and the source be asked once.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test, { after, before } from "node:test";
import { readUIMessageStream, type UIMessage } from "ai";
import { createHandler, MemoryLog, sse } from "../../mod.ts";
import { Reading } from "../support/event_reader.ts";
import { serve, until } from "../support/serve.ts";
import { openTunnel, type Tunnel } from "../support/truncating_proxy.ts";
import { Chat, said, textOf, transport } from "./clients/ai.ts";
import { MAKERS } from "./clients/eventsource.ts";
import { closeRecipes, given, openRecipes, recipeOf, run } from "./reload.ts";
import { assertNothingLeft, TEXT } from "./server.ts";

/** 20 KB in many tokens, so that a cut comes while they are made. */
const ANSWER = TEXT.repeat(70);
const OWNER = "x-who";

interface Stage {
  readonly url: string;
  /** The same server behind a network that breaks. */
  readonly tunnel: Tunnel;
  /** How often the source was asked. */
  readonly runs: number;
  /** Lets the source come to its end. */
  finish(): void;
  close(): Promise<void>;
}

/** A server whose connections are each cut after so many bytes, and in the end no longer. */
async function stage(cuts: number[] = [], fetch?: (request: Request) => Promise<Response>) {
  let runs = 0;
  let finish = () => {};
  const finished = new Promise<void>((resolve) => finish = resolve);
  async function* source() {
    runs++;
    for (let at = 0; at < ANSWER.length; at += 37) {
      if (at % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      if (at + 37 >= ANSWER.length) await finished;
      yield ANSWER.slice(at, at + 37);
    }
  }
  given.source = source;
  const log = new MemoryLog();
  const authorize = (request: Request) => request.headers.get(OWNER) ?? "me";
  const handler = createHandler({ source, log, commitAfterMs: 0, authorize });
  const server = serve((request, info) => {
    if (fetch !== undefined) return fetch(request);
    const { pathname } = new URL(request.url);
    return pathname === "/sse" ? sse(request, source, { log }) : handler.fetch(request, info);
  });
  const tunnel = await openTunnel(server.port, cuts);
  const stage: Stage = {
    url: server.url,
    tunnel,
    get runs() {
      return runs;
    },
    finish,
    close: async () => {
      finish();
      await tunnel.close();
      await server.close();
    },
  };
  return stage;
}

/** Asserts that two long texts are the same. */
function same(actual: string, expected: string = ANSWER): void {
  let at = 0;
  while (at < actual.length && actual[at] === expected[at]) at++;
  assert(actual === expected, `${actual.length} of ${expected.length}, the same up to ${at}`);
}

/** Starts a stream as a page does, and leaves it to whoever comes with its id. */
async function begun({ url }: Stage): Promise<string> {
  const { headers, body } = await fetch(`${url}/streaming`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query: "" }),
  });
  await body!.cancel();
  return headers.get("x-stream-id")!;
}

for (const [name, Maker] of Object.entries(MAKERS)) {
  for (const way of ["GET /streaming/{id}", "sse() on GET"]) {
    test(`EventSource (${name}) on ${way} comes back after each cut, and stops at the end`, async () => {
      const set = await stage([700, 5001, 9002]);
      set.finish();
      try {
        const path = way === "sse() on GET" ? "/sse" : `/streaming/${await begun(set)}`;
        const source = new Maker(set.tunnel.url + path);
        let text = "";
        const ends: string[] = [];
        source.addEventListener("message", ({ data }) => text += JSON.parse(data).token);
        source.addEventListener("done", () => ends.push("done"));
        source.addEventListener("failed", () => ends.push("failed"));
        // Nobody closes it: it asks once more after the end, and is told to stop with 204.
        await until(() => source.readyState === 2, 15_000, "closed for good");
        assert.equal(set.tunnel.cuts, 3);
        same(text);
        assert.deepEqual([ends, set.runs], [["done"], 1]);
        await assertNothingLeft();
      } finally {
        await set.close();
      }
    });
  }
}

test("EventSource stops at once at a stream that nobody knows", async () => {
  const set = await stage();
  try {
    for (const Maker of Object.values(MAKERS)) {
      const source = new Maker(`${set.url}/streaming/AAAAAAAAAAAAAAAAAAAAAA`);
      await until(() => source.readyState === 2, 2000, "closed for good");
    }
    assert.equal(set.runs, 0);
    await assertNothingLeft();
  } finally {
    await set.close();
  }
});

/** The message that a stream of parts makes in the end, be it cut off. */
async function messageOf(stream: Parameters<typeof readUIMessageStream>[0]["stream"]) {
  let last: UIMessage | undefined;
  try {
    for await (const message of readUIMessageStream({ stream, terminateOnError: true })) {
      last = message;
    }
  } catch {
    // The connection: what is not whole is seen to be so by its parts.
  }
  return last;
}

const send = (url: string, chatId: string) =>
  transport(url).sendMessages({
    trigger: "submit-message",
    chatId,
    messageId: undefined,
    messages: [said("Hello")],
    abortSignal: undefined,
  });

test("reconnectToStream() has the whole answer after a cut, and null after its end", async () => {
  const set = await stage([3000]);
  try {
    const cut = await messageOf(await send(set.tunnel.url, "chat 1/ö"));
    const half = textOf(cut);
    assert.equal(set.tunnel.cuts, 1);
    assert(half.text.length > 0 && !half.done && ANSWER.startsWith(half.text));
    const again = await transport(set.url).reconnectToStream({ chatId: "chat 1/ö" });
    assert(again !== null);
    set.finish();
    const message = await messageOf(again);
    assert.deepEqual(textOf(message), { text: ANSWER, done: true });
    assert.equal(message?.id, cut?.id, "one message, not two");
    for (const chatId of ["chat 1/ö", "another"]) {
      assert.equal(await transport(set.url).reconnectToStream({ chatId }), null);
    }
    assert.equal(set.runs, 1);
    await assertNothingLeft();
  } finally {
    await set.close();
  }
});

test("reconnectToStream() of somebody else is null", async () => {
  const set = await stage();
  try {
    const stream = await send(set.url, "chat-1");
    const other = { chatId: "chat-1", headers: { [OWNER]: "somebody else" } };
    assert.equal(await transport(set.url).reconnectToStream(other), null);
    set.finish();
    same(textOf(await messageOf(stream)).text);
    await assertNothingLeft();
  } finally {
    await set.close();
  }
});

test("useChat: a page that is loaded again shows the whole answer, whatever it had kept", async () => {
  const set = await stage([2500]);
  try {
    const before = new Chat({ id: "chat-1", transport: transport(set.tunnel.url) });
    await before.sendMessage({ text: "Hello" });
    const kept = before.messages;
    assert.equal(kept.length, 2);
    const pages = [kept.slice(0, 1), kept].map((messages) =>
      new Chat({
        id: "chat-1",
        messages: structuredClone(messages),
        transport: transport(set.url),
      })
    );
    const resumed = pages.map((chat) => chat.resumeStream());
    await until(() => pages.every(({ status }) => status === "streaming"), 2000, "two tabs");
    set.finish();
    await Promise.all(resumed);
    for (const chat of pages) {
      assert.deepEqual([chat.status, chat.error], ["ready", undefined]);
      assert.deepEqual(chat.messages.map(({ role }) => role), ["user", "assistant"]);
      assert.deepEqual(textOf(chat.lastMessage), { text: ANSWER, done: true });
      // Once more: there is nothing to go on with, and that is no error.
      await chat.resumeStream();
      assert.deepEqual([chat.status, chat.error, chat.messages.length], ["ready", undefined, 2]);
    }
    assert.equal(set.runs, 1);
    await assertNothingLeft();
  } finally {
    await set.close();
  }
});

test("useChat: a stop is the end of the answer in every tab, and nothing to come back to", async () => {
  const set = await stage();
  try {
    const failures: boolean[] = [];
    const onFinish = ({ isError }: { isError: boolean }) => void failures.push(isError);
    const first = new Chat({ id: "chat-1", transport: transport(set.url), onFinish });
    const sent = first.sendMessage({ text: "Hello" });
    await until(() => textOf(first.lastMessage).text.length > 500, 2000, "some text");
    const second = new Chat({ id: "chat-1", transport: transport(set.url), onFinish });
    const resumed = second.resumeStream();
    await until(() => textOf(second.lastMessage).text.length > 500, 2000, "some text");
    // An answer that begins a message has the stream's name for its id.
    const path = `/streaming/${first.lastMessage!.id}`;
    const { status } = await fetch(set.url + path, { method: "DELETE" });
    assert.equal(status, 204);
    await Promise.all([sent, resumed]);
    assert.deepEqual(failures, [false, false]);
    assert.deepEqual([first.status, second.status], ["ready", "ready"]);
    const { text } = textOf(first.lastMessage);
    assert(ANSWER.startsWith(text) && text !== ANSWER);
    same(textOf(second.lastMessage).text, text);
    assert.equal(await transport(set.url).reconnectToStream({ chatId: "chat-1" }), null);
    await assertNothingLeft();
  } finally {
    await set.close();
  }
});

// The recipes of docs/resume.md.

before(openRecipes);
after(closeRecipes);

const joined = (prints: unknown[][]) => prints.map(([token]) => token).join("");

test("each recipe has about ten lines", () => {
  for (const name of ["reload_page", "reload_use_chat", "reload_hono"]) {
    const code = readFileSync(recipeOf(name), "utf8");
    const lines = code.split("\n").filter((line) => !line.startsWith("import ") && /\w/.test(line));
    assert(lines.length <= 12, `${name}: ${lines.length} lines`);
  }
});

test("the recipe for a page shows the whole answer after a reload, and asks once", async () => {
  const set = await stage([900]);
  const kept = new Map<string, string>();
  const own = Object.getOwnPropertyDescriptor(globalThis, "sessionStorage");
  const sessionStorage = {
    getItem: (name: string) => kept.get(name) ?? null,
    setItem: (name: string, value: string) => void kept.set(name, value),
  };
  Object.defineProperty(globalThis, "sessionStorage", {
    value: sessionStorage,
    configurable: true,
  });
  try {
    const first = await run("reload_page", set.url);
    await until(() => first.prints.length > 5, 2000, "some text");
    const second = await run("reload_page", set.tunnel.url);
    await until(() => second.prints.length > 5, 2000, "some text");
    set.finish();
    // It was cut off once, and comes back by itself.
    for (const { prints } of [first, second]) {
      await until(() => joined(prints).length >= ANSWER.length, 5000, "the answer");
      same(joined(prints));
    }
    assert.deepEqual([set.runs, set.tunnel.cuts], [1, 1]);
    await assertNothingLeft();
  } finally {
    if (own) Object.defineProperty(globalThis, "sessionStorage", own);
    await set.close();
  }
});

test("the recipe for useChat shows the whole answer, and nothing where there is none", async () => {
  const set = await stage();
  try {
    const stream = await send(set.url, "1");
    await stream.cancel();
    const recipe = run("reload_use_chat", set.url);
    await until(() => given.prints.at(-1)!.length > 5, 2000, "some text");
    set.finish();
    const { prints } = await recipe;
    assert.deepEqual(textOf({ parts: prints.at(-1)![0] } as UIMessage), {
      text: ANSWER,
      done: true,
    });
    assert.deepEqual((await run("reload_use_chat", set.url)).prints, []);
    assert.equal(set.runs, 1);
    await assertNothingLeft();
  } finally {
    await set.close();
  }
});

test("the recipe for fetch-event-source is exact wherever it is cut", async () => {
  // Every byte of an event: between its id and its end the package has one of them and not the other.
  const cuts = Array.from({ length: 200 }, (_, i) => 700 + i);
  const set = await stage(cuts);
  set.finish();
  const { window } = globalThis as unknown as { window: { setTimeout: typeof setTimeout } };
  const { setTimeout: later } = window;
  // It waits a second each time, as the stream says.
  window.setTimeout = ((callback: () => void) => later(callback, 1)) as typeof setTimeout;
  try {
    const { prints } = await run("reload_fetch_event_source", set.tunnel.url);
    const tokens = prints.filter(([event]) => event === "");
    same(tokens.map(([, data]) => (data as { token: string }).token).join(""));
    assert.equal(prints.at(-1)![0], "done");
    assert(set.tunnel.cuts > 50, `${set.tunnel.cuts} cuts`);
    assert.equal(set.runs, 1);
    await assertNothingLeft();
  } finally {
    window.setTimeout = later;
    await set.close();
  }
});

test("the recipe for Hono resumes, joins and stops", async () => {
  let app: { fetch(request: Request): Promise<Response> } | undefined;
  const set = await stage([1500], (request) => app!.fetch(request));
  try {
    app = (await run("reload_hono", set.url)).module.default;
    const ask = { method: "POST", body: "Hello?" };
    const first = await new Reading(await fetch(`${set.tunnel.url}/ask`, ask)).rest();
    assert.deepEqual([first.end, set.tunnel.cuts], ["broken", 1]);
    const url = `${set.url}/ask/${first.streamId}`;
    const headers = { "last-event-id": first.lastId! };
    const [posted, got, late] = await Promise.all([
      fetch(`${set.url}/ask`, { ...ask, headers }),
      fetch(url, { headers }),
      fetch(url),
    ].map(async (response) => new Reading(await response)));
    set.finish();
    await Promise.all([posted!.rest(), got!.rest(), late!.rest()]);
    same(first.text + posted!.text);
    assert.equal(got!.body, posted!.body);
    same(late!.text);
    assert.equal((await fetch(url, { headers: { "last-event-id": late!.lastId! } })).status, 204);
    assert.equal(set.runs, 1);
    assert.equal((await fetch(url, { method: "DELETE" })).status, 204);
    const unknown = await fetch(`${set.url}/ask/unknown`, { method: "DELETE" });
    assert.equal(unknown.status, 404);
    await assertNothingLeft();
  } finally {
    await set.close();
  }
});

test("the recipe for Hono stops a generation that goes on", async () => {
  let app: { fetch(request: Request): Promise<Response> } | undefined;
  const set = await stage([], (request) => app!.fetch(request));
  try {
    app = (await run("reload_hono", set.url)).module.default;
    const ask = { method: "POST", body: "Hello?" };
    const reading = await new Reading(await fetch(`${set.url}/ask`, ask)).events(3);
    const url = `${set.url}/ask/${reading.streamId}`;
    assert.equal((await fetch(url, { method: "DELETE" })).status, 204);
    await reading.rest();
    assert.equal(JSON.parse(reading.last.data).reason, "cancelled");
    assert(ANSWER.startsWith(reading.text));
    set.finish();
    await assertNothingLeft();
  } finally {
    await set.close();
  }
});
