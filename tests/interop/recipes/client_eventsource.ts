import { EventSource } from "eventsource"; // browsers and Deno have their own

const source = new EventSource("http://127.0.0.1:8000/");
source.addEventListener("message", ({ data }) => console.log(JSON.parse(data).token));
for (const end of ["done", "failed"]) source.addEventListener(end, () => source.close());
