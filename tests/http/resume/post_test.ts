/** `POST` with `Last-Event-ID`, and stopping, on every route that streams. */
import assert from "node:assert/strict";
import test from "node:test";
import { createStreamId } from "../../../lib/stream_id.ts";
import { type Block, Reading } from "../../support/event_reader.ts";
import { until } from "../../support/serve.ts";
import {
  ask,
  type Asked,
  assertNothingLeft,
  post,
  refusal,
  ROUTES,
} from "../../support/handler_requests.ts";
import { from, get, OPENAI, stage, started, texts } from "./setup.ts";
import { timed } from "../../support/timing.ts";

for (const route of ROUTES) {
  const { path, body, format, shape, textOf } = route;
  const textIn = (blocks: readonly Block[]) =>
    blocks.map(({ data }) => textOf(data) ?? "").join("");

  timed(`POST ${path} is resumable as ${format}, by POST and by GET`, async () => {
    const set = stage();
    const first = await started(set, ["one ", "two "], route);
    assert.match(first.streamId, /^[\w-]{22}$/);
    await until(() => first.blocks.length > 0, 100, "events");
    const cut = from(first.streamId, first.last.number!);
    const posted = new Reading(await post(set.handler, path, body, cut));
    const got = await get(set.handler, `/streaming/${first.streamId}`, cut);
    set.puppet.say("three");
    set.puppet.end();
    const before = first.blocks.length;
    await Promise.all([first.rest(), posted.rest(), got.rest()]);
    assert.equal(texts(posted.blocks), texts(first.blocks.slice(before)));
    assert.equal(got.body, posted.body);
    assert.equal(textIn(first.blocks), "one two three");
    assert.deepEqual(first.blocks.map(({ id }) => id), [
      ...first.blocks.map((_, i) => `${first.streamId}.${i + 1}`),
    ]);
    // Some clients of the other formats choke on it.
    const retries = first.blocks.map(({ retry }) => retry).filter(Boolean);
    assert.deepEqual(retries, format === "json" || format === "text" ? ["1000"] : []);
    for (const { response } of [posted, got]) {
      for (const name of ["content-type", "x-stream-id", "x-vercel-ai-ui-message-stream"]) {
        assert.equal(response.headers.get(name), first.response.headers.get(name), name);
      }
    }
    assert.equal(set.puppet.runs, 1);
    await assertNothingLeft();
  });

  test(`POST ${path} with Last-Event-ID reads its body, ignores it, and starts nothing`, async () => {
    const set = stage();
    const first = await started(set, ["one "], route);
    set.puppet.end();
    await first.rest();
    const headers = from(first.streamId, 0);
    const asked: Asked[] = [
      { body: "" },
      { body: "{" },
      { body: JSON.stringify(body), headers: { "content-type": "application/json" } },
      { body: "\ud800", headers: { "content-type": "text/plain" } },
      { body: `{"query":${"[".repeat(500)}` },
    ];
    for (const { body, headers: more } of asked) {
      const response = await ask(set.handler, path, {
        method: "POST",
        body: body!,
        headers: { ...headers, ...more },
      });
      assert.equal((await new Reading(response).rest()).body, first.body);
    }
    assert.equal(set.puppet.runs, 1);
    assert.equal(set.reports.length, 1);
    await assertNothingLeft();
  });

  test(`POST ${path} with Last-Event-ID reads its body within the limits`, async () => {
    const limits = { maxBodyBytes: 100, maxChatBodyBytes: 100, bodyTimeoutMs: 20 };
    const set = stage({ limits });
    const headers = from(createStreamId(), 1);
    const large = await post(set.handler, path, "x".repeat(101), headers);
    await refusal(large, 413, shape);
    const endless = new Request(`http://localhost${path}`, {
      method: "POST",
      headers,
      body: new ReadableStream(),
      duplex: "half",
    } as RequestInit);
    await refusal(await set.handler.fetch(endless), 408, shape);
    await assertNothingLeft();
  });

  test(`POST ${path} with the last id of a finished stream is 200 and the end once more`, async () => {
    const set = stage();
    const first = await started(set, ["one "], route);
    set.puppet.end();
    await first.rest();
    const last = first.last.number!;
    const again = await new Reading(
      await post(set.handler, path, body, from(first.streamId, last)),
    ).rest();
    assert.equal(again.status, 200);
    assert(again.body.startsWith(":\n"), again.body);
    assert(again.blocks.length > 0 && first.body.endsWith(texts(again.blocks)));
    assert.equal(textIn(again.blocks), "");
    const past = await post(set.handler, path, body, from(first.streamId, last + 1));
    await refusal(past, 400, shape);
    assert.equal(set.puppet.runs, 1);
  });

  test(`POST ${path} with Last-Event-ID is 404 without a log, and for an unknown stream`, async () => {
    for (const options of [{ log: false as const }, {}]) {
      const set = stage(options);
      const response = await post(set.handler, path, body, from(createStreamId(), 1));
      await refusal(response, 404, shape);
      assert.equal(set.puppet.runs, 0);
    }
    await assertNothingLeft();
  });

  test(`POST ${path} cannot go on with a stream of another format`, async () => {
    const set = stage();
    const other = ROUTES.find(({ format }) => format === "anthropic") === route
      ? OPENAI
      : ROUTES.find(({ format }) => format === "anthropic")!;
    const first = await started(set, ["one "], other);
    set.puppet.end();
    await first.rest();
    const response = await post(set.handler, path, body, from(first.streamId, 1));
    if (path === "/streaming") {
      // There the format is the request's to choose, and it has chosen none.
      assert.equal((await new Reading(response).rest()).status, 200);
    } else await refusal(response, 406, shape);
  });

  timed(
    `POST ${path}: a stop is the normal end of ${format}, for every reader at once`,
    async () => {
      const set = stage();
      const first = await started(set, ["one "], route);
      const url = `/streaming/${first.streamId}`;
      const readers = [first, await get(set.handler, url), await get(set.handler, url)];
      const fromMs = performance.now();
      const stopped = await ask(set.handler, url, { method: "DELETE" });
      assert.deepEqual([stopped.status, await stopped.text()], [204, ""]);
      await Promise.all(readers.map((reading) => reading.rest()));
      assert(performance.now() - fromMs < 100, `${performance.now() - fromMs} ms`);
      assert.equal(set.puppet.reason, "stopped");
      const ends: Record<string, [string, string]> = {
        json: ['{"reason":"cancelled","tokens":1}', '{"reason":"cancelled","tokens":1}'],
        text: ['{"reason":"cancelled","tokens":1}', '{"reason":"cancelled","tokens":1}'],
        openai: ['"finish_reason":"stop"', "[DONE]"],
        anthropic: ['"stop_reason":"end_turn"', '{"type":"message_stop"}'],
        "ui-message": ['{"type":"abort"', "[DONE]"],
        "ag-ui": [
          '{"type":"TEXT_MESSAGE_END"',
          '{"type":"RUN_FINISHED","threadId":"thread-1","runId":"run-1",' +
          '"outcome":{"type":"cancelled"},"metadata":{"tanstack":{"finishReason":"stop"}}}',
        ],
      };
      const [before, last] = ends[format]!;
      for (const { blocks, end } of readers) {
        assert.equal(end, "whole");
        assert.equal(blocks.at(-1)!.data, last);
        assert(blocks.slice(-2).some(({ data }) => data.includes(before)), texts(blocks));
        assert.equal(texts(blocks), texts(first.blocks));
      }
      assert.deepEqual(set.reports.map(({ outcome, code }) => [outcome, code]), [
        ["cancelled", "stopped"],
      ]);
      await assertNothingLeft();
      const again = await ask(set.handler, url, { method: "DELETE" });
      assert.equal(again.status, 204);
      assert.equal(
        (await get(set.handler, url, from(first.streamId, first.last.number!))).status,
        204,
      );
    },
  );
}
