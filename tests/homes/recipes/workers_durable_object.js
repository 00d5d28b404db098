import { DurableObject } from "cloudflare:workers";
import { MemoryLog, sse } from "spillway";
import { model, options } from "./model.js"; // your own

export class Chat extends DurableObject {
  log = new MemoryLog();
  fetch(request) {
    return sse(request, model, { ...options, log: this.log });
  }
}
export default {
  fetch(request, env) {
    const { pathname } = new URL(request.url);
    return env.CHATS.getByName(pathname).fetch(request);
  },
};
