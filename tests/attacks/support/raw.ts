/** Sends bytes that no HTTP client would, and reads whatever comes back. */
import { connect, type Socket } from "node:net";

/** What came back on a connection. */
export interface Reply {
  /** The status of each response, in order, 1xx left out; 0 where the connection ended without one. */
  readonly statuses: number[];
  /** All bytes, a character each. */
  readonly text: string;
  /** Whether a response is an event stream. */
  readonly isStream: boolean;
}

export interface SendOptions {
  /** Sent after a pause, piece by piece, behind the first bytes. */
  readonly rest?: readonly string[];
  /** Between these pieces, in ms. */
  readonly pauseMs?: number;
  /** How long to wait for the end of the connection, in ms. */
  readonly timeoutMs?: number;
  /** Half-closes the connection when all is sent. */
  readonly end?: boolean;
}

const STATUS = /HTTP\/1\.[01] (\d{3})[^\r]*\r\n/g;

/** Sends bytes, a character each, and reads until the connection ends or is silent for too long. */
export function send(port: number, bytes: string, options: SendOptions = {}): Promise<Reply> {
  const { rest = [], pauseMs = 20, timeoutMs = 3000, end = false } = options;
  return new Promise((resolve) => {
    const socket: Socket = connect(port, "127.0.0.1");
    let text = "";
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      const found = [...text.matchAll(STATUS)].map(([, status]) => Number(status));
      const statuses = found.filter((status) => status >= 200);
      resolve({
        statuses: statuses.length > 0 ? statuses : [0],
        text,
        isStream: /^content-type: text\/event-stream/im.test(text),
      });
    };
    const timer = setTimeout(done, timeoutMs);
    socket.setEncoding("latin1");
    socket.on("data", (data) => text += data);
    // A reset is an end as well.
    socket.on("error", () => {});
    socket.on("close", done);
    socket.on("end", done);
    socket.on("connect", async () => {
      socket.write(bytes, "latin1");
      for (const piece of rest) {
        await new Promise((go) => setTimeout(go, pauseMs));
        if (socket.destroyed) return;
        socket.write(piece, "latin1");
      }
      if (end) socket.end();
    });
  });
}
