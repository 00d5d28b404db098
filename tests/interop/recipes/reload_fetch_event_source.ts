import { fetchEventSource } from "@microsoft/fetch-event-source";

// The package itself takes an event for read as soon as its id is there.
let last: { "last-event-id"?: string } = {};
const again = (url: string, init: RequestInit) =>
  fetch(url, { ...init, headers: { ...init.headers, ...last } });
await fetchEventSource("http://127.0.0.1:8000/streaming", {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ query: "Hello?" }),
  fetch: again as typeof fetch,
  onopen: async (response) => {
    if (!response.ok) throw new Error(await response.text());
    last["last-event-id"] ??= `${response.headers.get("x-stream-id")}.0`;
  },
  onmessage: ({ id, event, data }) => {
    last = { "last-event-id": id };
    console.log(event, JSON.parse(data));
  },
  onerror: (error) => {
    if (!(error instanceof TypeError)) throw error; // else it was cut off, and posts again
  },
});
