/**
 * The native floor of the paced case on Bun: a TCP socket that answers every request with one fixed head, then writes
 * each token as a ready-made HTTP chunk. A string and a write: no HTTP server, no stream, no backpressure.
 */
import { pace, port, ready } from "../producers.ts";

const HEAD =
  "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
type Socket = { write(data: string): number; data: { open: boolean } };

declare const Bun: { listen(options: object): unknown };

Bun.listen({
  port,
  hostname: "127.0.0.1",
  socket: {
    open(socket: Socket) {
      socket.data = { open: true };
    },
    data(socket: Socket) {
      socket.write(HEAD);
      pace((token) => {
        if (socket.data.open) socket.write(`12\r\ndata: ${token}\n\n\r\n`);
        return socket.data.open;
      });
    },
    close(socket: Socket) {
      socket.data.open = false;
    },
  },
});
ready();
