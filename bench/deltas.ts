/**
 * The upstream of the gateway case, in the process of the load generator, so that one clock counts. Its first delta
 * comes with the response headers, the others 20 ms apart, each an HTTP chunk of its own; what it says is the time at
 * which it was sent. The model `kilobyte` responds with a whole body of 1 KB at once.
 */
import { createServer, type Socket } from "node:net";
import {
  chunkOf,
  completion,
  end,
  HEAD,
  LAST_CHUNK,
  onRequests,
  ROLE,
  token,
} from "./openai_http.ts";
import { stamp } from "./pacer.ts";

/** Deltas of a stream. */
export const DELTAS = 64;
/** Milliseconds between two of them. */
export const APART_MS = 20;
/** Deltas of the model `kilobyte`; with the events around them its body has 1 KB. */
export const KILOBYTE_DELTAS = 2;

const END = end(DELTAS).map(chunkOf).join("") + LAST_CHUNK;

type Stream = { socket: Socket; left: number };

/** Streams by the millisecond of 20 in which their deltas are due. */
const slots: Stream[][] = Array.from({ length: APART_MS }, () => []);
let slot = 0;

function send(stream: Stream, before = ""): boolean {
  stream.left--;
  stream.socket.write(
    before + chunkOf(token(stamp())) + (stream.left === 0 ? END : ""),
    "latin1",
  );
  return stream.left > 0 && !stream.socket.destroyed;
}

function startTurns(): void {
  let nextMs = performance.now();
  const turn = () => {
    for (const nowMs = performance.now(); nextMs <= nowMs; nextMs++) {
      slot = (slot + 1) % APART_MS;
      slots[slot] = slots[slot]!.filter((stream) => send(stream));
    }
    setTimeout(turn, Math.max(0, nextMs - performance.now()));
  };
  turn();
}

function answer(socket: Socket, request: string): void {
  if (request.includes('"kilobyte"')) {
    const tokens = Array.from({ length: KILOBYTE_DELTAS }, stamp);
    socket.write(HEAD + chunkOf(completion(tokens).join("")) + LAST_CHUNK, "latin1");
    return;
  }
  const stream = { socket, left: DELTAS };
  send(stream, HEAD + chunkOf(ROLE));
  slots[slot]!.push(stream);
}

/** Serves until the process ends. Resolves when it listens. */
export function startDeltas(port: number): Promise<void> {
  startTurns();
  return new Promise((resolve) => {
    createServer(onRequests(answer)).listen(port, "127.0.0.1", resolve);
  });
}
