/** Pages elsewhere: which origins are granted, with credentials or without, and from where. */
import assert from "node:assert/strict";
import test from "node:test";
import { createHandler, type HandlerOptions } from "../../lib/handler.ts";
import { ask, post } from "../support/handler_requests.ts";

const ORIGINS = [
  "https://a.example",
  "http://localhost:5173",
  "app://obsidian.md",
  "capacitor://localhost",
  "ionic://localhost:8080",
  "tauri://localhost",
  "chrome-extension://bppbpeijolfcampacpljolaegibfhjph",
  "moz-extension://8b7a1c2e-1111-4222-8333-444455556666",
  "vscode-webview://1ABcd2efgh",
];

const handlerOf = (options: Partial<HandlerOptions>) =>
  createHandler({ source: "text", log: false, ...options });

/** The answer to a preflight of `origin`, and to the request that it is for. */
async function asks(options: Partial<HandlerOptions>, origin: string, headers = {}) {
  const handler = handlerOf(options);
  const asked = { origin, "sec-fetch-site": "cross-site", ...headers };
  const preflight = await ask(handler, "/streaming", {
    method: "OPTIONS",
    headers: { ...asked, "access-control-request-method": "POST" },
  });
  const response = await post(handler, "/streaming", { query: "" }, asked);
  await response.text();
  return [preflight, response] as const;
}

test("cors grants origins of every scheme, compared as text", async () => {
  for (const origin of ORIGINS) {
    for (const response of await asks({ cors: ["https://other.example", origin] }, origin)) {
      assert(response.ok, origin);
      assert.equal(response.headers.get("access-control-allow-origin"), origin);
      assert.equal(response.headers.get("access-control-allow-credentials"), null);
      assert.equal(response.headers.get("access-control-allow-private-network"), null);
    }
    for (const other of [`${origin}x`, origin.slice(0, -1), origin.replace("://", "://x.")]) {
      for (const response of await asks({ cors: [origin] }, other)) {
        assert.equal(response.status, 403, other);
        assert.equal(response.headers.get("access-control-allow-origin"), null);
      }
    }
  }
});

test("cors takes no text that browsers do not send as an origin", () => {
  for (
    const origin of [
      "https://a.example/",
      "https://A.example",
      "HTTPS://a.example",
      "https://a.example:443",
      "https://user@a.example",
      "https://a.example/path",
      "app://obsidian.md/",
      "App://obsidian.md",
      "app://a,app://b",
      "app://a b",
      "app:obsidian",
      "obsidian.md",
      "file://",
      "null",
      "",
    ]
  ) assert.throws(() => handlerOf({ cors: [origin] }), /cors has /, origin);
});

test("corsCredentials lets named origins send cookies, and never every one", async () => {
  const [origin] = ORIGINS as [string];
  for (const response of await asks({ cors: ORIGINS, corsCredentials: true }, origin)) {
    assert.equal(response.headers.get("access-control-allow-credentials"), "true");
    assert.equal(response.headers.get("access-control-allow-origin"), origin);
    assert.equal(response.headers.get("vary")?.includes("Origin"), true);
  }
  const options = { cors: ORIGINS, corsCredentials: true };
  for (const response of await asks(options, "https://evil.example")) {
    assert.equal(response.status, 403);
    assert.equal(response.headers.get("access-control-allow-credentials"), null);
  }
  for (const cors of [["*"], ["https://a.example", "*"], [], undefined]) {
    const options = { corsCredentials: true, ...cors ? { cors } : {} };
    assert.throws(() => handlerOf(options), /corsCredentials needs cors with named origins/);
  }
  assert.throws(() => handlerOf({ corsCredentials: "yes" as never }), TypeError);
});

test("a preflight from a public page to a private network is allowed where the origin is granted", async () => {
  const wish = { "access-control-request-private-network": "true" };
  const allowed = async (options: Partial<HandlerOptions>) => {
    const [preflight] = await asks(options, "https://a.example", wish);
    return preflight.headers.get("access-control-allow-private-network");
  };
  assert.equal(await allowed({ cors: ["https://a.example"] }), "true");
  assert.equal(await allowed({ cors: ["*"] }), "true");
  assert.equal(await allowed({ cors: ["https://b.example"] }), null);
  assert.equal(await allowed({}), null);
});

test("the page of another scheme is not ours, whatever its host is", async () => {
  const handler = handlerOf({});
  const statusOf = async (origin: string) => {
    const response = await post(handler, "/streaming", { query: "" }, { origin });
    await response.text();
    return response.status;
  };
  assert.equal(await statusOf("http://localhost"), 200);
  assert.equal(await statusOf("https://localhost"), 200, "behind a proxy with TLS");
  assert.equal(await statusOf("capacitor://localhost"), 403);
});

test("HEAD probes of Claude Code find the server, with a key or without, wherever the routes begin", async () => {
  for (const basePath of ["", "/llm"]) {
    const handler = handlerOf({ basePath, authorize: () => undefined });
    for (const path of ["/", "/api/hello"]) {
      const response = await ask(handler, `${basePath}${path}`, { method: "HEAD" });
      assert.deepEqual([response.status, await response.text()], [200, ""]);
      assert.equal((await ask(handler, `${basePath}${path}`)).status, 404);
    }
  }
  const elsewhere = handlerOf({ allowedHosts: ["a.example"] });
  assert.equal((await ask(elsewhere, "/", { method: "HEAD" })).status, 421);
});
