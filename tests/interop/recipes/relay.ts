import { relay, sse } from "spillway";

const upstream = "http://127.0.0.1:8000/streaming"; // any event stream
const headers = { "content-type": "application/json", "accept-encoding": "identity" };

export default {
  fetch: async (request: Request) => {
    const body = JSON.stringify({ query: await request.text() });
    const init = { method: "POST", headers, body, redirect: "error" } as const;
    return sse(request, ({ signal }) => relay(fetch(upstream, { ...init, signal })));
  },
};
