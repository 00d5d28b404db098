import { MemoryLog, sse } from "spillway";
import { model, options } from "./model.js"; // your own

const log = new MemoryLog();
export default {
  fetch(request, _env, ctx) {
    const source = (context) => {
      ctx.waitUntil(ended);
      return model(context);
    };
    const { promise: ended, resolve: onClose } = Promise.withResolvers();
    return sse(request, source, { ...options, log, onClose });
  },
};
