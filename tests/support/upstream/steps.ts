/**
 * The steps that a good response is made of, for a fault to take in any order or to leave out. Here
 * alone the parameters in a model's name are read.
 */
import { Buffer } from "node:buffer";
import { type Completion, DONE } from "./completion.ts";
import { type Reply, SECRET } from "./raw_http.ts";
import { openPulse, type Pulse } from "./round_trip.ts";

/** What may follow a name: `mock:slow?delayMs=20&tokens=50`. */
export const parameters: Record<string, string> = {
  after: "tokens before the fault (default: half of them; 0: before the first)",
  bytes:
    "ends what is endless after so many bytes, in good order (default: cut with a RST at 1 GiB)",
  delayMs: "waits before each token (default 0)",
  done: "0: nothing follows an error in mid-stream; default: [DONE] does",
  firstMs: "waits before the first token",
  gapMs:
    "waits before it breaks off (default 20; 0: at once, and the client may lose what came ahead)",
  framing: "chunked (default) or close: no length, the end is the FIN",
  headMs: "waits before the head",
  how: "fail-then-ok: 503 (default), 429, rst or fin",
  keepAlive: "1: the connection may be used again (default: every reply closes it)",
  key: "fail-then-ok: any text; each model name counts its failures for itself",
  n: "fail-then-ok: how many requests fail (default 1)",
  retryAfter: "seconds in Retry-After, or any text (429 has 1 by default)",
  size: "longest token in UTF-16 units (default 5; bytes: 40)",
  split: "surrogates: a token may end inside a pair",
  status: "status of a redirect (default 307)",
  tokens: "exactly so many tokens, the echoed ones over and over",
};

const ENDLESS_BYTES = 1024 ** 3;

/** One exchange. Every step does nothing once the reply has ended. */
export class Scene {
  readonly reply: Reply;
  readonly completion: Completion;
  readonly params: URLSearchParams;
  /** Whether a stream was asked for; if not, only the faults marked `always` come here. */
  readonly stream: boolean;
  /** How often this model name was asked for before. */
  readonly attempt: number;
  readonly here: string;
  readonly elsewhere: string;
  /** Rewrites every event, e.g. its line ends. */
  rewrite: (text: string) => string = (text) => text;
  /** Cuts what is sent, and lets each piece arrive before the next. */
  #segments: ((text: string) => Iterable<string | Uint8Array>) | undefined;
  #pulse: Pulse | undefined;

  constructor(init: {
    reply: Reply;
    completion: Completion;
    params: URLSearchParams;
    stream: boolean;
    attempt: number;
    here: string;
    elsewhere: string;
  }) {
    this.reply = init.reply;
    this.completion = init.completion;
    this.params = init.params;
    this.stream = init.stream;
    this.attempt = init.attempt;
    this.here = init.here;
    this.elsewhere = init.elsewhere;
    if (init.params.get("framing") === "close") init.reply.framing = "close";
  }

  number(name: string, fallback: number): number {
    return Number(this.params.get(name) ?? fallback);
  }

  /** The number of tokens that go ahead of the fault. */
  get middle(): number {
    return this.number("after", Math.ceil(this.completion.tokens.length / 2));
  }

  head(headers: Record<string, string | number> = {}): Promise<boolean> {
    return this.reply.head(200, { "content-type": "text/event-stream; charset=utf-8", ...headers });
  }

  async send(text: string): Promise<boolean> {
    const rewritten = this.rewrite(text);
    if (!this.#segments) return this.reply.send(rewritten);
    for (const segment of this.#segments(rewritten)) {
      if (!(await this.reply.send(segment))) return false;
      await this.#pulse?.beat();
    }
    return true;
  }

  /** Events, one by one when paced, else 16 KiB at a time. */
  async play(events: Iterable<string>): Promise<void> {
    const delay = this.number("delayMs", 0);
    let waiting = "";
    for (const event of events) {
      if (delay > 0) {
        if (!(await this.reply.sleep(delay)) || !(await this.send(event))) return;
      } else if ((waiting += event).length > 16 * 1024) {
        if (!(await this.send(waiting))) return;
        waiting = "";
      }
    }
    if (waiting !== "") await this.send(waiting);
  }

  /** Head and role. */
  async begin(headers: Record<string, string | number> = {}): Promise<void> {
    await this.head(headers);
    await this.send(this.completion.role());
    await this.reply.sleep(this.number("firstMs", 0));
  }

  async tokens(from: number = 0, to: number = Infinity): Promise<void> {
    const { completion } = this;
    const wanted = completion.tokens.slice(from, to);
    await this.play((function* () {
      for (const token of wanted) yield completion.content(token);
    })());
  }

  /** Everything up to the fault. */
  async firstHalf(): Promise<void> {
    await this.begin();
    await this.tokens(0, this.middle);
  }

  /** Everything after it, to a good end. */
  async secondHalf(): Promise<void> {
    await this.tokens(this.middle);
    await this.close();
  }

  /**
   * What went ahead gets a moment to be read: when the break arrives with it, Bun's `fetch` throws away up to
   * all of it, and every client that polls may see a RST before it has read what came ahead.
   */
  gap(): Promise<boolean> {
    return this.reply.turns(this.number("gapMs", 20));
  }

  async fin(): Promise<void> {
    await this.gap();
    this.reply.fin();
  }

  async rst(): Promise<void> {
    await this.gap();
    this.reply.rst();
  }

  /** Finish reason, usage, [DONE] and the end of the body. */
  async close(reason = "stop"): Promise<void> {
    const { completion } = this;
    await this.send(completion.finish(reason) + completion.usage() + DONE);
    await this.reply.end();
  }

  async plain(): Promise<void> {
    await this.begin();
    await this.tokens();
    await this.close();
  }

  /** The echo as one JSON. */
  whole(): Promise<void> {
    return this.reply.whole(200, { "content-type": "application/json" }, this.completion.whole());
  }

  /** The good answer, cut into segments that arrive one by one. */
  async segmented(segments: (text: string) => Iterable<string | Uint8Array>): Promise<void> {
    this.#segments = segments;
    this.#pulse = await openPulse();
    try {
      await this.plain();
    } finally {
      this.#pulse.close();
    }
  }

  /** Says the same over and over; answers whether `bytes` of it were asked for and sent. */
  async repeat(text: string | Uint8Array, raw = false): Promise<boolean> {
    const bytes = typeof text === "string" ? Buffer.from(text) : text;
    const times = Math.max(1, Math.floor(64 * 1024 / bytes.length));
    const frame = (count: number) => {
      const block = Buffer.concat(Array.from({ length: count }, () => bytes));
      return raw ? block : this.reply.frame(block);
    };
    // Made once: a test that watches the memory of its process must not see the mock's.
    const block = frame(times);
    const limit = this.number("bytes", Infinity);
    let left = Math.ceil(Math.min(limit, ENDLESS_BYTES) / bytes.length);
    for (; left >= times; left -= times) if (!(await this.reply.raw(block))) return false;
    if (left > 0 && !(await this.reply.raw(frame(left)))) return false;
    if (limit <= ENDLESS_BYTES) return true;
    await this.rst();
    return false;
  }

  /** An oversize something in the middle: it opens, goes on, and closes if `bytes` says when. */
  async oversize(open: string, more: string, close: string): Promise<void> {
    await this.firstHalf();
    await this.send(open);
    if (!(await this.repeat(more))) return;
    await this.send(close);
    await this.secondHalf();
  }

  /** An error in mid-stream, and what vLLM lets follow it. */
  async broken(event: string): Promise<void> {
    await this.firstHalf();
    await this.send(event);
    if (this.params.get("done") !== "0") await this.send(DONE);
    await this.reply.end();
  }

  /** A refusal in OpenAI's words; like the original, it repeats the key that it was sent. */
  refuse(
    status: number,
    code: string,
    headers: Record<string, string | number> = {},
  ): Promise<void> {
    const key = this.reply.request.headers["authorization"] ?? "none";
    const retry = this.params.get("retryAfter");
    return this.reply.whole(status, {
      "content-type": "application/json",
      ...headers,
      ...(retry === null ? {} : { "retry-after": retry }),
    }, JSON.stringify({ error: { message: `${SECRET}: ${key}`, type: code, param: null, code } }));
  }

  redirect(to: string): Promise<void> {
    // The model goes along in the query, for a client that turns POST into GET on its way.
    const model = encodeURIComponent((this.reply.request.body as { model?: string })?.model ?? "");
    const location = `${to}/chat/completions?model=${model}`;
    return this.reply.whole(this.number("status", 307), { location }, SECRET);
  }
}
