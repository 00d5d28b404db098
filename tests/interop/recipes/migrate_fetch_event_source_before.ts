import { fetchEventSource } from "@microsoft/fetch-event-source";

const headers = { "content-type": "application/json" };
const post = { method: "POST", headers, body: JSON.stringify({ query: "Hello?" }) };
await fetchEventSource("http://127.0.0.1:8000/streaming", {
  ...post,
  openWhenHidden: true, // else it posts again when the tab is shown again
  onmessage: ({ event, data }) => console.log(event || "token", JSON.parse(data)),
  onerror: (error) => {
    throw error; // else it posts again
  },
});
