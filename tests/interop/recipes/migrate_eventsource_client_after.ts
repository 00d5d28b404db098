import { connect } from "spillway/client";

const headers = { "content-type": "application/json" };
const post = { method: "POST", headers, body: JSON.stringify({ query: "Hello?" }) };
const connection = connect("http://127.0.0.1:8000/streaming", post);
for await (const token of connection.tokens()) console.log("token", { token });
const { event, data } = connection.state.end!;
console.log(event, JSON.parse(data));
