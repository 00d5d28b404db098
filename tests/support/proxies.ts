/** Proxies with one fault each, before a server on `port`. */
import { createServer as createHttp, request, type Server as HttpServer } from "node:http";
import { type AddressInfo, connect, createServer as createTcp, type Socket } from "node:net";
import { createGzip } from "node:zlib";

export interface Proxy {
  readonly url: string;
  close(): Promise<void>;
}

/** What a proxy of TCP does beside passing bytes on. */
export interface TcpFault {
  /** Cuts a connection that is silent for so many ms. */
  readonly idleMs?: number;
  /** Serves so many connections at once; others wait. */
  readonly connections?: number;
}

/** A proxy that passes bytes on as they come. */
export async function tcpProxy(port: number, fault: TcpFault): Promise<Proxy> {
  const { idleMs = 0, connections = Infinity } = fault;
  const sockets = new Set<Socket>();
  const waiting: Socket[] = [];
  let open = 0;
  const pass = (near: Socket) => {
    open++;
    const far = connect(port, "127.0.0.1");
    let timer: ReturnType<typeof setTimeout> | undefined;
    const wait = () => {
      clearTimeout(timer);
      if (idleMs > 0) timer = setTimeout(() => near.destroy(), idleMs);
    };
    wait();
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      sockets.add(socket);
      socket.on("error", () => {}); // A reset is as good an end as any.
      socket.on("data", (data) => {
        wait();
        other.write(data);
      }).resume();
      socket.on("close", () => {
        sockets.delete(socket);
        clearTimeout(timer);
        other.end();
      });
    }
    near.on("close", () => {
      open--;
      const next = waiting.shift();
      if (next !== undefined) pass(next);
    });
  };
  const listener = createTcp((near) => {
    if (open < connections) pass(near);
    else waiting.push(near.pause());
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(listener.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        listener.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** What a proxy of HTTP does to a response. */
export interface HttpFault {
  /** Compresses without ever flushing, if the client accepts gzip. */
  readonly gzip?: true;
  /** Sends the body when it is complete. */
  readonly buffers?: true;
  /** Response headers that it sets; those that are empty it takes away. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** A proxy that reads each response and sends one of its own. */
export async function httpProxy(
  port: number,
  { gzip, buffers, headers = {} }: HttpFault,
): Promise<Proxy> {
  const server: HttpServer = createHttp((asked, answered) => {
    const { method, url: path, headers: sent } = asked;
    const far = request({ host: "127.0.0.1", port, method, path, headers: sent, agent: false });
    far.on("response", (response) => {
      const { connection: _, "transfer-encoding": __, ...kept } = response.headers;
      const own = Object.fromEntries(
        Object.entries({ ...kept, ...headers }).filter(([, value]) => value !== ""),
      );
      const zips = gzip && /gzip/.test(String(sent["accept-encoding"]));
      answered.writeHead(response.statusCode!, zips ? { ...own, "content-encoding": "gzip" } : own);
      if (zips) return void response.pipe(createGzip()).pipe(answered);
      if (!buffers) return void response.pipe(answered);
      const parts: Uint8Array[] = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => {
        for (const part of parts) answered.write(part);
        answered.end();
      });
    });
    far.on("error", () => answered.destroy());
    asked.pipe(far);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
