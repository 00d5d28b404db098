/**
 * What the listener needs of Node's `IncomingMessage` and `ServerResponse`. Shapes of our own, so that
 * the types of a program on Bun or Deno do not need those of Node.
 */

/** What has events, as Node's streams do: an `EventEmitter`. */
export interface NodeEmitter {
  /** Adds a listener. */
  on(event: string, listener: (...values: unknown[]) => void): unknown;
  /** Removes a listener. */
  off(event: string, listener: (...values: unknown[]) => void): unknown;
}

/** A connection: a socket of `node:net` or `node:tls`. */
export interface NodeSocket extends NodeEmitter {
  /** Closes the connection once everything was written. */
  destroySoon?(): void;
  /** Closes the connection at once, with RST. */
  resetAndDestroy?(): unknown;
}

/** A request as Node's HTTP servers, Express and Connect hand it out: an `IncomingMessage`. */
export interface NodeRequest {
  /** The method, in capitals; absent means GET. */
  readonly method?: string | undefined;
  /** The request target as it was sent: a path and a query, or a whole URL. */
  readonly url?: string | undefined;
  /** Header fields by lower-case name. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** 1 or 2. */
  readonly httpVersionMajor: number;
  /** The connection. */
  readonly socket: NodeSocket;
  /** Whether everything of the body was read. */
  readonly readableEnded: boolean;
  /** Whether something has read from the body. */
  readonly readableDidRead: boolean;
  /** Reads the body; leaving the loop keeps the connection. */
  iterator(options: { destroyOnReturn: boolean }): AsyncIterable<unknown>;
  /** Drops what is left of the body. */
  resume(): unknown;
}

/** A response as Node's HTTP servers, Express and Connect hand it out: a `ServerResponse`. */
export interface NodeResponse extends NodeEmitter {
  /** Whether the head was sent. */
  readonly headersSent: boolean;
  /** Whether `end` was called. */
  readonly writableEnded: boolean;
  /** Whether everything was handed to the connection. */
  readonly writableFinished?: boolean;
  /** Whether the response was broken off. */
  readonly destroyed?: boolean;
  /** The words after the status; `""` for its own. */
  statusMessage?: string;
  /** The connection; `null` when it is gone. */
  readonly socket: NodeSocket | null;
  /** A header field that was set before. */
  getHeader(name: string): number | string | readonly string[] | undefined;
  /** Sets the status and the header fields. */
  writeHead(status: number, headers: Record<string, string | string[]>): unknown;
  /** Sends the head. */
  flushHeaders(): void;
  /** Sends bytes. Returns whether there is room for more. */
  write(chunk: Uint8Array): boolean;
  /** Sends the last bytes, and ends the response. */
  end(chunk?: Uint8Array): unknown;
  /** Breaks off the response. */
  destroy(error?: Error): unknown;
  /** Closes the connection after so many ms in which nothing is sent. */
  setTimeout(ms: number): unknown;
}
