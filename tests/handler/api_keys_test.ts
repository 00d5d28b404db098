/** Callers known by a key: as a function, and as `API_KEYS` of the server entry on both runtimes. */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { apiKeyAuth } from "../../lib/handler/api_keys.ts";
import { type Entry, listening, PATIENCE_MS, startEntry } from "../support/child.ts";
import { Reading } from "../support/event_reader.ts";
import { until } from "../support/serve.ts";
import { ROUTES } from "../support/handler_requests.ts";

const KEYS = ["sk-first-0123456789", "sk-second", "~!@#$%^&*()_+{}|:<>?"] as const;
const [FIRST, SECOND] = KEYS;

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
const asked = (headers: Record<string, string>) => new Request("http://localhost/", { headers });

test("keyholders() knows each key as an owner of its own, in either header", async () => {
  const authorize = apiKeyAuth(KEYS);
  const owners = await Promise.all(KEYS.map((key) => authorize(asked(bearer(key)))));
  assert.equal(new Set(owners).size, KEYS.length);
  for (const [i, key] of KEYS.entries()) {
    const owner = owners[i]!;
    assert.match(String(owner), /^key-[0-9a-f]{16}$/);
    assert.equal(await authorize(asked({ "x-api-key": key })), owner);
    assert.equal(await authorize(asked({ authorization: `bearer  ${key} ` })), owner);
    assert.equal(await apiKeyAuth([key])(asked(bearer(key))), owner, "as long as the key is");
  }
});

test("keyholders() knows nobody else", async () => {
  const authorize = apiKeyAuth(KEYS);
  const strangers: Record<string, string>[] = [
    {},
    { authorization: "" },
    { authorization: "Bearer" },
    { authorization: "Bearer " },
    { authorization: FIRST },
    { authorization: `Basic ${FIRST}` },
    { authorization: `Bearer ${FIRST} ${SECOND}` },
    { "x-api-key": "" },
    { "x-api-key": `Bearer ${FIRST}` },
    ...[FIRST.slice(0, -1), `${FIRST}x`, FIRST.toUpperCase(), KEYS.join(","), "undefined"].flatMap(
      (key) => [bearer(key), { "x-api-key": key }],
    ),
    { ...bearer("wrong"), "x-api-key": "wrong" },
  ];
  for (const headers of strangers) {
    assert.equal(await authorize(asked(headers)), undefined, JSON.stringify(headers));
  }
  assert.equal(await apiKeyAuth([])(asked(bearer(FIRST))), undefined);
});

test("apiKeyAuth() lets in a right key in either header beside one of another service", async () => {
  const authorize = apiKeyAuth(KEYS);
  const [first, second] = [
    await authorize(asked(bearer(FIRST))),
    await authorize(asked(bearer(SECOND))),
  ];
  const both = (authorization: string, key: string) =>
    authorize(asked({ authorization, "x-api-key": key }));
  assert.equal(await both("Bearer sk-stale", FIRST), first);
  assert.equal(await both("Basic abc", FIRST), first);
  assert.equal(await both(`Bearer ${FIRST}`, "sk-stale"), first);
  assert.equal(await both(`Bearer ${SECOND}`, FIRST), second);
});

for (const runtime of ["bun", "deno"] as const) {
  let entry: Entry;
  before(async () => {
    const API_KEYS = ` ${KEYS.join(" , ")},`;
    entry = await listening(startEntry(runtime, { API_KEYS, TOKEN_DELAY_MS: "0", LOG: "pretty" }));
  });
  after(() => entry.child.stop());

  const ask = (path: string, init: RequestInit = {}) => fetch(`${entry.url}${path}`, init);
  const stream = (headers: Record<string, string>, query = "ab") =>
    ask("/streaming", {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({ query }),
    });
  const silent = () => {
    const printed = `${entry.child.output}${entry.child.errors}`;
    for (const key of KEYS) assert(!printed.includes(key), printed);
  };

  test(`API_KEYS on ${runtime}: every route but health and the document asks for one`, async () => {
    for (const path of ["/health", "/openapi.json"]) {
      const response = await ask(path);
      await response.text();
      assert.equal(response.status, 200);
    }
    for (const headers of [{}, bearer("sk-wrong"), { "x-api-key": "sk-wrong" }]) {
      for (const { path, body } of ROUTES) {
        const response = await ask(path, {
          method: "POST",
          headers: { "content-type": "application/json", ...headers },
          body: JSON.stringify(body),
        });
        await response.text();
        assert.equal(response.status, 401, path);
        assert.equal(response.headers.get("www-authenticate"), "Bearer");
      }
      for (const path of ["/metrics", "/v1/models", "/streaming/x", "/api/chat/x/stream"]) {
        const response = await ask(path, { headers });
        await response.text();
        assert.equal(response.status, 401, path);
      }
    }
    silent();
  });

  test(`API_KEYS on ${runtime}: a key opens every route, as Bearer and as X-Api-Key`, async () => {
    for (const key of KEYS) {
      for (const headers of [bearer(key), { "x-api-key": key }]) {
        const reading = await new Reading(await stream(headers)).rest();
        assert.deepEqual([reading.status, reading.text], [200, "ab"]);
        const metrics = await ask("/metrics", { headers });
        await metrics.text();
        assert.equal(metrics.status, 200);
      }
    }
    await until(() => entry.child.output.includes("completed"), PATIENCE_MS, "lines");
    silent();
  });

  test(`API_KEYS on ${runtime}: a stream belongs to its key, whichever header it came in`, async () => {
    const reading = await new Reading(await stream(bearer(FIRST))).rest();
    const path = `/streaming/${reading.streamId}`;
    const again = await new Reading(await ask(path, { headers: { "x-api-key": FIRST } })).rest();
    assert.equal(again.body, reading.body);
    for (const method of ["GET", "DELETE"]) {
      const other = new Reading(await ask(path, { method, headers: bearer(SECOND) }));
      await other.problem(404, "not_found");
    }
    const stopped = await ask(path, { method: "DELETE", headers: bearer(FIRST) });
    assert.equal(stopped.status, 204);
    silent();
  });

  test(`API_KEYS on ${runtime}: one that cannot be sent stops the start, and is not shown`, async () => {
    for (const wrong of [",", `${FIRST},two words`]) {
      const child = startEntry(runtime, { API_KEYS: wrong });
      await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
      assert.equal(child.exit, 1);
      assert.match(child.errors, /^spillway: API_KEYS is not [^\n]*\n$/);
      assert(!child.errors.includes(FIRST) && child.output === "");
    }
  });
}
