/** The routes of the server itself: `GET /health` and `GET /metrics`. */
import { jsonResponse } from "../../http/response.ts";
import { metrics } from "../metrics.ts";
import type { Api } from "./route.ts";

/** What operators and load balancers ask for. */
export const serviceApi: Api = {
  routes: [
    {
      method: "GET",
      path: "/health",
      anonymous: true,
      answer(_call, context) {
        const status = context.health();
        return jsonResponse({ status }, status === "draining" ? 503 : 200);
      },
    },
    {
      method: "GET",
      path: "/metrics",
      answer: ({ request }, context) => metrics(request, context.stats()),
    },
  ],
};
