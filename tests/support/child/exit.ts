/** A bare script with one `sse()` that calls no exit; the tests run it as its own process. */
import process from "node:process";
import { SqliteLog } from "../../../lib/sqlite.ts";
import { MemoryLog, sse } from "../../../mod.ts";
import { newFile } from "../replay_file.ts";

const way = process.argv[2];
const log = way === "file"
  ? new SqliteLog(newFile())
  : way === "replay" || way === "gone"
  ? new MemoryLog()
  : undefined;
const stuck = way === "cancel" || way === "unread";
const abort = new AbortController();
if (way === "gone") abort.abort();
const response = await sse(
  new Request("http://localhost/", { signal: abort.signal }),
  async function* () {
    yield "Hel";
    yield "lo";
    if (way === "fail") throw new Error("broken");
    if (stuck) await new Promise(() => {});
  },
  {
    onError: () => {},
    ...way === "unread" ? { stallMs: 300 } : {},
    ...log ? { log } : {},
  },
);
// A thousand more that all end before the loop turns: their shared hop must go as well.
if (way === "many") {
  for (let i = 0; i < 1000; i++) {
    const more = await sse(new Request("http://localhost/"), ["a"], { format: "plain" });
    await more.text();
  }
}
if (way === "cancel") await response.body?.cancel();
else if (way === "unread") {
  // The body is forgotten, as by a framework that answers something else.
} else {
  const text = await response.text();
  console.log(text.includes(way === "fail" ? "event: failed" : "event: done") ? "whole" : text);
}
console.log("last line");
