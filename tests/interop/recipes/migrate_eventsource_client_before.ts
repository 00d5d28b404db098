import { createEventSource } from "eventsource-client";

const headers = { "content-type": "application/json" };
const post = { method: "POST", headers, body: JSON.stringify({ query: "Hello?" }) };
const source = createEventSource({ url: "http://127.0.0.1:8000/streaming", ...post });
for await (const { event = "token", data } of source) {
  console.log(event, JSON.parse(data));
  if (event === "done" || event === "failed") break;
}
source.close(); // else it posts again
