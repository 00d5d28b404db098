/** Spillway's handler in front of an OpenAI-compatible upstream, with every option at its default. */
import { createHandler, openai } from "../../mod.ts";
import { upstreamURL } from "../cases/gateway.ts";
import { serve } from "../producers.ts";

const baseURL = upstreamURL();
const models = {
  deltas: openai({ baseURL, model: "deltas" }),
  kilobyte: openai({ baseURL, model: "kilobyte" }),
};

serve(createHandler({ models }).fetch);
