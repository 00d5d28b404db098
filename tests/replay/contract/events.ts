/** What is written: ids, `retry`, and the name of a stream. */
import assert from "node:assert/strict";
import { jsonFormat } from "../../../lib/formats/events.ts";
import { until } from "../../support/serve.ts";
import { Counter, PATIENCE_MS, type Rule } from "./rule.ts";

export function eventsRules(rule: Rule): void {
  for (const format of ["json", "text"] as const) {
    rule(
      `${format}: every event has the next id, and the first block says retry`,
      async (scene) => {
        const reading = await scene.finished(
          ["Hel", "lo", { event: "note", data: { a: 1 } }, "\n\n", "", "\r", "end"],
          { format },
        );
        const { streamId, blocks } = reading;
        assert.match(streamId, /^[\w-]{22}$/);
        assert.deepEqual(blocks.map(({ id }) => id), blocks.map((_, i) => `${streamId}.${i + 1}`));
        assert.deepEqual(blocks.map(({ retry }) => retry), [
          "1000",
          ...blocks.slice(1).map(() => undefined),
        ]);
        assert.equal(reading.last.event, "done");
        assert.equal(blocks.length, 7);
        assert.match(reading.body, /^:\nid: \S+\.1\nretry: 1000\ndata: /);
        assert.deepEqual(await scene.closed(), ["completed"]);
      },
    );
  }

  rule("a format that names no retryMs has ids and no retry", async (scene) => {
    const { retryMs: _, ...quiet } = jsonFormat;
    const reading = await scene.finished(["a", "b"], { format: { ...quiet, name: "quiet" } });
    assert.deepEqual(reading.blocks.map(({ number, retry }) => [number, retry]), [
      [1, undefined],
      [2, undefined],
      [3, undefined],
    ]);
  });

  rule("the name that the embedder chose is the stream's", async (scene) => {
    const seen: string[] = [];
    const reading = await scene.finished(
      ["a"],
      { streamId: "answer_7-b" },
    );
    seen.push(reading.streamId, reading.blocks[0]!.id!);
    assert.deepEqual(seen, ["answer_7-b", "answer_7-b.1"]);
    const again = await scene.start("b", { streamId: "answer_7-b" });
    await again.problem(409, "stream_exists");
    assert.deepEqual(scene.outcomes, ["completed"]);
  });

  rule(
    "what is not an event stream has no ids, no name, and ends with its reader",
    async (scene) => {
      for (const format of ["plain", "ndjson"] as const) {
        const counter = new Counter(100);
        const reading = await scene.start(counter.source, { format });
        assert.equal(reading.response.headers.get("x-stream-id"), null);
        await reading.step();
        assert(!reading.body.includes("id:"));
        await reading.leave();
        await until(() => counter.signal?.aborted === true, PATIENCE_MS, "the source is let go");
      }
      assert.deepEqual(await scene.closed(2), ["cancelled disconnected", "cancelled disconnected"]);
    },
  );
}
