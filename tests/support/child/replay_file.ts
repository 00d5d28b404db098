/** A process with a replay file: one stream that has ended, and one that goes on. It waits to be killed. */
import process from "node:process";
import { SqliteLog } from "../../../lib/sqlite.ts";
import { sse } from "../../../mod.ts";
import { Paced } from "../machines.ts";

const log = new SqliteLog(process.argv[2]!);
const request = new Request("http://localhost/", { method: "POST" });
const ended = await sse(request, new Paced(200, 0).source, { log });
await ended.text();
await log.flush();
const live = await sse(request, new Paced(Infinity, 20).source, { log, disconnect: "continue" });
const reader = live.body!.getReader();
setTimeout(() => {
  const ids = [ended, live].map(({ headers }) => headers.get("x-stream-id"));
  console.log(`ready ${JSON.stringify(ids)}`);
}, 1500);
while (!(await reader.read()).done);
