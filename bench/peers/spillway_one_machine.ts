/**
 * Spillway with a `SqliteLog` (`/`) and with a `MemoryLog` (`/memory`) in one program. `/holds` says how long the
 * file has held the event loop at a time: from the beginning of each transaction to its end, and to open the file.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { SqliteLog } from "../../lib/sqlite.ts";
import { MemoryLog, sse } from "../../mod.ts";
import { generate, query, serve } from "../producers.ts";

const { REPLAY_FILE = "" } = process.env;

/** What is used of `node:sqlite`. */
type Sqlite = { DatabaseSync: new (path: string, options: object) => Database };
type Database = { prepare(sql: string): Statement; exec(sql: string): void };
type Statement = { run(...values: unknown[]): unknown };

let holds: number[] = [];
/** The same in processor time of the thread, of which other programs take nothing away. */
let worked: number[] = [];
let openMs = 0;

/** The processor time of the thread of the event loop, in ms. */
function threadMs(): number {
  try {
    const text = readFileSync(`/proc/self/task/${process.pid}/schedstat`, "latin1");
    return Number(text.slice(0, text.indexOf(" "))) / 1e6;
  } catch {
    return NaN; // no /proc on this system
  }
}

/** The modules of the runtime, with a `node:sqlite` that takes times. */
function timed(getBuiltinModule: (name: string) => unknown): (name: string) => unknown {
  return (name) => {
    const module = getBuiltinModule(name);
    if (name !== "node:sqlite") return module;
    return {
      DatabaseSync: class extends (module as Sqlite).DatabaseSync {
        #sinceMs = performance.now();
        #sinceThreadMs = 0;
        #isOpen = false;

        override exec(sql: string): void {
          super.exec(sql);
          if (!this.#isOpen) openMs = performance.now() - this.#sinceMs;
        }

        override prepare(sql: string): Statement {
          const statement = super.prepare(sql);
          if (!/^(begin|commit)/.test(sql)) return statement;
          return {
            run: () => {
              if (sql !== "commit") {
                this.#isOpen = true;
                this.#sinceThreadMs = threadMs();
                this.#sinceMs = performance.now();
              }
              statement.run();
              if (sql !== "commit") return;
              holds.push(performance.now() - this.#sinceMs);
              worked.push(threadMs() - this.#sinceThreadMs);
            },
          };
        }
      },
    };
  };
}

const runtime = process as unknown as { getBuiltinModule(name: string): unknown };
runtime.getBuiltinModule = timed(runtime.getBuiltinModule.bind(process));

const madeMs = performance.now();
// Short, so that what has expired is deleted all the time.
const keepMs = 1000;
const log = new SqliteLog(REPLAY_FILE, { keepMs });
const startMs = performance.now() - madeMs;
const memory = new MemoryLog({ keepMs });

serve((request) => {
  const { pathname } = new URL(request.url);
  if (pathname === "/holds") {
    const of = (times: number[]) => {
      const sorted = times.sort((a, b) => a - b);
      const at = (share: number) => sorted[Math.ceil(share * sorted.length) - 1] ?? 0;
      return { p50: at(0.5), p99: at(0.99), longest: at(1) };
    };
    const report = { startMs, openMs, count: holds.length, wall: of(holds), thread: of(worked) };
    [holds, worked] = [[], []];
    return Response.json(report);
  }
  const own = pathname === "/memory" ? memory : log;
  return sse(request, () => generate(query(request.url)), { format: "json", log: own });
});
