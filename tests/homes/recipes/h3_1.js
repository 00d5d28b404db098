import { createServer } from "node:http";
import * as h3 from "h3";
import { sse } from "spillway";
import { toNodeListener } from "spillway/node";
import { model, options } from "./model.js"; // your own

const listener = toNodeListener((request) => sse(request, model, options));
const router = h3.createRouter();
// It has to have three parameters: only then does h3 wait for the response.
router.use(
  "/ask",
  h3.fromNodeMiddleware((req, res, _next) => listener(req, res)),
);
createServer(h3.toNodeListener(h3.createApp().use(router))).listen(
  process.env.PORT,
);
