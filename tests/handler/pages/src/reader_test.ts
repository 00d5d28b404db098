/**
 * The pages' own reader of event streams takes every vector of the standard's tests, split at every
 * byte, as the module's decoder does.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { type PageEvent, readEvents } from "../../../../lib/handler/pages/src/reader.ts";
import { root } from "../../../support/child.ts";
import { runtimeName } from "../../../support/serve.ts";

/** A body that arrives in these pieces, and then breaks off if it is told to. */
function arriving(pieces: Uint8Array[], broken?: Error): Response {
  let at = 0;
  return new Response(
    new ReadableStream<Uint8Array>({
      pull(controller) {
        if (at < pieces.length) controller.enqueue(pieces[at++]!);
        else if (broken) controller.error(broken);
        else controller.close();
      },
    }),
  );
}

interface Vector {
  name: string;
  bytes_b64: string;
  expected: { event: string; data: string; lastEventId: string }[];
}
const { vectors } = JSON.parse(
  await readFile(join(root, "tests/vectors/wpt_eventsource.json"), "utf8"),
) as { vectors: Vector[] };

/** The page runs in browsers. Node 26's `TextDecoderStream` loses a byte order mark that is split. */
const skipOf = (name: string) => runtimeName === "node" && name === "format-bom-2";

for (const { name, bytes_b64, expected } of vectors) {
  test(`readEvents: ${name}, split at every byte`, { skip: skipOf(name) }, async () => {
    const bytes = new Uint8Array(Buffer.from(bytes_b64, "base64"));
    const wanted = expected.map(({ event, data, lastEventId }) => ({
      type: event,
      data,
      id: lastEventId,
    }));
    const step = Math.ceil(bytes.length / 200);
    for (let at = 0; at <= bytes.length; at += step) {
      const events: PageEvent[] = [];
      const response = arriving(
        [bytes.slice(0, at), bytes.slice(at)].filter((p) => p.length > 0),
      );
      await readEvents(response, (event) => events.push(event), () => {});
      assert.deepEqual(events, wanted, `split at ${at}`);
    }
  });
}

test("readEvents() hands on every piece, also what is no event", async () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  const pieces: string[] = [];
  const bytes = encode(":\ndata: テ\n\nda");
  const halves = [bytes.slice(0, 9), bytes.slice(9)];
  await readEvents(arriving(halves), () => {}, (text) => pieces.push(text));
  assert.equal(pieces.join(""), ":\ndata: テ\n\nda");
});

test("readEvents() rejects when the body breaks off, after the events that came", async () => {
  const events: string[] = [];
  const body = arriving(
    [new TextEncoder().encode("data: a\n\ndata: b\n")],
    new Error("cut"),
  );
  await assert.rejects(
    readEvents(body, ({ data }) => events.push(data), () => {}),
  );
  assert.deepEqual(events, ["a"]);
});

test("readEvents() lets go of the body when its reader throws", async () => {
  let cancelled = false;
  const response = new Response(
    new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new TextEncoder().encode("data: a\n\n")),
      cancel: () => void (cancelled = true),
    }),
  );
  const thrown = new Error("enough");
  const reading = readEvents(response, () => {
    throw thrown;
  }, () => {});
  await assert.rejects(reading, thrown);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert(cancelled);
});

test("readEvents() reads a long piece in turns, and no further once it is aborted", async () => {
  const piece = () => arriving([new TextEncoder().encode("data: a\n\n".repeat(100))]);
  let events = 0;
  const work = () => {
    events++;
    const end = performance.now() + 1;
    while (performance.now() < end);
  };
  let turns = 0;
  const others = setInterval(() => turns++, 0);
  await readEvents(piece(), work, () => {}).finally(() => clearInterval(others));
  assert.equal(events, 100);
  assert(turns > 0, "a timer had its turn");

  events = 0;
  const aborted = readEvents(piece(), work, () => {}, AbortSignal.abort());
  await assert.rejects(aborted, { name: "AbortError" });
  assert(events < 100, `${events} events`);
});
