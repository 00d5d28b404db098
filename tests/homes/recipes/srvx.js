import { serve } from "srvx";
import { sse } from "spillway";
import { model, options } from "./model.js"; // your own

serve({
  fetch: (request) => sse(request, model, options),
  port: process.env.PORT,
});
