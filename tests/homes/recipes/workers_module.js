import { sse } from "spillway";
import { model, options } from "./model.js"; // your own

export default { fetch: (request) => sse(request, model, options) };
