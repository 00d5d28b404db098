import { connect } from "spillway/client";

const headers = { "content-type": "application/json" };
const post = { method: "POST", headers, body: JSON.stringify({ query: "Hello?" }) };
const connection = connect("http://127.0.0.1:8000/streaming", post);
for await (const { event, data } of connection) {
  console.log(event === "message" ? "token" : event, JSON.parse(data));
}
