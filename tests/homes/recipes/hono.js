import { Hono } from "hono";
import { sse } from "spillway";
import { model, options } from "./model.js"; // your own

const app = new Hono();
app.all("/ask", ({ req }) => sse(req.raw, model, options));
export default app;
