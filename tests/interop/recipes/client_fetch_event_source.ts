import { type EventSourceMessage, fetchEventSource } from "@microsoft/fetch-event-source";

const headers = { "content-type": "application/json" };
const post = { method: "POST", headers, body: JSON.stringify({ query: "Hello?" }) };
const onmessage = ({ event, data }: EventSourceMessage) => console.log(event, JSON.parse(data));
const onerror = (error: unknown) => {
  throw error; // else it posts again
};
await fetchEventSource("http://127.0.0.1:8000/streaming", { ...post, onmessage, onerror });
