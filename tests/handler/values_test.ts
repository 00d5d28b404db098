/** Pages and the document as values: a handler serves those that it is given, and no other. */
import assert from "node:assert/strict";
import test from "node:test";
import { createHandler as createFullHandler } from "../../lib/full_handler.ts";
import {
  type Api,
  chatPage,
  createHandler,
  type Handler,
  type HandlerOptions,
  openApi,
  referencePage,
} from "../../lib/handler.ts";
import { ask } from "../support/handler_requests.ts";

const PATHS = ["/", "/docs", "/openapi.json"];

/** The statuses of the pages and the document. */
async function statusesOf(handler: Handler): Promise<number[]> {
  const responses = await Promise.all(PATHS.map((path) => ask(handler, path)));
  for (const response of responses) await response.text();
  return responses.map(({ status }) => status);
}

const source = "text";

test("createHandler() of the subpath has neither pages nor a document by itself", async () => {
  assert.deepEqual(await statusesOf(createHandler({ source })), [404, 404, 404]);
  assert.equal((await ask(createHandler({ source }), "/health")).status, 200);
});

test("createHandler() of the subpath serves what it is given", async () => {
  const document = openApi({ title: "Answers" });
  const table: [Partial<HandlerOptions>, number[]][] = [
    [{ pages: [chatPage()] }, [200, 404, 404]],
    [{ document }, [404, 404, 200]],
    [{ document, pages: [referencePage()] }, [404, 200, 200]],
    [{ document, pages: [chatPage(), referencePage()] }, [200, 200, 200]],
  ];
  for (const [options, statuses] of table) {
    const handler = createHandler({ source, ...options });
    assert.deepEqual(await statusesOf(handler), statuses);
    const page = await (await ask(handler, "/")).text();
    if (statuses[0] === 200) assert.equal(page.includes('href="docs"'), statuses[1] === 200);
  }
});

test("one document value serves many handlers, each its own routes", async () => {
  const document = openApi();
  const pathsOf = async (handler: Handler) =>
    Object.keys((await (await ask(handler, "/openapi.json")).json()).paths);
  const one = createHandler({ source, document });
  const other = createHandler({ source, document, pages: [chatPage()] });
  assert.equal((await pathsOf(one)).includes("/"), false);
  assert.equal((await pathsOf(other)).includes("/"), true);
  assert.equal((await pathsOf(one)).includes("/"), false);
});

test("createHandler() of the main entry has them all, and takes others in their place", async () => {
  assert.deepEqual(await statusesOf(createFullHandler({ source })), [200, 200, 200]);
  assert.deepEqual(await statusesOf(createFullHandler({ source, pages: [] })), [404, 404, 200]);
  const other = createFullHandler({ source, document: openApi({ title: "Other" }) });
  assert.equal((await (await ask(other, "/openapi.json")).json()).info.title, "Other");
  const both: [options: object, message: RegExp][] = [
    [{ pages: [], chat: true }, /chat is about the default pages/],
    [{ pages: [chatPage()], docs: false }, /docs is about the default pages/],
    [{ document: openApi(), info: {} }, /info is about the default document/],
  ];
  for (const [options, message] of both) {
    assert.throws(() => createFullHandler({ source, ...options }), { name: "TypeError", message });
  }
});

test("createHandler() rejects what is no page and no document", () => {
  const wrong: [options: object, message: RegExp][] = [
    [{ pages: chatPage() }, /pages is not an array such as \[chatPage\(\)\]/],
    [{ pages: [chatPage] }, /pages is not an array/],
    [{ pages: null }, /pages is not an array/],
    [{ document: openApi }, /document is not what openApi\(\) returns/],
    [{ document: true }, /document is not what openApi\(\) returns/],
    [{ pages: [referencePage()] }, /a page needs \/openapi\.json, and document is missing/],
    [{ pages: [chatPage(), chatPage()] }, /GET \/ is there twice/],
  ];
  for (const [options, message] of wrong) {
    const create = () => createHandler({ source, ...options as Partial<HandlerOptions> });
    assert.throws(create, { name: "TypeError", message });
  }
});

test("createHandler() names an unknown option, and the one that was meant", () => {
  const action = "Cannot create the handler: unknown option";
  const ofLimits = "Cannot create the handler: limits: unknown option";
  const wrong: [options: object, message: string][] = [
    [{ hearbeatMs: 5000 }, `${action} hearbeatMs; did you mean heartbeatMs?`],
    [{ authorise: () => "me" }, `${action} authorise; did you mean authorize?`],
    [{ streamId: "x" }, `${action} streamId`],
    [{ format: "json" }, `${action} format`],
    [{ limits: { maxBodyByte: 1 } }, `${ofLimits} maxBodyByte; did you mean maxBodyBytes?`],
  ];
  for (const [options, message] of wrong) {
    for (const create of [createHandler, createFullHandler]) {
      assert.throws(() => create({ source, ...options }), { name: "TypeError", message });
    }
  }
  const full = { docks: false };
  const message = `${action} docks; did you mean docs?`;
  assert.throws(() => createFullHandler({ source, ...full }), { name: "TypeError", message });
  for (const limits of [null, 5]) {
    const options = { source, limits: limits as never };
    assert.throws(() => createHandler(options), {
      name: "TypeError",
      message: /limits: (null|5) is no /,
    });
  }
  assert.throws(() => createHandler(undefined as never), { message: /undefined is no / });
});

test("a page of one's own is served like the others", async () => {
  const page: Api = {
    routes: [{
      method: "GET",
      path: "/about/{topic}",
      anonymous: true,
      answer: ({ name }) => new Response(`About ${name}`),
    }, { method: "GET", path: "/owner", answer: ({ owner }) => new Response(owner) }],
  };
  const authorize = ({ headers }: Request) => headers.get("x-user");
  const handler = createHandler({ source, pages: [page], authorize });
  assert.equal(await (await ask(handler, "/about/you%20all")).text(), "About you all");
  assert.equal((await ask(handler, "/owner")).status, 401);
  assert.equal(await (await ask(handler, "/owner", { headers: { "x-user": "me" } })).text(), "me");
});
