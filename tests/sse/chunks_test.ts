/** `readerOf()`: the same bytes from every kind of stream, and a stream that breaks or is left. */
import assert from "node:assert/strict";
import test from "node:test";
import { readerOf } from "../../lib/sse/chunks.ts";
import { int, random } from "../random.ts";

const KINDS = ["bytes", undefined] as const;

/** A stream of the pieces, that breaks after them if there is an error. */
function streamOf(kind: typeof KINDS[number], pieces: Uint8Array[], error?: Error) {
  const left: unknown[] = [];
  const waiting = [...pieces];
  const source = {
    ...kind === undefined ? {} : { type: kind },
    pull(controller: ReadableStreamDefaultController<Uint8Array> | ReadableByteStreamController) {
      const piece = waiting.shift();
      if (piece !== undefined) controller.enqueue(piece as Uint8Array<ArrayBuffer>);
      else if (error !== undefined) controller.error(error);
      else {
        controller.close();
        (controller as ReadableByteStreamController).byobRequest?.respond(0);
      }
    },
    cancel: (reason: unknown) => void left.push(reason),
  };
  const stream = new ReadableStream(source as unknown as UnderlyingDefaultSource<Uint8Array>);
  return { stream: stream as ReadableStream<Uint8Array>, left };
}

/** Pieces of up to 50,000 bytes: larger than what is read at once. */
function pieces(seed: number): Uint8Array<ArrayBuffer>[] {
  const chance = random(seed);
  return Array.from({ length: 12 }, () => {
    const size = 1 + int(chance, int(chance, 2) === 0 ? 20 : 50_000);
    return Uint8Array.from({ length: size }, () => int(chance, 256));
  });
}

async function readAll(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const reader = readerOf(stream);
  const all: number[] = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return Uint8Array.from(all);
    for (const byte of value) all.push(byte);
  }
}

test("readerOf() gives the bytes as they came, from either kind of stream", async () => {
  for (const kind of KINDS) {
    for (let seed = 0; seed < 10; seed++) {
      const expected = pieces(seed).flatMap((piece) => [...piece]);
      const { stream } = streamOf(kind, pieces(seed));
      assert.deepEqual(await readAll(stream), Uint8Array.from(expected), `${kind}, seed ${seed}`);
    }
  }
});

test("readerOf() tells of a break, after what came before it", async () => {
  for (const kind of KINDS) {
    const error = new Error("broken");
    const reader = readerOf(streamOf(kind, [Uint8Array.of(1, 2)], error).stream);
    assert.deepEqual([...(await reader.read()).value!], [1, 2]);
    await assert.rejects(reader.read(), error);
  }
});

test("readerOf() lets go of a stream while a read waits", async () => {
  for (const kind of KINDS) {
    const left: unknown[] = [];
    const source = {
      ...kind === undefined ? {} : { type: kind },
      pull: () => new Promise<void>(() => {}),
      cancel: (reason: unknown) => void left.push(reason),
    };
    const reader = readerOf(
      new ReadableStream(source as unknown as UnderlyingDefaultSource<Uint8Array>),
    );
    const read = reader.read();
    const reason = new Error("left");
    await reader.cancel(reason);
    assert.equal((await read).done, true);
    assert.deepEqual(left, [reason]);
  }
});
