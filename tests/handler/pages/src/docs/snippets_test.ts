/**
 * The reference page's snippets are run: each must send the request as it was typed, whatever a shell
 * or a language would make of it.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import test, { after, before } from "node:test";
import process from "node:process";
import { createHandler } from "../../../../../lib/handler.ts";
import { type Asked, snippetsOf } from "../../../../../lib/handler/pages/src/docs/snippets.ts";
import { HOSTILE } from "../../../../support/random.ts";
import { serve, type Served, until } from "../../../../support/serve.ts";

const missing = (command: string, ...args: string[]): string | false =>
  spawnSync(command, args).status !== 0 &&
  `${command} ${args.at(-1)} is not installed`;
const noCurl = missing("curl", "--version");
const noRequests = missing("python3", "-c", "import requests");

/** What a shell, a quotation or a template would take for its own. */
const QUERIES = [
  "Streaming responseのテスト",
  `it's "quoted" \\'; touch /tmp/spillway-escaped; '`,
  "$API_KEY $(id) `id` %s \\n \\u0041 #{x} {x}",
  HOSTILE.join("").replaceAll(/[\0\ud800-\udfff]/g, ""),
];

let server: Served;
const seen: { authorization: string | null; body: unknown }[] = [];
before(() => {
  const handler = createHandler({
    source: ({ input }) => {
      seen.at(-1)!.body = input;
      return input.query;
    },
  });
  server = serve((request, info) => {
    seen.push({ authorization: request.headers.get("authorization"), body: undefined });
    return handler.fetch(request, info);
  });
});
after(() => server.close());

function asking(query: string, accept: string, further: Partial<Asked> = {}): Asked {
  const headers = { "Content-Type": "application/json", Accept: accept };
  return {
    method: "POST",
    path: "/streaming",
    url: `${server.url}/streaming`,
    root: `${server.url}/`,
    body: JSON.stringify({ query }, undefined, 2),
    streams: accept === "text/event-stream",
    ...further,
    headers: { ...headers, ...further.headers },
  };
}

/** What a program prints on its standard output, line feeds at the end left out. */
async function printed(command: string, args: string[], key = ""): Promise<string> {
  const environment = { ...process.env, API_KEY: key };
  const child = spawn(command, args, { env: environment, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let errors = "";
  let exit: number | null | undefined;
  child.stdout.setEncoding("utf8").on("data", (text) => output += text);
  child.stderr.setEncoding("utf8").on("data", (text) => errors += text);
  child.on("close", (code) => exit = code);
  await until(() => exit !== undefined, 30_000, `${command} ended`);
  assert.equal(exit, 0, errors);
  return output;
}

const KEY = `k'e"y $(id)`;

for (const [i, query] of QUERIES.entries()) {
  test(`curl: query ${i} is sent as it is`, { skip: noCurl }, async () => {
    const { curl } = snippetsOf(asking(query, "text/plain"));
    assert.equal(await printed("sh", ["-c", curl!]), query);
    assert.deepEqual(seen.at(-1)!.body, { query });
  });

  test(`fetch: query ${i} is sent as it is, and its events are printed`, async () => {
    const { fetch } = snippetsOf(asking(query, "text/event-stream"));
    const events: string[] = [];
    const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
    const log = (text: string) => events.push(text);
    await new AsyncFunction("console", fetch!)({ log });
    assert.deepEqual(seen.at(-1)!.body, { query });
    assert(events[0]!.includes(JSON.stringify({ token: query })), events.join());
    assert.match(events.at(-1)!, /event: done/);
  });

  test(`Python: query ${i} is sent as it is`, { skip: noRequests }, async () => {
    const { Python } = snippetsOf(asking(query, "text/event-stream"));
    assert.match(await printed("python3", ["-c", Python!]), /^event: done$/m);
    assert.deepEqual(seen.at(-1)!.body, { query });
  });
}

test("a key is taken from the environment, and is in no snippet", { skip: noCurl }, async () => {
  const headers = { Authorization: "Bearer $API_KEY" };
  const { curl, Python, fetch = "" } = snippetsOf(asking("a", "text/plain", { headers }));
  await printed("sh", ["-c", curl!], KEY);
  assert.equal(seen.at(-1)!.authorization, `Bearer ${KEY}`);
  if (!noRequests) {
    await printed("python3", ["-c", Python!], KEY);
    assert.equal(seen.at(-1)!.authorization, `Bearer ${KEY}`);
  }
  assert(fetch.includes(`"Authorization": "Bearer " + apiKey`), fetch);
});

test(
  "a body that is no JSON is sent by curl as it was typed",
  { skip: noCurl },
  async () => {
    const body = `{"query": 'x' -- $HOME`;
    const { curl } = snippetsOf(asking("", "text/plain", { body }));
    assert.match(await printed("sh", ["-c", curl!]), /"code":"bad_request"/);
    assert(curl!.includes("$HOME"));
  },
);

test("what was laid out by the page takes one line, and what was typed stays", () => {
  const { curl = "" } = snippetsOf(asking("a", "text/plain"));
  assert(curl.includes(`--data-raw '{"query":"a"}'`), curl);
  const typed = '{ "query": "a", "seed": 12345678901234567890 }';
  assert(
    snippetsOf(asking("a", "text/plain", { body: typed })).curl!.includes(
      `'${typed}'`,
    ),
  );
});

test("each route has the clients that speak it", () => {
  const clients = (path: string, method = "POST") =>
    Object.keys(snippetsOf(asking("a", "text/event-stream", { path, method })));
  assert.deepEqual(clients("/streaming"), [
    "curl",
    "fetch",
    "EventSource",
    "Python",
  ]);
  assert.deepEqual(clients("/streaming/{id}", "GET"), [
    "curl",
    "fetch",
    "EventSource",
    "Python",
  ]);
  assert.deepEqual(clients("/v1/chat/completions"), [
    "curl",
    "fetch",
    "openai",
    "Python",
  ]);
  assert.deepEqual(clients("/v1/messages"), [
    "curl",
    "fetch",
    "Anthropic",
    "Python",
  ]);
  assert.deepEqual(clients("/api/chat"), [
    "curl",
    "fetch",
    "useChat",
    "Python",
  ]);
  assert.deepEqual(clients("/ag-ui"), [
    "curl",
    "fetch",
    "HttpAgent",
    "Python",
  ]);
});

test("a body in the midst of being typed breaks no snippet", () => {
  for (
    const path of [
      "/streaming",
      "/v1/chat/completions",
      "/v1/messages",
      "/api/chat",
      "/ag-ui",
    ]
  ) {
    for (
      const body of ["", "{", "null", "5", '"text"', "[]", '{"messages":5}']
    ) {
      const snippets = snippetsOf(
        asking("a", "text/event-stream", { path, body }),
      );
      assert(Object.values(snippets).every((text) => text.length > 0));
    }
  }
});
