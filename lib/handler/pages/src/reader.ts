/**
 * The reader of event streams that runs in the pages. `EventSource` can neither POST nor send a key.
 * Separate from the decoder of `lib/sse/` because that one, with its limits and its speed, would add
 * 6 KB to each page, and a page has 40.
 */

/** An event as the standard has it. */
export interface PageEvent {
  type: string;
  data: string;
  /** The last event id in force. */
  id: string;
}

/** How long what comes at once is read before the page may draw, and hear whoever uses it. */
const TURN_MS = 8;

/** Resolves in another task. Unlike a timer, a page behind another has it at once. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

/** The text of a body as it comes. Not every browser can iterate a stream. */
export async function* piecesOf(response: Response): AsyncGenerator<string, void, undefined> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // It may have ended, or broken off, by itself.
    reader.cancel().catch(() => {});
  }
}

/**
 * Calls `onEvent` for each event of a body, and `onText` with each piece of it. Resolves at its end;
 * rejects when it breaks off or when one of the two throws. After `signal` no event comes any more, even
 * of a piece that is here.
 */
export async function readEvents(
  response: Response,
  onEvent: (event: PageEvent) => void,
  onText: (text: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  let rest = "", type = "", data: string[] = [], id = "", afterCr = false;
  let begun = performance.now();
  for await (const piece of piecesOf(response)) {
    onText(piece);
    // A CR ends its line at once, and the LF that may follow belongs to it.
    const text: string = afterCr && piece.startsWith("\n") ? piece.slice(1) : piece;
    afterCr = text.endsWith("\r");
    const lines = (rest + text).split(/\r\n|\n|\r/);
    rest = lines.pop()!;
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) onEvent({ type: type || "message", data: data.join("\n"), id });
        type = "";
        data = [];
        if (performance.now() - begun > TURN_MS) {
          await nextTask();
          signal?.throwIfAborted();
          begun = performance.now();
        }
        continue;
      }
      const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line)!;
      if (name === "data") data.push(value);
      else if (name === "event") type = value;
      else if (name === "id" && !value.includes("\0")) id = value;
    }
  }
}
