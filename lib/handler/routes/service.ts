/** The routes of the server itself: `GET /health` and `GET /metrics`. */
import { jsonResponse } from "../../http/response.ts";
import { metricsResponse } from "../metrics_text.ts";
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
      answer: async ({ request }, context) => metricsResponse(request, await context.counted()),
    },
  ],
};
