/**
 * The native floor of the paced case where there is no `Bun.listen`: the same fixed head and ready-made chunks through
 * node:net, on Deno.
 */
import { createServer } from "node:net";
import { pace, port, ready } from "../producers.ts";

const HEAD =
  "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

createServer((socket) => {
  socket.on("error", () => {}); // the client disconnected: `destroyed` is set
  socket.setNoDelay(true);
  socket.once("data", () => {
    socket.resume();
    socket.write(HEAD);
    pace((token) => {
      if (!socket.destroyed) socket.write(`12\r\ndata: ${token}\n\n\r\n`, "latin1");
      return !socket.destroyed;
    });
  });
}).listen(port, "127.0.0.1", ready);
