/**
 * Whose a stream is: what `authorize` may answer, how each API hears of a refusal, and that nobody
 * learns of another's streams. Hosts and origins are in `handler_test.ts`.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { StreamError } from "../../lib/error.ts";
import { createHandler } from "../../lib/full_handler.ts";
import type { HandlerOptions } from "../../lib/handler.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import { createStreamId } from "../../lib/stream_id.ts";
import { Reading } from "../support/event_reader.ts";
import { rawRequest, serve, until } from "../support/serve.ts";
import {
  ask,
  assertNothingLeft,
  post,
  Puppet,
  quiet,
  refusal,
  ROUTES,
  type StreamingRoute,
} from "../support/handler_requests.ts";

const JSON_TYPE = { "content-type": "application/json" };
const ADA = { "x-who": "ada" };
const BOB = { "x-who": "bob" };
const who = (request: Request) => request.headers.get("x-who");

/** Every request that is somebody's: routes, methods and bodies. */
const ASKED: [
  method: string,
  path: string,
  shape: StreamingRoute["shape"],
  body?: object,
][] = [
  ...ROUTES.map(({ path, shape, body }) =>
    ["POST", path, shape, body] as [
      string,
      string,
      StreamingRoute["shape"],
      object,
    ]
  ),
  ["GET", "/streaming/x", "problem"],
  ["DELETE", "/streaming/x", "problem"],
  ["GET", "/api/chat/x/stream", "problem"],
  ["GET", "/v1/models", "openai"],
  ["GET", "/v1/models/spillway", "openai"],
  ["GET", "/metrics", "problem"],
];

type Authorize = NonNullable<HandlerOptions["authorize"]>;

/** What each request is answered where `authorize` answers so. */
async function refusals(
  authorize: Authorize,
  status: number,
  extra: object = {},
) {
  const puppet = new Puppet();
  const handler = createHandler({
    source: puppet.source,
    authorize,
    ...quiet,
    ...extra,
  });
  const codes: (string | undefined)[] = [];
  const responses: Response[] = [];
  for (const [method, path, shape, body] of ASKED) {
    const init = body ? { headers: JSON_TYPE, body: JSON.stringify(body) } : {};
    const response = await ask(handler, path, { method, ...init });
    responses.push(response);
    const code = await refusal(response.clone(), status, shape);
    if (shape !== "anthropic") codes.push(code);
  }
  assert.equal(puppet.runs, 0);
  await assertNothingLeft();
  return { codes: [...new Set(codes)], responses };
}

test("authorize: nobody is 401 with WWW-Authenticate, in the words of each API", async () => {
  for (const nobody of [undefined, null]) {
    const { codes, responses } = await refusals(() => nobody, 401);
    assert.deepEqual(codes, ["unauthorized"]);
    for (const { headers } of responses) {
      assert.equal(headers.get("www-authenticate"), "Bearer");
    }
  }
  const { responses } = await refusals(() => Promise.resolve(undefined), 401);
  const types = await Promise.all(responses.map(async (response, i) => {
    const value = await response.json();
    return [ASKED[i]![2], value.error?.type ?? value.title];
  }));
  assert.deepEqual(Object.fromEntries(types), {
    problem: "Missing or invalid credentials",
    openai: "authentication_error",
    anthropic: "authentication_error",
  });
});

test("authorize: a StreamError is the refusal, returned or thrown", async () => {
  const error = new StreamError("forbidden", { title: "Pay first" });
  for (const authorize of [() => error, () => Promise.reject(error)]) {
    const { codes, responses } = await refusals(authorize, 403);
    assert.deepEqual(codes, ["forbidden"]);
    for (const response of responses) {
      assert.equal(response.headers.get("www-authenticate"), null);
      assert.match(await response.text(), /Pay first/);
    }
  }
  const later = new StreamError("quota_exceeded", {
    status: 429,
    retryAfter: 7,
  });
  const { codes, responses } = await refusals(() => later, 429);
  assert.deepEqual(codes, ["quota_exceeded"]);
  for (const { headers } of responses) {
    assert.equal(headers.get("retry-after"), "7");
  }
});

test("authorize: what is no name is 500, as what it throws, and only the operator is told", async () => {
  const secret = new Error("the key table is at 10.0.0.1");
  const wrong: Authorize[] = [
    () => "",
    () => "x".repeat(257),
    () => 5 as never,
    () => ({}) as never,
    () => {
      throw secret;
    },
    () => Promise.reject(secret),
  ];
  for (const authorize of wrong) {
    const errors: unknown[] = [];
    const onError = (error: unknown) => void errors.push(error);
    const { codes, responses } = await refusals(authorize, 500, { onError });
    assert.deepEqual(codes, ["internal"]);
    for (const response of responses) {
      assert.doesNotMatch(await response.text(), /10\.0|256/);
    }
    assert.equal(errors.length, ASKED.length);
    assert(
      errors.every((error) => error === secret || error instanceof TypeError),
    );
  }
});

test("authorize is asked once a request, before its body is read", async () => {
  let asked = 0;
  const handler = createHandler({
    source: "text",
    authorize: () => void asked++,
  });
  const request = new Request("http://localhost/streaming", {
    method: "POST",
    headers: JSON_TYPE,
    body: new ReadableStream(),
    duplex: "half",
  } as RequestInit);
  assert.equal(
    await refusal(await handler.fetch(request), 401, "problem"),
    "unauthorized",
  );
  assert.deepEqual([asked, request.bodyUsed], [1, false]);
});

test("authorize is not asked for what is nobody's: health, the document, preflights, 404 and 405", async () => {
  const authorize = () => assert.fail("nobody is asked");
  const handler = createHandler({
    source: "text",
    authorize,
    cors: ["https://a.example"],
  });
  const asked: [method: string, path: string, status: number][] = [
    ["GET", "/health", 200],
    ["HEAD", "/health", 200],
    ["GET", "/openapi.json", 200],
    ["OPTIONS", "/streaming", 204],
    ["OPTIONS", "/streaming/x", 204],
    ["OPTIONS", "/v1/messages", 204],
    ["GET", "/nothing", 404],
    ["PUT", "/streaming", 405],
  ];
  for (const [method, path, status] of asked) {
    assert.equal(
      (await ask(handler, path, { method })).status,
      status,
      `${method} ${path}`,
    );
  }
});

test("authorize is in the document: 401, and how a key is sent", async () => {
  const handler = createHandler({ source: "text", authorize: who });
  const document = await (await ask(handler, "/openapi.json")).json();
  assert.deepEqual(document.security, [{ bearer: [] }, { apiKey: [] }]);
  for (const [method, path] of ASKED) {
    const template = path.replace(/\?.*/, "").replace("/x", "/{id}")
      .replace("models/spillway", "models/{model}");
    const operation = document.paths[template][method.toLowerCase()];
    assert(
      operation.responses[401] && operation.security === undefined,
      template,
    );
  }
});

test("an owner is one to 256 characters, and each sees the streams that are theirs", async () => {
  const puppet = new Puppet();
  const handler = createHandler({ source: puppet.source, authorize: who });
  const names = [
    "a",
    "x".repeat(256),
    "ada@a.example",
    "constructor",
    "undefined",
  ];
  const ids: string[] = [];
  for (const name of names) {
    const response = await post(handler, "/streaming", { query: "" }, {
      "x-who": name,
    });
    const reading = new Reading(response);
    ids.push(reading.streamId);
    puppet.say(name);
    puppet.end();
    assert.equal((await reading.rest()).text, name);
  }
  for (const name of names) {
    const statuses = await Promise.all(ids.map(async (id) => {
      const response = await ask(handler, `/streaming/${id}`, {
        headers: { "x-who": name },
      });
      await response.text();
      return response.status;
    }));
    assert.deepEqual(
      statuses,
      names.map((other) => other === name ? 200 : 404),
      name,
    );
  }
  await assertNothingLeft();
});

test("a stream of nobody's stays nobody's where owners are asked for later, and the other way round", async () => {
  const log = new MemoryLog();
  const open = createHandler({ source: "text", log });
  const closed = createHandler({ source: "text", log, authorize: who });
  const nobodys = new Reading(await post(open, "/streaming", { query: "" }));
  const adas = new Reading(
    await post(closed, "/streaming", { query: "" }, ADA),
  );
  await Promise.all([nobodys.rest(), adas.rest()]);
  assert.equal(
    (await ask(closed, `/streaming/${nobodys.streamId}`, { headers: ADA }))
      .status,
    404,
  );
  assert.equal((await ask(open, `/streaming/${adas.streamId}`)).status, 404);
});

/** An answer as it is on the wire, without what the clock says. */
async function wireOf(
  port: number,
  request: Parameters<typeof rawRequest>[1] & {
    headers: Record<string, string>;
  },
): Promise<string> {
  const headers = { ...request.headers, connection: "close" };
  const raw = await rawRequest(port, { ...request, headers });
  await until(() => raw.ended, 2000, `an answer: ${raw.received}`);
  raw.socket.destroy();
  return raw.received.replace(/^date: .*\r\n/im, "");
}

test("a foreign, a forgotten and a made-up stream are answered alike, byte for byte", async () => {
  const puppet = new Puppet();
  const log = new MemoryLog({ keepMs: 0 });
  const handler = createHandler({
    source: puppet.source,
    log,
    authorize: who,
    headers: { "x-own": "1" },
  });
  const server = serve(handler.fetch);
  try {
    const opened = async (headers: Record<string, string>) =>
      new Reading(await post(handler, "/streaming", { query: "" }, headers));
    const ended = await opened(BOB);
    puppet.say("x");
    puppet.end();
    await ended.rest();
    const foreign = await opened(ADA);
    puppet.say("x");
    await foreign.events(1);
    assert.deepEqual(
      [log.size, ended.last.event],
      [1, "done"],
      "the first is forgotten",
    );
    const ids = {
      foreign: foreign.streamId,
      forgotten: ended.streamId,
      madeUp: createStreamId(),
    };
    const requests: ((id: string) => Parameters<typeof wireOf>[1])[] = [
      (id) => ({ path: `/streaming/${id}`, headers: BOB }),
      (id) => ({ path: `/streaming/${id}?lastEventId=${id}.1`, headers: BOB }),
      (id) => ({
        path: `/streaming/${id}`,
        headers: { ...BOB, "last-event-id": `${id}.1` },
      }),
      (id) => ({
        path: `/streaming/${id}`,
        headers: { ...BOB, "last-event-id": `${id}.9` },
      }),
      (id) => ({ path: `/streaming/${id}?format=text`, headers: BOB }),
      (id) => ({
        path: `/streaming/${id}`,
        headers: { ...BOB, accept: "text/plain" },
      }),
      (id) => ({ method: "HEAD", path: `/streaming/${id}`, headers: BOB }),
      (id) => ({ method: "DELETE", path: `/streaming/${id}`, headers: BOB }),
      ...ROUTES.map(({ path, body }) => (id: string) => ({
        method: "POST",
        path,
        headers: { ...BOB, ...JSON_TYPE, "last-event-id": `${id}.1` },
        body: JSON.stringify(body),
      })),
    ];
    for (const request of requests) {
      const wires = Object.fromEntries(
        await Promise.all(
          Object.entries(ids).map(async ([name, id]) => [
            name,
            await wireOf(server.port, request(id)),
          ]),
        ),
      );
      assert.match(wires.madeUp, /^HTTP\/1\.1 404 [^]*x-own: 1/i);
      assert.equal(wires.foreign, wires.madeUp);
      assert.equal(wires.forgotten, wires.madeUp);
    }
    assert.equal(puppet.reason, undefined, "nobody has stopped it");
    const stopped = await ask(handler, `/streaming/${ids.foreign}`, {
      method: "DELETE",
      headers: ADA,
    });
    assert.equal(stopped.status, 204);
    await foreign.rest();
    await assertNothingLeft();
  } finally {
    await server.close();
  }
});

test("a chat of another's and one that never was are answered alike, byte for byte", async () => {
  const puppet = new Puppet();
  const handler = createHandler({ source: puppet.source, authorize: who });
  const server = serve(handler.fetch);
  try {
    const { path, body } = ROUTES.find(({ path }) => path === "/api/chat")!;
    const chat = new Reading(await post(handler, path, body, ADA));
    const [foreign, unknown] = await Promise.all(
      ["chat-1", "chat-2"].map((id) =>
        wireOf(server.port, { path: `/api/chat/${id}/stream`, headers: BOB })
      ),
    );
    assert.match(unknown!, /^HTTP\/1\.1 204 /);
    assert.equal(foreign, unknown);
    // The same chat id of another owner is another chat.
    const own = new Reading(await post(handler, path, body, BOB));
    const found = new Reading(
      await ask(handler, "/api/chat/chat-1/stream", { headers: ADA }),
    );
    assert.equal(found.streamId, chat.streamId);
    await found.leave();
    for (const [{ streamId }, headers] of [[chat, ADA], [own, BOB]] as const) {
      await ask(handler, `/streaming/${streamId}`, {
        method: "DELETE",
        headers,
      });
    }
    await Promise.all([chat.rest(), own.rest()]);
    await assertNothingLeft();
  } finally {
    await server.close();
  }
});

test("a page elsewhere that is granted may read the stream's name, come back and stop it", async () => {
  const origin = "https://app.example";
  const puppet = new Puppet();
  const handler = createHandler({ source: puppet.source, cors: [origin] });
  const cross = { origin, "sec-fetch-site": "cross-site" };
  const reading = new Reading(
    await post(handler, "/streaming", { query: "" }, cross),
  );
  assert.match(
    reading.response.headers.get("access-control-expose-headers") ?? "",
    /\bx-stream-id\b.*\bx-stream-settings\b/,
  );
  const path = `/streaming/${reading.streamId}`;
  const preflight = await ask(handler, path, {
    method: "OPTIONS",
    headers: cross,
  });
  assert.equal(
    preflight.headers.get("access-control-allow-methods"),
    "GET, DELETE, HEAD, OPTIONS",
  );
  const joined = new Reading(await ask(handler, path, { headers: cross }));
  assert.equal(
    joined.response.headers.get("access-control-allow-origin"),
    origin,
  );
  const stopped = await ask(handler, path, {
    method: "DELETE",
    headers: cross,
  });
  assert.equal(stopped.headers.get("access-control-allow-origin"), origin);
  assert.equal(
    (await ask(handler, path, { headers: { "sec-fetch-site": "cross-site" } }))
      .status,
    403,
  );
  await Promise.all([reading.rest(), joined.rest()]);
  await assertNothingLeft();
});
