/**
 * The upstream of the relay case: an OpenAI-shaped response of 1,000 tokens, made once and written in one go. Each token
 * is an HTTP chunk of its own, as model servers send it; under `/packed` as many as fit into 16 KiB, as a proxy may
 * send them; under `/paced` the first token goes ahead, and the rest follows after 10 ms. It knows just enough HTTP to
 * see a request end; the tests' mock, which breaks on demand, would be the bottleneck here.
 */
import { Buffer } from "node:buffer";
import { createServer, type Socket } from "node:net";
import { tokens } from "./inputs.ts";
import { port, ready } from "./producers.ts";

const START =
  '"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1763800000,"model":"m"';

function chunk(members: string): string {
  return `data: {${START},${members}}\n\n`;
}

function delta(delta: string, finishReason = "null"): string {
  return chunk(
    `"choices":[{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${finishReason}}],"usage":null`,
  );
}

const EVENTS = [
  delta('{"role":"assistant","content":""}'),
  ...tokens(1000).map((token) => delta(`{"content":${JSON.stringify(token)}}`)),
  delta("{}", '"stop"'),
  chunk('"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1000,"total_tokens":1001}'),
  "data: [DONE]\n\n",
];

function answerOf(pieces: string[]): Buffer {
  const chunks = pieces.map((piece) => `${Buffer.byteLength(piece).toString(16)}\r\n${piece}\r\n`);
  return Buffer.from(
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" +
      `${chunks.join("")}0\r\n\r\n`,
  );
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
const FIRST = answerOf(EVENTS.slice(0, 2)).length - "0\r\n\r\n".length;
const PACKED = answerOf(pack(EVENTS));

/** Where the first request in `text` ends, or -1 while it is incomplete. */
function endOf(text: string): number {
  const head = text.indexOf("\r\n\r\n") + 4;
  if (head < 4) return -1;
  const length = /\ncontent-length: *(\d+)/i.exec(text.slice(0, head))?.[1];
  if (length !== undefined) {
    return text.length >= head + Number(length) ? head + Number(length) : -1;
  }
  if (!/\ntransfer-encoding: *chunked/i.test(text.slice(0, head))) return head;
  const last = text.indexOf("\r\n0\r\n\r\n", head);
  return last < 0 ? -1 : last + 7;
}

function send(socket: Socket, request: string): void {
  if (request.includes("paced")) {
    socket.write(SINGLE.subarray(0, FIRST));
    setTimeout(() => socket.write(SINGLE.subarray(FIRST)), 10);
  } else socket.write(request.includes("packed") ? PACKED : SINGLE);
}

function answer(socket: Socket): void {
  let waiting = "";
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy()); // a server that is killed after its run resets its connections
  socket.on("data", (bytes) => {
    waiting += bytes.toString("latin1");
    for (let end = endOf(waiting); end >= 0; end = endOf(waiting)) {
      send(socket, waiting.slice(0, 40));
      waiting = waiting.slice(end);
    }
  });
}

createServer(answer).listen(port, "127.0.0.1", ready);
