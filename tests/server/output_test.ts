/** A log that its reader takes slowly, or not at all. */
import assert from "node:assert/strict";
import test from "node:test";
import { fittingLimits } from "../../lib/server/descriptors.ts";
import { Output } from "../../lib/server/output.ts";
import { droppedLine } from "../../lib/server/stream_log.ts";
import { until } from "../support/serve.ts";

const dropped = (lines: number) => `dropped ${lines}`;

/** A pipe with room for so many bytes. */
class Pipe {
  text = "";
  room = 0;
  readonly write = (bytes: Uint8Array): number => {
    const taken = bytes.subarray(0, this.room);
    this.text += new TextDecoder().decode(taken);
    this.room -= taken.length;
    return taken.length;
  };
}

test("Output.print() waits for room, drops what is too much, and says how many lines that was", async () => {
  const pipe = new Pipe();
  const output = new Output(pipe.write, dropped, 20);
  pipe.room = 6;
  output.print("one");
  assert.equal(pipe.text, "one\n");
  output.print("two");
  for (const line of ["three", "four", "five", "six", "seven"]) output.print(line);
  // A line that was begun is ended first.
  pipe.room = Infinity;
  await until(() => pipe.text.includes("dropped"), 1000, "the rest");
  assert.equal(pipe.text, "one\ntwo\nthree\nfour\nfive\ndropped 2\n");
  output.print("eight");
  assert.equal(pipe.text, "one\ntwo\nthree\nfour\nfive\ndropped 2\neight\n");
});

test("Output says what was dropped before the line that follows", () => {
  const pipe = new Pipe();
  const output = new Output(pipe.write, dropped, 8);
  for (const line of ["one", "two", "three"]) output.print(line);
  pipe.room = 4;
  output.finish();
  output.print("xy");
  pipe.room = Infinity;
  output.finish();
  assert.equal(pipe.text, "one\ntwo\ndropped 1\nxy\n");
});

test("Output writes one piece at a time where a write takes long", async () => {
  const pieces: string[] = [];
  const waiting: ((bytes: number) => void)[] = [];
  const write = (bytes: Uint8Array) => {
    pieces.push(new TextDecoder().decode(bytes));
    return new Promise<number>((resolve) => waiting.push(resolve));
  };
  const output = new Output(write, dropped, 12);
  for (const line of ["one", "two", "six", "ten"]) output.print(line);
  const takes = async (bytes: number) => {
    waiting.shift()!(bytes);
    await new Promise((resolve) => setTimeout(resolve, 0));
  };
  await takes(1);
  await takes(3);
  await takes(4);
  await takes(4);
  assert.deepEqual(pieces, ["one\n", "ne\n", "two\n", "six\n", "dropped 1\n"]);
});

test("droppedLine() is a line in the style of the log", () => {
  const { time, ...fields } = JSON.parse(droppedLine("json", 7));
  assert.deepEqual(fields, { event: "dropped", lines: 7 });
  assert(!Number.isNaN(Date.parse(time)));
  assert.match(droppedLine("pretty", 7), /^\d\d:\d\d:\d\d {2}7 lines dropped/);
});

test("fittingLimits() keeps what was asked for, or what open files allow", () => {
  const wanted = { maxStreams: 10_000, maxBodies: 10_000 };
  assert.deepEqual(fittingLimits(wanted, undefined, 1), wanted);
  assert.deepEqual(fittingLimits(wanted, 1_048_576, 2), wanted);
  assert.deepEqual(fittingLimits(wanted, 1024, 1), { maxStreams: 480, maxBodies: 240 });
  assert.deepEqual(fittingLimits(wanted, 1024, 2), { maxStreams: 240, maxBodies: 240 });
  assert.deepEqual(fittingLimits({ maxStreams: 5, maxBodies: 7 }, 1024, 1), {
    maxStreams: 5,
    maxBodies: 7,
  });
  assert.deepEqual(fittingLimits(wanted, 20, 1), { maxStreams: 1, maxBodies: 1 });
});
