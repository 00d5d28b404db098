/**
 * The first prototype of Spillway, which set the goals of the burst: a queue with a bound in characters, one hop a turn
 * of the event loop that all streams share, and one pass that encodes all that waits. It has no formats, commit gate,
 * heartbeat, ids, outcome or log, so what it costs less is what those cost.
 */
import { EVENT_STREAM, feed, generate, iterate, iterates, query, serve } from "../producers.ts";

const utf8 = new TextEncoder();
/** One buffer for the whole process: encoding is synchronous. */
let bytes = new Uint8Array(65_536);
let at = 0;

function put(text: string): void {
  for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
}

/** Writes a token as an event: frame, line breaks and UTF-8 in one pass. */
function write(token: string): void {
  const size = token.length;
  if (at + size * 9 + 16 > bytes.length) {
    const larger = new Uint8Array(Math.max(bytes.length * 2, at + size * 9 + 16));
    larger.set(bytes.subarray(0, at));
    bytes = larger;
  }
  const b = bytes;
  let o = at;
  b[o] = 100;
  b[o + 1] = 97;
  b[o + 2] = 116;
  b[o + 3] = 97;
  b[o + 4] = 58;
  b[o + 5] = 32;
  o += 6;
  if (size > 64 && !/[\r\n]/.test(token)) o += utf8.encodeInto(token, b.subarray(o)).written;
  else {
    for (let i = 0; i < size; i++) {
      const code = token.charCodeAt(i);
      if (code < 0x80) {
        if (code !== 10 && code !== 13) b[o++] = code;
        else {
          if (code === 13 && token.charCodeAt(i + 1) === 10) i++;
          at = o;
          put("\ndata: ");
          o = at;
        }
      } else if (code < 0x800) {
        b[o++] = 0xc0 | (code >> 6);
        b[o++] = 0x80 | (code & 0x3f);
      } else if ((code & 0xf800) !== 0xd800) {
        b[o++] = 0xe0 | (code >> 12);
        b[o++] = 0x80 | ((code >> 6) & 0x3f);
        b[o++] = 0x80 | (code & 0x3f);
      } else {
        const low = code < 0xdc00 ? token.charCodeAt(i + 1) : 0;
        if ((low & 0xfc00) === 0xdc00) {
          i++;
          const point = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
          b[o++] = 0xf0 | (point >> 18);
          b[o++] = 0x80 | ((point >> 12) & 0x3f);
          b[o++] = 0x80 | ((point >> 6) & 0x3f);
          b[o++] = 0x80 | (point & 0x3f);
        } else {
          b[o++] = 0xef;
          b[o++] = 0xbf;
          b[o++] = 0xbd;
        }
      }
    }
  }
  b[o] = 10;
  b[o + 1] = 10;
  at = o + 2;
}

/** One macrotask a turn of the event loop flushes every stream that has something to send. */
let waiting: TokenQueue[] = [];
let isArmed = false;
const { port1, port2 } = new MessageChannel();
port1.onmessage = () => {
  isArmed = false;
  const queues = waiting;
  waiting = [];
  for (const queue of queues) queue.flush();
};

function soon(queue: TokenQueue): void {
  waiting.push(queue);
  if (isArmed) return;
  isArmed = true;
  port2.postMessage(0);
}

/** Characters that wait before a generator has to wait. */
const LIMIT = 16_384;

class TokenQueue implements UnderlyingDefaultSource<Uint8Array> {
  #tokens: string[] = [];
  #size = 0;
  #isWanted = false;
  #isDue = false;
  #isClosed = false;
  #isDone = false;
  #wake: (() => void) | undefined;
  #controller!: ReadableStreamDefaultController<Uint8Array>;

  start(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.#controller = controller;
  }

  pull(): void {
    this.#isWanted = true;
    if (this.#isClosed) this.#end();
    else if (this.#size > 0) this.#arm();
  }

  cancel(): void {
    this.#isDone = this.#isClosed = true;
    this.#isWanted = false;
    this.#tokens = [];
    this.#size = 0;
    this.#wake?.();
  }

  /** Queues a token. Returns whether there is room for more. */
  send(token: string): boolean {
    if (this.#isClosed) return false;
    this.#tokens.push(token);
    this.#size += token.length + 8;
    if (this.#isWanted) this.#arm();
    return this.#size < LIMIT;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#isWanted) this.#end();
  }

  flush(): void {
    this.#isDue = false;
    if (!this.#isWanted || this.#size === 0) return;
    this.#emit();
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  async pump(source: AsyncIterable<string> | Iterable<string>): Promise<void> {
    try {
      for await (const token of source) {
        if (this.send(token)) continue;
        await this.#room();
        if (this.#isDone) break;
      }
    } finally {
      this.close();
    }
  }

  #room(): Promise<void> | undefined {
    if (this.#isDone || this.#size < LIMIT) return undefined;
    return new Promise((resolve) => this.#wake = resolve);
  }

  #arm(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    soon(this);
  }

  #emit(): void {
    const tokens = this.#tokens;
    this.#tokens = [];
    this.#size = 0;
    this.#isWanted = false;
    at = 0;
    for (let i = 0; i < tokens.length; i++) write(tokens[i]!);
    this.#controller.enqueue(bytes.slice(0, at));
  }

  #end(): void {
    if (this.#size > 0) this.#emit();
    if (this.#isDone) return;
    this.#isDone = true;
    this.#isWanted = false;
    this.#controller.close();
  }
}

serve((request) => {
  const asked = query(request.url);
  const queue = new TokenQueue();
  const body = new ReadableStream(queue, { highWaterMark: 0 });
  if (iterates(asked.shape)) queue.pump(generate(asked));
  else if (asked.shape === "sync") queue.pump(iterate(asked.n));
  else feed(asked, (token) => queue.send(token)).then(() => queue.close());
  return new Response(body, { headers: EVENT_STREAM });
});
