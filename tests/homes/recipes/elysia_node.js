import { node } from "@elysiajs/node";
import { Elysia } from "elysia";
import { sse } from "spillway";
import { model, options } from "./model.js"; // your own

new Elysia({ adapter: node() })
  .all("/ask", ({ request }) => sse(request, model, options), { parse: "none" })
  .listen(process.env.PORT);
