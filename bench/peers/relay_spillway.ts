/** Spillway relaying an OpenAI-compatible upstream, with every option at its default. */
import { openai, sse } from "../../mod.ts";
import { baseOf } from "../cases/relay.ts";
import { serve } from "../producers.ts";

type Relay = ReturnType<typeof openai<undefined>>;

const sources = new Map<string, Relay>();
const messages = () => [{ role: "user", content: "Hello?" }];

function sourceOf(url: string): Relay {
  const known = sources.get(url);
  if (known !== undefined) return known;
  const source = openai<undefined>({ baseURL: baseOf(url), model: "m", messages });
  sources.set(url, source);
  return source;
}

serve((request) => sse(request, sourceOf(request.url), { format: "json" }));
