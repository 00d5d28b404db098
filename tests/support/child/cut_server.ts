/** A server whose log is a file that other processes have open too. It waits to be killed. */
import process from "node:process";
import { active } from "../../../lib/counters.ts";
import { SqliteLog } from "../../../lib/sqlite.ts";
import { createHandler, type SourceContext } from "../../../mod.ts";
import { answerTo } from "../cutting_proxy.ts";
import { serve } from "../serve.ts";

const starts = new Map<string, number>();
const errors: string[] = [];
const onError = (error: unknown) => void errors.push(String(error));
const handler = createHandler({
  log: new SqliteLog(process.argv[2]!, { onError }),
  onError,
  heartbeatMs: 100,
  source: ({ input: { query } }: SourceContext<{ query: string }>) => {
    starts.set(query, (starts.get(query) ?? 0) + 1);
    return answerTo(query, 8);
  },
});
const server = serve((request, info) =>
  new URL(request.url).pathname === "/report"
    ? Response.json({ starts: [...starts], active, errors })
    : handler.fetch(request, info)
);
console.log(`port ${server.port}`);
