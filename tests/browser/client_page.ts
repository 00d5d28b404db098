/** What the page of `client.browser.mjs` has: `connect`, and an application that shows a stream. */
import { connect, type ConnectionState } from "../../lib/client.ts";
import { read, readAll } from "../support/wpt.ts";

/** A stream as the application shows it. */
interface Shown {
  text: string;
  states: ConnectionState[];
  end: string;
}

const shown: Shown = { text: "", states: [], end: "" };

/** Asks, or joins the stream of this tab, or of its address, as after a reload. */
async function show(query: string): Promise<void> {
  const connection = connect("/streaming", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query }),
    streamId: new URLSearchParams(location.search).get("stream") ??
      sessionStorage.getItem("stream"),
    onState: (state) => {
      shown.states.push(state);
      if (connection.streamId) sessionStorage.setItem("stream", connection.streamId);
    },
  });
  for await (const token of connection.tokens()) shown.text += token;
  shown.end = connection.state.reason!;
}

Object.assign(globalThis, { connect, read, readAll, shown, show });
