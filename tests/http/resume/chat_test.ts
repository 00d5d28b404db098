/** The AI SDK's route: the latest stream of a chat. */
import assert from "node:assert/strict";
import test from "node:test";
import { MemoryLog } from "../../../lib/replay/memory.ts";
import { Reading } from "../../support/event_reader.ts";
import { ask, assertNothingLeft, post, ROUTES } from "../../support/handler_requests.ts";
import { from, get, stage, started, texts } from "./setup.ts";

test("GET /api/chat/{id}/stream replays the chat's live stream from the start", async () => {
  const set = stage();
  const route = ROUTES.find(({ path }) => path === "/api/chat")!;
  const first = await started(set, ["one ", "two "], route);
  for (const headers of [{}, from(first.streamId, 3), { "last-event-id": "nonsense" }]) {
    const replay = await get(set.handler, "/api/chat/chat-1/stream", headers);
    await replay.events(first.blocks.length);
    assert.equal(replay.status, 200);
    assert.equal(texts(replay.blocks), texts(first.blocks));
    assert.equal(replay.response.headers.get("x-vercel-ai-ui-message-stream"), "v1");
    assert.equal(replay.streamId, first.streamId);
    await replay.leave();
  }
  const head = await ask(set.handler, "/api/chat/chat-1/stream", { method: "HEAD" });
  assert.deepEqual([head.status, head.body], [200, null]);
  const replay = await get(set.handler, "/api/chat/chat-1/stream");
  set.puppet.say("three");
  set.puppet.end();
  await Promise.all([first.rest(), replay.rest()]);
  assert.equal(replay.body, first.body);
  await assertNothingLeft();
});

test("GET /api/chat/{id}/stream is 204 for no chat, a finished one, and another's", async () => {
  const owner = (request: Request) => request.headers.get("x-who") ?? "nobody";
  const set = stage({ authorize: owner });
  const { path, body } = ROUTES.find(({ path }) => path === "/api/chat")!;
  const ada = { "x-who": "ada" };
  const first = new Reading(await post(set.handler, path, body, ada));
  set.puppet.say("one");
  const url = "/api/chat/chat-1/stream";
  assert.equal((await get(set.handler, url, { "x-who": "bob" })).status, 204);
  assert.equal((await get(set.handler, "/api/chat/chat-2/stream", ada)).status, 204);
  assert.equal((await get(set.handler, "/api/chat/constructor/stream", ada)).status, 204);
  const live = await get(set.handler, url, ada);
  assert.equal(live.status, 200);
  set.puppet.end();
  await Promise.all([first.rest(), live.rest()]);
  const over = await (await get(set.handler, url, ada)).rest();
  assert.deepEqual([over.status, over.body], [204, ""]);
  await assertNothingLeft();
});

test("GET /api/chat/{id}/stream takes the latest of a chat's streams, and any chat id", async () => {
  const set = stage();
  const id = "a b/ö?%";
  const body = { ...ROUTES.find(({ path }) => path === "/api/chat")!.body, id };
  const first = new Reading(await post(set.handler, "/api/chat", body));
  const second = new Reading(await post(set.handler, "/api/chat", body));
  set.puppet.say("the latest");
  const replay = await get(set.handler, `/api/chat/${encodeURIComponent(id)}/stream`);
  await replay.until(() => replay.body.includes("the latest"));
  assert.equal(replay.streamId, second.streamId);
  for (const { streamId } of [first, second]) {
    await ask(set.handler, `/streaming/${streamId}`, { method: "DELETE" });
  }
  await Promise.all([first, second, replay].map((reading) => reading.rest()));
  await assertNothingLeft();
});

test("GET /api/chat/{id}/stream is 410 where the start is held no longer", async () => {
  const set = stage({ log: new MemoryLog({ maxStreamBytes: 128 * 1024 }) });
  const first = await started(set, ["first"], ROUTES.find(({ path }) => path === "/api/chat"));
  for (let i = 0; i < 200; i++) set.puppet.say(`${i} ${"x".repeat(2000)}`);
  await (await get(set.handler, "/api/chat/chat-1/stream")).problem(410, "gone");
  await ask(set.handler, `/streaming/${first.streamId}`, { method: "DELETE" });
  await first.leave();
  await assertNothingLeft();
});
