/**
 * One request on Node and its response. Separate from the listener because it holds all that can end
 * a response: its body, an error, and a client that disconnects.
 */
import { nextTick } from "node:process";
import { report, StreamError } from "../error.ts";
import { errorResponse } from "../http/response.ts";
import { isObject, nameOf } from "../values.ts";
import { requestOf } from "./request.ts";
import type { NodeRequest, NodeResponse } from "./types.ts";

/** A `fetch` function; `info` has Node's own request and response. */
export type NodeFetch = (
  request: Request,
  info: { readonly req: NodeRequest; readonly res: NodeResponse },
) => Response | Promise<Response>;

/** How long a client may take nothing of what is left when the body has ended. */
const LINGER_MS = 30_000;

/**
 * A request and its response.
 *
 * ```
 *   answering ──Response──▶ opening ──head──▶ sending ──end of the body──▶ ended
 *       │                      │                 │                           ▲
 *       └── client left ───────┴── body failed ──┴───────────────────────────┘
 * ```
 *
 * `opening`: the head waits until the microtasks have run, so that a body that is there leaves with
 * it, and a complete one with its length. One read of the body is under way at a time, and none while
 * the connection is full.
 */
export class Exchange {
  #state: "answering" | "opening" | "sending" | "ended" = "answering";
  readonly #req: NodeRequest;
  readonly #res: NodeResponse;
  readonly #onError: ((error: unknown) => void) | undefined;
  readonly #abort = new AbortController();
  /** Kept as long as the response: Node's `Request` passes an abort on only while it lives itself. */
  #request: Request | undefined;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #head: Record<string, string | string[]> = {};
  #status = 200;
  /** The first chunk, which waits for the head. */
  #first: Uint8Array | undefined;
  #isWatched = false;

  constructor(
    req: NodeRequest,
    res: NodeResponse,
    onError: ((error: unknown) => void) | undefined,
  ) {
    this.#req = req;
    this.#res = res;
    this.#onError = onError;
  }

  /** Handles the request with `fetch`. Never throws. */
  run(fetch: NodeFetch): void {
    const { socket, httpVersionMajor } = this.#req;
    // A client that only half-closes has disconnected as well: Node would go on writing to it.
    if (httpVersionMajor < 2) socket.on("end", this.#left);
    this.#res.on("close", () => {
      socket.off("end", this.#left);
      this.#closed();
    });
    // Written to a connection that is gone: `close` follows.
    this.#res.on("error", () => {});
    try {
      this.#request = requestOf(this.#req, this.#abort.signal);
      Promise.resolve(fetch(this.#request, { req: this.#req, res: this.#res }))
        .then((response) => this.#respond(response)).catch(this.#failed);
    } catch (error) {
      this.#failed(error);
    }
  }

  /** The connection is closed: what is not finished never will be. */
  #closed(): void {
    const { writableFinished, writableEnded } = this.#res as {
      writableFinished?: boolean;
      writableEnded: boolean;
    };
    this.#request = undefined;
    if (writableFinished ?? writableEnded) return;
    this.#cancel();
  }

  /** Called when the client disconnects, or closes its half of the connection. */
  readonly #left = (): void => {
    if (this.#res.writableEnded) return;
    this.#cancel();
    this.#res.destroy();
  };

  #cancel(): void {
    this.#state = "ended";
    const reason = new DOMException("The client disconnected", "AbortError");
    this.#abort.abort(reason);
    // A body that cannot be cancelled has ended already.
    this.#reader?.cancel(reason).catch(() => {});
  }

  /** The handler has thrown, or what it returned cannot be sent. */
  readonly #failed = (error: unknown): void => {
    const { aborted, reason } = this.#abort.signal;
    if (!(error instanceof StreamError) && !(aborted && error === reason)) {
      report(this.#onError, error);
    }
    if (this.#state === "answering" && !this.#res.headersSent) {
      this.#send(errorResponse(error));
    } else this.#breakOff();
  };

  #respond(response: Response): void {
    if (!isObject(response) || !isObject(response.headers)) {
      throw new TypeError(`Cannot respond: fetch returned ${nameOf(response)}, not a Response`);
    }
    // The client has left, or middleware has answered.
    if (this.#state !== "answering" || this.#res.headersSent) {
      return void response.body?.cancel().catch(() => {});
    }
    this.#send(response);
  }

  #send(response: Response): void {
    const { status, body } = response;
    this.#status = status;
    this.#head = headOf(response, this.#res);
    if (body === null || this.#req.method === "HEAD" || status === 204 || status === 304) {
      this.#res.writeHead(status, this.#head);
      this.#state = "ended";
      this.#res.end();
      body?.cancel().catch(() => {});
      return;
    }
    this.#reader = body.getReader();
    this.#state = "opening";
    this.#read();
    // A microtask first: from outside of one, the next tick comes before the microtasks.
    queueMicrotask(() => nextTick(this.#openNow));
  }

  readonly #openNow = (): void => {
    try {
      if (this.#state === "opening") this.#open();
    } catch (error) {
      this.#failed(error);
    }
  };

  #read(): void {
    if (this.#state === "ended") return;
    this.#reader!.read().then(this.#take).catch(this.#failed);
  }

  readonly #take = ({ done, value }: { done: boolean; value?: Uint8Array | undefined }): void => {
    if (this.#state === "ended") return;
    if (this.#state === "opening") {
      if (done) return this.#sendAll();
      if (this.#first === undefined) {
        this.#first = value;
        return this.#read();
      }
      this.#open();
    }
    if (done) this.#end();
    else if (!value?.length || this.#res.write(value)) this.#read();
    else this.#waitForDrain();
  };

  /** Sends the head, and what there is of the body. */
  #open(): void {
    this.#state = "sending";
    this.#res.writeHead(this.#status, this.#head);
    // Whether there is room is asked with the next chunk, which is on its way.
    if (this.#first?.length) this.#res.write(this.#first);
    else this.#res.flushHeaders();
    this.#first = undefined;
  }

  /** Sends a body that was complete before the head. */
  #sendAll(): void {
    const body = this.#first ?? new Uint8Array();
    this.#head["content-length"] ??= String(body.length);
    this.#res.writeHead(this.#status, this.#head);
    this.#end(body);
  }

  #end(last?: Uint8Array): void {
    this.#state = "ended";
    this.#res.end(last);
    this.#linger();
  }

  #waitForDrain(): void {
    const resume = () => {
      this.#res.off("drain", resume);
      this.#read();
    };
    this.#res.on("drain", resume);
    if (this.#isWatched) return;
    this.#isWatched = true;
    // A body may end while its client takes nothing: what it has not taken yet may be its last.
    this.#reader!.closed.then(() => {
      if (this.#state === "sending") this.#end();
    }, () => {
      // The read under way, or the next one, fails as well.
    });
  }

  /** Leaves a client that takes nothing more no longer than this to take the rest. */
  #linger(): void {
    if (!this.#res.writableEnded || isFlushed(this.#res)) return;
    this.#res.setTimeout(LINGER_MS);
  }

  /** Ends the response so that no client takes it for complete. */
  #breakOff(): void {
    if (this.#res.writableEnded || this.#res.destroyed) return;
    this.#state = "ended";
    this.#reader?.cancel().catch(() => {});
    const { socket, chunkedEncoding } = this.#res as NodeResponse & { chunkedEncoding?: boolean };
    const hasLength = chunkedEncoding || this.#head["content-length"] !== undefined;
    if (this.#res.headersSent && hasLength && socket?.destroySoon) {
      // What was written is delivered, and then the end of the body is missing.
      this.#res.setTimeout(LINGER_MS);
      socket.destroySoon();
    } else if (socket?.resetAndDestroy && this.#req.httpVersionMajor < 2) socket.resetAndDestroy();
    else this.#res.destroy(new Error("The body failed"));
  }
}

function isFlushed(res: NodeResponse): boolean {
  return ((res as { writableLength?: number }).writableLength ?? 0) === 0;
}

/** The headers of a response, with what middleware before it has said about cookies and caching. */
function headOf({ headers }: Response, res: NodeResponse): Record<string, string | string[]> {
  const head: Record<string, string | string[]> = {};
  let cookies: string[] | undefined;
  for (const [name, value] of headers) {
    if (name === "set-cookie") (cookies ??= []).push(value);
    else head[name] = value;
  }
  if (cookies !== undefined) {
    head["set-cookie"] = [...[res.getHeader("set-cookie") ?? []].flat().map(String), ...cookies];
  }
  const vary = res.getHeader("vary");
  if (vary !== undefined) head["vary"] = [vary, head["vary"] ?? []].flat().join(", ");
  return head;
}
