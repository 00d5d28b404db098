/**
 * One client of an event stream, which takes as much as the test lets it. It reads each byte of the wire
 * itself, so that no decoder of ours hides a fault of our encoder.
 */
import assert from "node:assert/strict";
import type { Problem } from "../../mod.ts";

/** One block between blank lines, with the fields that it really had. */
export interface Block {
  /** All of it but the heartbeats before it, the blank line included. */
  readonly text: string;
  readonly id: string | undefined;
  /** The number in the id. */
  readonly number: number | undefined;
  readonly event: string;
  readonly data: string;
  readonly retry: string | undefined;
}

/** The whole events in `text`, and what is left of it. */
export function blocksOf(text: string): { blocks: Block[]; rest: string } {
  const blocks: Block[] = [];
  let at = 0;
  for (
    let end = text.indexOf("\n\n");
    end >= 0;
    end = text.indexOf("\n\n", at)
  ) {
    blocks.push(blockOf(text.slice(at, end + 2)));
    at = end + 2;
  }
  return { blocks, rest: text.slice(at) };
}

function blockOf(text: string): Block {
  text = text.replace(/^(:\n)+/, "");
  const fields = text.slice(0, -2).split("\n");
  const values = (name: string) =>
    fields.filter((line) => line.startsWith(`${name}: `)).map((line) =>
      line.slice(name.length + 2)
    );
  const one = (name: string) => {
    const found = values(name);
    assert(found.length <= 1, `one ${name} in ${JSON.stringify(text)}`);
    return found[0];
  };
  const id = one("id");
  const number = id === undefined ? undefined : Number(/\.(\d+)(\.lost)?$/.exec(id)?.[1]);
  const event = one("event") ?? "message";
  return {
    text,
    id,
    number,
    event,
    data: values("data").join("\n"),
    retry: one("retry"),
  };
}

/** Asserts that two long texts are the same, and shows where they are not. */
export function same(actual: string, expected: string, what = ""): void {
  if (actual === expected) return;
  let at = 0;
  while (at < actual.length && actual[at] === expected[at]) at++;
  const around = (text: string) => JSON.stringify(text.slice(Math.max(0, at - 60), at + 60));
  assert.fail(
    `${what} differs at ${at} (${actual.length}, ${expected.length} in all): ` +
      `${around(actual)} is not ${around(expected)}`,
  );
}

/** The text of the `json` tokens among `blocks`. */
export function textOf(blocks: readonly Block[]): string {
  return blocks.filter(({ event }) => event === "message")
    .map(({ data }) => JSON.parse(data).token as string).join("");
}

/** A reader of `response`. */
export class Reading {
  readonly response: Response;
  /** The body as it came so far. */
  body = "";
  /** `whole` if the body came to its end, `broken` if it was broken off, `left` if the reader did. */
  end: "whole" | "broken" | "left" | undefined;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #decoder = new TextDecoder();
  /** Where the whole events end that were cut out so far. */
  #cut = 0;
  readonly #blocks: Block[] = [];

  constructor(response: Response) {
    this.response = response;
    this.#reader = response.body?.getReader() as ReadableStreamDefaultReader<
      Uint8Array
    >;
    if (this.#reader === undefined) this.end = "whole";
  }

  get status(): number {
    return this.response.status;
  }

  get streamId(): string {
    return this.response.headers.get("x-stream-id") ??
      assert.fail("x-stream-id is missing");
  }

  /** The whole events so far. */
  get blocks(): readonly Block[] {
    const { blocks, rest } = blocksOf(this.body.slice(this.#cut));
    this.#blocks.push(...blocks);
    this.#cut = this.body.length - rest.length;
    return this.#blocks;
  }

  /** The text so far, where it is written as `json`. */
  get text(): string {
    return textOf(this.blocks);
  }

  get last(): Block {
    return this.blocks.at(-1) ?? assert.fail("there are no events");
  }

  /** The id that the reader comes back with. */
  get lastId(): string | undefined {
    return this.blocks.findLast(({ id }) => id !== undefined)?.id;
  }

  /** Takes one chunk. */
  async step(): Promise<void> {
    if (this.end !== undefined) return;
    try {
      const { done, value } = await this.#reader!.read();
      if (this.end !== undefined) return;
      if (done) this.end = "whole";
      else this.body += this.#decoder.decode(value, { stream: true });
    } catch {
      this.end ??= "broken";
    }
  }

  /** Reads on until `holds` does, or to the end. */
  async until(holds: () => boolean): Promise<this> {
    while (this.end === undefined && !holds()) await this.step();
    return this;
  }

  /** Reads until there are `count` events. */
  async events(count: number): Promise<this> {
    await this.until(() => this.blocks.length >= count);
    assert(
      this.blocks.length >= count,
      `${this.blocks.length} events of ${count}: ${this.body.slice(-200)}`,
    );
    return this;
  }

  /** Reads to the end. */
  rest(): Promise<this> {
    return this.until(() => false);
  }

  /** Leaves. */
  async leave(): Promise<void> {
    if (this.end !== undefined) return;
    this.end = "left";
    // It rejects where the body had been broken off.
    await this.#reader!.cancel().catch(() => {});
  }

  /** The body without its heartbeats. */
  get written(): string {
    assert(this.body.startsWith(":\n"), JSON.stringify(this.body.slice(0, 300)));
    return this.body.replaceAll(/^:\n/gm, "");
  }

  /** The problem that it was answered with. */
  async problem(status: number, code: string): Promise<Problem> {
    await this.rest();
    assert.equal(this.status, status, this.body);
    assert.equal(
      this.response.headers.get("content-type"),
      "application/problem+json",
    );
    const problem = JSON.parse(this.body) as Problem;
    assert.equal(problem.code, code);
    return problem;
  }
}
