/** Spillway's encoder and decoder for the codec case: the engine itself, from bytes to event objects. */
import { encodeEvent, EventDecoder } from "../../mod.ts";
import { main } from "../codec.ts";

main(() => {
  const decoder = new EventDecoder();
  return (chunk) => decoder.feed(chunk).length;
}, (data) => encodeEvent({ data }));
