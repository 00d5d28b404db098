/**
 * The reader of event streams that runs in the pages. It is the browser's: `EventSource` can neither
 * POST nor send a key, and the module's own decoder is not text that a page could hold.
 */

/** Two functions of the pages' scripts, `piecesOf(response)` and `readEvents(response, onEvent, onText)`. */
export const READER: string = String.raw`
// The text of a body as it comes. Not every browser can iterate a stream.
async function* piecesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
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

// Calls onEvent for each event of a body, as the standard says, and onText with each piece of it.
// Resolves at its end, rejects when it breaks off or when one of the two throws.
async function readEvents(response, onEvent, onText) {
  let rest = "", type = "", data = [], id = "", afterCr = false;
  for await (const piece of piecesOf(response)) {
    onText(piece);
    // A CR ends its line at once, and the LF that may follow belongs to it.
    const text = afterCr && piece.startsWith("\n") ? piece.slice(1) : piece;
    afterCr = text.endsWith("\r");
    const lines = (rest + text).split(/\r\n|\n|\r/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) onEvent({ type: type || "message", data: data.join("\n"), id });
        type = "";
        data = [];
        continue;
      }
      const [, name, text = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
      if (name === "data") data.push(text);
      else if (name === "event") type = text;
      else if (name === "id" && !text.includes("\0")) id = text;
    }
  }
}
`;
