/**
 * One raw TCP connection of the load generator, which knows just enough HTTP/1.1 to tell where a response ends.
 * It never scans a body unless asked to keep one: the end of a chunked body is in its last five bytes, because
 * no token of the corpus holds a carriage return.
 */

/** What a connection tells its owner; `first` comes with the first bytes of each response, `end` after its last. */
export type Listener = {
  first?(connection: Connection): void;
  data?(connection: Connection, chunk: Uint8Array): void;
  end?(connection: Connection): void;
};

type Socket = {
  write(data: string): number;
  end(): void;
  terminate(): void;
  pause(): void;
};

declare const Bun: { connect(options: object): Promise<Socket> };

const HEAD_END = "\r\n\r\n";
const [ZERO, CR, LF] = [0x30, 0x0d, 0x0a];

export class Connection {
  /** Bytes received in all, head and framing included. */
  bytes = 0;
  /** Bytes of the current response. */
  responseBytes = 0;
  /** Complete responses, and their bytes. */
  responses = 0;
  completeBytes = 0;
  /** While true, the bytes of the current response are kept in `kept`. */
  keep = false;
  kept: Uint8Array[] = [];
  /** Why the connection is of no more use, if it is not. */
  failure: string | undefined;
  readonly #listener: Listener;
  #socket!: Socket;
  #state: "idle" | "head" | "length" | "chunked" = "idle";
  #head = "";
  #left = 0;
  #tail = new Uint8Array(5);

  private constructor(listener: Listener) {
    this.#listener = listener;
  }

  static async open(port: number, listener: Listener): Promise<Connection> {
    const connection = new Connection(listener);
    connection.#socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_: Socket, chunk: Uint8Array) => connection.#data(chunk),
        close: () => connection.#fail("closed"),
        error: (_: Socket, error: Error) => connection.#fail(error.message),
      },
    });
    return connection;
  }

  /** Asks for an event stream; the previous response must have ended. */
  send(path: string): void {
    this.sendRequest(
      `GET ${path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n`,
    );
  }

  /** The same with a request that is written out. */
  sendRequest(request: string): void {
    this.#state = "head";
    this.#head = "";
    this.responseBytes = 0;
    this.#socket.write(request);
  }

  pause(): void {
    this.#socket.pause();
  }

  close(): void {
    this.#socket.terminate();
  }

  #fail(reason: string): void {
    if (this.#state !== "idle") this.failure ??= `${reason} in mid-response`;
    else this.failure ??= reason;
  }

  #data(chunk: Uint8Array): void {
    const isFirst = this.responseBytes === 0;
    this.bytes += chunk.length;
    this.responseBytes += chunk.length;
    if (this.keep) this.kept.push(chunk.slice());
    if (isFirst) this.#listener.first?.(this);
    this.#listener.data?.(this, chunk);
    if (this.#state === "head") this.#readHead(chunk);
    else if (this.#state === "length") {
      this.#left -= chunk.length;
      if (this.#left <= 0) this.#end();
    } else if (this.#state === "chunked" && this.#isLastChunk(chunk)) this.#end();
  }

  #readHead(chunk: Uint8Array): void {
    const known = this.#head.length;
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, Math.min(4096, chunk.length));
    this.#head += bytes.toString("latin1");
    const end = this.#head.indexOf(HEAD_END);
    if (end < 0) return;
    const head = this.#head.slice(0, end).toLowerCase();
    if (!head.startsWith("http/1.1 200")) this.failure ??= head.split("\r\n")[0]!;
    const body = chunk.length - (end + HEAD_END.length - known);
    const length = /\ncontent-length: *(\d+)/.exec(head);
    if (length !== null) {
      this.#state = "length";
      this.#left = Number(length[1]) - body;
      if (this.#left <= 0) this.#end();
    } else {
      this.#state = "chunked";
      if (body > 0 && this.#isLastChunk(chunk)) this.#end();
    }
  }

  /** Whether the bytes so far end in `0 CR LF CR LF`. */
  #isLastChunk(chunk: Uint8Array): boolean {
    const tail = this.#tail;
    if (chunk.length >= 5) tail.set(chunk.subarray(chunk.length - 5));
    else {
      tail.copyWithin(0, chunk.length);
      tail.set(chunk, 5 - chunk.length);
    }
    return tail[4] === LF && tail[3] === CR && tail[2] === LF && tail[1] === CR && tail[0] === ZERO;
  }

  #end(): void {
    this.#state = "idle";
    this.responses++;
    this.completeBytes += this.responseBytes;
    this.#listener.end?.(this);
  }
}
