/**
 * The codec's own loop, run by each decoder in a process of its own so that none warms the other's code.
 * Every decoder starts from bytes, as a response body gives them, and must count every event.
 */
import process from "node:process";
import { tokens } from "./inputs.ts";

/** Takes bytes and returns how many events they completed. */
export type Decode = (chunk: Uint8Array) => number;

const EVENTS = 4000;
const CHUNKS: Record<string, number> = { event: 0, "16KiB": 16_384, "64B": 64 };
const WARM_MS = 400;
const MEASURE_MS = 700;

/** The events: one token as JSON, or an OpenAI completion chunk of some 200 bytes around it. */
function corpus(kind: string): string[] {
  return tokens(EVENTS).map((token) =>
    kind === "token" ? `data: ${JSON.stringify({ token })}\n\n` : `data: ${
      JSON.stringify({
        id: "chatcmpl-123456",
        object: "chat.completion.chunk",
        created: 1763800000,
        model: "model-1",
        choices: [{ index: 0, delta: { content: token }, logprobs: null, finish_reason: null }],
      })
    }\n\n`
  );
}

function cut(events: string[], size: number): Uint8Array[] {
  const encoder = new TextEncoder();
  if (size === 0) return events.map((event) => encoder.encode(event));
  const bytes = encoder.encode(events.join(""));
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.slice(at, at + size));
  return chunks;
}

/** Milliseconds of processor time that a pass takes: what else runs on the machine does not count. */
function time(pass: () => void): number {
  const run = (ms: number) => {
    let passes = 0;
    const started = performance.now();
    const before = process.cpuUsage();
    do {
      pass();
      passes++;
    } while (performance.now() - started < ms);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000 / passes;
  };
  run(WARM_MS);
  return run(MEASURE_MS);
}

/** Runs what the arguments name and prints the figures. */
export function main(decoder: () => Decode, encode?: (data: string) => string): void {
  const [direction, kind] = process.argv.slice(2) as [string, string];
  const events = corpus(kind);
  const figures: Record<string, number> = {};
  const record = (name: string, ms: number, bytes: number) => {
    figures[`${name} ns`] = ms * 1e6 / EVENTS;
    figures[`${name} MB/s`] = bytes / 1e6 / (ms / 1000);
  };
  if (direction === "encode") {
    const data = events.map((event) => event.slice(6, -2));
    let length = 0;
    const ms = time(() => {
      for (let i = 0; i < EVENTS; i++) length += encode!(data[i]!).length;
    });
    if (length === 0) throw new Error("nothing was encoded");
    record("encode", ms, new TextEncoder().encode(events.join("")).length);
  } else {
    for (const [name, size] of Object.entries(CHUNKS)) {
      const chunks = cut(events, size);
      const bytes = chunks.reduce((total, chunk) => total + chunk.length, 0);
      const ms = time(() => {
        const decode = decoder();
        let count = 0;
        for (const chunk of chunks) count += decode(chunk);
        if (count !== EVENTS) throw new Error(`${count} events of ${EVENTS} were decoded`);
      });
      record(name, ms, bytes);
    }
  }
  console.log(JSON.stringify(figures));
}
