import { sse } from "spillway";
import { model, options } from "./model.js"; // your own

const port = Number(Deno.env.get("PORT"));
Deno.serve({ port }, (request) => sse(request, model, options));
