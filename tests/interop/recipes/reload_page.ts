import { EventSource } from "eventsource"; // browsers and Deno have their own

const url = "http://127.0.0.1:8000/streaming";
if (!sessionStorage.getItem("stream")) { // else the page was loaded again
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ query: "Hello?" });
  const started = await fetch(url, { method: "POST", headers, body });
  sessionStorage.setItem("stream", started.headers.get("x-stream-id")!);
  await started.body!.cancel(); // it is read below, by this page and by the next
}
const source = new EventSource(`${url}/${sessionStorage.getItem("stream")}`);
source.addEventListener("message", ({ data }) => console.log(JSON.parse(data).token));
for (const end of ["done", "failed"]) source.addEventListener(end, () => source.close());
