/** A process that reads one stream until it is killed. */
import process from "node:process";
import { RedisLog, resume } from "../../../mod.ts";
import { connectClient } from "../redis_server.ts";

const [url, prefix, streamId] = process.argv.slice(2);
const log = new RedisLog(connectClient(url!).connection, { prefix: prefix! });
const response = await resume(new Request("http://localhost/"), { log, streamId: streamId! });
let chunks = 0;
for await (const _ of response.body!) if (++chunks === 4) console.log("reading");
