/**
 * What people complain of in clients that are there, one test each: it happens with the client that the
 * complaint is of, and not with `connect`.
 */
import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import { test } from "node:test";
import { HttpAgent } from "@ag-ui/client";
import { Client } from "@langchain/langgraph-sdk";
import { fetchEventSource } from "@microsoft/fetch-event-source";
import { createTRPCUntypedClient, httpSubscriptionLink } from "@trpc/client";
import { DefaultChatTransport, readUIMessageStream, type UIMessageChunk } from "ai";
import { EventSource } from "eventsource";
import { createEventSource } from "eventsource-client";
// @ts-expect-error: it has no types
import { EventSource as LaunchDarklySource } from "launchdarkly-eventsource";
import OpenAI from "openai";
import { connect, type ConnectError, type ConnectionState } from "../../lib/client.ts";
import { createHandler, decodeEvents, MemoryLog } from "../../mod.ts";
import { serve, until } from "../support/serve.ts";
import { openTunnel } from "../support/truncating_proxy.ts";
import { QUICK } from "../support/wpt.ts";
import "./clients/fetch.ts"; // the little of a browser that fetch-event-source needs

/** What a request gets: a stream's text, and then its end, silence, or a connection that breaks. */
interface Turn {
  text: string;
  then?: "end" | "silence" | "break";
  status?: number;
  headers?: Record<string, string>;
}

/** A request as it came. */
interface Asked {
  head: string;
  /** Whether its connection is open. */
  isOpen: boolean;
}

/** A server that says by turns what a request gets; the last turn is for all that follow. */
async function serveTurns(...turns: (Turn | ((head: string) => Turn))[]) {
  const asked: Asked[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    const request: Asked = { head: "", isOpen: true };
    socket.on("error", () => {}); // the close says it
    socket.on("close", () => request.isOpen = false);
    let input = "";
    socket.setEncoding("latin1").on("data", (data) => {
      input += data;
      const end = input.indexOf("\r\n\r\n");
      const length = Number(/^content-length: (\d+)/im.exec(input)?.[1] ?? 0);
      if (request.head !== "" || end < 0 || input.length < end + 4 + length) return;
      request.head = input.slice(0, end);
      asked.push(request);
      const given = turns[Math.min(asked.length, turns.length) - 1]!;
      const { text, then = "end", status = 200, headers = {} } = typeof given === "function"
        ? given(request.head)
        : given;
      const lines = { "content-type": "text/event-stream", ...headers, connection: "close" };
      const head = Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`).join("");
      const chunk = text === "" ? "" : `${text.length.toString(16)}\r\n${text}\r\n`;
      socket.write(`HTTP/1.1 ${status} -\r\n${head}transfer-encoding: chunked\r\n\r\n${chunk}`);
      if (then === "end") socket.end("0\r\n\r\n");
      // Bun's fetch drops what it has not handed on when a connection breaks: it is given time.
      if (then === "break") setTimeout(() => socket.destroy(), 300);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}/`,
    asked,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Runs a test with such a server, and closes it. */
async function withTurns(
  turns: (Turn | ((head: string) => Turn))[],
  act: (server: Awaited<ReturnType<typeof serveTurns>>) => Promise<void>,
): Promise<void> {
  const server = await serveTurns(...turns);
  try {
    await act(server);
  } finally {
    server.close();
  }
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const POST = { method: "POST", body: "{}" };
const data = (text: string, id?: string) =>
  `${id === undefined ? "" : `id: ${id}\n`}data: {"token":"${text}"}\n\n`;
const DONE = "event: done\ndata: {}\n\n";
const named = { "x-stream-id": "s" };
const isAgain = ({ head }: Asked) => !/^last-event-id:/im.test(head);
const tokenIn = (text: string) => JSON.parse(text).token as string;

async function errorOf(promise: Promise<unknown>): Promise<ConnectError> {
  return await promise.then(() => assert.fail("no error"), (error) => error);
}

test("a POST whose stream breaks is generated again by others, not by connect()", async () => {
  const turns: Turn[] = [
    { text: `retry: 1\n${data("Hel")}`, then: "break" },
    { text: data("Hel"), then: "silence" },
  ];
  const readers: Record<string, (url: string, onData: (data: string) => void) => () => unknown> = {
    "fetch-event-source": (url, onData) => {
      const abort = new AbortController();
      const { signal } = abort;
      const onmessage = ({ data }: { data: string }) => onData(data);
      const onerror = () => 1;
      void fetchEventSource(url, { ...POST, openWhenHidden: true, signal, onerror, onmessage });
      return () => abort.abort();
    },
    "eventsource-client": (url, onData) => {
      const source = createEventSource({ url, ...POST, onMessage: ({ data }) => onData(data) });
      return () => source.close();
    },
    "launchdarkly-eventsource": (url, onData) => {
      const source = new LaunchDarklySource(url, { ...POST, initialRetryDelayMillis: 1 });
      source.onmessage = ({ data }: { data: string }) => onData(data);
      source.onerror = () => {}; // without a listener it throws
      return () => source.close();
    },
  };
  await Promise.all(
    Object.entries(readers).map(([name, read]) =>
      withTurns(turns, async ({ url, asked }) => {
        let text = "";
        const close = read(url, (data) => void (text += tokenIn(data)));
        await until(() => text === "HelHel", 5000, `${name} gives a text twice`);
        assert.deepEqual(asked.map(isAgain), [true, true], name);
        await close();
      })
    ),
  );
  await withTurns(turns, async ({ url, asked }) => {
    const error = await errorOf(connect(url, { ...POST, clock: QUICK }).text());
    assert.deepEqual([error.kind, error.code, error.text], ["gave-up", "not_resumable", "Hel"]);
    assert.equal(asked.length, 1);
  });
});

test("a tab that is hidden and shown is generated for again by fetch-event-source, not by connect()", async () => {
  const page = globalThis as { document?: EventTarget & { hidden?: boolean } };
  const turn = (to: boolean) => {
    Object.assign(page.document!, { hidden: to, visibilityState: to ? "hidden" : "visible" });
    page.document!.dispatchEvent(new Event("visibilitychange"));
  };
  const turns: Turn[] = [{ text: data("Hel"), then: "silence" }];
  await withTurns(turns, async ({ url, asked }) => {
    const abort = new AbortController();
    let tokens = 0;
    const reading = fetchEventSource(url, {
      ...POST,
      signal: abort.signal,
      onmessage: () => void tokens++,
    });
    await until(() => tokens === 1, 2000, "the first token");
    turn(true);
    await until(() => !asked[0]!.isOpen, 2000, "a hidden tab is cut");
    turn(false);
    await until(() => asked.length === 2, 2000, "and generated for again");
    assert(asked.every(isAgain));
    abort.abort();
    await reading;
  });
  await withTurns(turns, async ({ url, asked }) => {
    const connection = connect(url, POST);
    await connection.tokens().next();
    for (const to of [true, false]) turn(to);
    await sleep(100);
    assert.deepEqual(asked.map(({ isOpen }) => isOpen), [true]);
    await connection.return();
  });
});

test("a token that expires keeps others out for good, connect() makes a new one", async () => {
  const authorized = (text: string) => (head: string): Turn =>
    /^authorization: new$/im.test(head) ? { text } : {
      text: "",
      status: 401,
      headers: { "content-type": "text/plain" },
    };
  const turns = [
    { text: `retry: 1\n${data("Hel", "s.1")}`, then: "break", headers: named } satisfies Turn,
    authorized(data("lo", "s.2") + DONE),
  ];
  let token = "old";
  const headers = { authorization: token };
  await withTurns(turns, async ({ url, asked }) => {
    const abort = new AbortController();
    const reading = fetchEventSource(url, {
      ...POST,
      headers,
      openWhenHidden: true,
      signal: abort.signal,
      onerror: () => 1,
    });
    await until(() => asked.length >= 4, 5000, "tries in vain");
    abort.abort();
    await reading;
  });
  await withTurns(turns, async ({ url, asked }) => {
    const source = createEventSource({ url, ...POST, headers });
    await until(() => asked.length >= 2, 5000, "tries in vain");
    await sleep(100);
    assert(asked.every(({ head }) => /^authorization: old$/im.test(head)));
    source.close();
  });
  // tRPC takes a function for its options, and yet the EventSource in it comes back with the old ones.
  const opened = { ...turns[0], text: "retry: 1\nevent: connected\ndata: {}\n\n" } as Turn;
  await withTurns([opened, turns[1]!], async ({ url, asked }) => {
    let authorization = "old";
    const link = httpSubscriptionLink({
      url,
      EventSource,
      eventSourceOptions: () => {
        const headers = { accept: "text/event-stream", authorization };
        return { fetch: (url, init) => fetch(url, { ...init, headers }) };
      },
    });
    let message = "";
    const client = createTRPCUntypedClient({ links: [link] });
    const subscription = client.subscription("tokens", undefined, {
      onConnectionStateChange: ({ state }) => {
        if (state === "pending") authorization = "new";
      },
      onError: (error) => message = error.message,
    });
    await until(() => message !== "", 5000, "tRPC gives up");
    subscription.unsubscribe();
    assert.match(message, /401/);
    assert.equal(authorization, "new");
    assert(asked.every(({ head }) => /^authorization: old$/im.test(head)));
  });
  await withTurns(turns, async ({ url, asked }) => {
    const connection = connect(url, {
      ...POST,
      clock: QUICK,
      headers: async () => await Promise.resolve({ authorization: token }),
      onState: ({ status }) => void (status === "waiting" && (token = "new")),
    });
    assert.equal(await connection.text(), "Hello");
    assert.equal(asked.length, 2);
  });
});

test("a stream that freezes is waited for without end, connect() comes back after three heartbeats", async () => {
  const headers = { ...named, "x-stream-settings": "heartbeat=500" };
  const turns = [
    (head: string): Turn => {
      const text = head.includes("/chat") ? 'data: {"type":"start"}\n\n' : data("Hel", "s.1");
      return { text: `retry: 1\n${text}`, then: "silence", headers };
    },
    { text: data("lo", "s.2") + DONE, headers },
  ];
  const readers: Record<string, (url: string) => () => unknown> = {
    "the AI SDK": (url) => {
      const abort = new AbortController();
      const transport = new DefaultChatTransport({ api: `${url}chat` });
      const reading = transport.sendMessages({
        chatId: "c",
        messages: [],
        trigger: "submit-message",
        messageId: undefined,
        abortSignal: abort.signal,
      }).then(async (stream) => {
        for await (const _ of stream);
      });
      reading.catch(() => {}); // it is aborted
      return () => abort.abort();
    },
    // It comes back only from a silence after heartbeats that it has seen.
    "LangGraph": (url) => {
      const abort = new AbortController();
      const { runs } = new Client({ apiUrl: url.slice(0, -1), apiKey: null });
      const events = runs.stream(null, "agent", { input: {}, signal: abort.signal });
      events.next().then(() => events.next()).catch(() => {}); // it is aborted
      return () => abort.abort();
    },
    "eventsource": (url) => {
      const source = new EventSource(url);
      return () => source.close();
    },
    "eventsource-client": (url) => {
      const source = createEventSource({ url, ...POST });
      return () => source.close();
    },
    "fetch-event-source": (url) => {
      const abort = new AbortController();
      void fetchEventSource(url, { ...POST, openWhenHidden: true, signal: abort.signal });
      return () => abort.abort();
    },
  };
  await Promise.all(
    Object.entries(readers).map(([name, read]) =>
      withTurns(turns, async ({ asked, url }) => {
        const close = read(url);
        await sleep(2000);
        assert.deepEqual(asked.map(({ isOpen }) => isOpen), [true], name);
        await close();
      })
    ),
  );
  await withTurns(turns, async ({ url, asked }) => {
    assert.equal(await connect(url, POST).text(), "Hello");
    assert.deepEqual(asked.map(isAgain), [true, false]);
  });
});

test("an end of the response passes for the end of the stream, connect() knows better", async () => {
  const chunk = (content: string) =>
    `data: ${JSON.stringify({ id: "c", choices: [{ index: 0, delta: { content } }] })}\n\n`;
  await withTurns([{ text: chunk("Hel") }], async ({ url }) => {
    const openai = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
    const stream = await openai.chat.completions.create({
      model: "m",
      messages: [],
      stream: true,
    });
    let text = "";
    for await (const { choices } of stream) text += choices[0]!.delta.content;
    assert.equal(text, "Hel", "and no error");
    const error = await errorOf(connect(url, { ...POST, format: "openai" }).text());
    assert.deepEqual([error.kind, error.text], ["gave-up", "Hel"]);
  });
  await withTurns([{ text: data("Hel") }], async ({ url }) => {
    await fetchEventSource(url, { ...POST, openWhenHidden: true });
    assert.equal((await errorOf(connect(url, POST).text())).text, "Hel");
  });
});

test("who leaves the loop stays connected with eventsource-client, and not with connect()", async () => {
  const turns: Turn[] = [{ text: data("Hel"), then: "silence" }];
  await withTurns(turns, async ({ url, asked }) => {
    const source = createEventSource(url);
    for await (const _ of source) break;
    await sleep(200);
    assert.equal(asked[0]!.isOpen, true);
    source.close();
  });
  await withTurns(turns, async ({ url, asked }) => {
    for await (const _ of connect(url)) break;
    await until(() => !asked[0]!.isOpen, 2000, "closed");
  });
});

test("a connection that waits says neither why nor how long, connect() does", async () => {
  const turns: Turn[] = [
    { text: `retry: 200\n${data("Hel", "s.1")}`, then: "break" },
    { text: data("lo", "s.2") + DONE },
  ];
  await withTurns(turns, async ({ url }) => {
    const source = new EventSource(url);
    const states: object[] = [];
    await new Promise<void>((resolve) => {
      source.onerror = (event) => {
        states.push({ readyState: source.readyState, code: event.code });
        resolve();
      };
    });
    // As in the first try; and there is no property for the time.
    assert.deepEqual(states, [{ readyState: source.CONNECTING, code: undefined }]);
    source.close();
  });
  await withTurns(turns, async ({ url }) => {
    const states: ConnectionState[] = [];
    await connect(url, { onState: (state) => states.push(state) }).text();
    const waiting = states.find(({ status }) => status === "waiting")!;
    assert.deepEqual([waiting.reason, waiting.tries], ["cut", 1]);
    assert(waiting.inMs! >= 200 && waiting.inMs! <= 300, `${waiting.inMs}`);
  });
});

/** A server of ours, of which one response breaks after so many bytes. */
async function withCuts(
  fetch: (request: Request) => Response | Promise<Response>,
  bytes: number,
  act: (url: string) => Promise<void>,
): Promise<void> {
  const server = serve(fetch);
  const tunnel = await openTunnel(server.port, [bytes]);
  try {
    await act(tunnel.url);
    assert.equal(tunnel.cuts, 1);
  } finally {
    await tunnel.close();
    await server.close();
  }
}

const QUERY = "Water takes its time over the crest, and falls as a sheet.";
async function* slowly() {
  for (const token of QUERY) {
    yield token;
    await sleep(3);
  }
}

test("the rest of a UI message stream breaks the AI SDK's reader, connect() gives it one that is whole", async () => {
  let starts = 0;
  const handler = createHandler({ source: () => (starts++, slowly()), log: new MemoryLog() });
  const chat = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      id: "c",
      messages: [{ id: "1", role: "user", parts: [{ type: "text", text: "?" }] }],
    }),
  };
  /** What the SDK's reader makes of chunks. */
  const read = async (chunks: AsyncIterable<unknown>) => {
    const iterator = chunks[Symbol.asyncIterator]();
    const stream = new ReadableStream<UIMessageChunk>({
      pull: async (controller) => {
        const { done, value } = await iterator.next();
        if (done) controller.close();
        else controller.enqueue(value as UIMessageChunk);
      },
    });
    let text = "";
    for await (const { parts } of readUIMessageStream({ stream, terminateOnError: true })) {
      text = parts.map((part) => part.type === "text" ? part.text : "").join("");
    }
    return text;
  };
  await withCuts(handler.fetch, 2000, async (url) => {
    const connection = connect(`${url}/api/chat`, { ...chat, format: "ui-message", clock: QUICK });
    assert.equal(await read(connection.items()), QUERY);
    assert.equal(starts, 1);
    // The same rest, as a client without our memory gets it.
    const rest = await fetch(`${url}/streaming/${connection.streamId}`, {
      headers: { "last-event-id": `${connection.streamId}.9` },
    });
    const chunks = async function* () {
      for await (const { data } of decodeEvents(rest.body!)) {
        if (data !== "[DONE]") yield JSON.parse(data);
      }
    };
    await assert.rejects(read(chunks()), /text-delta/);
  });
});

test("AG-UI's agent takes a cut for the end and cannot join again, connect() reads on", async () => {
  const part = (id: number, event: object) => `id: s.${id}\ndata: ${JSON.stringify(event)}\n\n`;
  const content = (id: number, delta: string) =>
    part(id, { type: "TEXT_MESSAGE_CONTENT", messageId: "m", delta });
  const run = { threadId: "t", runId: "r" };
  const head = part(1, { type: "RUN_STARTED", ...run }) +
    part(2, { type: "TEXT_MESSAGE_START", messageId: "m", role: "assistant" });
  const tail = part(5, { type: "TEXT_MESSAGE_END", messageId: "m" }) +
    part(6, { type: "RUN_FINISHED", ...run });
  const turns: Turn[] = [
    { text: head + content(3, "Hel"), headers: named },
    { text: content(4, "lo") + tail, headers: named },
  ];
  await withTurns(turns, async ({ url, asked }) => {
    const agent = new HttpAgent({ url });
    const { newMessages } = await agent.runAgent(run);
    assert.deepEqual(newMessages.map(({ content }) => content), ["Hel"], "and no error");
    assert.deepEqual((await agent.connectAgent(run)).newMessages, []);
    assert.equal(asked.length, 1, "nor a request");
  });
  await withTurns(turns, async ({ url, asked }) => {
    let text = "";
    const isEnd = ({ data }: { data: string }) => JSON.parse(data).type === "RUN_FINISHED";
    for await (const { data } of connect(url, { ...POST, isEnd, clock: QUICK })) {
      text += JSON.parse(data).delta ?? "";
    }
    assert.equal(text, "Hello");
    assert.deepEqual(asked.map(isAgain), [true, false]);
  });
});

test("openai's responses.stream() asks for what it has, connect() for what it has not", async () => {
  const asked: string[] = [];
  const openai = new OpenAI({
    apiKey: "none",
    maxRetries: 0,
    fetch: (input) => {
      asked.push(String(input));
      return Promise.resolve(
        new Response("", { headers: { "content-type": "text/event-stream" } }),
      );
    },
  });
  const stream = openai.responses.stream({ response_id: "resp_1", starting_after: 7 });
  await stream.done().catch(() => {}); // it got nothing
  assert.match(asked[0]!, /resp_1\?stream=true$/);
  await withTurns([{ text: DONE }], async ({ url, asked }) => {
    await connect(url, { streamId: "s", lastEventId: "s.7" }).text();
    assert.match(asked[0]!.head, /^last-event-id: s\.7$/im);
  });
});
