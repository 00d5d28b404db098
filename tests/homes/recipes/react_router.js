import { sse } from "spillway";
import { model, options } from "./model.js"; // your own

export const loader = ({ request }) => sse(request, model, options);
export const action = loader;
