import { route } from "@react-router/dev/routes";

export default [route("ask", "routes/ask.js")];
