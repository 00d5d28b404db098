import { decodeEvents } from "spillway";

const headers = { "content-type": "application/json" };
const init = { method: "POST", headers, body: JSON.stringify({ query: "Hello?" }) };
const { body } = await fetch("http://127.0.0.1:8000/streaming", init);
for await (const { event, data } of decodeEvents(body!)) console.log(event, JSON.parse(data));
