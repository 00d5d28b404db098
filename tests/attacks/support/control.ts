/** How the servers under attack are asked how they are, and told to do something to themselves. */
import { readdirSync } from "node:fs";
import process from "node:process";
import { writeHeapSnapshot } from "node:v8";
import { active } from "../../../lib/counters.ts";
import { snapshotFile } from "./reachable.ts";
import type { State } from "./victim.ts";

type Fetch = (request: Request, info?: unknown) => Response | Promise<Response>;

const runtime = globalThis as { Bun?: { gc(force: boolean): void }; gc?(): void };

/** What a server says of itself, when nothing has happened. */
export function emptyState(): State {
  return {
    pid: process.pid,
    active,
    handled: 0,
    started: 0,
    thrown: [],
    errors: [],
    closes: {},
    dropped: [],
    logBytes: 0,
    rssBytes: 0,
    heapBytes: 0,
    descriptors: 0,
  };
}

/** A fetch function that also does what `x-control` says, and keeps what the other one throws. */
export function controlled(
  fetch: Fetch,
  state: State,
): (request: Request, info?: unknown) => Promise<Response> {
  return async (request, info) => {
    try {
      if (request.headers.has("x-control")) {
        return await control(request.headers.get("x-control")!, state);
      }
      state.handled++;
      return await fetch(request, info);
    } catch (error) {
      state.thrown.push(String(error));
      return new Response("thrown", { status: 500 });
    }
  };
}

/** What only the attacker may ask. */
async function control(path: string, state: State): Promise<Response> {
  const [, verb, value = "0"] = path.split("/");
  if (verb === "collect") {
    for (let i = 0; i < 3; i++) {
      runtime.Bun?.gc(true);
      runtime.gc?.();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  } else if (verb === "snapshot") {
    writeHeapSnapshot(snapshotFile(process.pid));
  } else if (verb === "block") {
    const end = performance.now() + Number(value);
    while (performance.now() < end);
  } else if (verb === "clock") {
    const { now } = Date;
    Date.now = () => now() + Number(value);
  }
  const { rss, heapUsed, external } = process.memoryUsage();
  state.rssBytes = rss;
  // On Bun the one holds the other.
  state.heapBytes = runtime.Bun ? heapUsed : heapUsed + external;
  state.descriptors = readdirSync("/proc/self/fd").length;
  return Response.json(state);
}
