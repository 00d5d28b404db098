/** The pages as they are served: whole in one document, under a policy that lets nothing else in. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { StreamError } from "../../../lib/error.ts";
import { createHandler } from "../../../lib/full_handler.ts";
import type { Handler } from "../../../lib/handler.ts";
import { PATIENCE_MS, root, startChild } from "../../support/child.ts";
import { until } from "../../support/serve.ts";

const PAGES = { chat: "/", docs: "/docs" };
/** What a page may weigh, as it is sent. */
const MAX_BYTES = 40_000;

const handler = createHandler({ source: "text" });

function get(
  path: string,
  headers: Record<string, string> = {},
  from: Handler = handler,
) {
  return from.fetch(new Request(`http://localhost${path}`, { headers }));
}

/** The contents of the elements of one name. */
function contentsOf(html: string, name: string): string[] {
  return [
    ...html.matchAll(new RegExp(`<${name}\\b[^>]*>([^]*?)</${name}>`, "g")),
  ].map(([, all]) => all!);
}

function policyOf(response: Response): Map<string, string> {
  const policy = response.headers.get("content-security-policy") ?? "";
  return new Map(
    policy.split("; ").map((directive) => {
      const [name, ...values] = directive.split(" ");
      return [name!, values.join(" ")];
    }),
  );
}

/** Like `assert.doesNotMatch`, but does not print a page. */
function lacks(text: string, pattern: RegExp): void {
  assert.equal(pattern.exec(text)?.[0], undefined);
}

const hashOf = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

for (const [name, path] of Object.entries(PAGES)) {
  test(`${name}: the policy lets in the page's own script and style, and nothing else`, async () => {
    const response = await get(path);
    const html = await response.text();
    const scripts = contentsOf(html, "script");
    const styles = contentsOf(html, "style");
    assert.deepEqual([scripts.length, styles.length], [1, 1]);
    assert.deepEqual(
      policyOf(response),
      new Map([
        ["default-src", "'none'"],
        ["script-src", hashOf(scripts[0]!)],
        ["style-src", hashOf(styles[0]!)],
        ["img-src", "data:"],
        ["connect-src", "'self'"],
        ["base-uri", "'none'"],
        ["form-action", "'none'"],
        ["frame-ancestors", "'none'"],
        ["require-trusted-types-for", "'script'"],
        ["trusted-types", "'none'"],
      ]),
    );
    // What the policy would refuse is not there either.
    const body = html.replace(scripts[0]!, "").replace(styles[0]!, "");
    lacks(body, /<[^>]* (on\w+|style)=/);
  });

  test(`${name}: its headers`, async () => {
    const response = await get(path);
    await response.text();
    const { headers } = response;
    assert.equal(response.status, 200);
    assert.equal(headers.get("content-type"), "text/html; charset=utf-8");
    assert.equal(headers.get("x-content-type-options"), "nosniff");
    assert.equal(headers.get("referrer-policy"), "no-referrer");
    assert.equal(headers.get("cache-control"), "no-cache");
    assert.match(headers.get("etag") ?? "", /^"[\w+/=]{44}"$/);
  });

  test(`${name}: it weighs at most ${MAX_BYTES} bytes`, async () => {
    const { length } = new Uint8Array(await (await get(path)).arrayBuffer());
    assert(length > 5000 && length <= MAX_BYTES, `${length} bytes`);
  });

  test(`${name}: it asks for nothing from elsewhere, and from here under any path`, async () => {
    const html = await (await get(path)).text();
    lacks(html, /https?:\/\/|\bsrc=|\burl\(|@import|import\(|["'`(=]\/\/\w/);
    // An address that begins with a slash would miss a basePath.
    lacks(html, /href="\/|fetch\("\/|new URL\("\//);
  });

  test(`${name}: nothing in it makes elements of text`, async () => {
    const [script = ""] = contentsOf(await (await get(path)).text(), "script");
    lacks(
      script,
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser/,
    );
  });

  test(`${name}: HEAD is the head, and a known page is not sent again`, async () => {
    const response = await get(path);
    const whole = await response.text();
    assert(whole.startsWith("<!doctype html>") && whole.endsWith("</html>\n"));
    const request = new Request(`http://localhost${path}`, { method: "HEAD" });
    const head = await handler.fetch(request);
    assert.equal(head.status, 200);
    assert.equal(await head.text(), "");
    const etag = response.headers.get("etag")!;
    assert.equal(head.headers.get("etag"), etag);
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`]) {
      const unchanged = await get(path, { "if-none-match": known });
      assert.equal(unchanged.status, 304, known);
      assert.equal(await unchanged.text(), "");
      assert.equal(unchanged.headers.get("etag"), etag);
      assert.equal(unchanged.headers.get("content-type"), null);
    }
    const other = await get(path, { "if-none-match": '"other"' });
    assert.equal(other.status, 200);
    assert.equal(await other.text(), whole);
  });

  test(`${name}: it is open to who cannot send a key, and to a link from elsewhere`, async () => {
    const closed = createHandler({
      source: "text",
      authorize: () => new StreamError("unauthorized"),
    });
    const link = {
      "sec-fetch-site": "cross-site",
      "sec-fetch-mode": "navigate",
    };
    const response = await get(path, link, closed);
    assert.equal(response.status, 200);
    await response.text();
    const { paths } = await (await get("/openapi.json", {}, closed)).json();
    assert.deepEqual(paths[path].get.security, []);
    const embedded = {
      "sec-fetch-site": "cross-site",
      "sec-fetch-mode": "cors",
    };
    assert.equal((await get(path, embedded)).status, 403);
  });

  test(`${name}: it is served under a basePath`, async () => {
    const based = createHandler({ source: "text", basePath: "/llm" });
    const response = await get(`/llm${path}`, {}, based);
    assert.equal(response.status, 200);
    assert.equal(await response.text(), await (await get(path)).text());
    assert.equal((await get(path, {}, based)).status, 404);
  });

  test(`${name}: it can be switched off, and is described where it is on`, async () => {
    for (const on of [true, false]) {
      const other = createHandler({ source: "text", [name]: on });
      assert.equal((await get(path, {}, other)).status, on ? 200 : 404);
      const { paths } = await (await get("/openapi.json", {}, other)).json();
      assert.equal(path in paths, on);
      const rest = Object.values(PAGES).find((each) => each !== path)!;
      assert.equal((await get(rest, {}, other)).status, 200);
    }
    for (const nonsense of [null, 0, "false", {}]) {
      const options = { source: "text", [name]: nonsense as never };
      assert.throws(() => createHandler(options), TypeError, String(nonsense));
    }
  });
}

test("the chat page has a link to the reference where there is one", async () => {
  assert.match(await (await get("/")).text(), /<a href="docs">/);
  const without = createHandler({ source: "text", docs: false });
  lacks(await (await get("/", {}, without)).text(), /<a\b/);
});

test("the pages are the same on Bun and on Deno", async () => {
  const code = `
    const { createHandler } = await import(${JSON.stringify(`file://${root}lib/full_handler.ts`)});
    const { fetch } = createHandler({ source: "text" });
    for (const path of ${JSON.stringify(Object.values(PAGES))}) {
      console.log((await fetch(new Request("http://localhost" + path))).headers.get("etag"));
    }`;
  const children = [
    startChild("bun", ["-e", code]),
    startChild("deno", ["eval", code]),
  ];
  for (const child of children) {
    await until(() => child.exit !== undefined, PATIENCE_MS, "both pages");
    assert.equal(child.exit, 0, child.errors);
  }
  const [bun, deno] = children.map(({ output }) => output);
  assert.match(bun!, /^("[\w+/=]{44}"\n){2}$/);
  assert.equal(bun, deno);
});
