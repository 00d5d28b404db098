import { createServer } from "node:http";
import { sse } from "spillway";
import { toNodeListener } from "spillway/node";
import { model, options } from "./model.js"; // your own

const listener = toNodeListener((request) => sse(request, model, options));
createServer(listener).listen(process.env.PORT);
