/** `sse()`: which format a request gets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sse } from "../../../mod.ts";
import { assertProblem, forbidden, get, NDJSON, PLAIN, SSE } from "./setup.ts";

test("sse() chooses the format by Accept: highest q, ties SSE, NDJSON, plain", async () => {
  const table: [string | undefined, string | 406][] = [
    [undefined, SSE],
    ["", SSE],
    ["*/*", SSE],
    ["text/event-stream", SSE],
    ["application/json, text/plain, */*", SSE],
    ["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", SSE],
    ["text/*", SSE],
    ["text/plain", PLAIN],
    ["text/plain; charset=utf-8", PLAIN],
    ["TEXT/Plain", PLAIN],
    ["application/x-ndjson", NDJSON],
    ["application/ndjson", NDJSON],
    ["application/*", NDJSON],
    ["application/x-ndjson, text/event-stream", SSE],
    ["text/plain, application/x-ndjson", NDJSON],
    ["text/plain, text/event-stream;q=0.9", PLAIN],
    ["text/plain;q=0.5, application/x-ndjson;q=0.6, text/event-stream;q=0.4", NDJSON],
    ["text/event-stream;q=0.001", SSE],
    ["text/event-stream;q=0, */*", NDJSON],
    ["text/event-stream;q=0, application/x-ndjson;q=0, application/ndjson;q=0, */*", PLAIN],
    ["text/plain;q=0, text/*;q=0.5", SSE],
    ["text/*;q=0, */*;q=0.1", NDJSON],
    ["*/*;q=0.1, text/plain;q=0.2", PLAIN],
    ["text/event-stream ; q=0.2 , text/plain ; Q=0.3", PLAIN],
    ["application/json", 406],
    ["text/html", 406],
    ["image/*", 406],
    ["text/event-stream;q=0", 406],
    ["*/*;q=0", 406],
    ["nonsense", 406],
    [";;,,", 406],
  ];
  for (const [accept, expected] of table) {
    const { source, calls } = forbidden();
    const response = await sse(get(accept === undefined ? {} : { accept }), source);
    const where = `Accept: ${accept}`;
    assert.match(response.headers.get("vary") ?? "", /\baccept\b/i, where);
    if (expected === 406) {
      await assertProblem(response, 406, "not_acceptable");
      assert.equal(calls(), 0, where);
    } else {
      assert.equal(response.status, 200, where);
      assert.equal(response.headers.get("content-type"), expected, where);
      await response.text();
      assert.equal(calls(), 1, where);
    }
  }
});

test("sse() chooses the format by ?format= before Accept, and answers 400 to an unknown one", async () => {
  const types = { json: SSE, text: SSE, ndjson: NDJSON, plain: PLAIN };
  for (const [format, type] of Object.entries(types)) {
    const response = await sse(get({ accept: "text/html" }, `?a=1&format=${format}`), "a\rb");
    assert.equal(response.headers.get("content-type"), type, format);
    const body = await response.text();
    if (format === "text") assert.ok(body.startsWith(":\ndata: a\ndata: b\n\n"));
    if (format === "plain") assert.equal(body, "a\rb");
  }
  for (const format of ["xml", "", "JSON", "constructor", "__proto__", "toString", "json%20"]) {
    const { source, calls } = forbidden();
    const response = await sse(get({}, `?format=${format}`), source);
    await assertProblem(response, 400, "bad_request");
    assert.equal(calls(), 0, format);
  }
});

test("sse() options.format is used whatever the request asks for, and then nothing varies", async () => {
  for (const query of ["", "?format=json", "?format=nonsense"]) {
    const response = await sse(get({ accept: "text/html" }, query), "a", { format: "plain" });
    assert.equal(response.headers.get("content-type"), PLAIN);
    assert.equal(response.headers.get("vary"), null);
    assert.equal(await response.text(), "a");
  }
  for (const format of ["xml", "constructor"]) {
    await assert.rejects(sse(get(), "a", { format: format as "json" }), TypeError);
  }
});
