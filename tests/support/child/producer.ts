/** A process that makes one stream until it is killed. */
import process from "node:process";
import { RedisLog, sse } from "../../../mod.ts";
import { connectClient } from "../redis_server.ts";

const [url, prefix, silentAfter] = process.argv.slice(2);
const log = new RedisLog(connectClient(url!).connection, { prefix: prefix! });
const request = new Request("http://localhost/", { method: "POST" });
const response = await sse(request, async function* () {
  for (let i = 0;; i++) {
    if (i >= Number(silentAfter)) await new Promise(() => {});
    yield `${i} `;
    await new Promise((resolve) => setTimeout(resolve, 7));
  }
}, { log });
console.log(`stream ${response.headers.get("x-stream-id")}`);
for await (const _ of response.body!);
