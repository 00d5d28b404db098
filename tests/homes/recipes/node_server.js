import { serve } from "@hono/node-server";
import { sse } from "spillway";
import { model, options } from "./model.js"; // your own

serve({
  fetch: (request) => sse(request, model, options),
  port: Number(process.env.PORT),
});
