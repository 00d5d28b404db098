/** The listener on Node's own HTTP servers. On the other runtimes `node:http` is another program. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from "node:http";
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import nodeTest, { type TestContext } from "node:test";
import { inspect } from "node:util";
import { createHandler, MemoryLog, resume, sse } from "../mod.ts";
import { type NodeFetch, toNodeListener } from "../lib/node.ts";
import { bodyOf, DEPARTURES, rawRequest, runtimeName, until } from "./support/serve.ts";

const skip = runtimeName !== "node" && "Node's HTTP servers are the subject";
const test = (name: string, run: (t: TestContext) => Promise<void> | void) =>
  nodeTest(name, { skip }, run);

/** A server that ends with its test. */
function listen(
  t: TestContext,
  listener: RequestListener,
): { port: number; url: string } {
  const server = createServer(listener).listen(0);
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return { port, url: `http://127.0.0.1:${port}` };
}

/** A server of a fetch function; errors are collected. */
function serve(t: TestContext, fetch: NodeFetch) {
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  return { ...listen(t, toNodeListener(fetch, { onError })), errors };
}

const silent = () => new Promise<never>(() => {});
const encode = (text: string) => new TextEncoder().encode(text);

/** A body that gives these chunks, one per turn, and then fails or is silent. */
function bodyThat(end: "fails" | "is silent", ...texts: string[]) {
  const state = { cancelled: false };
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      const text = texts.shift();
      if (text !== undefined) controller.enqueue(encode(text));
      else if (end === "fails") controller.error(new Error("the secret"));
      else await silent();
    },
    cancel() {
      state.cancelled = true;
    },
  }, { highWaterMark: 0 });
  return { body, state };
}

for (const how of DEPARTURES) {
  test(`toNodeListener() aborts and cancels when a client leaves by ${how}`, async (t) => {
    const { body, state } = bodyThat("is silent", "a");
    let signal: AbortSignal | undefined;
    const { port, errors } = serve(t, (request) => {
      signal = request.signal;
      return new Response(body);
    });
    const raw = await rawRequest(port);
    await until(() => raw.received.includes("a\r\n"), 1000, "the first chunk");
    assert.equal(signal!.aborted, false);
    raw.socket[how]();
    await until(
      () => signal!.aborted && state.cancelled,
      500,
      "an abort and a cancel",
    );
    assert.equal((signal!.reason as Error).name, "AbortError");
    assert.deepEqual(errors, []);
  });

  test(`toNodeListener() aborts before the response when a client leaves by ${how}`, async (t) => {
    let signal: AbortSignal | undefined;
    const { port, errors } = serve(t, (request) => {
      signal = request.signal;
      return new Promise((_resolve, reject) => {
        request.signal.addEventListener(
          "abort",
          () => reject(request.signal.reason),
        );
      });
    });
    const raw = await rawRequest(port);
    await until(() => signal !== undefined, 1000, "a request");
    raw.socket[how]();
    await until(() => signal!.aborted, 500, "an abort");
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(errors, []);
  });
}

test("toNodeListener() lets a handler count what makes no Request", async (t) => {
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  const handler = createHandler({
    source: "a",
    headers: { "x-own": "1" },
    onError,
  });
  for (
    const listener of [toNodeListener(handler), toNodeListener(handler.fetch)]
  ) {
    const { port } = listen(t, listener);
    const before = handler.stats();
    for (const to of [{ path: "*" }, { host: "a/b" }]) {
      const raw = await rawRequest(port, {
        ...to,
        headers: { connection: "close" },
      });
      await until(() => raw.ended, 2000, "a response");
      assert.match(raw.received, /^HTTP\/1\.1 400 /);
      assert.match(raw.received, /"code":"bad_request"/);
      assert.match(raw.received, /^x-own: 1\r$/m);
    }
    const { rejected, responses } = handler.stats();
    assert.equal(rejected["bad_request"], before.rejected["bad_request"]! + 2);
    assert.equal(responses["400"], (before.responses["400"] ?? 0) + 2);
  }
  assert.deepEqual(errors, []);
});

test("toNodeListener() lets go of a client that half-closes and takes nothing", async (t) => {
  const chunk = new Uint8Array(256 * 1024);
  let pulled = 0;
  let cancelled = false;
  const { port } = serve(t, () =>
    new Response(
      new ReadableStream({
        pull: (controller) => (pulled++, controller.enqueue(chunk.slice())),
        cancel: () => void (cancelled = true),
      }, { highWaterMark: 0 }),
    ));
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("error", () => {});
  socket.pause().write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  let whenFull = -1;
  while (pulled === 0 || whenFull !== pulled) {
    whenFull = pulled;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(pulled, whenFull, "pulled while the connection was full");
  assert(pulled < 64, `${pulled} chunks of 256 KiB`);
  socket.end();
  await until(() => cancelled, 500, "a cancel");
  socket.destroy();
});

test("toNodeListener() goes on when a full connection drains", async (t) => {
  const chunk = new Uint8Array(256 * 1024);
  let left = 40;
  const { url } = serve(t, () =>
    new Response(
      new ReadableStream({
        pull: (controller) => left-- > 0 ? controller.enqueue(chunk.slice()) : controller.close(),
      }, { highWaterMark: 0 }),
    ));
  const bytes = await (await fetch(url)).arrayBuffer();
  assert.equal(bytes.byteLength, 40 * chunk.length);
});

test("toNodeListener() sends the response headers before the body has a byte", async (t) => {
  const { url } = serve(
    t,
    () => new Response(bodyThat("is silent").body, { status: 201 }),
  );
  const response = await fetch(url);
  assert.equal(response.status, 201);
  await response.body!.cancel();
});

test("toNodeListener() sends a body that is there with its length, in one piece", async (t) => {
  const { port } = serve(t, () => new Response("hello"));
  const raw = await rawRequest(port);
  await until(() => raw.received.includes("hello"), 1000, "a response");
  assert.match(raw.received, /^content-length: 5\r$/im);
  assert.equal(bodyOf(raw).text, "hello");
  raw.socket.destroy();
});

test("toNodeListener() waits for no second chunk before it sends the first", async (t) => {
  const { port } = serve(
    t,
    () => new Response(bodyThat("is silent", "one").body),
  );
  const raw = await rawRequest(port);
  await until(() => raw.received.includes("one"), 1000, "the first chunk");
  raw.socket.destroy();
});

test("toNodeListener() sends a source without end that never leaves the microtasks", async (t) => {
  const { port } = serve(t, () =>
    new Response(
      new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(1024)),
      }),
    ));
  const raw = await rawRequest(port);
  await until(() => raw.received.length > 100_000, 2000, "chunks");
  raw.socket.destroy();
});

test("toNodeListener() sends each cookie as a header of its own", async (t) => {
  const { url } = serve(t, () => {
    const headers = new Headers([["set-cookie", "a=1"], [
      "set-cookie",
      "b=2; Path=/",
    ]]);
    return new Response("x", { headers });
  });
  const response = await fetch(url);
  await response.text();
  assert.deepEqual(response.headers.getSetCookie(), ["a=1", "b=2; Path=/"]);
});

test("toNodeListener() keeps the cookies and the Vary of middleware", async (t) => {
  const listener = toNodeListener(() => {
    return new Response("x", {
      headers: { "set-cookie": "b=2", vary: "Accept", "x-a": "new" },
    });
  });
  const { url } = listen(t, (req, res) => {
    res.setHeader("set-cookie", "a=1").setHeader("vary", "Origin").setHeader(
      "x-a",
      "old",
    );
    listener(req, res);
  });
  const { headers } = await fetch(url);
  assert.deepEqual(headers.getSetCookie(), ["a=1", "b=2"]);
  assert.equal(headers.get("vary"), "Origin, Accept");
  assert.equal(headers.get("x-a"), "new");
});

for (
  const [name, method, status] of [["HEAD", "HEAD", 200], ["204", "GET", 204], [
    "304",
    "GET",
    304,
  ]] as const
) {
  test(`toNodeListener() sends no body for ${name}`, async (t) => {
    const { body, state } = bodyThat("is silent", "body");
    const { port } = serve(
      t,
      () =>
        new Response(status === 200 ? body : null, {
          status,
          headers: { "x-there": "yes" },
        }),
    );
    const raw = await rawRequest(port, {
      method,
      headers: { connection: "close" },
    });
    await until(() => raw.ended, 1000, "an end");
    assert.match(raw.received, new RegExp(`^HTTP/1.1 ${status} `));
    assert.match(raw.received, /x-there: yes/);
    assert.match(raw.received, /\r\n\r\n$/);
    if (status === 200) assert(state.cancelled);
  });
}

test("toNodeListener() breaks off a response whose body fails, after what came before", async (t) => {
  const { port, url, errors } = serve(
    t,
    () => new Response(bodyThat("fails", "one", "two").body),
  );
  const raw = await rawRequest(port);
  await until(() => raw.ended, 1000, "an end");
  assert.deepEqual(bodyOf(raw), { text: "onetwo", whole: false });
  assert.equal((errors[0] as Error).message, "the secret");
  assert.equal(errors.length, 1);
  await assert.rejects(fetch(url).then((response) => response.text()));
});

test("toNodeListener() delivers the chunk right before a failure", async (t) => {
  const { port } = serve(t, () => {
    let pulls = 0;
    const body = new ReadableStream({
      pull(controller) {
        if (++pulls > 1) throw new Error("the secret");
        controller.enqueue(encode("one"));
      },
    }, { highWaterMark: 0 });
    return new Response(body);
  });
  const raw = await rawRequest(port);
  await until(() => raw.ended, 1000, "an end");
  assert.deepEqual(bodyOf(raw), { text: "one", whole: false });
});

test("toNodeListener() makes a 500 of a body that fails before its first chunk", async (t) => {
  const broken = () =>
    new ReadableStream({
      pull: () => Promise.reject(new Error("the secret")),
    });
  const { url, errors } = serve(t, () => new Response(broken()));
  const response = await fetch(url);
  assert.equal(response.status, 500);
  assert.doesNotMatch(await response.text(), /secret/);
  assert.equal((errors[0] as Error).message, "the secret");
  assert.equal(errors.length, 1);
});

test("toNodeListener() makes a 500 of a header that Node does not send", async (t) => {
  for (
    const body of [
      "whole",
      bodyThat("is silent").body,
      bodyThat("is silent", "a").body,
    ]
  ) {
    const headers = { "x-wrong": "a\x01b" };
    const { url, errors } = serve(t, () => new Response(body, { headers }));
    const response = await fetch(url);
    assert.deepEqual([response.status, response.statusText], [
      500,
      "Internal Server Error",
    ]);
    assert.equal(JSON.parse(await response.text()).code, "internal");
    assert.match(String(errors), /x-wrong/);
  }
});

for (const chunk of ["é", { a: 1 }, 5, new ArrayBuffer(1)]) {
  test(`toNodeListener() makes a 500 of a body of ${typeof chunk} ${chunk}`, async (t) => {
    const { url, errors } = serve(t, () =>
      new Response(
        new ReadableStream({
          start(controller) {
            controller.enqueue(chunk);
            controller.close();
          },
        }),
      ));
    const response = await fetch(url);
    assert.equal(response.status, 500);
    await response.text();
    assert.match(
      String(errors),
      /TypeError: Cannot respond: a chunk of the body is /,
    );
  });
}

test("toNodeListener() sends one length, that of the body", async (t) => {
  const wrong = ["content-length", "transfer-encoding"];
  const { port } = serve(t, () => {
    const name = wrong.shift()!;
    return new Response("hello", {
      headers: { [name]: name === "content-length" ? "2" : "chunked" },
    });
  });
  for (const _ of [...wrong]) {
    const raw = await rawRequest(port);
    await until(() => raw.received.includes("hello"), 1000, "a response");
    assert.match(raw.received, /^content-length: 5\r$/im);
    assert.doesNotMatch(raw.received, /^transfer-encoding/im);
    raw.socket.destroy();
  }
});

test("toNodeListener() resets the connection where a body without a length fails", async (t) => {
  const { port } = serve(t, () => new Response(bodyThat("fails", "one").body));
  const socket = connect(port, "127.0.0.1");
  const error = new Promise<NodeJS.ErrnoException>((resolve) => socket.on("error", resolve));
  socket.resume().write("GET / HTTP/1.0\r\n\r\n");
  assert.equal((await error).code, "ECONNRESET");
});

test("toNodeListener() closes a Unix socket where such a body fails: only TCP has a reset", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "spillway-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "socket");
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  const fetch = () => new Response(bodyThat("fails", "one").body);
  const server = createServer(toNodeListener(fetch, { onError })).listen(path);
  t.after(() => void server.close());
  await once(server, "listening");
  const socket = connect(path);
  t.after(() => void socket.destroy());
  socket.resume().write("GET / HTTP/1.0\r\n\r\n");
  await until(() => socket.closed, 2000, "the end of the connection");
  // What is thrown besides would end the process, and the test with it.
  assert.deepEqual(errors.map(String), ["Error: the secret"]);
});

test("toNodeListener() makes a 500 without details of what fetch throws", async (t) => {
  const secret = new Error("the secret");
  const throwing: NodeFetch[] = [
    () => {
      throw secret;
    },
    () => Promise.reject(secret),
  ];
  for (const fetchFunction of throwing) {
    const { url, errors } = serve(t, fetchFunction);
    const response = await fetch(url);
    assert.equal(response.status, 500);
    assert.doesNotMatch(await response.text(), /secret/);
    assert.deepEqual(errors, [secret]);
  }
});

test("toNodeListener() makes a 500 of what is no Response, or cannot be sent", async (t) => {
  const used = new Response("used");
  await used.text();
  for (
    const value of [
      undefined,
      "text",
      { status: "200" },
      used,
      Response.error(),
    ]
  ) {
    const { url, errors } = serve(t, () => value as Response);
    const response = await fetch(url);
    assert.equal(response.status, 500, String(value));
    await response.text();
    assert.equal(errors.length, 1);
    assert(
      errors[0] instanceof TypeError || errors[0] instanceof RangeError,
      String(errors[0]),
    );
  }
});

for (
  const host of [
    "a b",
    "",
    "[::",
    "127.0.0.1:99999",
    "a@b",
    "a#b",
    "a?b",
    "a/b",
    "a\\b",
    "\xe9",
  ]
) {
  test(`toNodeListener() responds 400 to the host ${JSON.stringify(host)}`, async (t) => {
    let calls = 0;
    const { port, errors } = serve(t, () => (calls++, new Response("x")));
    const socket = connect(port, "127.0.0.1").setEncoding("latin1");
    let received = "";
    socket.on("data", (data) => received += data);
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`, "latin1");
    await until(() => received.includes("\r\n\r\n"), 1000, "a response");
    assert.match(received, /^HTTP\/1.1 400 /);
    assert.equal(calls + errors.length, 0);
    socket.destroy();
  });
}

test("toNodeListener() gives the URL that the client sent", async (t) => {
  const urls: string[] = [];
  const { port } = serve(
    t,
    (request) => (urls.push(request.url), new Response("x")),
  );
  const lines = [
    "GET /a?b=c HTTP/1.1\r\nHost: example.com:81",
    "GET //evil.example/a HTTP/1.1\r\nHost: h",
    "GET http://other.example/x HTTP/1.1\r\nHost: h",
    "GET /six HTTP/1.1\r\nHost: [::1]:80",
    "GET /none HTTP/1.0",
  ];
  for (const line of lines) {
    const socket = connect(port, "127.0.0.1");
    socket.resume().write(`${line}\r\n\r\n`);
    const before = urls.length;
    await until(() => urls.length > before, 1000, line);
    socket.destroy();
  }
  assert.deepEqual(urls, [
    "http://example.com:81/a?b=c",
    "http://h//evil.example/a",
    "http://other.example/x",
    "http://[::1]/six",
    "http://localhost/none",
  ]);
});

test("toNodeListener() gives the URL from before a mount of Express, and https", async (t) => {
  let asked = "";
  const listener = toNodeListener((
    request,
  ) => (asked = request.url, new Response("x")));
  const { url } = listen(t, (req, res) => {
    const mounted = Object.assign(req, { originalUrl: req.url, url: "/rest" });
    Object.assign(req.socket, { encrypted: true });
    listener(mounted, res);
  });
  await (await fetch(`${url}/mount/rest`)).text();
  assert.equal(asked, `${url.replace("http", "https")}/mount/rest`);
});

test("toNodeListener() gives the body as it comes, with backpressure", async (t) => {
  const seen: string[] = [];
  const { url } = serve(t, async (request) => {
    for await (const chunk of request.body!) {
      seen.push(new TextDecoder().decode(chunk));
    }
    return new Response(request.headers.get("x-header"));
  });
  let sent = 0;
  const body = new ReadableStream({
    async pull(controller) {
      controller.enqueue(encode(`${sent++}`));
      // The next one is sent when this one is there.
      while (seen.length < sent) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      if (sent === 3) controller.close();
    },
  });
  const init = {
    method: "POST",
    headers: { "x-header": "there" },
    body,
    duplex: "half",
  };
  assert.equal(await (await fetch(url, init as RequestInit)).text(), "there");
  assert.deepEqual(seen, ["0", "1", "2"]);
});

test("toNodeListener() reads no further than the body is asked for", async (t) => {
  let ask = () => {};
  const asked = new Promise<void>((resolve) => ask = resolve);
  const { port } = serve(t, async (request) => {
    const reader = request.body!.getReader();
    await reader.read();
    await asked;
    return new Response("x");
  });
  const socket = connect(port, "127.0.0.1");
  const size = 64 * 1024 * 1024;
  socket.resume().write(
    `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`,
  );
  const chunk = new Uint8Array(1024 * 1024);
  for (let i = 0; i < 64; i++) socket.write(chunk);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert(
    socket.writableLength > 32 * 1024 * 1024,
    `${socket.writableLength} bytes are left`,
  );
  ask();
  socket.destroy();
});

test("toNodeListener() keeps the connection of a body that was cancelled", async (t) => {
  const { port } = serve(t, async (request) => {
    await request.body?.cancel();
    return new Response("done");
  });
  const raw = await rawRequest(port, {
    method: "POST",
    body: "x".repeat(500_000),
  });
  await until(() => raw.received.includes("done"), 1000, "a response");
  raw.socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await until(
    () => raw.received.split("done").length === 3,
    1000,
    "a second response",
  );
  raw.socket.destroy();
});

test("toNodeListener() keeps the connection of a body that was read in part", async (t) => {
  const { port } = serve(t, async (request) => {
    if (request.method === "GET") return new Response("next");
    for await (const _ of request.body!) break;
    return new Response("enough");
  });
  const raw = await rawRequest(port, {
    method: "POST",
    body: "x".repeat(2_000_000),
  });
  raw.socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await until(
    () => raw.received.includes("enough") && raw.received.includes("next"),
    2000,
    "both",
  );
  raw.socket.destroy();
});

test("toNodeListener() fails the body that a client breaks off", async (t) => {
  let failed: unknown;
  const { port } = serve(t, async (request) => {
    await request.text().catch((error) => failed = error);
    return new Response("x");
  });
  const raw = await rawRequest(port, {
    method: "POST",
    headers: { "transfer-encoding": "chunked" },
  });
  raw.socket.write("5\r\nhello\r\n");
  await new Promise((resolve) => setTimeout(resolve, 30));
  raw.socket.destroy();
  await until(() => failed !== undefined, 1000, "a failed body");
});

/** What a parser leaves: the stream read to its end, and the result on the request. */
async function parse(
  req: IncomingMessage,
  made: (bytes: Buffer) => object,
): Promise<IncomingMessage> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk);
  return Object.assign(req, made(Buffer.concat(chunks)));
}

const PARSED: [string, string, string, (bytes: Buffer) => object, string][] = [
  [
    "an object",
    "application/json; charset=utf-16",
    '{"a":1}',
    (b) => ({ body: JSON.parse(`${b}`) }),
    '{"a":1}',
  ],
  ["a text", "text/plain", "é", (b) => ({ body: `${b}` }), "é"],
  ["bytes", "application/octet-stream", "raw", (b) => ({ body: b }), "raw"],
  [
    "an object and its bytes",
    "application/json",
    '{ "a": 1 }',
    (b) => ({ body: {}, rawBody: b }),
    '{ "a": 1 }',
  ],
  [
    "a form",
    "application/x-www-form-urlencoded",
    "a=1&b=2&b=3",
    () => ({ body: { a: "1", b: ["2", "3"] } }),
    "a=1&b=2&b=3",
  ],
];
for (const [name, type, sent, made, wanted] of PARSED) {
  test(`toNodeListener() takes the body from a parser that has made ${name}`, async (t) => {
    const listener = toNodeListener(async (request) => {
      assert.equal(request.headers.get("content-length"), null);
      assert.equal(request.headers.get("content-encoding"), null);
      assert.equal(request.headers.get("content-type"), type.split(";")[0]);
      return new Response(await request.text());
    });
    const { url } = listen(
      t,
      async (req, res) => listener(await parse(req, made), res),
    );
    const headers = { "content-type": type, "content-encoding": "x" };
    const response = await fetch(url, { method: "POST", headers, body: sent });
    assert.equal(await response.text(), wanted);
  });
}

test("toNodeListener() fails a body that was read before and is nowhere", async (t) => {
  const listener = toNodeListener(async (request) => {
    const error = await request.text().catch((error) => error);
    return new Response(error.message);
  });
  const { url } = listen(
    t,
    async (req, res) => listener(await parse(req, () => ({})), res),
  );
  const response = await fetch(url, { method: "POST", body: "x" });
  assert.match(await response.text(), /something has read it before/);
});

test("toNodeListener() serves a handler, a body of Express included", async (t) => {
  const handler = createHandler({
    source: async function* ({ input }) {
      yield* input.query.split(" ");
    },
  });
  const listener = toNodeListener(handler);
  const { url } = listen(t, async (req, res) => {
    listener(
      await parse(req, (bytes) => ({ body: JSON.parse(`${bytes}`) })),
      res,
    );
  });
  const response = await fetch(`${url}/streaming?format=text`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"query":"one two"}',
  });
  assert.match(await response.text(), /data: one\n[^]*data: two\n/);
});

test("toNodeListener() gives Node's request and response to fetch", async (t) => {
  const { url } = serve(t, (_request, { req, res }) => {
    assert.equal(
      typeof (req as IncomingMessage).socket.remoteAddress,
      "string",
    );
    (res as ServerResponse).setHeader("x-own", "yes");
    return new Response("x");
  });
  assert.equal((await fetch(url)).headers.get("x-own"), "yes");
});

test("toNodeListener() leaves a response alone that middleware has sent", async (t) => {
  const { body, state } = bodyThat("is silent", "a");
  const { url, errors } = serve(t, (_request, { res }) => {
    (res as ServerResponse).end("early");
    return new Response(body);
  });
  assert.equal(await (await fetch(url)).text(), "early");
  await until(() => state.cancelled, 500, "a cancel");
  assert.deepEqual(errors, []);
});

test("toNodeListener() serves many requests of one connection that waits for none", async (t) => {
  const { port } = serve(
    t,
    (request) => sse(request, ["a", "b"], { format: "text" }),
  );
  const raw = await rawRequest(port);
  raw.socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(30));
  await until(
    () => raw.received.split("event: done").length === 32,
    2000,
    "31 streams",
  );
  raw.socket.destroy();
});

test("on Node, a short stream can be read, copied and changed before it is sent", async (t) => {
  const ways: ((response: Response) => Response | Promise<Response>)[] = [
    (response) => response,
    (response) => new Response(response.body, response),
    (response) => response.clone(),
    async (response) => new Response(await response.text(), response),
    async (response) => new Response(await response.arrayBuffer(), response),
    async (response) => new Response(await response.blob(), response),
    (response) => {
      const { body } = response;
      assert(body !== null && !response.bodyUsed);
      return response;
    },
  ];
  for (const [i, way] of ways.entries()) {
    const { url } = serve(t, async (request) => {
      const response = await sse(request, ["Hel", "lo"], { format: "plain" });
      assert(response instanceof Response);
      response.headers.set("x-way", `${i}`);
      return way(response);
    });
    const response = await fetch(url);
    assert.equal(response.headers.get("x-way"), `${i}`);
    assert.match(response.headers.get("content-type")!, /^text\/plain/);
    assert.equal(await response.text(), "Hello", `way ${i}`);
  }
});

test("on Node, a short stream has every member of a Response, as a real one has it", async (t) => {
  const members = Object.keys(
    Object.getOwnPropertyDescriptors(Response.prototype),
  );
  const faults: string[] = [];
  const { url, errors } = serve(t, async (request) => {
    const response = await sse(request, ["a"]);
    const real = new Response("a");
    assert(response instanceof Response);
    for (const name of members as (keyof Response)[]) {
      const [given, wanted] = [response[name], real[name]] as unknown[];
      const isAlike = typeof wanted === "object" || typeof wanted === "function"
        ? given?.constructor === wanted?.constructor
        : given === wanted;
      if (!isAlike) faults.push(name);
    }
    const copy = new Response(response.clone().body, response);
    assert.equal(
      copy.headers.get("content-type"),
      response.headers.get("content-type"),
    );
    // What it prints as is the runtime's affair, but it prints.
    assert.match(inspect(response), /Response/);
    return copy;
  });
  assert.match(await (await fetch(url)).text(), /^:\ndata: /);
  assert.deepEqual([faults, errors], [[], []]);
});

test("on Node, a request without a body is a Request in every way", async (t) => {
  const { url } = serve(t, (request) => {
    assert(request instanceof Request);
    for (
      const copy of [
        request.clone(),
        new Request(request),
        new Request(request.url, request),
      ]
    ) {
      assert.equal(copy.url, request.url);
      assert.equal(copy.headers.get("x-header"), "there");
      assert.equal(copy.method, "DELETE");
    }
    assert.equal(request.signal, request.signal);
    return new Response("fine");
  });
  const response = await fetch(url, {
    method: "DELETE",
    headers: { "x-header": "there" },
  });
  assert.equal(await response.text(), "fine");
});

test("toNodeListener() serves HTTP/2", async (t) => {
  const cancelled = bodyThat("is silent", "first");
  const listener = toNodeListener((request) =>
    request.url.endsWith("/silent")
      ? new Response(cancelled.body)
      : new Response(`${request.method} ${request.url}`)
  );
  const server = createHttp2Server((req, res) => listener(req as never, res as never)).listen(0);
  const { port } = server.address() as AddressInfo;
  const client = connectHttp2(`http://127.0.0.1:${port}`);
  t.after(() => {
    client.destroy();
    server.close();
  });
  const stream = client.request({ ":path": "/a" }).setEncoding("utf8");
  let text = "";
  for await (const chunk of stream) text += chunk;
  assert.equal(text, `GET http://127.0.0.1:${port}/a`);
  const silent = client.request({ ":path": "/silent" });
  await new Promise((resolve) => silent.once("data", resolve));
  silent.close();
  await until(() => cancelled.state.cancelled, 500, "a cancel");
});

nodeTest("toNodeListener() tells what it takes", () => {
  for (const wrong of [undefined, null, {}, "handler", { fetch: 1 }]) {
    assert.throws(() => toNodeListener(wrong as never), {
      name: "TypeError",
      message: /pass what createHandler returns/,
    });
  }
  const fetch = () => new Response("x");
  assert.throws(
    () => toNodeListener(fetch, { onErrors: () => {} } as never),
    /onError\b/,
  );
  assert.throws(
    () => toNodeListener(fetch, { onError: "x" } as never),
    TypeError,
  );
});

test("on Node, createServer(handler.fetch) is a 500, and its operator is told what to do", async (t) => {
  const errors: unknown[] = [];
  const handler = createHandler({
    source: "x",
    onError: (error) => errors.push(error),
  });
  const { url } = listen(t, handler.fetch as never);
  const response = await fetch(url);
  assert.equal(response.status, 500);
  await response.text();
  assert.match(
    String(errors[0]),
    /TypeError: Cannot handle without a Request: .*on Node use spillway\/node/,
  );
});

test("on Node, sse() and resume() tell what to do with Node's own request", async (t) => {
  const seen: unknown[] = [];
  const { url } = listen(t, async (req, res) => {
    const request = req as unknown as Request;
    seen.push(await sse(request, "x").catch((error) => error));
    seen.push(
      await resume(request, { log: new MemoryLog() }).catch((error) => error),
    );
    res.end();
  });
  await (await fetch(url)).text();
  for (const error of seen) {
    assert.match(
      String(error),
      /TypeError: Cannot .*without a Request.*on Node use spillway\/node/,
    );
  }
  assert.equal(seen.length, 2);
});
