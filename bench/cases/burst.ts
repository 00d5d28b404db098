/** Burst: how many tokens per second does one core stream when they come as fast as they are taken? */
import { pathOf } from "../subjects.ts";
import { TOKENS, type Tokens } from "../producers.ts";
import type { Case, Run } from "./case.ts";

const ASIDE: readonly string[] = ["generator", "micro"];
/** Runs one variant with tokens that are made once, as a model that repeats itself might. */
const interned = (run: Run): Run => ({
  ...run,
  variant: `${run.variant} interned`,
  env: { [TOKENS]: "interned" satisfies Tokens },
});

export const burst: Case = {
  name: "burst",
  question: "1,000-token streams as fast as they come: tokens per second of one core",
  runs(subjects, { quick }) {
    const runs: Run[] = [];
    const shapes = quick
      ? ["generator", "micro"] as const
      : ["generator", "sync", "queue", "micro", "macro"] as const;
    for (const connections of quick ? [64] : [64, 1]) {
      for (const format of ["text", "json"] as const) {
        for (const shape of shapes) {
          if (quick && format === "json" && shape !== "generator") continue;
          for (const subject of subjects) {
            if (!subject.shapes.includes(shape)) continue;
            const hasJson = subject.name === "spillway" || subject.name === "floor";
            if (format === "json" && !hasJson) continue;
            // One at a time, and in JSON, one pulled and one pushed shape tell enough of the others.
            const isAside = connections === 1 && (subject.kind === "peer" || format === "json");
            if (isAside && !ASIDE.includes(shape)) continue;
            const run: Run = {
              subject,
              variant: `${shape} ${format} ${connections}`,
              job: {
                mode: "burst",
                path: pathOf(subject, shape, format),
                payload: format === "json" ? "token" : subject.payload,
                connections,
                n: 1000,
                // Engines need a second or two to compile the way of a token, on a slow machine more.
                warmMs: quick ? 400 : 1400,
                ms: quick ? 500 : 900,
              },
            };
            runs.push(run);
            const hasBoth = connections === 64 && format === "text" && ASIDE.includes(shape);
            if (!quick && hasBoth && subject.runtime !== "python") runs.push(interned(run));
          }
        }
      }
    }
    return runs;
  },
};
