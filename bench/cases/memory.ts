/** Memory: what does an open stream hold while nothing happens, and what does a client cost that stopped reading? */
import { pathOf } from "../subjects.ts";
import type { Case, Run } from "./case.ts";

const FLOOD_TOKENS = 1_000_000;

export const memory: Case = {
  name: "memory",
  question:
    "resident memory per idle open stream; growth against one stalled client of a million tokens",
  runs(subjects) {
    const runs: Run[] = [];
    const idlers = subjects.filter((subject) => subject.shapes.includes("generator"));
    for (const connections of [1000, 10_000]) {
      for (const subject of idlers) {
        // Ten thousand of somebody else's hold what a thousand do, ten times.
        if (connections > 1000 && subject.kind === "peer" && subject.name !== "bare") continue;
        const job = {
          mode: "idle" as const,
          path: pathOf(subject, "idle"),
          n: 1,
          warmMs: 0,
          ms: 1000,
        };
        runs.push({
          subject,
          variant: `idle ${connections}`,
          job: { ...job, payload: subject.payload, connections },
        });
      }
    }
    for (const shape of ["generator", "queue"] as const) {
      for (const subject of subjects) {
        if (!subject.shapes.includes(shape)) continue;
        const job = { mode: "stall" as const, path: pathOf(subject, shape), n: FLOOD_TOKENS };
        runs.push({
          subject,
          variant: `stalled ${shape}`,
          job: { ...job, payload: subject.payload, connections: 1, warmMs: 0, ms: 3000 },
        });
      }
    }
    return runs;
  },
};
