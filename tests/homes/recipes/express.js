import express from "express";
import { sse } from "spillway";
import { toNodeListener } from "spillway/node";
import { model, options } from "./model.js"; // your own

const app = express();
app.all("/ask", toNodeListener((request) => sse(request, model, options)));
app.listen(process.env.PORT);
