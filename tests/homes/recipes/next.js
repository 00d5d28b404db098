import { sse } from "spillway";
import { model, options } from "./model.js"; // your own

export const GET = (request) => sse(request, model, options);
export const POST = GET;
