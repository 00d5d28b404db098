/**
 * One request on Node and its response. Separate from the listener because it holds all that can end
 * a response: its body, an error, and a client that disconnects.
 */
import { nextTick } from "node:process";
import { report, StreamError } from "../error.ts";
import { REJECT, type RejectingFetch } from "../http/request.ts";
import { errorResponse } from "../http/response.ts";
import { isObject, nameOf } from "../values.ts";
import { BytesResponse } from "./bytes_response.ts";
import { type Client, requestOf } from "./request.ts";
import type { NodeRequest, NodeResponse, NodeSocket } from "./types.ts";

/** A `fetch` function; `info` has Node's own request and response. */
export type NodeFetch = (
  request: Request,
  info: { readonly req: NodeRequest; readonly res: NodeResponse },
) => Response | Promise<Response>;

/** The exchanges of each connection that send a stream: many, where a client does not wait for one. */
const connections = new WeakMap<NodeSocket, Set<Exchange>>();

/**
 * The exchanges of a connection. A client that half-closes it has disconnected from all of them: one
 * that takes nothing either would otherwise keep them for good.
 */
function exchangesOn(socket: NodeSocket): Set<Exchange> {
  let exchanges = connections.get(socket);
  if (exchanges === undefined) {
    const opened = exchanges = new Set();
    connections.set(socket, opened);
    socket.on("end", () => {
      for (const exchange of opened) exchange.leave();
    });
  }
  return exchanges;
}

/** What fails on a connection that is gone is followed by its `close`. */
function ignore(): void {}

function departure(): DOMException {
  return new DOMException("The client disconnected", "AbortError");
}

/** How long a client may take nothing of what is left when the body has ended. */
const LINGER_MS = 30_000;

/**
 * A request and its response.
 *
 * ```
 *   answering ──Response──▶ opening ──head──▶ sending ──end of the body──▶ ended
 *      │  ▲                  │    │              │                           ▲
 *      │  └─ failed, once ───┘    │              │                           │
 *      └── client left ───────────┴─ body failed ┴───────────────────────────┘
 * ```
 *
 * `opening`: the head waits until the microtasks have run, so that a body that is there leaves with
 * it, and a complete one with its length. What fails before its first chunk is answered by a 500. One
 * read of the body is under way at a time, and none while the connection is full.
 */
export class Exchange implements Client {
  #state: "answering" | "opening" | "sending" | "ended" = "answering";
  readonly #req: NodeRequest;
  readonly #res: NodeResponse;
  readonly #onError: ((error: unknown) => void) | undefined;
  #abort: AbortController | undefined;
  #hasLeft = false;
  /** Whether the response is the 500 of one that could not be sent. */
  #hasFailed = false;
  /** Kept as long as the response: Node's `Request` passes an abort on only while it lives itself. */
  #request: Request | undefined;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #head: Record<string, string | string[]> = {};
  #status = 200;
  /** The first chunk, which waits for the head. */
  #first: Uint8Array | undefined;
  #isWatched = false;
  #siblings: Set<Exchange> | undefined;

  constructor(
    req: NodeRequest,
    res: NodeResponse,
    onError: ((error: unknown) => void) | undefined,
  ) {
    this.#req = req;
    this.#res = res;
    this.#onError = onError;
  }

  /** Aborts when the client disconnects. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#hasLeft) this.#abort.abort(departure());
    }
    return this.#abort.signal;
  }

  /** Handles the request with `fetch`. Never throws. */
  run(fetch: NodeFetch & RejectingFetch): void {
    this.#res.on("close", this.#closed);
    this.#res.on("error", ignore);
    try {
      this.#request = requestOf(this.#req, this);
    } catch (error) {
      const reject = fetch[REJECT];
      if (reject === undefined) return this.#failed(error);
      // The handler counts it, and has headers of its own.
      return this.#respond(reject(error, this.#req));
    }
    try {
      Promise.resolve(fetch(this.#request, { req: this.#req, res: this.#res }))
        .then(this.#respond).catch(this.#failed);
    } catch (error) {
      this.#failed(error);
    }
  }

  /** The connection is closed: what is not finished never will be. */
  readonly #closed = (): void => {
    this.#siblings?.delete(this);
    this.#request = undefined;
    const { writableEnded, writableFinished } = this.#res;
    // That of HTTP/2 calls itself finished when its stream was closed.
    if (!(this.#req.httpVersionMajor < 2 ? writableFinished : writableEnded)) this.#cancel();
  };

  /** Called when the client closes its half of the connection. */
  leave(): void {
    if (this.#res.writableEnded) return;
    this.#cancel();
    this.#res.destroy();
  }

  #cancel(): void {
    this.#state = "ended";
    this.#hasLeft = true;
    this.#abort?.abort(departure());
    // A body that cannot be cancelled has ended already.
    this.#reader?.cancel(departure()).catch(ignore);
  }

  /** The handler has thrown, or what it returned cannot be sent. */
  readonly #failed = (error: unknown): void => {
    const isDeparture = this.#hasLeft && error === this.#abort?.signal.reason;
    if (!(error instanceof StreamError) && !isDeparture) report(this.#onError, error);
    const isUnsent = this.#state === "answering" ||
      (this.#state === "opening" && this.#first === undefined);
    if (!isUnsent || this.#hasFailed || this.#res.headersSent) {
      return hasStalled(error) ? this.#drop() : this.#breakOff();
    }
    this.#hasFailed = true;
    this.#state = "answering";
    // A head that could not be sent has left the words of its status.
    if (this.#req.httpVersionMajor < 2) this.#res.statusMessage = "";
    this.#reader?.cancel().catch(ignore);
    // After the read that this has ended.
    queueMicrotask(() => {
      if (this.#state === "answering") this.#send(errorResponse(error));
    });
  };

  readonly #respond = (response: Response): void => {
    if (!isObject(response) || typeof response.status !== "number") {
      throw new TypeError(
        `Cannot respond: fetch returned ${
          response === undefined ? "nothing" : nameOf(response)
        }, not a Response`,
      );
    }
    // The client has left, or middleware has answered.
    if (this.#state !== "answering" || this.#res.headersSent) {
      return void response.body?.cancel().catch(ignore);
    }
    this.#send(response);
  };

  #send(response: Response): void {
    const { status } = response;
    this.#status = status;
    const buffered = response instanceof BytesResponse ? response : undefined;
    this.#head = headOf(buffered?.givenHead ?? response.headers, this.#res);
    this.#first = buffered?.bytesToSend;
    if (this.#first !== undefined && this.#req.method !== "HEAD") return this.#sendAll();
    const { body } = response;
    if (body === null || this.#req.method === "HEAD" || status === 204 || status === 304) {
      this.#complete();
      body?.cancel().catch(ignore);
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
    if (this.#state === "ended" || this.#state === "answering") return;
    // Node would write a text in bytes that its length does not count, and an object as nothing.
    if (!done && !(value instanceof Uint8Array)) {
      throw new TypeError(
        `Cannot respond: a chunk of the body is ${nameOf(value)}, not a Uint8Array`,
      );
    }
    if (this.#state === "opening") {
      if (done) return this.#sendAll();
      if (this.#first === undefined) {
        this.#first = value;
        return this.#read();
      }
      this.#open();
    }
    if (done) this.#end();
    else if (value!.length === 0 || this.#res.write(value!)) this.#read();
    else this.#waitForDrain();
  };

  /** Sends the head, and what there is of the body. */
  #open(): void {
    const first = this.#takeFirst();
    this.#res.writeHead(this.#status, this.#head);
    this.#state = "sending";
    if (this.#req.httpVersionMajor < 2) {
      this.#siblings = exchangesOn(this.#req.socket).add(this);
    }
    // Whether there is room is asked with the next chunk, which is on its way.
    if (first?.length) this.#res.write(first);
    else this.#res.flushHeaders();
  }

  /** The first chunk, which is gone if the head cannot be sent. */
  #takeFirst(): Uint8Array | undefined {
    const first = this.#first;
    this.#first = undefined;
    return first;
  }

  /** Sends a body that was complete before the head. */
  #sendAll(): void {
    const body = this.#takeFirst() ?? new Uint8Array();
    this.#head["content-length"] = String(body.length);
    this.#complete(body);
  }

  /** Sends the head and all of the body in one piece, and ends. */
  #complete(body?: Uint8Array): void {
    this.#res.writeHead(this.#status, this.#head);
    this.#state = "ended";
    this.#res.end(body);
  }

  #end(): void {
    this.#state = "ended";
    this.#res.end();
    // A client that takes nothing more has this long to take the rest.
    if (!isFlushed(this.#res)) this.#res.setTimeout(LINGER_MS);
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
    }, (error) => {
      // The next read fails as well, and there is none before a client that takes nothing goes on.
      if (hasStalled(error)) this.#failed(error);
    });
  }

  /** Ends the response so that no client takes it for complete. */
  #breakOff(): void {
    if (this.#res.writableEnded || this.#res.destroyed) return;
    try {
      if (this.#state === "opening") this.#open();
    } catch {
      // Where the head cannot be sent, the connection is reset.
    }
    this.#state = "ended";
    this.#reader?.cancel().catch(ignore);
    const { socket, chunkedEncoding } = this.#res as NodeResponse & { chunkedEncoding?: boolean };
    const hasLength = chunkedEncoding || this.#head["content-length"] !== undefined;
    if (this.#res.headersSent && hasLength && socket?.destroySoon) {
      // What was written is delivered, and then the end of the body is missing. Node 26 keeps a chunk
      // until the next tick.
      this.#res.setTimeout(LINGER_MS);
      nextTick(() => socket.destroySoon!());
    } else this.#reset();
  }

  /** Drops a client that takes nothing, and what the kernel holds for it: a close leaves that for minutes. */
  #drop(): void {
    if (this.#res.writableEnded || this.#res.destroyed) return;
    this.#cancel();
    this.#reset();
  }

  /** Resets the connection, so that no client takes its end for that of the body. */
  #reset(): void {
    const { socket } = this.#res;
    if (socket?.resetAndDestroy && this.#req.httpVersionMajor < 2) {
      try {
        return void socket.resetAndDestroy();
      } catch {
        // Only TCP has a reset: TLS and Unix sockets are closed.
      }
    }
    this.#res.destroy(new Error("The body failed"));
  }
}

function hasStalled(error: unknown): boolean {
  return error instanceof StreamError && error.code === "stalled";
}

function isFlushed(res: NodeResponse): boolean {
  return ((res as { writableLength?: number }).writableLength ?? 0) === 0;
}

/** The headers of a response, with what middleware before it has said about cookies and caching. */
function headOf(
  headers: Headers | Record<string, string>,
  res: NodeResponse,
): Record<string, string | string[]> {
  const head: Record<string, string | string[]> = {};
  let cookies: string[] | undefined;
  if (!(headers instanceof Headers)) Object.assign(head, headers);
  else {
    for (const [name, value] of headers) {
      if (name === "set-cookie") (cookies ??= []).push(value);
      // Node frames the body by itself. That of an upstream's response would stand beside the length.
      else if (name !== "transfer-encoding") head[name] = value;
    }
  }
  if (cookies !== undefined) {
    head["set-cookie"] = [...[res.getHeader("set-cookie") ?? []].flat().map(String), ...cookies];
  }
  const vary = res.getHeader("vary");
  if (vary !== undefined) head["vary"] = [vary, head["vary"] ?? []].flat().join(", ");
  return head;
}
