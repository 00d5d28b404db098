import { EventSource, type FetchLike } from "eventsource";

const headers = { "content-type": "application/json" };
const init = { method: "POST", headers, body: JSON.stringify({ query: "Hello?" }) };
const post: FetchLike = (url, { signal }) => fetch(url, { ...init, signal });
const source = new EventSource("http://127.0.0.1:8000/streaming", { fetch: post });
source.addEventListener("message", ({ data }) => console.log(JSON.parse(data).token));
for (const end of ["done", "failed"]) source.addEventListener(end, () => source.close());
