/** Doubled slashes and a slash at the end make no other path: base URLs are written in many ways. */
import assert from "node:assert/strict";
import test from "node:test";
import { createHandler } from "../../lib/full_handler.ts";
import { pathOf } from "../../lib/handler/router.ts";
import { bodyOf, rawRequest, serve, until } from "../support/serve.ts";

const pathIn = (path: string, basePath = "") => pathOf(new URL(`http://a${path}`), basePath);

test("pathOf() takes doubled slashes for one, and none at the end", () => {
  for (const path of ["/v1/messages", "//v1/messages", "/v1//messages", "/v1/messages///"]) {
    assert.equal(pathIn(path), "/v1/messages", path);
    assert.equal(pathIn(`/api${path}`, "/api"), "/v1/messages", path);
    assert.equal(pathIn(`//api/${path}`, "/api"), "/v1/messages", path);
  }
  for (const path of ["/", "//", "///"]) {
    assert.equal(pathIn(path), "/");
    assert.equal(pathIn(`/api${path}`, "/api"), "/");
  }
  assert.equal(pathIn("/api", "/api"), "", "a page would ask for its links elsewhere");
  assert.equal(pathIn("/other/v1", "/api"), "");
  assert.equal(pathIn("/v1/models/a%2F%2Fb/"), "/v1/models/a%2F%2Fb", "a name keeps its slashes");
});

// https://github.com/Vivswan/litellm-vscode-chat/issues/54
// https://github.com/BerriAI/litellm/issues/8350
for (const basePath of ["", "/api"]) {
  test(`slashes over a socket, below ${basePath || "the root"}`, async () => {
    const handler = createHandler({ source: "ok", basePath });
    const server = serve(handler.fetch);
    const messages = [{ role: "user", content: "Hi" }];
    const body = JSON.stringify({ model: "m", max_tokens: 9, messages, query: "Hi" });
    const headers = { "content-type": "application/json" };
    try {
      for (
        const [path, said] of [
          ["//v1/chat/completions", /"content":"ok"/],
          ["/v1/chat/completions/", /"content":"ok"/],
          ["/v1//messages/", /"text":"ok"/],
          ["/v1/messages//count_tokens", /"input_tokens":\d/],
          ["//streaming/?format=plain", /ok/],
        ] as const
      ) {
        const asked = { method: "POST", path: basePath + path, headers, body };
        const raw = await rawRequest(server.port, asked);
        await until(() => bodyOf(raw).whole, 2000, path);
        assert.match(raw.received, /^HTTP\/1.1 200 /, path);
        assert.match(bodyOf(raw).text, said);
        raw.socket.destroy();
      }
      const wrong = await rawRequest(server.port, { path: `${basePath}//v1/nothing/` });
      await until(() => bodyOf(wrong).whole, 2000, "the error");
      assert.match(wrong.received, /^HTTP\/1.1 404 /);
      assert.match(bodyOf(wrong).text, /"type":"invalid_request_error"/, "in OpenAI's words");
      wrong.socket.destroy();
    } finally {
      await server.close();
    }
  });
}

test("the reference page is at one path, because its links are relative", async () => {
  const { fetch } = createHandler({ source: "ok", basePath: "/api" });
  for (const path of ["/docs/", "/docs//", "//docs/"]) {
    const url = `http://localhost/api${path}`;
    const response = await fetch(new Request(url));
    assert.equal(response.status, 308);
    const { pathname } = new URL(response.headers.get("location")!, url);
    assert.equal(pathIn(pathname, "/api"), "/docs");
    assert.equal((await fetch(new Request(`http://localhost${pathname}`))).status, 200);
  }
});
