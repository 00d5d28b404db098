import { EventSourceParserStream } from "eventsource-parser/stream";

const headers = { "content-type": "application/json" };
const init = { method: "POST", headers, body: JSON.stringify({ query: "Hello?" }) };
const { body } = await fetch("http://127.0.0.1:8000/streaming", init);
const parser = new EventSourceParserStream();
const events = body!.pipeThrough(new TextDecoderStream()).pipeThrough(parser);
for await (const { event = "token", data } of events) console.log(event, JSON.parse(data));
