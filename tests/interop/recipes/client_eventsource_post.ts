import { EventSource, type FetchLike } from "eventsource";

const init = { method: "POST", body: JSON.stringify({ query: "Hello?" }) };
const post: FetchLike = (url, { headers, signal }) =>
  fetch(url, { ...init, signal, headers: { ...headers, "content-type": "application/json" } });
const source = new EventSource("http://127.0.0.1:8000/streaming", { fetch: post });
source.addEventListener("message", ({ data }) => console.log(JSON.parse(data).token));
for (const end of ["done", "failed"]) source.addEventListener(end, () => source.close());
