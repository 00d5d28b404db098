/** A route of one's own that relays the upstream's event stream: `relay` reads it, so that a failure is told. */
import { openaiFormat, relay, sse } from "../../mod.ts";
import { upstreamURL } from "../cases/gateway.ts";
import { serve } from "../producers.ts";

const upstream = `${upstreamURL()}/chat/completions`;
const headers = { "content-type": "application/json", "accept-encoding": "identity" };

serve(async (request) => {
  const init = { method: "POST", headers, body: await request.text(), redirect: "error" } as const;
  const source = ({ signal }: { signal: AbortSignal }) =>
    relay(fetch(upstream, { ...init, signal }));
  return sse(request, source, { format: openaiFormat });
});
