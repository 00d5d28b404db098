/** Redis: what does a token cost when other machines may read it, and how much later does each client get it? */
import { pathOf, type Subject } from "../subjects.ts";
import type { Case, Run } from "./case.ts";

function run(
  subject: Subject,
  variant: string,
  job: Partial<Extract<Run, { job: unknown }>["job"]>,
): Run {
  const shape = job.mode === "paced" ? "paced" : "generator";
  const path = pathOf(subject, shape, "json");
  const common = { mode: "burst", path, payload: "token", connections: 64, n: 1000 } as const;
  return { subject, variant, job: { ...common, warmMs: 1000, ms: 1000, ...job } };
}

export const redis: Case = {
  name: "redis",
  question:
    "RedisLog against MemoryLog in the same program, at a client of its own process and at one of another",
  runs: (subjects) =>
    subjects.flatMap((subject) => [
      run(subject, "bursts, 64", {}),
      run(subject, "64 at once", { mode: "first" }),
      ...[250, 1000].map((connections) =>
        run(subject, `paced, ${connections}`, {
          mode: "paced",
          connections,
          n: 0,
          warmMs: 2000,
          ms: 2500,
        })
      ),
    ]),
};
