/**
 * What the listener needs of Node's `IncomingMessage` and `ServerResponse`. Shapes of our own, so that
 * the types of a program on Bun or Deno do not need those of Node.
 */

/** What has events, as Node's streams do. */
interface Emitter {
  // deno-lint-ignore no-explicit-any -- the arguments of a listener are the event's
  on(event: string, listener: (...values: any[]) => void): unknown;
  // deno-lint-ignore no-explicit-any -- likewise
  off(event: string, listener: (...values: any[]) => void): unknown;
}

/** A connection: a socket of `node:net` or `node:tls`. */
export interface NodeSocket extends Emitter {
  destroySoon?(): void;
  resetAndDestroy?(): unknown;
}

/** A request as Node's HTTP servers, Express and Connect hand it out: an `IncomingMessage`. */
export interface NodeRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly httpVersionMajor: number;
  readonly socket: NodeSocket;
  /** Whether everything of the body was read. */
  readonly readableEnded: boolean;
  /** Whether something has read from the body. */
  readonly readableDidRead: boolean;
  iterator(options: { destroyOnReturn: boolean }): AsyncIterable<unknown>;
  resume(): unknown;
}

/** A response as Node's HTTP servers, Express and Connect hand it out: a `ServerResponse`. */
export interface NodeResponse extends Emitter {
  readonly headersSent: boolean;
  readonly writableEnded: boolean;
  readonly destroyed?: boolean;
  readonly socket: NodeSocket | null;
  getHeader(name: string): number | string | readonly string[] | undefined;
  writeHead(status: number, headers: Record<string, string | string[]>): unknown;
  flushHeaders(): void;
  write(chunk: Uint8Array): boolean;
  end(chunk?: Uint8Array): unknown;
  destroy(error?: Error): unknown;
  setTimeout(ms: number): unknown;
}
