/** The mock upstream with bodies that a test gives it: each under a name, which the model's name is. */
import { Buffer } from "node:buffer";
import { active } from "../../../../lib/counters.ts";
import { total } from "../../child.ts";
import { until } from "../../serve.ts";
import { type Mock, startMock } from "../mock.ts";
import type { Reply } from "../raw_http.ts";
import type { BodyEnd } from "./case.ts";

/** A body, in the pieces in which it is sent. */
export interface Scripted {
  pieces: readonly (string | Uint8Array)[];
  /** @default {"clean"} */
  end?: BodyEnd;
  /** How long it waits before each piece. @default {0} */
  pauseMs?: number;
  /** How long it waits before it breaks off. @default {20} */
  gapMs?: number;
}

/** What a break is preceded by, each time that it is tried again. */
export const GAPS_MS: readonly number[] = [20, 100, 500];

/** Starts a mock that sends what `scripts` has for the model that is asked for. */
export function startScripted(scripts: ReadonlyMap<string, Scripted>): Promise<Mock> {
  return startMock({
    respond: async ({ body }, reply) => {
      const model = String((body as { model?: unknown } | undefined)?.model);
      const script = scripts.get(model);
      if (script === undefined) return reply.whole(404, {}, `No script is named ${model}`);
      await send(reply, script);
    },
  });
}

async function send(
  reply: Reply,
  { pieces, end = "clean", pauseMs = 0, gapMs = 20 }: Scripted,
): Promise<void> {
  const type = { "content-type": "text/event-stream; charset=utf-8" };
  const size = pieces.reduce((all, piece) => all + Buffer.byteLength(piece), 0);
  // A byte more than will come.
  await reply.head(200, end === "short" ? { ...type, "content-length": size + 1 } : type);
  for (const piece of pieces) {
    if (!(await reply.sleep(pauseMs))) return;
    if (!(await (end === "short" ? reply.raw(piece) : reply.send(piece)))) return;
  }
  if (end === "clean") return reply.end();
  // When the break comes with what went ahead, Bun's fetch throws away up to all of it.
  await reply.turns(gapMs);
  if (end === "rst") reply.rst();
  else reply.fin();
}

/** Nothing runs any more, and no connection is open. */
export async function assertQuiet(mock: Mock): Promise<void> {
  await until(() => total(active) === 0 && mock.open === 0, 5000, "nothing left");
}
