import { EventSource } from "eventsource"; // browsers and Deno have their own

const source = new EventSource("http://127.0.0.1:8000/?query=Hello?");
source.addEventListener("message", ({ data }) => console.log("token", JSON.parse(data)));
for (const end of ["done", "failed"]) {
  source.addEventListener(end, ({ data }) => {
    source.close(); // else it asks again
    console.log(end, JSON.parse(data));
  });
}
