/**
 * The upstream of the relay case: an OpenAI-shaped response of 1,000 tokens, made once and written in one go. Each token
 * is an HTTP chunk of its own, as model servers send it; under `/packed` as many as fit into 16 KiB, as a proxy may
 * send them; under `/paced` the first token goes ahead, and the rest follows after 10 ms. The tests' mock, which breaks
 * on demand, would be the bottleneck here.
 */
import { Buffer } from "node:buffer";
import { createServer, type Socket } from "node:net";
import { tokens } from "./inputs.ts";
import { chunkOf, completion, HEAD, LAST_CHUNK, onRequests } from "./openai_http.ts";
import { port, ready } from "./producers.ts";

const EVENTS = completion(tokens(1000));

function answerOf(pieces: string[]): Buffer {
  return Buffer.from(`${HEAD}${pieces.map(chunkOf).join("")}${LAST_CHUNK}`);
}

function pack(pieces: string[]): string[] {
  const packed = [""];
  for (const piece of pieces) {
    if (packed.at(-1)!.length + piece.length > 16 * 1024) packed.push("");
    packed[packed.length - 1] += piece;
  }
  return packed;
}

const SINGLE = answerOf(EVENTS);
/** Where the first token's chunk ends. */
const FIRST = answerOf(EVENTS.slice(0, 2)).length - LAST_CHUNK.length;
const PACKED = answerOf(pack(EVENTS));

function send(socket: Socket, request: string): void {
  if (request.includes("paced")) {
    socket.write(SINGLE.subarray(0, FIRST));
    setTimeout(() => socket.write(SINGLE.subarray(FIRST)), 10);
  } else socket.write(request.includes("packed") ? PACKED : SINGLE);
}

createServer(onRequests((socket, request) => send(socket, request.slice(0, 40))))
  .listen(port, "127.0.0.1", ready);
