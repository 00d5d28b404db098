import { connect } from "spillway/client";

const connection = connect("http://127.0.0.1:8000/?query=Hello?");
for await (const { event, data } of connection) {
  console.log(event === "message" ? "token" : event, JSON.parse(data));
}
