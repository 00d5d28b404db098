/** What the compiler must say of options and logs: checked by `tsc` and never run. */
import {
  type EventStore,
  MemoryLog,
  RedisLog,
  resume,
  SharedLog,
  sse,
  stop,
  type StreamReport,
} from "spillway";
import { createHandler } from "spillway/handler";
import { bunRedis, ioRedis, nodeRedis } from "spillway/redis";
import type { ReplayLog } from "spillway/replay";
import { type Answer, collect, FakeClock } from "spillway/testing";
import { createClient } from "redis";
import { Redis } from "ioredis";
import { RedisClient } from "bun";
import { holds, type Same } from "./same.ts";

declare const request: Request;
declare const store: EventStore;

const log = new MemoryLog({ maxBytes: 2 ** 26 });
for (const disconnect of ["cancel", "continue", { continueForMs: 1000 }] as const) {
  sse(request, "a", { log, streamId: "s", owner: "o", disconnect });
}
const logs: ReplayLog[] = [
  log,
  new SharedLog(store, { keepMs: 1000 }),
  new RedisLog(bunRedis(new RedisClient("redis://localhost"))),
  new RedisLog(nodeRedis(createClient({ url: "redis://localhost" })), { prefix: "p:" }),
  new RedisLog(ioRedis(new Redis("redis://localhost"))),
];
for (const log of logs) createHandler({ source: "a", log });
createHandler({ source: "a", log: false });
sse(request, "a", {
  headers: { "x-a": "b" },
  clock: new FakeClock(),
  onClose(report) {
    holds<Same<typeof report, StreamReport>>();
    holds<Same<typeof report.outcome, "completed" | "failed" | "cancelled">>();
    holds<Same<typeof report.ttftMs, number | undefined>>();
  },
  onError(error) {
    holds<Same<typeof error, unknown>>();
  },
});
holds<Same<ReturnType<typeof resume>, Promise<Response>>>();
holds<Same<ReturnType<typeof stop>, Promise<boolean>>>();
resume(request, { log, streamId: "s", owner: "o" });
stop({ log, streamId: "s", reason: "enough" });
holds<Same<ReturnType<typeof collect>, Promise<Answer>>>();
collect(sse(request, "a"), { format: "json", until: ({ items }) => items.length > 1 });

// @ts-expect-error an option that is misspelt
sse(request, "a", { heartbeat: 5000 });
// @ts-expect-error the name of a log is no log
sse(request, "a", { log: "memory" });
// @ts-expect-error a store needs a log around it
sse(request, "a", { log: store });
// @ts-expect-error neither of the words
sse(request, "a", { log, disconnect: "wait" });
// @ts-expect-error milliseconds are a number
sse(request, "a", { heartbeatMs: "5s" });
// @ts-expect-error there is nothing to resume without a log
resume(request, { streamId: "s" });
// @ts-expect-error which one?
stop({ log });
// @ts-expect-error a handler has routes of its own formats
createHandler({ source: "a", format: "json" });
// @ts-expect-error `log` has no such word
createHandler({ source: "a", log: true });
// @ts-expect-error a limit that there is not
createHandler({ source: "a", limits: { maxStream: 1 } });
// @ts-expect-error a client goes through its adapter
new RedisLog(createClient());
// @ts-expect-error the adapter of another client
new RedisLog(ioRedis(createClient()));
// @ts-expect-error a bound that there is not
new MemoryLog({ maxSize: 1 });
