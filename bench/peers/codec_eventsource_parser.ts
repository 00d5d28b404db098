/** eventsource-parser for the codec case: its engine takes text, so the bytes go through a streaming `TextDecoder` first. */
import { createParser } from "eventsource-parser";
import { main } from "../codec.ts";

main(() => {
  const text = new TextDecoder();
  let events: unknown[] = [];
  const parser = createParser({ onEvent: (event) => events.push(event) });
  return (chunk) => {
    events = [];
    parser.feed(text.decode(chunk, { stream: true }));
    return events.length;
  };
});
