/**
 * A `Host` header that makes no URL: whatever a client writes there, it gets a response, and the operator
 * hears nothing of it.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createHandler } from "../../lib/full_handler.ts";
import { resume } from "../../lib/http/resume.ts";
import { sse } from "../../lib/http/sse.ts";
import { queryParameter, urlOf } from "../../lib/http/url.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import { rawRequest, serve, type Served, until } from "../support/serve.ts";

const UNUSABLE = [
  "",
  "a b",
  "a\tb",
  "[::",
  "127.0.0.1:99999",
  "127.0.0.1@a",
  "127.0.0.1#",
  "127.0.0.1?",
  "127.0.0.1/streaming",
  "127.0.0.1\\",
  "a%zz",
  "1.2.3.4.5",
  "\u00e9",
];

const errors: unknown[] = [];
const log = new MemoryLog();
let served: Served;
/** What a fetch function threw: a runtime would answer with an error page. */
const thrown: unknown[] = [];

before(() => {
  const handler = createHandler({
    source: "Hello",
    allowedHosts: ["127.0.0.1"],
    onError: (error) => errors.push(error),
  });
  served = serve(async (request, info) => {
    try {
      if (request.method === "PUT") return await sse(request, "Hello", { log });
      if (request.method === "PATCH") return await resume(request, { log });
      return await handler.fetch(request, info);
    } catch (error) {
      thrown.push(error);
      return new Response("thrown", { status: 500 });
    }
  });
});
after(() => served.close());

/** Sends a request with any `Host`, and returns all that comes back. */
async function received(host: string, method: string, path: string): Promise<string> {
  const raw = await rawRequest(served.port, {
    method,
    path,
    host,
    headers: { connection: "close", "content-length": "0" },
  });
  await until(() => raw.ended, 3000, `an end: ${raw.received}`);
  raw.socket.destroy();
  return raw.received;
}

for (const host of UNUSABLE) {
  test(`Host ${JSON.stringify(host)} is 400 on every route, and no error of ours`, async () => {
    for (const [method, path] of [["GET", "/health"], ["GET", "/?q=1"], ["POST", "/streaming"]]) {
      const text = await received(host, method!, path!);
      assert.match(text, /^HTTP\/1\.1 400 /);
      // A runtime may refuse it by itself, without a body.
      if (text.endsWith("\r\n\r\n")) continue;
      assert.match(text, /^content-type: application\/problem\+json\r$/im);
      assert.match(text, /"code":"bad_request","detail":"The Host header is not a host name"/);
    }
    assert.deepEqual(errors, []);
    assert.deepEqual(thrown, []);
  });

  test(`Host ${JSON.stringify(host)} keeps sse() and resume() from nothing`, async () => {
    const streamed = await received(host, "PUT", "/x?format=ndjson");
    if (!/^HTTP\/1\.1 400 /.test(streamed)) {
      assert.match(streamed, /^HTTP\/1\.1 200 /);
      assert.match(streamed, /"token":"Hello"|data: /);
    }
    assert.match(await received(host, "PATCH", "/x?lastEventId=never.1"), /^HTTP\/1\.1 40[04] /);
    assert.deepEqual(thrown, []);
  });
}

test("a Host that is one is served, or 421 where it is not allowed", async () => {
  assert.match(await received("127.0.0.1", "GET", "/health"), /^HTTP\/1\.1 200 /);
  assert.match(await received("a.example:80", "GET", "/health"), /^HTTP\/1\.1 421 /);
  assert.match(await received("[::1]:8000", "GET", "/health"), /^HTTP\/1\.1 421 /);
});

/** A request as a server makes it, with what it would not let through. */
const requestOf = (url: string, host?: string) =>
  ({ url, headers: new Headers(host === undefined ? {} : { host }) }) as Request;

test("urlOf() is the URL, and a StreamError where there is none", () => {
  assert.equal(urlOf(requestOf("http://a/b?c")).pathname, "/b");
  assert.equal(urlOf(requestOf("http://a/b?c", "a:80")).search, "?c");
  for (const url of ["/b", "", "http://[::/b"]) {
    assert.throws(() => urlOf(requestOf(url, "a")), { name: "StreamError", code: "bad_request" });
  }
  for (const host of ["", "a/b", "a#"]) {
    assert.throws(() => urlOf(requestOf("http://a/b", host)), { code: "bad_request" });
  }
});

test("queryParameter() reads what URL would, also where the rest is no URL", () => {
  for (
    const path of [
      "/",
      "/?a",
      "/?a=1",
      "/?b=1",
      "/?b=&a=x%20y+z&a=2",
      "/#?a=1",
      "/?a=1#?a=2",
      "/??a=1",
    ]
  ) {
    const expected = new URL(path, "http://h").searchParams.get("a");
    for (const base of ["http://h", "http://a b", ""]) {
      assert.equal(queryParameter(requestOf(base + path), "a"), expected, base + path);
    }
  }
});
