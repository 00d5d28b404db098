import { fromNodeMiddleware } from "h3";
import { sse } from "spillway";
import { toNodeListener } from "spillway/node";
import { model, options } from "../model.js"; // your own

const listener = toNodeListener((request) => sse(request, model, options));
// It has to have three parameters: only then does h3 wait for the response.
export default fromNodeMiddleware((req, res, _next) => listener(req, res));
