import { sse } from "spillway";
import { model, options } from "./model.js"; // your own

Bun.serve({
  port: process.env.PORT,
  routes: { "/ask": (request) => sse(request, model, options) },
});
