import { defineHandler } from "nitro/h3";
import { sse } from "spillway";
import { model, options } from "../model.js"; // your own

export default defineHandler(({ req }) => sse(req, model, options));
