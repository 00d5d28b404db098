/**
 * An OpenAI-compatible server's side of the wire, for the upstreams of the relay and gateway cases: events, chunks of
 * HTTP/1.1, and just enough of it to see a request end.
 */
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";

const START =
  '"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1763800000,"model":"m"';

function event(members: string): string {
  return `data: {${START},${members}}\n\n`;
}

function delta(delta: string, finishReason = "null"): string {
  return event(
    `"choices":[{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${finishReason}}],"usage":null`,
  );
}

/** The event before the first token. */
export const ROLE: string = delta('{"role":"assistant","content":""}');

/** A token's event. */
export function token(text: string): string {
  return delta(`{"content":${JSON.stringify(text)}}`);
}

/** The events behind the last of so many tokens. */
export function end(tokens: number): string[] {
  return [
    delta("{}", '"stop"'),
    event(
      `"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":${tokens},"total_tokens":${
        tokens + 1
      }}`,
    ),
    "data: [DONE]\n\n",
  ];
}

/** The events of a whole answer. */
export function completion(tokens: readonly string[]): string[] {
  return [ROLE, ...tokens.map(token), ...end(tokens.length)];
}

/** What stands before the first chunk of a response. */
export const HEAD: string =
  "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/** What stands behind its last. */
export const LAST_CHUNK: string = "0\r\n\r\n";

/** A text as one chunk. */
export function chunkOf(text: string): string {
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}

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

/** A listener of `createServer` that calls back with each whole request. */
export function onRequests(
  answer: (socket: Socket, request: string) => void,
): (socket: Socket) => void {
  return (socket) => {
    let waiting = "";
    socket.setNoDelay(true);
    socket.on("error", () => socket.destroy()); // a server that is killed after its run resets its connections
    socket.on("data", (bytes: Uint8Array) => {
      waiting += Buffer.from(bytes).toString("latin1");
      for (let end = endOf(waiting); end >= 0; end = endOf(waiting)) {
        answer(socket, waiting.slice(0, end));
        waiting = waiting.slice(end);
      }
    });
  };
}
