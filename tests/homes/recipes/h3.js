import { H3, serve } from "h3";
import { sse } from "spillway";
import { model, options } from "./model.js"; // your own

const app = new H3();
app.all("/ask", ({ req }) => sse(req, model, options));
serve(app, { port: process.env.PORT });
