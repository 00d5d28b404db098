/** A proxy that cuts a connection after so many bytes of a response, even within a character. */
import { connect, createServer, type Socket } from "node:net";

export interface Tunnel {
  readonly url: string;
  /** How many connections were cut. */
  cuts: number;
  close(): Promise<void>;
}

/**
 * Opens a way to `port`.
 *
 * @param cuts After how many bytes of its response a connection is cut, one after the other; then none
 * is. A connection that is lost before leaves its cut to the next.
 */
export async function openTunnel(
  port: number,
  cuts: readonly number[],
): Promise<Tunnel> {
  const open = new Set<Socket>();
  const listener = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    let left = cuts[tunnel.cuts] ?? Infinity;
    for (const socket of [near, far]) {
      open.add(socket);
      const other = socket === near ? far : near;
      // A reset is as good an end as any.
      socket.on("error", () => {});
      socket.on("close", () => {
        open.delete(socket);
        other.destroy();
      });
    }
    near.on("data", (data) => far.write(data));
    far.on("data", (data: Uint8Array) => {
      if (data.length < left) {
        left -= data.length;
        near.write(data);
        return;
      }
      if (left === 0) return;
      tunnel.cuts++;
      near.write(data.subarray(0, left));
      left = 0;
      // Bun's fetch drops what it has not handed on when a connection ends too early: it is given time.
      setTimeout(() => far.destroy(), 20);
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const address = listener.address() as { port: number };
  const tunnel: Tunnel = {
    url: `http://127.0.0.1:${address.port}`,
    cuts: 0,
    close: () =>
      new Promise((resolve) => {
        listener.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
  return tunnel;
}
